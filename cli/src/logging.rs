//! The log of what goes on for long: a server, a worker. One line an event, on standard error.

use std::fmt::{self, Write};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

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
        LogFormat::Json => log.fmt_fields(JsonFields::new()).event_format(Lines).try_init(),
    };
    // Somebody, a test, has begun already.
    drop(begun);
    Ok(())
}

/// One JSON object for each event, with the fields of the spans around it beside its own: whoever looks for a `trace_id`
/// finds every line of a job in one place, however deep it was written.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), time.into());
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        line.insert("target".to_owned(), event.metadata().target().into());
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let Some(fields) = extensions.get::<FormattedFields<N>>() else { continue };
            if let Ok(Value::Object(fields)) = serde_json::from_str(&fields.fields) {
                line.extend(fields);
            }
        }
        event.record(&mut Fields(&mut line));
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{value:?}");
        self.set(field, text);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_fields_around_a_line_stand_in_it() {
        let written = Written::default();
        let writer = written.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(Lines)
            .finish();
        tracing::subscriber::with_default(log, || {
            let span =
                tracing::info_span!("attempt", job.name = "a \"b\"", attempt = 2_u32, trace_id = "4bf9");
            let _inside = span.enter();
            tracing::info!(ok = true, count = 3, error = %"no\nway", "it went on");
        });
        let text = String::from_utf8(written.0.lock().expect("nobody panicked").clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut line: Value = serde_json::from_str(&text).expect("JSON");
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        line.as_object_mut().expect("an object").remove("timestamp");
        assert_eq!(
            line,
            serde_json::json!({
                "level": "INFO", "target": "reactorcide::logging::tests", "message": "it went on",
                "job.name": "a \"b\"", "attempt": 2, "trace_id": "4bf9", "ok": true, "count": 3, "error": "no\nway",
            })
        );
    }
}
