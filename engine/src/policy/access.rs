//! Access: whether one job of one run gets one secret, through which grant, or why not.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::pattern::glob_matches;
use super::reach::{Effective, covers};
use super::trust::TrustPolicies;
use crate::address::Address;
use crate::config::{
    Catalog, Circumstances, EventType, Grant, Job, Origin, ProfileSecrets, SecretPolicySpec, Spec,
};
use crate::glob::selects;

/// Under which circumstances a job runs.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// The event.
    pub event: EventType,
    /// Its branch; for a pull request the one that it would be merged into.
    pub branch: &'a str,
    /// Its tag.
    pub tag: &'a str,
    /// Where the code under test comes from.
    pub origin: Origin,
    /// The profile that bounds the whole run, where a trust policy says so.
    pub ceiling: Option<&'a str>,
}

/// Whether a job gets a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "access", rename_all = "snake_case")]
pub enum Access {
    /// It does.
    Granted {
        /// The policy.
        policy: Address,
        /// Which of its grants, from 0.
        grant: usize,
    },
    /// It does not.
    Denied {
        /// Why, in words.
        reason: String,
    },
}

/// The secrets that a job asks for, with its templates and presets, and whether it gets them.
pub fn secrets_of(
    catalog: &Catalog,
    pipeline: &Address,
    name: &str,
    job: &Job,
    situation: &Situation<'_>,
) -> BTreeMap<Address, Access> {
    let job = Effective::of(catalog, pipeline, name, job);
    let decided = |secret: &Address| (secret.clone(), decide(catalog, pipeline, &job, secret, situation));
    job.secrets.iter().map(decided).collect()
}

/// What a job would get of one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Whether policies give it.
    pub access: Access,
    /// Whether the job asks for it at all.
    pub is_asked: bool,
    /// The profile that the job runs with.
    pub profile: String,
}

/// Whether a job that is applied would get a secret, and whether it asks for it. `None` where there is no such job.
pub fn would_get(
    catalog: &Catalog,
    pipeline: &Address,
    name: &str,
    secret: &Address,
    situation: &Situation<'_>,
) -> Option<Tested> {
    let Spec::Pipeline(spec) = &catalog.get(pipeline)?.spec else { return None };
    let job = Effective::of(catalog, pipeline, name, spec.jobs.get(name)?);
    let tested = |ceiling: Option<&str>| Tested {
        access: decide(catalog, pipeline, &job, secret, &Situation { ceiling, ..situation.clone() }),
        is_asked: job.secrets.contains(secret),
        profile: ceiling.unwrap_or(&job.profile).to_owned(),
    };
    if situation.ceiling.is_some() {
        return Some(tested(situation.ceiling));
    }
    // Nobody said who starts it: whoever gets the most.
    let ceilings = ceilings(catalog, pipeline, situation);
    let all: Vec<Tested> = ceilings.iter().map(|ceiling| tested(ceiling.as_deref())).collect();
    let granted = all.iter().find(|one| matches!(one.access, Access::Granted { .. }));
    Some(granted.or(all.last()).cloned().unwrap_or_else(|| tested(None)))
}

/// The profiles that may bound a run in a situation, by the trust policies that are applied.
fn ceilings(catalog: &Catalog, pipeline: &Address, situation: &Situation<'_>) -> BTreeSet<Option<String>> {
    let project = pipeline.project.as_deref().unwrap_or_default();
    TrustPolicies::of(catalog).ceilings(project, situation.event, situation.origin)
}

/// Whether a job gets a secret in a situation. What no grant allows is denied, and what is denied stays denied.
pub(super) fn decide(
    catalog: &Catalog,
    pipeline: &Address,
    job: &Effective,
    secret: &Address,
    situation: &Situation<'_>,
) -> Access {
    let denied = |reason: String| Access::Denied { reason };
    let profile = situation.ceiling.unwrap_or(&job.profile);
    for name in [profile, job.profile.as_str()] {
        let secrets =
            super::reach::profile_of(catalog, name).map_or(ProfileSecrets::None, |spec| spec.secrets);
        if secrets == ProfileSecrets::None {
            return denied(format!("the profile {name} has no secrets"));
        }
    }
    if !ceilings(catalog, pipeline, situation).contains(&situation.ceiling.map(str::to_owned)) {
        let bound =
            situation.ceiling.map_or("unbounded".to_owned(), |name| format!("with the profile {name}"));
        return denied(format!(
            "as trust policies are now, no {} of code from {} runs {bound}",
            situation.event.as_str(),
            situation.origin.as_str()
        ));
    }
    if !is_deployable(job, situation) {
        return denied(format!("its environment takes only commits of {}", job.protection.taken()));
    }
    let policies = || {
        catalog.iter().filter_map(|(address, resource)| match &resource.spec {
            Spec::SecretPolicy(spec) => Some((address, &**spec)),
            _ => None,
        })
    };
    let covered = |grant: &&Grant| covers(grant, secret, pipeline, &job.name);
    let differs = |grant: &Grant, default: &[Origin]| {
        grant.when.as_ref().map_or_else(
            || origin_differs(default, situation.origin),
            |when| difference(when, default, situation, profile, job.deploys_to.as_deref()),
        )
    };
    for (address, SecretPolicySpec { deny, .. }) in policies() {
        if deny.iter().filter(covered).any(|denial| differs(denial, &[]).is_none()) {
            return denied(format!("{address} denies it"));
        }
    }
    let mut reasons = Vec::new();
    for (address, SecretPolicySpec { allow, .. }) in policies() {
        for (index, grant) in allow.iter().enumerate().filter(|(_, grant)| covered(grant)) {
            match differs(grant, &[Origin::Base]) {
                None => return Access::Granted { policy: address.clone(), grant: index },
                Some(reason) => reasons.push(format!("{address} grants it only {reason}")),
            }
        }
    }
    if reasons.is_empty() {
        return denied("no policy grants it".to_owned());
    }
    reasons.dedup();
    denied(reasons.join("; "))
}

/// Whether the environment that a job deploys to takes what the situation is about.
fn is_deployable(job: &Effective, situation: &Situation<'_>) -> bool {
    let taken = job.protection.of_event(situation.event);
    let name = if situation.event == EventType::Tag { situation.tag } else { situation.branch };
    !job.protection.is_selective()
        || situation.origin == Origin::Base && !name.is_empty() && !taken.is_empty() && selects(taken, name)
}

/// What keeps circumstances from being those of a situation: `None` where nothing does.
fn difference(
    when: &Circumstances,
    default: &[Origin],
    situation: &Situation<'_>,
    profile: &str,
    deploys_to: Option<&str>,
) -> Option<String> {
    if !when.events.is_empty() && !when.events.contains(&situation.event) {
        return Some(format!("on {}", list(when.events.iter().map(|event| event.as_str()))));
    }
    if situation.event == EventType::Tag {
        if !when.tags.is_empty() && !selects(&when.tags, situation.tag) {
            return Some(format!("for the tags {}", list(&when.tags)));
        }
        // A grant for branches alone speaks of no tag, and one for tags alone of no branch.
        if when.tags.is_empty() && !when.branches.is_empty() {
            return Some(format!("on the branches {}", list(&when.branches)));
        }
    } else {
        if !when.branches.is_empty() && !selects(&when.branches, situation.branch) {
            return Some(format!("on the branches {}", list(&when.branches)));
        }
        if when.branches.is_empty() && !when.tags.is_empty() {
            return Some(format!("for the tags {}", list(&when.tags)));
        }
    }
    let origins = if when.origins.is_empty() { default } else { &when.origins };
    if let Some(reason) = origin_differs(origins, situation.origin) {
        return Some(reason);
    }
    if !when.profiles.is_empty() && !when.profiles.iter().any(|name| name == profile) {
        return Some(format!("with the profile {}", list(&when.profiles)));
    }
    if !when.environments.is_empty()
        && !deploys_to.is_some_and(|name| when.environments.iter().any(|environment| environment == name))
    {
        return Some(format!("to what deploys to {}", list(&when.environments)));
    }
    None
}

/// Against origins of which none means all.
fn origin_differs(origins: &[Origin], origin: Origin) -> Option<String> {
    let differs = !origins.is_empty() && !origins.contains(&origin);
    differs.then(|| format!("to code from {}", list(origins.iter().map(|origin| origin.as_str()))))
}

fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.as_ref().to_owned()).collect::<Vec<_>>().join(" or ")
}

/// The grants through which a row of the reach table comes about.
pub fn grants_of(catalog: &Catalog, row: &super::ReachRow) -> Vec<(Address, usize)> {
    let mut found = Vec::new();
    for (address, resource) in catalog {
        let Spec::SecretPolicy(spec) = &resource.spec else { continue };
        for (index, grant) in spec.allow.iter().enumerate() {
            if covers(grant, &row.secret, &row.pipeline, &row.job) && fits(grant, row) {
                found.push((address.clone(), index));
            }
        }
    }
    found
}

/// Whether a grant can be what a row comes from, whose branch is already what trigger and grant have in common.
fn fits(grant: &Grant, row: &super::ReachRow) -> bool {
    let Some(when) = &grant.when else { return row.origin == Origin::Base };
    let patterns = if row.event == EventType::Tag { &when.tags } else { &when.branches };
    let other = if row.event == EventType::Tag { &when.branches } else { &when.tags };
    (when.events.is_empty() || when.events.contains(&row.event))
        && when.origins.contains(&row.origin)
        && (when.profiles.is_empty() || when.profiles.contains(&row.profile))
        && (patterns.is_empty() && other.is_empty()
            || patterns.iter().any(|pattern| {
                row.branch == *pattern
                    || row.branch.split(" ∩ ").any(|part| part == pattern)
                    || glob_matches(pattern, &row.branch)
            }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Kind;
    use crate::plan::tests::resource;
    use crate::policy::{reach, secrets_of};

    const BRANCHES: [&str; 4] = ["main", "release/1", "next", "feature/x"];
    const PATTERNS: [&str; 7] = ["main", "release/*", "**", "feature/**", "next", "!main", "!feature/*"];
    const TAGS: [&str; 2] = ["v1", "beta"];

    fn circumstances() -> impl Strategy<Value = Value> {
        let some = |words: &'static [&'static str]| {
            prop::collection::btree_set(prop::sample::select(words), 0..3).prop_map(|set| json!(set))
        };
        (
            some(&["push", "pull_request", "tag", "manual"]),
            some(&PATTERNS),
            some(&["v*", "beta"]),
            some(&["base", "head", "fork", "unverified"]),
            some(&["trusted", "deployer"]),
            some(&["production"]),
        )
            .prop_map(|(events, branches, tags, origins, profiles, environments)| {
                let mut when = json!({});
                let parts = [
                    ("events", events),
                    ("branches", branches),
                    ("tags", tags),
                    ("origins", origins),
                    ("profiles", profiles),
                    ("environments", environments),
                ];
                for (name, value) in parts {
                    if value.as_array().is_some_and(|items| !items.is_empty()) {
                        when[name] = value;
                    }
                }
                when
            })
    }

    fn world(allow: &[Value], deny: &[Value], profile: &str, deploys: bool) -> Catalog {
        let grants = |whens: &[Value]| -> Vec<Value> {
            whens
                .iter()
                .map(|when| json!({"secrets": ["key"], "to": {"project": "web"}, "when": when}))
                .collect()
        };
        let mut job = json!({"image": "debian", "command": "x", "secrets": {"K": "key"}, "profile": profile});
        if deploys {
            job["deploys_to"] = json!("production");
        }
        let triggers = json!([{"event": "push"}, {"event": "pull_request"}, {"event": "tag"}]);
        let resources = [
            resource(Kind::Project, "web", json!({})),
            resource(Kind::Secret, "key", json!({})),
            resource(
                Kind::Environment,
                "production",
                json!({"protection": {"branches": ["main"], "tags": ["v*"]}}),
            ),
            resource(Kind::ExecutionProfile, "deployer", json!({"secrets": "granted"})),
            resource(Kind::SecretPolicy, "p", json!({"allow": grants(allow), "deny": grants(deny)})),
            resource(Kind::TrustPolicy, "t", json!({"projects": ["*"], "rules": [{"action": "run"}]})),
            resource(Kind::Pipeline, "web/ci", json!({"triggers": triggers, "jobs": {"a": job}})),
        ];
        resources.into_iter().map(|resource| (resource.address(), resource.into())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// What a plan shows is what a run could get, and nothing else.
        #[test]
        fn exactly_what_is_granted_stands_in_the_reach_table(
            allow in prop::collection::vec(circumstances(), 0..3),
            deny in prop::collection::vec(circumstances(), 0..2),
            profile in prop::sample::select(vec!["trusted", "deployer", "untrusted"]),
            deploys in any::<bool>(),
            (event, origin) in prop::sample::select(vec![
                (EventType::Push, Origin::Base), (EventType::Push, Origin::Unverified),
                (EventType::PullRequest, Origin::Head), (EventType::PullRequest, Origin::Fork),
                (EventType::Tag, Origin::Base), (EventType::Manual, Origin::Base), (EventType::Manual, Origin::Unverified),
            ]),
            branch in prop::sample::select(BRANCHES.to_vec()),
            tag in prop::sample::select(TAGS.to_vec()),
        ) {
            let catalog = world(&allow, &deny, profile, deploys);
            let pipeline: Address = "Pipeline/web/ci".parse().expect("an address");
            let Some(Spec::Pipeline(spec)) = catalog.get(&pipeline).map(|one| &one.spec) else { unreachable!() };
            let (branch, tag) = if event == EventType::Tag { ("", tag) } else { (branch, "") };
            let situation = Situation { event, branch, tag, origin, ceiling: None };
            let access = secrets_of(&catalog, &pipeline, "a", &spec.jobs["a"], &situation);
            let is_granted = access.values().any(|one| matches!(one, Access::Granted { .. }));
            let name = if event == EventType::Tag { tag } else { branch };
            let is_shown = reach(&catalog)
                .iter()
                .any(|row| row.event == event && row.origin == origin && row.profile == profile && row.is_on(name));
            prop_assert_eq!(is_granted, is_shown, "{:?} but {:?}", access, reach(&catalog));
            // And under a profile without secrets there is neither.
            prop_assert!(profile != "untrusted" || !is_granted && !is_shown);
        }
    }
}
