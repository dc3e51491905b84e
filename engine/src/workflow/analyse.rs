//! What can be said of a workflow before it runs: expansions that are too large, and jobs that can never run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Workflow, expand_matrix};
use crate::config::{ForEach, Job};
use crate::diff::join;
use crate::protocol::condition::Expression;
use crate::protocol::spec::Condition;

/// Something that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A stable code.
    pub code: &'static str,
    /// Where in the pipeline's document.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: &'static str,
}

/// Every problem of a workflow whose dependencies are known and not circular.
pub fn analyse(workflow: &Workflow) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, declaration) in &workflow.jobs {
        expansion(name, &declaration.job, &mut problems);
    }
    never_runs(workflow, &mut problems);
    problems
}

fn expansion(name: &str, job: &Job, problems: &mut Vec<Problem>) {
    let pointer = |field: &str| format!("{}/{field}", join("/spec/jobs", name));
    let too_many = match (&job.matrix, &job.for_each) {
        (Some(matrix), _) => match expand_matrix(matrix) {
            Err(message) => Some((pointer("matrix"), message)),
            Ok(instances) if instances.is_empty() => {
                Some((pointer("matrix"), "the matrix has no combination".to_owned()))
            }
            Ok(_) => None,
        },
        (None, Some(ForEach::Items(items))) => {
            super::expand_items(items, None).err().map(|message| (pointer("for_each"), message))
        }
        _ => None,
    };
    if let Some((pointer, message)) = too_many {
        let hint = "split the job, or leave combinations out with exclude";
        problems.push(Problem { code: "RC1043", pointer, message: format!("{name:?}: {message}"), hint });
    }
}

/// What must have happened for a job to run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Fact<'a> {
    Succeeded(&'a str),
    Failed(&'a str),
}

/// Finds jobs that need what cannot be: the success and the failure of one job, or a job that never runs. Only what
/// must be true is used, so a job that can run is never named.
fn never_runs<'a>(workflow: &'a Workflow, problems: &mut Vec<Problem>) {
    let mut facts: BTreeMap<&str, Option<BTreeSet<Fact<'a>>>> = BTreeMap::new();
    for name in order(workflow) {
        let Some(job) = workflow.jobs.get(name).map(|declaration| &declaration.job) else { continue };
        if let Some(when) = &job.when
            && Expression::parse(when).is_ok_and(|expression| expression.constant_value() == Some(false))
        {
            // Said where the expression is checked.
            facts.insert(name, None);
            continue;
        }
        let needed = needed(job, &facts);
        if let Needed::Contradiction(dependency) = &needed {
            problems.push(Problem {
                code: "RC1042",
                pointer: format!("{}/depends_on", join("/spec/jobs", name)),
                message: format!(
                    "{name:?} can never run: it needs both the success and the failure of {dependency:?}"
                ),
                hint: "change its condition or what it waits for",
            });
        }
        facts.insert(
            name,
            match needed {
                Needed::Facts(facts) => Some(facts),
                Needed::Contradiction(_) | Needed::NeverThere => None,
            },
        );
    }
}

enum Needed<'a> {
    Facts(BTreeSet<Fact<'a>>),
    Contradiction(&'a str),
    NeverThere,
}

fn needed<'a>(job: &'a Job, facts: &BTreeMap<&str, Option<BTreeSet<Fact<'a>>>>) -> Needed<'a> {
    let of = |dependency: &'a str, outcome: Fact<'a>| -> Option<BTreeSet<Fact<'a>>> {
        let mut set = facts.get(dependency).cloned().unwrap_or_else(|| Some(BTreeSet::new()))?;
        set.insert(outcome);
        Some(set)
    };
    let dependencies = job.depends_on.iter().map(String::as_str);
    match job.condition {
        Condition::Always => Needed::Facts(BTreeSet::new()),
        Condition::AllSuccess => {
            let mut all = BTreeSet::new();
            for dependency in dependencies {
                match of(dependency, Fact::Succeeded(dependency)) {
                    Some(set) => all.extend(set),
                    None => return Needed::NeverThere,
                }
            }
            contradiction(&all).map_or(Needed::Facts(all), Needed::Contradiction)
        }
        Condition::AnyFailed => {
            // One of them failed; only what every possibility needs is certain.
            let mut possible: Vec<BTreeSet<Fact<'a>>> = Vec::new();
            let mut clash = None;
            for dependency in dependencies {
                if job.on_cancel {
                    // After a cancel it also runs where what it waits for never started: nothing else is certain.
                    possible.push(BTreeSet::from([Fact::Failed(dependency)]));
                    continue;
                }
                let Some(set) = of(dependency, Fact::Failed(dependency)) else { continue };
                match contradiction(&set) {
                    Some(name) => clash = Some(name),
                    None => possible.push(set),
                }
            }
            match (possible.split_first(), clash) {
                (Some((first, rest)), _) => {
                    let certain = first.iter().filter(|fact| rest.iter().all(|set| set.contains(*fact)));
                    Needed::Facts(certain.cloned().collect())
                }
                (None, Some(name)) => Needed::Contradiction(name),
                (None, None) => Needed::NeverThere,
            }
        }
    }
}

fn contradiction<'a>(facts: &BTreeSet<Fact<'a>>) -> Option<&'a str> {
    facts.iter().find_map(|fact| match fact {
        Fact::Succeeded(name) if facts.contains(&Fact::Failed(name)) => Some(*name),
        _ => None,
    })
}

/// The jobs, dependencies first; those in a circle are left out.
fn order(workflow: &Workflow) -> Vec<&str> {
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut dependents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, declaration) in &workflow.jobs {
        let known: BTreeSet<&str> = declaration
            .job
            .depends_on
            .iter()
            .map(String::as_str)
            .filter(|d| workflow.jobs.contains_key(*d))
            .collect();
        open.insert(name, known.len());
        for dependency in known {
            dependents.entry(dependency).or_default().push(name);
        }
    }
    let mut ready: Vec<&str> = open.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    let mut order = Vec::with_capacity(open.len());
    while let Some(name) = ready.pop() {
        order.push(name);
        for dependent in dependents.get(name).into_iter().flatten() {
            if let Some(count) = open.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    ready.push(dependent);
                }
            }
        }
    }
    order
}
