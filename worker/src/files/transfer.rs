//! What a job takes before it starts and keeps after it ended, through its coordinator.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use reactorcide_engine::artifacts::{ArtifactKind, cache_key};
use reactorcide_engine::config::{Artifacts, Cache};
use reactorcide_engine::coordinator::{Coordinator, CoordinatorError, Keeping, LeaseId, Offered};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::bridge::{self, Outlet, PIECE};
use super::select::{check, missing, select, weigh};
use super::settle::settle;
use super::tree::{Owner, Tree};
use super::{FilesError, archive};
use crate::keeper::back_off;
use crate::source::inside;

/// How many files are on their way at once.
const AT_ONCE: usize = 4;
/// How long a coordinator may be away before a job fails for it.
const PATIENCE: Duration = Duration::from_secs(180);
/// A try that took longer had reached somebody.
const LONG: Duration = Duration::from_secs(30);
/// Below the workspace: where the files of other jobs are, each job's in a directory of its name.
const INPUTS: &str = "artifacts";
/// Below the workspace: where a cache is until all of it is known to fit.
const UNPACKED: &str = ".cache-unpacked";

/// Writes content from its beginning.
type Write = dyn Fn(&mut Outlet) -> io::Result<()> + Send + Sync;

/// The files of one attempt.
#[derive(Clone)]
pub struct Transfer {
    /// Where they come from and go to.
    pub coordinator: Arc<dyn Coordinator>,
    /// The lease on the attempt.
    pub lease: LeaseId,
    /// The workspace.
    pub tree: Arc<Tree>,
    /// The working directory, below the workspace; nothing, where it is elsewhere.
    pub base: Option<PathBuf>,
    /// Where the workspace is in the container.
    pub mount: String,
    /// Who is to own what is put there.
    pub owner: Owner,
    /// How many bytes a cache may have in the workspace.
    pub room: u64,
}

/// What is known of a job's cache after it was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The key that the job's declaration stands for.
    pub key: String,
    /// The key of the cache that was there, if one was.
    pub found: Option<String>,
    /// Why that was not taken, where it was not. Nothing of it is in the workspace then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_taken: Option<String>,
}

impl Restored {
    /// What people must know who wonder where the cache is.
    pub fn note(&self) -> Option<String> {
        let (found, why) = self.found.as_ref().zip(self.not_taken.as_ref())?;
        Some(format!("the cache {found:?} was not taken: {why}"))
    }
}

impl Transfer {
    /// Takes what the jobs have kept that this one depends on. Returns how many files and bytes that were.
    pub async fn take_inputs(&self) -> Result<(usize, u64), FilesError> {
        let inputs = until_known(|| self.coordinator.inputs(&self.lease)).await?;
        let sum = (inputs.len(), inputs.iter().map(|offered| offered.size).sum());
        let each = |offered: Offered| self.take_one(offered);
        stream::iter(inputs).map(each).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(sum)
    }

    async fn take_one(&self, offered: Offered) -> Result<(), FilesError> {
        let path = Path::new(INPUTS).join(&offered.job).join(&offered.name);
        let (tree, owner, executable) = (Arc::clone(&self.tree), self.owner, offered.executable);
        self.read(&offered, move |mut content| {
            let mut file = tree.create(&path, executable, owner).map_err(FilesError::io(&path, "written"))?;
            io::copy(&mut content, &mut file).map_err(FilesError::io(&path, "written"))?;
            Ok(())
        })
        .await
    }

    /// Puts the best cache into the workspace, if there is one that fits into it.
    pub async fn restore(
        &self,
        cache: &Cache,
        vars: &BTreeMap<String, Value>,
    ) -> Result<Restored, FilesError> {
        let paths = self.cache_paths(cache)?;
        let (this, declared, vars) = (self.clone(), cache.clone(), vars.clone());
        let key = blocking(move || this.key_of(&declared, &vars)).await?;
        let ask = || self.coordinator.cache(&self.lease, &key, &cache.restore_keys);
        let Some(offered) = until_known(ask).await? else {
            return Ok(Restored { key, found: None, not_taken: None });
        };
        let (tree, owner, room, name) = (Arc::clone(&self.tree), self.owner, self.room, offered.name.clone());
        let taken = self.read(&offered, move |content| {
            let base = Path::new(UNPACKED);
            let into = archive::Into { tree: &tree, base, paths: &paths, room, owner };
            let settled = archive::unpack(&name, content, &into).and_then(|()| settle(&name, &tree, base));
            let removed = tree.remove(base).map_err(FilesError::io(base, "removed"));
            settled.and(removed)
        });
        let not_taken = match taken.await {
            Ok(()) => None,
            // The job can do without, and the next attempt would find the same.
            Err(error) if error.is_of_the_content() => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Restored { key, found: Some(offered.name), not_taken })
    }

    /// Keeps a cache under its key.
    pub async fn save(&self, cache: &Cache, key: &str) -> Result<(), FilesError> {
        let paths = self.cache_paths(cache)?;
        let keeping =
            Keeping { kind: ArtifactKind::Cache, name: key.to_owned(), executable: false, size: None };
        let (tree, room) = (Arc::clone(&self.tree), self.room);
        let pack = move |outlet: &mut Outlet| archive::pack(&tree, Path::new(""), &paths, room, outlet);
        self.send(&keeping, Arc::new(pack)).await?.map_err(FilesError::Pack)
    }

    /// Keeps what a job declares. Returns how many files and bytes that were. Where `all` must be there, a name without
    /// wildcards that means nothing is an error.
    pub async fn keep(&self, artifacts: &Artifacts, all: bool) -> Result<(usize, u64), FilesError> {
        let base = self.base_for("artifacts.paths:", &artifacts.paths)?;
        let (tree, mount, patterns) = (Arc::clone(&self.tree), self.mount.clone(), artifacts.paths.clone());
        let files = blocking(move || {
            let selected = select(&tree, &base, &mount, &patterns)?;
            if let Some(pattern) = missing(&selected, &mount, &patterns).filter(|_| all) {
                return Err(FilesError::Nothing(pattern.clone()));
            }
            if selected.others > 0 {
                tracing::info!(count = selected.others, "what is no regular file was not kept");
            }
            let mut bytes = 0_u64;
            let mut files = Vec::with_capacity(selected.files.len());
            for (name, path) in selected.files {
                let (_, size, executable) = tree.file(&path).map_err(FilesError::io(&path, "read"))?;
                bytes = bytes.saturating_add(size);
                weigh(bytes)?;
                let kind = ArtifactKind::Artifact;
                files.push((path, Keeping { kind, name, executable, size: Some(size) }));
            }
            Ok((files, bytes))
        });
        let (files, bytes) = files.await?;
        let count = files.len();
        let each = |(path, keeping)| self.keep_one(path, keeping);
        stream::iter(files).map(each).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok((count, bytes))
    }

    async fn keep_one(&self, path: PathBuf, keeping: Keeping) -> Result<(), FilesError> {
        let size = keeping.size.unwrap_or(u64::MAX);
        let (tree, of) = (Arc::clone(&self.tree), path.clone());
        let copy = move |outlet: &mut Outlet| {
            let (file, ..) = tree.file(&of)?;
            io::copy(&mut io::BufReader::with_capacity(PIECE, file.take(size)), outlet).map(|_| ())
        };
        self.send(&keeping, Arc::new(copy)).await?.map_err(FilesError::io(path, "read"))
    }

    /// Sends what is written. Where that fails here, another try would find the same, and it is not made.
    async fn send(&self, keeping: &Keeping, write: Arc<Write>) -> Result<io::Result<()>, CoordinatorError> {
        until_known(|| async {
            let failure = Arc::new(Mutex::new(None));
            let (write, of_write) = (Arc::clone(&write), Arc::clone(&failure));
            let content = bridge::written(move |outlet| {
                write(outlet).inspect_err(|error| {
                    // A broken pipe says that nobody reads on, which is not for want of content.
                    if error.kind() != io::ErrorKind::BrokenPipe {
                        let copy = io::Error::new(error.kind(), error.to_string());
                        *of_write.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
                    }
                })
            });
            let kept = self.coordinator.keep(&self.lease, keeping, content).await;
            let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            match (kept, failure) {
                (Err(CoordinatorError::Unavailable(_) | CoordinatorError::Refused(_)), Some(failure)) => {
                    Ok(Err(failure))
                }
                (kept, _) => kept.map(Ok),
            }
        })
        .await
    }

    /// Reads content on a thread of its own. Where it breaks off, the rest is asked for.
    async fn read<T: Send + 'static>(
        &self,
        offered: &Offered,
        take: impl FnOnce(bridge::Inlet) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, FilesError> {
        let (pieces, inlet) = bridge::inlet();
        let taking = blocking(move || take(inlet));
        let giving = async move {
            let mut at = 0;
            let mut since = Instant::now();
            let mut failures = 0;
            while at < offered.size {
                let asked = self.coordinator.content(&self.lease, &offered.id, at).await;
                let mut broken = None;
                match asked {
                    Ok(mut content) => {
                        while let Some(piece) = content.next().await {
                            match piece {
                                Ok(piece) => {
                                    at += piece.len() as u64;
                                    (since, failures) = (Instant::now(), 0);
                                    if pieces.send(Ok(piece)).await.is_err() {
                                        // Whoever takes it has said why it does not go on.
                                        return Ok(());
                                    }
                                }
                                Err(error) => {
                                    broken = Some(error.to_string());
                                    break;
                                }
                            }
                        }
                    }
                    Err(CoordinatorError::Unavailable(reason)) => broken = Some(reason),
                    Err(error) => {
                        let _ = pieces.send(Err(io::Error::other(error.to_string()))).await;
                        return Err(error.into());
                    }
                }
                if at >= offered.size {
                    break;
                }
                let reason = broken.unwrap_or_else(|| "the content ends too early".to_owned());
                if since.elapsed() >= PATIENCE {
                    let _ = pieces.send(Err(io::Error::other(reason.clone()))).await;
                    return Err(CoordinatorError::Unavailable(reason).into());
                }
                failures += 1;
                sleep(back_off(failures)).await;
            }
            Ok(())
        };
        let (taken, given): (_, Result<(), FilesError>) = tokio::join!(taking, giving);
        // What the coordinator said is why the rest failed.
        given.and(taken)
    }

    fn cache_paths(&self, cache: &Cache) -> Result<Vec<PathBuf>, FilesError> {
        let base = self.base_for("cache.paths:", &cache.paths)?;
        let whole = |path: &String| {
            let refuse = |why: &str| FilesError::Pattern {
                what: "cache.paths:",
                pattern: path.clone(),
                why: why.to_owned(),
            };
            let below = path.strip_prefix(&self.mount).and_then(|rest| rest.strip_prefix('/'));
            let (from, path) = below.map_or((base.as_path(), path.as_str()), |path| (Path::new(""), path));
            let path = from.join(inside(path.as_bytes()).map_err(refuse)?);
            if path.as_os_str().is_empty() { Err(refuse("is the whole workspace")) } else { Ok(path) }
        };
        cache.paths.iter().map(whole).collect()
    }

    /// The working directory, for names that count from it.
    fn base_for(&self, what: &'static str, patterns: &[String]) -> Result<PathBuf, FilesError> {
        let is_elsewhere = |pattern: &&String| {
            let bare = pattern.strip_prefix('!').unwrap_or(pattern);
            !bare.strip_prefix(&self.mount).is_some_and(|rest| rest.starts_with('/'))
        };
        match (&self.base, patterns.iter().find(is_elsewhere)) {
            (Some(base), _) => Ok(base.clone()),
            (None, None) => Ok(PathBuf::new()),
            (None, Some(pattern)) => Err(FilesError::Pattern {
                what,
                pattern: pattern.clone(),
                why: format!("counts from the working directory, which is not below {}", self.mount),
            }),
        }
    }

    fn key_of(&self, cache: &Cache, vars: &BTreeMap<String, Value>) -> Result<String, FilesError> {
        let base = self.base.clone().unwrap_or_default();
        let mut failure = None;
        let key = cache_key(&cache.key, vars, |pattern| {
            let hashed = check(pattern, &self.mount).and_then(|()| self.hash(&base, pattern));
            hashed.unwrap_or_else(|error| {
                failure = Some(error);
                None
            })
        });
        match failure {
            Some(error) => Err(error),
            None => key.map_err(|error| FilesError::Pattern {
                what: "cache.key:",
                pattern: cache.key.clone(),
                why: format!("gives none: {error}"),
            }),
        }
    }

    /// Stands for the files that a pattern means, their names and what is in them.
    fn hash(&self, base: &Path, pattern: &str) -> Result<Option<String>, FilesError> {
        let selected = select(&self.tree, base, &self.mount, &[pattern.to_owned()])?;
        if selected.files.is_empty() {
            return Ok(None);
        }
        let mut digest = Sha256::new();
        for (name, path) in &selected.files {
            let (file, size, _) = self.tree.file(path).map_err(FilesError::io(path, "read"))?;
            digest.update((name.len() as u64).to_be_bytes());
            digest.update(name);
            digest.update(size.to_be_bytes());
            io::copy(&mut file.take(size), &mut Hashing(&mut digest))
                .map_err(FilesError::io(path, "read"))?;
        }
        Ok(Some(digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()))
    }
}

struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asks until somebody answers, or nobody did for too long. A try that went on for long shows that there was somebody.
async fn until_known<T, F>(mut ask: impl FnMut() -> F) -> Result<T, CoordinatorError>
where
    F: Future<Output = Result<T, CoordinatorError>>,
{
    let mut since = Instant::now();
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let answer = ask().await;
        if began.elapsed() > LONG {
            (since, failures) = (Instant::now(), 0);
        }
        match answer {
            Err(CoordinatorError::Unavailable(reason)) if since.elapsed() < PATIENCE => {
                if failures == 0 {
                    tracing::warn!(reason, "files of a job are on their way, trying again");
                }
                failures += 1;
                sleep(back_off(failures)).await;
            }
            other => return other,
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(FilesError::io("", "read")(io::Error::other(error))))
}

#[cfg(test)]
mod tests;
