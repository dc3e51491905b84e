//! Who somebody is, and what they may do: accounts, tokens, roles, and the one decision over them.
//!
//! [`identify`] turns a presented token into a [`Caller`] or refuses it; [`decide`] answers whether a caller may do
//! something. Both are pure. What is stored is behind [`IdentityStore`].

mod account;
mod binding;
mod capability;
pub mod conformance;
mod decide;
mod job_token;
mod memory;
mod store;
mod token;

pub use account::{
    Account, AccountKind, EmailError, NameError, ServiceAccount, Team, User, check_email, check_name,
};
pub use binding::{Bindings, Grant, Subject, SubjectError};
pub use capability::{Capability, Held, UnknownCapability};
pub use decide::{Authority, Caller, Decision, Need, Refusal, decide, identify, may_change, may_issue};
pub use job_token::JobToken;
pub use memory::MemoryIdentities;
pub use store::{IdentityError, IdentityStore, Known, TokenFilter};
pub use token::{
    MAX_TOKENS, NewToken, Scope, SecretHash, Token, TokenNameError, TokenParseError, TokenSecret, TokenText,
    USE_NOTED_EVERY, check_token_name,
};

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($name:ident: $doc:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    UserId: "The id of a user. It never changes, whatever their name becomes.";
    TeamId: "The id of a team.";
    ServiceAccountId: "The id of a service account.";
    WorkerId: "The id of a worker's registration.";
    TokenId: "The id of a token: 32 hexadecimal digits. It is no secret.";
}

/// Whom a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum Principal {
    /// A person.
    User(UserId),
    /// A team itself, not one of its members.
    Team(TeamId),
    /// A program.
    Service(ServiceAccountId),
    /// One attempt of one job. Its tokens die with it.
    Job(JobAttempt),
    /// A worker.
    Worker(WorkerId),
}

/// One attempt of one job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobAttempt {
    /// The run.
    pub run: String,
    /// The node of the run.
    pub node: String,
    /// Which attempt, counted from 1.
    pub attempt: u32,
}

impl Principal {
    /// The name of its kind, as it is stored.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Team(_) => "team",
            Self::Service(_) => "service",
            Self::Job(_) => "job",
            Self::Worker(_) => "worker",
        }
    }

    /// Its id within its kind, as it is stored. That of a job is `ATTEMPT/RUN/NODE`.
    pub fn key(&self) -> String {
        match self {
            Self::User(id) => id.0.clone(),
            Self::Team(id) => id.0.clone(),
            Self::Service(id) => id.0.clone(),
            Self::Worker(id) => id.0.clone(),
            Self::Job(JobAttempt { run, node, attempt }) => format!("{attempt}/{run}/{node}"),
        }
    }

    /// Reads back what [`Principal::kind`] and [`Principal::key`] wrote.
    pub fn read(kind: &str, key: &str) -> Option<Self> {
        let id = key.to_owned();
        Some(match kind {
            "user" => Self::User(UserId(id)),
            "team" => Self::Team(TeamId(id)),
            "service" => Self::Service(ServiceAccountId(id)),
            "worker" => Self::Worker(WorkerId(id)),
            "job" => {
                let mut parts = key.splitn(3, '/');
                let attempt = parts.next()?.parse().ok()?;
                let (run, node) = (parts.next()?.to_owned(), parts.next()?.to_owned());
                Self::Job(JobAttempt { run, node, attempt })
            }
            _ => return None,
        })
    }

    /// Whether it is a user, team or service account: something with a row of its own and a name.
    pub fn is_account(&self) -> bool {
        matches!(self, Self::User(_) | Self::Team(_) | Self::Service(_))
    }
}

/// `KIND:ID`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_reads_back() {
        let job = JobAttempt { run: "r1".into(), node: "build[a/b:c]".into(), attempt: 3 };
        let all = [
            Principal::User(UserId("u".into())),
            Principal::Team(TeamId("t".into())),
            Principal::Service(ServiceAccountId("s".into())),
            Principal::Worker(WorkerId("w/1".into())),
            Principal::Job(job),
        ];
        for principal in all {
            assert_eq!(Principal::read(principal.kind(), &principal.key()), Some(principal));
        }
        assert_eq!(Principal::read("job", "x/r/n"), None);
        assert_eq!(Principal::read("job", "1/r"), None);
        assert_eq!(Principal::read("nobody", "1"), None);
    }
}
