//! A plan as a file, to be shown and applied elsewhere and later.
//!
//! The file is JSON: a header that every version can read, then the plan as `plan --json` prints it. No secret can be
//! in it, as none can be in a plan.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{FORMAT_VERSION, Plan};
use crate::canonical;

/// What the file says of itself, whatever version wrote it.
#[derive(Deserialize)]
struct Header {
    reactorcide_plan: u32,
    #[serde(default)]
    written_by: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    /// The version of the format.
    reactorcide_plan: u32,
    /// The program that wrote it.
    written_by: String,
    /// A digest of the plan below, so that a damaged file is told from a whole one.
    digest: String,
    plan: Value,
}

/// Why a file is not a plan that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavedPlanError {
    /// It is something else.
    #[error("it is not a saved plan")]
    NotAPlan,
    /// A later version wrote it.
    #[error("it was written by {written_by}, in format {found}; this version reads up to {known}")]
    Newer {
        /// The program.
        written_by: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It is not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl SavedPlanError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotAPlan => "`reactorcide plan --out FILE` writes one",
            Self::Newer { .. } => "use that version of reactorcide, or a newer one",
            Self::Damaged(_) => "make the plan again with `reactorcide plan --out FILE`",
        }
    }
}

/// A plan as the text of a file.
pub fn to_saved(plan: &Plan, written_by: &str) -> String {
    let plan = serde_json::to_value(plan).expect("a plan has string keys and finite numbers");
    let file = File {
        reactorcide_plan: FORMAT_VERSION,
        written_by: written_by.to_owned(),
        digest: digest(&plan),
        plan,
    };
    let mut text = serde_json::to_string_pretty(&file).expect("a plan is JSON");
    text.push('\n');
    text
}

/// The plan of a file.
pub fn read_saved(bytes: &[u8]) -> Result<Plan, SavedPlanError> {
    let header: Header = serde_json::from_slice(bytes).map_err(|_| SavedPlanError::NotAPlan)?;
    if header.reactorcide_plan > FORMAT_VERSION {
        return Err(SavedPlanError::Newer {
            written_by: header.written_by,
            found: header.reactorcide_plan,
            known: FORMAT_VERSION,
        });
    }
    let damaged = |what: serde_json::Error| SavedPlanError::Damaged(what.to_string());
    let file: File = serde_json::from_slice(bytes).map_err(damaged)?;
    if digest(&file.plan) != file.digest {
        return Err(SavedPlanError::Damaged("its digest is another".to_owned()));
    }
    let plan: Plan = serde_json::from_value(file.plan).map_err(damaged)?;
    if !plan.is_whole() {
        return Err(SavedPlanError::Damaged("its fingerprint is another".to_owned()));
    }
    Ok(plan)
}

fn digest(plan: &Value) -> String {
    let mut text = String::new();
    canonical::write(plan, &mut text);
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Kind;
    use crate::plan::tests::{applied, desired, plan, resource};

    fn saved() -> (Plan, String) {
        let before = vec![resource(Kind::Project, "old", json!({}))];
        let plan =
            plan(&desired(vec![resource(Kind::Project, "web", json!({"weight": 3}))]), &applied(before));
        let text = to_saved(&plan, "reactorcide 0.1.0");
        (plan, text)
    }

    #[test]
    fn a_saved_plan_reads_back_as_it_was() {
        let (plan, text) = saved();
        assert_eq!(read_saved(text.as_bytes()), Ok(plan));
    }

    #[test]
    fn what_is_no_plan_damaged_or_newer_is_told_apart() {
        let (_, text) = saved();
        assert_eq!(read_saved(b"{}"), Err(SavedPlanError::NotAPlan));
        assert_eq!(read_saved(b"\xff"), Err(SavedPlanError::NotAPlan));
        assert_eq!(read_saved(&text.as_bytes()[..text.len() / 2]), Err(SavedPlanError::NotAPlan));
        let damaged = text.replacen("Project/web", "Project/evil", 1);
        assert!(matches!(read_saved(damaged.as_bytes()), Err(SavedPlanError::Damaged(_))));
        let newer = r#"{"reactorcide_plan": 9, "written_by": "reactorcide 7.0.0", "plan": "another shape"}"#;
        let error = read_saved(newer.as_bytes()).expect_err("it is newer");
        assert_eq!(
            error.to_string(),
            "it was written by reactorcide 7.0.0, in format 9; this version reads up to 1"
        );
    }
}
