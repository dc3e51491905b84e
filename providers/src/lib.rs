//! What runs containers behind [`reactorcide_engine::provider::Provider`].

pub mod docker;

pub use docker::{DockerConfig, DockerProvider, docker};
