//! Runs: the same statements for SQLite and PostgreSQL.
//!
//! Whoever writes takes locks in one order, so that nobody waits for somebody who waits for them: runs by their id, groups
//! by their name, entries of the queue by their number.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use reactorcide_engine::coordinator::{LeaseId, Urgency};
use reactorcide_engine::protocol::query::Elsewhere;
use reactorcide_engine::protocol::usage::Usage;
use reactorcide_engine::queue::Entry;
use reactorcide_engine::runs::{
    Accepted, Commit, Loaded, NewRecord, Outcome, RunFilter, RunRecord, RunStore, Used, pipelines_of,
};
use reactorcide_engine::scheduler::{Head, RunStatus, Stored, Transition};
use reactorcide_engine::store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Postgres, QueryBuilder, Row, Sqlite};

use crate::database::Database;
use crate::postgres::PostgresDatabase;

/// Rows of one statement.
const BATCH: usize = 512;

/// Pieces whose lengths are powers of two, so that statements over them have few texts, and each is prepared once.
pub(crate) fn even<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let length = (1 << rest.len().checked_ilog2()?).min(BATCH);
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        Some(piece)
    })
}

/// Lines that are remembered.
const MAX_LANES: usize = 10_000;

/// Lines of the queue that are known to be there.
pub(crate) type Lanes = Arc<Mutex<HashSet<(String, String)>>>;

/// An entry of the queue, as whoever changes it must know it.
pub(crate) struct Found {
    pub number: i64,
    pub run: String,
    pub node: String,
    pub attempt: i64,
    pub token: Option<String>,
    pub slot: Option<String>,
}

impl Found {
    fn is(&self, run: &str, node: &str, attempt: u32) -> bool {
        self.run == run && self.node == node && self.attempt == i64::from(attempt)
    }

    fn is_of(&self, lease: &LeaseId) -> bool {
        self.is(&lease.run, &lease.node, lease.attempt) && self.token.as_deref() == Some(&lease.token)
    }
}

/// A value as its column holds it.
pub(crate) fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("what is stored is JSON")
}

pub(crate) fn urgency(number: i64) -> Urgency {
    match number {
        0 => Urgency::None,
        1 => Urgency::Graceful,
        _ => Urgency::AtOnce,
    }
}

/// The lines that entries stand in.
fn lanes_of(entries: &[&Entry]) -> impl Iterator<Item = (String, String)> {
    entries.iter().map(|entry| (entry.project.clone(), entry.needs.to_text()))
}

/// What a status is in the column of that name: a run that waits goes on, and has something in another column.
fn stored(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Waiting => RunStatus::Running.as_str(),
        other => other.as_str(),
    }
}

/// What keeps a run from beginning, in that column.
fn gate(head: &Head) -> Option<&'static str> {
    (head.status == RunStatus::Waiting).then_some("closed")
}

/// Which entries a commit is about.
fn concerned(commit: &Commit) -> impl Iterator<Item = (&str, &str, u32)> {
    let held = commit.held.iter().map(|lease| (lease.node.as_str(), lease.attempt));
    let over = commit.over.iter().map(|(node, attempt)| (node.as_str(), *attempt));
    let started = commit.started.iter().map(|(node, attempt, _)| (node.as_str(), *attempt));
    let stop = commit.stop.iter().map(|(node, attempt, _)| (node.as_str(), *attempt));
    held.chain(over).chain(started).chain(stop).map(|(node, attempt)| (commit.run.as_str(), node, attempt))
}

/// Runs on one kind of database. A macro for the same reason as the store's. `$lock` is what a select ends with to keep
/// others from what it found.
macro_rules! runs_on {
    ($Runs:ident, $Database:ty, $Sql:ty, $Row:ty, $lock:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone)]
        pub struct $Runs {
            pub(crate) database: $Database,
            pub(crate) lanes: Lanes,
        }

        impl $Runs {
            /// The runs in a database.
            pub fn new(database: $Database) -> Self {
                Self { database, lanes: Lanes::default() }
            }

            /// Whether a line is certainly there.
            fn knows(&self, lane: &(String, String)) -> bool {
                self.lanes.lock().unwrap_or_else(PoisonError::into_inner).contains(lane)
            }

            /// What is committed stays: lines are never removed.
            fn remember_lanes(&self, commits: &[&Commit]) {
                let entries: Vec<&Entry> = commits.iter().flat_map(|commit| &commit.enqueue).collect();
                let mut known = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() > MAX_LANES {
                    known.clear();
                }
                known.extend(lanes_of(&entries));
            }

            pub(crate) fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
                move |error| self.database.attempt(what).failed(error)
            }
        }

        #[async_trait]
        impl RunStore for $Runs {
            async fn accept(&self, new: &[NewRecord]) -> Result<Vec<Accepted>, StoreError> {
                let mut transaction = self.database.append().await?;
                let connection = &mut *transaction;
                let mut accepted: HashSet<String> = HashSet::with_capacity(new.len());
                for batch in even(new) {
                    let mut insert = QueryBuilder::<$Sql>::new(
                        "insert into runs (id, pipeline, project, event, actor, retry_of, holder, delivery, started_at, status,
                         version, ordinal, definition, head, ended_at, gate) ",
                    );
                    insert.push_values(batch, |mut row, new| {
                        let NewRecord { record, key, definition, first } = new;
                        row.push_bind(&record.id)
                            .push_bind(&record.pipeline)
                            .push_bind(&record.project)
                            .push_bind(&record.event)
                            .push_bind(&record.actor)
                            .push_bind(&record.retry_of)
                            .push_bind(&record.holder)
                            .push_bind(key)
                            .push_bind(record.started_at)
                            .push_bind(stored(record.status))
                            .push_bind(1_i64)
                            .push_bind(i64::try_from(first.transitions.len()).unwrap_or(i64::MAX))
                            .push_bind(text(definition))
                            .push_bind(text(&first.changes.head))
                            .push_bind(first.ended.map(|(_, at)| at))
                            .push_bind(first.changes.head.as_ref().and_then(gate));
                    });
                    insert.push(" on conflict (delivery) where delivery is not null do nothing returning id");
                    let rows = insert.build().fetch_all(&mut *connection).await.map_err(self.failed("written"))?;
                    for row in rows {
                        accepted.insert(row.try_get("id").map_err(self.failed("written"))?);
                    }
                }
                let firsts: Vec<&Commit> = new.iter().map(|new| &new.first).filter(|first| accepted.contains(&first.run)).collect();
                let groups = self.write(connection, &firsts, true).await?;
                self.settle(connection, groups, &firsts).await?;
                let known: Vec<&NewRecord> = new.iter().filter(|new| !accepted.contains(&new.record.id)).collect();
                let mut by_key: BTreeMap<String, String> = BTreeMap::new();
                for batch in even(&known) {
                    let mut select = QueryBuilder::<$Sql>::new("select delivery, id from runs where delivery in (");
                    let mut list = select.separated(", ");
                    for new in batch {
                        list.push_bind(new.key.clone().unwrap_or_default());
                    }
                    select.push(")");
                    let rows = select.build().fetch_all(&mut *connection).await.map_err(self.failed("read"))?;
                    for row in rows {
                        let failed = self.failed("read");
                        by_key.insert(row.try_get("delivery").map_err(&failed)?, row.try_get("id").map_err(&failed)?);
                    }
                }
                transaction.commit().await.map_err(self.failed("written"))?;
                self.remember_lanes(&firsts);
                let outcome = |new: &NewRecord| {
                    if accepted.contains(&new.record.id) {
                        return Accepted::New;
                    }
                    let known = new.key.as_ref().and_then(|key| by_key.get(key));
                    Accepted::Known(known.cloned().unwrap_or_default())
                };
                Ok(new.iter().map(outcome).collect())
            }

            async fn commit(&self, commits: &[Commit]) -> Result<Vec<Outcome>, StoreError> {
                let mut transaction = self.database.append().await?;
                let connection = &mut *transaction;
                let failed = self.failed("read");
                let mut versions: BTreeMap<String, i64> = BTreeMap::new();
                for batch in even(commits) {
                    let mut select = QueryBuilder::<$Sql>::new("select id, version from runs where id in (");
                    let mut list = select.separated(", ");
                    for commit in batch {
                        list.push_bind(&commit.run);
                    }
                    select.push(concat!(") order by id", $lock));
                    for row in select.build().fetch_all(&mut *connection).await.map_err(&failed)? {
                        versions.insert(row.try_get("id").map_err(&failed)?, row.try_get("version").map_err(&failed)?);
                    }
                }
                let stands = |commit: &&Commit| {
                    versions.get(&commit.run).is_some_and(|version| u64::try_from(*version) == Ok(commit.version))
                };
                let entries = self.concerned(connection, commits.iter().filter(stands)).await?;
                let outcome = |commit: &Commit| {
                    if !stands(&commit) {
                        return Outcome::Moved;
                    }
                    let gone = |lease: &&LeaseId| !entries.iter().any(|entry| entry.is_of(lease));
                    let stale: Vec<LeaseId> = commit.held.iter().filter(gone).cloned().collect();
                    if stale.is_empty() { Outcome::Done } else { Outcome::Stale(stale) }
                };
                let outcomes: Vec<Outcome> = commits.iter().map(outcome).collect();
                let done: Vec<&Commit> =
                    commits.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Done).map(|(commit, _)| commit).collect();
                if done.is_empty() {
                    return Ok(outcomes);
                }
                let mut groups = self.change_entries(connection, &done, &entries).await?;
                groups.extend(self.write(connection, &done, false).await?);
                self.settle(connection, groups, &done).await?;
                transaction.commit().await.map_err(self.failed("written"))?;
                self.remember_lanes(&done);
                Ok(outcomes)
            }

            async fn load(&self, run: &str) -> Result<Option<Loaded>, StoreError> {
                let mut transaction = self.database.read().await.map_err(self.failed("read"))?;
                let failed = self.failed("read");
                let select = sqlx::query("select * from runs where id = $1 and definition is not null").bind(run);
                let Some(row) = select.fetch_optional(&mut *transaction).await.map_err(&failed)? else {
                    return Ok(None);
                };
                let nodes = sqlx::query("select document from run_nodes where run = $1 order by place").bind(run);
                let nodes = nodes.fetch_all(&mut *transaction).await.map_err(&failed)?;
                let number = |column: &str| -> Result<u64, StoreError> {
                    Ok(row.try_get::<i64, _>(column).map_err(&failed)?.unsigned_abs())
                };
                let stored = Stored {
                    definition: self.value(run, row.try_get("definition").map_err(&failed)?)?,
                    head: self.value(run, row.try_get("head").map_err(&failed)?)?,
                    nodes: nodes
                        .iter()
                        .map(|row| self.value(run, row.try_get("document").map_err(&failed)?))
                        .collect::<Result<_, StoreError>>()?,
                };
                let record = Self::record(&row).map_err(&failed)?;
                Ok(Some(Loaded { record, version: number("version")?, ordinal: number("ordinal")?, stored }))
            }

            async fn delivered(&self, key: &str) -> Result<Option<String>, StoreError> {
                let select = sqlx::query("select id from runs where delivery = $1").bind(key);
                let row = select.fetch_optional(&self.database.pool).await.map_err(self.failed("read"))?;
                row.map(|row| row.try_get("id")).transpose().map_err(self.failed("read"))
            }

            async fn version(&self, run: &str) -> Result<Option<u64>, StoreError> {
                let select = sqlx::query_scalar("select version from runs where id = $1 and definition is not null");
                let version: Option<i64> =
                    select.bind(run).fetch_optional(&self.database.pool).await.map_err(self.failed("read"))?;
                Ok(version.map(i64::unsigned_abs))
            }

            async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError> {
                let mut select = QueryBuilder::<$Sql>::new(
                    "select id, pipeline, project, event, actor, retry_of, holder, started_at, ended_at, status, gate from runs where 1 = 1",
                );
                if let Some(end) = &filter.id_end {
                    let length = i64::try_from(end.chars().count()).unwrap_or(i64::MAX);
                    select.push(" and length(id) >= ").push_bind(length).push(" and substr(id, length(id) + 1 - cast(").push_bind(length);
                    select.push(" as integer)) = ").push_bind(end);
                }
                let equal = [
                    (" and id = ", filter.id.as_deref()),
                    (" and coalesce(project, '') = ", filter.project.as_deref()),
                    (" and pipeline = ", filter.pipeline.as_deref()),
                    (" and status = ", filter.status.map(stored)),
                    (" and event = ", filter.event.as_deref()),
                ];
                for (condition, value) in equal {
                    if let Some(value) = value {
                        select.push(condition).push_bind(value);
                    }
                }
                match filter.status {
                    Some(RunStatus::Waiting) => drop(select.push(" and gate is not null")),
                    Some(RunStatus::Running) => drop(select.push(" and gate is null")),
                    _ => {}
                }
                if let Some((at, id)) = &filter.before {
                    select.push(" and (started_at, id) < (").push_bind(*at).push(", ").push_bind(id).push(")");
                }
                select.push(" order by started_at desc, id desc limit ").push_bind(i64::from(filter.limit));
                let rows = select.build().fetch_all(&self.database.pool).await.map_err(self.failed("read"))?;
                rows.iter().map(Self::record).collect::<Result<_, _>>().map_err(self.failed("read"))
            }

            async fn transitions(&self, run: &str, from: u64, limit: u32) -> Result<Vec<Transition>, StoreError> {
                let select = sqlx::query(
                    "select at, node, attempt, became, reason from run_transitions where run = $1 and ordinal >= $2
                     order by ordinal limit $3",
                );
                let select = select.bind(run).bind(i64::try_from(from).unwrap_or(i64::MAX)).bind(i64::from(limit));
                let rows = select.fetch_all(&self.database.pool).await.map_err(self.failed("read"))?;
                rows.iter().map(Self::transition).collect::<Result<_, _>>().map_err(self.failed("read"))
            }

            async fn used(&self, run: &str, node: Option<&str>) -> Result<Vec<Used>, StoreError> {
                let failed = self.failed("read");
                let select = sqlx::query(
                    "select node, attempt, cpu_ms, memory_peak, bytes_read, bytes_written, case when $2 = '' then '[]' else series end as series
                     from run_usage where run = $1 and ($2 = '' or node = $2) order by node, attempt",
                );
                let rows = select.bind(run).bind(node.unwrap_or_default()).fetch_all(&self.database.pool).await;
                let read = |row: &$Row| -> Result<Used, StoreError> {
                    let number = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs).map_err(&failed);
                    Ok(Used {
                        node: row.try_get("node").map_err(&failed)?,
                        attempt: u32::try_from(number("attempt")?).unwrap_or(u32::MAX),
                        usage: Usage {
                            cpu_ms: number("cpu_ms")?,
                            memory_peak: number("memory_peak")?,
                            read: number("bytes_read")?,
                            written: number("bytes_written")?,
                            series: self.value(run, row.try_get("series").map_err(&failed)?)?,
                        },
                    })
                };
                rows.map_err(&failed)?.iter().map(read).collect()
            }

            async fn active(&self, project: Option<&str>, job: &str) -> Result<Vec<Elsewhere>, StoreError> {
                let select = sqlx::query(
                    "select run_nodes.run as run, run_nodes.status as state from run_nodes join runs on runs.id = run_nodes.run
                     where name = $2 and run_nodes.status in ('queued', 'running') and runs.status = 'running'
                       and substr(pipeline, 1, length($1)) = $1
                     order by started_at desc, runs.id desc",
                );
                let rows = select.bind(pipelines_of(project)).bind(job).fetch_all(&self.database.pool).await;
                let read = |row: &$Row| Ok(Elsewhere { run: row.try_get("run")?, state: row.try_get("state")? });
                let rows = rows.map_err(self.failed("read"))?;
                rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(self.failed("read"))
            }
        }

        impl $Runs {
            /// The entries that commits are about, kept from everybody else.
            async fn concerned(
                &self,
                connection: &mut <$Sql as sqlx::Database>::Connection,
                commits: impl Iterator<Item = &Commit>,
            ) -> Result<Vec<Found>, StoreError> {
                let failed = self.failed("read");
                let mut wanted: Vec<(&str, &str, u32)> = commits.flat_map(concerned).collect();
                wanted.sort_unstable();
                wanted.dedup();
                let mut found = Vec::with_capacity(wanted.len());
                for batch in even(&wanted) {
                    // Groups come before their entries, for whoever makes room in one changes the entries of others.
                    let mut slots = QueryBuilder::<$Sql>::new("select distinct slot from queue where slot is not null and (run, node, attempt) in (");
                    slots.push_values(batch, |mut row, (run, node, attempt)| {
                        row.push_bind(*run).push_bind(*node).push_bind(i64::from(*attempt));
                    });
                    slots.push(")");
                    let slots = slots.build().fetch_all(&mut *connection).await.map_err(&failed)?;
                    let mut slots: Vec<String> = slots.iter().map(|row| row.try_get("slot")).collect::<Result<_, _>>().map_err(&failed)?;
                    slots.sort_unstable();
                    for slot in slots {
                        let lock = sqlx::query("update queue_slots_of_groups set places = places where name = $1").bind(slot);
                        lock.execute(&mut *connection).await.map_err(self.failed("written"))?;
                    }
                    let mut select = QueryBuilder::<$Sql>::new(
                        "select number, run, node, attempt, token, slot from queue where (run, node, attempt) in (",
                    );
                    select.push_values(batch, |mut row, (run, node, attempt)| {
                        row.push_bind(*run).push_bind(*node).push_bind(i64::from(*attempt));
                    });
                    select.push(concat!(") order by number", $lock));
                    for row in select.build().fetch_all(&mut *connection).await.map_err(&failed)? {
                        let read = || {
                            Ok(Found {
                                number: row.try_get("number")?,
                                run: row.try_get("run")?,
                                node: row.try_get("node")?,
                                attempt: row.try_get("attempt")?,
                                token: row.try_get("token")?,
                                slot: row.try_get("slot")?,
                            })
                        };
                        found.push(read().map_err(&failed)?);
                    }
                }
                Ok(found)
            }

            /// Removes entries that are over, marks those that are to stop, and notes which were begun. Returns the groups
            /// that places became free in.
            async fn change_entries(
                &self,
                connection: &mut <$Sql as sqlx::Database>::Connection,
                commits: &[&Commit],
                entries: &[Found],
            ) -> Result<BTreeMap<String, Option<i64>>, StoreError> {
                let failed = self.failed("written");
                let by_place: BTreeMap<(&str, &str, i64), &Found> =
                    entries.iter().map(|entry| ((entry.run.as_str(), entry.node.as_str(), entry.attempt), entry)).collect();
                let entry = |run: &str, node: &str, attempt: u32| by_place.get(&(run, node, i64::from(attempt))).copied();
                let mut groups = BTreeMap::new();
                let mut gone = Vec::new();
                let mut stops: Vec<(i64, i64)> = Vec::new();
                let mut deadlines: Vec<(i64, i64)> = Vec::new();
                let mut admitted: Vec<i64> = Vec::new();
                for commit in commits {
                    for found in commit.over.iter().filter_map(|(node, attempt)| entry(&commit.run, node, *attempt)) {
                        // Whoever has it and does not know must let go of it first.
                        if found.token.is_none() || commit.held.iter().any(|lease| found.is_of(lease)) {
                            gone.push(found.number);
                            groups.extend(found.slot.clone().map(|slot| (slot, None)));
                        } else {
                            stops.push((found.number, Urgency::AtOnce as i64));
                        }
                    }
                    for (node, attempt, urgency) in &commit.stop {
                        stops.extend(entry(&commit.run, node, *attempt).map(|found| (found.number, *urgency as i64)));
                    }
                    for (node, attempt, at) in &commit.started {
                        let Some(found) = entry(&commit.run, node, *attempt) else { continue };
                        if node.is_empty() {
                            admitted.push(found.number);
                        } else {
                            deadlines.push((found.number, *at));
                        }
                    }
                }
                for batch in even(&deadlines) {
                    let mut update = QueryBuilder::<$Sql>::new("update queue set deadline_at = v.column2 + timeout from (");
                    update.push_values(batch, |mut row, (number, at)| {
                        row.push_bind(*number).push_bind(*at);
                    });
                    update.push(") as v where number = v.column1 and timeout is not null");
                    update.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                for batch in even(&admitted) {
                    let mut update = QueryBuilder::<$Sql>::new("update queue set status = 'leased' where number in (");
                    let mut list = update.separated(", ");
                    for number in batch {
                        list.push_bind(*number);
                    }
                    update.push(")");
                    update.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                for batch in even(&stops) {
                    let mut update = QueryBuilder::<$Sql>::new("update queue set stop = v.column2 from (");
                    update.push_values(batch, |mut row, (number, urgency)| {
                        row.push_bind(*number).push_bind(*urgency);
                    });
                    update.push(") as v where number = v.column1 and stop < v.column2");
                    update.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                for batch in even(&gone) {
                    let mut delete = QueryBuilder::<$Sql>::new("delete from queue where number in (");
                    let mut list = delete.separated(", ");
                    for number in batch {
                        list.push_bind(*number);
                    }
                    delete.push(")");
                    delete.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                Ok(groups)
            }

            /// Writes what changed of runs, what was decided on them, and what may run. Returns the groups that were asked
            /// for a place in, with how many places they have from now on.
            async fn write(
                &self,
                connection: &mut <$Sql as sqlx::Database>::Connection,
                commits: &[&Commit],
                are_new: bool,
            ) -> Result<BTreeMap<String, Option<i64>>, StoreError> {
                let failed = self.failed("written");
                // A new run was written with what its first step made of it.
                for batch in even(if are_new { &[] } else { commits }) {
                    let mut update = QueryBuilder::<$Sql>::new(
                        "update runs set version = version + 1, ordinal = v.column2, head = coalesce(v.column3, head),
                         status = coalesce(v.column4, status), ended_at = coalesce(v.column5, ended_at),
                         gate = case when v.column4 is null then gate else v.column6 end from (",
                    );
                    update.push_values(batch, |mut row, commit| {
                        let ordinal = i64::try_from(commit.ordinal).unwrap_or(i64::MAX);
                        let count = i64::try_from(commit.transitions.len()).unwrap_or(i64::MAX);
                        row.push_bind(&commit.run)
                            .push_bind(ordinal + count)
                            .push_bind(commit.changes.head.as_ref().map(text))
                            .push_bind(commit.changes.head.as_ref().map(|head| stored(head.status)))
                            .push_bind(commit.ended.map(|(_, at)| at))
                            .push_bind(commit.changes.head.as_ref().and_then(gate));
                    });
                    update.push(") as v where id = v.column1");
                    update.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                let nodes: Vec<_> = commits
                    .iter()
                    .flat_map(|commit| {
                        // A node that changed twice is written as it was in the end: one statement cannot write a row twice.
                        let last: BTreeMap<usize, &_> = commit.changes.nodes.iter().map(|(place, node)| (*place, node)).collect();
                        last.into_iter().map(move |(place, node)| (&commit.run, place, node))
                    })
                    .collect();
                for batch in even(&nodes) {
                    let mut upsert =
                        QueryBuilder::<$Sql>::new("insert into run_nodes (run, place, name, status, document) ");
                    upsert.push_values(batch, |mut row, (run, place, node)| {
                        row.push_bind(*run)
                            .push_bind(i64::try_from(*place).unwrap_or(i64::MAX))
                            .push_bind(&node.name)
                            .push_bind(node.status.as_str())
                            .push_bind(text(node));
                    });
                    upsert.push(" on conflict (run, place) do update set status = excluded.status, document = excluded.document");
                    upsert.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                let transitions: Vec<(&String, i64, &Transition)> = commits
                    .iter()
                    .flat_map(|commit| {
                        let first = i64::try_from(commit.ordinal).unwrap_or(i64::MAX);
                        (first..).zip(&commit.transitions).map(move |(ordinal, one)| (&commit.run, ordinal, one))
                    })
                    .collect();
                for batch in even(&transitions) {
                    let mut insert = QueryBuilder::<$Sql>::new(
                        "insert into run_transitions (run, ordinal, at, node, attempt, became, reason) ",
                    );
                    insert.push_values(batch, |mut row, (run, ordinal, transition)| {
                        row.push_bind(*run)
                            .push_bind(*ordinal)
                            .push_bind(transition.at)
                            .push_bind(&transition.node)
                            .push_bind(transition.attempt.map(i64::from))
                            .push_bind(&transition.to)
                            .push_bind(&transition.reason);
                    });
                    insert.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                let used: Vec<(&String, &Used)> =
                    commits.iter().flat_map(|commit| commit.used.iter().map(|used| (&commit.run, used))).collect();
                for batch in even(&used) {
                    let mut insert = QueryBuilder::<$Sql>::new(
                        "insert into run_usage (run, node, attempt, cpu_ms, memory_peak, bytes_read, bytes_written, series) ",
                    );
                    insert.push_values(batch, |mut row, (run, Used { node, attempt, usage })| {
                        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
                        row.push_bind(*run)
                            .push_bind(node)
                            .push_bind(i64::from(*attempt))
                            .push_bind(number(usage.cpu_ms))
                            .push_bind(number(usage.memory_peak))
                            .push_bind(number(usage.read))
                            .push_bind(number(usage.written))
                            .push_bind(text(&usage.series));
                    });
                    // An attempt ends once.
                    insert.push(" on conflict (run, node, attempt) do nothing");
                    insert.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                self.enqueue(connection, commits.iter().flat_map(|commit| &commit.enqueue).collect()).await
            }

            async fn enqueue(
                &self,
                connection: &mut <$Sql as sqlx::Database>::Connection,
                entries: Vec<&Entry>,
            ) -> Result<BTreeMap<String, Option<i64>>, StoreError> {
                let failed = self.failed("written");
                let mut groups = BTreeMap::new();
                for batch in even(&entries) {
                    let mut insert = QueryBuilder::<$Sql>::new(
                        "insert into queue (run, node, attempt, project, needs, priority, rank, enqueued_at, due_at, timeout, slot,
                         slot_mode, status) ",
                    );
                    insert.push_values(batch, |mut row, entry| {
                        let slot = entry.slot.as_ref();
                        groups.extend(slot.map(|slot| (slot.group.clone(), Some(i64::from(slot.limit)))));
                        row.push_bind(&entry.run)
                            .push_bind(&entry.node)
                            .push_bind(i64::from(entry.attempt))
                            .push_bind(&entry.project)
                            .push_bind(entry.needs.to_text())
                            .push_bind(i64::from(entry.priority))
                            .push_bind(entry.rank())
                            .push_bind(entry.enqueued_at)
                            .push_bind(entry.due_at)
                            .push_bind(entry.timeout)
                            .push_bind(slot.map(|slot| &slot.group))
                            .push_bind(slot.map(|slot| text(&slot.mode)))
                            .push_bind(if slot.is_some() { "blocked" } else { "ready" });
                    });
                    insert.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                let mut new: Vec<(String, String)> = lanes_of(&entries).filter(|lane| !self.knows(lane)).collect();
                new.sort_unstable();
                new.dedup();
                for batch in even(&new) {
                    let mut insert = QueryBuilder::<$Sql>::new("insert into queue_lanes (project, needs) ");
                    insert.push_values(batch, |mut row, (project, needs)| {
                        row.push_bind(project).push_bind(needs);
                    });
                    insert.push(" on conflict (project, needs) do nothing");
                    insert.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                Ok(groups)
            }

            fn value<T: DeserializeOwned>(&self, run: &str, text: &str) -> Result<T, StoreError> {
                serde_json::from_str(text).map_err(|error| StoreError::Corrupt {
                    location: self.database.location(),
                    what: format!("the run {run} cannot be read: {error}"),
                })
            }

            fn record(row: &$Row) -> Result<RunRecord, sqlx::Error> {
                let status: &str = row.try_get("status")?;
                Ok(RunRecord {
                    id: row.try_get("id")?,
                    pipeline: row.try_get("pipeline")?,
                    project: row.try_get("project")?,
                    event: row.try_get("event")?,
                    actor: row.try_get("actor")?,
                    retry_of: row.try_get("retry_of")?,
                    holder: row.try_get("holder")?,
                    started_at: row.try_get("started_at")?,
                    ended_at: row.try_get("ended_at")?,
                    status: match row.try_get::<Option<&str>, _>("gate")? {
                        Some(_) => RunStatus::Waiting,
                        None => RunStatus::of(status).unwrap_or(RunStatus::Running),
                    },
                })
            }

            fn transition(row: &$Row) -> Result<Transition, sqlx::Error> {
                Ok(Transition {
                    at: row.try_get("at")?,
                    node: row.try_get("node")?,
                    attempt: row.try_get::<Option<i64>, _>("attempt")?.and_then(|attempt| attempt.try_into().ok()),
                    to: row.try_get("became")?,
                    reason: row.try_get("reason")?,
                })
            }
        }
    };
}

runs_on!(SqliteRuns, Database, Sqlite, SqliteRow, "", "Runs in SQLite.");
runs_on!(PostgresRuns, PostgresDatabase, Postgres, PgRow, " for update", "Runs in PostgreSQL.");
