//! What a server and a worker show operators beside their log: where metrics are told, and where traces go.

use std::net::SocketAddr;

use reactorcide_providers::otlp;
use tokio::net::TcpListener;

use crate::exit::{Exit, Failure};
use crate::report;

/// Listens where metrics are told.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::new(format!("{address} cannot be listened on for metrics: {error}"))
            .hint("choose another address with --metrics-listen")
    })?;
    let address = listener.local_addr().unwrap_or(address);
    report::note(&format!("metrics at http://{address}/metrics"));
    Ok(listener)
}

/// What sends traces, if the environment names a place for them.
pub fn exporter(service: &str) -> Result<Option<otlp::Exporter>, Failure> {
    let refused = |error: otlp::SettingsError| {
        Failure::new(format!("traces cannot be sent: {error}"))
            .hint("docs/observability.md says which variables there are")
            .exit(Exit::Usage)
    };
    let settings = otlp::Settings::from_environment(service, |name| std::env::var(name).ok());
    let Some(settings) = settings.map_err(refused)? else { return Ok(None) };
    otlp::Exporter::start(settings).map(Some).map_err(refused)
}
