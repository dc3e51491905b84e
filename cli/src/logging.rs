//! The log of what goes on for long: a server, a worker. One line an event, on standard error.

use clap::{Args, ValueEnum};
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

/// What is logged, and how.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// How the lines of the log look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", env = "REACTORCIDE_LOG_FORMAT")]
    log_format: LogFormat,
    /// What is logged: a level, or TARGET=LEVEL separated by commas
    #[arg(long, value_name = "LEVEL", env = "REACTORCIDE_LOG")]
    log_level: Option<String>,
}

/// Begins to log.
pub fn begin(arguments: &LogArgs) -> Result<(), Failure> {
    let (format, wanted) = (arguments.log_format, arguments.log_level.as_deref());
    let wanted = wanted.filter(|wanted| !wanted.is_empty());
    let filter = EnvFilter::try_new(wanted.unwrap_or(DEFAULT)).map_err(|error| {
        Failure::new(format!("what is to be logged cannot be read: {error}"))
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
