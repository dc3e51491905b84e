//! The tests of the Python package, as one test of this suite: `runner/python/tests`, with the runner that was built.

use std::path::Path;
use std::process::Command;

fn python(arguments: &[&str]) -> (bool, String) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runner/python");
    let runner = tempfile::tempdir().expect("a directory");
    // The one that this binary carries: what containers get.
    let path = runner.path().join("reactorcide-runner");
    std::fs::write(&path, include_bytes!(concat!(env!("OUT_DIR"), "/reactorcide-runner"))).expect("a file");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let output = Command::new("/usr/bin/python3")
        .args(arguments)
        .current_dir(package)
        .env("REACTORCIDE_RUNNER", &path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("Debian's python3 is there: ./dev setup");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

#[test]
fn every_test_of_the_python_package_passes() {
    let (success, text) = python(&["-m", "pytest", "-p", "no:cacheprovider"]);
    assert!(success, "{text}");
}

#[test]
fn the_documentation_is_what_the_docstrings_say() {
    let (success, text) = python(&["docs.py", "--check"]);
    assert!(success, "{text}");
}

#[test]
fn every_test_that_the_table_of_old_names_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("runner/python/README.md")).expect("a file");
    let (_, table) = readme.split_once("| --- | --- | --- |\n").expect("the table");
    let found = Command::new("grep")
        .args([
            "-rhoE",
            "(fn|def) [a-z0-9_]+",
            "--include=*.rs",
            "--include=*.py",
            "runner",
            "tests",
            "protocol/src",
            "worker/src",
        ])
        .current_dir(&root)
        .output()
        .expect("grep runs");
    let found = String::from_utf8(found.stdout).expect("text");
    let names: Vec<&str> = found.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    for row in table.lines() {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().expect("a column");
        let mut any = false;
        for test in tests.split('`').skip(1).step_by(2).filter(|text| !text.contains(['/', '.'])) {
            assert!(names.contains(&test), "{test}: {row}");
            any = true;
        }
        assert!(any, "no test: {row}");
    }
}
