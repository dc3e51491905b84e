//! What a job that somebody runs directly is to do: defaults, over them the environment (`REACTORCIDE_*`), over that a
//! job file, over all of it arguments. Each value remembers where it came from.
//!
//! The same rules hold on a laptop, where such a job becomes a container, and inside one.

mod check;
mod file;
mod key;
pub mod preview;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::mask::names;

pub use check::{Problem, SourceKind, SourceSettings, inside, time};
pub use file::{FileError, parse as parse_file, read as read_file};
pub use key::{KEYS, Key, key};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A variable.
    Environment(String),
    /// A job file.
    File(String),
    /// An argument.
    Argument(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment(name) => write!(f, "${name}"),
            Self::File(path) => write!(f, "{path}"),
            Self::Argument(name) => write!(f, "{name}"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Values of one origin.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    values: Vec<(String, Setting)>,
}

impl Layer {
    /// What the environment says.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut layer = Self::default();
        for key in KEYS {
            for name in key.names() {
                let variable_name = format!("REACTORCIDE_{}", name.to_ascii_uppercase());
                if let Some(value) = variable(&variable_name).filter(|value| !value.is_empty()) {
                    layer.put(name, value.into(), Origin::Environment(variable_name));
                }
            }
        }
        layer
    }

    /// What a job file says.
    pub fn of_file(path: &str, values: Map<String, Value>) -> Self {
        let origin = Origin::File(path.to_owned());
        Self {
            values: values
                .into_iter()
                .map(|(key, value)| (key, Setting { value, origin: origin.clone() }))
                .collect(),
        }
    }

    /// Adds what an argument says; `false` where there is no such key.
    pub fn argument(&mut self, name: &str, value: String) -> bool {
        let name = name.replace('-', "_");
        let known = key(&name).is_some();
        if known {
            self.put(&name, value.into(), Origin::Argument(format!("--{}", name.replace('_', "-"))));
        }
        known
    }

    /// `git_url` and `git_ref` say the same as `source_url` and `source_ref`, and that it is git.
    fn put(&mut self, name: &str, value: Value, origin: Origin) {
        let git = name.strip_suffix("git_url").map(|prefix| (prefix, "url"));
        let git = git.or_else(|| name.strip_suffix("git_ref").map(|prefix| (prefix, "ref")));
        match git {
            Some((prefix, what)) => {
                if what == "url" {
                    let kind = Setting { value: "git".into(), origin: origin.clone() };
                    self.values.push((format!("{prefix}source_type"), kind));
                }
                self.values.push((format!("{prefix}source_{what}"), Setting { value, origin }));
            }
            None => {
                let name = key(name).map_or(name, |key| key.name);
                self.values.push((name.to_owned(), Setting { value, origin }));
            }
        }
    }
}

/// Everything that was said, the last word of each key; the environment of the job variable by variable.
#[derive(Debug, Clone)]
pub struct Settings {
    values: BTreeMap<String, Setting>,
    environment: BTreeMap<String, Setting>,
    /// Files with more of the environment, below the job's directory.
    environment_files: Vec<(String, Origin)>,
    problems: Vec<Problem>,
}

impl Settings {
    /// Puts layers over each other, the defaults below all.
    pub fn resolve(layers: impl IntoIterator<Item = Layer>) -> Self {
        let mut settings = Self {
            values: BTreeMap::new(),
            environment: BTreeMap::new(),
            environment_files: Vec::new(),
            problems: Vec::new(),
        };
        for key in KEYS {
            if let Some(value) = key.default {
                let setting = Setting { value: value.into(), origin: Origin::Default };
                settings.values.insert(key.name.to_owned(), setting);
            }
        }
        for (key, setting) in layers.into_iter().flat_map(|layer| layer.values) {
            if key == "job_env" {
                settings.add_environment(setting);
            } else {
                settings.values.insert(key, setting);
            }
        }
        settings
    }

    /// What counts where nobody says anything.
    pub fn set_default(&mut self, name: &str, value: String) {
        self.values.insert(name.to_owned(), Setting { value: value.into(), origin: Origin::Default });
    }

    /// A value and where it came from.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.values.get(name)
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.value.as_str()
    }

    /// The environment of the job.
    pub fn environment(&self) -> &BTreeMap<String, Setting> {
        &self.environment
    }

    /// Files that say more of the environment, as they were named.
    pub fn environment_files(&self) -> &[(String, Origin)] {
        &self.environment_files
    }

    /// Adds the lines of a file of the environment. What was said more directly stays.
    pub fn add_environment_file(&mut self, path: &str, text: &str) {
        let origin = Origin::File(path.to_owned());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.trim_end().is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line);
            match line.split_once('=') {
                Some((name, value)) if is_variable(name) => {
                    let setting = Setting { value: unquoted(value).into(), origin: origin.clone() };
                    self.environment.entry(name.to_owned()).or_insert(setting);
                }
                _ => self
                    .problems
                    .push(Problem::new("job_env", format!("{path}:{}: this is not NAME=VALUE", number + 1))),
            }
        }
    }

    /// Everything, with what is secret hidden: for people to look at.
    pub fn shown(&self) -> BTreeMap<String, Setting> {
        let mut all: BTreeMap<String, Setting> =
            self.values.iter().map(|(key, setting)| (key.clone(), hidden(key, setting))).collect();
        for (name, setting) in &self.environment {
            let value = match &setting.value {
                Value::String(text) if names::says_secret(name) && names::is_worth_masking(text) => {
                    "***".into()
                }
                value => value.clone(),
            };
            let setting = Setting { value, origin: setting.origin.clone() };
            all.insert(format!("job_env.{name}"), setting);
        }
        all
    }

    fn add_environment(&mut self, setting: Setting) {
        let Setting { value, origin } = setting;
        match value {
            Value::Object(variables) => {
                for (name, value) in variables {
                    self.environment.insert(name, Setting { value, origin: origin.clone() });
                }
            }
            Value::String(text) => self.add_environment_text(&text, &origin),
            _ => {}
        }
    }

    /// `A=1,B=2`, or lines of it, or the name of a file.
    fn add_environment_text(&mut self, text: &str, origin: &Origin) {
        if !text.contains('=') {
            return self.environment_files.push((text.to_owned(), origin.clone()));
        }
        let several = text.contains('\n');
        let mut name: Option<String> = None;
        for part in text.split(if several { '\n' } else { ',' }) {
            match part.split_once('=').filter(|(name, _)| is_variable(name.trim())) {
                Some((new, value)) => {
                    let new = new.trim().to_owned();
                    self.environment
                        .insert(new.clone(), Setting { value: value.into(), origin: origin.clone() });
                    name = Some(new);
                }
                // A comma inside a value.
                None if !several && name.is_some() => {
                    if let Some(setting) = name.as_ref().and_then(|name| self.environment.get_mut(name))
                        && let Value::String(value) = &mut setting.value
                    {
                        value.push(',');
                        value.push_str(part);
                    }
                }
                None if part.trim().is_empty() => {}
                None => {
                    self.problems.push(Problem::new("job_env", format!("{origin}: a part is not NAME=VALUE")))
                }
            }
        }
    }
}

fn hidden(key: &str, setting: &Setting) -> Setting {
    let value = match (key, &setting.value) {
        ("secrets", Value::Array(secrets)) => secrets
            .iter()
            .map(|secret| {
                let mut secret = secret.clone();
                if let Some(value) = secret.get_mut("value") {
                    *value = "***".into();
                }
                secret
            })
            .collect(),
        // An address may carry somebody's password.
        ("source_url" | "ci_source_url", Value::String(url)) => without_password(url).into(),
        (_, value) => value.clone(),
    };
    Setting { value, origin: setting.origin.clone() }
}

/// An address without what stands before its `@`.
pub fn without_password(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| {
        let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
        let at = authority.rfind('@')?;
        // A user alone is a token where the web is spoken, and a name elsewhere: git@….
        let is_secret = authority[..at].contains(':') || matches!(scheme, "http" | "https");
        is_secret.then(|| (scheme, &rest[at + 1..]))
    }) {
        Some((scheme, rest)) => format!("{scheme}://***@{rest}"),
        None => url.to_owned(),
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A value of a file of variables, without the quotes around it.
fn unquoted(value: &str) -> &str {
    let value = value.trim_end();
    ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value)
}
