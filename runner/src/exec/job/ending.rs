//! How steps and the job end: which result, whether a step runs again, and what was left behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reactorcide_protocol::frame::{Body, JobOutcome, JobResult, StepOutcome};
use reactorcide_protocol::steps::Ending;
use reactorcide_protocol::trigger::TriggerRequest;
use serde_json::json;

use super::{Job, config};
use crate::clock::Moment;
use crate::exec::processes::End;
use crate::exec::running::{Cause, Running};
use crate::exec::{files, leavings, memory};

impl Job<'_> {
    pub(super) fn finish(&mut self, step: Running) {
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
        let failed = match step.cause {
            Some(Cause::Stopped) => None,
            Some(Cause::Timeout) => {
                let after = Duration::from_millis(self.steps[index].timeout_ms.unwrap_or_default());
                let reason = format!("{subject} ran out of time ({after:?})");
                Some(JobResult { outcome: JobOutcome::Timeout, exit_code: None, reason: Some(reason) })
            }
            None if code == Some(0) => None,
            None => Some(self.failure(ended, shell_code)),
        };
        if let Some(failed) = &failed
            && self.runs_again(index, failed)
        {
            self.lingering.extend(step.pumps.into_iter().filter(|pump| !pump.ended()));
            return;
        }
        let (ending, reason) = match (step.cause, failed) {
            (Some(Cause::Stopped), _) => (Ending::Cancelled, self.graph.result().reason),
            (Some(Cause::Timeout), failed) => {
                let failed = failed.unwrap_or_else(|| config(subject));
                let reason = failed.reason.clone();
                (Ending::Failed(failed), reason)
            }
            (None, Some(failed)) => {
                // It has failed already; what is wrong with what it left is only told.
                let _ = self.left_behind(&step, false);
                let reason = failed.reason.clone();
                (Ending::Failed(failed), reason)
            }
            (None, None) => match self.left_behind(&step, true) {
                Ok(()) => (Ending::Succeeded, None),
                Err(reason) => (Ending::Failed(config(reason.clone())), Some(reason)),
            },
        };
        self.conclude(index, step.duration(), ending, code, reason);
        self.lingering.extend(step.pumps.into_iter().filter(|pump| !pump.ended()));
    }

    fn failure(&mut self, ended: String, exit_code: Option<i32>) -> JobResult {
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
        JobResult { outcome, exit_code, reason: Some(reason) }
    }

    /// Whether a step that failed runs again; then its time is set.
    fn runs_again(&mut self, index: usize, failed: &JobResult) -> bool {
        if self.stops > 0 || self.timed_out {
            return false;
        }
        let Some(retry) = &self.steps[index].retry else { return false };
        let runs = self.runs.get(&index).copied().unwrap_or(1);
        let Some(wait) = retry.wait_after(runs, failed.outcome) else { return false };
        let reason = self.values.mask_str(failed.reason.as_deref().unwrap_or("it failed"));
        let text = format!("{reason}; retry {runs} of {} in {wait:?}", retry.max);
        self.writer.say(self.step_name(index), &text);
        self.again.push((index, Moment::now().after(wait)));
        true
    }

    /// Starts the steps whose time to run again has come.
    pub(super) fn start_again(&mut self, now: Moment) {
        let due: Vec<usize> =
            self.again.iter().filter(|(_, at)| *at <= now).map(|(index, _)| *index).collect();
        self.again.retain(|(_, at)| *at > now);
        for index in due {
            self.launch(index);
        }
    }

    /// Hands on what a step left: outputs and variables. What is wrong with them fails a step that would else have
    /// succeeded.
    fn left_behind(&mut self, step: &Running, succeeded: bool) -> Result<(), String> {
        let outputs = self.outputs(step);
        let vars = self.changed_vars();
        let problem = match (outputs, vars) {
            (Ok(()), Ok(())) => return Ok(()),
            (Err(problem), _) | (_, Err(problem)) => problem,
        };
        let reason = format!("{}: {problem}", self.subject(step.index));
        self.writer.say(self.step_name(step.index), &format!("error: {reason}"));
        if succeeded { Err(reason) } else { Ok(()) }
    }

    fn outputs(&mut self, step: &Running) -> Result<(), String> {
        let index = step.index;
        let written = step
            .outputs
            .as_ref()
            .map_or(Ok(BTreeMap::new()), |path| leavings::outputs(path, &self.values))?;
        let mut all = self.said.remove(&index).unwrap_or_default();
        all.extend(written.clone());
        let name = self.steps[index].name.clone();
        self.ended.insert(name, json!({"outputs": all}));
        if !written.is_empty() {
            let step = self.step_name(index).map(str::to_owned);
            self.writer.frame(Body::Output { step, values: written });
        }
        Ok(())
    }

    fn changed_vars(&mut self) -> Result<(), String> {
        let Some(file) = &mut self.vars else { return Ok(()) };
        let changed = file.changes(&self.spec.context.vars, &self.values)?;
        if changed.is_empty() {
            return Ok(());
        }
        let request = TriggerRequest::of_vars(changed);
        let accepted = self.asked_for.accept(request, &self.values).map_err(|refusal| refusal.message)?;
        if let Some(request) = accepted {
            self.hand_on(request);
        }
        Ok(())
    }

    pub(super) fn conclude(
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

    pub(super) fn report_skip(&mut self, name: &str, reason: String) {
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

    /// Hands on what the job asks for in its file, unless it was stopped or could not be run.
    pub(super) fn triggers(&mut self, result: &JobResult) -> Result<(), String> {
        if !matches!(result.outcome, JobOutcome::Succeeded | JobOutcome::Exit | JobOutcome::Oom) {
            return Ok(());
        }
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let workspace = PathBuf::from(&self.spec.workspace);
        let requests = leavings::triggers(&workspace, &self.spec.trigger_limits, &self.values)?;
        let path = workspace.join(reactorcide_protocol::trigger::FILE);
        let mut accepted = Vec::new();
        for request in requests {
            let taken = self.asked_for.accept(request, &self.values);
            let taken =
                taken.map_err(|refusal| format!("{} cannot be used: {}", path.display(), refusal.message))?;
            accepted.extend(taken);
        }
        for request in accepted {
            self.hand_on(request);
        }
        Ok(())
    }
}

fn signal_name(number: i32) -> String {
    signal_hook::low_level::signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned)
}
