//! End-to-end tests: over the real binary, and over the workspace itself.

mod docker;
mod layers;
mod run;
