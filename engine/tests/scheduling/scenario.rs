//! Random workflows, and what the oracle knows of each job.

use std::collections::BTreeMap;

use fastrand::Rng;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::value::Duration;
use reactorcide_engine::config::{
    CommandLine, Concurrency, ConcurrencyMode, ExecutionProfileSpec, FailureReason, ForEach, Job, Kind,
    Matrix, Protection, Retry, TriggersAllowed,
};
use reactorcide_engine::protocol::spec::Condition;
use reactorcide_engine::scheduler::{Admission, Selection};
use reactorcide_engine::workflow::{Declaration, Profile, Workflow};
use serde_json::{Value, json};

/// What the oracle knows of a job.
#[derive(Debug, Clone)]
pub struct Known {
    pub depends_on: Vec<String>,
    pub condition: Condition,
    pub when: When,
    pub each: Each,
    pub on_cancel: bool,
    pub retry: Option<Retry>,
    pub delicate: bool,
    /// It deploys to where somebody has to approve.
    pub protected: bool,
    pub caps: TriggersAllowed,
    pub depth: u32,
    /// What a trigger asked for; nothing where the pipeline declares it.
    pub request: Option<String>,
    pub env: BTreeMap<String, String>,
}

/// A `when` whose value the oracle can tell without CEL.
#[derive(Debug, Clone)]
pub enum When {
    Absent,
    True,
    False,
    Error,
    Succeeded(String),
    FlagIsSet,
}

/// What a job becomes.
#[derive(Debug, Clone)]
pub enum Each {
    One,
    Fixed(usize),
    Output(String),
}

pub struct Scenario {
    pub workflow: Workflow,
    pub known: BTreeMap<String, Known>,
    pub selection: Option<Selection>,
    /// Somebody has to approve the run.
    pub admission: Option<Admission>,
    /// Chances in percent.
    pub fails: u32,
    pub triggers: u32,
    pub cancels: u32,
}

pub const REASONS: [FailureReason; 15] = [
    FailureReason::Exit,
    FailureReason::Timeout,
    FailureReason::Oom,
    FailureReason::Cancelled,
    FailureReason::ImagePull,
    FailureReason::LostWorker,
    FailureReason::Evicted,
    FailureReason::NoSpace,
    FailureReason::RunnerDied,
    FailureReason::Config,
    FailureReason::Source,
    FailureReason::Artifact,
    FailureReason::Provider,
    FailureReason::Denied,
    FailureReason::Poisoned,
];

pub fn scenario(rng: &mut Rng) -> Scenario {
    let count = if rng.u8(..20) == 0 { rng.usize(20..40) } else { rng.usize(1..10) };
    let mut names: Vec<String> = (0..count).map(|number| format!("j{number:02}")).collect();
    // Names say nothing about the order.
    rng.shuffle(&mut names);
    let mut jobs = BTreeMap::new();
    let mut known = BTreeMap::new();
    let spread = rng.usize(1..4);
    for (index, name) in names.iter().enumerate() {
        let (job, about) = job(rng, &names[..index], spread);
        let spec = ExecutionProfileSpec::default();
        let approvers = vec!["ada".to_owned()];
        let protection = about.protected.then(|| Protection { approvers, ..Protection::default() });
        let declaration = Declaration::new(job, Profile { name: "p".into(), spec });
        jobs.insert(name.clone(), Declaration { protection, ..declaration });
        known.insert(name.clone(), about);
    }
    let selection = (rng.u8(..8) == 0).then(|| Selection {
        jobs: names.iter().filter(|_| rng.u8(..3) == 0).cloned().collect(),
        follow_needs: rng.bool(),
    });
    let workflow = Workflow {
        address: Address::new(Kind::Pipeline, Some("web"), "ci"),
        vars: BTreeMap::from([("channel".to_owned(), json!("stable"))]),
        inputs: BTreeMap::new(),
        concurrency: (rng.u8(..4) == 0).then(|| Concurrency {
            group: "g".into(),
            limit: 1,
            mode: ConcurrencyMode::Queue,
        }),
        jobs,
        templates: BTreeMap::new(),
    };
    let fails = [0, 10, 30, 60][rng.usize(..4)];
    let triggers = [0, 0, 15, 40][rng.usize(..4)];
    let cancels = [0, 0, 1, 4][rng.usize(..4)];
    let admission = (rng.u8(..4) == 0).then(|| Admission {
        author: "mallory".into(),
        pushed_by: String::new(),
        reason: "nobody knows them".into(),
        number: 12,
        head: "a".into(),
        base: "b".into(),
        profile: None,
        policy: "1".into(),
    });
    Scenario { workflow, known, selection, admission, fails, triggers, cancels }
}

pub fn condition(rng: &mut Rng) -> Condition {
    [Condition::AllSuccess, Condition::AllSuccess, Condition::AnyFailed, Condition::Always][rng.usize(..4)]
}

fn job(rng: &mut Rng, before: &[String], spread: usize) -> (Job, Known) {
    let mut depends_on: Vec<String> = Vec::new();
    for _ in 0..rng.usize(..=spread.min(before.len())) {
        // Now and then the same one twice.
        depends_on.push(before[rng.usize(..before.len())].clone());
    }
    let any = |rng: &mut Rng| depends_on.get(rng.usize(..depends_on.len().max(1))).cloned();
    let when = match rng.u8(..20) {
        0 => When::True,
        1 => When::False,
        2 => When::Error,
        3 | 4 => any(rng).map_or(When::Absent, When::Succeeded),
        5 => When::FlagIsSet,
        _ => When::Absent,
    };
    let each = match rng.u8(..10) {
        0 | 1 => Each::Fixed(rng.usize(..5)),
        2 => any(rng).map_or(Each::One, Each::Output),
        _ => Each::One,
    };
    let retry = (rng.u8(..4) == 0).then(|| Retry {
        max: rng.u32(..4),
        on: REASONS.iter().copied().filter(|_| rng.u8(..4) == 0).collect(),
        delay: Duration::from_secs(rng.u64(..20)),
        factor: f64::from(rng.u32(1..4)),
    });
    let caps = match rng.u8(..3) {
        0 => TriggersAllowed { count: rng.u32(..4), depth: rng.u32(..3), ..TriggersAllowed::default() },
        _ => TriggersAllowed::default(),
    };
    let mut known = Known {
        depends_on,
        condition: condition(rng),
        when,
        each,
        on_cancel: rng.u8(..4) == 0,
        retry,
        delicate: rng.u8(..6) == 0,
        protected: rng.u8(..10) == 0,
        caps,
        depth: 0,
        request: None,
        env: BTreeMap::new(),
    };
    let mut job = Job {
        image: Some("i".into()),
        command: Some(CommandLine::Script("c".into())),
        depends_on: known.depends_on.clone(),
        condition: known.condition,
        on_cancel: known.on_cancel,
        retry: known.retry.clone(),
        triggers_allowed: Some(known.caps.clone()),
        ..Job::default_said()
    };
    if known.delicate {
        job.secrets = BTreeMap::from([("KEY".to_owned(), "deploy/key".into())]);
    }
    job.when = match &known.when {
        When::Absent => None,
        When::True => Some("event.type == 'push'".to_owned()),
        When::False => Some("vars.channel == 'nightly'".to_owned()),
        When::Error => Some("needs.nobody.result == 'succeeded'".to_owned()),
        When::Succeeded(name) => Some(format!("needs.{name}.result == 'succeeded'")),
        When::FlagIsSet => Some("has(vars.flag)".to_owned()),
    };
    match &known.each {
        Each::One => {}
        Each::Output(name) => {
            job.for_each = Some(ForEach::Expression(format!("needs.{name}.outputs.list")));
        }
        Each::Fixed(count) => {
            let values: Vec<Value> = (0..*count).map(|number| json!(number)).collect();
            if rng.bool() && *count > 0 {
                // One combination less, by exclusion, and one that is added.
                let mut values = values;
                values.push(json!("x"));
                job.matrix = Some(Matrix {
                    axes: BTreeMap::from([
                        ("a".to_owned(), values),
                        ("b".to_owned(), vec![json!(1), json!(2)]),
                    ]),
                    exclude: vec![BTreeMap::from([("b".to_owned(), json!(2))])],
                    include: Vec::new(),
                });
                known.each = Each::Fixed(count + 1);
            } else {
                job.for_each = Some(ForEach::Items(values));
            }
        }
    }
    (job, known)
}
