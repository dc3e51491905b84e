//! Docker keeps the contract. These tests need the engine and the local images that `./dev setup` makes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reactorcide_engine::provider::{ContainerSpec, Provider, PullPolicy};
use reactorcide_providers::{DockerConfig, DockerProvider, docker};

use crate::contract::contract;
use crate::environment::{Environment, Program};

/// An image with a shell.
pub const SHELL: &str = "reactorcide/busybox:local";
/// An image with one static program and nothing else.
pub const STATIC: &str = "reactorcide/static:local";

pub fn provider() -> DockerProvider {
    let environment = DockerConfig::from_environment();
    docker(DockerConfig { credentials: Some(PathBuf::from("/nonexistent")), ..environment })
}

pub async fn environment() -> Environment {
    let docker = provider();
    for image in [SHELL, STATIC] {
        let found = docker.pull(image, PullPolicy::Never, Duration::from_secs(10), &|_| {}).await;
        found.unwrap_or_else(|error| {
            panic!("{error}: run ./dev setup, which starts Docker and makes the images")
        });
    }
    Environment::new(Arc::new(docker), program, true)
}

pub fn sh(spec: &mut ContainerSpec, script: &str) {
    spec.image = SHELL.to_owned();
    spec.entrypoint = Some(vec!["/bin/sh".to_owned(), "-c".to_owned()]);
    spec.command = Some(vec![script.to_owned()]);
}

fn program(program: Program, spec: &mut ContainerSpec) {
    let waiting = "trap 'exit 143' TERM; echo ready; while true; do sleep 1000 & wait $!; done";
    let script = match program {
        Program::Lines(count) => format!("seq 1 {count} | sed 's/^/line /'"),
        Program::BothStreams => "echo out; echo err >&2".to_owned(),
        Program::Exit(code) => format!("exit {code}"),
        Program::Echo => "exec cat".to_owned(),
        Program::Sleep => waiting.to_owned(),
        Program::IgnoreTerm => "trap '' TERM; echo ready; while true; do sleep 1000; done".to_owned(),
    };
    sh(spec, &script);
}

contract!(environment().await);
