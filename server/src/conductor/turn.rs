//! One turn of the loop: everything that was said meanwhile, decided on and written together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use reactorcide_engine::runs::{Accepted, Commit, Known, Outcome, RunStore, Said};
use reactorcide_engine::scheduler::Millis;
use reactorcide_engine::store::StoreError;
use tokio::sync::{Notify, broadcast, watch};

use crate::telemetry::Observer;

use super::{ConductError, Input, Look, Notice, Reply, Start, Started};

/// Nodes of runs that are kept in mind.
const MAX_NODES: usize = 200_000;
/// How often a run is decided on anew because somebody else was faster, before whoever said something is told so.
const ROUNDS: usize = 32;

/// What is known between turns.
pub(super) struct Turns {
    runs: Arc<dyn RunStore>,
    notices: broadcast::Sender<Notice>,
    queued: Arc<Notify>,
    failed: Arc<watch::Sender<Option<Arc<StoreError>>>>,
    observer: Arc<Observer>,
    /// Runs that go on.
    known: HashMap<String, Known>,
    /// The nodes of all that are known.
    nodes: usize,
}

/// Something that a run was told, and who waits to hear what came of it.
struct Told {
    said: Said,
    reply: Reply<()>,
}

impl Turns {
    pub fn new(
        runs: Arc<dyn RunStore>,
        notices: broadcast::Sender<Notice>,
        queued: Arc<Notify>,
        failed: Arc<watch::Sender<Option<Arc<StoreError>>>>,
        observer: Arc<Observer>,
    ) -> Self {
        Self { runs, notices, queued, failed, observer, known: HashMap::new(), nodes: 0 }
    }

    /// What the database said, for whoever asked and whoever watches.
    fn error(&self, error: StoreError) -> ConductError {
        let error = Arc::new(error);
        self.failed.send_replace(Some(Arc::clone(&error)));
        ConductError::Store(error)
    }

    pub async fn turn(&mut self, inputs: Vec<Input>, now: Millis) {
        let mut starts = Vec::new();
        let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        let mut looks = Vec::new();
        for input in inputs {
            match input {
                Input::Start(start, reply) => starts.push((*start, reply)),
                Input::Tell { run, said, reply } => {
                    told.entry(run).or_default().push(Told { said: *said, reply })
                }
                Input::Look { run, fresh, look } => looks.push((run, fresh, look)),
            }
        }
        if !starts.is_empty() {
            self.start(starts, now).await;
        }
        self.tell(told, now).await;
        for (run, fresh, look) in looks {
            self.look(&run, fresh, look).await;
        }
        self.forget_some();
    }

    async fn start(&mut self, starts: Vec<(Start, Reply<Started>)>, now: Millis) {
        let (mut new, mut begun) = (Vec::new(), Vec::new());
        for (Start { record, key, state }, reply) in starts {
            let (known, record) = Known::begin(record, key, state, now);
            new.push(record);
            begun.push((known, reply));
        }
        match self.runs.accept(&new).await {
            Ok(accepted) => {
                for (((known, reply), new), accepted) in begun.into_iter().zip(&new).zip(accepted) {
                    let run = known.record.id.clone();
                    let started = match accepted {
                        Accepted::New => {
                            self.observer.accepted(&known, &new.first, &self.runs);
                            self.remember(known);
                            self.tell_others(&new.first);
                            Started { run, new: true }
                        }
                        Accepted::Known(run) => {
                            self.observer.known_already(&known.record.event);
                            Started { run, new: false }
                        }
                    };
                    let _ = reply.send(Ok(started));
                }
            }
            Err(error) => {
                let error = self.error(error);
                for (_, reply) in begun {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    async fn tell(&mut self, mut told: BTreeMap<String, Vec<Told>>, now: Millis) {
        for round in 0.. {
            self.load_all(&mut told).await;
            if told.is_empty() {
                return;
            }
            let mut commits: Vec<Commit> = Vec::with_capacity(told.len());
            for (run, told) in &told {
                let known = self.known.get_mut(run).expect("it was loaded");
                let before = known.state.nodes().len();
                commits.push(known.decide(told.iter().map(|told| told.said.clone()).collect(), now));
                self.nodes += known.state.nodes().len().saturating_sub(before);
            }
            let outcomes = match self.runs.commit(&commits).await {
                Ok(outcomes) => outcomes,
                Err(error) => return self.fail(told, error),
            };
            for (commit, outcome) in commits.iter().zip(outcomes) {
                match outcome {
                    Outcome::Done => {
                        for told in told.remove(&commit.run).into_iter().flatten() {
                            let _ = told.reply.send(Ok(()));
                        }
                        if let Some(known) = self.known.get(&commit.run) {
                            self.observer.committed(known, commit, &self.runs);
                        }
                        self.tell_others(commit);
                        if commit.ended.is_some() {
                            self.forget(&commit.run);
                        }
                    }
                    Outcome::Moved => self.forget(&commit.run),
                    Outcome::Stale(leases) => {
                        self.forget(&commit.run);
                        let Some(all) = told.remove(&commit.run) else { continue };
                        let is_stale = |told: &Told| {
                            told.said.lease.as_ref().is_some_and(|lease| leases.contains(lease))
                        };
                        let (stale, rest): (Vec<Told>, Vec<Told>) = all.into_iter().partition(is_stale);
                        for Told { said, reply } in stale {
                            let lease = said.lease.expect("it is stale");
                            let _ = reply.send(Err(ConductError::Stale(lease)));
                        }
                        if !rest.is_empty() {
                            told.insert(commit.run.clone(), rest);
                        }
                    }
                }
            }
            if round == ROUNDS {
                let busy =
                    StoreError::Busy { location: "the run".to_owned(), waited: std::time::Duration::ZERO };
                return self.fail(told, busy);
            }
        }
    }

    /// Makes sure that every run is known. Who speaks of one that cannot be is told so.
    async fn load_all(&mut self, told: &mut BTreeMap<String, Vec<Told>>) {
        let missing: Vec<String> =
            told.keys().filter(|run| !self.known.contains_key(*run)).cloned().collect();
        for run in missing {
            if let Err(error) = self.load(&run).await {
                for told in told.remove(&run).into_iter().flatten() {
                    let _ = told.reply.send(Err(error.clone()));
                }
            }
        }
    }

    async fn load(&mut self, run: &str) -> Result<(), ConductError> {
        let loaded = self.runs.load(run).await.map_err(|error| self.error(error))?;
        let loaded = loaded.ok_or_else(|| ConductError::NoRun(run.to_owned()))?;
        let known = Known::loaded(loaded).map_err(|error| ConductError::Damaged(error.to_string()))?;
        self.remember(known);
        Ok(())
    }

    fn fail(&mut self, told: BTreeMap<String, Vec<Told>>, error: StoreError) {
        let error = self.error(error);
        for (run, told) in told {
            // What was decided in mind was not written.
            self.forget(&run);
            for told in told {
                let _ = told.reply.send(Err(error.clone()));
            }
        }
    }

    async fn look(&mut self, run: &str, fresh: bool, look: Look) {
        if fresh && let Some(known) = self.known.get(run) {
            match self.runs.version(run).await {
                Ok(version) if version == Some(known.version) => {}
                Ok(_) => self.forget(run),
                Err(error) => return look(Err(self.error(error))),
            }
        }
        if !self.known.contains_key(run)
            && let Err(error) = self.load(run).await
        {
            return look(Err(error));
        }
        let known = &self.known[run];
        let ended = known.state.status().is_terminal();
        look(Ok(known));
        if ended {
            self.forget(run);
        }
    }

    fn tell_others(&self, commit: &Commit) {
        if !commit.enqueue.is_empty() || !commit.over.is_empty() {
            self.queued.notify_waiters();
        }
        let _ = self.notices.send(Notice {
            run: Arc::from(commit.run.as_str()),
            stops: !commit.stop.is_empty() || !commit.over.is_empty(),
            ended: commit.ended.is_some(),
            crowds: commit.enqueue.iter().any(|entry| entry.slot.is_some())
                || commit.over.iter().any(|(node, _)| node.is_empty()),
        });
    }

    fn remember(&mut self, known: Known) {
        self.nodes += known.state.nodes().len();
        if let Some(before) = self.known.insert(known.record.id.clone(), known) {
            self.nodes -= before.state.nodes().len();
        }
    }

    fn forget(&mut self, run: &str) {
        if let Some(known) = self.known.remove(run) {
            self.nodes -= known.state.nodes().len();
        }
    }

    /// Any half of them, where there are too many; who asks for one of these reads it again.
    fn forget_some(&mut self) {
        if self.nodes <= MAX_NODES {
            return;
        }
        let (nodes, mut left) = (&mut self.nodes, self.known.len());
        self.known.retain(|_, known| {
            let stays = *nodes <= MAX_NODES / 2 || left == 1;
            if !stays {
                *nodes -= known.state.nodes().len();
                left -= 1;
            }
            stays
        });
    }
}
