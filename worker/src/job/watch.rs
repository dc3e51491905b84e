//! A container that runs, to its end: what it says is taken, what it asks is answered, and it is stopped when somebody
//! or something says so. The same for one that was just started and for one that an earlier worker started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use reactorcide_engine::config::RunnerMode;
use reactorcide_engine::coordinator::{LeaseId, Report, Urgency};
use reactorcide_engine::protocol::frame::JobOutcome;
use reactorcide_engine::protocol::link::ToRunner;
use reactorcide_engine::protocol::query::{Answer, Message};
use reactorcide_engine::protocol::usage::{self, Sample};
use reactorcide_engine::provider::{
    Attachment, Chunk, ContainerId, ContainerState, Exit, Provider, ProviderError,
};
use reactorcide_engine::scheduler::Assignment;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, sleep};

use super::{Attempt, watch_exit};
use crate::keeper::{Keeper, Order, back_off};
use crate::link::{Heard, Link};
use crate::outcome::{KILLED, Observed, Stopped, TERMINATED};
use crate::pump::{Pump, Wanted};
use crate::workspace::Workspace;

/// How much later than the runner we enforce what the runner enforces.
const MARGIN: Duration = Duration::from_secs(5);
/// How long the rest of the output may take after the container ended.
const DRAIN: Duration = Duration::from_secs(10);
/// How long an engine may take to pass an answer on.
const SLOW: Duration = Duration::from_secs(1);
/// How often disk use is looked at.
const DISK_INTERVAL: Duration = Duration::from_secs(2);
/// How often at most an engine is asked what a container uses.
const USAGE_INTERVAL: Duration = Duration::from_secs(2);

/// A container that was started.
pub struct Running {
    pub container: ContainerId,
    pub workspace: Workspace,
    /// Its standard streams, if somebody is attached.
    pub attached: Option<Attachment>,
    pub exit: JoinHandle<Result<Exit, ProviderError>>,
    /// The socket, where it has a runner.
    pub link: Option<Link>,
    /// How long ago it was started.
    pub age: Duration,
}

/// Everything that can happen to one container, in one loop.
pub struct Watch<'a> {
    attempt: &'a Attempt,
    running: Running,
    pump: &'a mut Pump,
    observed: &'a mut Observed,
    /// What is told and asked, in order, beside everything else.
    errands: mpsc::UnboundedSender<Wanted>,
    errand_boy: JoinHandle<()>,
    answers: mpsc::UnboundedReceiver<(u64, Answer)>,
    /// Attaches again.
    attaching: Option<JoinHandle<Option<Attachment>>>,
    /// The engine was not there at some time.
    away: Arc<AtomicBool>,
    /// Measures disk use.
    measuring: Option<JoinHandle<u64>>,
    /// Asks what it uses, where no runner says so.
    sampling: Option<JoinHandle<Option<Sample>>>,
    looks: u32,
    /// When the runner was last heard of by its socket, if ever.
    heard: Option<Instant>,
    bare: bool,
    grace: Duration,
    deadline: Option<Instant>,
    disk_limit: Option<(u64, String)>,
}

impl<'a> Watch<'a> {
    pub fn new(
        attempt: &'a Attempt,
        assignment: &Assignment,
        running: Running,
        pump: &'a mut Pump,
        observed: &'a mut Observed,
    ) -> Self {
        let job = &assignment.job;
        let grace = job.grace.to_std();
        let bare = job.runner == RunnerMode::None;
        // The runner keeps the time; we only make sure of it. Where there is no runner, we keep it.
        let margin = if bare { Duration::ZERO } else { grace + MARGIN };
        let left = job.timeout.map(|timeout| (timeout.to_std() + margin).saturating_sub(running.age));
        let (errands, wanted) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let keeper = Arc::clone(&attempt.worker.keeper);
        let errand_boy = tokio::spawn(run_errands(wanted, keeper, attempt.lease.clone(), answer));
        let disk_limit = job.resources.and_then(|resources| resources.disk);
        Self {
            attempt,
            running,
            pump,
            observed,
            errands,
            errand_boy,
            answers,
            attaching: None,
            away: Arc::default(),
            measuring: None,
            sampling: None,
            looks: 0,
            heard: None,
            bare,
            grace,
            deadline: left.map(|left| Instant::now() + left),
            disk_limit: disk_limit.map(|limit| (limit.as_bytes(), limit.to_string())),
        }
    }

    /// Returns its exit; none where only the runner could say how the job ended. `wanted` is what it wanted before.
    pub async fn follow_through(mut self, wanted: Vec<Wanted>) -> Result<Option<Exit>, ProviderError> {
        self.see_to(wanted);
        let exit = self.follow().await;
        self.take_rest().await;
        // What was written faster than anybody looked counts as well.
        if let Some((limit, words)) = self.disk_limit.take().filter(|_| self.observed.stopped.is_none()) {
            let used =
                disk_usage(self.provider(), self.running.workspace.clone(), &self.running.container).await;
            if used > limit {
                self.observed.stopped = Some(Stopped::Disk(mebibytes(used), words));
            }
        }
        let Self { errands, errand_boy, .. } = self;
        drop(errands);
        // All that the job asked for is known before its end is.
        let _ = errand_boy.await;
        exit
    }

    async fn follow(&mut self) -> Result<Option<Exit>, ProviderError> {
        let keeper = Arc::clone(&self.attempt.worker.keeper);
        let mut disk = tokio::time::interval(DISK_INTERVAL);
        disk.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut order = Order::default();
        let begun = Instant::now();
        let mut look = begun + usage::interval(1);
        loop {
            tokio::select! {
                heard = hear(&mut self.running.link) => self.take(heard),
                chunk = read(&mut self.running.attached) => self.print(chunk),
                attached = done(&mut self.attaching) => self.attached_again(attached),
                Some((id, answer)) = self.answers.recv() => self.answer(id, answer).await,
                ended = &mut self.running.exit => match self.ended(ended) {
                    Some(end) => return end,
                    None => self.look_again(),
                },
                wanted = keeper.ordered(&self.attempt.lease, order) => {
                    order = wanted;
                    let why = if wanted.not_kept { Stopped::NotKept } else { Stopped::Cancelled };
                    self.stop(why, wanted.urgency == Urgency::AtOnce);
                }
                () = sleep_until(self.deadline), if self.observed.stopped.is_none() => {
                    self.stop(Stopped::Timeout, !self.bare);
                }
                _ = disk.tick(), if self.disk_limit.is_some() && self.measuring.is_none() && self.observed.stopped.is_none() => {
                    let provider = Arc::clone(self.provider());
                    let (workspace, container) = (self.running.workspace.clone(), self.running.container.clone());
                    self.measuring = Some(tokio::spawn(async move {
                        disk_usage(&provider, workspace, &container).await
                    }));
                }
                () = tokio::time::sleep_until(look), if self.bare && self.sampling.is_none() => {
                    let (provider, container) = (Arc::clone(self.provider()), self.running.container.clone());
                    self.sampling = Some(tokio::spawn(async move { provider.usage(&container).await.ok().flatten() }));
                    self.looks += 1;
                    look = Instant::now() + usage::interval(self.looks + 1).max(USAGE_INTERVAL);
                }
                sample = done(&mut self.sampling) => {
                    let age = self.running.age + begun.elapsed();
                    let at_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                    if let Ok(Some(sample)) = sample {
                        self.pump.used(Sample { at_ms, ..sample });
                    }
                }
                used = done(&mut self.measuring) => {
                    if let (Some((limit, words)), Ok(used)) = (&self.disk_limit, used)
                        && used > *limit
                        && self.observed.stopped.is_none()
                    {
                        self.stop(Stopped::Disk(mebibytes(used), words.clone()), true);
                    }
                }
            }
        }
    }

    fn provider(&self) -> &Arc<dyn Provider> {
        self.attempt.provider()
    }

    /// Takes what the runner says by its socket, and says that we have it.
    fn take(&mut self, heard: Heard) {
        self.heard = Some(Instant::now());
        match heard {
            Heard::Connected(first) => {
                let next = self.pump.next_from(first);
                if let Some(link) = &mut self.running.link {
                    link.welcome(next);
                }
            }
            Heard::Lines(lines) => {
                let wanted = self.pump.lines(&lines);
                let next = self.pump.next();
                if let Some(link) = &mut self.running.link {
                    link.say(&ToRunner::Ack { next });
                }
                self.see_to(wanted);
            }
        }
    }

    /// Takes what the container prints. The end of that may be the end of the connection alone.
    fn print(&mut self, chunk: Option<Chunk>) {
        match chunk {
            Some(chunk) => {
                let wanted = self.pump.push(&chunk);
                self.see_to(wanted);
            }
            None => {
                self.running.attached = None;
                let (provider, container) = (Arc::clone(self.provider()), self.running.container.clone());
                self.attaching =
                    Some(tokio::spawn(attach_again(provider, container, Arc::clone(&self.away))));
            }
        }
    }

    fn attached_again(&mut self, attached: Result<Option<Attachment>, tokio::task::JoinError>) {
        let Ok(Some(attached)) = attached else { return };
        self.running.attached = Some(attached);
        // A runner that is connected prints nothing.
        if !self.running.link.as_ref().is_some_and(Link::is_connected) {
            let reason = "the connection to the container engine broke; some output may be missing";
            self.pump.gap(0, reason.to_owned());
        }
    }

    /// Sees to what the job wants, without waiting for it.
    fn see_to(&mut self, wanted: Vec<Wanted>) {
        for wanted in wanted {
            match wanted {
                Wanted::Lease(id) => {
                    let left = self.attempt.worker.keeper.left(&self.attempt.lease);
                    if let (Some(left), Some(link)) = (left, &mut self.running.link) {
                        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                        link.say(&ToRunner::Lease { id, left_ms });
                    }
                }
                errand => drop(self.errands.send(errand)),
            }
        }
    }

    async fn answer(&mut self, id: u64, answer: Answer) {
        match &mut self.running.link {
            Some(link) if link.is_connected() => link.say(&ToRunner::Answer { id, answer }),
            _ => {
                let input = self.running.attached.as_mut().and_then(|attached| attached.input.as_mut());
                if let Some(input) = input {
                    let mut line = serde_json::to_vec(&Message::Answer { id, answer }).unwrap_or_default();
                    line.push(b'\n');
                    // Who asked has stopped waiting, if the line cannot be written.
                    let _ = tokio::time::timeout(SLOW, input.write_all(&line)).await;
                }
            }
        }
    }

    fn stop(&mut self, why: Stopped, at_once: bool) {
        self.observed.stopped.get_or_insert(why);
        let (provider, container) = (Arc::clone(self.provider()), self.running.container.clone());
        // The runner kills after the grace time; the engine does where the runner cannot.
        let patience = if self.bare { self.grace } else { self.grace + MARGIN };
        let told = match &mut self.running.link {
            Some(link) if link.is_connected() => {
                // Also where the engine is to kill it: there may be no engine at the moment.
                link.say(&ToRunner::Stop {});
                true
            }
            _ => false,
        };
        tokio::spawn(async move {
            let stopped = match (at_once, told) {
                (true, _) => provider.stop(&container, Duration::ZERO).await,
                (false, false) => provider.stop(&container, patience).await,
                (false, true) => {
                    let gone = tokio::time::timeout(patience, provider.wait(&container)).await;
                    if gone.is_ok() { Ok(()) } else { provider.stop(&container, Duration::ZERO).await }
                }
            };
            if let Err(error) = stopped {
                tracing::warn!(%error, "a container could not be stopped");
            }
        });
    }

    /// What the end of waiting means: the end, unless the engine could not be reached and what runs may live on.
    fn ended(
        &self,
        ended: Result<Result<Exit, ProviderError>, tokio::task::JoinError>,
    ) -> Option<Result<Option<Exit>, ProviderError>> {
        match ended {
            Ok(Ok(exit)) if self.is_the_engines_doing(exit) => {
                let reason =
                    "the container engine went away, and the container did not outlive it".to_owned();
                Some(Err(ProviderError::Engine { operation: "waiting for a container", reason }))
            }
            Ok(Ok(exit)) => Some(Ok(Some(exit))),
            Ok(Err(ProviderError::Unreachable { .. })) if self.pump.outcome().is_some() => Some(Ok(None)),
            Ok(Err(error @ ProviderError::Unreachable { .. })) => match self.heard {
                // A runner that is not heard of for so long has ended by itself.
                Some(at) if at.elapsed() >= self.attempt.stop_after + self.grace + MARGIN => Some(Err(error)),
                // Whatever else runs may do so until the engine says that it does not.
                _ => None,
            },
            Ok(Err(error)) => Some(Err(error)),
            Err(error) => {
                let reason = error.to_string();
                Some(Err(ProviderError::Engine { operation: "waiting for a container", reason }))
            }
        }
    }

    /// An engine that starts stops what it finds, unless it was told to let it live. Nobody else asked for that.
    fn is_the_engines_doing(&self, exit: Exit) -> bool {
        let stopped = match self.pump.outcome() {
            Some(outcome) => outcome == JobOutcome::Cancelled,
            None => [KILLED, TERMINATED].contains(&exit.code) && !exit.oom,
        };
        stopped && self.away.load(Ordering::Relaxed) && self.observed.stopped.is_none()
    }

    fn look_again(&mut self) {
        tracing::warn!(container = self.running.container.0, "the container engine is away, waiting for it");
        self.running.exit = watch_exit(self.provider(), &self.running.container);
    }

    /// Takes what is still on its way after the end.
    async fn take_rest(&mut self) {
        let deadline = Instant::now() + DRAIN;
        let mut is_late = false;
        if let Some(attaching) = self.attaching.take() {
            attaching.abort();
        }
        while let Some(attached) = &mut self.running.attached {
            match tokio::time::timeout_at(deadline, attached.output.next()).await {
                Ok(Some(Ok(chunk))) => {
                    let wanted = self.pump.push(&chunk);
                    self.see_to(wanted);
                }
                Ok(_) => self.running.attached = None,
                Err(_) => {
                    is_late = true;
                    break;
                }
            }
        }
        // The runner has gone: what it said last is in the socket, or it is nowhere.
        while let Some(link) = self.running.link.as_mut().filter(|link| link.is_connected()) {
            match tokio::time::timeout_at(deadline, link.next_of_connection()).await {
                Ok(Some(lines)) => self.take(Heard::Lines(lines)),
                Ok(None) => break,
                Err(_) => {
                    is_late = true;
                    break;
                }
            }
        }
        if is_late {
            self.pump.gap(0, "the rest of the output did not arrive in time".to_owned());
        }
    }
}

/// Tells and asks, in order. The log does not wait for it.
async fn run_errands(
    mut errands: mpsc::UnboundedReceiver<Wanted>,
    keeper: Arc<Keeper>,
    lease: LeaseId,
    answers: mpsc::UnboundedSender<(u64, Answer)>,
) {
    while let Some(errand) = errands.recv().await {
        match errand {
            Wanted::Jobs(ordinal, request) => {
                let _ = keeper.report(&lease, Report::Triggered { ordinal, request }).await;
            }
            Wanted::Answer(id, query) => {
                let (keeper, lease, answers) = (Arc::clone(&keeper), lease.clone(), answers.clone());
                tokio::spawn(async move {
                    let answer = keeper.ask(&lease, query).await;
                    let _ = answers.send((id, answer));
                });
            }
            Wanted::Lease(_) => {}
        }
    }
}

/// Attaches to a container whose output ended, as soon as the engine is there; nothing, where it does not run any more.
async fn attach_again(
    provider: Arc<dyn Provider>,
    container: ContainerId,
    away: Arc<AtomicBool>,
) -> Option<Attachment> {
    let mut failures = 0;
    loop {
        // Mostly it is the container that has ended, which is then known.
        sleep(back_off(failures)).await;
        match provider.inspect(&container).await {
            Ok(ContainerState::Running) => {
                if let Ok(attached) = provider.attach(&container).await {
                    return Some(attached);
                }
            }
            Ok(_) => return None,
            Err(_) => away.store(true, Ordering::Relaxed),
        }
        failures += 1;
    }
}

async fn hear(link: &mut Option<Link>) -> Heard {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn read(attached: &mut Option<Attachment>) -> Option<Chunk> {
    match attached {
        Some(attached) => attached.output.next().await?.ok(),
        None => std::future::pending().await,
    }
}

/// The end of a task, which is there once.
async fn done<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, tokio::task::JoinError> {
    let ended = match task {
        Some(running) => running.await,
        None => std::future::pending().await,
    };
    *task = None;
    ended
}

async fn disk_usage(provider: &Arc<dyn Provider>, workspace: Workspace, container: &ContainerId) -> u64 {
    let (inside, outside) = tokio::join!(
        provider.disk_usage(container),
        tokio::task::spawn_blocking(move || workspace.disk_usage()),
    );
    inside.unwrap_or(0) + outside.unwrap_or(0)
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
