//! The log of what goes on for long: a server, a worker. One line an event, on standard error.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Failure};

/// What is told where nothing else is said.
const DEFAULT: &str =
    "warn,reactorcide=info,reactorcide_server=info,reactorcide_worker=info,reactorcide_state=info";

/// How lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Begins to log. `REACTORCIDE_LOG` says what, as `warn` or `reactorcide_server=debug`.
pub fn begin(format: LogFormat) -> Result<(), Failure> {
    let wanted = std::env::var("REACTORCIDE_LOG").ok().filter(|wanted| !wanted.is_empty());
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or(DEFAULT)).map_err(|error| {
        Failure::new(format!("REACTORCIDE_LOG cannot be read: {error}"))
            .hint("write a level, or TARGET=LEVEL, separated by commas")
            .exit(Exit::Usage)
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = match format {
        LogFormat::Text => log.with_target(false).with_ansi(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    // Somebody, a test, has begun already.
    drop(begun);
    Ok(())
}
