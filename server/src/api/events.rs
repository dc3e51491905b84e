//! Events that programs send: which pipelines of a project they start, and why not the others.

use axum::Json as Answer;
use axum::http::{HeaderMap, StatusCode};
use reactorcide_engine::address::Address;
use reactorcide_engine::audit::{Draft, Outcome};
use reactorcide_engine::config::{EventType, Kind, Spec};
use reactorcide_engine::identity::Capability;
use reactorcide_engine::proposal::Told;
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::trigger_match::{RunEvent, starts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::context::{Context, Json};
use super::problem::{commit_id, within};
use super::runs::idempotency_key;
use super::{Api, Problem, Route};
use crate::applied::Current;
use crate::conductor::now;
use crate::start::{StartError, Wanted, start};

/// For how long events that say the same are one, in milliseconds, where nothing else tells them apart.
const WINDOW: Millis = 60_000;

/// The route of events.
pub fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/events", create)
            .named(
                "sendEvent",
                "runs",
                "Sends an event, which starts the pipelines of a project that have a trigger for it. Answered once all runs \
                 that it starts can no longer be lost; sent again with its delivery id, or without one within a minute, it starts \
                 none twice",
            )
            .needs(Capability::EventsSend)
            .body::<SendEvent>()
            .answers::<Delivered>(202)
            .problems(&[404])
            .idempotent(),
    ]
}

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("additionalProperties" = false))]
pub struct SendEvent {
    /// The project whose pipelines it may start.
    #[schemars(length(min = 1, max = 128))]
    pub project: String,
    /// Its type.
    #[serde(rename = "type", default)]
    pub kind: EventWord,
    /// What it is about.
    #[serde(flatten)]
    pub data: EventData,
}

/// What an event is about, whoever sends it. All of it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventData {
    /// The branch that it says it is about. It is a claim of who sends it: it makes no code trusted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1000))]
    pub branch: String,
    /// The tag that it says it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1000))]
    pub tag: String,
    /// The commit that it says it is about: a whole id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{40}([0-9a-f]{24})?$"))]
    pub sha: Option<String>,
    /// The files that it says were changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10_000))]
    pub changed_files: Vec<String>,
    /// Makes it one event however often it comes. Without one, and without an `Idempotency-Key`, what says the same is one
    /// event for a minute; a signed one is known by what was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[!-~]{1,128}$"))]
    pub delivery_id: Option<String>,
}

/// The types of events that programs may send. Those of forges come from forges alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventWord {
    /// A program asks for it.
    #[default]
    Api,
    /// Something elsewhere happened.
    Webhook,
}

impl EventWord {
    fn as_str(self) -> &'static str {
        EventType::from(self).as_str()
    }
}

impl From<EventWord> for EventType {
    fn from(word: EventWord) -> Self {
        match word {
            EventWord::Api => Self::Api,
            EventWord::Webhook => Self::Webhook,
        }
    }
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delivered {
    /// Runs that it started, now or when it came before.
    pub started: Vec<StartedRun>,
    /// Pipelines that it did not start.
    pub others: Vec<NotStarted>,
}

/// A run that an event started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartedRun {
    /// The address of the pipeline.
    pub pipeline: String,
    /// The run.
    pub run: String,
    /// Whether this request started it; else the same event had before.
    pub new: bool,
}

/// A pipeline that an event did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotStarted {
    /// The address of the pipeline.
    pub pipeline: String,
    /// Why not.
    pub reasons: Vec<String>,
}

async fn create(
    context: Context,
    headers: HeaderMap,
    Json(body): Json<SendEvent>,
) -> Result<(StatusCode, Answer<Delivered>), Problem> {
    context.may(Capability::EventsSend, Some(&body.project))?;
    let current = context.api.applied.current().await?;
    if !current.catalog.contains_key(&Address::new(Kind::Project, None, &body.project)) {
        return Err(Problem::not_found(format!("there is no project {:?}", body.project)));
    }
    let given = idempotency_key(&context, &headers, "events")?;
    let SendEvent { project, kind, data } = body;
    let named = data.delivery_id.as_ref().map(|id| format!("events {} {id}", context.caller.principal));
    let delivery = match named.or(given) {
        Some(key) => Delivery::known(key),
        None => {
            Delivery::said(&format!("{} {project} {}", context.caller.principal, kind.as_str()), &data, now())
        }
    };
    let event = event_of(kind.into(), data)?;
    let sender = Sender { api: &context.api, actor: context.actor(), request: context.request.clone() };
    let delivered = deliver(&sender, &current, &project, &event, None, &delivery).await?;
    Ok((StatusCode::ACCEPTED, Answer(delivered)))
}

/// By what an event is known when it comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Its key.
    key: String,
    /// The key that it had if it came before, for one that is known by what it says for a while.
    before: Option<String>,
}

impl Delivery {
    /// One with a key of its own, for ever.
    pub fn known(key: String) -> Self {
        Self { key, before: None }
    }

    /// One that says nothing of itself: it is known by who sends what, for at least [`WINDOW`] and at most twice as long.
    fn said(by: &str, data: &EventData, now: Millis) -> Self {
        let said = serde_json::to_vec(&(by, data)).unwrap_or_default();
        let digest: String = Sha256::digest(said).iter().map(|byte| format!("{byte:02x}")).collect();
        let key = |window: Millis| format!("events body {digest} {window}");
        let window = now.div_euclid(WINDOW);
        Self { key: key(window), before: Some(key(window - 1)) }
    }
}

/// An event of what was said, if that can be.
pub(super) fn event_of(kind: EventType, data: EventData) -> Result<RunEvent, Problem> {
    let EventData { branch, tag, sha, changed_files, delivery_id } = data;
    let is_id = |id: &str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if delivery_id.is_some_and(|id| !is_id(&id)) {
        return Err(Problem::unprocessable("delivery_id is 1 to 128 visible ASCII characters"));
    }
    within("branch", Some(&branch), 0, 1000)?;
    within("tag", Some(&tag), 0, 1000)?;
    if changed_files.len() > 10_000 {
        return Err(Problem::unprocessable("changed_files has at most 10000 files"));
    }
    commit_id("sha", sha.as_deref())?;
    let sha = sha.unwrap_or_default();
    Ok(RunEvent { branch, tag, sha, changed_files, ..RunEvent::of(kind) })
}

/// Who sends an event.
pub(super) struct Sender<'a> {
    /// The server.
    pub api: &'a Api,
    /// Who, in the audit log.
    pub actor: String,
    /// The request.
    pub request: String,
}

/// Starts every pipeline of a project that has a trigger for an event. Each run has a key of its own, so that what was cut
/// off in the middle is completed by the same event again, and nothing starts twice.
pub(super) async fn deliver(
    sender: &Sender<'_>,
    current: &Current,
    project: &str,
    event: &RunEvent,
    told: Option<&Told>,
    delivery: &Delivery,
) -> Result<Delivered, Problem> {
    let mut delivered = Delivered { started: Vec::new(), others: Vec::new() };
    let pipelines = current.catalog.iter().filter_map(|(address, resource)| match &resource.spec {
        Spec::Pipeline(spec) if address.project.as_deref() == Some(project) => Some((address, spec)),
        _ => None,
    });
    for (address, spec) in pipelines {
        let pipeline = address.to_string();
        if let Err(reasons) = starts(spec, event) {
            delivered.others.push(NotStarted { pipeline, reasons });
            continue;
        }
        if let Some(before) = &delivery.before
            && let Some(run) = sender.api.conductor.runs.delivered(&format!("{before} {pipeline}")).await?
        {
            delivered.started.push(StartedRun { pipeline, run, new: false });
            continue;
        }
        let wanted = Wanted {
            pipeline: address.clone(),
            event: event.clone(),
            inputs: Default::default(),
            vars: Default::default(),
            selection: None,
            actor: sender.actor.clone(),
            told: told.cloned(),
        };
        let begun = match start(&current.catalog, wanted, Some(format!("{} {pipeline}", delivery.key))) {
            Ok(begun) => begun,
            Err(
                error @ StartError::NoPipeline { .. }
                | error @ StartError::Broken(_)
                | error @ StartError::Refused(_),
            ) => {
                delivered.others.push(NotStarted { pipeline, reasons: vec![error.to_string()] });
                continue;
            }
        };
        let started = sender.api.conductor.start(begun).await?;
        if started.new {
            let detail =
                json!({"pipeline": pipeline, "event": event.kind.as_str(), "delivery": delivery.key});
            let draft = Draft {
                at: now(),
                actor: sender.actor.clone(),
                action: Capability::EventsSend.as_str().to_owned(),
                target: format!("run/{}", started.run),
                outcome: Outcome::Done,
                detail: detail.into(),
                request: Some(sender.request.clone()),
            };
            sender.api.audit.append(&[draft]).await?;
        }
        delivered.started.push(StartedRun { pipeline, run: started.run, new: started.new });
    }
    Ok(delivered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_the_same_is_one_event_for_a_window_at_least() {
        let data = |branch: &str| EventData { branch: branch.into(), ..EventData::default() };
        let at = |now| Delivery::said("user:ada web api", &data("main"), now);
        let (first, last) = (at(0), at(WINDOW - 1));
        assert_eq!(first, last);
        assert_eq!(at(WINDOW + WINDOW - 1).before.as_ref(), Some(&first.key));
        let later = at(WINDOW * 2);
        assert!(later.key != first.key && later.before.as_ref() != Some(&first.key));
        assert_ne!(Delivery::said("user:ada web api", &data("x"), 0), first);
        assert_ne!(Delivery::said("user:eve web api", &data("main"), 0), first);
    }
}
