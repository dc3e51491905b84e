//! Everything the fake knows, behind its lock, and who waits for a change of it.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use super::behaviour::{Behaviour, Call, Facts, Operation, Target};
use super::container::Container;
use crate::provider::{Chunk, ContainerId, ContainerSpec, ContainerState, Exit, ImageInfo, ProviderError};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) containers: Vec<Container>,
    pub(super) calls: Vec<Call>,
    pub(super) images: BTreeMap<String, ImageInfo>,
    pub(super) scripts: Vec<(Target, Behaviour)>,
    pub(super) next_scripts: Vec<(Target, Behaviour)>,
    /// The last says whether it is for one call only.
    pub(super) failures: Vec<(Operation, Target, ProviderError, bool)>,
    pub(super) holds: Vec<(Operation, Target)>,
    created: u64,
    wakers: Vec<Waker>,
}

impl State {
    /// Wakes whoever waits, to look again.
    pub(super) fn changed(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    pub(super) fn wait(&mut self, context: &Context<'_>) {
        if !self.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            self.wakers.push(context.waker().clone());
        }
    }

    pub(super) fn get(&mut self, id: &ContainerId) -> Result<&mut Container, ProviderError> {
        let found = self.containers.iter_mut().find(|container| container.id == *id);
        found.ok_or_else(|| ProviderError::Missing(id.0.clone()))
    }

    pub(super) fn create(&mut self, spec: &ContainerSpec) -> Result<ContainerId, ProviderError> {
        if let Some(existing) = self.containers.iter().find(|container| container.spec.name == spec.name) {
            if existing.spec.owner == spec.owner {
                return Ok(existing.id.clone());
            }
            return Err(ProviderError::Engine {
                operation: "creating the container",
                reason: format!("the name {:?} belongs to a container of somebody else", spec.name),
            });
        }
        self.created += 1;
        let id = ContainerId(format!("fake-{}", self.created));
        let behaviour = self.behaviour_for(spec);
        self.containers.push(Container::new(id.clone(), spec.clone(), behaviour));
        self.changed();
        Ok(id)
    }

    pub(super) fn facts_of(&self, call: &Call) -> Facts {
        let spec = match call {
            Call::Create { spec } => Some((**spec).clone()),
            Call::Pull { image, .. } => return Facts { image: Some(image.clone()), spec: None },
            _ => call.container().and_then(|id| {
                self.containers.iter().find(|container| container.id == *id).map(|found| found.spec.clone())
            }),
        };
        Facts { image: spec.as_ref().map(|spec| spec.image.clone()), spec }
    }

    pub(super) fn is_held(&self, operation: Operation, facts: &Facts) -> bool {
        self.holds.iter().any(|(held, target)| *held == operation && target.matches(facts))
    }

    pub(super) fn failure(&mut self, operation: Operation, facts: &Facts) -> Result<(), ProviderError> {
        let matching = self
            .failures
            .iter()
            .position(|(failing, target, ..)| *failing == operation && target.matches(facts));
        match matching {
            None => Ok(()),
            Some(index) if self.failures[index].3 => Err(self.failures.remove(index).2),
            Some(index) => Err(self.failures[index].2.clone()),
        }
    }

    /// The next chunk behind `index`, or the end of the stream.
    pub(super) fn poll_output(
        &mut self,
        id: &ContainerId,
        index: usize,
        cuts: u32,
        context: &Context<'_>,
    ) -> Poll<Option<Chunk>> {
        let Ok(container) = self.get(id) else { return Poll::Ready(None) };
        if container.cuts != cuts {
            return Poll::Ready(None);
        }
        if let Some(chunk) = container.output.get(index) {
            return Poll::Ready(Some(chunk.clone()));
        }
        if matches!(container.state, ContainerState::Exited(_)) {
            return Poll::Ready(None);
        }
        self.wait(context);
        Poll::Pending
    }

    pub(super) fn poll_exit(
        &mut self,
        id: &ContainerId,
        context: &Context<'_>,
    ) -> Poll<Result<Exit, ProviderError>> {
        match self.get(id).map(|container| container.state.clone()) {
            Err(missing) => Poll::Ready(Err(missing)),
            Ok(ContainerState::Exited(exit)) => Poll::Ready(Ok(exit)),
            Ok(_) => {
                self.wait(context);
                Poll::Pending
            }
        }
    }

    fn behaviour_for(&mut self, spec: &ContainerSpec) -> Behaviour {
        let facts = Facts { image: Some(spec.image.clone()), spec: Some(spec.clone()) };
        if let Some(index) = self.next_scripts.iter().position(|(target, _)| target.matches(&facts)) {
            return self.next_scripts.remove(index).1;
        }
        let latest = self.scripts.iter().rev().find(|(target, _)| target.matches(&facts));
        latest.map(|(_, behaviour)| behaviour.clone()).unwrap_or_default()
    }
}
