//! What the job asks of the runner while it goes on, by the socket or in its output, and what it is answered.

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use reactorcide_protocol::control::{Code, Next, Refusal, Request, VERSION};
use reactorcide_protocol::frame::Body;
use reactorcide_protocol::query::{Answer, JobState, Message, Query};
use reactorcide_protocol::trigger::{self, Limits, TriggerRequest};
use serde_json::{Value, json};

use super::Job;
use crate::clock::Moment;
use crate::exec::leavings::fits;
use crate::exec::socket::Asked;
use crate::exec::vars;
use crate::exec::writer::Writer;

/// How long an answer from outside is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most questions that wait for an answer.
const MAX_WAITING: usize = 64;

/// Questions to whoever started the runner.
pub struct Queries {
    /// Whether anybody answers.
    open: bool,
    next: u64,
    waiting: BTreeMap<u64, (SyncSender<Value>, Moment)>,
}

impl Queries {
    pub fn new(open: bool) -> Self {
        Self { open, next: 0, waiting: BTreeMap::new() }
    }

    fn ask(&mut self, query: Query, answer: SyncSender<Value>, writer: &Writer) {
        if self.waiting.len() >= MAX_WAITING {
            return reply(&answer, &unavailable("too many questions wait for an answer"));
        }
        let id = self.next;
        self.next += 1;
        self.waiting.insert(id, (answer, Moment::now().after(PATIENCE)));
        writer.frame(Body::Query { id, query });
    }

    /// Something was said from outside.
    pub fn take(&mut self, message: Message) {
        let Message::Answer { id, answer } = message else { return };
        let Some((waiting, _)) = self.waiting.remove(&id) else { return };
        reply(&waiting, &answer_value(&answer));
    }

    /// Nobody answers any more.
    pub fn close(&mut self) {
        self.open = false;
        for (waiting, _) in std::mem::take(&mut self.waiting).into_values() {
            reply(&waiting, &unavailable("nobody answers any more"));
        }
    }

    /// Gives up what was not answered in time.
    pub fn tick(&mut self, now: Moment) {
        while let Some(entry) = self.waiting.first_entry().filter(|entry| entry.get().1 <= now) {
            let (waiting, _) = entry.remove();
            reply(&waiting, &unavailable("there was no answer in time"));
        }
    }
}

/// The most that one attempt says of outputs and of what is next, in bytes.
const MAX_SAID_BYTES: usize = 4 << 20;

impl Job<'_> {
    /// Answers a request of the socket.
    pub(super) fn respond(&mut self, asked: Asked) {
        let Asked { request, answer } = asked;
        let answered = match request {
            Request::Vars if self.queries.open => {
                return self.queries.ask(Query::Vars {}, answer, self.writer);
            }
            Request::Job(name) if self.values.occur_in(name.as_bytes()) => Err(Refusal::new(
                Code::Secret,
                "the name contains a secret value, which may not leave the job".to_owned(),
            )),
            Request::Job(name) if self.queries.open => {
                return self.queries.ask(Query::Job { name }, answer, self.writer);
            }
            Request::Vars => Ok(json!({"ok": true, "vars": self.spec.context.vars})),
            Request::Job(name) => Ok(self.known_from_needs(&name)),
            Request::Hello => Ok(json!({
                "ok": true, "v": VERSION, "runner": env!("CARGO_PKG_VERSION"),
                "run_id": self.spec.run_id, "job": self.spec.job, "attempt": self.spec.attempt,
            })),
            Request::Context => {
                let context = &self.spec.context;
                Ok(json!({
                    "ok": true, "event": context.event, "vars": context.vars, "needs": context.needs,
                    "inputs": context.inputs, "item": context.item, "matrix": context.matrix,
                }))
            }
            Request::Trigger(request) => self.ask_for(*request),
            Request::SetVars(values) => {
                self.ask_for(TriggerRequest::of_vars(values)).map(|_| json!({"ok": true}))
            }
            Request::Output { step, values } => self.output_said(step, values),
            Request::Next(next) => self.would_run(next),
            Request::Register(_) => Err(Refusal::new(Code::BadRequest, "values are registered elsewhere")),
        };
        reply(&answer, &answered.unwrap_or_else(|refusal| refusal.to_value()));
    }

    /// A line of output that asks for jobs.
    pub(super) fn printed(&mut self, line: &[u8]) {
        let limits = Limits { jobs: u32::MAX, ..self.spec.trigger_limits.clone() };
        let requests = match trigger::parse(line, &limits) {
            Ok(requests) => requests,
            Err(error) => return self.refuse_printed(&error.to_string()),
        };
        for request in requests {
            if let Err(refusal) = self.ask_for(request) {
                self.refuse_printed(&refusal.message);
            }
        }
    }

    /// What was asked for and cannot be had fails the job, as it does in a file: whoever printed it hears no answer.
    fn refuse_printed(&mut self, problem: &str) {
        let problem = self.values.mask_str(problem);
        let problem = format!("a request in the output was refused: {problem}");
        self.writer.say(None, &format!("error: {problem}"));
        self.refused.get_or_insert(problem);
    }

    fn ask_for(&mut self, request: TriggerRequest) -> Result<Value, Refusal> {
        for workflow_vars in request.workflows.iter().map(|workflow| &workflow.vars).chain([&request.vars]) {
            for (key, value) in workflow_vars {
                vars::check(key, value, &self.values).map_err(|problem| {
                    let code = if problem.contains("secret") { Code::Secret } else { Code::Name };
                    Refusal::new(code, problem)
                })?;
            }
        }
        let jobs = request.count();
        let accepted = self.asked_for.accept_now(request, &self.values)?;
        let duplicate = accepted.is_none();
        if let Some(request) = accepted {
            self.hand_on(request);
        }
        Ok(json!({"ok": true, "jobs": jobs, "duplicate": duplicate}))
    }

    /// Hands a request on that was accepted.
    pub(super) fn hand_on(&mut self, request: TriggerRequest) {
        if !request.vars.is_empty() {
            self.spec.context.vars.extend(request.vars.clone());
            if let Some(file) = &mut self.vars {
                file.update(&self.spec.context.vars);
            }
        }
        self.writer.frame(Body::Trigger { request });
    }

    fn output_said(
        &mut self,
        step: Option<String>,
        values: BTreeMap<String, Value>,
    ) -> Result<Value, Refusal> {
        let index = match &step {
            // The single step of a job that is a command has no name that anybody knows.
            None if !self.named => Some(0),
            None => None,
            Some(name) => {
                let index = self.steps.iter().position(|step| step.name == *name).filter(|_| self.named);
                let unknown =
                    || Refusal::new(Code::Name, self.values.mask_str(&format!("there is no step {name:?}")));
                Some(index.ok_or_else(unknown)?)
            }
        };
        for (key, value) in &values {
            vars::check(key, value, &self.values).map_err(|problem| {
                let code = if problem.contains("secret") { Code::Secret } else { Code::Name };
                Refusal::new(code, problem)
            })?;
        }
        let bytes = fits(&values).map_err(|problem| Refusal::new(Code::TooLarge, problem))?;
        self.may_say(bytes)?;
        if let Some(index) = index {
            let said = self.said.entry(index).or_default();
            said.extend(values.clone());
        }
        if !values.is_empty() {
            self.writer.frame(Body::Output { step, values });
        }
        Ok(json!({"ok": true}))
    }

    /// Counts what a job says of outputs and of what is next: these frames are kept for a reader who is slow.
    fn may_say(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.said_bytes + bytes > MAX_SAID_BYTES {
            let reason = format!("a job says at most {MAX_SAID_BYTES} bytes of outputs and of what is next");
            return Err(Refusal::new(Code::TooLarge, reason));
        }
        self.said_bytes += bytes;
        Ok(())
    }

    fn would_run(&mut self, next: Next) -> Result<Value, Refusal> {
        let bytes = fits(&next).map_err(|problem| Refusal::new(Code::TooLarge, problem))?;
        self.may_say(bytes)?;
        let reason = next.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let line = format!("next: {}{reason}", next.job);
        self.writer.say(None, &self.values.mask_str(&line));
        let masked = Next {
            job: self.values.mask_str(&next.job),
            reason: next.reason.map(|reason| self.values.mask_str(&reason)),
            depends_on: next.depends_on.iter().map(|name| self.values.mask_str(name)).collect(),
        };
        self.writer.frame(Body::Next(masked));
        Ok(json!({"ok": true}))
    }

    /// What is known of a job where nobody can be asked: what came of those that this one waited for.
    fn known_from_needs(&self, name: &str) -> Value {
        let Some(need) = self.spec.context.needs.get(name) else {
            return unavailable("nobody here knows other jobs: the runner was started by hand");
        };
        let outputs = need["outputs"].as_object().cloned().unwrap_or_default().into_iter().collect();
        let exit_code = need["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok());
        let state = need["result"].as_str().map(str::to_owned);
        answer_value(&Answer::Job(JobState { found: true, state, exit_code, outputs, ..JobState::default() }))
    }
}

fn answer_value(answer: &Answer) -> Value {
    let mut value = match answer {
        Answer::Job(state) => json!(state),
        Answer::Vars { vars } => json!({ "vars": vars }),
        Answer::Unavailable { reason } => return unavailable(reason),
        Answer::Unknown => return unavailable("the answer is of a newer version"),
    };
    value["ok"] = true.into();
    value
}

fn unavailable(reason: &str) -> Value {
    Refusal::new(Code::Unavailable, reason).to_value()
}

/// A client that has gone needs no answer.
fn reply(to: &SyncSender<Value>, answer: &Value) {
    let _ = to.try_send(answer.clone());
}
