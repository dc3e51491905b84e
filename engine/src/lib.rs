//! Every decision of Reactorcide, without I/O: what a configuration means, what a change would do, what
//! runs next, who may reach what.
//!
//! Time, ids and file contents are arguments. The traits at the edges ([`store`], [`provider`],
//! [`coordinator`]) have async methods but need no runtime.

pub mod address;
pub mod apply;
pub mod artifacts;
pub mod audit;
pub mod canonical;
pub mod check;
mod circle;
pub mod config;
pub mod coordinator;
pub mod dates;
pub mod diagnostic;
pub mod diff;
pub mod explain;
pub mod fingerprint;
pub mod format;
pub mod glob;
pub mod graph;
pub mod id_token;
pub mod identity;
pub mod logs;
pub mod outside;
mod parallel;
pub mod placeholder;
pub mod plan;
pub mod policy;
pub mod printable;
pub mod process;
pub mod proposal;
pub mod provider;
pub mod queue;
pub mod read;
pub mod reference;
pub mod removals;
pub mod retention;
pub mod runs;
pub mod schedule;
pub mod scheduler;
pub mod schema;
pub mod standby;
pub mod storage;
pub mod store;
pub mod suggest;
pub mod trace;
pub mod trigger_match;
pub mod vault;
pub mod workers;
pub mod workflow;

pub use reactorcide_protocol as protocol;
