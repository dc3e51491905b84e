//! Shows diagnostics and failures to people: where, the line itself, and what to do.

pub mod plan;
mod snippet;

use std::fmt::Write as _;
use std::io::Write;

use anstyle::{AnsiColor, Style};
use reactorcide_engine::config::SourceFile;
use reactorcide_engine::diagnostic::{Diagnostic, Severity};
pub use reactorcide_engine::printable::printable;
use reactorcide_server::api::ConfigurationError;
use serde_json::{Value, json};

use crate::exit::Failure;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();
const FRAME: Style = AnsiColor::Blue.on_default();

/// Prints diagnostics to stderr.
pub fn diagnostics(diagnostics: &[Diagnostic], sources: &[SourceFile]) {
    let mut stderr = anstream::stderr().lock();
    for diagnostic in diagnostics {
        let _ = write!(stderr, "{}", render(diagnostic, sources));
    }
}

/// Prints what a server says is wrong with a configuration to stderr.
pub fn configuration_errors(errors: &[ConfigurationError]) {
    let mut stderr = anstream::stderr().lock();
    for error in errors {
        let _ = writeln!(stderr, "{ERROR}error[{}]{ERROR:#}: {}", error.code, printable(&error.message));
        if let Some(path) = &error.path {
            let numbers = [error.line, error.column].into_iter().flatten();
            let place = numbers.fold(path.clone(), |place, number| format!("{place}:{number}"));
            let _ = writeln!(stderr, " {FRAME}-->{FRAME:#} {}", printable(&place));
        }
        if let Some(hint) = &error.hint {
            let _ = writeln!(stderr, "{HINT}hint:{HINT:#} {}", printable(hint));
        }
        let _ = writeln!(stderr);
    }
}

/// Prints a failure to stderr.
pub fn failure(failure: &Failure) {
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(stderr, "{ERROR}error:{ERROR:#} {}", printable(&failure.message));
    if let Some(hint) = &failure.hint {
        let _ = writeln!(stderr, "{HINT}hint:{HINT:#} {}", printable(hint));
    }
}

/// Says something to people that is neither a result nor an error.
pub fn note(message: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", printable(message));
}

/// One diagnostic as text with styles, ended by an empty line.
pub fn render(diagnostic: &Diagnostic, sources: &[SourceFile]) -> String {
    let (style, word) = match diagnostic.severity {
        Severity::Error => (ERROR, "error"),
        Severity::Warning => (WARNING, "warning"),
    };
    let mut text =
        format!("{style}{word}[{}]{style:#}: {}\n", diagnostic.code, printable(&diagnostic.message));
    match (diagnostic.span, &diagnostic.path) {
        (Some(span), _) => snippet::write(&mut text, span, None, style, sources),
        (None, Some(path)) => {
            let _ = writeln!(text, " {FRAME}-->{FRAME:#} {}", printable(path));
        }
        (None, None) => {}
    }
    for (span, label) in &diagnostic.related {
        snippet::write(&mut text, *span, Some(label), FRAME, sources);
    }
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(text, "{HINT}hint:{HINT:#} {}", printable(hint));
    }
    text.push('\n');
    text
}

/// One diagnostic as JSON: lines and columns are counted from 1, columns in characters.
pub fn to_json(diagnostic: &Diagnostic, sources: &[SourceFile]) -> Value {
    let place = |span: reactorcide_engine::diagnostic::Span| {
        sources.get(span.source as usize).map(|source| {
            let (start, end) = (source.place(span.start), source.place(span.end));
            json!({
                "file": source.path,
                "line": start.line, "column": start.column,
                "end_line": end.line, "end_column": end.column,
            })
        })
    };
    let related: Vec<Value> = diagnostic
        .related
        .iter()
        .map(|(span, label)| json!({"message": label, "place": place(*span)}))
        .collect();
    let at = diagnostic.span.and_then(place);
    json!({
        "severity": diagnostic.severity,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "place": at.or_else(|| diagnostic.path.as_ref().map(|path| json!({"file": path}))),
        "related": related,
        "hint": diagnostic.hint,
    })
}

/// A number with its noun: `1 error`, `2 errors`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
