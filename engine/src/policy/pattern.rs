//! Globs of names and branches: `*` stops at `/`, `**` does not.

use crate::glob::{Glob, selects};

/// Whether a name matches a glob. What is no glob matches only itself.
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    pattern == name || Glob::new(pattern).is_ok_and(|glob| glob.is_match(name))
}

fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '{', '\\'])
}

/// Names of branches or of tags: those that a pattern selects, less those that some lists of patterns do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// The pattern, or several that a name must match, as `a ∩ b`.
    pub of: String,
    /// The lists.
    pub except: Vec<Vec<String>>,
}

/// Stands between patterns that a name must match together.
const AND: &str = " ∩ ";

/// Whether a name matches all of what [`Names::of`] stands for.
pub(super) fn matches_all(of: &str, name: &str) -> bool {
    of.split(AND).all(|pattern| glob_matches(pattern, name))
}

impl Names {
    fn new(of: String, except: &[Vec<String>]) -> Option<Self> {
        except.iter().try_fold(Self { of, except: Vec::new() }, |names, list| names.without(list))
    }

    /// Those that a list selects too. Two globs that may overlap are kept as `a ∩ b`.
    pub fn within(&self, list: &[String]) -> Vec<Self> {
        let both = |(pattern, except): (&str, Vec<Vec<String>>)| {
            Self::new(common(&self.of, pattern)?, &[&self.except[..], &except].concat())
        };
        parts(list).into_iter().filter_map(both).collect()
    }

    /// Those that a list does not select. `None` where none is left.
    pub fn without(mut self, list: &[String]) -> Option<Self> {
        let own = |pattern: &String| self.of.split(AND).any(|part| part == pattern);
        let is_all = |(index, pattern): (usize, &String)| {
            (pattern == "**" || own(pattern)) && !list[index..].iter().any(|later| later.starts_with('!'))
        };
        if is_literal(&self.of) {
            return (!selects(list, &self.of)).then_some(self);
        }
        if list.is_empty() || list.iter().enumerate().any(is_all) {
            return None;
        }
        // A name that is none of these anyhow need not be excepted.
        let counts = |pattern: &&String| !is_literal(pattern) || matches_all(&self.of, pattern);
        if list.iter().any(|pattern| pattern.starts_with('!')) {
            self.except.push(list.to_vec());
        } else {
            let list: Vec<String> = list.iter().filter(counts).cloned().collect();
            self.except.extend((!list.is_empty()).then_some(list));
        }
        self.except.sort();
        self.except.dedup();
        Some(self)
    }
}

/// A list of patterns as its parts: what one pattern selects, less what later ones of the list take back. An empty list
/// is everything, and so is where one of exclusions alone begins.
fn parts(list: &[String]) -> Vec<(&str, Vec<Vec<String>>)> {
    let excluded = |list: &[String]| -> Vec<Vec<String>> {
        list.iter().filter_map(|pattern| Some(vec![pattern.strip_prefix('!')?.to_owned()])).collect()
    };
    if list.iter().all(|pattern| pattern.starts_with('!')) {
        return vec![("**", excluded(list))];
    }
    let included = list.iter().enumerate().filter(|(_, pattern)| !pattern.starts_with('!'));
    included.map(|(index, pattern)| (pattern.as_str(), excluded(&list[index..]))).collect()
}

/// What two lists of patterns select together.
pub(super) fn intersection(left: &[String], right: &[String]) -> Vec<Names> {
    let mut found: Vec<Names> = Vec::new();
    for (of, except) in parts(left) {
        for names in Names::new(of.to_owned(), &except).map_or_else(Vec::new, |names| names.within(right)) {
            if !found.contains(&names) {
                found.push(names);
            }
        }
    }
    found
}

/// What some patterns and another one have in common; nothing where that is nothing.
fn common(of: &str, pattern: &str) -> Option<String> {
    match (is_literal(of), is_literal(pattern)) {
        _ if pattern == "**" || of.split(AND).any(|part| part == pattern) => Some(of.to_owned()),
        _ if of == "**" => Some(pattern.to_owned()),
        (true, true) => None,
        (true, false) => glob_matches(pattern, of).then(|| of.to_owned()),
        (false, true) => matches_all(of, pattern).then(|| pattern.to_owned()),
        (false, false) => Some(format!("{of}{AND}{pattern}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
    }

    fn both(left: &[&str], right: &[&str]) -> Vec<String> {
        intersection(&list(left), &list(right)).iter().map(shown).collect()
    }

    fn shown(names: &Names) -> String {
        names.except.iter().fold(names.of.clone(), |text, list| format!("{text} - {}", list.join(",")))
    }

    #[test]
    fn patterns_have_in_common_what_both_may_match() {
        assert_eq!(both(&[], &[]), ["**"]);
        assert_eq!(both(&["main"], &[]), ["main"]);
        assert_eq!(both(&["main", "dev"], &["main"]), ["main"]);
        assert_eq!(both(&["main"], &["release/*"]), [""; 0]);
        assert_eq!(both(&["release/1", "release/1/x"], &["release/*"]), ["release/1"]);
        assert_eq!(both(&["release/*"], &["*/1"]), ["release/* ∩ */1"]);
        assert_eq!(both(&["!main"], &["dev"]), ["dev"]);
        assert_eq!(both(&["!main"], &["dev", "main"]), ["dev"]);
        assert_eq!(both(&["release/*", "!release/1", "!main"], &[]), ["release/* - release/1"]);
    }

    #[test]
    fn what_is_left_out_is_said_unless_nothing_is_left() {
        let without = |of: &str, patterns: &[&str]| {
            let names = Names { of: of.to_owned(), except: Vec::new() };
            names.without(&list(patterns)).as_ref().map(shown)
        };
        assert_eq!(without("main", &["main"]), None);
        assert_eq!(without("main", &["!main"]).as_deref(), Some("main"));
        assert_eq!(without("**", &["main"]).as_deref(), Some("** - main"));
        assert_eq!(without("**", &["main", "**"]), None);
        assert_eq!(without("**", &["**", "!main"]).as_deref(), Some("** - **,!main"));
        assert_eq!(without("release/* ∩ */1", &["*/1"]), None);
        assert_eq!(without("release/*", &["main", "release/1"]).as_deref(), Some("release/* - release/1"));
        assert_eq!(without("release/*", &["main"]).as_deref(), Some("release/*"));
    }

    proptest! {
        /// Names are selected by both lists, and not by a third, exactly where a part of the intersection says so.
        #[test]
        fn an_intersection_is_exactly_what_both_select(
            left in patterns(), right in patterns(), denied in patterns(),
        ) {
            let all = intersection(&left, &right);
            let rest: Vec<Names> = all.iter().filter_map(|names| names.clone().without(&denied)).collect();
            let is_in = |found: &[Names], name: &str| found.iter().any(|names| {
                matches_all(&names.of, name) && !names.except.iter().any(|list| selects(list, name))
            });
            for name in ["", "main", "next", "release/1", "release/2", "release/1/x", "a/b/c"] {
                let expected = selects(&left, name) && selects(&right, name);
                prop_assert_eq!(is_in(&all, name), expected, "{:?} {:?}", name, all);
                prop_assert_eq!(is_in(&rest, name), expected && !selects(&denied, name), "{:?} {:?}", name, rest);
            }
        }
    }

    fn patterns() -> impl Strategy<Value = Vec<String>> {
        let pattern = prop::sample::select(vec![
            "main",
            "next",
            "release/*",
            "release/**",
            "**",
            "*",
            "*/1",
            "!main",
            "!release/*",
            "!**",
            "release/1",
        ]);
        prop::collection::vec(pattern.prop_map(str::to_owned), 0..4)
    }
}
