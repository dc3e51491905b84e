//! The graph of resources: who refers to whom, in which order changes are shown, and where references go round
//! in a circle.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::address::Address;
use crate::reference::Reference;

mod render;

pub use render::{Format, render};

/// Resources and their references. An edge goes from who refers to what is referred to.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    graph: DiGraph<Address, Edge>,
    nodes: BTreeMap<Address, NodeIndex>,
}

/// One reference as an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Where the reference stands.
    pub pointer: String,
    /// Whether it orders: see [`Reference::ordering`].
    pub ordering: bool,
}

/// A circle of references: each address refers to the next by the pointer beside it, the last to the first.
pub type Cycle = Vec<(Address, String)>;

impl Graph {
    /// Makes the graph of resources and their references. A reference without a target is left out.
    pub fn new<'a>(resources: impl IntoIterator<Item = (&'a Address, Vec<Reference>)>) -> Self {
        let resources: Vec<_> = resources.into_iter().collect();
        let mut graph = Self::default();
        for (address, _) in &resources {
            let node = graph.graph.add_node((*address).clone());
            graph.nodes.insert((*address).clone(), node);
        }
        for (address, references) in resources {
            let from = graph.nodes[address];
            for reference in references {
                let Some(to) = reference.resolve(|target| graph.nodes.contains_key(target)) else { continue };
                let edge = Edge { pointer: reference.pointer.clone(), ordering: reference.ordering };
                graph.graph.add_edge(from, graph.nodes[to], edge);
            }
        }
        graph
    }

    /// The addresses, what is referred to before who refers to it, and by address where nothing orders. The
    /// result does not depend on the order in which resources were added. What stands in a circle comes last.
    pub fn order(&self) -> Vec<Address> {
        let mut open: BTreeMap<NodeIndex, usize> = BTreeMap::new();
        let mut ready = BTreeSet::new();
        for (address, node) in &self.nodes {
            let count = self.targets(*node).count();
            open.insert(*node, count);
            if count == 0 {
                ready.insert((address, *node));
            }
        }
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some((address, node)) = ready.pop_first() {
            order.push(address.clone());
            open.remove(&node);
            for edge in
                self.graph.edges_directed(node, Direction::Incoming).filter(|edge| edge.weight().ordering)
            {
                let Some(count) = open.get_mut(&edge.source()) else { continue };
                *count -= 1;
                if *count == 0 {
                    ready.insert((&self.graph[edge.source()], edge.source()));
                }
            }
        }
        let rest: BTreeSet<&Address> = open.keys().map(|node| &self.graph[*node]).collect();
        order.extend(rest.into_iter().cloned());
        order
    }

    fn targets(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        let edges = self.graph.edges(node).filter(|edge| edge.weight().ordering);
        edges.map(|edge| edge.target())
    }

    /// Every circle of ordering references, each with its whole path, shortest way round.
    pub fn cycles(&self) -> Vec<Cycle> {
        let ordering = self
            .graph
            .filter_map(|_, address| Some(address.clone()), |_, edge| edge.ordering.then(|| edge.clone()));
        let mut cycles: Vec<Cycle> = kosaraju_scc(&ordering)
            .into_iter()
            .filter(|component| component.len() > 1 || ordering.contains_edge(component[0], component[0]))
            .map(|component| way_round(&ordering, &component))
            .collect();
        cycles.sort();
        cycles
    }

    /// The direct references of an address.
    pub fn references_of(&self, address: &Address) -> BTreeSet<Address> {
        let Some(node) = self.nodes.get(address) else { return BTreeSet::new() };
        self.graph.edges(*node).map(|edge| self.graph[edge.target()].clone()).collect()
    }

    /// All edges as pairs, in order and without repetition.
    pub fn edges(&self) -> BTreeSet<(Address, Address)> {
        let pair = |edge: petgraph::graph::EdgeReference<'_, Edge>| {
            (self.graph[edge.source()].clone(), self.graph[edge.target()].clone())
        };
        self.graph.edge_references().map(pair).collect()
    }

    /// All addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.nodes.keys()
    }
}

/// A shortest way round within a strongly connected component, from its least address.
fn way_round(graph: &DiGraph<Address, Edge>, component: &[NodeIndex]) -> Cycle {
    let start = *component.iter().min_by_key(|node| &graph[**node]).expect("a component has a node");
    let inside: BTreeSet<NodeIndex> = component.iter().copied().collect();
    // Breadth first, remembering how each node was reached, until the start is reached again.
    let mut reached: BTreeMap<NodeIndex, (NodeIndex, String)> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        let mut edges: Vec<_> = graph.edges(node).filter(|edge| inside.contains(&edge.target())).collect();
        edges.sort_by_key(|edge| (&graph[edge.target()], &edge.weight().pointer));
        for edge in edges {
            if edge.target() == start {
                return path_back(graph, &reached, start, node, edge.weight().pointer.clone());
            }
            if let Entry::Vacant(entry) = reached.entry(edge.target()) {
                entry.insert((node, edge.weight().pointer.clone()));
                queue.push_back(edge.target());
            }
        }
    }
    Vec::new()
}

fn path_back(
    graph: &DiGraph<Address, Edge>,
    reached: &BTreeMap<NodeIndex, (NodeIndex, String)>,
    start: NodeIndex,
    last: NodeIndex,
    last_pointer: String,
) -> Cycle {
    let mut path = vec![(graph[last].clone(), last_pointer)];
    let mut node = last;
    while node != start {
        let (previous, pointer) = &reached[&node];
        path.push((graph[*previous].clone(), pointer.clone()));
        node = *previous;
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Kind;

    fn address(name: &str) -> Address {
        Address::new(Kind::JobTemplate, None, name)
    }

    fn graph(edges: &[(&str, &str)], reversed: bool) -> Graph {
        let mut names: Vec<&str> = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
        names.sort_unstable();
        names.dedup();
        if reversed {
            names.reverse();
        }
        let addresses: Vec<Address> = names.iter().map(|name| address(name)).collect();
        let references = |of: &Address| {
            let mine = edges.iter().filter(|(from, _)| address(from) == *of);
            mine.map(|(_, to)| Reference {
                pointer: format!("/to/{to}"),
                candidates: vec![address(to)],
                ordering: true,
            })
            .collect()
        };
        Graph::new(addresses.iter().map(|a| (a, references(a))))
    }

    #[test]
    fn what_is_referred_to_comes_first_whatever_the_order_of_insertion() {
        let edges = [("d", "b"), ("d", "c"), ("b", "a"), ("c", "a"), ("e", "a")];
        let order = graph(&edges, false).order();
        assert_eq!(order, ["a", "b", "c", "d", "e"].map(address));
        assert_eq!(order, graph(&edges, true).order());
    }

    #[test]
    fn a_circle_is_reported_with_its_whole_path() {
        let found = graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")], true).cycles();
        assert_eq!(found.len(), 1);
        let path: Vec<_> =
            found[0].iter().map(|(address, pointer)| (address.name.as_str(), pointer.as_str())).collect();
        assert_eq!(path, [("a", "/to/b"), ("b", "/to/c"), ("c", "/to/a")]);
        assert_eq!(graph(&[("a", "a")], false).cycles()[0].len(), 1);
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_is_no_trouble() {
        let addresses: Vec<Address> = (0..100_000).map(|n| address(&format!("n{n:06}"))).collect();
        let graph = Graph::new(addresses.iter().enumerate().map(|(n, a)| {
            let next = addresses.get(n + 1).cloned();
            let reference =
                next.map(|to| Reference { pointer: "/x".into(), candidates: vec![to], ordering: true });
            (a, reference.into_iter().collect())
        }));
        assert_eq!(graph.order().first(), addresses.last());
        assert!(graph.cycles().is_empty());
    }
}
