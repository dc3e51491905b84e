//! One attempt of one job, from its lease to its report: workspace, image, container, output, end, and nothing left.

mod again;
mod clean_up;
mod files;
mod prepare;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reactorcide_engine::config::{FailureReason, RunnerMode};
use reactorcide_engine::coordinator::{Lease, LeaseId, Report};
use reactorcide_engine::protocol::link::{Key, Proof};
use reactorcide_engine::protocol::mask::Values;
use reactorcide_engine::protocol::spec::JobSpec;
use reactorcide_engine::provider::{
    Attachment, ContainerId, ContainerSpec, ContainerSummary, Exit, Provider, ProviderError,
};
use reactorcide_engine::scheduler::{Assignment, AttemptResult};
use reactorcide_engine::trace::Trace;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

use self::watch::{Running, Watch};
use crate::container::user_of;
use crate::files::Restored;
use crate::follow::follow;
use crate::journal::Journal;
use crate::keeper::{Keeper, Order};
use crate::link::Link;
use crate::observe::Times;
use crate::outcome::{NOT_KEPT, Observed, conclude};
use crate::pump::{Finished, Pump, Wanted};
use crate::record::Record;
use crate::spool::{SpoolReader, spool};
use crate::standby::Ready;
use crate::sweep::OwnerLock;
use crate::worker::Worker;
use crate::workspace::{Workspace, beside, host_user};

/// Runs an attempt and reports how it ended. Whatever happens, even a bug of ours, it is reported.
pub async fn run(worker: &Worker, lease: Lease) {
    let record = Record::new(&lease);
    let attempt = Attempt::new(worker, &record);
    let run = Box::pin(attempt.clone().run(record));
    attempt.report(run).await;
}

/// Goes on with an attempt that a worker of the same name ran until it was killed, and reports how it ended. `found` is
/// its container, where there is one.
pub async fn adopt(worker: &Worker, record: Record, found: Option<ContainerSummary>) {
    let attempt = Attempt::new(worker, &record);
    let run = Box::pin(attempt.clone().go_on(record, found));
    attempt.report(run).await;
}

/// Where an attempt works.
pub fn workspace_of(worker: &Worker, lease: &LeaseId) -> PathBuf {
    let settings = &worker.settings;
    let clean = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '.' };
    let node: String = lease.node.chars().map(clean).collect();
    // Jobs of two runs may have the same name, and the same token where they were leased together.
    let digest = Sha256::digest(format!("{}\n{}\n{}", lease.run, lease.node, lease.token));
    let mark: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{node}-{}-{mark}", lease.attempt);
    OwnerLock::workspaces(&settings.directory, &settings.owner).join(name)
}

fn failed(reason: FailureReason, message: String) -> AttemptResult {
    AttemptResult {
        failure: Some(reason),
        exit_code: None,
        message: Some(message),
        outputs: std::collections::BTreeMap::new(),
        started: false,
        permanent: false,
        usage: None,
    }
}

/// What all stages of an attempt share.
#[derive(Clone)]
struct Attempt {
    worker: Worker,
    lease: LeaseId,
    workspace: PathBuf,
    key: Key,
    stop_after: Duration,
    trace: Option<Trace>,
    times: Arc<Times>,
    /// The name of its container, where that is not its own: one that waited for it, or one that was found.
    container: Arc<OnceLock<String>>,
}

/// An attempt that is ready to run.
struct Prepared {
    workspace: Workspace,
    container: ContainerSpec,
    spec: JobSpec,
    secrets: Values,
    /// A container that waited for it.
    ready: Option<Ready>,
    /// What its cache is called, and whether there was one.
    restored: Option<Restored>,
}

/// What takes what a container says.
struct Sinks {
    pump: Pump,
    reader: SpoolReader,
    /// How much of the log an earlier worker may have handed over.
    known: u64,
    /// What the job wanted of an earlier worker, which may not have seen to it.
    wanted: Vec<Wanted>,
}

impl Attempt {
    fn new(worker: &Worker, record: &Record) -> Self {
        let (lease, workspace) = (record.lease.clone(), workspace_of(worker, &record.lease));
        let (key, stop_after) = (record.key(), record.stop_after());
        Self {
            worker: worker.clone(),
            lease,
            workspace,
            key,
            stop_after,
            trace: record.assignment.trace.clone(),
            times: Arc::new(Times::new()),
            container: Arc::default(),
        }
    }

    fn provider(&self) -> &Arc<dyn Provider> {
        &self.worker.provider
    }

    /// Reports what comes of it.
    async fn report(self, run: impl Future<Output = AttemptResult> + Send + 'static) {
        let LeaseId { run: id, node, attempt, .. } = &self.lease;
        let trace_id = self.trace.as_ref().map(Trace::id).unwrap_or_default();
        let span = tracing::info_span!("attempt", run.id = id, job.name = node, attempt, trace_id);
        self.report_within(run, &span).instrument(span.clone()).await;
    }

    async fn report_within(&self, run: impl Future<Output = AttemptResult> + Send + 'static, span: &Span) {
        tracing::info!("an attempt was taken");
        let result = match tokio::spawn(run.instrument(span.clone())).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(job.name = self.lease.node, %error, "an attempt broke off: this is a bug");
                failed(FailureReason::Provider, format!("the worker broke off: {error}"))
            }
        };
        let failure = result.failure.map(tracing::field::debug);
        tracing::info!(failure, exit_code = result.exit_code, "an attempt has ended");
        self.worker.observer.ended(&self.lease, self.trace.as_ref(), &self.times, &result);
        let (job, attempt) = (&self.lease.node, self.lease.attempt);
        if self.worker.keeper.report(&self.lease, Report::Finished(result)).await.is_err() {
            tracing::warn!(job.name = job, attempt, "nobody waits for this attempt any more");
        }
        Record::remove(&self.workspace);
    }

    async fn run(self, mut record: Record) -> AttemptResult {
        let assignment = record.assignment.clone();
        let prepare = async {
            tokio::select! {
                prepared = self.prepare(&assignment) => prepared,
                order = self.worker.keeper.ordered(&self.lease, Order::default()) => Err(if order.not_kept {
                    failed(FailureReason::LostWorker, NOT_KEPT.to_owned())
                } else {
                    failed(FailureReason::Cancelled, "it was cancelled before it started".to_owned())
                })
            }
        };
        // Nothing runs that a restart would not know of. That the machine itself goes down in the same moment is what the
        // word that it has begun is for, which its coordinator has by then.
        let (prepared, written) = tokio::join!(prepare, self.write(&record));
        drop(self.settle());
        let result = match (prepared, written) {
            (Ok(prepared), Ok(())) => {
                record.shown_without = Some(self.seal(&prepared.spec));
                record.restored = prepared.restored.clone();
                let sinks = self.sinks(&assignment, Some(&prepared.secrets));
                conclude(match sinks {
                    Ok(mut sinks) => {
                        // It explains what the job will print.
                        if let Some(note) = prepared.restored.as_ref().and_then(Restored::note) {
                            sinks.pump.say(&note);
                        }
                        let (begun, has_begun) = oneshot::channel();
                        let drive = self.drive(&assignment, prepared, begun, &mut record);
                        self.oversee(&assignment, sinks, has_begun, drive).await
                    }
                    Err(error) => Observed { error: Some(error), ..Observed::default() },
                })
            }
            (Ok(_), Err(error)) => {
                conclude(Observed { error: Some(no_place(&error)), ..Observed::default() })
            }
            (Err(result), _) => result,
        };
        let result = self.keep_files(&assignment, record.restored.as_ref(), result).await;
        self.end(record, result).await
    }

    /// How it ended is written down, and nothing else of it is left.
    async fn end(self, mut record: Record, result: AttemptResult) -> AttemptResult {
        record.result = Some(result.clone());
        if let Err(error) = self.write(&record).await {
            tracing::warn!(%error, "the end of an attempt could not be written down for the case that this worker is killed");
        }
        let settled = self.settle();
        self.clean_up(&record.assignment).await;
        let _ = settled.await;
        result
    }

    async fn write(&self, record: &Record) -> io::Result<()> {
        let (record, workspace) = (record.clone(), self.workspace.clone());
        let written = tokio::task::spawn_blocking(move || record.write(&workspace)).await;
        written.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// What was written down comes to the disk beside whatever goes on.
    fn settle(&self) -> tokio::task::JoinHandle<()> {
        let workspace = self.workspace.clone();
        tokio::task::spawn_blocking(move || {
            // A short attempt is over by then.
            if let Err(error) = Record::settle(&workspace)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "what was written down of an attempt may not outlive this machine");
            }
        })
    }

    /// Writes down how far it has come. What is not known to have begun is lost with the worker, and tried again.
    async fn write_in_passing(&self, record: &Record) {
        if let Err(error) = self.write(record).await {
            tracing::warn!(%error, "how far an attempt has come could not be written down");
        }
    }

    /// Opens what takes the output. `secrets` are not shown; nothing is, where nobody knows them.
    fn sinks(&self, assignment: &Assignment, secrets: Option<&Values>) -> Result<Sinks, ProviderError> {
        let bare = assignment.job.runner == RunnerMode::None;
        let opened = spool(&beside(&self.workspace, "log"), self.worker.settings.spool_bytes);
        let (writer, reader) = opened.map_err(|error| no_place(&error))?;
        let known = writer.bytes();
        if bare {
            let pump = Pump::plain(assignment.attempt, writer, secrets);
            return Ok(Sinks { pump, reader, known, wanted: Vec::new() });
        }
        let journal = Journal::open(&beside(&self.workspace, "journal"));
        let (journal, before) = journal.map_err(|error| no_place(&error))?;
        let mut pump = Pump::framed(assignment.attempt, writer, Some(journal));
        let wanted = pump.recall(before);
        Ok(Sinks { pump, reader, known, wanted })
    }

    /// Takes a container that `begin` starts or finds to its end, and says what was seen.
    async fn oversee(
        &self,
        assignment: &Assignment,
        sinks: Sinks,
        begun: oneshot::Receiver<()>,
        begin: impl Future<Output = Result<Running, ProviderError>>,
    ) -> Observed {
        let job = &assignment.job;
        let Sinks { mut pump, reader, known, wanted } = sinks;
        let mut observed = Observed {
            bare: job.runner == RunnerMode::None,
            timeout: job.timeout.map(|timeout| timeout.to_string()),
            memory: job.resources.and_then(|resources| resources.memory).map(|memory| memory.to_string()),
            ..Observed::default()
        };
        let following =
            tokio::spawn(tell(reader, known, begun, Arc::clone(&self.worker.keeper), self.lease.clone()));
        match begin.await {
            Ok(running) => {
                observed.started = true;
                let watch = Watch::new(self, assignment, running, &mut pump, &mut observed);
                let exit = Box::pin(watch.follow_through(wanted)).await;
                match exit {
                    Ok(exit) => observed.exit = exit,
                    Err(error) => observed.error = Some(error),
                }
            }
            Err(error) => observed.error = Some(error),
        }
        let Finished { outputs, result, usage } = pump.finish();
        if let Some(error) = &observed.error {
            self.worker.observer.provider_failed(error);
        }
        (observed.outputs, observed.result, observed.usage) = (outputs, result, usage);
        // Whoever reads the log has all of it before the job counts as ended. The container is not kept waiting.
        let _ = following.await;
        observed
    }

    /// Gets a container that has its job.
    async fn drive(
        &self,
        assignment: &Assignment,
        mut prepared: Prepared,
        begun: oneshot::Sender<()>,
        record: &mut Record,
    ) -> Result<Running, ProviderError> {
        let mut line = serde_json::to_vec(&prepared.spec).unwrap_or_default();
        line.push(b'\n');
        let link = self.listen(assignment)?;
        let waited = match prepared.ready.take() {
            Some(ready) => {
                // Nothing has a job that a restart would not find.
                record.container = ready.name().map(str::to_owned);
                self.write_in_passing(record).await;
                ready.hand_over(&line).await?
            }
            None => None,
        };
        record.container = waited.as_ref().map(|waited| waited.name.clone());
        let is_standby = waited.is_some();
        let (container, attached, exit) = match waited {
            Some(waited) => {
                let _ = self.container.set(waited.name);
                (waited.id, waited.attached, waited.exit)
            }
            None => self.start(&prepared.container, &line).await?,
        };
        record.begin();
        self.times.begin(Duration::ZERO);
        self.worker.observer.container(is_standby);
        record.lower = prepared.workspace.lower.as_ref().map(|lower| lower.id());
        self.write_in_passing(record).await;
        let _ = begun.send(());
        Ok(Running {
            container,
            workspace: prepared.workspace,
            attached: Some(attached),
            exit,
            link,
            age: Duration::ZERO,
        })
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

    /// Stands for the values that must not be shown, without being any of them.
    fn seal(&self, spec: &JobSpec) -> Proof {
        let values = spec.secrets.iter().map(|secret| &secret.value).chain(&spec.mask);
        let mut values: Vec<&[u8]> = values.map(|value| value.expose().as_bytes()).collect();
        values.sort_unstable();
        values.dedup();
        self.key.seal(values)
    }

    /// The socket for the runner, where there is a runner.
    fn listen(&self, assignment: &Assignment) -> Result<Option<Link>, ProviderError> {
        let job = &assignment.job;
        if job.runner == RunnerMode::None {
            return Ok(None);
        }
        let user = user_of(job.run_as.as_ref(), host_user());
        let directory = Workspace::at(&self.workspace).control();
        let link = Link::listen(&directory, user, self.key.clone(), assignment.attempt);
        link.map(Some).map_err(|error| no_place(&error))
    }
}

/// Files of ours cannot be written.
fn no_place(error: &io::Error) -> ProviderError {
    let reason = format!("the worker cannot write its files: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull => ProviderError::NoSpace { reason },
        _ => ProviderError::Engine { operation: "keeping an attempt", reason },
    }
}

/// Says that an attempt has begun, and then what it prints. The job waits for neither.
async fn tell(
    reader: SpoolReader,
    known: u64,
    begun: oneshot::Receiver<()>,
    keeper: Arc<Keeper>,
    lease: LeaseId,
) {
    if begun.await.is_ok() {
        let _ = keeper.report(&lease, Report::Started).await;
    }
    follow(reader, known, keeper, lease).await;
}

/// Waits for a container's end from before it starts, so that no end is missed.
fn watch_exit(
    provider: &Arc<dyn Provider>,
    container: &ContainerId,
) -> JoinHandle<Result<Exit, ProviderError>> {
    let (provider, container) = (Arc::clone(provider), container.clone());
    tokio::spawn(async move { provider.wait(&container).await })
}
