//! Schedules, as people see them: when they start something next, what they started last, and why they did not.

use axum::Json as Answer;
use reactorcide_engine::address::Address;
use reactorcide_engine::config::Kind;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::schedule::{Position, Timetable};
use reactorcide_engine::scheduler::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::context::{Context, Path, Query};
use super::page::ProjectPaging;
use super::{Page, Problem, Route, page};
use crate::conductor::now;
use crate::schedules::{Scheduled, scheduled};

/// How many of the next starts are told.
const NEXT: usize = 5;

/// The routes of schedules.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/schedules", list)
            .named("listSchedules", "runs", "Schedules that are applied, with their last and next starts")
            .needs(Capability::RunsRead)
            .query::<ProjectPaging>()
            .answers::<Page<ScheduleRow>>(200),
        Route::get("/api/v1/schedules/{project}/{schedule}", show)
            .named("getSchedule", "runs", "A schedule with its last and next starts")
            .needs(Capability::RunsRead)
            .answers::<ScheduleRow>(200),
    ]
}

/// A schedule, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleRow {
    /// Its address.
    pub address: String,
    /// Its project.
    #[serde(default)]
    pub project: Option<String>,
    /// Its name.
    pub name: String,
    /// The address of the pipeline that it starts.
    pub pipeline: String,
    /// Its cron fields.
    pub cron: String,
    /// The time zone of these.
    pub timezone: String,
    /// `active`, `suspended`, or `over` after its last day.
    pub status: String,
    /// The next starts, in milliseconds since 1970; none while it is suspended.
    pub next: Vec<Millis>,
    /// When the last start was due.
    #[serde(default)]
    pub last_due: Option<Millis>,
    /// The run that it started.
    #[serde(default)]
    pub last_run: Option<String>,
    /// When a start was due that was left out last.
    #[serde(default)]
    pub skipped_due: Option<Millis>,
    /// Why it was.
    #[serde(default)]
    pub skipped_reason: Option<String>,
    /// How many starts were left out.
    pub missed: u64,
}

async fn list(
    context: Context,
    Query(query): Query<ProjectPaging>,
) -> Result<Answer<Page<ScheduleRow>>, Problem> {
    context.may(Capability::RunsRead, query.project.as_deref())?;
    let limit = page::limit(query.limit)?;
    let after: Option<String> = page::decode(query.cursor.as_deref())?;
    let positions = context.api.positions.list().await?;
    let current = context.api.applied.current().await?;
    let mut wanted: Vec<(String, Scheduled<'_>)> = scheduled(&current)
        .filter(|one| query.project.is_none() || one.address.project == query.project)
        .map(|one| (one.address.to_string(), one))
        .filter(|(address, _)| after.as_ref().is_none_or(|after| address > after))
        .collect();
    wanted.sort_by(|(a, _), (b, _)| a.cmp(b));
    wanted.truncate(limit as usize + 1);
    let now = now();
    let row = |(_, one): &(String, Scheduled<'_>)| {
        row(one, positions.iter().find(|position| position.uid == one.uid), now)
    };
    Ok(Answer(Page::of(wanted.iter().map(row).collect(), limit, |last| last.address.clone())))
}

async fn show(
    context: Context,
    Path((project, name)): Path<(String, String)>,
) -> Result<Answer<ScheduleRow>, Problem> {
    context.may(Capability::RunsRead, Some(&project))?;
    let positions = context.api.positions.list().await?;
    let current = context.api.applied.current().await?;
    let address = Address::new(Kind::Schedule, Some(&project), &name);
    let found = scheduled(&current).find(|one| *one.address == address);
    let found = found.ok_or_else(|| Problem::not_found(format!("there is no schedule {project}/{name}")))?;
    let position = positions.iter().find(|position| position.uid == found.uid);
    Ok(Answer(row(&found, position, now())))
}

fn row(scheduled: &Scheduled<'_>, position: Option<&Position>, now: Millis) -> ScheduleRow {
    let Scheduled { uid, address, spec } = scheduled;
    let timetable = Timetable::new(spec, uid).ok();
    let over = timetable.as_ref().is_some_and(|timetable| timetable.is_over(now));
    let starts = |timetable: &Timetable| {
        // What is due and waits for its jitter comes too.
        let due = timetable.upcoming(now.saturating_sub(timetable.offset()), NEXT);
        due.into_iter().map(|due| timetable.starts_at(due)).collect()
    };
    let next = timetable.as_ref().filter(|_| !spec.suspended).map(starts).unwrap_or_default();
    let status = if spec.suspended {
        "suspended"
    } else if over {
        "over"
    } else {
        "active"
    };
    let position = position.cloned().unwrap_or_default();
    let (skipped_due, skipped_reason) = position.skipped.map(|skipped| (skipped.due, skipped.reason)).unzip();
    ScheduleRow {
        address: address.to_string(),
        project: address.project.clone(),
        name: address.name.clone(),
        pipeline: Address::new(Kind::Pipeline, address.project.as_deref(), &spec.pipeline).to_string(),
        cron: spec.cron.clone(),
        timezone: spec.timezone.clone(),
        status: status.to_owned(),
        next,
        last_due: position.last_due,
        last_run: position.last_run,
        skipped_due,
        skipped_reason,
        missed: position.missed,
    }
}
