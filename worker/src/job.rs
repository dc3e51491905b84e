//! One attempt of one job, from its lease to its report: workspace, image, container, output, end, and nothing left.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use reactorcide_engine::config::{FailureReason, Job, RunnerMode, Source};
use reactorcide_engine::coordinator::{Lease, LeaseId, Report, Urgency};
use reactorcide_engine::protocol::mask::Values;
use reactorcide_engine::protocol::query::{Answer, Message, Query};
use reactorcide_engine::protocol::spec::JobSpec;
use reactorcide_engine::provider::{
    Attachment, ContainerId, ContainerSpec, ContainerState, Exit, Provider, ProviderError, User,
};
use reactorcide_engine::scheduler::{Assignment, AttemptResult};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::container::{Paths, container_spec, user_of};
use crate::follow::follow;
use crate::outcome::{Observed, Stopped, conclude};
use crate::pump::{Pump, Wanted};
use crate::source::{Code, Credentials, SourceError, fetch};
use crate::spec::job_spec;
use crate::spool::spool;
use crate::sweep::OwnerLock;
use crate::worker::Worker;
use crate::workspace::{Workspace, host_user};

/// How much later than the runner we enforce what the runner enforces.
const MARGIN: Duration = Duration::from_secs(5);
/// How long the rest of the output may take after the container ended.
const DRAIN: Duration = Duration::from_secs(10);
/// A fetch that takes longer is told.
const SLOW_FETCH: Duration = Duration::from_secs(2);
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
    if worker.coordinator.report(&id, Report::Finished(result)).await.is_err() {
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
}

/// An attempt that is ready to run.
struct Prepared {
    workspace: Workspace,
    container: ContainerSpec,
    spec: JobSpec,
    secrets: Values,
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
        Self { worker: worker.clone(), lease: lease.id.clone(), workspace }
    }

    fn provider(&self) -> &Arc<dyn Provider> {
        &self.worker.provider
    }

    async fn run(self, assignment: Assignment) -> AttemptResult {
        let prepared = tokio::select! {
            prepared = self.prepare(&assignment) => prepared,
            _ = self.worker.coordinator.stop_requested(&self.lease, Urgency::None) => {
                Err(failed(FailureReason::Cancelled, "it was cancelled before it started".to_owned()))
            }
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

    /// Makes the workspace and gets the image, side by side.
    async fn prepare(&self, assignment: &Assignment) -> Result<Prepared, AttemptResult> {
        let settings = &self.worker.settings;
        let job = &assignment.job;
        let has_source = match &job.source {
            Some(source) => !source.none,
            None => settings.source.is_some(),
        };
        let spec = job_spec(assignment, has_source, &settings.secrets)
            .map_err(|message| failed(FailureReason::Config, message))?;
        let values = spec
            .secrets
            .iter()
            .map(|secret| secret.value.expose())
            .chain(spec.mask.iter().map(|value| value.expose()));
        let secrets = Values::new(values.filter(|value| !value.is_empty()))
            .map_err(|error| failed(FailureReason::Config, format!("a secret cannot be used: {error}")))?;
        let host = host_user();
        let mut container = container_spec(assignment, &settings.owner, &self.paths(job), host);
        if job.runner == RunnerMode::None {
            // The job accepts that the engine sees them.
            let secrets =
                spec.secrets.iter().map(|secret| (secret.name.clone(), secret.value.expose().to_owned()));
            container.environment.extend(secrets);
        }
        let user = user_of(job.run_as.as_ref(), host);
        let workspace = self.make_workspace(assignment, host, user);
        let (workspace, image) = tokio::join!(workspace, self.pull(&container.image));
        let workspace = workspace?;
        container.overlays.extend(workspace.overlay(&format!("{}/src", job.mount.0)));
        image.map_err(|error| conclude(Observed { error: Some(error), ..Observed::default() }))?;
        Ok(Prepared { workspace, container, spec, secrets })
    }

    fn paths(&self, job: &Job) -> Paths {
        let settings = &self.worker.settings;
        let workspace = Workspace::at(&self.workspace);
        Paths {
            ci: job.ci_source.as_ref().filter(|source| !source.none).map(|_| workspace.ci()),
            workspace: workspace.path,
            runner: settings.runner.clone(),
            python: settings.python.clone(),
        }
    }

    /// Gets the code and puts it where the job will find it.
    async fn make_workspace(
        &self,
        assignment: &Assignment,
        host: User,
        user: User,
    ) -> Result<Workspace, AttemptResult> {
        let settings = &self.worker.settings;
        let job = &assignment.job;
        let commit = assignment.event["sha"].as_str().filter(|sha| !sha.is_empty());
        let source = async {
            match &job.source {
                Some(source) => self.fetch(source, commit).await,
                None => Ok(settings.source.clone().map(Code::Local)),
            }
        };
        let ci = async {
            match (&job.ci_source, &settings.ci) {
                (None, _) => Ok(None),
                (Some(source), Some(directory)) if !source.none => Ok(Some(Code::Local(directory.clone()))),
                (Some(source), _) => self.fetch(source, None).await,
            }
        };
        let (source, ci) = tokio::try_join!(source, ci)?;
        let lower = match &source {
            // What is kept for people is a directory like any other.
            Some(code) if !settings.keep_workspace && self.worker.layers.load(Ordering::Relaxed) => {
                let lower = code.under_a_layer(&settings.sources, host, user).await;
                lower.map_err(|error| source_failed(&error))?
            }
            _ => None,
        };
        let path = self.workspace.clone();
        let made = tokio::task::spawn_blocking(move || {
            Workspace::create(&path, source.as_ref(), lower, ci.as_ref(), host, user)
        });
        match made.await {
            Ok(made) => made.map_err(|error| source_failed(&error)),
            Err(error) => {
                Err(failed(FailureReason::Source, format!("copying the source broke off: {error}")))
            }
        }
    }

    async fn fetch(&self, source: &Source, commit: Option<&str>) -> Result<Option<Code>, AttemptResult> {
        let settings = &self.worker.settings;
        let credentials = match &source.credentials {
            Some(name) => {
                let value = settings.secrets.get(name).cloned();
                let missing =
                    || failed(FailureReason::Config, format!("there is no value for the secret {name:?}"));
                Some(Credentials::new(value.ok_or_else(missing)?))
            }
            None => None,
        };
        let mut fetch = Box::pin(fetch(source, commit, &settings.sources, credentials.as_ref()));
        let fetched = tokio::select! {
            fetched = &mut fetch => fetched,
            () = tokio::time::sleep(SLOW_FETCH) => {
                let _ = self.worker.coordinator.report(&self.lease, Report::Progress("fetching its source".to_owned())).await;
                fetch.await
            }
        };
        let fetched = fetched.map_err(|error| source_failed(&error))?;
        if let Some(version) = fetched.as_ref().and_then(Code::version) {
            let text = format!("its code is at {}", version.get(..12).unwrap_or(version));
            let _ = self.worker.coordinator.report(&self.lease, Report::Progress(text)).await;
        }
        Ok(fetched)
    }

    async fn pull(&self, image: &str) -> Result<(), ProviderError> {
        let settings = &self.worker.settings;
        let (progress, mut told) = mpsc::unbounded_channel::<String>();
        let tell = async {
            while let Some(text) = told.recv().await {
                let _ = self.worker.coordinator.report(&self.lease, Report::Progress(text)).await;
            }
        };
        let pull = async {
            let progress = progress;
            let tell = |text: String| drop(progress.send(text));
            self.provider().pull(image, settings.pull, settings.pull_deadline, &tell).await
        };
        tokio::join!(pull, tell).0.map(|_| ())
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
        let log = self.workspace.with_extension("log");
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
        let following =
            tokio::spawn(follow(reader, Arc::clone(&self.worker.coordinator), self.lease.clone()));
        if let Err(error) = self.drive(assignment, prepared, &mut pump, &mut observed).await {
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
        prepared: Prepared,
        pump: &mut Pump,
        observed: &mut Observed,
    ) -> Result<(), ProviderError> {
        let provider = self.provider();
        let container = provider.create(&prepared.container).await?;
        let mut attached = provider.attach(&container).await?;
        let exit = watch_exit(provider, &container);
        if let Err(error) = provider.start(&container).await {
            exit.abort();
            // Not every disk can carry a layer. The next attempt, which an engine's failure gets, copies.
            if prepared.workspace.lower.is_some() {
                tracing::warn!(%error, "the engine cannot mount a layer: code is copied from now on");
                self.worker.layers.store(false, Ordering::Relaxed);
            }
            return Err(error);
        }
        observed.started = true;
        let at = assignment.at;
        let _ = self.worker.coordinator.report(&self.lease, Report::Started { at }).await;
        if let Some(input) = &mut attached.input {
            let mut line = serde_json::to_vec(&prepared.spec).unwrap_or_default();
            line.push(b'\n');
            // A runner that died before it read its spec is seen by its exit.
            let _ = input.write_all(&line).await;
        }
        let exit =
            self.watch(assignment, &prepared.workspace, &container, attached, exit, pump, observed).await?;
        observed.exit = Some(exit);
        Ok(())
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
        let mut urgency = Urgency::None;
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
                wanted = self.worker.coordinator.stop_requested(&self.lease, urgency) => {
                    urgency = wanted;
                    let grace = match wanted {
                        Urgency::AtOnce => Duration::ZERO,
                        // The runner kills after the grace time; the engine does where the runner cannot.
                        _ => if bare { grace } else { grace + MARGIN },
                    };
                    stop(Stopped::Cancelled, grace, observed);
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
                    let _ = self.worker.coordinator.report(&self.lease, report).await;
                }
                Wanted::Answer(id, query) => self.ask(id, query, answers.clone()),
            }
        }
    }

    /// Asks, beside everything else: the log does not wait for the answer.
    fn ask(&self, id: u64, query: Query, answers: mpsc::UnboundedSender<Vec<u8>>) {
        let (coordinator, lease) = (Arc::clone(&self.worker.coordinator), self.lease.clone());
        tokio::spawn(async move {
            let answer = coordinator.ask(&lease, query).await;
            let answer = answer.unwrap_or_else(|stale| Answer::Unavailable { reason: stale.to_string() });
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

    /// Removes what the attempt made. What cannot be removed is said, and found by the next run.
    async fn clean_up(&self, assignment: &Assignment) {
        let settings = &self.worker.settings;
        let container =
            container_spec(assignment, &settings.owner, &self.paths(&assignment.job), host_user());
        let keep = settings.keep_workspace;
        let workspace = Workspace::at(&self.workspace);
        let remove_workspace =
            tokio::task::spawn_blocking(move || if keep { Ok(()) } else { workspace.remove() });
        let (removed, workspace) = tokio::join!(self.remove_container(&container.name), remove_workspace);
        if let Err(error) = removed {
            tracing::warn!(container = container.name, %error, "a container could not be removed");
        }
        if let Ok(Err(_)) = workspace
            && let Err(error) = self.remove_as_root(container).await
        {
            tracing::warn!(workspace = %self.workspace.display(), %error, "a workspace could not be removed");
        }
    }

    async fn remove_container(&self, name: &str) -> Result<(), ProviderError> {
        let containers = self.provider().list(&self.worker.settings.owner).await?;
        for container in containers.into_iter().filter(|container| container.name == name) {
            self.provider().remove(&container.id).await?;
        }
        Ok(())
    }

    /// A job that ran as root leaves files that only root can remove: its image, with our runner in it, removes them.
    async fn remove_as_root(&self, mut container: ContainerSpec) -> Result<(), ProviderError> {
        let target = container.mounts[0].target.clone();
        container.name.push_str("-cleanup");
        container.entrypoint = Some(vec![crate::container::RUNNER_PATH.to_owned(), "cleanup".to_owned()]);
        container.command = Some(vec![target]);
        container.user = reactorcide_engine::provider::User { uid: 0, gid: 0 };
        container.network = reactorcide_engine::provider::NetworkMode::None;
        container.environment.clear();
        container.stdin = false;
        let runner = reactorcide_engine::provider::Mount {
            source: self.worker.settings.runner.clone(),
            target: crate::container::RUNNER_PATH.to_owned(),
            read_only: true,
        };
        container.mounts.truncate(1);
        container.mounts.push(runner);
        // Root without capabilities may remove only what is its own; this needs the right to override modes.
        container.capabilities = ["DAC_OVERRIDE", "FOWNER"].map(str::to_owned).to_vec();
        let id = self.provider().create(&container).await?;
        self.provider().start(&id).await?;
        let ended = self.provider().wait(&id).await;
        self.provider().remove(&id).await?;
        ended?;
        let workspace = Workspace::at(&self.workspace);
        workspace.remove().map_err(|error| ProviderError::Engine {
            operation: "removing a workspace",
            reason: error.to_string(),
        })
    }
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

fn source_failed(error: &SourceError) -> AttemptResult {
    let reason = if error.is_no_space() { FailureReason::NoSpace } else { FailureReason::Source };
    AttemptResult { permanent: error.is_permanent(), ..failed(reason, error.explain()) }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
