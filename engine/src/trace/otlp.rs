//! Spans, and how they are told in the JSON of OTLP
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

use serde_json::{Value, json};

use super::{SpanId, Trace};
use crate::scheduler::Millis;

/// Something that took time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace that it is in.
    pub trace: Trace,
    /// Its id.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// What it is.
    pub name: String,
    /// When it began.
    pub start: Millis,
    /// When it ended.
    pub end: Millis,
    /// What is known of it. No value of a secret and nothing that a job printed is ever among them.
    pub attributes: Vec<(&'static str, Scalar)>,
    /// Whether it ended badly, and how in a word.
    pub error: Option<String>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    /// Words.
    Text(String),
    /// A number.
    Number(i64),
}

/// Who tells of spans: names and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource(pub Vec<(String, String)>);

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u32> for Scalar {
    fn from(number: u32) -> Self {
        Self::Number(i64::from(number))
    }
}

/// The body of a request that tells of spans.
pub fn request(resource: &Resource, spans: &[Span]) -> Value {
    let attributes =
        resource.0.iter().map(|(name, value)| json!({"key": name, "value": {"stringValue": value}}));
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes.collect::<Vec<_>>()},
        "scopeSpans": [{
            "scope": {"name": "reactorcide", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }]})
}

fn span(span: &Span) -> Value {
    let attribute = |(name, value): &(&'static str, Scalar)| {
        let value = match value {
            Scalar::Text(text) => json!({ "stringValue": text }),
            // 64 bits are text in this encoding.
            Scalar::Number(number) => json!({ "intValue": number.to_string() }),
        };
        json!({"key": name, "value": value})
    };
    let status = match &span.error {
        Some(word) => json!({"code": 2, "message": word}),
        None => json!({"code": 1}),
    };
    let mut value = json!({
        "traceId": span.trace.id(),
        "spanId": span.id.to_string(),
        "name": span.name,
        "kind": 1,
        "startTimeUnixNano": nanoseconds(span.start),
        "endTimeUnixNano": nanoseconds(span.end.max(span.start)),
        "attributes": span.attributes.iter().map(attribute).collect::<Vec<_>>(),
        "status": status,
    });
    if let Some(parent) = &span.parent {
        value["parentSpanId"] = json!(parent.to_string());
    }
    value
}

fn nanoseconds(at: Millis) -> String {
    (i128::from(at.max(0)) * 1_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_as_the_specification_says() {
        let trace: Trace =
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("a trace");
        let span = Span {
            id: SpanId::of_run("r"),
            parent: trace.parent,
            trace,
            name: "run".into(),
            start: 1_700_000_000_123,
            end: 1_700_000_001_000,
            attributes: vec![("reactorcide.run.id", "r".into()), ("reactorcide.attempt", 2.into())],
            error: Some("exit".into()),
        };
        let id = span.id.to_string();
        let told = request(&Resource(vec![("service.name".into(), "server".into())]), &[span]);
        let whole = &told["resourceSpans"][0];
        assert_eq!(
            whole["resource"]["attributes"],
            json!([{"key": "service.name", "value": {"stringValue": "server"}}])
        );
        assert_eq!(
            whole["scopeSpans"][0]["spans"],
            json!([{
                "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                "spanId": id,
                "parentSpanId": "00f067aa0ba902b7",
                "name": "run",
                "kind": 1,
                "startTimeUnixNano": "1700000000123000000",
                "endTimeUnixNano": "1700000001000000000",
                "attributes": [
                    {"key": "reactorcide.run.id", "value": {"stringValue": "r"}},
                    {"key": "reactorcide.attempt", "value": {"intValue": "2"}},
                ],
                "status": {"code": 2, "message": "exit"},
            }])
        );
    }
}
