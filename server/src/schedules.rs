//! The loop that starts runs by the clock. Any number of servers run it: what a schedule is due for is decided from rows
//! and the clock, and a start is one run by its delivery, whoever makes it and however often.

mod keep;
mod settle;

use std::collections::BTreeMap;
use std::sync::Arc;

use reactorcide_engine::address::Address;
use reactorcide_engine::audit::{AuditLog, Draft, Outcome};
use reactorcide_engine::config::{EventType, Kind, Overlap, ScheduleSpec, Spec};
use reactorcide_engine::dates::timestamp;
use reactorcide_engine::identity::Capability;
use reactorcide_engine::runs::RunFilter;
use reactorcide_engine::schedule::{
    Position, PositionStore, Timetable, Verdict, actor, decide, delivery, on_overlap,
};
use reactorcide_engine::scheduler::{Event, Millis, RunStatus};
use reactorcide_engine::store::StoreError;
use reactorcide_engine::trigger_match::RunEvent;
use serde_json::json;

use crate::applied::{Applied, Current};
use crate::conductor::{ConductError, Conductor};
use crate::start::{StartError, Wanted, start};
pub(crate) use keep::keep;
use settle::Settling;

/// How long after a failure a schedule is looked at again.
const AGAIN: Millis = 5_000;
/// How many runs of a schedule that go on are looked at.
const RUNNING: u32 = 1000;

/// What starts runs by the clock. Cheap to clone.
#[derive(Clone)]
pub struct Schedules {
    /// What decides on runs.
    pub conductor: Conductor,
    /// What is applied.
    pub applied: Arc<Applied>,
    /// How far schedules have come.
    pub positions: Arc<dyn PositionStore>,
    /// Who did what.
    pub audit: Arc<dyn AuditLog>,
}

/// One schedule that is applied.
pub(crate) struct Scheduled<'a> {
    pub uid: &'a str,
    pub address: &'a Address,
    pub spec: &'a ScheduleSpec,
}

/// Why a schedule could not be looked at. It is looked at again.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Conduct(#[from] ConductError),
}

/// What became of a due time.
enum Fired {
    Run(String),
    LeftOut(String),
}

impl Schedules {
    /// Starts what is due, and says when there is something to start next.
    pub(crate) async fn look(&self, now: Millis) -> Result<Option<Millis>, StoreError> {
        // Positions first: one whose schedule is not there in what was applied later is of none.
        let mut positions: BTreeMap<String, Position> = self
            .positions
            .list()
            .await?
            .into_iter()
            .map(|position| (position.uid.clone(), position))
            .collect();
        let current = self.applied.current().await?;
        let mut next: Option<Millis> = None;
        for scheduled in scheduled(&current) {
            let position = positions.remove(scheduled.uid);
            let due = match self.settle(&current, &scheduled, position, now).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(schedule = %scheduled.address, %error, "a schedule could not be looked after");
                    Some(now + AGAIN)
                }
            };
            next = next.into_iter().chain(due).min();
        }
        // Also what only a later version can read is still applied.
        positions.retain(|uid, _| current.schedules.iter().all(|(applied, _)| applied.0 != *uid));
        if !positions.is_empty() {
            self.positions.forget(&positions.into_keys().collect::<Vec<_>>()).await?;
        }
        Ok(next)
    }

    /// Does for one schedule what is to be done now. When it is due next.
    async fn settle(
        &self,
        current: &Current,
        scheduled: &Scheduled<'_>,
        position: Option<Position>,
        now: Millis,
    ) -> Result<Option<Millis>, LookError> {
        let Scheduled { uid, spec, address } = scheduled;
        let timetable = match Timetable::new(spec, uid) {
            Ok(timetable) => timetable,
            Err(error) => {
                tracing::error!(schedule = %address, %error, "an applied schedule means no time");
                return Ok(None);
            }
        };
        let Some(position) = self.begun(uid, spec, position, now).await? else {
            // Somebody was faster, who is no further ahead than this.
            return Ok(Some(now));
        };
        if spec.suspended {
            return Ok(None);
        }
        let decision = decide(&timetable, spec, position.settled, now);
        let mut settling = Settling::new(&position, &decision);
        for due in &decision.start {
            match self.fire(current, scheduled, *due, now).await? {
                Fired::Run(run) => settling.started(*due, run),
                Fired::LeftOut(reason) => {
                    tracing::info!(schedule = %address, due = timestamp(due.unsigned_abs()), reason, "a start was left out");
                    settling.left_out(*due, reason);
                }
            }
        }
        self.write(settling, position).await?;
        Ok(decision.next)
    }

    /// Where a schedule stands from now on: at its beginning if it is new, or means other times than before, or was
    /// suspended until now. `None`: somebody else wrote that down.
    async fn begun(
        &self,
        uid: &str,
        spec: &ScheduleSpec,
        position: Option<Position>,
        now: Millis,
    ) -> Result<Option<Position>, StoreError> {
        let timing = format!("{} {}", spec.timezone, spec.cron);
        let (suspended, uid) = (spec.suspended, uid.to_owned());
        let begun = match position {
            None => Position { uid, version: 1, timing, settled: now, suspended, ..Position::default() },
            Some(position) if position.timing != timing || (position.suspended && !suspended) => {
                Position { timing, settled: now, suspended, ..position.next() }
            }
            Some(position) if suspended && !position.suspended => Position { suspended, ..position.next() },
            Some(position) => return Ok(Some(position)),
        };
        Ok(self.positions.put(&begun).await?.then_some(begun))
    }

    async fn write(&self, settling: Settling, mut position: Position) -> Result<(), StoreError> {
        loop {
            let Some(next) = settling.over(&position) else { return Ok(()) };
            if self.positions.put(&next).await? {
                return Ok(());
            }
            // Somebody else was here meanwhile. What was started here must be known all the same.
            let known = self.positions.list().await?.into_iter().find(|known| known.uid == position.uid);
            let Some(known) = known else { return Ok(()) };
            position = known;
        }
    }

    /// Starts a run for a due time, unless there is one.
    async fn fire(
        &self,
        current: &Current,
        scheduled: &Scheduled<'_>,
        due: Millis,
        now: Millis,
    ) -> Result<Fired, LookError> {
        let Scheduled { uid, address, spec } = scheduled;
        let actor = actor(address.project.as_deref(), &address.name);
        let pipeline = Address::new(Kind::Pipeline, address.project.as_deref(), &spec.pipeline);
        let key = delivery(uid, due);
        // Runs before the delivery: a run of this due time that is among them is known by then.
        let mut running = match spec.overlap {
            Overlap::Allow => Vec::new(),
            Overlap::Skip | Overlap::CancelRunning => self.running(&pipeline, &actor).await?,
        };
        let known = self.conductor.runs.delivered(&key).await?;
        running.retain(|run| known.as_ref() != Some(run));
        let cancel = match (&known, on_overlap(spec.overlap, running)) {
            (_, Verdict::Start { cancel }) => cancel,
            (Some(_), Verdict::Skip { .. }) => Vec::new(),
            (None, Verdict::Skip { running }) => {
                return Ok(Fired::LeftOut(format!("run {running} of it still goes on")));
            }
        };
        let run = match known {
            Some(known) => known,
            None => {
                let wanted = Wanted {
                    pipeline: pipeline.clone(),
                    event: event(current, address, spec, due),
                    inputs: spec.inputs.clone(),
                    vars: spec.vars.clone(),
                    selection: None,
                    actor: actor.clone(),
                    told: None,
                };
                let begun = match start(&current.catalog, wanted, Some(key)) {
                    Ok(begun) => begun,
                    Err(
                        error @ (StartError::NoPipeline { .. }
                        | StartError::Broken(_)
                        | StartError::Refused(_)),
                    ) => return Ok(Fired::LeftOut(error.to_string())),
                };
                let started = self.conductor.start(begun).await?;
                if started.new {
                    self.note(&actor, &pipeline, &started.run, due, now).await?;
                }
                started.run
            }
        };
        for older in cancel {
            let reason = format!("{actor} starts anew");
            match self.conductor.tell(&older, Event::Cancel { reason, force: false }).await {
                Ok(()) | Err(ConductError::NoRun(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Fired::Run(run))
    }

    /// The runs of a schedule that go on.
    async fn running(&self, pipeline: &Address, actor: &str) -> Result<Vec<String>, StoreError> {
        let mut runs = Vec::new();
        for status in [RunStatus::Running, RunStatus::Waiting] {
            let filter = RunFilter {
                pipeline: Some(pipeline.to_string()),
                status: Some(status),
                event: Some(EventType::Schedule.as_str().to_owned()),
                ..RunFilter::newest(RUNNING)
            };
            runs.extend(self.conductor.runs.runs(&filter).await?);
        }
        Ok(runs.into_iter().filter(|run| run.actor == actor).map(|run| run.id).collect())
    }

    async fn note(
        &self,
        actor: &str,
        pipeline: &Address,
        run: &str,
        due: Millis,
        now: Millis,
    ) -> Result<(), StoreError> {
        let detail = json!({"pipeline": pipeline.to_string(), "event": "schedule", "due": timestamp(due.unsigned_abs())});
        let draft = Draft {
            at: now,
            actor: actor.to_owned(),
            action: Capability::RunsStart.as_str().to_owned(),
            target: format!("run/{run}"),
            outcome: Outcome::Done,
            detail: detail.into(),
            request: None,
        };
        self.audit.append(&[draft]).await.map(|_| ())
    }
}

/// The schedules that are applied.
pub(crate) fn scheduled(current: &Current) -> impl Iterator<Item = Scheduled<'_>> {
    current.schedules.iter().filter_map(|(uid, address)| match &current.catalog.get(address)?.spec {
        Spec::Schedule(spec) => Some(Scheduled { uid: &uid.0, address, spec }),
        _ => None,
    })
}

/// The event of a due time, on the branch that the schedule names, else on its project's default branch.
fn event(current: &Current, address: &Address, spec: &ScheduleSpec, due: Millis) -> RunEvent {
    let usual = || {
        let project = Address::new(Kind::Project, None, address.project.as_deref()?);
        match &current.catalog.get(&project)?.spec {
            Spec::Project(project) => project.source.as_ref()?.default_branch.clone(),
            _ => None,
        }
    };
    RunEvent {
        branch: spec.branch.clone().or_else(usual).unwrap_or_default(),
        schedule: address.name.clone(),
        due: timestamp(due.unsigned_abs()),
        ..RunEvent::of(EventType::Schedule)
    }
}

#[cfg(test)]
mod tests;
