//! Hooks of plugins: each phase is told, its end is waited for, and what plugins changed counts from then on.

use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use reactorcide_protocol::frame::JobResult;
use reactorcide_protocol::mask::names;
use reactorcide_protocol::spec::{Command, Work};
use serde_json::{Map, Value, json};

use super::{Job, config};
use crate::clock::Moment;
use crate::exec::plugins::{self, Phase, Plugins, Said};
use crate::exec::{Event, environment, processes, program};

/// How long the hooks of one phase may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// What was heard of the plugins since it was last looked at.
#[derive(Default)]
pub struct Heard {
    said: Option<Box<Said>>,
    gone: bool,
}

impl Heard {
    pub fn take(&mut self, said: Option<Box<Said>>) {
        match said {
            Some(said) => self.said = Some(said),
            None => self.gone = true,
        }
    }
}

impl Job<'_> {
    /// Starts the plugins where there are any. A job whose plugins cannot run does not run: they may be what guards it.
    pub(super) fn start_plugins(&mut self, inbox: &Receiver<Event>) {
        let Some(directory) = self.spec.plugins.clone() else { return };
        if !plugins::are_in(Path::new(&directory)) {
            return;
        }
        let environment = environment::of_job(&self.spec, &self.deliveries, &self.told);
        let python = program::find_in_path("python3", &environment).map_err(|_| {
            format!("there are plugins in {directory}, and the image has no python3 to run them")
        });
        let started = python.and_then(|python| {
            let (values, writer) = (&self.values, self.writer);
            let library = self.spec.python_path.clone().unwrap_or_default();
            let (directory, library) = (Path::new(&directory), Path::new(&library));
            Plugins::start(directory, &python, library, &environment, values, writer, &self.events)
        });
        match started {
            Ok(plugins) => self.plugins = Some(plugins),
            Err(reason) => return self.graph.stop(config(reason)),
        }
        match self.await_plugins(inbox, |_| true) {
            Some(said) => {
                let names: Vec<&str> = said.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
                if !names.is_empty() {
                    let names = self.values.mask_str(&names.join(", "));
                    self.writer.say(None, &format!("plugins: {names}"));
                }
                self.report(&said, "when it was loaded");
            }
            None => {
                self.plugins = None;
                let reason = format!("the plugins in {directory} cannot be run; their output above says why");
                self.graph.stop(config(reason));
            }
        }
    }

    /// Calls the hooks of a phase.
    pub(super) fn hook(&mut self, phase: Phase, result: Option<&JobResult>, inbox: &Receiver<Event>) {
        if self.plugins.is_none() {
            return;
        }
        let context = self.hook_context(result);
        self.heard.said = None;
        let told = self.plugins.as_mut().is_some_and(|plugins| plugins.tell(phase, &context).is_ok());
        let said = if told { self.await_plugins(inbox, |said| said.done == Some(phase)) } else { None };
        let name = serde_json::to_value(phase).ok().and_then(|name| name.as_str().map(str::to_owned));
        let name = name.unwrap_or_default();
        match said {
            Some(said) => {
                self.report(&said, &format!("in {name}"));
                for timing in &said.timings {
                    let plugin = self.values.mask_str(&timing.plugin);
                    self.writer.say(None, &format!("hook {plugin} {name}: {:.1} ms", timing.ms));
                }
                if result.is_none() {
                    self.apply(*said);
                }
            }
            None => {
                if let Some(plugins) = self.plugins.take() {
                    processes::signal_group(plugins.pid, rustix::process::Signal::KILL);
                    self.lingering.push(plugins.log);
                }
                let reason = format!("the plugins ended, or did not answer, in {name}");
                self.writer.say(None, &format!("error: {reason}"));
                // Before the steps they may be what guards them; afterwards they change nothing any more.
                if result.is_none() {
                    self.graph.stop(config(reason));
                }
            }
        }
    }

    /// Waits for the plugins, and serves everything else meanwhile.
    fn await_plugins(&mut self, inbox: &Receiver<Event>, is_it: impl Fn(&Said) -> bool) -> Option<Box<Said>> {
        let mut deadline = Moment::now().after(PATIENCE);
        let mut hurried = false;
        loop {
            if self.heard.said.as_ref().is_some_and(|said| is_it(said)) {
                return self.heard.said.take();
            }
            if self.is_stopped() && !hurried {
                hurried = true;
                deadline = deadline.min(Moment::now().after(self.grace.max(Duration::from_secs(1))));
            }
            if self.heard.gone || self.stops > 1 || Moment::now() >= deadline {
                return None;
            }
            self.listen(inbox);
            self.keep_time();
        }
    }

    fn hook_context(&self, result: Option<&JobResult>) -> Value {
        let spec = &self.spec;
        let command = match (self.named, self.steps.first().map(|step| &step.run)) {
            (false, Some(Command::Script(text))) => json!(text),
            (false, Some(Command::Exec(words))) => json!(words),
            _ => Value::Null,
        };
        let error = result.and_then(|result| result.reason.clone());
        json!({
            "config": {
                "job_command": command, "code_dir": spec.working_dir, "job_dir": spec.workspace,
                "timeout": spec.timeout_ms.map(|timeout| timeout / 1000), "run_id": spec.run_id, "job": spec.job,
                "attempt": spec.attempt, "steps": self.steps.iter().map(|step| &step.name).collect::<Vec<_>>(),
            },
            "environment": spec.environment,
            "exit_code": result.and_then(|result| result.exit_code),
            "error": error.map(|error| self.values.mask_str(&error)),
            "metadata": {},
        })
    }

    fn report(&mut self, said: &Said, when: &str) {
        for failed in &said.errors {
            let text = format!("error: plugin {} failed {when}: {}", failed.plugin, failed.error);
            self.writer.say(None, &self.values.mask_str(&text));
        }
        if let Some(plugins) = &mut self.plugins {
            plugins.failures += said.errors.len();
        }
    }

    /// What plugins changed: the environment, the command, where it starts.
    fn apply(&mut self, said: Said) {
        for name in said.unset {
            self.spec.environment.remove(&name);
        }
        for (name, value) in said.environment {
            match environment::check(&name, &value) {
                Ok(()) => {
                    if names::says_secret(&name) && names::is_worth_masking(&value) {
                        let _ = self.values.register(&value);
                    }
                    self.spec.environment.insert(name, value);
                }
                Err(problem) => {
                    self.writer.say(None, &format!("error: a plugin's change was refused: {problem}"))
                }
            }
        }
        self.change(said.config);
    }

    fn change(&mut self, config: Map<String, Value>) {
        for (key, value) in config {
            let changed = match (key.as_str(), value) {
                ("job_command", Value::String(text)) if !self.named => {
                    self.steps[0].run = Command::Script(text);
                    true
                }
                ("code_dir", Value::String(path)) if Path::new(&path).is_absolute() => {
                    self.spec.working_dir = path;
                    true
                }
                _ => false,
            };
            if !changed {
                let key = self.values.mask_str(&key);
                let text = format!(
                    "error: a plugin's change of {key} was refused: job_command of a job without steps and code_dir, an absolute path, can be changed"
                );
                self.writer.say(None, &text);
            }
        }
        debug_assert!(matches!(self.spec.work, Work::Steps(_)));
    }
}
