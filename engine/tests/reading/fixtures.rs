//! One file for each shape that is accepted or refused. A refused one says in `# expect:` lines at its beginning
//! what is wrong with it and where, all of it; they are written by hand, and a line that ends in `:` leaves the
//! words open.

use std::fs;
use std::path::PathBuf;

use super::{lines, read_one, root};

fn fixtures(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("tests/fixtures").join(directory)).expect("fixtures");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

#[test]
fn every_valid_fixture_is_accepted() {
    for path in fixtures("valid") {
        let reading = read_one("a.yaml", fs::read(&path).expect("a file"));
        assert_eq!(lines(&reading), Vec::<String>::new(), "{}", path.display());
        assert!(!reading.configuration.resources.is_empty(), "{}", path.display());
    }
}

#[test]
fn every_invalid_fixture_is_refused_with_all_its_errors_in_their_places() {
    let mut wrong = Vec::new();
    for path in fixtures("invalid") {
        let text = fs::read_to_string(&path).expect("a text");
        let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        assert!(!expected.is_empty(), "{} expects nothing", path.display());
        let found = lines(&read_one("a.yaml", text.clone()));
        let fits = |(expected, found): (&&str, &String)| {
            found == expected || (expected.ends_with("]:") && found.starts_with(*expected))
        };
        if expected.len() != found.len() || !expected.iter().zip(&found).all(fits) {
            wrong.push(format!("{}\n  expected {expected:#?}\n  found {found:#?}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
