//! Files of jobs between their workspaces and the coordinator: artifacts out and in, caches out and in.
//!
//! A workspace is what a job left, and it may have left anything. It is read and written by names that the kernel keeps
//! below the workspace and that pass no link.

mod archive;
mod bridge;
mod error;
mod select;
mod settle;
mod transfer;
mod tree;

pub use error::FilesError;

pub use transfer::{Restored, Transfer};
pub use tree::Tree;
