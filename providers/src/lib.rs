//! What runs containers behind [`reactorcide_engine::provider::Provider`], and what holds objects of ours behind
//! [`reactorcide_engine::outside::Outside`].

pub mod docker;
pub mod webhook;

pub use docker::{DockerConfig, DockerProvider, docker};
