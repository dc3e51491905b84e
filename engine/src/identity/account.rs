//! Users, teams and service accounts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Principal, ServiceAccountId, Subject, TeamId, UserId};
use crate::scheduler::Millis;

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Who they are, whatever their name becomes.
    pub id: UserId,
    /// The name, unique among users: the NAME of `user:NAME` in a RoleBinding.
    pub username: String,
    /// Where to write to them; unique among users, whatever its case.
    pub email: Option<String>,
    /// Whether they may do everything without a RoleBinding. The first user of a workspace is one.
    pub superuser: bool,
    /// Grows with every change; a change names the one that it was made from.
    pub version: u64,
    /// When they were added.
    pub created_at: Millis,
    /// Since when none of their tokens works.
    pub disabled_at: Option<Millis>,
}

/// People who have roles together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// What it is, whatever its name becomes.
    pub id: TeamId,
    /// The name, unique among teams: the NAME of `team:NAME` in a RoleBinding.
    pub name: String,
    /// Who is in it.
    pub members: BTreeSet<UserId>,
    /// Grows with every change; a change names the one that it was made from.
    pub version: u64,
    /// When it was added.
    pub created_at: Millis,
    /// Since when it gives its members nothing, and none of its own tokens works.
    pub disabled_at: Option<Millis>,
}

/// A program that is let in under a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// What it is, whatever its name becomes.
    pub id: ServiceAccountId,
    /// The name, unique among service accounts: the NAME of `service:NAME` in a RoleBinding.
    pub name: String,
    /// Grows with every change; a change names the one that it was made from.
    pub version: u64,
    /// When it was added.
    pub created_at: Millis,
    /// Since when none of its tokens works.
    pub disabled_at: Option<Millis>,
}

/// One of the three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Account {
    /// A person.
    User(User),
    /// People together.
    Team(Team),
    /// A program.
    Service(ServiceAccount),
}

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    /// A person.
    User,
    /// People together.
    Team,
    /// A program.
    Service,
}

impl AccountKind {
    /// As it stands in a RoleBinding and is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Team => "team",
            Self::Service => "service",
        }
    }

    /// In a sentence for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Team => "team",
            Self::Service => "service account",
        }
    }
}

/// The same for each of the three.
macro_rules! of_each {
    ($self:ident, $it:ident => $value:expr) => {
        match $self {
            Account::User($it) => $value,
            Account::Team($it) => $value,
            Account::Service($it) => $value,
        }
    };
}

impl Account {
    /// Which of the three it is.
    pub fn kind(&self) -> AccountKind {
        match self {
            Self::User(_) => AccountKind::User,
            Self::Team(_) => AccountKind::Team,
            Self::Service(_) => AccountKind::Service,
        }
    }

    /// As the owner of tokens.
    pub fn principal(&self) -> Principal {
        match self {
            Self::User(user) => Principal::User(user.id.clone()),
            Self::Team(team) => Principal::Team(team.id.clone()),
            Self::Service(service) => Principal::Service(service.id.clone()),
        }
    }

    /// Its name, unique within its kind.
    pub fn name(&self) -> &str {
        match self {
            Self::User(user) => &user.username,
            Self::Team(team) => &team.name,
            Self::Service(service) => &service.name,
        }
    }

    /// What a RoleBinding calls it.
    pub fn subject(&self) -> Subject {
        Subject { kind: self.kind(), name: self.name().to_owned() }
    }

    /// Which version of it this is.
    pub fn version(&self) -> u64 {
        of_each!(self, it => it.version)
    }

    /// The same as another version.
    pub fn with_version(mut self, version: u64) -> Self {
        let slot = &mut self;
        of_each!(slot, it => it.version = version);
        self
    }

    /// When it was added.
    pub fn created_at(&self) -> Millis {
        of_each!(self, it => it.created_at)
    }

    /// Since when it may do nothing.
    pub fn disabled_at(&self) -> Option<Millis> {
        of_each!(self, it => it.disabled_at)
    }

    /// The address of a user, in the form in which it is compared.
    pub fn email_key(&self) -> Option<String> {
        match self {
            Self::User(user) => user.email.as_deref().map(str::to_lowercase),
            _ => None,
        }
    }
}

/// Why a text is no name of an account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name: write 1 to 128 of lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
)]
pub struct NameError(pub String);

/// Whether a text can be the name of an account: the same words as the names of resources.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let first = name.bytes().next().is_some_and(is_word);
    let rest = name.bytes().all(|c| is_word(c) || matches!(c, b'-' | b'_' | b'.'));
    if first && rest && name.len() <= 128 { Ok(()) } else { Err(NameError(name.to_owned())) }
}

/// Why a text is no e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no e-mail address")]
pub struct EmailError(pub String);

/// Whether a text may be an e-mail address. Only a mail that arrives would show that it is one.
pub fn check_email(email: &str) -> Result<(), EmailError> {
    let parts = email.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty()
            && !host.is_empty()
            && !host.contains('@')
            && !host.starts_with('.')
            && !host.ends_with('.')
    });
    let is_plain = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    if parts && is_plain && email.len() <= 254 { Ok(()) } else { Err(EmailError(email.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word() {
        for name in ["ada", "a", "deploy-bot_2.x", "0"] {
            assert_eq!(check_name(name), Ok(()));
        }
        let long = "a".repeat(129);
        for name in ["", "Ada", "-a", ".", "a b", "a:b", "ä", "a\n", long.as_str()] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_address_has_two_parts() {
        for email in ["ada@example.com", "a+b@localhost", "ä@例え.jp"] {
            assert_eq!(check_email(email), Ok(()));
        }
        for email in ["", "ada", "@b", "a@", "a@b@c", "a @b", "a@b\n", "a@.b", "a@b.", "a\0@b"] {
            assert!(check_email(email).is_err(), "{email:?}");
        }
    }
}
