//! One container of the fake: an interpreter of its steps that runs until it has to wait.

use std::collections::VecDeque;
use std::time::Duration;

use super::behaviour::{Behaviour, OnTerm, Step};
use crate::provider::{
    Chunk, ContainerId, ContainerSpec, ContainerState, ContainerSummary, Exit, ProviderError,
};

#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: ContainerId,
    pub(super) spec: ContainerSpec,
    pub(super) state: ContainerState,
    pub(super) output: Vec<Chunk>,
    /// How often its streams were cut; a stream ends when this is no longer what it was at its beginning.
    pub(super) cuts: u32,
    pub(super) input: Vec<u8>,
    pub(super) input_closed: bool,
    pub(super) disk_usage: u64,
    steps: VecDeque<Step>,
    on_term: OnTerm,
}

impl Container {
    pub(super) fn new(id: ContainerId, spec: ContainerSpec, behaviour: Behaviour) -> Self {
        Self {
            id,
            spec,
            state: ContainerState::Created,
            output: Vec::new(),
            cuts: 0,
            input: Vec::new(),
            input_closed: false,
            disk_usage: behaviour.disk_usage,
            steps: behaviour.steps,
            on_term: behaviour.on_term,
        }
    }

    pub(super) fn start(&mut self) -> Result<(), ProviderError> {
        match self.state {
            ContainerState::Created => {
                self.state = ContainerState::Running;
                self.advance();
                Ok(())
            }
            ContainerState::Running => Ok(()),
            ContainerState::Exited(_) | ContainerState::Missing => Err(ProviderError::Engine {
                operation: "starting the container",
                reason: format!("{} has ended already", self.spec.name),
            }),
        }
    }

    pub(super) fn stop(&mut self, grace: Duration) {
        if self.state == ContainerState::Created {
            return;
        }
        if !grace.is_zero() {
            match std::mem::replace(&mut self.on_term, OnTerm::Ignore) {
                OnTerm::Ignore => {}
                OnTerm::End => self.end(Exit { code: 143, oom: false }),
                OnTerm::Do(steps) => {
                    self.steps = steps;
                    self.advance();
                }
            }
        }
        self.end(Exit { code: 137, oom: false });
    }

    pub(super) fn end(&mut self, exit: Exit) {
        if self.state == ContainerState::Running {
            self.state = ContainerState::Exited(exit);
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], close: bool) -> Result<(), ProviderError> {
        if matches!(self.state, ContainerState::Exited(_)) && !bytes.is_empty() {
            return Err(ProviderError::Engine {
                operation: "writing to the container's standard input",
                reason: format!("{} has ended", self.spec.name),
            });
        }
        self.input.extend_from_slice(bytes);
        self.input_closed |= close;
        self.advance();
        Ok(())
    }

    pub(super) fn print(&mut self, stderr: bool, bytes: &[u8]) {
        self.output.push(Chunk { stderr, bytes: bytes.to_vec() });
    }

    pub(super) fn release(&mut self) {
        if matches!(self.steps.front(), Some(Step::Pause)) {
            self.steps.pop_front();
            self.advance();
        }
    }

    pub(super) fn cut(&mut self) {
        self.cuts += 1;
    }

    pub(super) fn summary(&self) -> ContainerSummary {
        ContainerSummary {
            id: self.id.clone(),
            name: self.spec.name.clone(),
            labels: self.spec.labels.clone(),
            running: self.state == ContainerState::Running,
        }
    }

    fn advance(&mut self) {
        while self.state == ContainerState::Running {
            match self.steps.pop_front() {
                None => self.end(Exit { code: 0, oom: false }),
                Some(Step::Print { stderr, bytes }) => self.print(stderr, &bytes),
                Some(Step::Exit(exit)) => self.end(exit),
                Some(Step::OnInput(handler)) => match handler(&self.input, self.input_closed) {
                    Some(next) => {
                        for step in next.into_iter().rev() {
                            self.steps.push_front(step);
                        }
                    }
                    None => {
                        self.steps.push_front(Step::OnInput(handler));
                        return;
                    }
                },
                Some(waiting @ (Step::Pause | Step::Hang)) => {
                    self.steps.push_front(waiting);
                    return;
                }
            }
        }
    }
}
