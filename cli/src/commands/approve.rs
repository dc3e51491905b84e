//! `reactorcide approve`: lets a run begin that waits for somebody's approval, or a job of it deploy.

use std::io::Write;

use clap::Args;
use reactorcide_server::api::{ApprovePullRequest, ApproveRun, Approved};

use super::runs::{escape, resolve};
use crate::client::{self, Client};
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::settings::Settings;

/// Options of `approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The run, by its id or the end of it
    #[arg(required_unless_present = "pull_request", conflicts_with = "pull_request")]
    run: Option<String>,
    /// The job that may deploy, where several wait
    #[arg(long, value_name = "NAME", conflicts_with = "pull_request")]
    job: Option<String>,
    /// Every run of this pull request that waits
    #[arg(long, value_name = "NUMBER", requires_all = ["head", "project"])]
    pull_request: Option<u64>,
    /// The project of the pull request
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// The commit that was looked at: if it is another one by now, nothing is approved
    #[arg(long, value_name = "SHA")]
    head: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Approves what is asked for.
pub fn approve(arguments: &ApproveArgs, settings: &Settings) -> Result<Exit, Failure> {
    let client = Client::needed(settings)?;
    let approved: Vec<Approved> = client::block_on(async {
        match (&arguments.run, arguments.pull_request) {
            (Some(run), _) => {
                let run = resolve(&client, run).await?;
                let body = ApproveRun { job: arguments.job.clone(), head: arguments.head.clone() };
                Ok(vec![client.post(&format!("/runs/{run}/approve"), &body).await?])
            }
            (None, number) => {
                let (Some(number), Some(project), Some(head)) = (number, &arguments.project, &arguments.head)
                else {
                    return Err(Failure::new("say which run, or --project, --pull-request and --head")
                        .exit(Exit::Usage));
                };
                let path = format!("/projects/{}/pull-requests/{number}/approve", escape(project));
                client.post(&path, &ApprovePullRequest { head: head.clone() }).await
            }
        }
    })?;
    let mut out = crate::stdout::stdout();
    for one in &approved {
        let written = if arguments.json {
            writeln!(out, "{}", serde_json::to_string(one).unwrap_or_default())
        } else {
            let job = one.job.as_ref().map(|job| format!("{} of ", safe(job))).unwrap_or_default();
            writeln!(out, "approved {job}{} ({}) as {}", one.run, safe(&one.pipeline), safe(&one.by))
        };
        written.map_err(|error| Failure::new(format!("cannot print: {error}")))?;
    }
    Ok(Exit::Success)
}
