//! The store on SQLite: the engine's conformance suite, and what only a file can do wrong.
#![allow(clippy::unwrap_used, missing_docs)]

mod abandoned;
mod access;
mod artifacts;
mod conformance;
mod file;
mod logs;
mod postgres;
mod processes;
mod s3;
mod vault;
