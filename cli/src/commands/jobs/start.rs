//! `reactorcide jobs start`: one job without a pipeline, on a server.

use std::collections::BTreeMap;

use clap::Args;
use reactorcide_engine::config::value::Duration;
use reactorcide_server::api::{StartJob, StartedJob};

use super::attach::follow;
use super::print;
use crate::client::Client;
use crate::exit::{Exit, Failure};

/// What to run.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// What to run: text for a shell
    #[arg(value_name = "COMMAND")]
    command: String,
    /// The image of its container
    #[arg(long)]
    image: String,
    /// The project whose default profile and share of the workers it has
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// What it is called [default: job]
    #[arg(long)]
    name: Option<String>,
    /// The git repository of its code [default: the project's, or no code without a project]
    #[arg(long, value_name = "URL")]
    source_url: Option<String>,
    /// The branch or tag of its code
    #[arg(long, value_name = "REF")]
    source_ref: Option<String>,
    /// The commit of its code, which counts before --source-ref
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    /// A variable of its environment (may be given several times)
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Higher goes first, from -100 to 100
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// How long it may take
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// Follow it to its end; how that was is how the command ends
    #[arg(long)]
    watch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Starts it.
pub async fn start(client: &Client, arguments: &StartArgs) -> Result<Exit, Failure> {
    let timeout = arguments.timeout.map(|timeout| {
        // Less than a second is not no time.
        let seconds = timeout.to_std().as_millis().div_ceil(1000);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    });
    let body = StartJob {
        project: arguments.project.clone(),
        name: arguments.name.clone(),
        git_url: arguments.source_url.clone(),
        git_ref: arguments.source_ref.clone(),
        git_commit: arguments.commit.clone(),
        job_command: arguments.command.clone(),
        job_image: arguments.image.clone(),
        job_env: environment(&arguments.environment)?,
        priority: arguments.priority,
        timeout,
    };
    let started: StartedJob = client.post("/jobs", &body).await?;
    let run = started.run.id.clone();
    let shown =
        if arguments.json { serde_json::to_string(&started).unwrap_or_default() } else { run.clone() };
    if !arguments.watch {
        return print([shown]);
    }
    // What the job prints is what is printed.
    crate::report::note(&shown);
    follow(client, &run, &started.job).await
}

fn environment(pairs: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |pair: &String| {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Failure::new(format!("--env {pair} says no value")).hint("write NAME=VALUE").exit(Exit::Usage)
        })?;
        Ok((name.to_owned(), value.to_owned()))
    };
    pairs.iter().map(pair).collect()
}
