//! End-to-end tests: over the real binary, and over the workspace itself.

mod commands;
mod docker;
mod layers;
mod run;
mod terminal;
mod transcript;
