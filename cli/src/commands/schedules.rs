//! `reactorcide schedules`: what a server starts by the clock.

use clap::{Args, Subcommand};
use reactorcide_server::api::{Page, ScheduleRow};

use super::jobs::print;
use super::runs::escape;
use crate::client::{self, Client};
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::settings::Settings;
use crate::time;

/// Options of `schedules`.
#[derive(Debug, Args)]
pub struct SchedulesArgs {
    #[command(subcommand)]
    command: SchedulesCommand,
}

#[derive(Debug, Subcommand)]
enum SchedulesCommand {
    /// List schedules with their next and last starts
    List {
        /// Only those of this project
        #[arg(long)]
        project: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// How many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
    },
    /// Show a schedule: its next starts, its last run, and what it left out
    Show {
        /// The schedule, as PROJECT/NAME
        schedule: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does what is asked.
pub fn schedules(arguments: &SchedulesArgs, settings: &Settings) -> Result<Exit, Failure> {
    let client = Client::needed(settings)?;
    client::block_on(async {
        match &arguments.command {
            SchedulesCommand::List { project, json, limit } => {
                let mut query = vec![("limit", limit.to_string())];
                query.extend(project.clone().map(|project| ("project", project)));
                let page: Page<ScheduleRow> = client.get("/schedules", &query).await?;
                print(page.items.iter().map(|row| {
                    if *json { serde_json::to_string(row).unwrap_or_default() } else { line(row) }
                }))
            }
            SchedulesCommand::Show { schedule, json } => {
                let (project, name) = schedule.split_once('/').ok_or_else(|| {
                    Failure::new(format!("{schedule:?} names no project"))
                        .hint("write PROJECT/NAME")
                        .exit(Exit::Usage)
                })?;
                let path = format!("/schedules/{}/{}", escape(project), escape(name));
                let row: ScheduleRow = client.get(&path, &[]).await?;
                if *json {
                    return print([serde_json::to_string_pretty(&row).unwrap_or_default()]);
                }
                print(lines(&row))
            }
        }
    })
}

fn at(millis: i64) -> String {
    time::timestamp(millis.unsigned_abs())
}

fn name(row: &ScheduleRow) -> String {
    match &row.project {
        Some(project) => format!("{}/{}", safe(project), safe(&row.name)),
        None => safe(&row.name).to_string(),
    }
}

fn line(row: &ScheduleRow) -> String {
    let next = row.next.first().map_or_else(|| row.status.clone(), |next| format!("next {}", at(*next)));
    let last = row.last_due.map_or_else(|| "never ran".to_owned(), |last| format!("last {}", at(last)));
    format!("{:<24} {next:<25} {last:<25} {} {}", name(row), safe(&row.cron), safe(&row.timezone))
}

fn lines(row: &ScheduleRow) -> Vec<String> {
    let mut lines = vec![
        format!("{} starts {}", name(row), safe(&row.pipeline)),
        format!("  when    {} ({})", safe(&row.cron), safe(&row.timezone)),
        format!("  status  {}", row.status),
    ];
    lines.extend(
        row.next
            .iter()
            .enumerate()
            .map(|(index, next)| format!("  {:<7} {}", if index == 0 { "next" } else { "" }, at(*next))),
    );
    if let (Some(due), Some(run)) = (row.last_due, &row.last_run) {
        lines.push(format!("  last    {}: run {}", at(due), safe(run)));
    }
    if let (Some(due), Some(reason)) = (row.skipped_due, &row.skipped_reason) {
        lines.push(format!("  skipped {}: {}", at(due), safe(reason)));
    }
    if row.missed > 0 {
        lines.push(format!("  missed  {} in all", row.missed));
    }
    lines
}
