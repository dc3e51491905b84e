//! What a trigger must do, and random ones.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use reactorcide_engine::config::TriggersAllowed;
use reactorcide_engine::protocol::trigger::{TriggerRequest, TriggeredJob};
use reactorcide_engine::scheduler::RunState;
use serde_json::{Value, json};

use crate::oracle::{Oracle, Seen, base};
use crate::scenario::{Each, Known, When, condition};

/// What must have come of a trigger.
#[derive(Debug)]
pub struct Told {
    node: String,
    refused: bool,
    added: Vec<String>,
    wanted: Vec<String>,
}

/// Carries out a request in the oracle's mind.
pub fn carry_out(oracle: &mut Oracle, node: &str, ordinal: u32, request: &TriggerRequest) -> Told {
    let operation =
        request.operation_id.clone().map_or_else(|| format!("#{ordinal}"), |id| format!("id:{id}"));
    let asked = serde_json::to_string(request).expect("JSON");
    let wanted = request.jobs.iter().map(|job| job.job_name.clone()).collect();
    let mut told = Told { node: node.to_owned(), refused: false, added: Vec::new(), wanted };
    if let Some(before) = oracle.seen[node].operations.get(&operation) {
        told.refused = *before != asked;
    } else if oracle.cancelled.is_none() {
        match new_jobs(oracle, node, request) {
            None => told.refused = true,
            Some(new) => {
                for (name, known) in new {
                    oracle.left_out.remove(&name);
                    oracle.seen.insert(name.clone(), Seen::default());
                    oracle.known.insert(name.clone(), known);
                    told.added.push(name);
                }
                for (key, value) in &request.vars {
                    oracle.vars.insert(key.clone(), value.clone());
                    oracle.vars_by.insert(key.clone(), node.to_owned());
                }
                let seen = oracle.seen.get_mut(node).expect("it asks");
                seen.triggered += u32::try_from(told.added.len()).expect("few");
                seen.operations.insert(operation, asked);
            }
        }
    }
    oracle.seen.get_mut(node).expect("it asks").refused |= told.refused;
    told
}

/// Whether what came of a request is what must have.
pub fn check(oracle: &Oracle, told: &Told, state: &RunState) {
    for name in &told.added {
        assert!(state.node(name).is_some(), "{name} was triggered by {} and is not there", told.node);
    }
    for name in &told.wanted {
        assert_eq!(state.node(name).is_some(), oracle.known.contains_key(name), "{name}: {told:?}");
    }
    assert_eq!(*state.vars(), oracle.vars);
}

/// The jobs that a request adds, or nothing where it must be refused.
fn new_jobs(oracle: &Oracle, node: &str, request: &TriggerRequest) -> Option<BTreeMap<String, Known>> {
    let asking = &oracle.known[base(node)];
    let other_value = |(key, value): (&String, &Value)| {
        oracle.vars_by.get(key).is_some_and(|by| by != node) && oracle.vars.get(key) != Some(value)
    };
    if request.vars.iter().any(other_value) {
        return None;
    }
    let mut new = BTreeMap::new();
    for job in &request.jobs {
        let is_loader = |name: &String| {
            ["LD_", "GIT_", "PYTHON", "REACTORCIDE_"].iter().any(|begin| name.starts_with(begin))
        };
        if job.env.keys().any(is_loader) || job.job_name.contains(['/', '[']) {
            return None;
        }
        let bare = job.image.is_none() && job.command.is_none() && job.for_each.is_none();
        let text = serde_json::to_string(job).expect("JSON");
        if let Some(existing) = oracle.known.get(&job.job_name) {
            let same = match &existing.request {
                Some(before) => *before == text,
                None => bare && existing.env == job.env,
            };
            if same {
                continue;
            }
            return None;
        }
        let known = if let Some(left_out) = oracle.left_out.get(&job.job_name) {
            // Nobody says what the variables of a job with secrets are.
            if !bare || (left_out.delicate && !job.env.is_empty()) {
                return None;
            }
            let mut known = left_out.clone();
            known.depends_on.retain(|name| oracle.known.contains_key(name));
            known.depends_on.extend(job.depends_on.iter().cloned());
            known.env = job.env.clone();
            known
        } else {
            job.command.as_ref()?;
            Known {
                depends_on: job.depends_on.clone(),
                condition: job.condition,
                when: When::Absent,
                each: job.for_each.as_ref().map_or(Each::One, |items| Each::Fixed(items.len())),
                on_cancel: false,
                retry: None,
                delicate: false,
                protected: false,
                caps: asking.caps.clone(),
                depth: 0,
                request: Some(text),
                env: BTreeMap::new(),
            }
        };
        if new.insert(job.job_name.clone(), Known { depth: asking.depth + 1, ..known }).is_some() {
            return None;
        }
    }
    let TriggersAllowed { count, depth, .. } = asking.caps;
    if !new.is_empty() && asking.depth + 1 > depth {
        return None;
    }
    if oracle.seen[node].triggered + u32::try_from(new.len()).expect("few") > count {
        return None;
    }
    (!closes_a_circle(oracle, &new)).then_some(new)
}

fn closes_a_circle(oracle: &Oracle, new: &BTreeMap<String, Known>) -> bool {
    new.keys().any(|name| {
        let mut reached = BTreeSet::new();
        let mut pending = vec![name];
        while let Some(next) = pending.pop() {
            if let Some(known) = new.get(next).or_else(|| oracle.known.get(next)) {
                pending.extend(known.depends_on.iter().filter(|name| reached.insert((*name).clone())));
            }
        }
        reached.contains(name)
    })
}

/// A random request: most are good.
pub fn random(rng: &mut Rng, oracle: &Oracle, number: &mut u32) -> TriggerRequest {
    let mut request = TriggerRequest {
        kind: "trigger_job".into(),
        operation_id: rng.bool().then(|| format!("op{}", rng.u8(..4))),
        jobs: Vec::new(),
        workflows: Vec::new(),
        vars: BTreeMap::new(),
    };
    if rng.u8(..4) == 0 {
        let key = ["flag", "k", "channel"][rng.usize(..3)];
        request.vars.insert(key.to_owned(), json!(["stable", "x"][rng.usize(..2)]));
    }
    let names: Vec<&String> = oracle.seen.keys().collect();
    for _ in 0..rng.usize(..3) {
        *number += 1;
        let mut job = TriggeredJob {
            job_name: format!("t{number}"),
            condition: condition(rng),
            command: Some("c".into()),
            ..TriggeredJob::default()
        };
        for _ in 0..rng.usize(..3) {
            job.depends_on.push(match rng.u8(..8) {
                // A name that may come, or may not.
                0 => format!("future{}", rng.u8(..3)),
                1 => request
                    .jobs
                    .last()
                    .map_or_else(|| "never".to_owned(), |job: &TriggeredJob| job.job_name.clone()),
                2 => format!("{}[0]", names[rng.usize(..names.len())]),
                _ => names[rng.usize(..names.len())].clone(),
            });
        }
        if rng.u8(..4) == 0 {
            job.for_each = Some((0..rng.usize(..4)).map(|item| json!(item)).collect());
        }
        match rng.u8(..24) {
            0..=3 => job.job_name = format!("future{}", rng.u8(..3)),
            4 => job.env = BTreeMap::from([("LD_PRELOAD".to_owned(), "x".to_owned())]),
            5 => job.depends_on.push(job.job_name.clone()),
            6 => job.job_name = base(names[rng.usize(..names.len())]).to_owned(),
            7 => job.job_name = "not/a name".to_owned(),
            8 => job.command = None,
            9 => job.job_name = request.jobs.first().unwrap_or(&job).job_name.clone(),
            10..=13 => {
                let declared = oracle.left_out.keys().chain(oracle.known.keys()).nth(rng.usize(..4));
                if let Some(name) = declared {
                    job = TriggeredJob { job_name: name.clone(), ..TriggeredJob::default() };
                    if rng.u8(..3) == 0 {
                        job.env = BTreeMap::from([("E".to_owned(), "x".to_owned())]);
                    }
                }
            }
            _ => {}
        }
        request.jobs.push(job);
    }
    request
}
