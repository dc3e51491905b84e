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
    let wrong = |problem: String| format!("the outputs file cannot be used: {problem}");
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
    let wrong = |problem: String| format!("{} cannot be used: {problem}", path.display());
    match files::read(&path, limits.file_bytes).map_err(wrong)? {
        Some(bytes) => {
            trigger::parse(&bytes, limits).map_err(|error| wrong(values.mask_str(&error.to_string())))
        }
        None => Ok(Vec::new()),
    }
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

pub fn fits(value: &impl serde::Serialize) -> Result<(), String> {
    let length = serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len());
    if length > MAX_FRAME_BYTES / 2 {
        return Err(format!("it is too large: {length} bytes as JSON, at most {}", MAX_FRAME_BYTES / 2));
    }
    Ok(())
}
