//! From bytes to text: what a file may not hold before anything else is looked at.

use super::Budget;
use crate::diagnostic::{Diagnostic, Span};

/// The text of a file, or what is wrong with it and as much text as can be shown.
pub fn decode(
    source: u32,
    path: &str,
    bytes: Vec<u8>,
    budget: &Budget,
) -> Result<String, (Box<Diagnostic>, String)> {
    if bytes.len() > budget.bytes {
        let message = format!("the file has {} bytes, more than {}", bytes.len(), budget.bytes);
        let diagnostic =
            Diagnostic::error("RC1004", message).in_file(path).hint("split it into several files");
        return Err((Box::new(diagnostic), String::new()));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let diagnostic =
            Diagnostic::error("RC1002", "the file is UTF-16").in_file(path).hint("save it as UTF-8");
        return Err((Box::new(diagnostic), String::new()));
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            // Every broken byte becomes a replacement character of its own; what comes before keeps its place.
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let diagnostic =
                Diagnostic::error("RC1002", "the file is not UTF-8 from here on").at(span(source, at));
            return Err((Box::new(diagnostic.hint("save it as UTF-8")), text));
        }
    };
    if let Some(at) = text.find('\0') {
        let diagnostic = Diagnostic::error("RC1002", "the file holds a NUL byte").at(span(source, at));
        return Err((Box::new(diagnostic.hint("remove it; is this a text file?")), text));
    }
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn span(source: u32, at: usize) -> Span {
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    Span { source, start: at, end: at.saturating_add(1) }
}
