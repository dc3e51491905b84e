//! The interface from outside: requests against the router, with everything behind it in memory.

mod approvals;
mod config;
mod events;
mod identity;
mod identity_tokens;
mod job;
mod matrix;
mod openapi;
mod reach;
mod secrets;
mod world;
