//! What runs containers behind [`reactorcide_engine::provider::Provider`], and what holds objects of ours behind
//! [`reactorcide_engine::outside::Outside`]; where traces go, and what is told of the process that all this is in.

pub mod docker;
pub mod hashicorp;
pub mod otlp;
pub mod process;
pub mod webhook;

pub use docker::{DockerConfig, DockerProvider, docker};
