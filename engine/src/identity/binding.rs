//! Which roles the applied configuration gives to whom.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::AccountKind;
use crate::config::{Kind, Role, Spec};
use crate::workflow::Resources;

/// Somebody by the name that a RoleBinding uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Which kind of account.
    pub kind: AccountKind,
    /// Its name.
    pub name: String,
}

/// `user:NAME`, `team:NAME` or `service:NAME`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

/// A text is no subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of user:NAME, team:NAME, service:NAME and token:NAME")]
pub struct SubjectError(pub String);

impl FromStr for Subject {
    type Err = SubjectError;

    /// `token:NAME` is the tokens of a service account, and so the account. Names that people give to tokens are never
    /// looked at: everybody can call a token what they like.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || SubjectError(text.to_owned());
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        let kind = match kind {
            "user" => AccountKind::User,
            "team" => AccountKind::Team,
            "service" | "token" => AccountKind::Service,
            _ => return Err(wrong()),
        };
        if name.is_empty() { Err(wrong()) } else { Ok(Self { kind, name: name.to_owned() }) }
    }
}

/// A role that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Where; `None` is the workspace with all its projects.
    pub project: Option<String>,
    /// The name of the RoleBinding that gives it.
    pub binding: String,
    /// To whom it gives it: the caller, or a team that they are in.
    pub subject: String,
}

/// All roles that the applied configuration gives, by subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings(BTreeMap<String, Vec<Grant>>);

impl Bindings {
    /// Collects them from what is applied.
    pub fn of(resources: &dyn Resources) -> Self {
        let mut bindings: BTreeMap<String, Vec<Grant>> = BTreeMap::new();
        for (address, resource) in resources.of_kind(Kind::RoleBinding) {
            let Spec::RoleBinding(spec) = &resource.spec else { continue };
            // What is no subject names nobody.
            for subject in spec.subjects.iter().filter_map(|text| text.parse::<Subject>().ok()) {
                let subject = subject.to_string();
                let grant = Grant {
                    role: spec.role,
                    project: spec.project.clone(),
                    binding: address.name.clone(),
                    subject: subject.clone(),
                };
                bindings.entry(subject).or_default().push(grant);
            }
        }
        Self(bindings)
    }

    /// What somebody is given.
    pub fn to(&self, subject: &Subject) -> &[Grant] {
        self.0.get(&subject.to_string()).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Catalog, Metadata, Resource, RoleBindingSpec};

    #[test]
    fn roles_are_collected_from_what_is_applied() {
        let mut catalog = Catalog::default();
        for (name, role, project, subjects) in [
            ("a", Role::Admin, None, &["user:ada", "team:core"][..]),
            ("b", Role::Write, Some("web"), &["token:bot", "service:other", "user:ada"]),
        ] {
            let spec = RoleBindingSpec {
                role,
                project: project.map(str::to_owned),
                subjects: subjects.iter().map(|&text| text.to_owned()).collect(),
            };
            let metadata = Metadata { name: name.to_owned(), ..Metadata::default() };
            let resource = Resource { metadata, spec: Spec::RoleBinding(Box::new(spec)) };
            catalog.insert(resource.address(), resource.into());
        }
        let bindings = Bindings::of(&catalog);
        let to = |text: &str| {
            let found = bindings.to(&text.parse().expect("a subject")).iter();
            found.map(|grant| (grant.binding.clone(), grant.project.clone())).collect::<Vec<_>>()
        };
        let web = || Some("web".to_owned());
        assert_eq!(to("user:ada"), [("a".into(), None), ("b".into(), web())]);
        assert_eq!(to("team:core"), [("a".into(), None)]);
        assert_eq!(to("service:bot"), [("b".into(), web())]);
        assert_eq!(to("service:other"), [("b".into(), web())]);
        assert_eq!(to("user:bot"), []);
    }

    #[test]
    fn a_subject_says_of_what_kind_it_is() {
        assert_eq!("token:x".parse::<Subject>().expect("a subject").to_string(), "service:x");
        for text in ["ada", "user:", "group:x", ":", "User:ada"] {
            assert!(text.parse::<Subject>().is_err(), "{text:?}");
        }
    }
}
