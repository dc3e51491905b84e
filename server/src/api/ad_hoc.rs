//! Jobs that somebody asks for directly, with a repository, an image and a command.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::runs::RunFilter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::{Context, Json};
use super::problem::{commit_id, within};
use super::runs::{Run, idempotency_key};
use super::{Problem, Route};
use crate::ad_hoc::{AdHoc, ad_hoc};

/// The route of such jobs.
pub fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/jobs", create)
            .named("startJob", "jobs", "Runs one job without a pipeline, as a run of its own")
            .needs(Capability::RunsStart)
            .body::<StartJob>()
            .answers::<StartedJob>(201)
            .idempotent(),
    ]
}

/// A job to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartJob {
    /// The project whose default profile and share of the workers it has. Needed by who may not write in the whole
    /// workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub project: Option<String>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_-]{0,62}$"))]
    pub name: Option<String>,
    /// The git repository of its code. Absent: the project's, or no code where there is no project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[!-,.-~][!-~]{0,1999}$"))]
    pub git_url: Option<String>,
    /// A branch or tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[!-,.-~][!-~]{0,999}$"))]
    pub git_ref: Option<String>,
    /// A whole commit id, which counts before `git_ref`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{40}([0-9a-f]{24})?$"))]
    pub git_commit: Option<String>,
    /// What to run: text for a shell.
    #[schemars(length(min = 1, max = 100_000))]
    pub job_command: String,
    /// The image of its container.
    #[schemars(regex(pattern = r"^[!-,.-~][!-~]{0,999}$"))]
    pub job_image: String,
    /// Its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub job_env: BTreeMap<String, String>,
    /// Higher goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -100, max = 100))]
    pub priority: Option<i32>,
    /// How long it may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 604_800))]
    pub timeout: Option<u32>,
}

/// A job that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartedJob {
    /// The run that it is.
    pub run: Run,
    /// Its name in it.
    pub job: String,
    /// Where it is looked at.
    pub job_url: String,
    /// Where what it prints is read and followed.
    pub logs_url: String,
    /// Where the files are listed that it has kept.
    pub artifacts_url: String,
}

async fn create(
    context: Context,
    headers: HeaderMap,
    Json(body): Json<StartJob>,
) -> Result<impl IntoResponse, Problem> {
    context.may(Capability::RunsStart, body.project.as_deref())?;
    check(&body)?;
    let key = idempotency_key(&context, &headers, "jobs")?;
    let name = body.name.unwrap_or_else(|| "job".to_owned());
    let wanted = AdHoc {
        project: body.project,
        name: name.clone(),
        image: body.job_image,
        command: body.job_command,
        environment: body.job_env,
        git: body.git_url,
        reference: body.git_commit.or(body.git_ref),
        priority: body.priority,
        timeout: body.timeout,
    };
    let current = context.api.applied.current().await?;
    let begun = ad_hoc(&current.catalog, wanted, context.actor(), key)?;
    let mut run = Run::from(begun.record.clone());
    let started = context.api.conductor.start(begun).await?;
    if started.new {
        let detail = json!({"pipeline": run.pipeline, "job": name});
        context.note(Capability::RunsStart.as_str(), &format!("run/{}", run.id), detail).await?;
    } else {
        let filter = RunFilter::of(&started.run);
        let known = context.api.conductor.runs.runs(&filter).await?.pop();
        run = known.map(Run::from).ok_or_else(|| Problem::not_found("the run is gone"))?;
    }
    let job_url = format!("/api/v1/runs/{}/jobs/{name}", run.id);
    let (logs_url, artifacts_url) = (format!("{job_url}/log"), format!("{job_url}/artifacts"));
    let location = format!("/api/v1/runs/{}", run.id);
    let answer = StartedJob { run, job: name, job_url, logs_url, artifacts_url };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Answer(answer)))
}

/// What the types do not say.
fn check(body: &StartJob) -> Result<(), Problem> {
    let wrong = |what: &str| Err(Problem::unprocessable(what.to_owned()));
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    if let Some(name) = &body.name
        && !(name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.len() <= 63
            && name.bytes().all(is_word))
    {
        return wrong(
            "name: write a lower-case letter, then lower-case letters, digits, - and _; at most 63",
        );
    }
    if body.job_command.trim().is_empty() {
        return wrong("job_command: there is nothing to run");
    }
    commit_id("git_commit", body.git_commit.as_deref())?;
    within("job_command", Some(&body.job_command), 1, 100_000)?;
    // What begins with a dash would be an option of git.
    let texts = [
        ("git_url", body.git_url.as_ref(), 2000),
        ("git_ref", body.git_ref.as_ref(), 1000),
        ("job_image", Some(&body.job_image), 1000),
    ];
    for (field, text, most) in texts {
        let is_plain = |text: &String| {
            (1..=most).contains(&text.len())
                && !text.starts_with('-')
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if text.is_some_and(|text| !is_plain(text)) {
            return wrong(&format!(
                "{field}: write 1 to {most} visible ASCII characters, the first of which is no dash"
            ));
        }
    }
    if body.priority.is_some_and(|priority| !(-100..=100).contains(&priority)) {
        return wrong("priority is from -100 to 100");
    }
    if body.timeout.is_some_and(|timeout| !(1..=604_800).contains(&timeout)) {
        return wrong("timeout is from 1 to 604800 seconds");
    }
    let is_variable = |name: &String| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if let Some(name) = body.job_env.keys().find(|name| !is_variable(name)) {
        return wrong(&format!("job_env: {name:?} is no name of a variable"));
    }
    if body.job_env.values().any(|value| value.contains('\0')) || body.job_command.contains('\0') {
        return wrong("no variable and no command holds a NUL");
    }
    Ok(())
}
