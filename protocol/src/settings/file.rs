//! Job files: YAML or JSON that says what one job does.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy};

/// The longest job file, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// What is wrong with a job file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Too long.
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotText,
    /// Not what a job file looks like.
    #[error("{0}")]
    Shape(String),
}

/// Reads a job file into settings.
pub fn parse(bytes: &[u8]) -> Result<Map<String, Value>, FileError> {
    read::<JobFile>(bytes).map(JobFile::settings)
}

/// Reads YAML or JSON of another shape, under the same limits.
pub fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, FileError> {
    if bytes.len() > MAX_BYTES {
        return Err(FileError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| FileError::NotText)?;
    let budget = serde_yaml::budget! {
        max_aliases: 100,
        max_anchors: 50,
        max_depth: 32,
        max_nodes: 50_000,
        max_documents: 1,
    };
    let options = serde_yaml::options! {
        budget: budget,
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        with_snippet: false,
    };
    serde_yaml::from_str_with_options(text, options)
        .map_err(|error| FileError::Shape(one_line(&error.to_string())))
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JobFile {
    name: Option<String>,
    job_command: Option<CommandText>,
    command: Option<CommandText>,
    steps: Vec<StepFile>,
    #[serde(alias = "runner_image", alias = "job_image")]
    image: Option<String>,
    code_dir: Option<String>,
    job_dir: Option<String>,
    artifacts_dir: Option<String>,
    #[serde(alias = "environment")]
    job_env: BTreeMap<String, String>,
    git: Option<GitFile>,
    source: Option<SourceFile>,
    ci_source: Option<SourceFile>,
    source_type: Option<String>,
    source_url: Option<String>,
    source_ref: Option<String>,
    ci_source_type: Option<String>,
    ci_source_url: Option<String>,
    ci_source_ref: Option<String>,
    secrets: Vec<SecretFile>,
    timeout: Option<String>,
}

/// Text, or a list of words; whatever else stands there is text too.
#[derive(Debug)]
struct CommandText(Value);

impl<'de> Deserialize<'de> for CommandText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = CommandText;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a command: text, or a list of a program and its arguments")
            }
            fn visit_str<E>(self, text: &str) -> Result<CommandText, E> {
                Ok(CommandText(text.into()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<CommandText, E> {
                // `true` and `false` are commands.
                Ok(CommandText(value.to_string().into()))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<CommandText, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = items.next_element::<String>()? {
                    words.push(Value::from(word));
                }
                Ok(CommandText(words.into()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StepFile {
    name: String,
    #[serde(alias = "command", deserialize_with = "command_value")]
    run: Value,
    #[serde(default, skip_serializing_if = "is_false")]
    parallel: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    depends_on: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    continue_on_error: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(default, alias = "env", skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
}

fn command_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    CommandText::deserialize(deserializer).map(|command| command.0)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GitFile {
    url: String,
    #[serde(default, rename = "ref")]
    reference: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SourceFile {
    #[serde(rename = "type")]
    kind: Option<String>,
    url: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    checksum: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SecretFile {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    delivery: Option<Delivery>,
}

/// What the variable of a secret carries.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Delivery {
    Environment,
    File,
}

impl JobFile {
    fn settings(self) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                all.insert(key.to_owned(), value);
            }
        };
        let text = |text: Option<String>| text.map(Value::from);
        if let Some(git) = self.git {
            put("source_type", Some("git".into()));
            put("source_url", Some(git.url.into()));
            put("source_ref", text(git.reference));
        }
        for (prefix, source) in [("source", self.source), ("ci_source", self.ci_source)] {
            let Some(source) = source else { continue };
            put(&format!("{prefix}_type"), text(source.kind));
            put(&format!("{prefix}_url"), text(source.url));
            put(&format!("{prefix}_ref"), text(source.reference));
            put(&format!("{prefix}_checksum"), text(source.checksum));
        }
        put("job_command", self.job_command.or(self.command).map(|command| command.0));
        put("steps", (!self.steps.is_empty()).then(|| json!(self.steps)));
        put("secrets", (!self.secrets.is_empty()).then(|| json!(self.secrets)));
        put("job_env", (!self.job_env.is_empty()).then(|| json!(self.job_env)));
        for (key, value) in [
            ("name", self.name),
            ("image", self.image),
            ("code_dir", self.code_dir),
            ("job_dir", self.job_dir),
            ("artifacts_dir", self.artifacts_dir),
            ("source_type", self.source_type),
            ("source_url", self.source_url),
            ("source_ref", self.source_ref),
            ("ci_source_type", self.ci_source_type),
            ("ci_source_url", self.ci_source_url),
            ("ci_source_ref", self.ci_source_ref),
            ("timeout", self.timeout),
        ] {
            put(key, text(value));
        }
        all
    }
}
