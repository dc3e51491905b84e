//! A place in a file with the line that is there and a mark under it.

use std::fmt::Write as _;

use anstyle::Style;
use reactorcide_engine::config::SourceFile;
use reactorcide_engine::diagnostic::Span;

use super::FRAME;

/// Longer lines are cut around the mark.
const WIDTH: usize = 120;

/// Writes ` --> file:line:col`, the line, and carets under the span with a label behind them.
pub fn write(text: &mut String, span: Span, label: Option<&str>, style: Style, sources: &[SourceFile]) {
    let Some(source) = sources.get(span.source as usize) else { return };
    let (start, end) = (source.place(span.start), source.place(span.end.max(span.start)));
    let path = super::printable(&source.path);
    let _ = writeln!(text, " {FRAME}-->{FRAME:#} {path}:{}:{}", start.line, start.column);
    let line: Vec<char> = source.line(start.line).chars().collect();
    let first = start.column - 1;
    // What goes on in the next line is marked to the end of this one.
    let last = if end.line == start.line { end.column - 1 } else { line.len() };
    let from = if line.len() <= WIDTH { 0 } else { first.saturating_sub(WIDTH / 2) };
    let to = line.len().min(from + WIDTH);
    let shown: String = line[from.min(to)..to].iter().map(|&one| one_column(one)).collect();
    let carets = last.min(to).saturating_sub(first).max(1);
    let number = start.line.to_string();
    let gutter = " ".repeat(number.len());
    let (left, right) = (if from > 0 { "…" } else { "" }, if to < line.len() { "…" } else { "" });
    let indent = " ".repeat(first.saturating_sub(from) + left.chars().count());
    let label = label.map(|label| format!(" {}", super::printable(label))).unwrap_or_default();
    let _ = writeln!(text, "{FRAME}{gutter} |{FRAME:#}");
    let shown = format!("{left}{shown}{right}");
    let _ = writeln!(text, "{FRAME}{number} |{FRAME:#} {}", shown.trim_end());
    let _ =
        writeln!(text, "{FRAME}{gutter} |{FRAME:#} {indent}{style}{}{label}{style:#}", "^".repeat(carets));
}

/// A character that takes one column and cannot steer a terminal.
fn one_column(character: char) -> char {
    match character {
        '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}
