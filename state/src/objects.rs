//! Where logs and artifacts lie: a directory, or a bucket of S3, Google Cloud Storage or Azure.
//!
//! The types of the crate that speaks to them stay below this module.

mod artifacts;
mod cache;
mod failure;
mod log;
mod logs;
mod name;
mod open;
mod segment;
mod unfinished;
mod writer;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use reactorcide_engine::storage::StorageError;

use failure::Attempt;
use writer::Writer;

pub use artifacts::Artifacts;
pub use logs::{LogSettings, Logs};
pub use open::OpenError;

/// How long one request may take in all, tries included.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place for objects, by name. Whoever has a clone of it uses the same connections.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    /// The same, which in a directory also survives the end of the machine. It costs milliseconds.
    durable: Arc<dyn ObjectStore>,
    location: Arc<str>,
    /// For a directory: where it is.
    root: Option<Arc<PathBuf>>,
}

/// What can be asked of a storage. Every name is relative to the place that was opened; every object is whole or not there.
impl Storage {
    /// Where it is, for people: without credentials.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Whether it is a directory: writing costs next to nothing.
    pub(crate) fn is_directory(&self) -> bool {
        self.root.is_some()
    }

    /// Asks for something, to learn at once whether it can be reached and we are let in.
    pub async fn check(&self) -> Result<(), StorageError> {
        let first = async { self.store.list(None).next().await.transpose() };
        self.patient("listed", first).await.map(|_| ())
    }

    /// Writes an object. Once this returned, it is there, whole.
    pub(crate) async fn put(&self, name: &Path, pieces: Vec<Bytes>) -> Result<(), StorageError> {
        let put = self.store.put(name, PutPayload::from_iter(pieces));
        self.patient("written", put).await.map(|_| ())
    }

    /// Begins an object that comes in pieces. It is there once [`Writer::finish`] returned, and not before.
    pub(crate) fn writer(&self, name: Path) -> Writer {
        Writer::new(self, name)
    }

    /// Some bytes of an object; `None` where there is no such object.
    pub(crate) async fn get(&self, name: &Path, range: Range<u64>) -> Result<Option<Bytes>, StorageError> {
        self.found("read", self.store.get_range(name, range)).await
    }

    /// An object, or a range of it that is not empty, as a stream; `None` where there is no such object.
    pub(crate) async fn stream(
        &self,
        name: &Path,
        range: Option<Range<u64>>,
    ) -> Result<Option<BoxStream<'static, std::io::Result<Bytes>>>, StorageError> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let found = self.found("read", self.store.get_opts(name, options)).await?;
        let location = self.location.clone();
        let failed = move |error: object_store::Error| {
            std::io::Error::other(Attempt { location: &location, what: "read" }.failed(&error))
        };
        Ok(found.map(|found| found.into_stream().map_err(failed).boxed()))
    }

    /// Everything below a name.
    pub(crate) async fn list(&self, below: &Path) -> Result<Vec<ObjectMeta>, StorageError> {
        let all = async { self.store.list(Some(below)).try_collect().await };
        self.patient("listed", all).await
    }

    /// The names just below a name that have something below them.
    pub(crate) async fn directories(&self, below: &Path) -> Result<Vec<Path>, StorageError> {
        let listed = self.patient("listed", self.store.list_with_delimiter(Some(below))).await?;
        Ok(listed.common_prefixes)
    }

    /// Removes objects. What is gone is no error.
    pub(crate) async fn remove(&self, names: Vec<Path>) -> Result<(), StorageError> {
        let names = stream::iter(names).map(Ok).boxed();
        let mut removed = self.store.delete_stream(names);
        loop {
            let next = async { removed.next().await.transpose() };
            match tokio::time::timeout(PATIENCE, next).await.map_err(|_| self.attempt("removed").slow())? {
                Ok(Some(_)) | Err(object_store::Error::NotFound { .. }) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.attempt("removed").failed(&error)),
            }
        }
    }

    /// Removes everything below a name.
    pub(crate) async fn remove_below(&self, below: &Path) -> Result<(), StorageError> {
        let Some(root) = &self.root else {
            let names = self.list(below).await?;
            return self.remove(names.into_iter().map(|object| object.location).collect()).await;
        };
        // With what a killed process left half written, which no listing shows, and with the directories.
        let directory = root.join(below.as_ref());
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
        match removed.unwrap_or_else(|error| Err(error.into())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(self.attempt("removed").broken(&error))
            }
            _ => Ok(()),
        }
    }

    /// In a directory: removes what a killed process left half written below a name before a time. No listing shows it.
    /// A bucket has rules of its own for that.
    pub(crate) async fn remove_unfinished(
        &self,
        below: &Path,
        before: std::time::SystemTime,
    ) -> Result<Vec<String>, StorageError> {
        let Some(root) = &self.root else { return Ok(Vec::new()) };
        let directory = root.join(below.as_ref());
        let removed = tokio::task::spawn_blocking(move || unfinished::remove(&directory, before)).await;
        let removed = removed.unwrap_or_else(|error| Err(error.into()));
        removed.map_err(|error| self.attempt("removed").broken(&error))
    }

    fn attempt(&self, what: &'static str) -> Attempt<'_> {
        Attempt { location: &self.location, what }
    }

    async fn found<T>(
        &self,
        what: &'static str,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<Option<T>, StorageError> {
        let found = async {
            match request.await {
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                other => other.map(Some),
            }
        };
        self.patient(what, found).await
    }

    /// What a request says, or that it took too long.
    async fn patient<T>(
        &self,
        what: &'static str,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StorageError> {
        match tokio::time::timeout(PATIENCE, request).await {
            Ok(answer) => answer.map_err(|error| self.attempt(what).failed(&error)),
            Err(_) => Err(self.attempt(what).slow()),
        }
    }
}
