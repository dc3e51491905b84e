//! Every code that the sources use has its entry in docs/errors.md, and every entry its use.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::root;

#[test]
fn every_code_of_a_configuration_error_is_documented() {
    let mut used = BTreeSet::new();
    for directory in ["engine/src", "cli/src"] {
        collect(&root().join(directory), &mut used);
    }
    let text = fs::read_to_string(root().join("docs/errors.md")).expect("docs/errors.md");
    let headings = text.lines().filter_map(|line| line.strip_prefix("## ")?.split(' ').next());
    let documented: BTreeSet<String> = headings.map(str::to_owned).collect();
    assert_eq!(documented, used);
}

fn collect(directory: &Path, used: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, used);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            for (at, _) in text.match_indices("\"RC1") {
                let code: String = text[at + 1..].chars().take_while(char::is_ascii_alphanumeric).collect();
                if code.len() == 6 {
                    used.insert(code);
                }
            }
        }
    }
}
