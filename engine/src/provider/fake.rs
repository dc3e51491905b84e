//! The fake provider: scripted containers in memory, for tests of everything above a provider.
//!
//! It keeps the contract of [`Provider`] without a runtime, a clock or an engine. A test says what containers
//! do ([`Fake::script`]), which calls fail ([`Fake::fail`]) or wait ([`Fake::hold`]), pulls the strings while
//! they run ([`Fake::print`], [`Fake::exit`], [`Fake::release_paused`], [`Fake::vanish`], [`Fake::cut`]) and
//! reads back what was asked of it ([`Fake::calls`]).
//!
//! ```
//! # use reactorcide_engine::provider::fake::{Behaviour, Fake, Target};
//! let fake = Fake::new();
//! fake.script(Target::image("alpine"), Behaviour::new().prints("hello\n").exits(0));
//! fake.script(Target::label("reactorcide.job", "deploy"), Behaviour::new().hangs().ignores_term());
//! ```
//!
//! Time does not pass here: a container that ignores SIGTERM is killed as soon as `stop` is called, whatever
//! the grace; the call's record has the grace that was asked for.

mod behaviour;
mod container;
mod state;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;

pub use self::behaviour::{Behaviour, Call, Operation, Step, Target};
use self::container::Container;
use self::state::State;
use super::{
    Attachment, Chunk, ContainerId, ContainerSpec, ContainerState, ContainerSummary, EngineInfo, Exit,
    ImageInfo, Input, Owner, Provider, ProviderError, PullPolicy,
};

/// An engine that exists only in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
}

/// What a test does with it.
impl Fake {
    /// An engine with every image that is asked for, whose containers end at once with 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what containers that match do. The latest match wins.
    pub fn script(&self, target: Target, behaviour: Behaviour) {
        self.lock().scripts.push((target, behaviour));
    }

    /// Says what the next container that matches does, once, before any [`Fake::script`]. Several form a queue.
    pub fn script_next(&self, target: Target, behaviour: Behaviour) {
        self.lock().next_scripts.push((target, behaviour));
    }

    /// Says what an image is: `pull` returns this.
    pub fn image(&self, image: &str, info: ImageInfo) {
        self.lock().images.insert(image.to_owned(), info);
    }

    /// Lets every matching call fail from now on.
    pub fn fail(&self, operation: Operation, target: Target, error: ProviderError) {
        self.lock().failures.push((operation, target, error, false));
    }

    /// Lets the next matching call fail. Several form a queue.
    pub fn fail_once(&self, operation: Operation, target: Target, error: ProviderError) {
        self.lock().failures.push((operation, target, error, true));
    }

    /// Lets no call fail any more.
    pub fn fail_nothing(&self) {
        self.lock().failures.clear();
    }

    /// Lets matching calls wait until [`Fake::unhold`]. They are recorded before they wait, and take effect after.
    pub fn hold(&self, operation: Operation, target: Target) {
        self.lock().holds.push((operation, target));
    }

    /// Lets all held calls of that operation go on.
    pub fn unhold(&self, operation: Operation) {
        let mut state = self.lock();
        state.holds.retain(|(held, _)| *held != operation);
        state.changed();
    }

    /// Lets a running container print.
    pub fn print(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.on_running(name, |container| container.print(false, bytes.as_ref()));
    }

    /// Ends a running container.
    pub fn exit(&self, name: &str, exit: Exit) {
        self.on_running(name, |container| container.end(exit));
    }

    /// Lets a container go on that waits at [`Step::Pause`].
    pub fn release_paused(&self, name: &str) {
        self.on_running(name, Container::release);
    }

    /// Removes a container as if somebody else had done so.
    pub fn vanish(&self, name: &str) {
        let mut state = self.lock();
        state.containers.retain(|container| container.spec.name != name);
        state.changed();
    }

    /// Ends the output streams of a container, which goes on: what a restart of an engine looks like.
    pub fn cut(&self, name: &str) {
        self.on_running(name, Container::cut);
    }

    /// Sets what [`Provider::disk_usage`] returns for a container.
    pub fn set_disk_usage(&self, name: &str, bytes: u64) {
        self.on_container(name, |container| container.disk_usage = bytes);
    }

    /// What a container has read from its standard input, and whether that was closed.
    pub fn input_of(&self, name: &str) -> Option<(Vec<u8>, bool)> {
        let state = self.lock();
        let container = state.containers.iter().find(|container| container.spec.name == name)?;
        Some((container.input.clone(), container.input_closed))
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// The names of all containers that exist, in order of creation.
    pub fn names(&self) -> Vec<String> {
        self.lock().containers.iter().map(|container| container.spec.name.clone()).collect()
    }

    /// The names of all containers that run.
    pub fn running(&self) -> Vec<String> {
        let state = self.lock();
        let running = state.containers.iter().filter(|container| container.state == ContainerState::Running);
        running.map(|container| container.spec.name.clone()).collect()
    }

    /// What a container was created with.
    pub fn spec_of(&self, name: &str) -> Option<ContainerSpec> {
        let state = self.lock();
        state.containers.iter().find(|container| container.spec.name == name).map(|found| found.spec.clone())
    }

    /// Waits until something holds that a test reads from the engine. Put a deadline around it.
    pub async fn until(&self, mut holds: impl FnMut(&Fake) -> bool) {
        poll_fn(|context| {
            // Registered first: a change between the question and the answer is then not missed.
            self.lock().wait(context);
            if holds(self) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn on_container<R>(&self, name: &str, act: impl FnOnce(&mut Container) -> R) -> R {
        let mut state = self.lock();
        let container = state.containers.iter_mut().find(|container| container.spec.name == name);
        let result = act(container.unwrap_or_else(|| panic!("the fake has no container {name:?}")));
        state.changed();
        result
    }

    fn on_running(&self, name: &str, act: impl FnOnce(&mut Container)) {
        self.on_container(name, |container| {
            assert_eq!(container.state, ContainerState::Running, "container {name:?} does not run");
            act(container);
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Records a call, waits while it is held, and fails it where the test says so.
    async fn enter(&self, call: Call) -> Result<(), ProviderError> {
        let (operation, facts) = {
            let mut state = self.lock();
            let facts = state.facts_of(&call);
            let operation = call.operation();
            state.calls.push(call);
            state.changed();
            (operation, facts)
        };
        poll_fn(|context| {
            let mut state = self.lock();
            if state.is_held(operation, &facts) {
                state.wait(context);
                return Poll::Pending;
            }
            Poll::Ready(state.failure(operation, &facts))
        })
        .await
    }
}

#[async_trait]
impl Provider for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn info(&self) -> Result<EngineInfo, ProviderError> {
        self.enter(Call::Info).await?;
        Ok(EngineInfo { version: "0".to_owned(), endpoint: "memory".to_owned() })
    }

    async fn pull(
        &self,
        image: &str,
        policy: PullPolicy,
        _deadline: Duration,
        progress: &(dyn Fn(String) + Send + Sync),
    ) -> Result<ImageInfo, ProviderError> {
        self.enter(Call::Pull { image: image.to_owned(), policy }).await?;
        let known = self.lock().images.get(image).cloned();
        progress(format!("{image}: ready"));
        Ok(known.unwrap_or_else(|| ImageInfo {
            id: format!("fake:{image}"),
            digest: None,
            command: vec!["/bin/true".to_owned()],
        }))
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, ProviderError> {
        self.enter(Call::Create { spec: Box::new(spec.clone()) }).await?;
        self.lock().create(spec)
    }

    async fn attach(&self, id: &ContainerId) -> Result<Attachment, ProviderError> {
        self.enter(Call::Attach { id: id.clone() }).await?;
        let mut state = self.lock();
        let container = state.get(id)?;
        // As with a log driver that keeps nothing: what was printed before is not seen.
        let position = (container.output.len(), container.cuts);
        let has_input = container.spec.stdin;
        drop(state);
        let fake = self.clone();
        let reader = (fake.clone(), id.clone(), position);
        let output = stream::unfold(reader, |(fake, id, (index, cuts))| async move {
            let chunk = poll_fn(|context| fake.lock().poll_output(&id, index, cuts, context)).await?;
            Some((Ok::<Chunk, ProviderError>(chunk), (fake, id, (index + 1, cuts))))
        });
        let input = FakeInput { fake, id: id.clone(), closed: false };
        Ok(Attachment { input: has_input.then(|| Box::new(input) as Box<dyn Input>), output: output.boxed() })
    }

    async fn start(&self, id: &ContainerId) -> Result<(), ProviderError> {
        self.enter(Call::Start { id: id.clone() }).await?;
        let mut state = self.lock();
        let started = state.get(id)?.start();
        state.changed();
        started
    }

    async fn wait(&self, id: &ContainerId) -> Result<Exit, ProviderError> {
        self.enter(Call::Wait { id: id.clone() }).await?;
        poll_fn(|context| self.lock().poll_exit(id, context)).await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ContainerState, ProviderError> {
        self.enter(Call::Inspect { id: id.clone() }).await?;
        Ok(self.lock().get(id).map_or(ContainerState::Missing, |container| container.state.clone()))
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), ProviderError> {
        self.enter(Call::Stop { id: id.clone(), grace }).await?;
        let mut state = self.lock();
        if let Ok(container) = state.get(id) {
            container.stop(grace);
            state.changed();
        }
        Ok(())
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), ProviderError> {
        self.enter(Call::Remove { id: id.clone() }).await?;
        let mut state = self.lock();
        state.containers.retain(|container| container.id != *id);
        state.changed();
        Ok(())
    }

    async fn disk_usage(&self, id: &ContainerId) -> Result<u64, ProviderError> {
        self.enter(Call::DiskUsage { id: id.clone() }).await?;
        Ok(self.lock().get(id)?.disk_usage)
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<ContainerSummary>, ProviderError> {
        self.enter(Call::List { owner: owner.clone() }).await?;
        let state = self.lock();
        let owned = state.containers.iter().filter(|container| container.spec.owner == *owner);
        Ok(owned.map(Container::summary).collect())
    }

    async fn release(&self, owner: &Owner) -> Result<(), ProviderError> {
        self.enter(Call::Release { owner: owner.clone() }).await
    }
}

struct FakeInput {
    fake: Fake,
    id: ContainerId,
    closed: bool,
}

#[async_trait]
impl Input for FakeInput {
    async fn write_all(&mut self, bytes: &[u8]) -> Result<(), ProviderError> {
        self.feed(bytes)
    }

    async fn close(&mut self) -> Result<(), ProviderError> {
        self.closed = true;
        // As with a real engine, closing what is gone is no error.
        let _ = self.feed(&[]);
        Ok(())
    }
}

impl FakeInput {
    fn feed(&self, bytes: &[u8]) -> Result<(), ProviderError> {
        let mut state = self.fake.lock();
        let fed = state.get(&self.id)?.feed(bytes, self.closed);
        state.changed();
        fed
    }
}

impl Drop for FakeInput {
    fn drop(&mut self) {
        if !self.closed {
            self.closed = true;
            let _ = self.feed(&[]);
        }
    }
}

#[cfg(test)]
mod tests;
