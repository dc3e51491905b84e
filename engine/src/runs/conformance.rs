//! What every store of runs and queue of attempts must do, as checks that run over any implementation.
//!
//! Each check takes an empty store and panics where it does not keep the contract of [`RunStore`] and [`Queue`].

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Accepted, Commit, EntryFilter, Known, NewRecord, Outcome, Queue, RunFilter, RunRecord, RunStore, Said,
    UNWATCHED, Used,
};
use crate::address::Address;
use crate::config::{Catalog, FailureReason, Kind, Metadata, Resource, Spec};
use crate::coordinator::{LeaseId, Urgency};
use crate::protocol::usage::{Sample, Usage};
use crate::queue::{Claim, Claimant, Depth, EntryStatus};
use crate::scheduler::{AttemptResult, Event, Millis, NewRun, RunState, RunStatus};
use crate::workflow;

/// Both halves of a store.
pub trait Both: RunStore + Queue {}
impl<T: RunStore + Queue> Both for T {}

/// When the checks take place, so that nothing is before the epoch.
const T: Millis = 1_000_000_000;
/// How long a lease holds here.
const TTL: Millis = 10_000;

/// A run of some jobs, as it was begun.
fn begin(id: &str, pipeline: &str, at: Millis, jobs: Value) -> (Known, NewRecord) {
    begin_of(id, pipeline, at, json!({ "jobs": jobs }))
}

/// The same of a whole pipeline.
fn begin_of(id: &str, pipeline: &str, at: Millis, spec: Value) -> (Known, NewRecord) {
    let (project, name) = pipeline.split_once('/').expect("PROJECT/NAME");
    let metadata = Metadata { name: name.into(), project: Some(project.into()), ..Metadata::default() };
    let spec = Spec::from_value(Kind::Pipeline, spec).expect("a valid spec");
    let resource = Resource { metadata, spec };
    let address = Address::new(Kind::Pipeline, Some(project), name);
    let catalog: Catalog = [(address.clone(), resource.into())].into_iter().collect();
    let workflow = workflow::resolve(&catalog, &address).expect("resolves");
    let state = RunState::new(NewRun {
        id: id.into(),
        workflow,
        event: json!({"type": "push"}),
        vars: BTreeMap::new(),
        inputs: BTreeMap::new(),
        selection: None,
    });
    let record = RunRecord {
        id: id.into(),
        pipeline: address.to_string(),
        project: Some(project.into()),
        event: "push".into(),
        actor: "ada".into(),
        retry_of: None,
        holder: None,
        started_at: at,
        ended_at: None,
        status: RunStatus::Running,
    };
    Known::begin(record, None, state, at)
}

/// A run of one job, to be remembered.
pub fn one_job(id: &str) -> NewRecord {
    begin(id, "web/ci", T, json!({"a": job(json!({}))})).1
}

fn job(extra: Value) -> Value {
    let mut job = json!({"image": "i", "command": "c"});
    job.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
    job
}

async fn start(store: &dyn Both, id: &str, pipeline: &str, at: Millis, jobs: Value) -> Known {
    let (known, new) = begin(id, pipeline, at, jobs);
    assert_eq!(store.accept(&[new]).await.expect("it is accepted"), [Accepted::New]);
    known
}

/// Tells a run something, and writes what is decided.
async fn say(store: &dyn Both, known: &mut Known, said: impl Into<Said>, now: Millis) -> Outcome {
    let commit = known.decide(vec![said.into()], now);
    one(store.commit(&[commit]).await.expect("it is written"))
}

fn one<T>(mut list: Vec<T>) -> T {
    assert_eq!(list.len(), 1);
    list.remove(0)
}

fn result(failure: Option<FailureReason>) -> AttemptResult {
    let exit_code = Some(i32::from(failure.is_some()));
    AttemptResult {
        failure,
        exit_code,
        message: None,
        outputs: BTreeMap::new(),
        started: true,
        permanent: false,
        usage: None,
    }
}

fn finished(lease: &LeaseId, failure: Option<FailureReason>) -> Said {
    let event =
        Event::AttemptFinished { node: lease.node.clone(), attempt: lease.attempt, result: result(failure) };
    Said { event, lease: Some(lease.clone()) }
}

fn started(lease: &LeaseId) -> Said {
    let event = Event::AttemptStarted { node: lease.node.clone(), attempt: lease.attempt };
    Said { event, lease: Some(lease.clone()) }
}

fn worker(name: &str) -> Claimant {
    Claimant { worker: name.into(), ..Claimant::default() }
}

async fn claim(store: &dyn Both, who: &Claimant, max: usize, now: Millis) -> Vec<LeaseId> {
    let token = format!("token-of-{}-at-{now}", who.worker);
    let claim = Claim { claimant: who.clone(), max, now, expires_at: now + TTL, token };
    let claimed = store.claim(&claim).await.expect("an answer");
    claimed.into_iter().map(|claimed| claimed.lease).collect()
}

fn names(leases: &[LeaseId]) -> Vec<String> {
    leases.iter().map(|lease| format!("{} {}", lease.run, lease.node)).collect()
}

async fn statuses(store: &dyn Both) -> Vec<String> {
    let rows = store.entries(&EntryFilter { limit: 100, ..EntryFilter::default() }).await.expect("rows");
    let text = |status: EntryStatus, stop: Urgency| match stop {
        Urgency::None => status.as_str().to_owned(),
        Urgency::Graceful => format!("{} stop", status.as_str()),
        Urgency::AtOnce => format!("{} kill", status.as_str()),
    };
    let mut lines: Vec<String> = rows
        .into_iter()
        .map(|row| {
            format!(
                "{} {}/{} {}",
                row.entry.run,
                row.entry.node,
                row.entry.attempt,
                text(row.status, row.stop)
            )
        })
        .collect();
    lines.sort();
    lines
}

/// What was accepted is read back whole, goes on from there, and is listed newest first.
pub async fn what_is_accepted_is_read_back(store: &dyn Both) {
    let jobs = json!({"a": job(json!({})), "b": job(json!({"depends_on": ["a"]})),
        "m": job(json!({"matrix": {"axes": {"of": ["\u{0}nul", "é\u{10ffff}"]}}}))});
    let mut known = start(store, "r1", "web/ci", T, jobs).await;
    start(store, "r2", "web/ci", T + 1, json!({"a": job(json!({}))})).await;
    start(store, "r3", "api/ci", T + 1, json!({"a": job(json!({}))})).await;
    let leases = claim(store, &worker("w"), 10, T).await;
    let lease = leases.iter().find(|lease| lease.run == "r1" && lease.node == "a").expect("it is queued");
    assert_eq!(say(store, &mut known, started(lease), T + 2).await, Outcome::Done);
    assert_eq!(say(store, &mut known, finished(lease, None), T + 3).await, Outcome::Done);

    let read = store.load("r1").await.expect("an answer").expect("it is there");
    let read = Known::loaded(read).expect("it is whole");
    assert_eq!((&read.record, read.version, read.ordinal), (&known.record, known.version, known.ordinal));
    assert!(read.state == known.state, "what is read is what was written");
    assert_eq!(store.load("nothing").await.expect("an answer"), None);
    assert_eq!(store.version("r1").await.expect("an answer"), Some(known.version));
    assert_eq!(store.version("nothing").await.expect("an answer"), None);

    let all = store.transitions("r1", 0, 1000).await.expect("transitions");
    assert_eq!(all.len() as u64, known.ordinal);
    assert_eq!(store.transitions("r1", 2, 2).await.expect("transitions"), all[2..4]);
    assert_eq!(store.transitions("r1", 1_000_000, 2).await.expect("transitions"), []);

    let ids = |filter: RunFilter| async move {
        let runs = store.runs(&filter).await.expect("runs");
        runs.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(RunFilter::newest(10)).await, ["r3", "r2", "r1"]);
    assert_eq!(ids(RunFilter::newest(2)).await, ["r3", "r2"]);
    let before = Some((T + 1, "r3".to_owned()));
    assert_eq!(ids(RunFilter { before, ..RunFilter::newest(10) }).await, ["r2", "r1"]);
    assert_eq!(ids(RunFilter { project: Some("web".into()), ..RunFilter::newest(10) }).await, ["r2", "r1"]);
    assert_eq!(ids(RunFilter { id_end: Some("2".into()), ..RunFilter::newest(10) }).await, ["r2"]);
    assert_eq!(ids(RunFilter { id_end: Some("%".into()), ..RunFilter::newest(10) }).await, [""; 0]);
    assert_eq!(ids(RunFilter::of("r2")).await, ["r2"]);
    assert_eq!(ids(RunFilter::of("2")).await, [""; 0]);
    assert_eq!(ids(RunFilter { event: Some("tag".into()), ..RunFilter::newest(10) }).await, [""; 0]);
    let pipeline = Some("Pipeline/api/ci".to_owned());
    assert_eq!(ids(RunFilter { pipeline, ..RunFilter::newest(10) }).await, ["r3"]);
    let status = Some(RunStatus::Succeeded);
    assert_eq!(ids(RunFilter { status, ..RunFilter::newest(10) }).await, [""; 0]);
}

/// What an attempt used is remembered with its end, and the series only told of a node that is named.
pub async fn what_was_used_is_remembered(store: &dyn Both) {
    let jobs = json!({"a": job(json!({})), "b": job(json!({}))});
    let mut known = start(store, "r1", "web/ci", T, jobs).await;
    for lease in claim(store, &worker("w"), 10, T).await {
        assert_eq!(say(store, &mut known, started(&lease), T + 1).await, Outcome::Done);
        let usage = usage(if lease.node == "a" { 7 } else { 9 });
        let result = AttemptResult { usage: Some(Box::new(usage)), ..result(None) };
        let event = Event::AttemptFinished { node: lease.node.clone(), attempt: lease.attempt, result };
        let said = Said { event, lease: Some(lease) };
        assert_eq!(say(store, &mut known, said, T + 2).await, Outcome::Done);
    }
    let one = |node: &str, usage: Usage| Used { node: node.to_owned(), attempt: 1, usage };
    let short = |seed| Usage { series: Vec::new(), ..usage(seed) };
    let all = store.used("r1", None).await.expect("what was used");
    assert_eq!(all, [one("a", short(7)), one("b", short(9))]);
    assert_eq!(store.used("r1", Some("b")).await.expect("what was used"), [one("b", usage(9))]);
    assert_eq!(store.used("r1", Some("c")).await.expect("an answer"), []);
    assert_eq!(store.used("r2", None).await.expect("an answer"), []);
}

fn usage(seed: u64) -> Usage {
    let point = |at_ms| Sample { at_ms, cpu_ms: seed, memory: seed * 1000, read: 1 << 40, written: seed };
    let series = vec![point(0), point(1000)];
    Usage { cpu_ms: seed, memory_peak: seed * 1000, read: 1 << 40, written: seed, series }
}

/// Entries are counted by where they are and what they need, with the time of the first of them.
pub async fn what_waits_is_counted(store: &dyn Both) {
    assert_eq!(store.depth(T).await.expect("a depth"), []);
    let needs = json!({"runs_on": {"gpu": "yes"}});
    let in_group = || job(json!({"concurrency": {"group": "g"}}));
    let jobs =
        json!({"a": job(json!({})), "b": job(json!({})), "c": job(needs), "d": in_group(), "e": in_group()});
    start(store, "r1", "web/ci", T, jobs).await;
    start(store, "r2", "api/ci", T + 5, json!({"a": job(json!({}))})).await;
    assert_eq!(claim(store, &worker("w"), 1, T + 9).await.len(), 1);
    let count = |depths: &[Depth], status: EntryStatus, delayed: bool| {
        let are = |depth: &&Depth| depth.status == status && depth.delayed == delayed;
        depths.iter().filter(are).map(|depth| depth.count).sum::<u64>()
    };
    let depths = store.depth(T + 9).await.expect("a depth");
    assert_eq!(count(&depths, EntryStatus::Leased, false), 1);
    assert!(
        depths.iter().all(|one| (one.status == EntryStatus::Leased) == (one.worker.as_deref() == Some("w")))
    );
    assert_eq!(count(&depths, EntryStatus::Blocked, false), 1);
    assert_eq!(count(&depths, EntryStatus::Ready, false), 4);
    let gpu =
        depths.iter().find(|depth| !depth.needs.labels.is_empty()).expect("who needs more stands apart");
    assert_eq!((gpu.count, gpu.oldest, gpu.project.as_str()), (1, T, "web"));
    // Before they are due.
    let early = store.depth(T - 1).await.expect("a depth");
    assert_eq!(count(&early, EntryStatus::Ready, true), 4);
}

/// A run with a known key is not made a second time, in the same call or later; without one it always is.
pub async fn a_delivery_makes_one_run(store: &dyn Both) {
    let with_key = |id: &str, key: Option<&str>| {
        let (_, new) = begin(id, "web/ci", T, json!({"a": job(json!({}))}));
        NewRecord { key: key.map(str::to_owned), ..new }
    };
    let first = [with_key("r1", Some("d1")), with_key("r2", Some("d1")), with_key("r3", None)];
    let made = store.accept(&first).await.expect("an answer");
    assert_eq!(made, [Accepted::New, Accepted::Known("r1".into()), Accepted::New]);
    let again = [with_key("r4", Some("d1")), with_key("r5", None), with_key("r6", Some("d2"))];
    let made = store.accept(&again).await.expect("an answer");
    assert_eq!(made, [Accepted::Known("r1".into()), Accepted::New, Accepted::New]);
    assert_eq!(store.delivered("d1").await.expect("an answer").as_deref(), Some("r1"));
    assert_eq!(store.delivered("d3").await.expect("an answer"), None);
    let runs = store.runs(&RunFilter::newest(10)).await.expect("runs");
    assert_eq!(runs.len(), 4);
    assert_eq!(statuses(store).await.len(), 4, "each has its attempt in the queue, once");
}

/// Who decides on an older version, or with a lease that is over, writes nothing, and keeps nobody else from writing.
pub async fn who_is_overtaken_writes_nothing(store: &dyn Both) {
    let mut one = start(store, "r1", "web/ci", T, json!({"a": job(json!({})), "b": job(json!({}))})).await;
    let mut other = one.clone();
    let mut second = start(store, "r2", "web/ci", T, json!({"a": job(json!({}))})).await;
    let leases = claim(store, &worker("w"), 10, T).await;
    let lease = |run: &str, node: &str| -> LeaseId {
        leases.iter().find(|lease| lease.run == run && lease.node == node).expect("it is leased").clone()
    };
    let a = one.decide(vec![finished(&lease("r1", "a"), None)], T + 1);
    let late = other.decide(vec![finished(&lease("r1", "b"), None)], T + 1);
    let unrelated = second.decide(vec![finished(&lease("r2", "a"), None)], T + 1);
    assert_eq!(store.commit(std::slice::from_ref(&a)).await.expect("an answer"), [Outcome::Done]);
    let outcomes = store.commit(&[late, unrelated]).await.expect("an answer");
    assert_eq!(outcomes, [Outcome::Moved, Outcome::Done]);
    assert_eq!(store.commit(&[a]).await.expect("an answer"), [Outcome::Moved]);
    assert_eq!(statuses(store).await, ["r1 b/1 leased"]);

    // The version is right, the lease is not.
    let before = store.load("r1").await.expect("an answer").expect("it is there");
    for stale in [lease("r1", "a"), LeaseId { token: "forged".into(), ..lease("r1", "b") }] {
        let mut known = one.clone();
        let outcome = say(store, &mut known, finished(&stale, None), T + 2).await;
        assert_eq!(outcome, Outcome::Stale(vec![stale]));
    }
    assert_eq!(store.load("r1").await.expect("an answer").expect("it is there"), before);
    assert_eq!(say(store, &mut one, finished(&lease("r1", "b"), None), T + 3).await, Outcome::Done);
    let ended = store.runs(&RunFilter::newest(10)).await.expect("runs");
    assert!(
        ended.iter().all(|run| run.status == RunStatus::Succeeded && run.ended_at.is_some()),
        "{ended:?}"
    );
    assert_eq!(statuses(store).await, [""; 0]);
}

/// Nobody gets what another has; a lease is kept by who has it, and is overdue by who is not heard of.
pub async fn a_lease_is_kept_or_lost(store: &dyn Both) {
    let jobs = json!({"a": job(json!({})), "b": job(json!({})), "c": job(json!({}))});
    let mut known = start(store, "r1", "web/ci", T, jobs).await;
    let first = claim(store, &worker("w1"), 2, T).await;
    let second = claim(store, &worker("w2"), 2, T).await;
    assert_eq!((names(&first), names(&second)), (vec!["r1 a".into(), "r1 b".into()], vec!["r1 c".into()]));
    assert_eq!(claim(store, &worker("w3"), 2, T).await, []);

    assert_eq!(store.leases_of("w1").await.expect("an answer"), first);
    assert_eq!(store.leases_of("w3").await.expect("an answer"), []);

    let ghost = LeaseId { token: "ghost".into(), ..first[0].clone() };
    let asked = [first[0].clone(), ghost.clone()];
    let renewed = store.renew("w1", &asked, T + 5_000, T + 5_000 + TTL).await.expect("an answer");
    assert_eq!(
        renewed.iter().map(|one| (one.stands, one.stop)).collect::<Vec<_>>(),
        [(true, Urgency::None), (false, Urgency::AtOnce)]
    );
    assert_eq!(store.holder(&first[0]).await.expect("an answer").as_deref(), Some("w1"));
    assert_eq!(store.holder(&ghost).await.expect("an answer"), None);
    // Whose a lease is counts, and not only who knows its token.
    let renewed = store.renew("w2", &first, T + 9_000, T + 9_000 + TTL).await.expect("an answer");
    assert!(renewed.iter().all(|one| !one.stands && one.stop == Urgency::AtOnce), "{renewed:?}");
    assert_eq!(store.overdue(T + TTL, 10).await.expect("an answer"), []);
    let overdue = store.overdue(T + TTL + 1, 10).await.expect("an answer");
    let lost: Vec<_> = overdue.iter().map(|one| (one.lease.node.as_str(), one.worker.as_str())).collect();
    assert_eq!((lost.len(), overdue.iter().any(|one| one.timed_out)), (2, false));
    assert!(lost.contains(&("b", "w1")) && lost.contains(&("c", "w2")), "{lost:?}");

    // The attempt is over and another one waits; whoever was lost and comes back changes nothing.
    let lost = overdue.iter().find(|one| one.lease.node == "b").expect("it is lost").lease.clone();
    let now = T + TTL + 2;
    assert_eq!(
        say(store, &mut known, finished(&lost, Some(FailureReason::LostWorker)), now).await,
        Outcome::Done
    );
    let mut late = known.clone();
    assert!(matches!(say(store, &mut late, finished(&lost, None), now).await, Outcome::Stale(_)));
    let renewed = store.renew("w1", std::slice::from_ref(&lost), now, now + TTL).await.expect("an answer");
    assert!(!renewed[0].stands);
    assert_eq!(store.holder(&lost).await.expect("an answer"), None);
    assert_eq!(statuses(store).await, ["r1 a/1 leased", "r1 b/2 ready", "r1 c/1 leased"]);
    // Its delay is not over yet.
    assert_eq!(claim(store, &worker("w3"), 2, now).await, []);
    let due = store.next_due(now).await.expect("an answer").expect("it waits for a time");
    assert!(due > now, "{due}");
    let again = claim(store, &worker("w3"), 2, due).await;
    assert_eq!(again.iter().map(|lease| lease.attempt).collect::<Vec<_>>(), [2]);
}

/// Time in which nobody looked after leases does not count, whether no server was there or a clock was moved.
pub async fn time_without_anybody_does_not_count(store: &dyn Both) {
    start(store, "r1", "web/ci", T, json!({"a": job(json!({"timeout": "5s", "grace": "1s"}))})).await;
    let mut known = Known::loaded(store.load("r1").await.expect("read").expect("there")).expect("whole");
    let lease = one(claim(store, &worker("w"), 1, T).await);
    say(store, &mut known, started(&lease), T).await;
    let hour = 3_600_000;
    // An hour later nobody is blamed; it goes on where it was.
    assert_eq!(store.overdue(T + hour, 10).await.expect("an answer"), []);
    assert_eq!(store.overdue(T + hour + 5_000, 10).await.expect("an answer"), []);
    // And an hour back again.
    assert_eq!(store.overdue(T + 5_500, 10).await.expect("an answer"), []);
    let late = one(store.overdue(T + 8_000, 10).await.expect("an answer"));
    assert!(late.timed_out, "its time is over, although its worker was heard of");
    assert!(!one(store.overdue(T + TTL + 2_500, 10).await.expect("an answer")).timed_out);
    // A claim is a look as well.
    assert_eq!(claim(store, &worker("w"), 1, T + hour).await, []);
    const { assert!(TTL < UNWATCHED) };
}

/// The order of a line is priority and age, the order between projects is their share.
pub async fn the_order_is_fair(store: &dyn Both) {
    for n in 0..6 {
        let jobs = json!({"low": job(json!({"priority": 0})), "high": job(json!({"priority": 1}))});
        start(store, &format!("r{n}"), "busy/ci", T + n, jobs).await;
    }
    start(store, "small", "calm/ci", T + 100, json!({"a": job(json!({})), "b": job(json!({}))})).await;
    let now = T + 1_000;
    let first = claim(store, &worker("w"), 4, now).await;
    assert_eq!(names(&first), ["r0 high", "small a", "r1 high", "small b"].map(str::to_owned));
    let rest = claim(store, &worker("w"), 5, now).await;
    assert_eq!(names(&rest), ["r2 high", "r3 high", "r4 high", "r5 high", "r0 low"].map(str::to_owned));
    // Age passes priority in the end.
    start(store, "late", "busy/ci", T + 120_000, json!({"a": job(json!({"priority": 1}))})).await;
    let next = claim(store, &worker("w"), 1, T + 121_000).await;
    assert_eq!(names(&next), ["r1 low"]);

    // A heavier project gets more.
    store.set_weight("heavy", 3).await.expect("it is set");
    for n in 0..8 {
        start(store, &format!("h{n}"), "heavy/ci", T + n, json!({"a": job(json!({}))})).await;
        start(store, &format!("l{n}"), "light/ci", T + n, json!({"a": job(json!({}))})).await;
    }
    let taken = claim(store, &worker("w"), 12, T + 121_000).await;
    let heavy = taken.iter().filter(|lease| lease.run.starts_with('h')).count();
    let light = taken.iter().filter(|lease| lease.run.starts_with('l') && lease.run != "late").count();
    assert!(heavy >= 2 * light && light >= 2, "{heavy} and {light}: {:?}", names(&taken));
}

/// A worker gets what it may have, and what is in front of that does not keep it from it.
pub async fn workers_get_what_they_are_for(store: &dyn Both) {
    let jobs = json!({"gpu": job(json!({"runs_on": {"gpu": "yes"}, "priority": 50})), "any": job(json!({}))});
    start(store, "r1", "web/ci", T, jobs).await;
    assert_eq!(names(&claim(store, &worker("plain"), 5, T).await), ["r1 any"]);
    let labels = [("gpu".to_owned(), "yes".to_owned())].into();
    let gpu = Claimant { worker: "gpu".into(), labels, pool: None };
    assert_eq!(names(&claim(store, &gpu, 5, T).await), ["r1 gpu"]);
    // What runs beside somebody is for nobody else.
    let (_, mut new) = begin("r2", "web/ci", T, json!({"a": job(json!({}))}));
    for entry in &mut new.first.enqueue {
        entry.needs.only = Some("me".into());
    }
    new.record.holder = Some("me".into());
    store.accept(&[new]).await.expect("it is accepted");
    assert_eq!(claim(store, &worker("plain"), 5, T).await, []);
    assert_eq!(names(&claim(store, &worker("me"), 5, T).await), ["r2 a"]);
    let mine = EntryFilter { worker: Some("me".into()), limit: 10, ..EntryFilter::default() };
    assert_eq!(store.entries(&mine).await.expect("rows").len(), 1);
    for (node, count) in [("a", 1), ("b", 0)] {
        let filter = EntryFilter { run: Some("r2".into()), node: Some(node.into()), ..mine.clone() };
        assert_eq!(store.entries(&filter).await.expect("rows").len(), count);
    }
}

/// A group has its places, and each mode does what it says.
pub async fn a_group_has_its_places(store: &dyn Both) {
    let of = |mode: &str, limit: u32| json!({"d": job(json!({"concurrency": {"group": mode, "limit": limit, "mode": mode}}))});
    let mut first = start(store, "q1", "web/ci", T, of("queue", 2)).await;
    for (n, run) in ["q2", "q3", "q4"].iter().enumerate() {
        start(store, run, "web/ci", T + 1 + n as Millis, of("queue", 2)).await;
    }
    let taken = claim(store, &worker("w"), 9, T + 10).await;
    assert_eq!(names(&taken), ["q1 d", "q2 d"]);
    assert_eq!(statuses(store).await, ["q1 d/1 leased", "q2 d/1 leased", "q3 d/1 blocked", "q4 d/1 blocked"]);
    say(store, &mut first, finished(&taken[0], None), T + 11).await;
    let next = claim(store, &worker("w"), 9, T + 12).await;
    assert_eq!(names(&next), ["q3 d"], "the one that came first");
    // A higher limit counts from the next one on that names it.
    start(store, "q5", "web/ci", T + 20, of("queue", 4)).await;
    assert_eq!(names(&claim(store, &worker("w"), 9, T + 21).await), ["q4 d", "q5 d"]);

    // One that replaces those that wait.
    start(store, "p1", "web/ci", T, of("replace_pending", 1)).await;
    let mut second = start(store, "p2", "web/ci", T + 1, of("replace_pending", 1)).await;
    let held = one(claim(store, &worker("w"), 9, T + 30).await);
    assert_eq!(store.superseded(10).await.expect("an answer"), []);
    start(store, "p3", "web/ci", T + 2, of("replace_pending", 1)).await;
    let gone = one(store.superseded(10).await.expect("an answer"));
    assert_eq!((gone.run.as_str(), gone.node.as_str()), ("p2", "d"));
    assert!(gone.by.contains("p3"), "{}", gone.by);
    let stop = Event::Stop { node: "d".into(), reason: gone.by, force: false };
    assert_eq!(say(store, &mut second, stop, T + 31).await, Outcome::Done);
    assert_eq!(store.superseded(10).await.expect("an answer"), []);
    let mut p1 = Known::loaded(store.load("p1").await.expect("read").expect("there")).expect("whole");
    say(store, &mut p1, finished(&held, None), T + 32).await;
    assert_eq!(names(&claim(store, &worker("w"), 9, T + 33).await), ["p3 d"]);

    // One that cancels those that run: it waits until they have ended.
    let mut running = start(store, "c1", "web/ci", T, of("cancel_running", 1)).await;
    let lease = one(claim(store, &worker("w"), 9, T + 40).await);
    say(store, &mut running, started(&lease), T + 40).await;
    start(store, "c2", "web/ci", T + 1, of("cancel_running", 1)).await;
    let gone = one(store.superseded(10).await.expect("an answer"));
    assert_eq!(gone.run, "c1");
    let stop = Event::Stop { node: "d".into(), reason: gone.by, force: false };
    say(store, &mut running, stop, T + 41).await;
    assert_eq!(store.superseded(10).await.expect("an answer"), [], "it was told");
    let renewed =
        store.renew("w", std::slice::from_ref(&lease), T + 42, T + 42 + TTL).await.expect("an answer");
    assert_eq!((renewed[0].stands, renewed[0].stop), (true, Urgency::Graceful));
    assert_eq!(claim(store, &worker("w"), 9, T + 42).await, []);
    say(store, &mut running, finished(&lease, Some(FailureReason::Cancelled)), T + 43).await;
    assert_eq!(names(&claim(store, &worker("w"), 9, T + 44).await), ["c2 d"]);
    // The parts of one job do not cancel each other.
    let matrix = json!({"d": job(json!({"matrix": {"axes": {"of": [1, 2, 3]}},
        "concurrency": {"group": "parts", "limit": 1, "mode": "cancel_running"}}))});
    start(store, "parts", "web/ci", T + 50, matrix).await;
    assert_eq!(store.superseded(10).await.expect("an answer"), []);
    assert_eq!(names(&claim(store, &worker("w"), 9, T + 51).await), ["parts d[0]"]);
}

/// A run waits for a place in its group, keeps it until it has ended, and no worker ever has it.
pub async fn a_run_waits_for_its_group(store: &dyn Both) {
    let of =
        |mode: &str| json!({"concurrency": {"group": mode, "mode": mode}, "jobs": {"d": job(json!({}))}});
    let begin = async |id: &str, at: Millis, mode: &str| {
        let (known, new) = begin_of(id, "web/ci", at, of(mode));
        assert_eq!(store.accept(&[new]).await.expect("it is accepted"), [Accepted::New]);
        known
    };
    let status = async |id: &str| one(store.runs(&RunFilter::of(id)).await.expect("read")).status;
    let admitted = async || store.admitted(10).await.expect("an answer");
    let (mut first, mut second) = (begin("r1", T, "queue").await, begin("r2", T + 1, "queue").await);
    assert_eq!((admitted().await, status("r1").await), (vec!["r1".to_owned()], RunStatus::Waiting));
    assert_eq!(claim(store, &worker("w"), 9, T + 2).await, []);
    assert_eq!(say(store, &mut first, Event::Admit, T + 3).await, Outcome::Done);
    assert_eq!((admitted().await.len(), status("r1").await), (0, RunStatus::Running));
    let lease = one(claim(store, &worker("w"), 9, T + 4).await);
    assert_eq!(lease.node, "d");
    assert!(store.depth(T + 5).await.expect("an answer").iter().all(|depth| depth.count == 1));
    say(store, &mut first, finished(&lease, None), T + 5).await;
    assert_eq!(status("r1").await, RunStatus::Succeeded);
    assert_eq!(admitted().await, ["r2"]);
    // One that is cancelled before it begins leaves its place too.
    begin("r3", T + 6, "queue").await;
    say(store, &mut second, Event::Cancel { reason: "no".into(), force: false }, T + 7).await;
    assert_eq!(admitted().await, ["r3"]);

    // One that cancels those that go on: it has its place once they have ended.
    let mut old = begin("c1", T + 10, "cancel_running").await;
    say(store, &mut old, Event::Admit, T + 11).await;
    let lease = one(claim(store, &worker("w"), 9, T + 12).await);
    say(store, &mut old, started(&lease), T + 12).await;
    begin("c2", T + 13, "cancel_running").await;
    let gone = one(store.superseded(10).await.expect("an answer"));
    assert_eq!((gone.run.as_str(), gone.node.as_str(), gone.by.as_str()), ("c1", "", "the run c2"));
    say(store, &mut old, Event::Cancel { reason: gone.by, force: false }, T + 14).await;
    assert_eq!(store.superseded(10).await.expect("an answer"), [], "it was told");
    assert_eq!(admitted().await, ["r3"]);
    say(store, &mut old, finished(&lease, Some(FailureReason::Cancelled)), T + 15).await;
    assert_eq!(admitted().await, ["r3", "c2"]);
}

/// A run that is cancelled takes its entries with it, but for those that a worker has and does not know of it: their
/// places are free once the worker says so, or is lost.
pub async fn what_a_worker_has_is_not_over_before_it_says_so(store: &dyn Both) {
    let limited = json!({"concurrency": {"group": "g", "limit": 1}});
    let jobs = json!({"a": job(limited.clone()), "b": job(json!({}))});
    let mut known = start(store, "r1", "web/ci", T, jobs).await;
    start(store, "r2", "web/ci", T + 1, json!({"a": job(limited)})).await;
    let leases = claim(store, &worker("w"), 1, T + 2).await;
    assert_eq!(names(&leases), ["r1 a"]);
    say(store, &mut known, Event::Cancel { reason: "enough".into(), force: false }, T + 3).await;
    assert_eq!(known.state.status(), RunStatus::Cancelled);
    assert_eq!(statuses(store).await, ["r1 a/1 leased kill", "r2 a/1 blocked"]);
    let renewed = store.renew("w", &leases, T + 4, T + 4 + TTL).await.expect("an answer");
    assert_eq!((renewed[0].stands, renewed[0].stop), (true, Urgency::AtOnce));
    // The worker says so: nothing changes for the run, and the place is free.
    let outcome = say(store, &mut known, finished(&leases[0], Some(FailureReason::Cancelled)), T + 5).await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(statuses(store).await, ["r2 a/1 ready"]);
    let run = one(store.runs(&RunFilter::of("r1")).await.expect("runs"));
    assert_eq!((run.status, run.ended_at), (RunStatus::Cancelled, Some(T + 3)));
}

/// Whoever asks which runs have a job of some name gets those that go on.
pub async fn who_runs_a_job_is_found(store: &dyn Both) {
    start(store, "waits", "web/ci", T, json!({"deploy": job(json!({}))})).await;
    let mut runs = start(store, "runs", "web/deploy", T + 1, json!({"deploy": job(json!({}))})).await;
    let mut done =
        start(store, "done", "web/ci", T + 2, json!({"deploy": job(json!({})), "x": job(json!({}))})).await;
    start(store, "other", "webshop/ci", T + 3, json!({"deploy": job(json!({}))})).await;
    let jobs = json!({"deploy": job(json!({"depends_on": ["x"]})), "x": job(json!({}))});
    start(store, "quiet", "web/ci", T + 4, jobs).await;
    let leases = claim(store, &worker("w"), 10, T + 5).await;
    let lease =
        |run: &str| leases.iter().find(|l| l.run == run && l.node == "deploy").expect("leased").clone();
    say(store, &mut runs, started(&lease("runs")), T + 6).await;
    say(store, &mut done, finished(&lease("done"), None), T + 6).await;
    let active = |project: Option<&'static str>, job: &'static str| async move {
        let found = store.active(project, job).await.expect("an answer");
        found.into_iter().map(|one| format!("{} {}", one.run, one.state)).collect::<Vec<_>>()
    };
    assert_eq!(active(Some("web"), "deploy").await, ["runs running", "waits queued"]);
    assert_eq!(active(Some("webshop"), "deploy").await, ["other queued"]);
    assert_eq!(active(Some("web"), "nothing").await, [""; 0]);
    assert_eq!(active(None, "deploy").await, [""; 0]);
}

/// A run of a thousand jobs goes through, many events a commit.
pub async fn a_large_run_goes_through(store: &dyn Both) {
    let mut jobs = serde_json::Map::new();
    for n in 0..1_000 {
        let depends_on: Vec<String> = (n >= 100).then(|| format!("j{:04}", n - 100)).into_iter().collect();
        jobs.insert(format!("j{n:04}"), job(json!({ "depends_on": depends_on })));
    }
    let mut known = start(store, "r1", "web/ci", T, Value::Object(jobs)).await;
    let mut now = T;
    while known.state.status() == RunStatus::Running {
        now += 10;
        let leases = claim(store, &worker("w"), 60, now).await;
        assert!(!leases.is_empty(), "it goes on");
        let said = leases.iter().flat_map(|lease| [started(lease), finished(lease, None)]).collect();
        let commit: Commit = known.decide(said, now);
        assert_eq!(store.commit(&[commit]).await.expect("it is written"), [Outcome::Done]);
    }
    assert_eq!(known.state.status(), RunStatus::Succeeded);
    let read = Known::loaded(store.load("r1").await.expect("read").expect("there")).expect("whole");
    assert!(read.state == known.state && read.version == known.version);
    assert_eq!(statuses(store).await, [""; 0]);
}
