//! Circles among names that wait for each other.

use std::collections::{BTreeMap, BTreeSet};

/// A circle in a small graph, its first name again at the end. Without recursion.
pub fn circle<'a>(edges: &BTreeMap<&'a str, Vec<&'a str>>) -> Option<Vec<&'a str>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in edges.keys() {
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let target = edges.get(node).and_then(|targets| targets.get(*next)).copied();
            *next += 1;
            match target {
                Some(target) if done.contains(target) => {}
                Some(target) => {
                    if let Some(from) = path.iter().position(|(name, _)| *name == target) {
                        return Some(path[from..].iter().map(|(name, _)| *name).chain([target]).collect());
                    }
                    path.push((target, 0));
                }
                None => {
                    done.insert(node);
                    path.pop();
                }
            }
        }
    }
    None
}
