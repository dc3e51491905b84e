//! Trust: whether an event may start anything, and under which profile.

use serde::Serialize;

use super::pattern::glob_matches;
use crate::address::Address;
use crate::config::{Actors, Catalog, EventType, Origin, Role, Spec, TrustAction, TrustRule};

/// Who did something, as the server found out by itself.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Actor {
    /// The name at the forge.
    pub user: String,
    /// Teams.
    pub teams: Vec<String>,
    /// What they may do in the repository.
    pub role: Option<Role>,
    /// Whether nothing of theirs was merged before.
    pub first_time: bool,
}

/// What happens to an event, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trust {
    /// What happens.
    pub action: TrustAction,
    /// The profile that bounds every job of the run.
    pub profile: Option<String>,
    /// The policy and which of its rules, from 0; none where no rule speaks of it.
    pub rule: Option<(Address, usize)>,
}

/// An event, as far as trust depends on it.
#[derive(Debug, Clone)]
pub struct Proposal<'a> {
    /// Its project.
    pub project: &'a str,
    /// Its type.
    pub event: EventType,
    /// Where the code comes from.
    pub origin: Origin,
    /// Who did it.
    pub actor: &'a Actor,
    /// The files that it changes.
    pub changed_files: &'a [String],
}

/// What happens to an event: the first rule that matches decides. Where none does, a pull request waits for an approval
/// and then runs untrusted. Any other event is somebody's who may start runs, and code that nobody could tell where it is
/// from gets no secret but those of a grant that says so.
pub fn trust(catalog: &Catalog, proposal: &Proposal<'_>) -> Trust {
    for (address, resource) in catalog {
        let Spec::TrustPolicy(spec) = &resource.spec else { continue };
        if !spec.projects.iter().any(|pattern| glob_matches(pattern, proposal.project)) {
            continue;
        }
        for (index, rule) in spec.rules.iter().enumerate() {
            if matches(rule, proposal) {
                return Trust {
                    action: rule.action,
                    profile: rule.profile.clone(),
                    rule: Some((address.clone(), index)),
                };
            }
        }
    }
    if proposal.origin == Origin::Base || proposal.event != EventType::PullRequest {
        Trust { action: TrustAction::Run, profile: None, rule: None }
    } else {
        Trust { action: TrustAction::RequireApproval, profile: Some("untrusted".to_owned()), rule: None }
    }
}

fn matches(rule: &TrustRule, proposal: &Proposal<'_>) -> bool {
    (rule.events.is_empty() || rule.events.contains(&proposal.event))
        && (rule.origins.is_empty() || rule.origins.contains(&proposal.origin))
        && rule.actors.as_ref().is_none_or(|actors| is_one_of(proposal.actor, actors))
        && (rule.paths.is_empty()
            || proposal
                .changed_files
                .iter()
                .any(|file| rule.paths.iter().any(|glob| glob_matches(glob, file))))
}

/// Whether somebody is meant: by name, team or role where any is named, and by what was merged before.
fn is_one_of(actor: &Actor, actors: &Actors) -> bool {
    let names_nobody = actors.users.is_empty() && actors.teams.is_empty() && actors.roles.is_empty();
    let is_named = actors.users.contains(&actor.user)
        || actor.teams.iter().any(|team| actors.teams.contains(team))
        || actor.role.is_some_and(|role| actors.roles.contains(&role));
    (names_nobody || is_named) && actors.first_time.is_none_or(|first_time| first_time == actor.first_time)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Kind;
    use crate::plan::tests::resource;

    fn catalog(rules: &serde_json::Value) -> Catalog {
        let policy = resource(Kind::TrustPolicy, "t", json!({"projects": ["web-*"], "rules": rules}));
        Catalog::from([(policy.address(), policy.into())])
    }

    fn proposal<'a>(project: &'a str, origin: Origin, actor: &'a Actor) -> Proposal<'a> {
        Proposal { project, event: EventType::PullRequest, origin, actor, changed_files: &[] }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let catalog = catalog(&json!([
            {"origins": ["fork"], "actors": {"users": ["mallory"]}, "action": "refuse"},
            {"origins": ["fork"], "actors": {"first_time": true}, "action": "require_approval", "profile": "untrusted"},
            {"origins": ["fork", "head"], "action": "run", "profile": "checks"},
        ]));
        let action = |user: &str, origin, first_time| {
            let actor = Actor { user: user.to_owned(), first_time, ..Actor::default() };
            let trust = trust(&catalog, &proposal("web-shop", origin, &actor));
            (trust.action, trust.rule.map(|(_, index)| index))
        };
        assert_eq!(action("mallory", Origin::Fork, true), (TrustAction::Refuse, Some(0)));
        assert_eq!(action("ada", Origin::Fork, true), (TrustAction::RequireApproval, Some(1)));
        assert_eq!(action("ada", Origin::Fork, false), (TrustAction::Run, Some(2)));
        assert_eq!(action("ada", Origin::Unverified, false), (TrustAction::RequireApproval, None));
        assert_eq!(action("ada", Origin::Base, false), (TrustAction::Run, None));
    }

    #[test]
    fn a_rule_speaks_of_its_projects_files_teams_and_roles_only() {
        let catalog = catalog(&json!([
            {"paths": ["ci/**"], "action": "refuse"},
            {"actors": {"teams": ["core"], "roles": ["admin"]}, "action": "run"},
        ]));
        let files = ["src/a.rs".to_owned(), "ci/b.sh".to_owned()];
        let stranger = Actor::default();
        let core = Actor { teams: vec!["core".to_owned()], ..Actor::default() };
        let admin = Actor { role: Some(Role::Admin), ..Actor::default() };
        let with_files = Proposal { changed_files: &files, ..proposal("web-a", Origin::Head, &core) };
        assert_eq!(trust(&catalog, &with_files).action, TrustAction::Refuse);
        for (actor, action) in
            [(&stranger, TrustAction::RequireApproval), (&core, TrustAction::Run), (&admin, TrustAction::Run)]
        {
            assert_eq!(trust(&catalog, &proposal("web-a", Origin::Head, actor)).action, action);
        }
        assert_eq!(trust(&catalog, &proposal("api", Origin::Head, &core)).rule, None);
    }
}
