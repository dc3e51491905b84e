//! The queue: the same statements for SQLite and PostgreSQL. What is decided is decided in the engine.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use reactorcide_engine::coordinator::{LeaseId, Urgency};
use reactorcide_engine::queue::{
    Claim, Claimed, Depth, Entry, EntryStatus, Needs, Overdue, Renewed, Row as EntryRow, Share, Slot,
    Superseded, allot,
};
use reactorcide_engine::runs::{Commit, EntryFilter, Queue, UNWATCHED};
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::StoreError;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Postgres, QueryBuilder, Row, Sqlite};

use crate::runs::{PostgresRuns, SqliteRuns, even, urgency};

/// How often somebody who looks after leases says so.
const LOOK: Millis = 1_000;

/// A project with something to take, and the lines that the claimant may take it from.
struct Line {
    share: Share,
    needs: Vec<String>,
    /// Attempts that were taken, the last ones first.
    taken: Vec<Claimed>,
    /// How many there may be to take.
    exhausted: bool,
}

/// An attempt that could be taken.
struct Candidate {
    rank: Millis,
    run: String,
    node: String,
    number: i64,
    attempt: u32,
    due_at: Millis,
}

/// The queue on one kind of database. `$lock` keeps others from what a select found, and passes over what others keep.
macro_rules! queue_on {
    ($Runs:ident, $Sql:ty, $Row:ty, $lock:literal, $skip:literal) => {
        #[async_trait]
        impl Queue for $Runs {
            async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, StoreError> {
                // Most of the time there is nothing: no lock for that.
                let mut lines = self.lines(claim).await?;
                if lines.is_empty() || claim.max == 0 {
                    return Ok(Vec::new());
                }
                let mut transaction = self.database.append().await?;
                let connection = &mut *transaction;
                self.look(connection, claim.now).await?;
                let several = lines.len() > 1;
                let mut order = Vec::new();
                let mut count = 0;
                while count < claim.max {
                    let mut open: Vec<usize> = (0..lines.len()).filter(|index| !lines[*index].exhausted).collect();
                    if open.is_empty() {
                        break;
                    }
                    open.sort_by(|a, b| lines[*a].share.project.cmp(&lines[*b].share.project));
                    let mut shares: Vec<Share> = open.iter().map(|index| lines[*index].share.clone()).collect();
                    let turns = allot(&mut shares, claim.max - count);
                    for (place, index) in open.iter().enumerate() {
                        let line = &mut lines[*index];
                        line.share = shares[place].clone();
                        let wanted = turns.iter().filter(|turn| **turn == place).count();
                        if wanted == 0 {
                            continue;
                        }
                        let taken = self.take(connection, claim, line, wanted).await?;
                        line.exhausted = taken.len() < wanted;
                        line.share.give_back(wanted - taken.len());
                        count += taken.len();
                        line.taken.extend(taken);
                    }
                    order.extend(turns.into_iter().map(|turn| open[turn]));
                }
                if several {
                    self.note_shares(connection, &lines).await?;
                }
                transaction.commit().await.map_err(self.failed("written"))?;
                // In the order of the turns.
                let mut taken: Vec<_> = lines.into_iter().map(|line| line.taken.into_iter()).collect();
                Ok(order.into_iter().filter_map(|index| taken[index].next()).collect())
            }

            async fn renew(
                &self,
                worker: &str,
                leases: &[LeaseId],
                _now: Millis,
                expires_at: Millis,
            ) -> Result<Vec<Renewed>, StoreError> {
                let failed = self.failed("written");
                let mut stand: HashMap<LeaseId, Urgency> = HashMap::with_capacity(leases.len());
                for batch in even(leases) {
                    let mut update = QueryBuilder::<$Sql>::new("update queue set expires_at = case when expires_at < ");
                    update.push_bind(expires_at).push(" then ").push_bind(expires_at);
                    update.push(" else expires_at end where number in (select number from queue where worker = ");
                    update.push_bind(worker).push(" and (run, node, attempt, token) in (");
                    update.push_values(batch, |mut row, lease| {
                        row.push_bind(&lease.run)
                            .push_bind(&lease.node)
                            .push_bind(i64::from(lease.attempt))
                            .push_bind(&lease.token);
                    });
                    update.push(concat!(") order by number", $lock, ") returning run, node, attempt, token, stop"));
                    for row in update.build().fetch_all(&self.database.pool).await.map_err(&failed)? {
                        let stop = row.try_get::<i64, _>("stop").map_err(&failed)?;
                        stand.insert(Self::lease(&row).map_err(&failed)?, urgency(stop));
                    }
                }
                let renewed = |lease: &LeaseId| {
                    let stop = stand.get(lease).copied();
                    Renewed { lease: lease.clone(), stands: stop.is_some(), stop: stop.unwrap_or(Urgency::AtOnce) }
                };
                Ok(leases.iter().map(renewed).collect())
            }

            async fn holder(&self, lease: &LeaseId) -> Result<Option<String>, StoreError> {
                let select = sqlx::query_scalar(
                    "select worker from queue
                     where run = $1 and node = $2 and attempt = $3 and token = $4 and status = 'leased'",
                );
                let select = select.bind(&lease.run).bind(&lease.node).bind(i64::from(lease.attempt)).bind(&lease.token);
                select.fetch_optional(&self.database.pool).await.map_err(self.failed("read"))
            }

            async fn overdue(&self, now: Millis, limit: u32) -> Result<Vec<Overdue>, StoreError> {
                let failed = self.failed("read");
                let mut connection = self.database.pool.acquire().await.map_err(&failed)?;
                self.look(&mut connection, now).await?;
                let select = sqlx::query(
                    "select run, node, attempt, token, worker, expires_at from queue
                     where status = 'leased' and (expires_at < $1 or deadline_at < $1) order by number limit $2",
                );
                let rows = select.bind(now).bind(i64::from(limit)).fetch_all(&mut *connection).await.map_err(&failed)?;
                let read = |row: &$Row| {
                    Ok(Overdue {
                        lease: Self::lease(row)?,
                        worker: row.try_get("worker")?,
                        timed_out: row.try_get::<Millis, _>("expires_at")? >= now,
                    })
                };
                rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(&failed)
            }

            async fn superseded(&self, limit: u32) -> Result<Vec<Superseded>, StoreError> {
                let select = sqlx::query(
                    "select run, node, superseded_by from queue where superseded_by is not null and stop = 0
                     order by number limit $1",
                );
                let rows = select.bind(i64::from(limit)).fetch_all(&self.database.pool).await.map_err(self.failed("read"))?;
                let read = |row: &$Row| {
                    Ok(Superseded {
                        run: row.try_get("run")?,
                        node: row.try_get("node")?,
                        by: row.try_get("superseded_by")?,
                    })
                };
                rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(self.failed("read"))
            }

            async fn admitted(&self, limit: u32) -> Result<Vec<String>, StoreError> {
                let select = sqlx::query_scalar(
                    "select run from queue where node = '' and status = 'ready' and superseded_by is null
                     order by number limit $1",
                );
                let select = select.bind(i64::from(limit)).fetch_all(&self.database.pool);
                select.await.map_err(self.failed("read"))
            }

            async fn depth(&self, now: Millis) -> Result<Vec<Depth>, StoreError> {
                let failed = self.failed("read");
                let select = sqlx::query(
                    "select status, cast(case when status = 'ready' and due_at > $1 then 1 else 0 end as bigint) as delayed, project, needs, worker, count(*) as entries, min(due_at) as oldest
                     from queue where node <> '' group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5",
                );
                let rows = select.bind(now).fetch_all(&self.database.pool).await.map_err(&failed)?;
                let read = |row: &$Row| -> Result<Depth, StoreError> {
                    let needs: String = row.try_get("needs").map_err(&failed)?;
                    let status: &str = row.try_get("status").map_err(&failed)?;
                    Ok(Depth {
                        status: Self::status(status),
                        delayed: row.try_get::<i64, _>("delayed").map_err(&failed)? == 1,
                        project: row.try_get("project").map_err(&failed)?,
                        needs: Needs::parse(&needs).map_err(|error| StoreError::Corrupt {
                            location: self.database.location(),
                            what: format!("what attempts need cannot be read: {error}"),
                        })?,
                        worker: row.try_get("worker").map_err(&failed)?,
                        count: row.try_get::<i64, _>("entries").map_err(&failed)?.unsigned_abs(),
                        oldest: row.try_get("oldest").map_err(&failed)?,
                    })
                };
                rows.iter().map(read).collect()
            }

            async fn next_due(&self, now: Millis) -> Result<Option<Millis>, StoreError> {
                let select = sqlx::query("select min(due_at) as due from queue where status = 'ready' and due_at > $1");
                let row = select.bind(now).fetch_one(&self.database.pool).await.map_err(self.failed("read"))?;
                row.try_get("due").map_err(self.failed("read"))
            }

            async fn entries(&self, filter: &EntryFilter) -> Result<Vec<EntryRow>, StoreError> {
                let mut select = QueryBuilder::<$Sql>::new(
                    "select queue.*, places from queue left join queue_slots_of_groups on name = slot where 1 = 1",
                );
                let equal = [
                    (" and run = ", &filter.run),
                    (" and node = ", &filter.node),
                    (" and project = ", &filter.project),
                    (" and worker = ", &filter.worker),
                    (" and slot = ", &filter.group),
                ];
                for (condition, value) in equal {
                    if let Some(value) = value {
                        select.push(condition).push_bind(value);
                    }
                }
                select.push(" order by project, rank, run, node limit ").push_bind(i64::from(filter.limit));
                let rows = select.build().fetch_all(&self.database.pool).await.map_err(self.failed("read"))?;
                rows.iter().map(|row| self.entry(row)).collect()
            }

            async fn leases_of(&self, worker: &str) -> Result<Vec<LeaseId>, StoreError> {
                let select = sqlx::query(
                    "select run, node, attempt, token from queue where status = 'leased' and worker = $1 order by number",
                );
                let rows = select.bind(worker).fetch_all(&self.database.pool).await.map_err(self.failed("read"))?;
                rows.iter().map(Self::lease).collect::<Result<_, _>>().map_err(self.failed("read"))
            }

            async fn set_weight(&self, project: &str, weight: u32) -> Result<(), StoreError> {
                let upsert = sqlx::query(
                    "insert into queue_shares (project, weight) values ($1, $2)
                     on conflict (project) do update set weight = excluded.weight",
                );
                let upsert = upsert.bind(project).bind(i64::from(weight.max(1)));
                upsert.execute(&self.database.pool).await.map_err(self.failed("written"))?;
                Ok(())
            }
        }

        impl $Runs {
            /// The lines that have something for a claimant.
            async fn lines(&self, claim: &Claim) -> Result<Vec<Line>, StoreError> {
                let failed = self.failed("read");
                let select = sqlx::query(
                    "select lanes.project as project, needs, coalesce(weight, 1) as weight, coalesce(time, 0) as time
                     from queue_lanes as lanes left join queue_shares as shares on shares.project = lanes.project
                     where exists (select 1 from queue where queue.project = lanes.project and queue.needs = lanes.needs
                                   and status = 'ready' and superseded_by is null and due_at <= $1)
                     order by lanes.project, needs",
                );
                let rows = select.bind(claim.now).fetch_all(&self.database.pool).await.map_err(&failed)?;
                let mut lines: BTreeMap<String, Line> = BTreeMap::new();
                for row in rows {
                    let project: String = row.try_get("project").map_err(&failed)?;
                    let needs: String = row.try_get("needs").map_err(&failed)?;
                    let weight: i64 = row.try_get("weight").map_err(&failed)?;
                    let time = row.try_get("time").map_err(&failed)?;
                    let parsed = Needs::parse(&needs).map_err(|error| StoreError::Corrupt {
                        location: self.database.location(),
                        what: format!("what attempts of {project:?} need cannot be read: {error}"),
                    })?;
                    if parsed.met_by(&claim.claimant, &project).is_ok() {
                        let share = || Share { project: project.clone(), weight: u32::try_from(weight).unwrap_or(1), time };
                        let line = || Line { share: share(), needs: Vec::new(), taken: Vec::new(), exhausted: false };
                        lines.entry(project.clone()).or_insert_with(line).needs.push(needs);
                    }
                }
                Ok(lines.into_values().collect())
            }

            /// Takes up to `wanted` attempts of a project.
            async fn take(
                &self,
                connection: &mut <$Sql as sqlx::Database>::Connection,
                claim: &Claim,
                line: &Line,
                wanted: usize,
            ) -> Result<Vec<Claimed>, StoreError> {
                let failed = self.failed("written");
                let mut candidates = Vec::new();
                for needs in &line.needs {
                    let select = sqlx::query(concat!(
                        "select number, rank, run, node, attempt, due_at from queue
                         where project = $1 and needs = $2 and status = 'ready' and superseded_by is null and due_at <= $3
                         order by project, needs, rank, run, node limit $4",
                        $skip
                    ));
                    let select = select.bind(&line.share.project).bind(needs).bind(claim.now);
                    let limit = i64::try_from(wanted).unwrap_or(i64::MAX);
                    for row in select.bind(limit).fetch_all(&mut *connection).await.map_err(&failed)? {
                        let read = || -> Result<Candidate, sqlx::Error> {
                            Ok(Candidate {
                                rank: row.try_get("rank")?,
                                due_at: row.try_get("due_at")?,
                                run: row.try_get("run")?,
                                node: row.try_get("node")?,
                                number: row.try_get("number")?,
                                attempt: row.try_get::<i64, _>("attempt")?.try_into().unwrap_or(u32::MAX),
                            })
                        };
                        candidates.push(read().map_err(&failed)?);
                    }
                }
                candidates.sort_by(|a, b| (a.rank, &a.run, &a.node).cmp(&(b.rank, &b.run, &b.node)));
                candidates.truncate(wanted);
                for batch in even(&candidates) {
                    let mut update = QueryBuilder::<$Sql>::new("update queue set status = 'leased', token = ");
                    update.push_bind(&claim.token).push(", worker = ").push_bind(&claim.claimant.worker);
                    update.push(", leased_at = ").push_bind(claim.now).push(", expires_at = ").push_bind(claim.expires_at);
                    update.push(" where number in (");
                    let mut list = update.separated(", ");
                    for candidate in batch {
                        list.push_bind(candidate.number);
                    }
                    update.push(")");
                    update.build().execute(&mut *connection).await.map_err(&failed)?;
                }
                let claimed = |candidate: Candidate| Claimed {
                    lease: LeaseId {
                        run: candidate.run,
                        node: candidate.node,
                        attempt: candidate.attempt,
                        token: claim.token.clone(),
                    },
                    project: line.share.project.clone(),
                    due_at: candidate.due_at,
                };
                Ok(candidates.into_iter().map(claimed).collect())
            }

            async fn note_shares(
                &self,
                connection: &mut <$Sql as sqlx::Database>::Connection,
                lines: &[Line],
            ) -> Result<(), StoreError> {
                for batch in even(&lines) {
                    let mut upsert = QueryBuilder::<$Sql>::new("insert into queue_shares (project, time) ");
                    upsert.push_values(batch, |mut row, line| {
                        row.push_bind(&line.share.project).push_bind(line.share.time);
                    });
                    upsert.push(" on conflict (project) do update set time = excluded.time");
                    upsert.build().execute(&mut *connection).await.map_err(self.failed("written"))?;
                }
                Ok(())
            }

            /// Notes that somebody looks after leases, and moves them by the time in which nobody did.
            async fn look(
                &self,
                connection: &mut <$Sql as sqlx::Database>::Connection,
                now: Millis,
            ) -> Result<(), StoreError> {
                let failed = self.failed("written");
                let seen = sqlx::query("select seen_at from queue_watch where id = 1");
                let seen: Millis =
                    seen.fetch_one(&mut *connection).await.and_then(|row| row.try_get("seen_at")).map_err(self.failed("read"))?;
                let gap = now - seen;
                if (-LOOK..=LOOK).contains(&gap) {
                    return Ok(());
                }
                // Whoever else sees the same gap does not move them a second time.
                let note = sqlx::query("update queue_watch set seen_at = $1 where id = 1 and seen_at = $2");
                let noted = note.bind(now).bind(seen).execute(&mut *connection).await.map_err(&failed)?;
                if noted.rows_affected() == 0 || seen == 0 || (-UNWATCHED..=UNWATCHED).contains(&gap) {
                    return Ok(());
                }
                let shift = sqlx::query(
                    "update queue set expires_at = expires_at + $1, deadline_at = deadline_at + $1 where status = 'leased'",
                );
                shift.bind(gap).execute(&mut *connection).await.map_err(&failed)?;
                Ok(())
            }

            /// Gives the free places of groups to who waits for them, and does to others what newcomers' modes say.
            pub(crate) async fn settle(
                &self,
                connection: &mut <$Sql as sqlx::Database>::Connection,
                groups: BTreeMap<String, Option<i64>>,
                commits: &[&Commit],
            ) -> Result<(), StoreError> {
                let failed = self.failed("written");
                for (group, places) in groups {
                    let places: i64 = match places {
                        Some(places) => {
                            let upsert = sqlx::query(
                                "insert into queue_slots_of_groups (name, places) values ($1, $2)
                                 on conflict (name) do update set places = excluded.places",
                            );
                            upsert.bind(&group).bind(places).execute(&mut *connection).await.map_err(&failed)?;
                            places
                        }
                        None => {
                            let lock = sqlx::query(
                                "update queue_slots_of_groups set places = places where name = $1 returning places",
                            );
                            let row = lock.bind(&group).fetch_one(&mut *connection).await.map_err(&failed)?;
                            row.try_get("places").map_err(&failed)?
                        }
                    };
                    let newcomers = commits.iter().flat_map(|commit| &commit.enqueue);
                    for (entry, slot) in newcomers.filter_map(|entry| Some((entry, entry.slot.as_ref()?))) {
                        if slot.group == group && self.free(connection, &group, places).await? <= 0 {
                            self.make_room(connection, entry, slot).await?;
                        }
                    }
                    let free = self.free(connection, &group, places).await?;
                    if free > 0 {
                        let promote = sqlx::query(
                            "update queue set status = 'ready' where number in (
                                select number from queue where slot = $1 and status = 'blocked' and superseded_by is null
                                order by rank, run, node limit $2)",
                        );
                        promote.bind(&group).bind(free).execute(&mut *connection).await.map_err(&failed)?;
                    }
                }
                Ok(())
            }

            async fn free(
                &self,
                connection: &mut <$Sql as sqlx::Database>::Connection,
                group: &str,
                places: i64,
            ) -> Result<i64, StoreError> {
                let count = sqlx::query("select count(*) as taken from queue where slot = $1 and status in ('ready', 'leased')");
                let row = count.bind(group).fetch_one(&mut *connection).await.map_err(self.failed("read"))?;
                Ok(places - row.try_get::<i64, _>("taken").map_err(self.failed("read"))?)
            }

            async fn make_room(
                &self,
                connection: &mut <$Sql as sqlx::Database>::Connection,
                entry: &Entry,
                slot: &Slot,
            ) -> Result<(), StoreError> {
                use reactorcide_engine::config::ConcurrencyMode;
                let who = match slot.mode {
                    ConcurrencyMode::Queue => return Ok(()),
                    ConcurrencyMode::ReplacePending => "blocked",
                    ConcurrencyMode::CancelRunning => "",
                };
                let update = sqlx::query(
                    "update queue set superseded_by = $1 where slot = $2 and run <> $3 and superseded_by is null
                       and ($4 = '' or status = $4)",
                );
                let update = update.bind(entry.title()).bind(&slot.group);
                update.bind(&entry.run).bind(who).execute(&mut *connection).await.map_err(self.failed("written"))?;
                Ok(())
            }

            fn status(word: &str) -> EntryStatus {
                match word {
                    "blocked" => EntryStatus::Blocked,
                    "leased" => EntryStatus::Leased,
                    _ => EntryStatus::Ready,
                }
            }

            fn lease(row: &$Row) -> Result<LeaseId, sqlx::Error> {
                Ok(LeaseId {
                    run: row.try_get("run")?,
                    node: row.try_get("node")?,
                    attempt: row.try_get::<i64, _>("attempt")?.try_into().unwrap_or(u32::MAX),
                    token: row.try_get("token")?,
                })
            }

            fn entry(&self, row: &$Row) -> Result<EntryRow, StoreError> {
                let failed = self.failed("read");
                let corrupt = |error: serde_json::Error| StoreError::Corrupt {
                    location: self.database.location(),
                    what: format!("an entry of the queue cannot be read: {error}"),
                };
                let integer = |column: &str| row.try_get::<i64, _>(column).map_err(&failed);
                let words = |column: &str| row.try_get::<String, _>(column).map_err(&failed);
                let group: Option<String> = row.try_get("slot").map_err(&failed)?;
                let slot = match group {
                    None => None,
                    Some(group) => Some(Slot {
                        group,
                        limit: u32::try_from(row.try_get::<Option<i64>, _>("places").map_err(&failed)?.unwrap_or(1)).unwrap_or(1),
                        mode: serde_json::from_str(&words("slot_mode")?).map_err(corrupt)?,
                    }),
                };
                Ok(EntryRow {
                    entry: Entry {
                        run: words("run")?,
                        node: words("node")?,
                        attempt: u32::try_from(integer("attempt")?).unwrap_or(u32::MAX),
                        project: words("project")?,
                        needs: Needs::parse(&words("needs")?).map_err(corrupt)?,
                        priority: i32::try_from(integer("priority")?).unwrap_or_default(),
                        enqueued_at: integer("enqueued_at")?,
                        due_at: integer("due_at")?,
                        slot,
                        timeout: row.try_get("timeout").map_err(&failed)?,
                    },
                    status: Self::status(&words("status")?),
                    stop: urgency(integer("stop")?),
                    worker: row.try_get("worker").map_err(&failed)?,
                    leased_at: row.try_get("leased_at").map_err(&failed)?,
                    expires_at: row.try_get("expires_at").map_err(&failed)?,
                })
            }
        }
    };
}

queue_on!(SqliteRuns, Sqlite, SqliteRow, "", "");
queue_on!(PostgresRuns, Postgres, PgRow, " for update", " for update skip locked");
