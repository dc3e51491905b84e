//! The run itself: the server's loop and the worker's loop in this process, signals, and what people see.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reactorcide_engine::provider::{Owner, Provider, PullPolicy};
use reactorcide_engine::scheduler::{NewRun, RunStatus, Selection};
use reactorcide_engine::workers::Floor;
use reactorcide_engine::workflow::{Declaration, Workflow};
use reactorcide_providers::{DockerConfig, docker};
use reactorcide_server::vault::Machine;
use reactorcide_server::{Approvals, Desk, Files, Local, NoProjects, RunEnd, RunError};
use reactorcide_server::{Current, Deliverer};
use reactorcide_state::State;
use reactorcide_worker::{OwnerLock, Secrets, StandbySettings, Worker, remove_all, sweep};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::{How, Pull};
use crate::exit::{Exit, Failure};
use crate::output::{Printer, Style};
use crate::settings::Settings;
use crate::vault::Make;
use crate::worker_host::{self, Whose};
use crate::{applied, report};

/// Happenings that may wait for the terminal.
const WAITING: usize = 64;

/// What is to be run.
#[derive(Debug)]
pub struct Plan {
    pub workflow: Workflow,
    pub event: Value,
    pub inputs: BTreeMap<String, Value>,
    pub vars: BTreeMap<String, Value>,
    pub selection: Option<Selection>,
    /// The tree that stands for the code of jobs that name none.
    pub source: Option<PathBuf>,
    /// Jobs that go on where their environment wants an approval.
    pub approved: BTreeSet<String>,
}

impl Plan {
    /// The jobs that are to be run.
    pub fn selected(&self) -> impl Iterator<Item = (&String, &Declaration)> {
        let mut names = None;
        if let Some(selection) = &self.selection {
            let mut wanted: Vec<&String> = selection.jobs.iter().collect();
            let mut found = BTreeSet::new();
            while let Some(name) = wanted.pop() {
                if let Some(declaration) = self.workflow.jobs.get(name)
                    && found.insert(name)
                    && selection.follow_needs
                {
                    wanted.extend(&declaration.job.depends_on);
                }
            }
            names = Some(found);
        }
        self.workflow
            .jobs
            .iter()
            .filter(move |(name, _)| names.as_ref().is_none_or(|names| names.contains(name)))
    }

    /// The run's variables at its start.
    pub fn vars(&self) -> BTreeMap<String, Value> {
        let mut vars = self.workflow.vars.clone();
        vars.extend(self.vars.clone());
        vars
    }
}

/// The secrets of a run: what was given by hand, and what decides on the rest.
#[derive(Debug, Default)]
pub struct Given {
    /// Values that somebody gave.
    pub by_hand: Secrets,
    /// What policies and secrets there are.
    pub current: Current,
}

/// What a run reads and keeps.
struct Kept {
    files: Files,
    secrets: Deliverer,
}

/// Runs a plan to its end.
pub fn run(plan: Plan, secrets: Given, how: &How, settings: &Settings) -> Result<Exit, Failure> {
    for (directory, option) in [(&plan.source, "--source-dir"), (&how.ci_dir, "--ci-dir")] {
        if let Some(directory) = directory.as_ref().filter(|directory| !directory.is_dir()) {
            return Err(Failure::new(format!("the source {} is not a directory", directory.display()))
                .hint(format!("name one with {option}")));
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let exit = runtime.block_on(go(plan, secrets, how, settings));
    // A task that still waits for a terminal or an engine must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}

async fn go(plan: Plan, secrets: Given, how: &How, settings: &Settings) -> Result<Exit, Failure> {
    let provider: Arc<dyn Provider> = Arc::new(docker(DockerConfig::from_environment()));
    let state = applied::create(settings, applied::LOCK_TIMEOUT).await?.state;
    let directory = worker_host::absolute(&settings.state_directory())?;
    let (engine, installed) = tokio::join!(provider.info(), worker_host::install(directory.clone()));
    engine.map_err(worker_host::provider_failure)?;
    let (runner, python) = installed?;
    let storage = worker_host::storage(settings)?;
    let Given { by_hand, current } = secrets;
    let machine = Machine { by_hand: by_hand.names().cloned().collect() };
    let vault = how.vault.open(settings, &state, Make::Nothing)?;
    let secrets = Deliverer::local(vault, current, state.audit(), machine);
    let dead = sweep(&directory, provider.as_ref()).await.map_err(worker_host::provider_failure)?;
    if !dead.is_empty() {
        report::note("removed what an earlier run that was killed had left behind");
        end_killed(&state, &dead).await;
    }
    let id = uuid::Uuid::now_v7().to_string();
    let lock = OwnerLock::take(&directory, Owner(format!("rc-{id}")))
        .map_err(|error| Failure::new(format!("cannot write to {}: {error}", directory.display())))?;
    let worker = reactorcide_worker::Settings {
        owner: lock.owner.clone(),
        runner,
        python: Some(python),
        source: plan.source.as_deref().map(worker_host::absolute).transpose()?,
        ci: how.ci_dir.as_deref().map(worker_host::absolute).transpose()?,
        sources: worker_host::sources(&directory, Whose::Personal)?,
        pull: match how.pull {
            Pull::Always => PullPolicy::Always,
            Pull::Missing => PullPolicy::IfMissing,
            Pull::Never => PullPolicy::Never,
        },
        pull_deadline: worker_host::PULL_DEADLINE,
        secrets: Arc::new(by_hand),
        // There is no server that a job could ask.
        api: None,
        keep_workspace: how.keep_workspace,
        slots: how.max_parallel.map_or_else(worker_host::processors, usize::from),
        spool_bytes: worker_host::SPOOL_BYTES,
        // Whoever sits before it sees for themselves.
        disk_floor: Floor::Bytes(0),
        // What waits pays where jobs keep coming.
        standby: StandbySettings::default(),
        directory: directory.clone(),
    };
    let files = Files::new(state.artifacts(&storage), Arc::new(NoProjects));
    let ended = watched(plan, id, &provider, worker, &state, Kept { files, secrets }, how).await;
    let workspaces = OwnerLock::workspaces(&directory, &lock.owner);
    if how.keep_workspace {
        report::note(&format!("the workspaces are in {}", workspaces.display()));
    } else {
        let _ = std::fs::remove_dir_all(&workspaces);
    }
    match remove_all(provider.as_ref(), &lock.owner).await {
        Ok(()) => lock.release(),
        // The lock's file stays, so that the next run finds what is left.
        Err(error) => {
            report::note(&format!("something could not be removed, the next run tries again: {error}"))
        }
    }
    let end = ended.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Failure::new(format!("{error}{cause}"))
    })?;
    Ok(match end.status {
        RunStatus::Succeeded => Exit::Success,
        RunStatus::Cancelled => Exit::Interrupted,
        RunStatus::Failed | RunStatus::Running | RunStatus::Waiting => Exit::Failed,
    })
}

/// Runs, prints what happens, and passes signals on.
async fn watched(
    plan: Plan,
    id: String,
    provider: &Arc<dyn Provider>,
    worker: reactorcide_worker::Settings,
    state: &State,
    kept: Kept,
    how: &How,
) -> Result<RunEnd, RunError> {
    let style = if how.json { Style::Json } else { Style::Human };
    let printer = Printer::new(style, &id, plan.workflow.jobs.keys().map(String::as_str));
    let (show, happenings) = mpsc::channel(WAITING);
    let printing = tokio::spawn(printer.print(happenings));
    let (stop, stops) = mpsc::unbounded_channel();
    let signals = tokio::spawn(pass_signals(stop, how.json));
    let provider = Arc::clone(provider);
    let new = NewRun {
        id,
        workflow: plan.workflow,
        event: plan.event,
        vars: plan.vars,
        inputs: plan.inputs,
        selection: plan.selection,
    };
    let holder = worker.owner.0.clone();
    let work = |desk: Arc<Desk>| async move {
        // In one process nobody is refused.
        let _ = Worker::new(provider, desk, worker).work().await;
    };
    let local = Local {
        new,
        actor: crate::commit::actor(),
        holder,
        runs: state.runs(),
        queue: state.queue(),
        files: kept.files,
        secrets: kept.secrets,
        approvals: Approvals { jobs: plan.approved, by: crate::commit::actor(), audit: state.audit() },
    };
    let ended = reactorcide_server::run(local, work, stops, show).await;
    signals.abort();
    if let Ok(printer) = printing.await
        && let Ok(end) = &ended
    {
        printer.end(end);
    }
    ended
}

/// The first Ctrl-C asks, the second kills. A request to terminate, or the end of the terminal, counts like Ctrl-C.
async fn pass_signals(stop: mpsc::UnboundedSender<(String, bool)>, quiet: bool) {
    let mut hangup = if outlives_its_terminal() { None } else { signal(SignalKind::hangup()).ok() };
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let name = next(&mut interrupt, &mut terminate, &mut hangup).await;
    if !quiet {
        report::note("stopping; press Ctrl-C again to kill what runs");
    }
    let _ = stop.send((format!("stopped by {name}"), false));
    loop {
        let name = next(&mut interrupt, &mut terminate, &mut hangup).await;
        if !quiet {
            report::note("killing what runs");
        }
        let _ = stop.send((format!("killed by {name}"), true));
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal, hangup: &mut Option<Signal>) -> &'static str {
    let hung_up = async {
        match hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => "Ctrl-C",
        _ = terminate.recv() => "a request to terminate",
        _ = hung_up => "the end of the terminal",
    }
}

/// Whether whoever started us, such as `nohup`, wants us to outlive the terminal.
fn outlives_its_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// A run whose process was killed has ended, and must not be taken for one that goes on.
async fn end_killed(state: &State, dead: &[Owner]) {
    let is_gone = |holder: &str| dead.iter().any(|owner| owner.0 == holder);
    if let Err(error) = reactorcide_server::end_gone(state.runs(), state.queue(), is_gone).await {
        report::note(&format!("the end of a run that was killed could not be noted: {error}"));
    }
}
