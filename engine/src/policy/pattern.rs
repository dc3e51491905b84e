//! Globs of names and branches: `*` stops at `/`, `**` does not.

use crate::glob::Glob;

/// Whether a name matches a glob. What is no glob matches only itself.
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    pattern == name || Glob::new(pattern).is_ok_and(|glob| glob.is_match(name))
}

fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '{', '\\'])
}

/// What two lists of patterns have in common, as patterns. An empty list stands for everything. Two globs
/// that may overlap are kept as `a ∩ b`; a pattern that excludes (`!x`) narrows nothing here.
pub(super) fn intersection(left: &[String], right: &[String]) -> Vec<String> {
    let included =
        |list: &[String]| -> Vec<String> { list.iter().filter(|p| !p.starts_with('!')).cloned().collect() };
    let (left, right) = (included(left), included(right));
    let mut common = match (left.is_empty(), right.is_empty()) {
        (true, true) => vec!["**".to_owned()],
        (true, false) => right,
        (false, true) => left,
        (false, false) => left.iter().flat_map(|l| right.iter().filter_map(move |r| common(l, r))).collect(),
    };
    common.sort();
    common.dedup();
    common
}

fn common(left: &str, right: &str) -> Option<String> {
    match (is_literal(left), is_literal(right)) {
        _ if left == right || right == "**" => Some(left.to_owned()),
        _ if left == "**" => Some(right.to_owned()),
        (true, true) => None,
        (true, false) => glob_matches(right, left).then(|| left.to_owned()),
        (false, true) => glob_matches(left, right).then(|| right.to_owned()),
        (false, false) => Some(format!("{left} ∩ {right}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(left: &[&str], right: &[&str]) -> Vec<String> {
        let own = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        intersection(&own(left), &own(right))
    }

    #[test]
    fn patterns_have_in_common_what_both_may_match() {
        assert_eq!(both(&[], &[]), ["**"]);
        assert_eq!(both(&["main"], &[]), ["main"]);
        assert_eq!(both(&["main", "dev"], &["main"]), ["main"]);
        assert_eq!(both(&["main"], &["release/*"]), Vec::<String>::new());
        assert_eq!(both(&["release/1", "release/1/x"], &["release/*"]), ["release/1"]);
        assert_eq!(both(&["release/*"], &["*/1"]), ["release/* ∩ */1"]);
        assert_eq!(both(&["!main"], &["dev"]), ["dev"]);
    }
}
