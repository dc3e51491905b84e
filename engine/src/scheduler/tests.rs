//! A run step by step: what an event makes of it, and what is asked for then.

mod gates;
mod order;
mod retries;
mod stopping;
mod triggers;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::address::Address;
use crate::config::{Catalog, FailureReason, Kind, Metadata, Resource, Spec};
use crate::protocol::trigger::TriggerRequest;
use crate::workflow;

/// A run and what a test does to it.
struct Run {
    state: RunState,
    now: Millis,
    queue: Vec<(String, u32, Option<Millis>)>,
    stops: Vec<(String, bool)>,
    /// Groups that the run waits for a place in.
    line: Vec<String>,
    finished: Option<RunStatus>,
}

impl Run {
    fn new(jobs: Value) -> Self {
        Self::with(json!({ "jobs": jobs }), |_| {})
    }

    fn with(spec: Value, change: impl FnOnce(&mut NewRun)) -> Self {
        let metadata = Metadata { name: "ci".into(), project: Some("web".into()), ..Metadata::default() };
        let spec = Spec::from_value(Kind::Pipeline, spec).expect("a valid spec");
        let template = json!({"parameters": {"x": {"default": "d"}}, "job": {"image": "t", "command": "echo ${param:x}"}});
        let template = Spec::from_value(Kind::JobTemplate, template).expect("a valid spec");
        let other = Metadata { name: "made".into(), ..Metadata::default() };
        let resources = [Resource { metadata, spec }, Resource { metadata: other, spec: template }];
        let catalog: Catalog =
            resources.into_iter().map(|resource| (resource.address(), resource.into())).collect();
        let address = Address::new(Kind::Pipeline, Some("web"), "ci");
        let workflow = workflow::resolve(&catalog, &address).expect("resolves");
        let mut new = NewRun {
            id: "r1".into(),
            workflow,
            event: json!({"type": "push", "branch": "main"}),
            vars: BTreeMap::new(),
            inputs: BTreeMap::new(),
            selection: None,
        };
        change(&mut new);
        let mut run = Self {
            state: RunState::new(new),
            now: 1_000,
            queue: Vec::new(),
            stops: Vec::new(),
            line: Vec::new(),
            finished: None,
        };
        run.send(Event::Begin);
        run
    }

    fn send(&mut self, event: Event) {
        self.now += 1;
        for command in step(&mut self.state, event, self.now) {
            match command {
                Command::Enqueue { node, attempt, not_before } => {
                    self.queue.push((node, attempt, not_before))
                }
                Command::Stop { node, force, .. } => self.stops.push((node, force)),
                Command::Line(slot) => self.line.push(slot.group),
                Command::Finish(status) => self.finished = Some(status),
                Command::Record(transition) => assert!(!transition.reason.is_empty(), "{transition:?}"),
            }
        }
    }

    fn queued(&mut self) -> Vec<String> {
        std::mem::take(&mut self.queue).into_iter().map(|(node, ..)| node).collect()
    }

    fn end(&mut self, node: &str, failure: Option<FailureReason>, outputs: Value) {
        let attempt = self.state.node(node).expect("a node").attempt;
        self.send(Event::AttemptStarted { node: node.into(), attempt });
        let outputs = serde_json::from_value(outputs).expect("a map");
        let exit_code = Some(i32::from(failure.is_some()));
        let result = AttemptResult {
            failure,
            exit_code,
            message: None,
            outputs,
            started: true,
            permanent: false,
            usage: None,
        };
        self.send(Event::AttemptFinished { node: node.into(), attempt, result });
    }

    fn ok(&mut self, node: &str) {
        self.end(node, None, json!({}));
    }

    fn fail(&mut self, node: &str) {
        self.end(node, Some(FailureReason::Exit), json!({}));
    }

    fn trigger(&mut self, node: &str, request: Value) {
        let request: TriggerRequest = serde_json::from_value(request).expect("a request");
        self.send(Event::AttemptStarted { node: node.into(), attempt: 1 });
        self.send(Event::Triggered { node: node.into(), attempt: 1, ordinal: 0, request });
    }

    fn status(&self, node: &str) -> (NodeStatus, &str) {
        let node = self.state.node(node).unwrap_or_else(|| panic!("no node {node}"));
        (node.status, &node.reason)
    }
}

fn job(extra: Value) -> Value {
    let mut job = json!({"image": "i", "command": "c"});
    job.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
    job
}
