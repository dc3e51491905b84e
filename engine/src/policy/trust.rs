//! Trust: whether an event may start anything, and under which profile.

use std::collections::BTreeSet;

use serde::Serialize;

use super::pattern::glob_matches;
use crate::address::Address;
use crate::config::{
    Actors, Catalog, EventType, Origin, Role, Spec, TrustAction, TrustPolicySpec, TrustRule,
};

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
    /// Whether nothing of theirs was merged before; nothing where nobody knows.
    pub first_time: Option<bool>,
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
    /// Whether nobody can tell if the rule is about it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unclear: bool,
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
    /// Whose it is and who did something to it: a rule about people is about all of them.
    pub people: &'a [Actor],
    /// The files that it changes.
    pub changed_files: &'a [String],
    /// Whether it changes more files than those.
    pub changes_more: bool,
}

/// Whether a rule is about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    No,
    /// It depends on what nobody has told.
    Unclear,
    Yes,
}

impl From<bool> for Match {
    fn from(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}

/// What happens to an event: the first rule that matches decides. Where nobody can tell whether a rule is about a pull
/// request, that rule decides too, and lets nothing run that nobody has approved. Where none matches, a pull request waits for an approval
/// and then runs untrusted. Any other event is somebody's who may start runs, and code that nobody could tell where it is
/// from gets no secret but those of a grant that says so.
pub fn trust(catalog: &Catalog, proposal: &Proposal<'_>) -> Trust {
    for (address, rule, index) in TrustPolicies::of(catalog).rules(proposal.project) {
        let action = match matches(rule, proposal) {
            Match::No => continue,
            Match::Unclear => rule.action.min(TrustAction::RequireApproval),
            Match::Yes => rule.action,
        };
        return Trust {
            action,
            profile: rule.profile.clone(),
            rule: Some((address.clone(), index)),
            unclear: action != rule.action,
        };
    }
    usual(proposal.event, proposal.origin)
}

/// What happens where no rule speaks of it.
fn usual(event: EventType, origin: Origin) -> Trust {
    if origin == Origin::Base || event != EventType::PullRequest {
        Trust { action: TrustAction::Run, profile: None, rule: None, unclear: false }
    } else {
        Trust {
            action: TrustAction::RequireApproval,
            profile: Some("untrusted".to_owned()),
            rule: None,
            unclear: false,
        }
    }
}

/// Every trust policy that is applied.
pub(super) struct TrustPolicies<'a>(Vec<(&'a Address, &'a TrustPolicySpec)>);

impl<'a> TrustPolicies<'a> {
    pub fn of(catalog: &'a Catalog) -> Self {
        let policies = catalog.iter().filter_map(|(address, resource)| match &resource.spec {
            Spec::TrustPolicy(spec) => Some((address, &**spec)),
            _ => None,
        });
        Self(policies.collect())
    }

    /// The rules that speak of a project, in the order in which they are asked.
    fn rules(&self, project: &str) -> impl Iterator<Item = (&'a Address, &'a TrustRule, usize)> {
        let speaks =
            |spec: &TrustPolicySpec| spec.projects.iter().any(|pattern| glob_matches(pattern, project));
        let policies = self.0.iter().filter(move |(_, spec)| speaks(spec));
        policies.flat_map(|(address, spec)| {
            spec.rules.iter().enumerate().map(|(index, rule)| (*address, rule, index))
        })
    }

    /// The profiles that may bound a run, whoever starts it and whatever it changes: those of each rule that may be the
    /// first to match. `None` is no bound; none at all, that nothing of the kind can run.
    pub fn ceilings(&self, project: &str, event: EventType, origin: Origin) -> BTreeSet<Option<String>> {
        let mut found = BTreeSet::new();
        for (_, rule, _) in self.rules(project).filter(|(_, rule, _)| is_about(rule, event, origin)) {
            if rule.action != TrustAction::Refuse {
                found.insert(rule.profile.clone());
            }
            if rule.paths.is_empty() && rule.actors.as_ref().is_none_or(|actors| *actors == Actors::default())
            {
                return found;
            }
        }
        found.insert(usual(event, origin).profile);
        found
    }
}

fn matches(rule: &TrustRule, proposal: &Proposal<'_>) -> Match {
    if !is_about(rule, proposal.event, proposal.origin) {
        return Match::No;
    }
    by_people(rule, proposal).min(by_paths(rule, proposal))
}

/// Whether it changes what a rule is about. Other events than proposals change what is there already.
fn by_paths(rule: &TrustRule, proposal: &Proposal<'_>) -> Match {
    // A link or a file in the place of a directory changes what is in the directory.
    let is_in = |glob: &str, file: &str| glob_matches(glob, file) || glob.strip_suffix("/**") == Some(file);
    let files = proposal.changed_files;
    if rule.paths.is_empty() || files.iter().any(|file| rule.paths.iter().any(|glob| is_in(glob, file))) {
        Match::Yes
    } else if proposal.event == EventType::PullRequest && (proposal.changes_more || files.is_empty()) {
        Match::Unclear
    } else {
        Match::No
    }
}

/// Whether it is by those whom a rule is about: by all or by none of the people who had a part in it, or it is unclear.
fn by_people(rule: &TrustRule, proposal: &Proposal<'_>) -> Match {
    let Some(actors) = &rule.actors else { return Match::Yes };
    let is_proposal = proposal.event == EventType::PullRequest;
    let nobody = [Actor::default()];
    let people = if proposal.people.is_empty() { &nobody } else { proposal.people };
    let each = || people.iter().map(|person| is_one_of(person, actors, is_proposal));
    match (each().min(), each().max()) {
        (Some(least), Some(most)) if least == most => least,
        _ => Match::Unclear,
    }
}

fn is_about(rule: &TrustRule, event: EventType, origin: Origin) -> bool {
    (rule.events.is_empty() || rule.events.contains(&event))
        && (rule.origins.is_empty() || rule.origins.contains(&origin))
}

/// Whether somebody is meant: by name, team or role where any is named, and by what was merged before.
fn is_one_of(person: &Actor, actors: &Actors, is_proposal: bool) -> Match {
    let names_nobody = actors.users.is_empty() && actors.teams.is_empty() && actors.roles.is_empty();
    let is_named = actors.users.contains(&person.user)
        || person.teams.iter().any(|team| actors.teams.contains(team))
        || person.role.is_some_and(|role| actors.roles.contains(&role));
    let named = match names_nobody || is_named {
        false if is_proposal && person.user.is_empty() => Match::Unclear,
        is_named => is_named.into(),
    };
    let known = match (actors.first_time, person.first_time) {
        (None, _) => Match::Yes,
        (Some(_), None) if is_proposal => Match::Unclear,
        (Some(wanted), found) => (found.unwrap_or_default() == wanted).into(),
    };
    named.min(known)
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
        Proposal {
            project,
            event: EventType::PullRequest,
            origin,
            people: std::slice::from_ref(actor),
            changed_files: &[],
            changes_more: false,
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let catalog = catalog(&json!([
            {"origins": ["fork"], "actors": {"users": ["mallory"]}, "action": "refuse"},
            {"origins": ["fork"], "actors": {"first_time": true}, "action": "require_approval", "profile": "untrusted"},
            {"origins": ["fork", "head"], "action": "run", "profile": "checks"},
        ]));
        let action = |user: &str, origin, first_time| {
            let actor = Actor { user: user.to_owned(), first_time: Some(first_time), ..Actor::default() };
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
    fn every_rule_that_may_be_the_first_to_match_may_bound_a_run() {
        let catalog = catalog(&json!([
            {"origins": ["fork"], "actors": {"users": ["mallory"]}, "action": "refuse"},
            {"origins": ["fork"], "actors": {"first_time": true}, "profile": "checks"},
            {"origins": ["fork"], "paths": ["docs/**"], "action": "run"},
            {"origins": ["head"], "action": "run", "actors": {}, "profile": "trusted"},
            {"origins": ["head"], "action": "run"},
            {"origins": ["unverified"], "action": "refuse"},
        ]));
        let policies = TrustPolicies::of(&catalog);
        let ceilings = |origin| {
            let found = policies.ceilings("web-shop", EventType::PullRequest, origin);
            found.into_iter().map(|name| name.unwrap_or_default()).collect::<Vec<_>>()
        };
        assert_eq!(ceilings(Origin::Fork), ["", "checks", "untrusted"]);
        assert_eq!(ceilings(Origin::Head), ["trusted"]);
        assert_eq!(ceilings(Origin::Unverified), [""; 0]);
        assert_eq!(ceilings(Origin::Base), [""]);
    }

    #[test]
    fn a_rule_speaks_of_its_projects_files_teams_and_roles_only() {
        let catalog = catalog(&json!([
            {"paths": ["ci/**"], "action": "refuse"},
            {"actors": {"teams": ["core"], "roles": ["admin"]}, "action": "run"},
        ]));
        let files = ["src/a.rs".to_owned(), "ci/b.sh".to_owned()];
        let other = ["src/a.rs".to_owned()];
        let known = |user: &str| Actor { user: user.to_owned(), ..Actor::default() };
        let stranger = known("mallory");
        let core = Actor { teams: vec!["core".to_owned()], ..known("ada") };
        let admin = Actor { role: Some(Role::Admin), ..known("eve") };
        let with_files = Proposal { changed_files: &files, ..proposal("web-a", Origin::Head, &core) };
        assert_eq!(trust(&catalog, &with_files).action, TrustAction::Refuse);
        for (actor, action) in
            [(&stranger, TrustAction::RequireApproval), (&core, TrustAction::Run), (&admin, TrustAction::Run)]
        {
            let proposal = Proposal { changed_files: &other, ..proposal("web-a", Origin::Head, actor) };
            assert_eq!(trust(&catalog, &proposal).action, action);
        }
        assert_eq!(trust(&catalog, &proposal("api", Origin::Head, &core)).rule, None);
    }

    #[test]
    fn what_nobody_tells_of_a_proposal_lets_nothing_run_by_itself() {
        let known = |user: &str, first_time: bool| Actor {
            user: user.to_owned(),
            first_time: Some(first_time),
            ..Actor::default()
        };
        let mallory = known("mallory", true);
        let of = |rules: serde_json::Value, people: &[Actor], files: &[&str], changes_more: bool| {
            let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
            let catalog = catalog(&rules);
            let proposal = proposal("web-a", Origin::Fork, &mallory);
            let found =
                trust(&catalog, &Proposal { people, changed_files: &files, changes_more, ..proposal });
            (found.action, found.rule.map(|(_, index)| index), found.unclear)
        };
        let (refuse, wait, run) = (TrustAction::Refuse, TrustAction::RequireApproval, TrustAction::Run);
        let everybody = || [known("mallory", true)];
        // Files that are not told, or not all of them.
        let rules = || json!([{"paths": ["deploy/**"], "action": "refuse"}, {"action": "run"}]);
        assert_eq!(of(rules(), &everybody(), &["src/a"], false), (run, Some(1), false));
        assert_eq!(of(rules(), &everybody(), &["src/a"], true), (refuse, Some(0), false));
        assert_eq!(of(rules(), &everybody(), &[], false), (refuse, Some(0), false));
        assert_eq!(of(rules(), &everybody(), &["deploy"], false), (refuse, Some(0), false));
        let rules = || json!([{"paths": ["docs/**"], "action": "run"}, {"action": "refuse"}]);
        assert_eq!(of(rules(), &everybody(), &[], false), (wait, Some(0), true));
        assert_eq!(of(rules(), &everybody(), &["src/a"], false), (refuse, Some(1), false));
        // Somebody of whom nothing is known.
        let rules = || json!([{"actors": {"first_time": true}}, {"action": "run"}]);
        let unknown = [Actor { user: "ada".to_owned(), ..Actor::default() }];
        assert_eq!(of(rules(), &[known("ada", false)], &[], false), (run, Some(1), false));
        assert_eq!(of(rules(), &unknown, &[], false), (wait, Some(0), false));
        assert_eq!(of(rules(), &[], &[], false), (wait, Some(0), false));
        // The code of one, and somebody else who touched it.
        let rules = || json!([{"actors": {"users": ["ada"]}, "action": "run"}, {"action": "refuse"}]);
        let both = [known("mallory", true), known("ada", false)];
        assert_eq!(of(rules(), &both, &[], false), (wait, Some(0), true));
        assert_eq!(of(rules(), &both[1..], &[], false), (run, Some(0), false));
        assert_eq!(of(rules(), &both[..1], &[], false), (refuse, Some(1), false));
    }
}
