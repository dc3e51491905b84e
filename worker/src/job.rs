//! One attempt of one job, from its lease to its report: workspace, image, container, output, end, and nothing left.

mod clean_up;
mod prepare;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use reactorcide_engine::config::{FailureReason, RunnerMode};
use reactorcide_engine::coordinator::{Lease, LeaseId, Report, Urgency};
use reactorcide_engine::protocol::mask::Values;
use reactorcide_engine::protocol::query::{Message, Query};
use reactorcide_engine::protocol::spec::JobSpec;
use reactorcide_engine::provider::{
    Attachment, ContainerId, ContainerSpec, ContainerState, Exit, Provider, ProviderError,
};
use reactorcide_engine::scheduler::{Assignment, AttemptResult};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::follow::follow;
use crate::keeper::{Keeper, Order};
use crate::outcome::{NOT_KEPT, Observed, Stopped, conclude};
use crate::pump::{Pump, Wanted};
use crate::spool::{SpoolReader, spool};
use crate::standby::Ready;
use crate::sweep::OwnerLock;
use crate::worker::Worker;
use crate::workspace::{Workspace, beside};

/// How much later than the runner we enforce what the runner enforces.
const MARGIN: Duration = Duration::from_secs(5);
/// How long the rest of the output may take after the container ended.
const DRAIN: Duration = Duration::from_secs(10);
/// How often disk use is looked at.
const DISK_INTERVAL: Duration = Duration::from_secs(2);

/// Runs an attempt and reports how it ended. Whatever happens, even a bug of ours, it is reported.
pub async fn run(worker: &Worker, lease: Lease) {
    let id = lease.id.clone();
    let task = tokio::spawn({
        let worker = worker.clone();
        async move { Attempt::new(&worker, &lease).run(lease.assignment).await }
    });
    let result = match task.await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(job.name = id.node, %error, "an attempt broke off: this is a bug");
            failed(FailureReason::Provider, format!("the worker broke off: {error}"))
        }
    };
    if worker.keeper.report(&id, Report::Finished(result)).await.is_err() {
        tracing::warn!(job.name = id.node, attempt = id.attempt, "nobody waits for this attempt any more");
    }
}

fn failed(reason: FailureReason, message: String) -> AttemptResult {
    AttemptResult {
        failure: Some(reason),
        exit_code: None,
        message: Some(message),
        outputs: std::collections::BTreeMap::new(),
        started: false,
        permanent: false,
    }
}

/// What all stages of an attempt share.
struct Attempt {
    worker: Worker,
    lease: LeaseId,
    workspace: PathBuf,
    /// The name of the container that waited for it, where it runs in one.
    waited: OnceLock<String>,
}

/// An attempt that is ready to run.
struct Prepared {
    workspace: Workspace,
    container: ContainerSpec,
    spec: JobSpec,
    secrets: Values,
    /// A container that waited for it.
    ready: Option<Ready>,
}

impl Attempt {
    fn new(worker: &Worker, lease: &Lease) -> Self {
        let settings = &worker.settings;
        let clean: String = lease
            .id
            .node
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '.' })
            .collect();
        // The token keeps apart what looks the same.
        let name = format!("{clean}-{}-{}", lease.id.attempt, lease.id.token);
        let workspace = OwnerLock::workspaces(&settings.directory, &settings.owner).join(name);
        Self { worker: worker.clone(), lease: lease.id.clone(), workspace, waited: OnceLock::new() }
    }

    fn provider(&self) -> &Arc<dyn Provider> {
        &self.worker.provider
    }

    async fn run(self, assignment: Assignment) -> AttemptResult {
        let prepared = tokio::select! {
            prepared = self.prepare(&assignment) => prepared,
            order = self.worker.keeper.ordered(&self.lease, Order::default()) => Err(if order.not_kept {
                failed(FailureReason::LostWorker, NOT_KEPT.to_owned())
            } else {
                failed(FailureReason::Cancelled, "it was cancelled before it started".to_owned())
            })
        };
        let result = match prepared {
            Ok(prepared) => {
                let observed = self.execute(&assignment, prepared).await;
                conclude(observed)
            }
            Err(result) => result,
        };
        self.clean_up(&assignment).await;
        result
    }

    /// Creates the container, runs it to its end, and says what was seen.
    async fn execute(&self, assignment: &Assignment, prepared: Prepared) -> Observed {
        let job = &assignment.job;
        let bare = job.runner == RunnerMode::None;
        let mut observed = Observed {
            bare,
            timeout: job.timeout.map(|timeout| timeout.to_string()),
            memory: job.resources.and_then(|resources| resources.memory).map(|memory| memory.to_string()),
            ..Observed::default()
        };
        let log = beside(&self.workspace, "log");
        let (writer, reader) = match spool(&log, self.worker.settings.spool_bytes) {
            Ok(spool) => spool,
            Err(error) => {
                let reason = format!("no log can be kept at {}: {error}", log.display());
                observed.error = Some(if error.kind() == std::io::ErrorKind::StorageFull {
                    ProviderError::NoSpace { reason }
                } else {
                    ProviderError::Engine { operation: "keeping the log", reason }
                });
                return observed;
            }
        };
        let attempt = assignment.attempt;
        let mut pump = if bare {
            Pump::plain(attempt, writer, &prepared.secrets)
        } else {
            Pump::framed(attempt, writer)
        };
        let (begun, has_begun) = oneshot::channel();
        let following =
            tokio::spawn(tell(reader, has_begun, Arc::clone(&self.worker.keeper), self.lease.clone()));
        if let Err(error) = self.drive(assignment, prepared, begun, &mut pump, &mut observed).await {
            observed.error = Some(error);
        }
        (observed.outputs, observed.result) = pump.finish();
        // Whoever reads the log has all of it before the job counts as ended. The container is not kept waiting.
        let _ = following.await;
        observed
    }

    async fn drive(
        &self,
        assignment: &Assignment,
        mut prepared: Prepared,
        begun: oneshot::Sender<()>,
        pump: &mut Pump,
        observed: &mut Observed,
    ) -> Result<(), ProviderError> {
        let mut line = serde_json::to_vec(&prepared.spec).unwrap_or_default();
        line.push(b'\n');
        let waited = match prepared.ready.take() {
            Some(ready) => ready.hand_over(&line).await?,
            None => None,
        };
        let (container, attached, exit) = match waited {
            Some(waited) => {
                let _ = self.waited.set(waited.name);
                (waited.id, waited.attached, waited.exit)
            }
            None => self.start(&prepared.container, &line).await?,
        };
        observed.started = true;
        let _ = begun.send(());
        let exit =
            self.watch(assignment, &prepared.workspace, &container, attached, exit, pump, observed).await?;
        observed.exit = Some(exit);
        Ok(())
    }

    /// Creates and starts a container, and gives it its job.
    async fn start(
        &self,
        spec: &ContainerSpec,
        line: &[u8],
    ) -> Result<(ContainerId, Attachment, JoinHandle<Result<Exit, ProviderError>>), ProviderError> {
        let provider = self.provider();
        let container = provider.create(spec).await?;
        let mut attached = provider.attach(&container).await?;
        let exit = watch_exit(provider, &container);
        if let Err(error) = provider.start(&container).await {
            exit.abort();
            // Not every disk can carry a layer. The next attempt, which an engine's failure gets, copies.
            if !spec.overlays.is_empty() {
                tracing::warn!(%error, "the engine cannot mount a layer: code is copied from now on");
                self.worker.layers.store(false, Ordering::Relaxed);
            }
            return Err(error);
        }
        if let Some(input) = &mut attached.input {
            // A runner that died before it read its spec is seen by its exit.
            let _ = input.write_all(line).await;
        }
        Ok((container, attached, exit))
    }

    /// Follows a running container to its end: takes what it prints, and stops it when somebody or something says so.
    #[allow(clippy::too_many_arguments, reason = "one loop over everything that can happen to one container")]
    async fn watch(
        &self,
        assignment: &Assignment,
        workspace: &Workspace,
        container: &ContainerId,
        mut attached: Attachment,
        mut exit: JoinHandle<Result<Exit, ProviderError>>,
        pump: &mut Pump,
        observed: &mut Observed,
    ) -> Result<Exit, ProviderError> {
        let job = &assignment.job;
        let grace = job.grace.to_std();
        let bare = job.runner == RunnerMode::None;
        // The runner keeps the time; we only make sure of it. Where there is no runner, we keep it.
        let margin = if bare { Duration::ZERO } else { grace + MARGIN };
        let deadline = job.timeout.map(|timeout| Instant::now() + timeout.to_std() + margin);
        let disk_limit = job.resources.and_then(|resources| resources.disk);
        let mut disk = tokio::time::interval(DISK_INTERVAL);
        disk.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut order = Order::default();
        let mut ordinal = 0;
        let mut connected = true;
        let (answers, mut answered) = mpsc::unbounded_channel();
        let stop = |stopped: Stopped, grace: Duration, observed: &mut Observed| {
            observed.stopped.get_or_insert(stopped);
            let (provider, container) = (Arc::clone(self.provider()), container.clone());
            tokio::spawn(async move {
                if let Err(error) = provider.stop(&container, grace).await {
                    tracing::warn!(%error, "a container could not be stopped");
                }
            });
        };
        let ended = loop {
            tokio::select! {
                chunk = attached.output.next(), if connected => match chunk {
                    Some(Ok(chunk)) => self.take(pump, &chunk, &mut ordinal, &answers).await,
                    Some(Err(_)) | None => connected = self.reconnect(container, &mut attached, pump).await,
                },
                Some(line) = answered.recv() => {
                    // Who asked has stopped waiting, if the line cannot be written.
                    if let Some(input) = &mut attached.input {
                        let _ = input.write_all(&line).await;
                    }
                }
                ended = &mut exit => break ended,
                wanted = self.worker.keeper.ordered(&self.lease, order) => {
                    order = wanted;
                    let grace = match wanted.urgency {
                        Urgency::AtOnce => Duration::ZERO,
                        // The runner kills after the grace time; the engine does where the runner cannot.
                        _ => if bare { grace } else { grace + MARGIN },
                    };
                    let why = if wanted.not_kept { Stopped::NotKept } else { Stopped::Cancelled };
                    stop(why, grace, observed);
                }
                () = sleep_until(deadline), if observed.stopped.is_none() => {
                    stop(Stopped::Timeout, if bare { grace } else { Duration::ZERO }, observed);
                }
                _ = disk.tick(), if disk_limit.is_some() && observed.stopped.is_none() => {
                    let Some(limit) = disk_limit else { continue };
                    let used = self.disk_usage(workspace, container).await;
                    if used > limit.as_bytes() {
                        stop(Stopped::Disk(mebibytes(used), limit.to_string()), Duration::ZERO, observed);
                    }
                }
            }
        };
        let rest = async {
            while connected && let Some(Ok(chunk)) = attached.output.next().await {
                self.take(pump, &chunk, &mut ordinal, &answers).await;
            }
        };
        if tokio::time::timeout(DRAIN, rest).await.is_err() {
            pump.say("the rest of the output did not arrive in time");
        }
        // What was written faster than anybody looked counts as well.
        if let Some(limit) = disk_limit.filter(|_| observed.stopped.is_none()) {
            let used = self.disk_usage(workspace, container).await;
            if used > limit.as_bytes() {
                observed.stopped = Some(Stopped::Disk(mebibytes(used), limit.to_string()));
            }
        }
        match ended {
            Ok(exit) => exit,
            Err(error) => {
                Err(ProviderError::Engine { operation: "waiting for a container", reason: error.to_string() })
            }
        }
    }

    async fn take(
        &self,
        pump: &mut Pump,
        chunk: &reactorcide_engine::provider::Chunk,
        ordinal: &mut u32,
        answers: &mpsc::UnboundedSender<Vec<u8>>,
    ) {
        for wanted in pump.push(chunk) {
            match wanted {
                Wanted::Jobs(request) => {
                    let report = Report::Triggered { ordinal: *ordinal, request };
                    *ordinal += 1;
                    let _ = self.worker.keeper.report(&self.lease, report).await;
                }
                Wanted::Answer(id, query) => self.ask(id, query, answers.clone()),
            }
        }
    }

    /// Asks, beside everything else: the log does not wait for the answer.
    fn ask(&self, id: u64, query: Query, answers: mpsc::UnboundedSender<Vec<u8>>) {
        let (keeper, lease) = (Arc::clone(&self.worker.keeper), self.lease.clone());
        tokio::spawn(async move {
            let answer = keeper.ask(&lease, query).await;
            let mut line = serde_json::to_vec(&Message::Answer { id, answer }).unwrap_or_default();
            line.push(b'\n');
            let _ = answers.send(line);
        });
    }

    /// The output ended although the container may not have: attaches again where it has not.
    async fn reconnect(&self, container: &ContainerId, attached: &mut Attachment, pump: &mut Pump) -> bool {
        if self.provider().inspect(container).await != Ok(ContainerState::Running) {
            return false;
        }
        match self.provider().attach(container).await {
            Ok(again) => {
                pump.say("the connection to the container engine broke; some output may be missing");
                *attached = again;
                true
            }
            Err(_) => false,
        }
    }

    async fn disk_usage(&self, workspace: &Workspace, container: &ContainerId) -> u64 {
        let workspace = workspace.clone();
        let (inside, outside) = tokio::join!(
            self.provider().disk_usage(container),
            tokio::task::spawn_blocking(move || workspace.disk_usage()),
        );
        inside.unwrap_or(0) + outside.unwrap_or(0)
    }
}

/// Says that an attempt has begun, and then what it prints. The job waits for neither.
async fn tell(reader: SpoolReader, begun: oneshot::Receiver<()>, keeper: Arc<Keeper>, lease: LeaseId) {
    if begun.await.is_ok() {
        let _ = keeper.report(&lease, Report::Started).await;
    }
    follow(reader, keeper, lease).await;
}

/// Waits for a container's end from before it starts, so that no end is missed.
fn watch_exit(
    provider: &Arc<dyn Provider>,
    container: &ContainerId,
) -> JoinHandle<Result<Exit, ProviderError>> {
    let (provider, container) = (Arc::clone(provider), container.clone());
    tokio::spawn(async move { provider.wait(&container).await })
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
