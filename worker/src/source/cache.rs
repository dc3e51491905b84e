//! Fetched code that is kept: items that are whole or not there, locked by whoever uses them, the least used removed
//! first.
//!
//! An item is a directory; beside it lies a file that is locked while somebody makes, changes or removes the item
//! (alone) or reads it (together with others). Locks end with the process that holds them, however it ends. The file
//! holds the item's size, and its time says when the item was last used.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reactorcide_engine::provider::User;

use super::error::SourceError;
use crate::container::UNPRIVILEGED;
use crate::workspace::{disk_usage, host_user, remove_tree};

/// What was used so recently is not removed: between two locks of one user nobody takes it away.
const RECENT: Duration = Duration::from_secs(60);
/// The longest that a lock is waited for between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A directory of items.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    max_bytes: u64,
    /// Whose items are, where we may give them away: that of most jobs, so that they can lie under a layer of theirs.
    pub owner: Option<User>,
}

/// An item that nobody changes or removes for as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// Where it is.
    pub path: PathBuf,
    _lock: File,
}

impl Held {
    /// Its name in the cache.
    pub fn id(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// An item that nobody else sees for as long as this lives.
#[derive(Debug)]
pub struct Alone {
    /// Where it is, or will be.
    pub path: PathBuf,
    lock: File,
    cache: Cache,
}

/// What came of asking for an item that does not change.
#[derive(Debug)]
pub enum Wanted {
    /// It is there.
    Have(Held),
    /// It has to be made.
    Make(Alone),
}

impl Cache {
    /// A cache below a directory, which is made; others cannot look into it.
    pub fn open(root: &Path, max_bytes: u64) -> Result<Self, SourceError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.map_err(SourceError::io(root))?;
        let owner = (host_user().uid == 0).then_some(UNPRIVILEGED);
        Ok(Self { root: root.to_owned(), max_bytes, owner })
    }

    /// A directory of the cache for what is kept in no item, such as an empty home.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// An item that is made once: as it is, or the right to make it.
    pub async fn want(&self, id: &str) -> Result<Wanted, SourceError> {
        loop {
            if let Some(held) = self.have(id).await? {
                return Ok(Wanted::Have(held));
            }
            let alone = self.alone(id).await?;
            if !alone.path.exists() {
                return Ok(Wanted::Make(alone));
            }
        }
    }

    /// An item if it is there.
    pub async fn have(&self, id: &str) -> Result<Option<Held>, SourceError> {
        let path = self.root.join(id);
        if !path.exists() {
            return Ok(None);
        }
        let lock = self.lock(id, false).await?;
        touch(&lock);
        Ok(path.exists().then_some(Held { path, _lock: lock }))
    }

    /// An item for one user alone, whether it is there or not.
    pub async fn alone(&self, id: &str) -> Result<Alone, SourceError> {
        let lock = self.lock(id, true).await?;
        touch(&lock);
        Ok(Alone { path: self.root.join(id), lock, cache: self.clone() })
    }

    /// Waits for a lock without keeping a thread, so that who waits can be told to stop.
    async fn lock(&self, id: &str, alone: bool) -> Result<File, SourceError> {
        let path = self.root.join(format!("{id}.lock"));
        let mut pause = Duration::from_millis(1);
        loop {
            let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
            let file = file.map_err(SourceError::io(&path))?;
            let taken = if alone { file.try_lock() } else { file.try_lock_shared() };
            match taken {
                // It may have been removed with its item while we waited.
                Ok(()) if is_at(&file, &path) => return Ok(file),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LOOK);
                }
                Err(TryLockError::Error(error)) => return Err(SourceError::io(&path)(error)),
            }
        }
    }

    /// Removes the least used items until the rest is small enough. What is in use stays. Returns how many went.
    pub fn evict(&self) -> usize {
        let mut items: Vec<(SystemTime, u64, String)> = Vec::new();
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(GONE) {
                // Somebody was killed while removing it.
                let _ = remove_tree(&entry.path());
            } else if name.starts_with(INCOMING) {
                // No fetch takes so long: somebody was killed in it.
                let changed = entry.metadata().and_then(|metadata| metadata.modified()).ok();
                if changed.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > FORGOTTEN) {
                    let _ = fs::remove_file(entry.path());
                }
            } else if let Some(id) = name.strip_suffix(".new").or(name.strip_suffix(".flat")) {
                self.discard_unfinished(id);
            } else if let Some(id) = name.strip_suffix(".lock")
                && let Ok(metadata) = entry.metadata()
            {
                let bytes = fs::read_to_string(entry.path()).ok().and_then(|text| text.parse().ok());
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                items.push((used, bytes.unwrap_or(0), id.to_owned()));
            }
        }
        items.sort();
        let mut total: u64 = items.iter().map(|(_, bytes, _)| bytes).sum();
        let mut removed = 0;
        for (used, bytes, id) in items {
            let recent = used.elapsed().is_ok_and(|age| age < RECENT);
            if total <= self.max_bytes {
                break;
            }
            if !recent && self.remove(&id) {
                total = total.saturating_sub(bytes);
                removed += 1;
            }
        }
        removed
    }

    /// Removes what somebody began to make and did not end, unless they are still at it.
    fn discard_unfinished(&self, id: &str) {
        let path = self.root.join(format!("{id}.lock"));
        let lock = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(_) => return,
        };
        // Held until all of it is gone.
        if let Some(lock) = &lock
            && (lock.try_lock().is_err() || !is_at(lock, &path))
        {
            return;
        }
        discard(&self.root, &self.root.join(format!("{id}.new")));
        discard(&self.root, &self.root.join(format!("{id}.flat")));
    }

    /// Removes an item unless somebody uses it.
    fn remove(&self, id: &str) -> bool {
        let path = self.root.join(format!("{id}.lock"));
        let Ok(lock) = OpenOptions::new().read(true).write(true).open(&path) else { return false };
        if lock.try_lock().is_err() || !is_at(&lock, &path) {
            return false;
        }
        discard(&self.root, &self.root.join(id));
        discard(&self.root, &self.root.join(format!("{id}.new")));
        fs::remove_file(&path).is_ok()
    }
}

impl Alone {
    /// An empty directory to make the item in; what an earlier try left there is removed.
    pub fn start(&self) -> Result<PathBuf, SourceError> {
        let new = self.path.with_file_name(format!("{}.new", self.name()));
        discard(&self.cache.root, &new);
        discard(&self.cache.root, &new.with_extension("flat"));
        fs::create_dir(&new).map_err(SourceError::io(&new))?;
        Ok(new)
    }

    /// What was made becomes the item, for everybody to read.
    pub async fn publish(self, new: &Path) -> Result<Held, SourceError> {
        if let Some(owner) = self.cache.owner {
            let tree = new.to_owned();
            let given = tokio::task::spawn_blocking(move || give(&tree, owner)).await;
            given.map_err(|error| SourceError::io(new)(error.into()))?.map_err(SourceError::io(new))?;
        }
        self.publish_as_it_is(new).await
    }

    /// The same, with the owners that everything has.
    pub async fn publish_as_it_is(self, new: &Path) -> Result<Held, SourceError> {
        fs::rename(new, &self.path).map_err(SourceError::io(&self.path))?;
        self.settle().await;
        self.lock.lock_shared().map_err(SourceError::io(&self.path))?;
        Ok(Held { path: self.path, _lock: self.lock })
    }

    /// Notes the item's size, and makes room where there is too much.
    pub async fn settle(&self) {
        let (path, cache) = (self.path.clone(), self.cache.clone());
        let bytes = tokio::task::spawn_blocking(move || disk_usage(&path)).await.unwrap_or(0);
        let written = (|| {
            use std::os::unix::fs::FileExt;
            self.lock.set_len(0)?;
            self.lock.write_all_at(bytes.to_string().as_bytes(), 0)
        })();
        if let Err(error) = written {
            tracing::warn!(%error, "the size of a kept source cannot be noted");
        }
        let _ = tokio::task::spawn_blocking(move || cache.evict()).await;
    }

    /// Throws the item away, so that it is made anew.
    pub fn discard(&self) {
        discard(&self.cache.root, &self.path);
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// How the names of files begin that are being fetched.
pub const INCOMING: &str = "incoming-";
/// A file that nobody has written to for so long is of no fetch that goes on.
const FORGOTTEN: std::time::Duration = std::time::Duration::from_secs(6 * 3600);

/// How the names of directories begin that are being removed.
const GONE: &str = "gone-";

/// Removes a directory in one step as far as others can see, and then at leisure.
fn discard(root: &Path, path: &Path) {
    let gone = root.join(format!("{GONE}{:016x}", fastrand::u64(..)));
    match fs::rename(path, &gone) {
        Ok(()) => {
            if let Err(error) = remove_tree(&gone) {
                tracing::warn!(path = %gone.display(), %error, "a kept source cannot be removed");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "a kept source cannot be removed"),
    }
}

/// Gives a tree away; links themselves, and not what they lead to.
fn give(tree: &Path, owner: User) -> io::Result<()> {
    let mut pending = vec![tree.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            lchown(entry.path(), Some(owner.uid), Some(owner.gid))?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
        lchown(&directory, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(())
}

fn touch(lock: &File) {
    let _ = lock.set_modified(SystemTime::now());
}

fn is_at(file: &File, path: &Path) -> bool {
    let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().map(inode).ok() == fs::metadata(path).map(inode).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(max_bytes: u64) -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(&directory.path().join("sources"), max_bytes).expect("a cache");
        (directory, cache)
    }

    async fn make(cache: &Cache, id: &str, bytes: usize) -> Held {
        let Wanted::Make(alone) = cache.want(id).await.expect("it") else { panic!("{id} is there") };
        let new = alone.start().expect("a directory");
        fs::write(new.join("file"), vec![1; bytes]).expect("a file");
        alone.publish(&new).await.expect("it")
    }

    fn age(cache: &Cache, id: &str, seconds: u64) {
        let file = File::options().write(true).open(cache.root.join(format!("{id}.lock"))).expect("a lock");
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).expect("a time");
    }

    #[tokio::test]
    async fn an_item_is_made_once_and_then_shared() {
        let (_directory, cache) = cache(1 << 30);
        let first = make(&cache, "a", 10).await;
        let Wanted::Have(second) = cache.want("a").await.expect("it") else { panic!("it is there") };
        assert_eq!(first.path, second.path);
        assert_eq!(fs::metadata(&cache.root).expect("it").mode() & 0o777, 0o700);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_at_once_make_it_once() {
        let (_directory, cache) = cache(1 << 30);
        let makers: Vec<_> = (0..20)
            .map(|_| {
                let cache = cache.clone();
                tokio::spawn(async move {
                    match cache.want("a").await.expect("it") {
                        Wanted::Have(held) => {
                            assert!(held.path.join("file").exists());
                            0
                        }
                        Wanted::Make(alone) => {
                            let new = alone.start().expect("a directory");
                            tokio::task::yield_now().await;
                            fs::write(new.join("file"), "").expect("a file");
                            alone.publish(&new).await.expect("it");
                            1
                        }
                    }
                })
            })
            .collect();
        let mut made = 0;
        for maker in makers {
            made += maker.await.expect("no panic");
        }
        assert_eq!(made, 1);
    }

    #[tokio::test]
    async fn what_was_begun_and_not_finished_is_not_there() {
        let (_directory, cache) = cache(1 << 30);
        let Wanted::Make(alone) = cache.want("a").await.expect("it") else { panic!("nothing is there") };
        fs::write(alone.start().expect("a directory").join("half"), "").expect("a file");
        drop(alone);
        let held = make(&cache, "a", 1).await;
        assert!(!held.path.join("half").exists());
    }

    #[tokio::test]
    async fn the_least_used_go_first_and_what_is_in_use_stays() {
        let (_directory, cache) = cache(250_000);
        for (id, seconds) in [("old-in-use", 500), ("older", 400), ("newer", 300)] {
            let held = make(&cache, id, 100_000).await;
            if id == "old-in-use" {
                std::mem::forget(held);
            }
            age(&cache, id, seconds);
        }
        let recent = make(&cache, "recent", 10_000).await;
        let left = |id: &str| cache.root.join(id).exists();
        assert!(left("old-in-use") && !left("older") && left("newer") && left("recent"));
        drop(recent);
        assert_eq!(cache.evict(), 0, "it is small enough");
    }

    #[tokio::test]
    async fn what_was_killed_while_it_was_removed_goes_later() {
        let (_directory, cache) = cache(1 << 30);
        fs::create_dir_all(cache.root.join("gone-1/x")).expect("a directory");
        cache.evict();
        assert!(!cache.root.join("gone-1").exists());
    }
}
