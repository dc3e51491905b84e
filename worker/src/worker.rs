//! The loop that leases jobs, each of which then runs as a task of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use reactorcide_engine::coordinator::{Coordinator, CoordinatorError, LeaseId, Work};
use reactorcide_engine::provider::{Owner, Provider, PullPolicy};
use reactorcide_engine::workers::Floor;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::health;
use crate::job;
use crate::keeper::{Keeper, back_off};
use crate::leftovers::{self, Left};
use crate::observe::Observer;
use crate::source::Context as SourceContext;
use crate::spec::Secrets;
use crate::standby::{Standby, StandbySettings};

/// How long a coordinator may wait for work before it answers.
const WAIT: Duration = Duration::from_secs(30);
/// How often a machine that is too full for jobs is looked at.
const FULL: Duration = Duration::from_secs(5);

/// What a worker needs to know beside the jobs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose containers these are.
    pub owner: Owner,
    /// Where workspaces and spools are made.
    pub directory: PathBuf,
    /// The runner on the host.
    pub runner: PathBuf,
    /// The Python package for job code, in a directory on the host.
    pub python: Option<PathBuf>,
    /// The tree that is copied into the workspace of each job that names no source.
    pub source: Option<PathBuf>,
    /// A directory that stands for all trusted job code.
    pub ci: Option<PathBuf>,
    /// Where fetched code is kept, and what may be fetched.
    pub sources: SourceContext,
    /// When a registry is asked for images.
    pub pull: PullPolicy,
    /// How long getting an image may take.
    pub pull_deadline: Duration,
    /// The secrets that jobs may have.
    pub secrets: Arc<Secrets>,
    /// Where jobs reach the server, as a URL; nothing, where they cannot.
    pub api: Option<String>,
    /// Leave workspaces as they are.
    pub keep_workspace: bool,
    /// How many jobs at once.
    pub slots: usize,
    /// The most bytes of log that wait on disk for whoever reads them.
    pub spool_bytes: u64,
    /// What is started ahead of jobs.
    pub standby: StandbySettings,
    /// The least free disk with which it takes jobs.
    pub disk_floor: Floor,
}

/// A worker.
#[derive(Clone)]
pub struct Worker {
    /// What runs containers.
    pub provider: Arc<dyn Provider>,
    /// What hands out jobs.
    pub coordinator: Arc<dyn Coordinator>,
    /// What keeps the leases, and says what must arrive.
    pub keeper: Arc<Keeper>,
    /// Everything else.
    pub settings: Arc<Settings>,
    /// What was started ahead of jobs.
    pub standby: Standby,
    /// Whether the engine could mount layers when it was last tried.
    pub layers: Arc<AtomicBool>,
    /// What is told of all this to operators.
    pub observer: Arc<Observer>,
    draining: Arc<watch::Sender<bool>>,
}

impl Worker {
    /// A worker of these parts.
    pub fn new(provider: Arc<dyn Provider>, coordinator: Arc<dyn Coordinator>, settings: Settings) -> Self {
        let layers = Arc::new(AtomicBool::new(provider.has_overlays()));
        let keeper = Arc::new(Keeper::new(Arc::clone(&coordinator)));
        let settings = Arc::new(settings);
        let standby = Standby::new(Arc::clone(&provider), Arc::clone(&settings));
        let draining = Arc::new(watch::Sender::new(false));
        let observer = Arc::<Observer>::default();
        Self { provider, coordinator, keeper, settings, standby, layers, observer, draining }
    }

    /// Takes no more jobs; [`Worker::work`] ends with those that it has.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Goes on with what an earlier process of this name left, and then runs jobs as [`Worker::work`] does. The owner's
    /// lock must be held, so that the earlier process is certainly gone.
    ///
    /// `given` are leases that the coordinator says this worker has, of those that were given to it in its directory: what
    /// the earlier process never began is lost.
    pub async fn resume(self, given: Vec<LeaseId>) -> Result<(), CoordinatorError> {
        self.serve(Some(given)).await
    }

    /// Runs jobs until there are no more. An error is a coordinator's that wants none of this worker; what ran has ended.
    pub async fn work(self) -> Result<(), CoordinatorError> {
        self.serve(None).await
    }

    async fn serve(self, resumed: Option<Vec<LeaseId>>) -> Result<(), CoordinatorError> {
        // They end with this, however it ends.
        let mut beside = JoinSet::new();
        let keeper = Arc::clone(&self.keeper);
        beside.spawn(async move { keeper.keep().await });
        let mut left = Vec::new();
        if let Some(given) = resumed {
            left = leftovers::take(&self).await;
            for lease in given.into_iter().filter(|lease| left.iter().all(|left| left.record.lease != *lease))
            {
                let keeper = Arc::clone(&self.keeper);
                beside.spawn(async move { leftovers::give_up(&keeper, &lease).await });
            }
        }
        if !left.is_empty() {
            tracing::info!(jobs = left.len(), "going on with what an earlier process left");
        }
        let standby = self.standby.clone();
        beside.spawn(async move { standby.keep().await });
        let slots = Arc::new(Semaphore::new(self.settings.slots));
        let mut jobs = JoinSet::new();
        for Left { record, container } in left {
            // With fewer slots than before there may be none for it, and it runs all the same.
            let permit = Arc::clone(&slots).try_acquire_owned().ok();
            let worker = self.clone();
            jobs.spawn(async move {
                let id = record.lease.clone();
                job::adopt(&worker, record, container).await;
                worker.keeper.release(&id);
                drop(permit);
            });
        }
        let mut failures = 0;
        let mut full = false;
        let mut draining = self.draining.subscribe();
        let outcome = loop {
            let first = tokio::select! {
                biased;
                _ = draining.wait_for(|draining| *draining) => break Ok(()),
                first = Arc::clone(&slots).acquire_owned() => first,
            };
            let Ok(first) = first else { break Ok(()) };
            let health = health::look(&self.settings.directory, self.settings.disk_floor);
            self.coordinator.told(&health);
            if let Some(reason) = &health.refuses {
                if !std::mem::replace(&mut full, true) {
                    tracing::warn!(reason, "taking no jobs");
                }
            } else if std::mem::take(&mut full) {
                tracing::info!("taking jobs again");
            }
            // Who takes nothing says so all the same.
            let (free, wait) = if full { (0, Duration::ZERO) } else { (slots.available_permits() + 1, WAIT) };
            // What is handed out while the worker goes away is lost in time, and given to another.
            let claim = self.coordinator.claim(free, wait);
            let claimed = tokio::select! {
                claimed = claim => claimed,
                _ = draining.wait_for(|draining| *draining) => break Ok(()),
            };
            let leases = match claimed {
                Ok(Work::Leases(leases)) => leases,
                Ok(Work::Closed) => break Ok(()),
                Err(CoordinatorError::Unavailable(reason)) => {
                    self.observer.coordinator_failed();
                    if failures == 0 {
                        tracing::warn!(reason, "the coordinator gives no work, trying again");
                    }
                    failures += 1;
                    tokio::time::sleep(back_off(failures)).await;
                    continue;
                }
                Err(error) => break Err(error),
            };
            failures = 0;
            // What was given before, and not heard of, is run all the same.
            if full && leases.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(FULL) => continue,
                    _ = draining.wait_for(|draining| *draining) => break Ok(()),
                }
            }
            let mut first = Some(first);
            for lease in leases {
                self.keeper.hold(&lease);
                self.observer.leased();
                let permit = match first.take() {
                    Some(permit) => permit,
                    None => match Arc::clone(&slots).acquire_owned().await {
                        Ok(permit) => permit,
                        Err(_) => break,
                    },
                };
                let worker = self.clone();
                jobs.spawn(async move {
                    let id = lease.id.clone();
                    job::run(&worker, lease).await;
                    worker.keeper.release(&id);
                    drop(permit);
                });
            }
            while jobs.try_join_next().is_some() {}
        };
        // What has no job yet gets none any more.
        let rest = async { while jobs.join_next().await.is_some() {} };
        tokio::join!(self.standby.close(), rest);
        outcome
    }
}
