//! `reactorcide jobs attach`: a job as it goes on, through all its attempts, until it ends or somebody has seen enough.

use std::cell::Cell;
use std::time::Duration;

use clap::Args;
use reactorcide_server::api::TransitionRow;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::path;
use super::printer::Printer;
use crate::client::Client;
use crate::commands::runs::resolve;
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::report;

/// How long the rest of a log may take once its job has ended.
const REST: Duration = Duration::from_secs(30);

/// Which job.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The run, by its id or the end of it
    run: String,
    /// The job
    job: String,
}

/// Follows a job to its end; how that was is how the command ends. Ctrl-C leaves the job as it is.
pub async fn attach(client: &Client, arguments: &AttachArgs) -> Result<Exit, Failure> {
    let run = resolve(client, &arguments.run).await?;
    let job = arguments.job.as_str();
    // That there is no such job is said at once.
    let _: serde_json::Value = client.get(&path(&run, job), &[]).await?;
    follow(client, &run, job).await
}

/// The same for a job that is there.
pub async fn follow(client: &Client, run: &str, job: &str) -> Result<Exit, Failure> {
    let (started, attempts) = unbounded_channel();
    let both = async {
        let (end, printed) =
            tokio::join!(decisions(client, run, job, started), logs(client, run, job, attempts));
        printed?;
        end
    };
    tokio::select! {
        end = both => ended(run, job, end?.as_deref()),
        _ = tokio::signal::ctrl_c() => {
            report::note(&format!(
                "detached: the job goes on; `reactorcide jobs attach {run} {job}` comes back to it"
            ));
            Ok(Exit::Interrupted)
        }
    }
}

fn ended(run: &str, job: &str, end: Option<&str>) -> Result<Exit, Failure> {
    match end {
        Some("succeeded") => Ok(Exit::Success),
        Some("cancelled") => Ok(Exit::Interrupted),
        Some(_) => Ok(Exit::Failed),
        None => Err(Failure::new("the server stopped telling of the job before its end")
            .hint(format!("`reactorcide jobs attach {run} {job}` goes on"))),
    }
}

/// Says what is decided on a job, and passes on which attempts begin. Returns what it ended as.
async fn decisions(
    client: &Client,
    run: &str,
    job: &str,
    started: UnboundedSender<u32>,
) -> Result<Option<String>, Failure> {
    let end = Cell::new(None);
    let over = || Failure::new("the job has ended");
    let told = client
        .follow(&format!("/runs/{run}/events"), &[], |_, data| {
            for line in data {
                let Ok(row) = serde_json::from_str::<TransitionRow>(line) else { continue };
                if row.job.as_deref() != Some(job) {
                    continue;
                }
                let attempt = row.attempt.filter(|attempt| *attempt > 1);
                let attempt = attempt.map_or_else(String::new, |attempt| format!(" (attempt {attempt})"));
                report::note(&format!("{job} is {}{attempt}: {}", row.to, safe(&row.reason)));
                match row.to.as_str() {
                    "running" => drop(started.send(row.attempt.unwrap_or(1))),
                    "succeeded" | "failed" | "skipped" | "cancelled" => {
                        end.set(Some(row.to));
                        return Err(over());
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await;
    match (end.take(), told) {
        (Some(end), _) => Ok(Some(end)),
        (None, told) => told.map(|()| None),
    }
}

/// Prints the log of each attempt, one after the other.
async fn logs(
    client: &Client,
    run: &str,
    job: &str,
    mut attempts: UnboundedReceiver<u32>,
) -> Result<(), Failure> {
    let log = format!("{}/log", path(run, job));
    let mut last = 0;
    while let Some(attempt) = attempts.recv().await {
        if attempt <= last {
            continue;
        }
        last = attempt;
        let mut printer = Printer::default();
        let query = [("attempt", attempt.to_string())];
        {
            let following = client.follow(&log, &query, |_, lines| {
                lines.iter().try_for_each(|line| printer.frame(line.as_bytes(), false))
            });
            tokio::pin!(following);
            tokio::select! {
                told = &mut following => told?,
                // The log of a worker that is gone may have no end.
                () = after(&mut attempts) => {}
            }
        }
        printer.flush()?;
    }
    Ok(())
}

/// A while after the job has ended.
async fn after(attempts: &mut UnboundedReceiver<u32>) {
    while !attempts.is_closed() || !attempts.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(REST).await;
}
