//! The loop that carries a job out: it starts what may start, listens, and keeps time.
//!
//! One thread does all of it, so that starting and reaping processes never race. It never waits for the
//! reader of the frames: that is left to the threads that pump output.

mod answers;
mod ending;
mod hooks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use reactorcide_protocol::frame::{Body, JobOutcome, JobResult, Stream};
use reactorcide_protocol::mask::{Values, names};
use reactorcide_protocol::spec::{JobSpec, StepSpec, Work};
use reactorcide_protocol::steps::{Ending, Steps};
use reactorcide_protocol::trigger;
use serde_json::{Value, json};

use super::asked::AskedFor;
use super::delivery::Deliveries;
use super::environment::{self, Scratch, Told};
use super::lease::Lease;
use super::plugins::{Phase, Plugins};
use super::processes;
use super::pump::{Output, Pump};
use super::running::{Cause, Running};
use super::socket::Socket;
use super::usage::Meter;
use super::vars::VarsFile;
use super::writer::Writer;
use super::{Event, asking, files, memory, program};
use crate::clock::Moment;
use crate::exit;

/// A frame is sent at least this often.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The longest wait: the clock of deadlines goes on in a sleep of the machine, that of waits does not.
const TICK: Duration = Duration::from_secs(1);
/// How often the streams of an ended step are looked at.
const DRAIN_TICK: Duration = Duration::from_millis(25);
/// How long a stream that a process holds which cannot be killed is waited for.
const UNKILLABLE: Duration = Duration::from_secs(2);
/// How long the last output is waited for after a job that was stopped, if its reader is stuck.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long a worker has to take the result of a job whose lease is over.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a job is stopped whose lease is over.
const LOST: &str = "its worker was not heard of for too long, and nobody else may keep it going";

/// Runs the job to its end and returns the exit code.
pub fn run(
    spec: JobSpec,
    writer: &Writer,
    lease: Option<Lease>,
    events: Sender<Event>,
    inbox: &Receiver<Event>,
) -> u8 {
    let (result, was_stopped) = match Job::new(spec, writer, lease.clone(), events) {
        Ok(job) => job.run(inbox),
        Err(reason) => (config(reason), false),
    };
    writer.frame(Body::Result(result.clone()));
    let ended = Instant::now();
    writer.drain(|| match &lease {
        // The worker may come back for as long as the lease stands.
        Some(lease) => lease.until().since(Moment::now()).max(GOODBYE.saturating_sub(ended.elapsed())),
        None if was_stopped => LAST_WORDS.saturating_sub(ended.elapsed()),
        None => Duration::MAX,
    });
    exit::code(&result)
}

struct Job<'a> {
    spec: JobSpec,
    steps: Vec<StepSpec>,
    /// Whether the steps have names that anyone knows; a single command has none.
    named: bool,
    graph: Steps,
    running: Vec<Running>,
    /// Steps whose condition is being evaluated.
    asking: Vec<usize>,
    /// Steps whose condition was true.
    allowed: Vec<usize>,
    /// What `when` may know of the steps that ended.
    ended: serde_json::Map<String, Value>,
    /// Streams that someone still holds open although their step has ended.
    lingering: Vec<Pump>,
    /// What the job said of outputs and of what is next, in bytes.
    said_bytes: usize,
    /// What was asked for in the output and cannot be had.
    refused: Option<String>,
    /// Steps that failed and run again, and when.
    again: Vec<(usize, Moment)>,
    /// How often each step was started.
    runs: BTreeMap<usize, u32>,
    /// What steps set by the socket.
    said: BTreeMap<usize, BTreeMap<String, Value>>,
    asked_for: AskedFor,
    vars: Option<VarsFile>,
    queries: answers::Queries,
    plugins: Option<Plugins>,
    /// The answer of the plugins to the phase that they were told.
    heard: hooks::Heard,
    socket: Option<Socket>,
    told: Told,
    scratch: Scratch,
    values: Values,
    deliveries: Deliveries,
    grace: Duration,
    deadline: Option<Moment>,
    timed_out: bool,
    /// Until when the job may go on, where somebody has to keep that up.
    lease: Option<Lease>,
    /// The lease is over.
    lost: bool,
    /// The kills for lack of memory that are known.
    memory_kills: u64,
    /// What looks at what it uses.
    meter: Option<Meter>,
    /// How often the job was told to stop.
    stops: u32,
    writer: &'a Writer,
    events: Sender<Event>,
}

impl<'a> Job<'a> {
    fn new(
        mut spec: JobSpec,
        writer: &'a Writer,
        lease: Option<Lease>,
        events: Sender<Event>,
    ) -> Result<Self, String> {
        let values = register(&spec)?;
        for (name, path) in [("workspace", &spec.workspace), ("working_dir", &spec.working_dir)] {
            if !Path::new(path).is_absolute() {
                return Err(format!("{name} {path:?} is not an absolute path"));
            }
        }
        let (named, steps) = match std::mem::replace(&mut spec.work, Work::Steps(Vec::new())) {
            Work::Steps(steps) => (true, steps),
            Work::Command(command) => (false, vec![StepSpec::of_command(command)]),
        };
        for (name, value) in spec.environment.iter().chain(steps.iter().flat_map(|step| &step.environment)) {
            environment::check(name, value)?;
        }
        for secret in &spec.secrets {
            // A file may hold any bytes.
            let value = if secret.file { "" } else { secret.value.expose() };
            environment::check(&secret.name, value)?;
        }
        let deliveries = Deliveries::new(&spec, &steps)?;
        let graph = Steps::new(&steps).map_err(|error| error.to_string())?;
        mask_by_name(&spec, &steps, &values);
        make_default_directories(&spec);
        // Only what this attempt asks for counts.
        let _ = fs::remove_file(Path::new(&spec.workspace).join(trigger::FILE));
        let deadline = spec.timeout_ms.map(|timeout| Moment::now().after(Duration::from_millis(timeout)));
        let scratch = Scratch::new(&spec);
        if scratch.directory().is_none() {
            let workspace = &spec.workspace;
            let temporary = std::env::temp_dir();
            writer.say(
                None,
                &format!(
                    "warning: neither {workspace} nor {} can be written, so steps have no REACTORCIDE_OUTPUT",
                    temporary.display(),
                ),
            );
        }
        let vars = scratch
            .directory()
            .and_then(|directory| VarsFile::write(directory.join("vars.json"), &spec.context.vars));
        let socket =
            scratch.directory().and_then(|directory| match Socket::open(directory, &values, &events) {
                Ok(socket) => Some(socket),
                Err(error) => {
                    writer.say(None, &format!("warning: steps have no REACTORCIDE_SOCKET: {error}"));
                    None
                }
            });
        let told = Told {
            socket: socket.as_ref().map(|socket| socket.path.clone()),
            vars: vars.as_ref().map(|vars| vars.path().to_owned()),
            runner: std::env::current_exe().ok(),
        };
        Ok(Self {
            again: Vec::new(),
            runs: BTreeMap::new(),
            said: BTreeMap::new(),
            asked_for: AskedFor::new(spec.trigger_limits.clone()),
            vars,
            queries: answers::Queries::new(spec.answers),
            plugins: None,
            heard: hooks::Heard::default(),
            socket,
            told,
            scratch,
            grace: Duration::from_millis(spec.grace_ms),
            deadline,
            steps,
            named,
            graph,
            running: Vec::new(),
            asking: Vec::new(),
            allowed: Vec::new(),
            ended: serde_json::Map::new(),
            lingering: Vec::new(),
            said_bytes: 0,
            refused: None,
            values,
            deliveries,
            timed_out: false,
            lease,
            lost: false,
            memory_kills: memory::kills(),
            meter: Meter::new(),
            stops: 0,
            writer,
            events,
            spec,
        })
    }

    /// The result, and whether the job was stopped before its end.
    fn run(mut self, inbox: &Receiver<Event>) -> (JobResult, bool) {
        self.start_plugins(inbox);
        for phase in [
            Phase::PreValidation,
            Phase::PostValidation,
            Phase::PreSourcePrep,
            Phase::PostSourcePrep,
            Phase::PreExecution,
        ] {
            self.hook(phase, None, inbox);
        }
        loop {
            self.start_ready();
            if self.graph.is_done() && self.running.is_empty() {
                break;
            }
            self.listen(inbox);
            self.keep_time();
            self.finish_over();
        }
        let result = self.graph.result();
        self.hook(Phase::PostExecution, Some(&result), inbox);
        if result.outcome != JobOutcome::Succeeded {
            self.hook(Phase::OnError, Some(&result), inbox);
        }
        self.hook(Phase::Cleanup, Some(&result), inbox);
        processes::kill_all();
        if let Some(sample) = self.meter.as_ref().and_then(Meter::end) {
            self.writer.frame(Body::Usage(sample));
        }
        self.lingering.extend(self.plugins.take().map(|plugins| plugins.log));
        self.await_lingering(inbox);
        self.take_rest(inbox);
        let mut result = self.graph.result();
        if let Err(reason) = self.triggers(&result) {
            self.writer.say(None, &format!("error: {reason}"));
            if result.outcome == JobOutcome::Succeeded {
                result = config(reason);
            }
        }
        self.socket = None;
        result.reason = result.reason.map(|reason| self.values.mask_str(&reason));
        let was_stopped = self.is_stopped();
        (result, was_stopped)
    }

    /// Starts every step that may start, and reports those that will not.
    fn start_ready(&mut self) {
        loop {
            let advance = self.graph.advance();
            for skipped in advance.skipped {
                self.report_skip(&skipped.name, skipped.reason);
            }
            let mut moved = false;
            for name in advance.start {
                let Some(index) = self.steps.iter().position(|step| step.name == name) else { continue };
                if !self.asking.contains(&index) {
                    self.consider(index);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Asks the step's condition first, if it has one.
    fn consider(&mut self, index: usize) {
        let Some(condition) = self.steps[index].when.clone().filter(|_| !self.allowed.contains(&index))
        else {
            return self.launch(index);
        };
        match asking::ask(index, &condition, self.context(), &self.events) {
            Ok(()) => self.asking.push(index),
            Err(reason) => self.fail(index, &reason),
        }
    }

    fn context(&self) -> Value {
        let context = &self.spec.context;
        json!({
            "event": context.event, "vars": context.vars, "needs": context.needs, "inputs": context.inputs,
            "item": context.item, "matrix": context.matrix, "env": self.spec.environment, "steps": self.ended,
        })
    }

    fn answered(&mut self, answered: asking::Answered) {
        let index = answered.step;
        self.asking.retain(|&asked| asked != index);
        if self.graph.outcome(&self.steps[index].name).is_some() {
            return;
        }
        match answered.result {
            Ok(true) => self.allowed.push(index),
            Ok(false) => {
                let name = self.steps[index].name.clone();
                let condition = self.steps[index].when.clone().unwrap_or_default();
                self.graph.skip(&name);
                self.report_skip(&name, format!("its condition is false: {condition}"));
            }
            Err(reason) => {
                let reason =
                    format!("the condition of {} cannot be evaluated: {reason}", self.subject(index));
                self.fail(index, &reason);
            }
        }
    }

    fn launch(&mut self, index: usize) {
        let step = &self.steps[index];
        let name = step.name.clone();
        let runs = self.runs.entry(index).or_insert(0);
        *runs += 1;
        if self.named && *runs == 1 {
            self.writer.frame(Body::StepStarted { step: name.clone() });
        }
        self.said.remove(&index);
        let job_directory = Path::new(&self.spec.working_dir);
        let directory = job_directory.join(step.working_dir.as_deref().unwrap_or_default());
        let outputs = self.scratch.outputs(index).filter(|path| files::write_new(path, b"").is_ok());
        let given = match self.deliveries.deliver(step) {
            Ok(given) => given,
            Err(reason) => return self.fail(index, &reason),
        };
        let secrets = (&self.deliveries, given.variables.as_slice());
        let environment =
            environment::of_step(&self.spec, secrets, self.named, step, outputs.as_deref(), &self.told);
        let timeout = step.timeout_ms.map(Duration::from_millis);
        match program::start(step, &directory, &environment) {
            Ok(started) => {
                let pumps = [(started.stdout, Stream::Stdout), (started.stderr, Stream::Stderr)];
                let prefix = self.spec.trigger_prefix.as_ref().map(|prefix| prefix.expose().to_owned());
                let pumps = pumps.map(|(pipe, stream)| {
                    // Requests are taken from standard output alone.
                    let prefix = prefix.clone().filter(|_| stream == Stream::Stdout);
                    let output = Output { step: self.named.then(|| name.clone()), stream, prefix };
                    Pump::start(pipe, output, &self.values, self.writer.clone(), self.events.clone())
                });
                self.graph.started(&name);
                match pumps {
                    [Ok(stdout), Ok(stderr)] => {
                        self.running.push(Running::new(
                            index,
                            started.pid,
                            [stdout, stderr],
                            outputs,
                            given.files,
                            timeout,
                        ));
                    }
                    _ => {
                        processes::signal_group(started.pid, rustix::process::Signal::KILL);
                        self.fail(index, "no thread could be started for its output");
                    }
                }
            }
            Err(reason) => {
                let reason = format!("{} cannot be started: {reason}", self.subject(index));
                self.fail(index, &reason);
            }
        }
    }

    /// A step that is wrong in itself.
    fn fail(&mut self, index: usize, reason: &str) {
        let reason = self.values.mask_str(reason);
        self.writer.say(self.step_name(index), &format!("error: {reason}"));
        self.conclude(index, Duration::ZERO, Ending::Failed(config(reason.clone())), None, Some(reason));
    }

    fn listen(&mut self, inbox: &Receiver<Event>) {
        let Ok(first) = inbox.recv_timeout(self.wait()) else { return };
        for event in std::iter::once(first).chain(inbox.try_iter()) {
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Stop => self.stop(),
            Event::Told if self.stops == 0 => self.stop(),
            Event::Told | Event::Child | Event::Stream | Event::Spec(_) => {}
            Event::Answer(answered) => self.answered(answered),
            Event::Request(asked) => self.respond(*asked),
            Event::Printed(line) => self.printed(&line),
            Event::Message(message) => self.queries.take(*message),
            // A worker answers by its socket.
            Event::InputEnded if self.spec.control.is_some() => {}
            Event::InputEnded => self.queries.close(),
            Event::Plugins(said) => self.heard.take(said),
        }
    }

    /// What was asked for in the last moment still counts; its streams have ended before their step was over.
    fn take_rest(&mut self, inbox: &Receiver<Event>) {
        for event in inbox.try_iter() {
            match event {
                Event::Printed(line) => self.printed(&line),
                Event::Request(asked) => self.respond(*asked),
                Event::Stop => self.stops += 1,
                _ => {}
            }
        }
    }

    fn wait(&mut self) -> Duration {
        if self.running.iter().any(|running| running.end.is_some()) {
            return DRAIN_TICK;
        }
        let now = Moment::now();
        let again = self.again.iter().map(|(_, at)| *at);
        let due = self.running.iter().filter_map(Running::due).chain(self.deadline).chain(again).min();
        let until_due = due.map_or(TICK, |due| due.since(now));
        let meter = self.meter.as_ref().map_or(TICK, Meter::due);
        until_due.min(TICK).min(HEARTBEAT.saturating_sub(self.writer.silence())).min(meter)
    }

    fn keep_time(&mut self) {
        for (pid, end) in processes::reap() {
            if let Some(running) = self.running.iter_mut().find(|running| running.is(pid)) {
                running.ended(end);
            }
        }
        let now = Moment::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.timed_out = true;
            let after = Duration::from_millis(self.spec.timeout_ms.unwrap_or_default());
            let reason = format!("the job ran out of time ({after:?})");
            self.end_job(JobOutcome::Timeout, reason);
        }
        self.running.iter_mut().for_each(|running| running.tick(now, self.grace));
        self.start_again(now);
        self.queries.tick(now);
        if self.lease.as_ref().is_some_and(|lease| !self.lost && lease.until() <= now) {
            self.lost = true;
            self.end_job(JobOutcome::LostWorker, LOST.to_owned());
        }
        if let Some(sample) = self.meter.as_mut().and_then(Meter::tick) {
            self.writer.frame(Body::Usage(sample));
        }
        if self.writer.silence() >= HEARTBEAT {
            self.writer.heartbeat();
        }
    }

    /// The first request to stop is passed on, the second is meant seriously.
    fn stop(&mut self) {
        self.stops += 1;
        if self.stops == 1 {
            self.end_job(JobOutcome::Cancelled, "the job was cancelled".to_owned());
        } else {
            self.running.iter_mut().for_each(Running::kill);
        }
    }

    fn end_job(&mut self, outcome: JobOutcome, reason: String) {
        self.writer.say(None, &reason);
        self.graph.stop(JobResult { outcome, exit_code: None, reason: Some(reason) });
        self.running.iter_mut().for_each(|running| running.terminate(Cause::Stopped, self.grace));
        // What waits for another run has nobody to end it.
        for (index, _) in std::mem::take(&mut self.again) {
            let reason = self.graph.result().reason;
            self.conclude(index, Duration::ZERO, Ending::Cancelled, None, reason);
        }
    }

    fn finish_over(&mut self) {
        let mut index = 0;
        while index < self.running.len() {
            if self.running[index].is_over() {
                let step = self.running.remove(index);
                self.finish(step);
            } else {
                index += 1;
            }
        }
    }

    /// All processes are gone, so the streams end; only a reader that takes nothing can hold them up.
    fn await_lingering(&mut self, inbox: &Receiver<Event>) {
        let begun = Instant::now();
        self.lingering.iter_mut().for_each(Pump::look);
        while !self.lingering.iter_mut().all(|pump| pump.quiet(UNKILLABLE)) {
            let patience = if self.is_stopped() { LAST_WORDS } else { Duration::MAX };
            if self.stops > 1 || begun.elapsed() >= patience {
                return;
            }
            match inbox.recv_timeout(DRAIN_TICK) {
                Ok(Event::Stop) => self.stops += 1,
                Ok(Event::Printed(line)) => self.printed(&line),
                _ => {}
            }
        }
    }

    /// Whether it was told to end before its time.
    fn is_stopped(&self) -> bool {
        self.stops > 0 || self.timed_out || self.lost
    }

    fn subject(&self, index: usize) -> String {
        if self.named { format!("step {:?}", self.steps[index].name) } else { "the command".to_owned() }
    }

    fn step_name(&self, index: usize) -> Option<&str> {
        self.named.then(|| self.steps[index].name.as_str())
    }
}

/// Everything that must not be shown.
fn register(spec: &JobSpec) -> Result<Values, String> {
    // An empty value shows nothing.
    let secrets = spec.secrets.iter().filter(|secret| !secret.value.expose().is_empty());
    for secret in secrets.clone() {
        reactorcide_protocol::mask::check(secret.value.expose().as_bytes())
            .map_err(|error| format!("secret {} cannot be used: {error}", secret.name))?;
    }
    let masked = spec.mask.iter().map(|value| value.expose()).filter(|value| !value.is_empty());
    Values::new(secrets.map(|secret| secret.value.expose()).chain(masked))
        .map_err(|error| format!("a value to be masked cannot be used: {error}"))
}

/// Variables whose names say that they are secret, those of the image included, are masked without being asked.
fn mask_by_name(spec: &JobSpec, steps: &[StepSpec], values: &Values) {
    let given = spec.environment.iter().chain(steps.iter().flat_map(|step| &step.environment));
    let given = given.map(|(name, value)| (name.clone(), value.clone()));
    let image = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let secret: BTreeSet<String> = given
        .chain(image)
        .filter(|(name, value)| names::says_secret(name) && names::is_worth_masking(value))
        .map(|(_, value)| value)
        .collect();
    // Each was found fit for it.
    let _ = values.register_all(&secret);
}

/// The directories that jobs start in unless they say otherwise are made if they are missing; any other must
/// be there.
fn make_default_directories(spec: &JobSpec) {
    let workspace = Path::new(&spec.workspace);
    let source = workspace.join("src");
    let working = Path::new(&spec.working_dir);
    if working == workspace || working == source {
        // A failure shows when the first step starts.
        let _ = fs::create_dir_all(working);
    }
}

fn config(reason: String) -> JobResult {
    JobResult { outcome: JobOutcome::Config, exit_code: None, reason: Some(reason) }
}
