//! What can be asked for, by name, and the one table that says which role has what.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::Role;

/// Who may have a capability at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Whoever has this role or a higher one, on the project or on the workspace.
    InProject(Role),
    /// Whoever has this role or a higher one on the workspace. A role on a project does not have it.
    InWorkspace(Role),
    /// Every user, team and service account, without a role.
    ByAll,
    /// Workers alone.
    ByWorkers,
    /// The job itself, for its own run.
    ByJobs,
}

impl Held {
    /// As docs/access.md says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProject(Role::Read) => "read",
            Self::InProject(Role::Write) => "write",
            Self::InProject(Role::Admin) => "admin",
            Self::InWorkspace(Role::Read) => "read on the workspace",
            Self::InWorkspace(Role::Write) => "write on the workspace",
            Self::InWorkspace(Role::Admin) => "admin on the workspace",
            Self::ByAll => "everybody",
            Self::ByWorkers => "workers",
            Self::ByJobs => "the job itself",
        }
    }
}

macro_rules! capabilities {
    ($($name:ident = $text:literal, $held:expr, $doc:literal;)*) => {
        /// Something that can be asked for. Its name is stable: tokens and the audit log hold it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Capability {
            $(#[doc = $doc] $name,)*
        }

        impl Capability {
            /// All there are, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Who may have it.
            pub fn held(self) -> Held {
                match self { $(Self::$name => $held,)* }
            }

            /// What it is, for people, in the words of the documentation.
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}

// The table. docs/access.md holds the same, and a test holds the two together.
capabilities! {
    RunsRead = "runs.read", Held::InProject(Role::Read), "See runs, their jobs, and why each did what it did.";
    RunsStart = "runs.start", Held::InProject(Role::Write), "Start runs, and run failed jobs again.";
    RunsCancel = "runs.cancel", Held::InProject(Role::Write), "Cancel runs, cancel and kill jobs.";
    RunsApprove = "runs.approve", Held::InProject(Role::Write), "Approve runs and deployments that wait for it, but for one's own.";
    LogsRead = "logs.read", Held::InProject(Role::Read), "Read and follow logs.";
    ArtifactsRead = "artifacts.read", Held::InProject(Role::Read), "Fetch artifacts, and see caches.";
    ArtifactsWrite = "artifacts.write", Held::InProject(Role::Write), "Add and remove artifacts, and remove caches.";
    EventsSend = "events.send", Held::InProject(Role::Write), "Send events that may start runs.";
    QueueRead = "queue.read", Held::InProject(Role::Read), "See what waits, where, and why.";
    ConfigRead = "config.read", Held::InProject(Role::Read), "See the applied configuration and its history.";
    ConfigPlan = "config.plan", Held::InProject(Role::Read), "See what a change would do.";
    ConfigApply = "config.apply", Held::InProject(Role::Admin), "Apply a change.";
    SecretsRead = "secrets.read", Held::InProject(Role::Read), "See secrets, their versions and who would get them, and never a value.";
    SecretsWrite = "secrets.write", Held::InProject(Role::Admin), "Set, rotate and delete values of secrets.";
    SecretsReveal = "secrets.reveal", Held::InWorkspace(Role::Admin), "Read values of secrets. Each time is written down.";
    SecretsKeys = "secrets.keys", Held::InWorkspace(Role::Admin), "See, rotate and retire the keys of the vault.";
    WorkersRead = "workers.read", Held::InWorkspace(Role::Read), "See workers and what they do.";
    WorkersAdmin = "workers.admin", Held::InWorkspace(Role::Admin), "Register, drain and disable workers.";
    UsersRead = "users.read", Held::InWorkspace(Role::Read), "See users, teams and service accounts.";
    UsersAdmin = "users.admin", Held::InWorkspace(Role::Admin), "Create, change and remove users, teams and service accounts.";
    TokensSelf = "tokens.self", Held::ByAll, "See, create and revoke one's own tokens.";
    TokensAdmin = "tokens.admin", Held::InWorkspace(Role::Admin), "See, create and revoke the tokens of others.";
    AuditRead = "audit.read", Held::InWorkspace(Role::Admin), "Read, export and verify the audit log.";
    MetricsRead = "metrics.read", Held::InWorkspace(Role::Read), "Read metrics.";
    JobsLease = "jobs.lease", Held::ByWorkers, "Lease jobs, and report on what was leased.";
    JobReport = "job.report", Held::ByJobs, "Trigger jobs, and store outputs and artifacts of its own run.";
    JobAsk = "job.ask", Held::ByJobs, "Ask for the state and the artifacts of its own run.";
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no capability {0:?}")]
pub struct UnknownCapability(pub String);

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|capability| capability.as_str() == text);
        found.copied().ok_or_else(|| UnknownCapability(text.to_owned()))
    }
}

impl Serialize for Capability {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Capability {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_stable_and_told_apart() {
        let names: BTreeSet<&str> = Capability::ALL.iter().map(|one| one.as_str()).collect();
        assert_eq!(names.len(), Capability::ALL.len());
        for capability in Capability::ALL {
            assert_eq!(capability.as_str().parse(), Ok(*capability));
            let json = serde_json::to_string(capability).expect("JSON");
            assert_eq!(serde_json::from_str::<Capability>(&json).expect("it reads back"), *capability);
        }
        assert!("runs".parse::<Capability>().is_err());
        assert!("Runs.Read".parse::<Capability>().is_err());
    }

    /// docs/access.md says the same as the table above, row by row.
    #[test]
    fn the_documentation_has_the_same_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/access.md");
        let text = std::fs::read_to_string(path).expect("docs/access.md");
        let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = Capability::ALL
            .iter()
            .map(|one| format!("| `{one}` | {} | {} |", one.held().as_str(), one.description()))
            .collect();
        assert_eq!(documented, expected);
    }
}
