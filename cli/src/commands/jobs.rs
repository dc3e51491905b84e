//! `reactorcide jobs`: the jobs of a run on a server, what they printed, and stopping them.

mod attach;
mod printer;
mod start;

use std::io::Write;

use clap::{Args, Subcommand};
use reactorcide_server::api::{JobDetail, RunDetail, StopJob};
use serde_json::Value;

use self::printer::Printer;
use super::runs::{escape, job_line, resolve};
use crate::client::{self, Client};
use crate::exit::{Exit, Failure};
use crate::output::{safe, used};
use crate::settings::Settings;
use crate::time;

/// Options of `jobs`.
#[derive(Debug, Args)]
pub struct JobsArgs {
    #[command(subcommand)]
    command: JobsCommand,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    /// Run one job without a pipeline
    Start(Box<start::StartArgs>),
    /// Follow a job to its end through all its attempts; Ctrl-C leaves it as it is
    Attach(attach::AttachArgs),
    /// List the jobs of a run
    List {
        /// The run, by its id or the end of it
        run: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a job: where it is, why, what it waits for
    Show {
        /// The run
        run: String,
        /// The job
        job: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what a job printed
    Logs {
        /// The run
        run: String,
        /// The job
        job: String,
        /// Go on as it prints
        #[arg(long, short)]
        follow: bool,
        /// The attempt [default: the last one]
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
        /// Print the frames as they are, a JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Stop a job; the others of its run go on
    Cancel(StopArgs),
    /// Kill a job at once
    Kill(StopArgs),
}

#[derive(Debug, Args)]
struct StopArgs {
    /// The run
    run: String,
    /// The job
    job: String,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
}

/// Does what is asked.
pub fn jobs(arguments: &JobsArgs, settings: &Settings) -> Result<Exit, Failure> {
    let client = Client::needed(settings)?;
    client::block_on(async {
        match &arguments.command {
            JobsCommand::Start(arguments) => start::start(&client, arguments).await,
            JobsCommand::Attach(arguments) => attach::attach(&client, arguments).await,
            JobsCommand::List { run, json } => {
                let run = resolve(&client, run).await?;
                let detail: RunDetail = client.get(&format!("/runs/{run}"), &[]).await?;
                print(detail.jobs.iter().map(|job| if *json { to_json(job) } else { job_line(job) }))
            }
            JobsCommand::Show { run, job, json } => {
                let run = resolve(&client, run).await?;
                let detail: JobDetail = client.get(&path(&run, job), &[]).await?;
                if *json { print([to_json(&detail)]) } else { print(show(&detail)) }
            }
            JobsCommand::Logs { run, job, follow, attempt, json } => {
                let run = resolve(&client, run).await?;
                logs(&client, &run, job, *follow, *attempt, *json).await
            }
            JobsCommand::Cancel(stop) => cancel(&client, stop, false).await,
            JobsCommand::Kill(stop) => cancel(&client, stop, true).await,
        }
    })
}

fn path(run: &str, job: &str) -> String {
    format!("/runs/{run}/jobs/{}", escape(job))
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Prints lines.
pub fn print(lines: impl IntoIterator<Item = String>) -> Result<Exit, Failure> {
    let mut out = crate::stdout::stdout();
    for line in lines {
        writeln!(out, "{line}").map_err(|error| Failure::new(format!("cannot print: {error}")))?;
    }
    Ok(Exit::Success)
}

fn show(detail: &JobDetail) -> Vec<String> {
    let mut lines = vec![job_line(&detail.job)];
    if !detail.depends_on.is_empty() {
        lines.push(format!("  waits for   {}", detail.depends_on.join(", ")));
    }
    if let Some(queue) = &detail.queue {
        lines.push(format!("  in queue    {}: {}", queue.status, safe(&queue.waits_for)));
    }
    for (name, value) in &detail.outputs {
        lines.push(format!("  output      {} = {}", safe(name), safe(&value.to_string())));
    }
    lines.extend(detail.used.iter().map(|one| {
        let attempt = if one.attempt > 1 { format!("attempt {}: ", one.attempt) } else { String::new() };
        format!("  used        {attempt}{}", used(&one.usage))
    }));
    lines.extend(detail.decisions.iter().map(|decision| {
        let at = time::timestamp(u64::try_from(decision.at).unwrap_or_default());
        format!("  {at}  {:<9} {}", decision.to, safe(&decision.reason))
    }));
    lines
}

async fn logs(
    client: &Client,
    run: &str,
    job: &str,
    follow: bool,
    attempt: Option<u32>,
    json: bool,
) -> Result<Exit, Failure> {
    let path = format!("{}/log", path(run, job));
    let mut query: Vec<(&str, String)> = Vec::new();
    query.extend(attempt.map(|attempt| ("attempt", attempt.to_string())));
    let mut printer = Printer::default();
    if follow {
        client
            .follow(&path, &query, |_, lines| {
                lines.iter().try_for_each(|line| printer.frame(line.as_bytes(), json))
            })
            .await?;
    } else {
        let mut offset = 0_u64;
        loop {
            let mut query = query.clone();
            query.push(("offset", offset.to_string()));
            let response = client.bytes(&path, &query, "application/x-ndjson").await?;
            let next =
                response.headers().get("x-next-offset").and_then(|value| value.to_str().ok()?.parse().ok());
            let bytes = response
                .bytes()
                .await
                .map_err(|error| Failure::new(format!("the log broke off: {error}")))?;
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                printer.frame(line, json)?;
            }
            match next {
                Some(next) if next > offset => offset = next,
                _ => break,
            }
        }
    }
    printer.flush()?;
    Ok(Exit::Success)
}

async fn cancel(client: &Client, stop: &StopArgs, force: bool) -> Result<Exit, Failure> {
    let run = resolve(client, &stop.run).await?;
    let body = StopJob { reason: stop.reason.clone(), force };
    let _: Value = client.post(&format!("{}/cancel", path(&run, &stop.job)), &body).await?;
    Ok(Exit::Success)
}
