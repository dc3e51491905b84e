//! Containers that were started ahead of jobs: each waits with our runner in it for one job, and is gone after that.
//!
//! How many wait is decided by [`reactorcide_engine::standby`]; here it is done. Nothing of a job is in a container that
//! waits. One whose worker is gone sees the end of its input and ends.

mod make;
mod ready;
mod shape;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reactorcide_engine::config;
use reactorcide_engine::provider::{ContainerSpec, Provider, ProviderError};
use reactorcide_engine::standby::{Rules, Sizing, Ticket};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::worker::Settings;
use crate::workspace::host_user;

pub use ready::{Ready, Running};
use shape::Shape;

/// How long nothing is started after the engine was not there, or had no disk.
const TROUBLE: Duration = Duration::from_secs(10);
/// How often the disk is looked at, and what stands behind the images' names, while something waits.
const LOOK: Duration = Duration::from_secs(30);
/// How long the removal of what waits may take at the end.
const CLOSING: Duration = Duration::from_secs(60);

/// What is started ahead of jobs.
#[derive(Debug, Clone)]
pub struct StandbySettings {
    /// Images, how many wait of each, and when.
    pub images: Vec<config::Standby>,
    /// With fewer bytes free where the workspaces are, nothing waits.
    pub disk_floor: u64,
}

impl Default for StandbySettings {
    fn default() -> Self {
        Self { images: Vec::new(), disk_floor: 1 << 30 }
    }
}

/// The containers of a worker that wait. Clones share them.
#[derive(Clone)]
pub struct Standby(Arc<Shared>);

struct Shared {
    provider: Arc<dyn Provider>,
    settings: Arc<Settings>,
    pools: Mutex<Pools>,
    changed: Arc<Notify>,
    began: Instant,
}

#[derive(Default)]
struct Pools {
    pools: Vec<Pool>,
    /// What is being started and removed.
    tasks: JoinSet<()>,
    closed: bool,
    looked: Option<Instant>,
}

/// The containers of one image.
struct Pool {
    image: String,
    sizing: Sizing<Shape>,
    waiting: HashMap<Ticket, Waiting>,
}

struct Waiting {
    running: Running,
    /// What the image was when it was started.
    image: String,
}

impl Standby {
    /// Nothing waits yet.
    pub fn new(provider: Arc<dyn Provider>, settings: Arc<Settings>) -> Self {
        let host = host_user();
        let pools = settings.standby.images.iter().filter_map(|standby| {
            let (owner, runner, python) = (&settings.owner, &settings.runner, settings.python.as_deref());
            let shape = Shape::plain(&standby.image, owner, runner, python, host)?;
            let image = shape.image().to_owned();
            let sizing = Sizing::new(Rules::from(standby), shape, 0);
            Some(Pool { image, sizing, waiting: HashMap::new() })
        });
        let pools = Mutex::new(Pools { pools: pools.collect(), ..Pools::default() });
        Self(Arc::new(Shared { provider, settings, pools, changed: Arc::default(), began: Instant::now() }))
    }

    /// Whether containers of that image wait now and then.
    pub fn is_for(&self, image: &str) -> bool {
        self.0.pools().pools.iter().any(|pool| pool.image == image)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.pools().pools.iter().map(|pool| pool.waiting.len()).sum()
    }

    /// Takes a container that waits and is what a job's own would be, if there is one. Its workspace is moved to where
    /// the job's is to be.
    pub fn take(&self, container: &ContainerSpec, workspace: &Path) -> Option<Ready> {
        let shape = Shape::of(container, workspace)?;
        let waiting = {
            let mut guard = self.0.pools();
            let Pools { pools, tasks, .. } = &mut *guard;
            let pool = pools.iter_mut().find(|pool| pool.image == container.image)?;
            loop {
                let Some(ticket) = pool.sizing.take(&shape, self.0.now()) else { break None };
                match pool.waiting.remove(&ticket) {
                    Some(waiting) if waiting.running.is_alive() => break Some(waiting),
                    // It ended, and nobody has looked yet.
                    Some(waiting) => self.0.discard(tasks, waiting.running, true),
                    None => {}
                }
            }
        };
        self.0.changed.notify_one();
        let Waiting { mut running, image } = waiting?;
        match make::move_workspace(&shape, &running.workspace, workspace) {
            Ok(()) => {
                workspace.clone_into(&mut running.workspace);
                Some(Ready::new(running, image, self.clone()))
            }
            Err(error) => {
                tracing::warn!(%error, "the workspace of a waiting container could not be moved");
                self.0.discard(&mut self.0.pools().tasks, running, true);
                None
            }
        }
    }

    /// Keeps as many waiting as there should be, for as long as it is run.
    pub async fn keep(&self) {
        if self.0.settings.standby.images.is_empty() {
            return;
        }
        if let Err(error) = make::remove_leftovers(&self.0).await {
            tracing::warn!(%error, "containers that waited for an earlier worker could not be looked for");
        }
        loop {
            let again = self.0.step();
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = sleep_until(again.unwrap_or_else(far_off)) => {}
            }
        }
    }

    /// Gives up everything that waits, for good.
    pub async fn close(&self) {
        let mut tasks = {
            let mut pools = self.0.pools();
            pools.closed = true;
            let waiting: Vec<_> = pools.pools.iter_mut().flat_map(Pool::close).collect();
            for waiting in waiting {
                self.0.discard(&mut pools.tasks, waiting.running, true);
            }
            std::mem::take(&mut pools.tasks)
        };
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(CLOSING, all).await.is_err() {
            tracing::warn!("containers that waited could not be removed in time; they end by themselves");
        }
    }

    /// Removes a container that a job did not take, beside everything else.
    fn drop_later(&self, running: Running) {
        // At the end of the process there is nobody to do it, and the container ends by itself.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.0.discard(&mut self.0.pools().tasks, running, false);
        }
    }
}

impl Shared {
    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Does what is to be done now. Returns when to look again at the latest.
    fn step(self: &Arc<Self>) -> Option<Instant> {
        let now = self.now();
        let mut guard = self.pools();
        let Pools { pools, tasks, closed, looked } = &mut *guard;
        while tasks.try_join_next().is_some() {}
        if *closed {
            return None;
        }
        let has_room = make::free_bytes(&self.settings.directory) >= self.settings.standby.disk_floor;
        let mut again: Option<u64> = None;
        for (index, pool) in pools.iter_mut().enumerate() {
            for waiting in pool.take_ended(now) {
                self.discard(tasks, waiting.running, true);
            }
            if !has_room {
                for waiting in pool.empty(now + millis(LOOK)) {
                    self.discard(tasks, waiting.running, true);
                }
            }
            let step = pool.sizing.step(now);
            for waiting in step.stop.iter().filter_map(|ticket| pool.waiting.remove(ticket)) {
                self.discard(tasks, waiting.running, true);
            }
            for (ticket, shape) in step.start {
                let shared = Arc::clone(self);
                tasks.spawn(async move { shared.start(index, ticket, shape).await });
            }
            again = again.into_iter().chain(step.again_at).min();
        }
        let again = again.map(|at| self.began + Duration::from_millis(at));
        if pools.iter().all(|pool| pool.waiting.is_empty()) {
            return again;
        }
        let next_look = looked.get_or_insert_with(Instant::now).checked_add(LOOK)?;
        if next_look <= Instant::now() {
            *looked = Some(Instant::now());
            let shared = Arc::clone(self);
            tasks.spawn(async move { shared.look_at_images().await });
        }
        Some(
            again
                .map_or(next_look, |again| again.min(next_look))
                .max(Instant::now() + Duration::from_millis(1)),
        )
    }

    async fn start(self: &Arc<Self>, pool: usize, ticket: Ticket, shape: Shape) {
        let made = self.make(&shape).await;
        if let Some(unwanted) = self.started(pool, ticket, made) {
            self.remove(unwanted, true).await;
        }
        self.changed.notify_one();
    }

    /// Notes what came of a start. Returns what nobody wants any more.
    fn started(
        self: &Arc<Self>,
        pool: usize,
        ticket: Ticket,
        made: Result<Waiting, ProviderError>,
    ) -> Option<Running> {
        let mut guard = self.pools();
        let Pools { pools, tasks, .. } = &mut *guard;
        let now = self.now();
        match made {
            Ok(waiting) if pools[pool].sizing.waits(ticket, now) => {
                pools[pool].waiting.insert(ticket, waiting);
            }
            Ok(waiting) => return Some(waiting.running),
            Err(error) => {
                tracing::warn!(image = pools[pool].image, %error, "no container can be started ahead of jobs");
                pools[pool].sizing.failed(ticket, now);
                if matches!(error, ProviderError::Unreachable { .. } | ProviderError::NoSpace { .. }) {
                    for waiting in pools.iter_mut().flat_map(|pool| pool.empty(now + millis(TROUBLE))) {
                        self.discard(tasks, waiting.running, true);
                    }
                }
            }
        }
        None
    }

    /// Gives up what waits with an image that its name stands for no more.
    async fn look_at_images(self: &Arc<Self>) {
        let images: Vec<String> = self.pools().pools.iter().map(|pool| pool.image.clone()).collect();
        for (index, image) in images.iter().enumerate() {
            let is_now = self.local(image).await;
            let mut guard = self.pools();
            let Pools { pools, tasks, .. } = &mut *guard;
            let stale = match is_now {
                Ok(id) => pools[index].take_other_than(&id, self.now()),
                Err(ProviderError::Image { .. }) => pools[index].empty(self.now()),
                Err(_) => Vec::new(),
            };
            for waiting in stale {
                self.discard(tasks, waiting.running, true);
            }
        }
        self.changed.notify_one();
    }

    /// Removes a container beside everything else, and its workspace where no job has it.
    fn discard(self: &Arc<Self>, tasks: &mut JoinSet<()>, running: Running, with_workspace: bool) {
        let shared = Arc::clone(self);
        tasks.spawn(async move { shared.remove(running, with_workspace).await });
    }
}

impl Pool {
    fn take_ended(&mut self, now: u64) -> Vec<Waiting> {
        let ended = self.waiting.iter().filter(|(_, waiting)| !waiting.running.is_alive());
        let ended: Vec<_> = ended.map(|(ticket, _)| *ticket).collect();
        for ticket in &ended {
            self.sizing.ended(*ticket, now);
        }
        ended.iter().filter_map(|ticket| self.waiting.remove(ticket)).collect()
    }

    /// What waits with another image is no failure of anything: its place is filled at once.
    fn take_other_than(&mut self, image: &str, now: u64) -> Vec<Waiting> {
        if self.waiting.values().all(|waiting| waiting.image == image) { Vec::new() } else { self.empty(now) }
    }

    fn empty(&mut self, until: u64) -> Vec<Waiting> {
        let stopped = self.sizing.empty(until);
        stopped.iter().filter_map(|ticket| self.waiting.remove(ticket)).collect()
    }

    fn close(&mut self) -> Vec<Waiting> {
        let stopped = self.sizing.close();
        stopped.iter().filter_map(|ticket| self.waiting.remove(ticket)).collect()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Some time at which somebody may look again for no reason.
fn far_off() -> Instant {
    Instant::now() + Duration::from_secs(24 * 3600)
}

#[cfg(test)]
mod tests;
