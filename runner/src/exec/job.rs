//! The loop that carries a job out: it starts what may start, listens, and keeps time.
//!
//! One thread does all of it, so that starting and reaping processes never race. It never waits for the
//! reader of the frames: that is left to the threads that pump output.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use reactorcide_protocol::frame::{Body, JobOutcome, JobResult, StepOutcome, Stream};
use reactorcide_protocol::mask::Values;
use reactorcide_protocol::spec::{JobSpec, StepSpec, Work};
use reactorcide_protocol::steps::{Ending, Steps};
use reactorcide_protocol::trigger;
use serde_json::{Value, json};

use super::environment::{self, Scratch};
use super::processes::{self, End};
use super::pump::Pump;
use super::running::{Cause, Running};
use super::writer::Writer;
use super::{Event, asking, files, leavings, memory, program};
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

/// Runs the job to its end and returns the exit code.
pub fn run(spec: JobSpec, writer: &Writer, events: Sender<Event>, inbox: &Receiver<Event>) -> u8 {
    let job = match Job::new(spec, writer, events) {
        Ok(job) => job,
        Err(reason) => {
            let result = config(reason);
            writer.frame(Body::Result(result.clone()));
            writer.drain(None);
            return exit::code(&result);
        }
    };
    let (result, was_stopped) = job.run(inbox);
    writer.frame(Body::Result(result.clone()));
    writer.drain(was_stopped.then(|| Instant::now() + LAST_WORDS));
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
    scratch: Scratch,
    values: Values,
    grace: Duration,
    deadline: Option<Moment>,
    timed_out: bool,
    /// The kills for lack of memory that are known.
    memory_kills: u64,
    /// How often the job was told to stop.
    stops: u32,
    writer: &'a Writer,
    events: Sender<Event>,
}

impl<'a> Job<'a> {
    fn new(mut spec: JobSpec, writer: &'a Writer, events: Sender<Event>) -> Result<Self, String> {
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
            environment::check(&secret.name, secret.value.expose())?;
        }
        let graph = Steps::new(&steps).map_err(|error| error.to_string())?;
        make_default_directories(&spec);
        // Only what this attempt asks for counts.
        let _ = fs::remove_file(Path::new(&spec.workspace).join(trigger::FILE));
        let deadline = spec.timeout_ms.map(|timeout| Moment::now().after(Duration::from_millis(timeout)));
        let scratch = Scratch::new(&spec);
        if !scratch.exists() {
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
        Ok(Self {
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
            values,
            timed_out: false,
            memory_kills: memory::kills(),
            stops: 0,
            writer,
            events,
            spec,
        })
    }

    /// The result, and whether the job was stopped before its end.
    fn run(mut self, inbox: &Receiver<Event>) -> (JobResult, bool) {
        loop {
            self.start_ready();
            if self.graph.is_done() && self.running.is_empty() {
                break;
            }
            self.listen(inbox);
            self.keep_time();
            self.finish_over();
        }
        processes::kill_all();
        self.await_lingering(inbox);
        let mut result = self.graph.result();
        if let Err(reason) = self.triggers(&result) {
            self.writer.say(None, &format!("error: {reason}"));
            if result.outcome == JobOutcome::Succeeded {
                result = config(reason);
            }
        }
        result.reason = result.reason.map(|reason| self.values.mask_str(&reason));
        (result, self.stops > 0 || self.timed_out)
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
        if self.named {
            self.writer.frame(Body::StepStarted { step: name.clone() });
        }
        let job_directory = Path::new(&self.spec.working_dir);
        let directory = job_directory.join(step.working_dir.as_deref().unwrap_or_default());
        let outputs = self.scratch.outputs(index).filter(|path| fs::write(path, b"").is_ok());
        let environment = environment::of_step(&self.spec, step, outputs.as_deref(), &self.scratch);
        let timeout = step.timeout_ms.map(Duration::from_millis);
        match program::start(step, &directory, &environment) {
            Ok(started) => {
                let pumps = [(started.stdout, Stream::Stdout), (started.stderr, Stream::Stderr)];
                let pumps = pumps.map(|(pipe, stream)| {
                    let (events, step) = (self.events.clone(), self.named.then(|| name.clone()));
                    let wake = move || drop(events.send(Event::Stream));
                    Pump::start(pipe, step, stream, &self.values, self.writer.clone(), wake)
                });
                self.graph.started(&name);
                match pumps {
                    [Ok(stdout), Ok(stderr)] => {
                        self.running.push(Running::new(
                            index,
                            started.pid,
                            [stdout, stderr],
                            outputs,
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
            match event {
                Event::Stop => self.stop(),
                Event::Child | Event::Stream | Event::Spec(_) => {}
                Event::Answer(answered) => self.answered(answered),
            }
        }
    }

    fn wait(&mut self) -> Duration {
        if self.running.iter().any(|running| running.end.is_some()) {
            return DRAIN_TICK;
        }
        let now = Moment::now();
        let due = self.running.iter().filter_map(Running::due).chain(self.deadline).min();
        let until_due = due.map_or(TICK, |due| due.since(now));
        until_due.min(TICK).min(HEARTBEAT.saturating_sub(self.writer.silence()))
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
        if self.writer.silence() >= HEARTBEAT {
            self.writer.frame(Body::Heartbeat {});
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

    fn finish(&mut self, step: Running) {
        let index = step.index;
        let subject = self.subject(index);
        let (code, ended) = match step.end {
            Some(End::Code(code)) => (Some(code), format!("{subject} exited with code {code}")),
            Some(End::Signal(signal)) => (None, format!("{subject} was killed by {}", signal_name(signal))),
            None => (None, format!("{subject} ended")),
        };
        let shell_code = match step.end {
            Some(End::Signal(signal)) => Some(128 + signal),
            _ => code,
        };
        let (ending, reason) = match step.cause {
            Some(Cause::Stopped) => (Ending::Cancelled, self.graph.result().reason),
            Some(Cause::Timeout) => {
                let after = Duration::from_millis(self.steps[index].timeout_ms.unwrap_or_default());
                let reason = format!("{subject} ran out of time ({after:?})");
                let result =
                    JobResult { outcome: JobOutcome::Timeout, exit_code: None, reason: Some(reason.clone()) };
                (Ending::Failed(result), Some(reason))
            }
            None => match self.outputs(&step, code == Some(0)) {
                Err(reason) => (Ending::Failed(config(reason.clone())), Some(reason)),
                Ok(()) if code == Some(0) => (Ending::Succeeded, None),
                Ok(()) => {
                    let directories = [Path::new(&self.spec.workspace), Path::new(&self.spec.working_dir)];
                    let full = files::full_device(directories);
                    let kills = memory::kills();
                    let (outcome, reason) = if kills > std::mem::replace(&mut self.memory_kills, kills) {
                        (JobOutcome::Oom, format!("{ended}; the kernel killed a process for lack of memory"))
                    } else if let Some(full) = full {
                        (JobOutcome::NoSpace, format!("{ended}; no space is left on {}", full.display()))
                    } else {
                        (JobOutcome::Exit, ended)
                    };
                    let result = JobResult { outcome, exit_code: shell_code, reason: Some(reason.clone()) };
                    (Ending::Failed(result), Some(reason))
                }
            },
        };
        self.conclude(index, step.duration(), ending, code, reason);
        self.lingering.extend(step.pumps.into_iter().filter(|pump| !pump.ended()));
    }

    /// Hands the outputs of a step on. What is wrong with them fails a step that would else have succeeded.
    fn outputs(&mut self, step: &Running, succeeded: bool) -> Result<(), String> {
        let Some(path) = &step.outputs else { return Ok(()) };
        match leavings::outputs(path, &self.values) {
            Ok(values) => {
                let name = self.steps[step.index].name.clone();
                self.ended.insert(name, json!({"outputs": values}));
                if !values.is_empty() {
                    let step = self.step_name(step.index).map(str::to_owned);
                    self.writer.frame(Body::Output { step, values });
                }
                Ok(())
            }
            Err(problem) => {
                let reason = format!("{}: {problem}", self.subject(step.index));
                self.writer.say(self.step_name(step.index), &format!("error: {reason}"));
                if succeeded { Err(reason) } else { Ok(()) }
            }
        }
    }

    fn conclude(
        &mut self,
        index: usize,
        duration: Duration,
        ending: Ending,
        exit_code: Option<i32>,
        reason: Option<String>,
    ) {
        let name = self.steps[index].name.clone();
        let outcome = match &ending {
            Ending::Succeeded => StepOutcome::Succeeded,
            Ending::Cancelled => StepOutcome::Cancelled,
            Ending::Failed(_) => StepOutcome::Failed,
        };
        let entry = self.ended.entry(name.clone()).or_insert_with(|| json!({"outputs": {}}));
        entry["outcome"] = json!(outcome);
        entry["exit_code"] = json!(exit_code);
        self.graph.finished(&name, ending);
        if self.named {
            let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            let reason = reason.map(|reason| self.values.mask_str(&reason));
            self.writer.frame(Body::StepFinished { step: name, outcome, exit_code, reason, duration_ms });
        }
    }

    fn report_skip(&mut self, name: &str, reason: String) {
        self.ended.insert(
            name.to_owned(),
            json!({"outcome": StepOutcome::Skipped, "exit_code": null, "outputs": {}}),
        );
        if self.named {
            let step = name.to_owned();
            let outcome = StepOutcome::Skipped;
            let reason = Some(reason);
            self.writer.frame(Body::StepFinished { step, outcome, exit_code: None, reason, duration_ms: 0 });
        }
    }

    /// All processes are gone, so the streams end; only a reader that takes nothing can hold them up.
    fn await_lingering(&mut self, inbox: &Receiver<Event>) {
        let begun = Instant::now();
        self.lingering.iter_mut().for_each(Pump::look);
        while !self.lingering.iter_mut().all(|pump| pump.quiet(UNKILLABLE)) {
            let patience = if self.stops > 0 || self.timed_out { LAST_WORDS } else { Duration::MAX };
            if self.stops > 1 || begun.elapsed() >= patience {
                return;
            }
            if let Ok(Event::Stop) = inbox.recv_timeout(DRAIN_TICK) {
                self.stops += 1;
            }
        }
    }

    /// Hands on what the job asks for, unless it was stopped or could not be run.
    fn triggers(&self, result: &JobResult) -> Result<(), String> {
        if !matches!(result.outcome, JobOutcome::Succeeded | JobOutcome::Exit | JobOutcome::Oom) {
            return Ok(());
        }
        let workspace = PathBuf::from(&self.spec.workspace);
        for request in leavings::triggers(&workspace, &self.spec.trigger_limits, &self.values)? {
            self.writer.frame(Body::Trigger { request });
        }
        Ok(())
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

fn signal_name(number: i32) -> String {
    signal_hook::low_level::signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned)
}
