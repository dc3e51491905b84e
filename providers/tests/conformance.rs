//! The contract of `Provider`, checked on every implementation: the fake, and the real Docker.

#[path = "conformance/contract.rs"]
mod contract;
#[path = "conformance/docker.rs"]
mod docker;
#[path = "conformance/environment.rs"]
mod environment;
#[path = "conformance/fake.rs"]
mod fake;
#[path = "conformance/isolation.rs"]
mod isolation;
