//! Runs on a server.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use reactorcide_server::api::{
    CancelRun, JobRow, Page, QueueEntry, RetryRun, Run, RunDetail, StartRun, TransitionRow,
};
use serde_json::Value;

use crate::client::{self, Client};
use crate::commands::jobs::print;
use crate::exit::{Exit, Failure};
use crate::output::{duration, safe, used};
use crate::settings::Settings;
use crate::{report, time};

/// What to do with runs of a server.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Start a run of an applied pipeline
    Start(Box<StartArgs>),
    /// List runs, newest first
    List(ListArgs),
    /// Show a run and its jobs
    Show(OneArgs),
    /// Tell what is decided on a run, until it ends
    Watch(OneArgs),
    /// Tell every decision on a run, or on one of its jobs, and why
    Why {
        /// The run, by its id or the end of it
        run: String,
        /// Only what was decided on this job
        job: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Cancel a run
    Cancel {
        /// The run, by its id or the end of it
        run: String,
        /// Why, for people
        #[arg(long)]
        reason: Option<String>,
        /// Kill what runs at once
        #[arg(long)]
        force: bool,
    },
    /// Run a run that has ended once more
    Retry {
        /// The run, by its id or the end of it
        run: String,
        /// Only what did not succeed
        #[arg(long)]
        failed_only: bool,
        /// Wait for its end, and tell what is decided
        #[arg(long)]
        watch: bool,
    },
}

/// What to start.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// The pipeline: PROJECT/NAME, its address, or a name that only one has
    pipeline: String,
    /// The branch whose code is to be run
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The tag whose code is to be run
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// The commit whose code is to be run
    #[arg(long, value_name = "SHA")]
    sha: Option<String>,
    /// Set an input of the pipeline
    #[arg(long = "input", value_name = "NAME=VALUE")]
    inputs: Vec<String>,
    /// Set a variable of the run
    #[arg(long = "var", value_name = "NAME=VALUE")]
    vars: Vec<String>,
    /// Run only this job (may be given several times)
    #[arg(long = "job", value_name = "NAME")]
    jobs: Vec<String>,
    /// With --job: also everything that it waits for
    #[arg(long, requires = "jobs")]
    follow_needs: bool,
    /// Makes it one run however often it is asked for: with a key that was used before, that run is told
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait for its end, and tell what is decided
    #[arg(long)]
    watch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which runs.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Those of a project
    #[arg(long)]
    project: Option<String>,
    /// Those of a pipeline, by its address
    #[arg(long, value_name = "ADDRESS")]
    pipeline: Option<String>,
    /// Those that are waiting, running, succeeded, failed or cancelled
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which run.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The run, by its id or the end of it
    run: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does what is asked.
pub fn run(command: &RunsCommand, settings: &Settings) -> Result<Exit, Failure> {
    let client = Client::needed(settings)?;
    client::block_on(async {
        match command {
            RunsCommand::Start(arguments) => start(&client, arguments).await,
            RunsCommand::List(arguments) => list(&client, arguments).await,
            RunsCommand::Show(OneArgs { run, json }) => show(&client, run, *json).await,
            RunsCommand::Watch(OneArgs { run, json }) => {
                let run = resolve(&client, run).await?;
                watch(&client, &run, *json).await
            }
            RunsCommand::Why { run, job, json } => why(&client, run, job.as_deref(), *json).await,
            RunsCommand::Cancel { run, reason, force } => {
                let run = resolve(&client, run).await?;
                let body = CancelRun { reason: reason.clone(), force: *force };
                let _: Value = client.post(&format!("/runs/{run}/cancel"), &body).await?;
                Ok(Exit::Success)
            }
            RunsCommand::Retry { run, failed_only, watch: wait } => {
                let run = resolve(&client, run).await?;
                let body = RetryRun { failed_only: *failed_only };
                let again: Run = client.post(&format!("/runs/{run}/retry"), &body).await?;
                begun(&client, &again, *wait, false).await
            }
        }
    })
}

/// `runs` and `runs RUN` without a word of what to do.
pub fn list_or_show(client: &Client, run: Option<&str>, json: bool, limit: u32) -> Result<Exit, Failure> {
    client::block_on(async {
        match run {
            Some(run) => why(client, run, None, json).await,
            None => {
                let all = ListArgs { project: None, pipeline: None, status: None, limit, json };
                list(client, &all).await
            }
        }
    })
}

async fn start(client: &Client, arguments: &StartArgs) -> Result<Exit, Failure> {
    let pairs = crate::commands::run::assignments;
    let body = StartRun {
        pipeline: arguments.pipeline.clone(),
        branch: arguments.branch.clone(),
        tag: arguments.tag.clone(),
        sha: arguments.sha.clone(),
        inputs: pairs(&arguments.inputs, "--input")?,
        vars: pairs(&arguments.vars, "--var")?,
        jobs: arguments.jobs.clone(),
        follow_needs: arguments.follow_needs,
    };
    let run: Run = client.post_once("/runs", &body, arguments.idempotency_key.as_deref()).await?;
    begun(client, &run, arguments.watch, arguments.json).await
}

/// Tells of a run that has begun, and waits for its end where somebody wants to.
async fn begun(client: &Client, run: &Run, wait: bool, json: bool) -> Result<Exit, Failure> {
    if json {
        print([serde_json::to_string(run).unwrap_or_default()])?;
    } else {
        print([run.id.clone()])?;
    }
    if wait { watch(client, &run.id, json).await } else { Ok(Exit::Success) }
}

async fn list(client: &Client, arguments: &ListArgs) -> Result<Exit, Failure> {
    let mut query = vec![("limit", arguments.limit.to_string())];
    query.extend(arguments.project.clone().map(|project| ("project", project)));
    query.extend(arguments.pipeline.clone().map(|pipeline| ("pipeline", pipeline)));
    query.extend(arguments.status.clone().map(|status| ("status", status)));
    let page: Page<Run> = client.get("/runs", &query).await?;
    print(page.items.iter().map(|run| {
        if arguments.json { serde_json::to_string(run).unwrap_or_default() } else { run_line(run) }
    }))
}

fn run_line(run: &Run) -> String {
    let took = run.ended_at.map_or_else(String::new, |end| duration(end - run.started_at));
    let at = time::timestamp(u64::try_from(run.started_at).unwrap_or_default());
    format!(
        "{}  {at}  {:<9} {took:>8}  {} ({}) by {}",
        run.id,
        run.status,
        safe(&run.pipeline),
        safe(&run.event),
        safe(&run.actor)
    )
}

/// A job in one line.
pub fn job_line(job: &JobRow) -> String {
    let took = match (job.started_at, job.ended_at) {
        (Some(start), Some(end)) => duration(end - start),
        _ => String::new(),
    };
    let used = job.usage.as_ref().map(|usage| format!("  [{}]", used(usage))).unwrap_or_default();
    format!("{:<24} {:<9} {took:>8}  {}{used}", safe(&job.name), job.status, safe(&job.reason))
}

async fn show(client: &Client, run: &str, json: bool) -> Result<Exit, Failure> {
    let run = resolve(client, run).await?;
    let detail: RunDetail = client.get(&format!("/runs/{run}"), &[]).await?;
    if json {
        return print([serde_json::to_string(&detail).unwrap_or_default()]);
    }
    let mut lines = vec![run_line(&detail.run)];
    if let Some(earlier) = &detail.run.retry_of {
        lines.push(format!("  repeats     {earlier}"));
    }
    if let Some(waits) = &detail.waits_for {
        lines.push(format!("  waits for   {}: {}", waits.gate, safe(&waits.reason)));
        let of = [("author", &waits.author), ("head", &waits.head), ("base", &waits.base)];
        let profile = waits.profile.as_ref().map(|profile| ("profile", profile));
        for (what, value) in of.into_iter().chain(profile).filter(|(_, value)| !value.is_empty()) {
            lines.push(format!("  {what:<11} {}", safe(value)));
        }
    }
    lines.extend(detail.approved_by.as_ref().map(|by| format!("  {:<11} {}", "approved by", safe(by))));
    lines.extend(detail.trace_id.as_ref().map(|id| format!("  {:<11} {id}", "trace")));
    let said = |what: &str, values: &BTreeMap<String, Value>| {
        let texts: Vec<String> = values
            .iter()
            .map(|(name, value)| format!("{}={}", safe(name), safe(&value.to_string())))
            .collect();
        (!texts.is_empty()).then(|| format!("  {what:<11} {}", texts.join(" ")))
    };
    let of_event =
        |name: &str| detail.trigger.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let (Some(schedule), Some(due)) = (of_event("schedule"), of_event("due")) {
        lines.push(format!("  schedule    {}, due at {}", safe(schedule), safe(due)));
    }
    lines.extend(said("inputs", &detail.inputs));
    lines.extend(said("vars", &detail.vars));
    lines.extend(detail.jobs.iter().map(job_line));
    lines.extend(detail.removed.iter().map(|gone| {
        let what = match &gone.name {
            Some(name) => format!("the {} {:?} was", gone.what, safe(name)),
            None => format!("its {} were", gone.what),
        };
        format!("  {what} removed on {}: {}", crate::time::date(gone.at.unsigned_abs()), safe(&gone.reason))
    }));
    print(lines)
}

/// Tells what is decided on a run until it ends; how that was is how the command ends.
async fn watch(client: &Client, run: &str, json: bool) -> Result<Exit, Failure> {
    let mut end = None;
    client
        .follow(&format!("/runs/{run}/events"), &[], |_, data| {
            for line in data {
                let Ok(row) = serde_json::from_str::<TransitionRow>(line) else { continue };
                if row.job.is_none() {
                    end = Some(row.to.clone());
                }
                let text = if json { (*line).to_owned() } else { decision_line(&row) };
                print([text])?;
            }
            Ok(())
        })
        .await?;
    match end.as_deref() {
        Some("succeeded") => Ok(Exit::Success),
        Some("cancelled") => Ok(Exit::Interrupted),
        Some(_) => Ok(Exit::Failed),
        None => Err(Failure::new("the server stopped telling of the run before its end")
            .hint(format!("`reactorcide runs watch {run}` goes on"))),
    }
}

fn decision_line(row: &TransitionRow) -> String {
    let at = time::timestamp(u64::try_from(row.at).unwrap_or_default());
    let job = row.job.as_deref().unwrap_or("the run");
    format!("{at}  {:<20} {:<9} {}", safe(job), row.to, safe(&row.reason))
}

async fn why(client: &Client, run: &str, job: Option<&str>, json: bool) -> Result<Exit, Failure> {
    let run = resolve(client, run).await?;
    let mut cursor: Option<String> = None;
    let mut found = false;
    loop {
        let mut query = vec![("limit", "1000".to_owned())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: Page<TransitionRow> = client.get(&format!("/runs/{run}/transitions"), &query).await?;
        let rows = page.items.iter().filter(|row| job.is_none_or(|job| row.job.as_deref() == Some(job)));
        let lines: Vec<String> = rows
            .map(|row| if json { serde_json::to_string(row).unwrap_or_default() } else { decision_line(row) })
            .collect();
        found |= !lines.is_empty();
        print(lines)?;
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    if !json {
        let waiting = waiting(client, &run, job).await;
        found |= !waiting.is_empty();
        print(waiting)?;
    }
    if let (false, Some(job)) = (found, job) {
        report::note(&format!("nothing was decided on {job:?} yet, or the run has no such job"));
    }
    Ok(Exit::Success)
}

/// What the jobs of a run that no worker has wait for now. Nothing for who may not see the queue.
async fn waiting(client: &Client, run: &str, job: Option<&str>) -> Vec<String> {
    let entries = async {
        let run: RunDetail = client.get(&format!("/runs/{run}"), &[]).await?;
        let mut query = vec![("run", run.run.id), ("limit", "1000".to_owned())];
        query.extend(run.run.project.map(|project| ("project", project)));
        client.get::<Page<QueueEntry>>("/queue", &query).await
    };
    let Ok(entries) = entries.await else { return Vec::new() };
    let wanted = entries.items.into_iter().filter(|entry| job.is_none_or(|job| entry.job == job));
    let line = |entry: QueueEntry| format!("now: {} waits for {}", safe(&entry.job), safe(&entry.waits_for));
    wanted.filter(|entry| entry.worker.is_none()).map(line).collect()
}

/// The run that a text means: an id, or the end of one.
pub async fn resolve(client: &Client, text: &str) -> Result<String, Failure> {
    if text.len() == 36 {
        return Ok(text.to_owned());
    }
    let query = [("id", text.to_owned()), ("limit", "2".to_owned())];
    let page: Page<Run> = client.get("/runs", &query).await?;
    match page.items.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => {
            Err(Failure::new(format!("there is no run {text:?}")).hint("`reactorcide runs list` lists them"))
        }
        _ => Err(Failure::new(format!("{text:?} means several runs")).hint("give more of the id")),
    }
}

/// A text as one part of a path.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
