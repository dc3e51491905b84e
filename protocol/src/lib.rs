//! What the runner inside a job container and everything outside it say to each other, and the
//! decisions both sides must take alike: masking, the order of steps, and conditions.
//!
//! The runner depends on no other crate of the workspace, so what is here stays small and does no I/O.

pub mod condition;
pub mod control;
pub mod frame;
pub mod link;
pub mod mask;
pub mod output;
pub mod query;
pub mod settings;
pub mod source;
pub mod spec;
pub mod steps;
pub mod strict;
pub mod trigger;
pub mod usage;
