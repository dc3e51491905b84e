//! The run's variables as a file: what a step changes in it is a new value for the run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use reactorcide_protocol::mask::Values;
use reactorcide_protocol::{output, strict};
use serde_json::Value;

use super::files;
use super::leavings::secret_in;

/// The file, and what was last written or read there.
pub struct VarsFile {
    path: PathBuf,
    last: Vec<u8>,
}

impl VarsFile {
    /// Writes the file. Without it, steps have no variables to read and none to change.
    pub fn write(path: PathBuf, vars: &BTreeMap<String, Value>) -> Option<Self> {
        let last = serde_json::to_vec(vars).ok()?;
        files::write_new(&path, &last).ok()?;
        Some(Self { path, last })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a step changed since the last look, or why the file cannot be used. What is missing from it keeps its
    /// value.
    pub fn changes(
        &mut self,
        vars: &BTreeMap<String, Value>,
        values: &Values,
    ) -> Result<BTreeMap<String, Value>, String> {
        let wrong = |problem: String| format!("the file of variables cannot be used: {problem}");
        let bytes = match files::read(&self.path, output::MAX_BYTES as u64).map_err(wrong)? {
            Some(bytes) if bytes != self.last => bytes,
            _ => return Ok(BTreeMap::new()),
        };
        self.last.clone_from(&bytes);
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
        if text.trim().is_empty() {
            return Ok(BTreeMap::new());
        }
        let read = strict::parse(text).map_err(|error| {
            wrong(format!("it is not valid JSON: {:?} error at line {}", error.classify(), error.line()))
        })?;
        let Value::Object(read) = read else { return Err(wrong("it is not a JSON object".to_owned())) };
        let changed: BTreeMap<String, Value> =
            read.into_iter().filter(|(key, value)| vars.get(key) != Some(value)).collect();
        for (key, value) in &changed {
            check(key, value, values).map_err(wrong)?;
        }
        Ok(changed)
    }

    /// Variables have changed: the file says so too, unless a step is writing it.
    pub fn update(&mut self, vars: &BTreeMap<String, Value>) {
        let unchanged = matches!(files::read(&self.path, output::MAX_BYTES as u64), Ok(Some(bytes)) if bytes == self.last);
        let Ok(bytes) = serde_json::to_vec(vars) else { return };
        let next = self.path.with_extension("next");
        if unchanged && files::write_new(&next, &bytes).is_ok() && fs::rename(&next, &self.path).is_ok() {
            self.last = bytes;
        }
    }
}

/// What is wrong with a value that is to be handed on, if anything is.
pub fn check(key: &str, value: &Value, values: &Values) -> Result<(), String> {
    if values.occur_in(key.as_bytes()) || secret_in(value, key, values).is_some() {
        let key = values.mask_str(key);
        return Err(format!("{key} contains a secret value, which may not leave the job"));
    }
    if output::is_key(key) {
        Ok(())
    } else {
        let short: String = key.chars().take(80).collect();
        Err(format!("{short:?} is not a valid key: use letters, digits, `_`, `-` and `.`"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changed_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vars.json");
        let vars = BTreeMap::from([("a".to_owned(), json!(1)), ("b".to_owned(), json!("x"))]);
        let values = Values::new(["S3CRET"]).unwrap();
        let mut file = VarsFile::write(path.clone(), &vars).unwrap();
        let mut look = |text: &str| {
            fs::write(&path, text).unwrap();
            file.changes(&vars, &values)
        };
        assert_eq!(look(r#"{"a":1,"b":"x"}"#), Ok(BTreeMap::new()));
        assert_eq!(
            look(r#"{"a":2,"c":[1]}"#),
            Ok(BTreeMap::from([("a".to_owned(), json!(2)), ("c".to_owned(), json!([1]))]))
        );
        assert_eq!(look(" "), Ok(BTreeMap::new()));
        for (text, reason) in [
            ("[1]", "it is not a JSON object"),
            ("{", "it is not valid JSON: Eof error at line 1"),
            (r#"{"a":1,"a":2}"#, "it is not valid JSON: Data error at line 1"),
            (r#"{"t":"S3CRET"}"#, "t contains a secret value, which may not leave the job"),
            (r#"{"S3CRET":1}"#, "*** contains a secret value, which may not leave the job"),
            (r#"{"a b":1}"#, "\"a b\" is not a valid key: use letters, digits, `_`, `-` and `.`"),
        ] {
            assert_eq!(look(text), Err(format!("the file of variables cannot be used: {reason}")));
        }
    }

    #[test]
    fn a_file_that_a_step_writes_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vars.json");
        let mut file = VarsFile::write(path.clone(), &BTreeMap::new()).unwrap();
        let vars = BTreeMap::from([("a".to_owned(), json!(1))]);
        file.update(&vars);
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"a":1}"#);
        fs::write(&path, "{\"b\"").unwrap();
        file.update(&vars);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"b\"");
    }
}
