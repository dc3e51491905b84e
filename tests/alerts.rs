//! The alerts for Prometheus: promtool finds them well formed, they fire when they should and not else, and they speak of
//! metrics that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

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
