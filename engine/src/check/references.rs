//! References: what they name must exist, and they must not go round in a circle.

use std::collections::BTreeSet;

use super::span;
use crate::address::Address;
use crate::config::Configuration;
use crate::diagnostic::Diagnostic;
use crate::graph::Graph;
use crate::parallel;
use crate::reference::{Reference, references};
use crate::suggest::nearest;

pub fn check(configuration: &Configuration, broken: &BTreeSet<Address>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let resources: Vec<_> = configuration.resources.iter().collect();
    let exists = |target: &Address| configuration.resources.contains_key(target) || broken.contains(target);
    let all = parallel::map(&resources, |(_, declared)| {
        let references = references(&declared.resource);
        let missing: Vec<usize> =
            (0..references.len()).filter(|index| references[*index].resolve(exists).is_none()).collect();
        (references, missing)
    });
    let all = resources.iter().zip(all).map(|((address, declared), (references, missing))| {
        for reference in missing.into_iter().map(|index| &references[index]) {
            let known = configuration.resources.keys().chain(broken);
            found.push(unknown(reference, known).at(span(declared, &reference.pointer)));
        }
        (*address, references)
    });
    let all: Vec<_> = all.collect();
    for cycle in Graph::new(all).cycles() {
        found.push(circle(configuration, &cycle));
    }
    found
}

fn unknown<'a>(reference: &Reference, known: impl Iterator<Item = &'a Address>) -> Diagnostic {
    let target = &reference.candidates[0];
    let alternative = reference.candidates.get(1).map_or(String::new(), |other| format!(" or {other}"));
    let diagnostic = Diagnostic::error("RC1021", format!("there is no {target}{alternative}"));
    let reachable = |address: &&Address| {
        let project =
            |candidate: &Address| candidate.kind == address.kind && candidate.project == address.project;
        reference.candidates.iter().any(project)
    };
    let names: Vec<&str> = known.filter(reachable).map(|address| address.name.as_str()).collect();
    diagnostic.hint(match nearest(&target.name, names.iter().copied()) {
        Some(name) => format!("did you mean {name}?"),
        None if names.is_empty() => format!("declare it: kind: {}", target.kind),
        None => format!("there is {}", names.join(", ")),
    })
}

fn circle(configuration: &Configuration, cycle: &[(Address, String)]) -> Diagnostic {
    let place = |(address, pointer): &(Address, String)| {
        let declared = &configuration.resources[address];
        span(declared, pointer)
    };
    let path: Vec<String> =
        cycle.iter().chain(cycle.first()).map(|(address, _)| address.to_string()).collect();
    let mut diagnostic =
        Diagnostic::error("RC1022", format!("these refer to each other in a circle: {}", path.join(" → ")));
    diagnostic.span = cycle.first().map(place);
    for (index, step) in cycle.iter().enumerate().skip(1) {
        diagnostic =
            diagnostic.related(place(step), format!("{} refers to {}", path[index], path[index + 1]));
    }
    diagnostic.hint("take one of these references out")
}
