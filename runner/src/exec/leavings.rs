//! What steps leave behind for others: outputs and requests for more jobs.

use std::collections::BTreeMap;
use std::path::Path;

use reactorcide_protocol::frame::MAX_FRAME_BYTES;
use reactorcide_protocol::mask::Values;
use reactorcide_protocol::output;
use reactorcide_protocol::trigger::{self, Limits, TriggerRequest};
use serde_json::Value;

use super::files;

/// Reads the outputs that a step wrote.
pub fn outputs(path: &Path, values: &Values) -> Result<BTreeMap<String, Value>, String> {
    // What is wrong may quote what stands there.
    let wrong = |problem: String| said(&format!("the outputs file cannot be used: {problem}"), values);
    let Some(bytes) = files::read(path, output::MAX_BYTES as u64).map_err(wrong)? else {
        return Ok(BTreeMap::new());
    };
    let outputs = output::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
    for (key, value) in &outputs {
        if secret_in(value, key, values).is_some() || values.occur_in(key.as_bytes()) {
            let key = values.mask_str(key);
            return Err(wrong(format!("{key} contains a secret value, which may not leave the job")));
        }
    }
    fits(&outputs).map_err(wrong)?;
    Ok(outputs)
}

/// Reads what the job asks for in its file.
pub fn triggers(workspace: &Path, limits: &Limits, values: &Values) -> Result<Vec<TriggerRequest>, String> {
    let path = workspace.join(trigger::FILE);
    let wrong = |problem: String| said(&format!("{} cannot be used: {problem}", path.display()), values);
    match files::read(&path, limits.file_bytes).map_err(wrong)? {
        Some(bytes) => trigger::parse(&bytes, limits).map_err(|error| wrong(error.to_string())),
        None => Ok(Vec::new()),
    }
}

/// The most that is said of what is wrong, in characters.
const MOST_SAID: usize = 500;

/// What is wrong, for people: masked while it is whole, since a part of a secret would not be known for one, and only
/// then shortened.
fn said(problem: &str, values: &Values) -> String {
    let masked = values.mask_str(problem);
    if masked.chars().count() <= MOST_SAID {
        return masked;
    }
    masked.chars().take(MOST_SAID).chain(['…']).collect()
}

/// Where in a value a secret is, if there is one.
pub fn secret_in(value: &Value, place: &str, values: &Values) -> Option<String> {
    match value {
        Value::Null | Value::Bool(_) => None,
        Value::Number(number) => values.occur_in(number.to_string().as_bytes()).then(|| place.to_owned()),
        Value::String(text) => values.occur_in(text.as_bytes()).then(|| place.to_owned()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| secret_in(item, &format!("{place}[{index}]"), values)),
        Value::Object(entries) => entries.iter().find_map(|(key, item)| {
            let inner = format!("{place}.{key}");
            if values.occur_in(key.as_bytes()) { Some(inner) } else { secret_in(item, &inner, values) }
        }),
    }
}

/// The size of a value as JSON, if it fits into a frame.
pub fn fits(value: &impl serde::Serialize) -> Result<usize, String> {
    let length = serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len());
    if length > MAX_FRAME_BYTES / 2 {
        return Err(format!("it is too large: {length} bytes as JSON, at most {}", MAX_FRAME_BYTES / 2));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_outputs_quotes_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("outputs");
        let long = "s3cret-".repeat(30);
        for secret in ["hunter2-hunter2", long.as_str()] {
            refuses_without_quoting(&path, secret);
        }
    }

    fn refuses_without_quoting(path: &Path, secret: &str) {
        let values = Values::new([secret]).unwrap();
        for text in [
            format!("{secret} = 1"),
            format!("a b {secret}=1\n"),
            format!("key<<{secret}\nnever ends"),
            format!("{{\"{secret}"),
            format!("{{\"a b {secret}\": 1}}"),
            format!("={secret}"),
        ] {
            std::fs::write(path, &text).unwrap();
            if let Err(problem) = outputs(path, &values) {
                assert!(!problem.contains(&secret[..12]), "{text:?}: {problem}");
            }
        }
    }
}
