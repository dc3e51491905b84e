//! A run as it is stored: what never changes, what changes of the run as a whole, and one piece for each node, so that
//! an event costs what it changes and not what the run is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::{NodeName, NodeStatus, RunStatus};
use super::node::Node;
use super::nodes::{Links, Nodes};
use super::{Admission, Gate, RunState, is_linked};
use crate::trace::Trace;
use crate::workflow::Workflow;

/// What never changes of a run: what it was when it was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The run's id.
    pub id: String,
    /// What runs.
    pub workflow: Workflow,
    /// The event that started it.
    pub event: Value,
    /// The run's inputs.
    pub inputs: BTreeMap<String, Value>,
    /// What its variables were at first, over those that the workflow declares.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// What is written down of it anywhere is told by this. Runs of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// What somebody has to approve before it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
}

/// What changes of a run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Where it is on its way.
    pub status: RunStatus,
    /// Its variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Value>,
    /// Who gave a variable its value during the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) vars_by: BTreeMap<String, NodeName>,
    /// Why it was cancelled, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cancelled: Option<String>,
    pub(super) begun: bool,
    /// What keeps it from beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gate: Option<Gate>,
    /// Who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) approved_by: Option<String>,
}

/// A whole run as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// What never changes.
    pub definition: Definition,
    /// What changes of the run as a whole.
    pub head: Head,
    /// Every node, in the order in which they came to be.
    pub nodes: Vec<Node>,
}

/// What must be written for what happened since it was last asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// The run as a whole, where that changed.
    pub head: Option<Head>,
    /// Nodes that changed, and their places.
    pub nodes: Vec<(usize, Node)>,
}

/// What was stored is no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored run {run} is damaged: {what}")]
pub struct Damaged {
    /// The run.
    pub run: String,
    /// What is wrong with it.
    pub what: String,
}

impl RunState {
    /// What never changes.
    pub fn definition(&self) -> Definition {
        Definition {
            id: self.id.clone(),
            workflow: self.workflow.clone(),
            event: self.event.clone(),
            inputs: self.inputs.clone(),
            vars: self.first_vars.clone(),
            trace: self.trace.clone(),
            admission: self.admission.clone(),
        }
    }

    /// What changed since this was last asked.
    pub fn take_changes(&mut self) -> Changes {
        let head = std::mem::take(&mut self.head_changed).then(|| self.head.clone());
        Changes { head, nodes: self.nodes.take_changed() }
    }

    /// A run as it was stored. What can be counted is counted anew.
    pub fn restore(stored: Stored) -> Result<Self, Damaged> {
        let Stored { definition, head, nodes } = stored;
        let Definition { id, workflow, event, inputs, vars, trace, admission } = definition;
        let damaged = |what: String| Damaged { run: id.clone(), what };
        let mut by_name = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            if by_name.insert(node.name.clone(), index).is_some() {
                return Err(damaged(format!("two jobs are called {:?}", node.name)));
            }
            let parts = node.first_part.checked_add(node.parts).is_some_and(|end| end <= nodes.len());
            if !parts || node.group.is_some_and(|group| group >= nodes.len()) {
                return Err(damaged(format!("parts of {:?} are missing", node.name)));
            }
        }
        let links = vec![Links::default(); nodes.len()];
        let mut state = Self {
            id,
            workflow,
            event,
            inputs,
            trace,
            admission,
            first_vars: vars,
            head,
            head_changed: false,
            links,
            nodes: Nodes::stored(nodes),
            by_name,
            open: 0,
            active: 0,
            expecting: BTreeMap::new(),
        };
        state.count();
        Ok(state)
    }

    /// Everything is to be stored.
    pub(super) fn all_changed(&mut self) {
        self.head_changed = true;
        for index in 0..self.nodes.len() {
            let _ = &mut self.nodes[index];
        }
    }

    fn count(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            self.open += usize::from(!node.status.is_terminal());
            let with_a_worker = matches!(node.status, NodeStatus::Queued | NodeStatus::Running);
            self.active += usize::from(with_a_worker && node.parts == 0 || node.held);
            if let Some(group) = node.group {
                self.links[group].open_parts += usize::from(!node.status.is_terminal());
            }
            if is_linked(node) {
                self.link(index);
            }
        }
    }
}
