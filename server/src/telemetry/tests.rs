//! Metrics are those that docs/observability.md lists, with their types and labels, and their labels stay few.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;
use reactorcide_engine::queue::{Claimant, Depth, EntryStatus, Needs};
use reactorcide_engine::workers::{Worker, WorkerStatus};

use super::metrics::{Followed, Metrics};
use super::scrape::{Now, Stored};

fn depth(status: EntryStatus, pool: Option<&str>, count: u64) -> Depth {
    Depth {
        status,
        delayed: false,
        project: "web".into(),
        needs: Needs { pools: pool.map(str::to_owned).into_iter().collect(), ..Needs::default() },
        worker: (status == EntryStatus::Leased).then(|| "gone".to_owned()),
        count,
        oldest: 70_000,
    }
}

fn worker(name: &str, seen_at: i64) -> (Worker, Claimant) {
    let worker = Worker {
        name: name.into(),
        labels: BTreeMap::new(),
        pool: None,
        slots: 4,
        provider: "docker".into(),
        version: "1".into(),
        status: WorkerStatus::Active,
        registered_at: 0,
        seen_at,
        health: None,
    };
    let claimant = Claimant { worker: name.into(), ..Claimant::default() };
    (worker, claimant)
}

/// Everything that there may be, once.
fn everything() -> String {
    let metrics = Metrics::default();
    metrics.answered(&Method::GET, Some("/api/v1/runs/{run}"), StatusCode::OK, Duration::from_millis(3));
    let invented = Method::from_bytes(b"BREW").expect("a method");
    metrics.answered(&invented, None, StatusCode::NOT_FOUND, Duration::from_millis(3));
    metrics.event("push", true);
    metrics.run("succeeded", 1500);
    metrics.job("failed", Some("exit"), Some(700));
    metrics.retried(2);
    metrics.waited(12);
    metrics.begun(-5);
    metrics.lost(false);
    metrics.log(100);
    metrics.log_failed();
    let _following = metrics.follow(Followed::Log);
    let depths = vec![
        depth(EntryStatus::Ready, None, 3),
        depth(EntryStatus::Ready, Some("gpu"), 2),
        depth(EntryStatus::Leased, None, 1),
    ];
    let workers = vec![worker("here", 999_000), worker("gone", 0), worker("off", 0)];
    let now = Now { stored: Some(Stored { depths, workers }), spans: vec![("sent", 4)], at: 1_000_000 };
    let mut of_now = Registry::default();
    of_now.register_collector(Box::new(now));
    let mut text = String::new();
    for registry in metrics.registries().into_iter().chain([&of_now]) {
        encode_registry(&mut text, registry).expect("text");
    }
    encode_eof(&mut text).expect("text");
    text
}

/// Name and type of each metric in a text, and the labels of its samples.
fn told(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut all = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            all.insert(name, kind.to_owned());
        } else if let (false, Some((name, rest))) = (line.starts_with('#'), line.split_once('{')) {
            let names = rest.split_once('}').expect("an end").0.split("\",");
            let names = names.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
            labels.entry(name.trim_end_matches("_bucket").to_owned()).or_default().extend(names);
        }
    }
    let with_labels = |(name, kind): (String, String)| {
        let mut labels = labels.remove(&name).unwrap_or_default();
        labels.remove("le");
        (name, (kind, labels))
    };
    all.into_iter().map(with_labels).collect()
}

/// What the documentation lists under some headings.
fn documented(headings: &[&str]) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/observability.md");
    let text = std::fs::read_to_string(path).expect("docs/observability.md");
    let mut heading = "";
    let mut all = BTreeMap::new();
    for line in text.lines() {
        heading = line.strip_prefix("### ").unwrap_or(heading);
        let Some(rest) = line.strip_prefix("| `").filter(|_| headings.contains(&heading)) else { continue };
        let cells: Vec<&str> = rest.split('|').map(str::trim).collect();
        let labels = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        all.insert(cells[0].trim_end_matches('`').to_owned(), (cells[1].to_owned(), labels));
    }
    all
}

#[test]
fn the_documentation_lists_what_is_told() {
    assert_eq!(told(&everything()), documented(&["Of a server", "Of both"]));
}

#[test]
fn numbers_stand_where_they_belong() {
    let text = everything();
    for line in [
        "reactorcide_http_requests_total{method=\"GET\",route=\"/api/v1/runs/{run}\",status=\"200\"} 1",
        "reactorcide_http_requests_total{method=\"other\",route=\"none\",status=\"404\"} 1",
        "reactorcide_jobs_total{result=\"failed\",reason=\"exit\"} 1",
        "reactorcide_job_retries_total 2",
        "reactorcide_job_start_seconds_sum 0.0",
        "reactorcide_followers{of=\"log\"} 1",
        "reactorcide_queue_depth{pool=\"any\",state=\"ready\"} 3",
        "reactorcide_queue_depth{pool=\"any\",state=\"leased\"} 1",
        "reactorcide_queue_oldest_seconds{pool=\"gpu\"} 930",
        // Nobody is in that pool.
        "reactorcide_queue_unserved{pool=\"gpu\"} 2",
        "reactorcide_workers{state=\"active\"} 1",
        "reactorcide_workers{state=\"lost\"} 1",
        "reactorcide_workers{state=\"absent\"} 1",
        "reactorcide_worker_slots 4",
        "reactorcide_trace_spans_total{outcome=\"sent\"} 4",
        "reactorcide_database_up 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("reactorcide_queue_unserved{pool=\"any\"}"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn pools_without_end_are_few_labels() {
    let depths = (0..500).map(|number| depth(EntryStatus::Ready, Some(&format!("p{number}")), 1)).collect();
    let now = Now { stored: Some(Stored { depths, workers: Vec::new() }), spans: Vec::new(), at: 0 };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(now));
    let mut text = String::new();
    encode_registry(&mut text, &registry).expect("text");
    assert_eq!(text.matches("reactorcide_queue_depth{").count(), 101);
    assert!(text.contains("reactorcide_queue_depth{pool=\"other\",state=\"ready\"} 400"), "{text}");
}
