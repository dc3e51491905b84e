//! Code for jobs: from what a configuration declares to a directory, and what exactly is in it.

mod archive;
mod cache;
mod context;
mod copy;
mod error;
mod fetch;
mod git;
mod limits;
mod mercurial;
#[cfg(test)]
mod other_tests;
mod path;
mod replicate;
mod subversion;
#[cfg(test)]
mod test_server;
mod tool;

pub use cache::Held;
pub use context::{Context, Credentials};
pub use copy::{CopyError, copy_tree};
pub use error::SourceError;
pub use fetch::{Code, fetch};
pub use limits::Limits;
pub(crate) use path::inside;
