//! Identity tokens: what a job may say of itself to others, and with which key the server signs it.
//!
//! All of it is decided here, from what the server knows of the run and from what is applied now. Nothing that a worker or
//! a job says has a part in it but the audience, and that must be one that the job declares.

mod claims;
mod keys;

pub use claims::{Asked, Claims, LONGEST_MS, Refusal, claims};
pub use keys::{KeyPlan, MemorySigningKeys, SigningKey, SigningKeyStore, conformance, plan};
