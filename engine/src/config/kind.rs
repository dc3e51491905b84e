//! The kinds of resources and where each may live.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A repository and what may manage it.
    Project,
    /// A workflow of jobs and the events that start it.
    Pipeline,
    /// A job to make others from.
    JobTemplate,
    /// That a secret exists, and where its value comes from.
    Secret,
    /// Which job may read which secret.
    SecretPolicy,
    /// What a pull request may run.
    TrustPolicy,
    /// The most that a job may have.
    ExecutionProfile,
    /// A set of variables, and the protection of what is deployed to it.
    Environment,
    /// Starts a pipeline by the clock.
    Schedule,
    /// A group of workers.
    WorkerPool,
    /// Who may do what.
    RoleBinding,
    /// An object behind another system's API.
    WebhookTarget,
}

/// Where a kind may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Only in the workspace: `metadata.project` is refused.
    Workspace,
    /// Only in a project: `metadata.project` is required.
    Project,
    /// In either.
    Either,
}

impl Kind {
    /// All kinds, in the order in which they are listed to people.
    pub const ALL: [Self; 12] = [
        Self::Project,
        Self::Pipeline,
        Self::JobTemplate,
        Self::Secret,
        Self::SecretPolicy,
        Self::TrustPolicy,
        Self::ExecutionProfile,
        Self::Environment,
        Self::Schedule,
        Self::WorkerPool,
        Self::RoleBinding,
        Self::WebhookTarget,
    ];

    /// Its name as it is written in `kind:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "Project",
            Self::Pipeline => "Pipeline",
            Self::JobTemplate => "JobTemplate",
            Self::Secret => "Secret",
            Self::SecretPolicy => "SecretPolicy",
            Self::TrustPolicy => "TrustPolicy",
            Self::ExecutionProfile => "ExecutionProfile",
            Self::Environment => "Environment",
            Self::Schedule => "Schedule",
            Self::WorkerPool => "WorkerPool",
            Self::RoleBinding => "RoleBinding",
            Self::WebhookTarget => "WebhookTarget",
        }
    }

    /// Where it may live.
    pub fn scope(self) -> Scope {
        match self {
            Self::Pipeline | Self::Schedule => Scope::Project,
            Self::JobTemplate | Self::Secret | Self::Environment => Scope::Either,
            _ => Scope::Workspace,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of resource")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}
