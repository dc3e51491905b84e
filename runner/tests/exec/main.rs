//! The built runner on this machine: a spec goes in, frames come out.

mod delivery;
mod documented;
mod environment;
mod failures;
mod leavings;
mod link;
mod masking;
mod order;
mod output;
mod processes;
mod retrying;
mod socket;
mod spec;
mod stopping;
mod support;
