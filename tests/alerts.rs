//! What operators look at: the alerts for Prometheus, which promtool finds well formed and which fire when they should and not
//! else, and the dashboard for Grafana. Both speak of metrics that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The one that is installed, or the one that `./dev setup` got.
fn promtool() -> Option<PathBuf> {
    let found = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let ours = root().join("target/promtool");
    found.chain([ours]).map(|directory| directory.join("promtool")).find(|path| path.is_file())
}

#[test]
fn they_fire_when_they_should() {
    let Some(promtool) = promtool() else {
        eprintln!("skipped: there is no promtool here; ./dev setup gets it where there is apt-get");
        return;
    };
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]] {
        let mut command = Command::new(&promtool);
        let output = command.args(arguments).current_dir(root().join("deploy/prometheus")).output();
        let output = output.expect("promtool runs");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
    }
}

#[test]
fn they_speak_of_metrics_that_there_are() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect(path);
    let names = |text: &str| -> BTreeSet<String> {
        let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
        let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("reactorcide_"));
        words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
    };
    let documented = names(&read("docs/observability.md"));
    for file in ["deploy/prometheus/alerts.yaml", "deploy/prometheus/alerts_test.yaml"] {
        let unknown: Vec<String> = names(&read(file)).difference(&documented).cloned().collect();
        assert_eq!(unknown, [""; 0], "{file}");
    }
}

/// Each documented metric, as it is asked for, with its labels.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let path = root().join("docs/observability.md");
    let text = std::fs::read_to_string(&path).expect("docs/observability.md");
    let mut metrics = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind @ ("gauge" | "counter" | "histogram"), labels, ..] = cells.as_slice() else {
            continue;
        };
        let mut labels: BTreeSet<String> =
            labels.split(',').map(|label| label.trim().trim_matches('`').to_owned()).collect();
        // Prometheus itself says where it asked.
        labels.extend(["instance".to_owned(), "job".to_owned()]);
        let mut name = name.trim_matches('`').to_owned();
        if *kind == "histogram" {
            name += "_bucket";
            labels.insert("le".to_owned());
        }
        metrics.insert(name, labels);
    }
    metrics
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// The labels that an expression names: in `by (…)`, and before a comparison in braces.
fn labels(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in expression.split("by (").skip(1) {
        let list = part.split(')').next().expect("a list");
        found.extend(words(list).map(str::to_owned));
    }
    for part in expression.split('{').skip(1) {
        let matchers = part.split('}').next().expect("matchers");
        let names = matchers.split('"').step_by(2).flat_map(words);
        found.extend(names.map(str::to_owned));
    }
    found
}

#[test]
fn the_dashboard_speaks_of_metrics_that_there_are() {
    let path = root().join("deploy/grafana/reactorcide.json");
    let text = std::fs::read_to_string(path).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let documented = documented();
    assert!(documented.len() > 30, "{documented:?}");
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(panel["type"] == "row" || !targets.is_empty(), "{title} asks for nothing");
        for target in targets {
            let expression = target["expr"].as_str().expect("an expression");
            let metrics: Vec<&str> = words(expression)
                .filter(|word| word.starts_with("reactorcide_") || word.starts_with("process_"))
                .collect();
            assert!(!metrics.is_empty(), "{title}: {expression}");
            for metric in metrics {
                let known = documented.get(metric);
                let known = known.unwrap_or_else(|| panic!("{title}: there is no metric {metric}"));
                let unknown: Vec<String> = labels(expression).difference(known).cloned().collect();
                assert_eq!(unknown, [""; 0], "{title}: labels that {metric} has not");
                asked.insert(metric.to_owned());
            }
        }
    }
    // What says nothing by itself, or is for other ends.
    let left_out = [
        "process_max_fds",
        "process_start_time_seconds",
        "process_threads",
        "process_virtual_memory_bytes",
        "reactorcide_build_info",
        "reactorcide_trace_spans_total",
        "reactorcide_worker_attempts_total",
        "reactorcide_worker_build_info",
        "reactorcide_worker_disk_size_bytes",
        "reactorcide_worker_leases_total",
        "reactorcide_worker_trace_spans_total",
    ];
    let unseen: Vec<&String> = documented.keys().filter(|metric| !asked.contains(*metric)).collect();
    assert_eq!(unseen, left_out, "what no panel shows");
}

#[test]
fn no_two_panels_of_the_dashboard_are_in_one_place() {
    let path = root().join("deploy/grafana/reactorcide.json");
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the dashboard")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut taken = BTreeSet::new();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let number = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        let (x, y) = (number("x"), number("y"));
        assert!(x + number("w") <= 24, "{}", panel["title"]);
        for cell in (x..x + number("w")).flat_map(|x| (y..y + number("h")).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies over another", panel["title"]);
        }
    }
}
