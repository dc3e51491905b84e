//! Both ends of a container's standard streams.

use std::io;
use std::pin::Pin;

use async_trait::async_trait;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::AttachContainerOptionsBuilder;
use futures_util::StreamExt;
use futures_util::future::ready;
use reactorcide_engine::provider::{Attachment, Chunk, Input, ProviderError};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::errors::Subject;

/// Attaches. With no log driver there are no earlier lines to ask for: who attaches before the start sees all.
pub(super) async fn attach(docker: &Docker, subject: Subject<'_>) -> Result<Attachment, ProviderError> {
    let inspected =
        docker.inspect_container(subject.name, None).await.map_err(|error| subject.error(error))?;
    let has_input = inspected.config.and_then(|config| config.open_stdin).unwrap_or(false);
    let options =
        AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true).stdin(has_input).build();
    let attached = docker.attach_container(subject.name, Some(options)).await;
    let attached = attached.map_err(|error| subject.error(error))?;
    // A connection that breaks is the end of the stream, as the contract says: the caller looks again.
    let output = attached.output.take_while(|item| ready(item.is_ok())).filter_map(|item| ready(chunk(item)));
    let input = has_input.then(|| Box::new(DockerInput { writer: attached.input }) as Box<dyn Input>);
    Ok(Attachment { input, output: output.boxed() })
}

fn chunk(item: Result<LogOutput, bollard::errors::Error>) -> Option<Result<Chunk, ProviderError>> {
    match item.ok()? {
        LogOutput::StdOut { message } => Some(Ok(Chunk { stderr: false, bytes: message.to_vec() })),
        LogOutput::StdErr { message } => Some(Ok(Chunk { stderr: true, bytes: message.to_vec() })),
        // Without a terminal there is no console: these are the remains of a frame that was cut off.
        LogOutput::StdIn { .. } | LogOutput::Console { .. } => None,
    }
}

struct DockerInput {
    writer: Pin<Box<dyn AsyncWrite + Send>>,
}

#[async_trait]
impl Input for DockerInput {
    async fn write_all(&mut self, bytes: &[u8]) -> Result<(), ProviderError> {
        self.writer.write_all(bytes).await.map_err(failed)?;
        self.writer.flush().await.map_err(failed)
    }

    async fn close(&mut self) -> Result<(), ProviderError> {
        match self.writer.shutdown().await {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotConnected | io::ErrorKind::BrokenPipe) => {
                Ok(())
            }
            closed => closed.map_err(failed),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn failed(error: io::Error) -> ProviderError {
    ProviderError::Engine {
        operation: "writing to the container's standard input",
        reason: error.to_string(),
    }
}
