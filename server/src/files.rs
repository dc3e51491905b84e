//! Artifacts and caches of jobs, as workers and jobs ask for them: who a job is comes from its run, what it may have from
//! the engine's decision, and content goes through without being held.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt;
use reactorcide_engine::address::Address;
use reactorcide_engine::artifacts::{
    self, Artifact, ArtifactError, ArtifactKind, ArtifactStore, Content, Filter, Job, MAX_BYTES,
    MAX_CACHE_BYTES, NewArtifact, Taken, best_cache, may_read,
};
use reactorcide_engine::config::{Kind, Spec};
use reactorcide_engine::coordinator::{CoordinatorError, Keeping, LeaseId, Offered};
use reactorcide_engine::runs::RunFilter;
use reactorcide_engine::scheduler::{Assignment, Millis, assignment};

use crate::applied::Applied;
use crate::conductor::{ConductError, Conductor, now};

/// Caches that are looked through for one prefix.
const MOST_CACHES: u32 = 1000;
/// Runs that are looked through for what a job has made that was not run again.
const MOST_EARLIER: usize = 32;

/// Tells the branch that counts as a project's main line.
#[async_trait]
pub trait Projects: Send + Sync {
    /// Of a project; `None` where nobody said.
    async fn default_branch(&self, project: &str) -> Option<String>;
}

#[async_trait]
impl Projects for Applied {
    async fn default_branch(&self, project: &str) -> Option<String> {
        let current = match self.current().await {
            Ok(current) => current,
            Err(error) => {
                // Without it a job may read less, and never more.
                tracing::warn!(%error, project, "the default branch of a project could not be looked up");
                return None;
            }
        };
        match &current.catalog.get(&Address::new(Kind::Project, None, project))?.spec {
            Spec::Project(project) => project.source.as_ref()?.default_branch.clone(),
            _ => None,
        }
    }
}

/// No project says anything.
pub struct NoProjects;

#[async_trait]
impl Projects for NoProjects {
    async fn default_branch(&self, _: &str) -> Option<String> {
        None
    }
}

/// What jobs keep and take.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn ArtifactStore>,
    projects: Arc<dyn Projects>,
    keeping: Arc<Mutex<HashSet<LeaseId>>>,
}

/// A job keeps a file by itself.
pub struct Turn {
    keeping: Arc<Mutex<HashSet<LeaseId>>>,
    lease: LeaseId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.lease);
    }
}

/// Why content was not kept or given.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The lease is over.
    #[error("the attempt is over")]
    Over,
    /// It is not for this job.
    #[error("{0}")]
    Refused(String),
    /// There is no such artifact.
    #[error("there is no such artifact")]
    Missing,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] ArtifactError),
    /// The run could not be looked at.
    #[error(transparent)]
    Run(#[from] ConductError),
}

/// What is known of a job that asks.
struct Asker {
    job: Job,
    default_branch: Option<String>,
    assignment: Option<Assignment>,
    taken: Vec<Taken>,
    /// The run that its run repeats.
    repeats: Option<String>,
}

impl Files {
    /// What is kept in a store.
    pub fn new(store: Arc<dyn ArtifactStore>, projects: Arc<dyn Projects>) -> Self {
        Self { store, projects, keeping: Arc::default() }
    }

    /// Where it is kept.
    pub fn store(&self) -> &Arc<dyn ArtifactStore> {
        &self.store
    }

    /// The turn of a job to keep a file by itself, until it is dropped; nothing while it has one.
    pub fn turn(&self, lease: &LeaseId) -> Option<Turn> {
        let mut keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        keeping
            .insert(lease.clone())
            .then(|| Turn { keeping: Arc::clone(&self.keeping), lease: lease.clone() })
    }

    /// Keeps content of a job, `room` bytes of it at most. The lease was checked.
    pub async fn keep(
        &self,
        conductor: &Conductor,
        lease: &LeaseId,
        keeping: &Keeping,
        room: u64,
        content: Content,
    ) -> Result<(), FilesError> {
        let asker = self.asker(conductor, lease).await?;
        let declared = asker.assignment.as_ref().and_then(|assignment| assignment.job.artifacts.as_ref());
        let is_artifact = keeping.kind == ArtifactKind::Artifact;
        let now = now();
        let lives = declared.filter(|_| is_artifact).and_then(|artifacts| artifacts.expires);
        let most = room.min(if is_artifact { MAX_BYTES } else { MAX_CACHE_BYTES });
        if keeping.size.is_some_and(|size| size > most) {
            return Err(ArtifactError::TooLarge { name: keeping.name.clone(), limit: most }.into());
        }
        let new = NewArtifact {
            id: uuid::Uuid::now_v7().to_string(),
            kind: keeping.kind,
            run: asker.job.run,
            node: lease.node.clone(),
            attempt: lease.attempt,
            name: keeping.name.clone(),
            executable: keeping.executable,
            trusted: asker.job.trusted,
            secretless: asker.job.secretless,
            namespace: asker.job.namespace,
            created_at: now,
            expires_at: lives
                .map(|lives| now.saturating_add(Millis::try_from(lives.as_millis()).unwrap_or(Millis::MAX))),
            limit: keeping.size.unwrap_or(most),
            sha256: None,
        };
        // What comes to its end after the lease did is not the attempt's any more.
        let (queue, lease) = (Arc::clone(&conductor.queue), lease.clone());
        let end = futures_util::stream::once(async move {
            match queue.holder(&lease).await {
                Ok(Some(_)) => None,
                Ok(None) => Some(Err(std::io::Error::other("the attempt is over"))),
                Err(error) => Some(Err(std::io::Error::other(error))),
            }
        });
        let content = whole(content, keeping.size).chain(end.filter_map(std::future::ready)).boxed();
        match self.store.put(&new, content).await {
            // Whoever saved it first, it is what the key stands for.
            Err(ArtifactError::Taken { kind: ArtifactKind::Cache, .. }) => Ok(()),
            kept => Ok(kept.map(|_| ())?),
        }
    }

    /// The files that a job takes from those that it depends on.
    pub async fn inputs(&self, conductor: &Conductor, lease: &LeaseId) -> Result<Vec<Offered>, FilesError> {
        let asker = self.asker(conductor, lease).await?;
        let mut offered = Vec::new();
        for taken in &asker.taken {
            let mut found = Vec::new();
            let mut run =
                Some(if taken.earlier { asker.repeats.clone() } else { Some(lease.run.clone()) }).flatten();
            for _ in 0..MOST_EARLIER {
                let Some(of) = run.take() else { break };
                found = self.of_attempt(&of, &taken.node, taken.attempt).await?;
                if !found.is_empty() || !taken.earlier {
                    break;
                }
                run = repeats(conductor, &of).await?;
            }
            let may = |artifact: &Artifact| asker.may_read(artifact).is_ok();
            let mut found: Vec<Offered> = found.into_iter().filter(may).map(offer).collect();
            found.sort_by(|one, other| one.name.cmp(&other.name));
            offered.append(&mut found);
        }
        Ok(offered)
    }

    /// The artifacts that a job may read of its own run, and of an earlier one where it takes those.
    pub async fn readable(&self, conductor: &Conductor, lease: &LeaseId) -> Result<Vec<Offered>, FilesError> {
        let asker = self.asker(conductor, lease).await?;
        let kind = Some(ArtifactKind::Artifact);
        let filter = Filter { kind, run: Some(lease.run.clone()), ..Filter::default() };
        let mut found = self.store.list(&filter).await?;
        found.retain(|artifact| asker.may_read(artifact).is_ok());
        found.sort_by(|one, other| {
            (&one.node, one.attempt, &one.name).cmp(&(&other.node, other.attempt, &other.name))
        });
        let mut readable: Vec<Offered> = found.into_iter().map(offer).collect();
        if asker.taken.iter().any(|taken| taken.earlier) {
            let inputs = self.inputs(conductor, lease).await?;
            let is_new = |input: &Offered| readable.iter().all(|known| known.id != input.id);
            let earlier: Vec<Offered> = inputs.into_iter().filter(is_new).collect();
            readable.extend(earlier);
        }
        Ok(readable)
    }

    /// The best cache for a job.
    pub async fn cache(
        &self,
        conductor: &Conductor,
        lease: &LeaseId,
        key: &str,
        restore_keys: &[String],
    ) -> Result<Option<Offered>, FilesError> {
        let asker = self.asker(conductor, lease).await?;
        // One after the other: the first that there is one for is the best.
        let exact: &[String] = &[];
        let prefixes = restore_keys.chunks(1).map(|one| (one[0].as_str(), one));
        for (prefix, restore_keys) in std::iter::once((key, exact)).chain(prefixes) {
            let filter = Filter {
                kind: Some(ArtifactKind::Cache),
                project: Some(asker.job.namespace.project.clone()),
                prefix: Some(prefix.to_owned()),
                limit: Some(MOST_CACHES),
                ..Filter::default()
            };
            let caches = self.store.list(&filter).await?;
            let branch = asker.default_branch.as_deref();
            if let Some(best) = best_cache(&asker.job, branch, key, restore_keys, &caches) {
                return Ok(Some(offer(best.clone())));
            }
        }
        Ok(None)
    }

    /// The content of something that a job may read, from a byte on.
    pub async fn content(
        &self,
        conductor: &Conductor,
        lease: &LeaseId,
        id: &str,
        from: u64,
    ) -> Result<Content, FilesError> {
        let artifact = self.store.stat(id).await?.ok_or(FilesError::Missing)?;
        let asker = self.asker(conductor, lease).await?;
        asker.may_read(&artifact).map_err(|denied| FilesError::Refused(denied.to_string()))?;
        self.store.get(id, Some(from..artifact.size)).await?.ok_or(FilesError::Missing)
    }

    /// How many files an attempt has kept, and how many bytes they have together.
    pub async fn kept(&self, lease: &LeaseId) -> Result<(usize, u64), FilesError> {
        let kept = self.of_attempt(&lease.run, &lease.node, lease.attempt).await?;
        Ok((kept.len(), kept.iter().map(|artifact| artifact.size).sum()))
    }

    async fn of_attempt(&self, run: &str, node: &str, attempt: u32) -> Result<Vec<Artifact>, FilesError> {
        let filter = Filter {
            kind: Some(ArtifactKind::Artifact),
            run: Some(run.to_owned()),
            node: Some(node.to_owned()),
            ..Filter::default()
        };
        let mut found = self.store.list(&filter).await?;
        found.retain(|artifact| artifact.attempt == attempt);
        Ok(found)
    }

    async fn asker(&self, conductor: &Conductor, lease: &LeaseId) -> Result<Asker, FilesError> {
        let node = lease.node.clone();
        let look =
            conductor.look(&lease.run, true, move |known| known.state.workflow.address.project.clone());
        let default_branch = match look.await? {
            Some(project) => self.projects.default_branch(&project).await,
            None => None,
        };
        let branch = default_branch.clone();
        let look = conductor.look(&lease.run, true, move |known| {
            let job = artifacts::producer(&known.state, &node, branch.as_deref())?;
            let taken = artifacts::taken(&known.state, &node, known.record.started_at);
            let assignment = assignment(&known.state, &node, now()).and_then(Result::ok);
            Some((job, taken, assignment, known.record.retry_of.clone()))
        });
        let (job, taken, assignment, repeats) = look.await?.ok_or(FilesError::Over)?;
        Ok(Asker { job, default_branch, assignment, taken, repeats })
    }
}

impl Asker {
    fn may_read(&self, artifact: &Artifact) -> Result<artifacts::Readable, artifacts::Denied> {
        may_read(&self.job, artifact, self.default_branch.as_deref())
    }
}

async fn repeats(conductor: &Conductor, run: &str) -> Result<Option<String>, FilesError> {
    let filter = RunFilter { id: Some(run.to_owned()), ..RunFilter::newest(1) };
    let known = conductor.runs.runs(&filter).await.map_err(|error| ConductError::Store(Arc::new(error)))?;
    Ok(known.into_iter().next().and_then(|known| known.retry_of))
}

fn offer(artifact: Artifact) -> Offered {
    let Artifact { id, node, name, size, executable, .. } = artifact;
    Offered { id, job: node, name, size, executable }
}

/// Content that ends where it was said to: less is a failure, which leaves nothing.
fn whole(content: Content, size: Option<u64>) -> Content {
    let Some(size) = size else { return content };
    let come = 0_u64;
    futures_util::stream::unfold((content, come, false), move |(mut content, come, is_over)| async move {
        if is_over {
            return None;
        }
        match content.next().await {
            Some(Ok(piece)) => {
                let come = come + piece.len() as u64;
                Some((Ok(piece), (content, come, false)))
            }
            Some(Err(error)) => Some((Err(error), (content, come, true))),
            None if come < size => {
                let message = format!("{come} of {size} bytes came");
                Some((
                    Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message)),
                    (content, come, true),
                ))
            }
            None => None,
        }
    })
    .boxed()
}

impl FilesError {
    /// The same for a worker.
    pub(crate) fn of(self, lease: &LeaseId) -> CoordinatorError {
        match self {
            Self::Over | Self::Run(ConductError::Stale(_) | ConductError::NoRun(_)) => lease.stale(),
            Self::Run(error) => CoordinatorError::Unavailable(error.to_string()),
            Self::Store(ArtifactError::Storage(error)) if error.is_transient() => {
                CoordinatorError::Unavailable(error.to_string())
            }
            Self::Store(ArtifactError::Rows(error)) => CoordinatorError::Unavailable(error.to_string()),
            Self::Store(ArtifactError::Content { name, source }) => {
                CoordinatorError::Unavailable(format!("the content of {name:?} broke off: {source}"))
            }
            refused => CoordinatorError::Refused(refused.to_string()),
        }
    }
}
