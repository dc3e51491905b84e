//! The nodes of a run, which of them changed since they were last stored, and what can be counted anew from them.

use std::ops::{Index, IndexMut};

use super::node::Node;

/// All nodes, in the order in which they came to be. Whoever takes one to change it has changed it.
#[derive(Debug, Clone, Default)]
pub(super) struct Nodes {
    all: Vec<Node>,
    changed: Vec<usize>,
}

/// What follows from the nodes, and is not stored.
#[derive(Debug, Clone, Default)]
pub(super) struct Links {
    /// Dependencies that have not ended.
    pub open: usize,
    /// Nodes that wait for this one.
    pub dependents: Vec<usize>,
    /// For a group: its parts that have not ended.
    pub open_parts: usize,
}

impl Nodes {
    /// Nodes that are stored as they are.
    pub fn stored(all: Vec<Node>) -> Self {
        Self { all, changed: Vec::new() }
    }

    pub fn push(&mut self, node: Node) -> usize {
        self.changed.push(self.all.len());
        self.all.push(node);
        self.all.len() - 1
    }

    pub fn as_slice(&self) -> &[Node] {
        &self.all
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Node> {
        self.all.iter()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Those that changed since they were last taken, in their order.
    pub fn take_changed(&mut self) -> Vec<(usize, Node)> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().map(|index| (index, self.all[index].clone())).collect()
    }
}

/// What was stored last is nothing that two runs differ in.
impl PartialEq for Nodes {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Index<usize> for Nodes {
    type Output = Node;

    fn index(&self, index: usize) -> &Node {
        &self.all[index]
    }
}

impl Index<std::ops::Range<usize>> for Nodes {
    type Output = [Node];

    fn index(&self, range: std::ops::Range<usize>) -> &[Node] {
        &self.all[range]
    }
}

impl IndexMut<usize> for Nodes {
    fn index_mut(&mut self, index: usize) -> &mut Node {
        if self.changed.last() != Some(&index) {
            self.changed.push(index);
        }
        &mut self.all[index]
    }
}
