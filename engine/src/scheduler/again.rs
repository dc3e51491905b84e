//! The same run once more: all of it, or what did not succeed.

use std::collections::BTreeSet;

use super::event::{NodeStatus, RunStatus};
use super::node::{Node, Origin};
use super::{Head, NewRun, RunState, Selection, Stored};

impl RunState {
    /// This run once more, as it was accepted: the same definition, event, inputs and first variables. With `failed_only`
    /// what succeeded counts as it is, with its outputs, its variables and what it triggered, and only the rest runs.
    pub fn again(&self, id: String, failed_only: bool) -> Self {
        let declared = self.nodes.iter().filter(|node| node.group.is_none() && node.depth == 0);
        let jobs = declared
            .filter_map(|node| match &node.origin {
                Origin::Declared(name) => Some(name.clone()),
                Origin::Triggered { .. } => None,
            })
            .collect();
        let fresh = Self::new(NewRun {
            id,
            workflow: self.workflow.clone(),
            event: self.event.clone(),
            vars: self.first_vars.clone(),
            inputs: self.inputs.clone(),
            selection: Some(Selection { jobs, follow_needs: false }),
        });
        let fresh = Self { admission: self.admission.clone(), ..fresh };
        if failed_only { self.rest(fresh) } else { fresh }
    }

    /// What did not succeed, beside what did.
    fn rest(&self, fresh: Self) -> Self {
        let kept = self.kept();
        let mut nodes: Vec<Node> = Vec::new();
        for node in self.nodes.iter().filter(|node| node.group.is_none()) {
            let is_kept = kept.contains(&node.name);
            let again = match &node.origin {
                Origin::Declared(_) if node.depth == 0 => fresh.node(&node.name).cloned(),
                // Whoever runs again asks for it again.
                _ => self.came_with(node, &kept).then(|| blank(node)),
            };
            let Some(again) = again else { continue };
            if !is_kept {
                nodes.push(again);
                continue;
            }
            let mut node = node.clone();
            node.reason = format!("it succeeded in the run {}", self.id);
            let (first, parts) = (node.first_part, node.parts);
            let place = nodes.len();
            node.first_part = if parts > 0 { place + 1 } else { 0 };
            nodes.push(node);
            for part in &self.nodes[first..first + parts] {
                nodes.push(Node { group: Some(place), ..part.clone() });
            }
        }
        let head = Head {
            status: RunStatus::Running,
            vars: self.head.vars.clone(),
            vars_by: self.head.vars_by.clone(),
            cancelled: None,
            begun: false,
            gate: None,
            approved_by: None,
        };
        let definition = fresh.definition();
        let mut state = Self::restore(Stored { definition, head, nodes }).expect("it is made of a whole run");
        state.all_changed();
        state
    }

    /// What succeeded, and does not have to run again for whoever asked for it.
    fn kept(&self) -> BTreeSet<String> {
        let mut kept: BTreeSet<String> = BTreeSet::new();
        // Who triggers comes before whom it triggered.
        for node in self.nodes.iter().filter(|node| node.group.is_none()) {
            if node.status == NodeStatus::Succeeded && (node.depth == 0 || self.came_with(node, &kept)) {
                kept.insert(node.name.clone());
            }
        }
        kept
    }

    /// Whether a node that was triggered stays, since who triggered it is not run again.
    fn came_with(&self, node: &Node, kept: &BTreeSet<String>) -> bool {
        let by = match &node.origin {
            Origin::Triggered { by, .. } => by,
            Origin::Declared(_) => return false,
        };
        let Some(by) = self.node(by) else { return false };
        let by = by.group.map_or(by, |group| &self.nodes[group]);
        kept.contains(&by.name)
    }
}

/// A node as it was when it was triggered.
fn blank(node: &Node) -> Node {
    let mut blank =
        Node::new(node.name.clone(), node.origin.clone(), node.condition, node.depends_on.clone());
    blank.env = node.env.clone();
    blank.depth = node.depth;
    blank
}
