//! The address of a resource: `Pipeline/web/ci`, `Project/web`, `Secret/-/deploy/production`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::Kind;

/// Names one resource in a workspace: its kind, its project where it has one, its name.
///
/// Written `Kind/name` for kinds that never have a project, `Kind/project/name` for those that do, and
/// `Kind/-/name` for those that may have one and do not. A slash in a name therefore never reads as a project.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The kind.
    pub kind: Kind,
    /// The project, for kinds that live in one.
    pub project: Option<String>,
    /// The name, unique for its kind and project.
    pub name: String,
}

impl Address {
    /// An address from its parts.
    pub fn new(kind: Kind, project: Option<&str>, name: &str) -> Self {
        Self { kind, project: project.map(str::to_owned), name: name.to_owned() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.project, self.kind.scope()) {
            (Some(project), _) => write!(f, "{}/{}/{}", self.kind, project, self.name),
            (None, crate::config::Scope::Workspace) => write!(f, "{}/{}", self.kind, self.name),
            (None, _) => write!(f, "{}/-/{}", self.kind, self.name),
        }
    }
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// The kind is not one of ours.
    #[error("{0:?} is not a kind of resource")]
    Kind(String),
    /// The rest has not the form that the kind asks for.
    #[error("an address of this kind is written {0}")]
    Form(&'static str),
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = Self::read(text)?;
        match (address.kind.scope(), &address.project) {
            (crate::config::Scope::Project, None) => Err(ParseAddressError::Form("Kind/project/name")),
            _ => Ok(address),
        }
    }
}

impl Address {
    /// Reads whatever is written of an address, also of what has no project although its kind wants one: a job that runs
    /// without a pipeline.
    fn read(text: &str) -> Result<Self, ParseAddressError> {
        use crate::config::Scope;
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        let kind: Kind = kind.parse().map_err(|_| ParseAddressError::Kind(kind.to_owned()))?;
        let form = match kind.scope() {
            Scope::Workspace => "Kind/name",
            Scope::Project => "Kind/project/name",
            Scope::Either => "Kind/project/name or Kind/-/name",
        };
        let error = || ParseAddressError::Form(form);
        let address = match kind.scope() {
            Scope::Workspace => Self::new(kind, None, rest),
            _ => match rest.split_once('/').ok_or_else(error)? {
                ("-", name) => Self::new(kind, None, name),
                ("", _) => return Err(error()),
                (project, name) => Self::new(kind, Some(project), name),
            },
        };
        if address.name.is_empty() { Err(error()) } else { Ok(address) }
    }
}

impl schemars::JsonSchema for Address {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "The address of a resource.",
            "examples": ["Pipeline/web/ci", "Project/web", "Secret/-/deploy/production"],
        })
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).map_err(serde::de::Error::custom)
    }
}

/// Whether a text is a name that a resource of this kind may have: the rule that files are held against.
pub fn is_name(kind: Kind, text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && part.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
            })
    };
    let mut parts = text.split('/');
    text.len() <= 128 && (kind == Kind::Secret || !text.contains('/')) && parts.all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for text in ["Project/web", "Pipeline/web/ci", "Secret/-/deploy/production", "Secret/web/deploy/key"]
        {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_stored_of_a_job_without_a_pipeline_reads_back_although_nobody_may_name_it() {
        let address = Address::new(Kind::Pipeline, None, "job");
        let stored = serde_json::to_string(&address).expect("JSON");
        assert_eq!(serde_json::from_str::<Address>(&stored).expect("an address"), address);
        assert!("Pipeline/-/job".parse::<Address>().is_err());
    }

    #[test]
    fn names_are_those_that_files_may_declare() {
        let pattern = |kind: Kind| {
            let schema = crate::schema::of_kind(kind);
            let pattern = &schema["properties"]["metadata"]["properties"]["name"]["pattern"];
            regex_lite::Regex::new(pattern.as_str().expect("a pattern")).expect("it compiles")
        };
        let names = [
            "a",
            "web",
            "a-b_c.d",
            "0",
            "A",
            "",
            ".",
            "..",
            "a/b",
            "a/../b",
            "../a",
            "a//b",
            "/a",
            "a/",
            "Ä b",
            "a b",
            "a\n",
            "-a",
            "a/.b",
            "deploy/production",
        ];
        for kind in [Kind::Project, Kind::Pipeline, Kind::Secret] {
            for name in names {
                assert_eq!(is_name(kind, name), pattern(kind).is_match(name), "{kind} {name:?}");
            }
        }
        assert!(!is_name(Kind::Project, &"a".repeat(129)));
    }

    #[test]
    fn a_text_that_is_no_address_is_refused() {
        for text in ["", "Project", "Project/", "Pipeline/ci", "Pipeline/-/ci", "Pipelin/web/ci", "Secret//x"]
        {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
