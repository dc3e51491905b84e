//! End-to-end tests: over the real binary, and over the workspace itself.

mod alerts;
mod attacks;
mod commands;
mod crashes;
mod docker;
mod editor;
mod elsewhere;
mod fields;
mod files;
mod jobcode;
mod layers;
mod lives_on;
mod plans;
mod run;
mod runnerlib;
mod server;
mod standby;
mod terminal;
mod together;
mod transcript;
