//! An object that is written in pieces.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload, WriteMultipart};
use reactorcide_engine::storage::StorageError;
use tokio::runtime::Handle;

use super::Storage;

/// The size of the parts in which large objects are written. What is smaller is written at once.
const PART: usize = 8 << 20;

/// An object that is being written. Dropped before its end, nothing is there.
pub(crate) struct Writer {
    storage: Storage,
    name: Path,
    first: Vec<Bytes>,
    size: usize,
    upload: Option<WriteMultipart>,
}

impl Writer {
    pub(crate) fn new(storage: &Storage, name: Path) -> Self {
        Self { storage: storage.clone(), name, first: Vec::new(), size: 0, upload: None }
    }

    /// Adds bytes; waits while too many are on their way.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        self.size += bytes.len();
        if let Some(upload) = &mut self.upload {
            self.storage.patient("written", upload.wait_for_capacity(1)).await?;
            upload.put(bytes);
            return Ok(());
        }
        self.first.push(bytes);
        if self.size > PART {
            let begun = self.storage.durable.put_multipart(&self.name);
            let begun = self.storage.patient("written", begun).await?;
            let upload = self.upload.insert(WriteMultipart::new_with_chunk_size(begun, PART));
            self.first.drain(..).for_each(|bytes| upload.put(bytes));
        }
        Ok(())
    }

    /// Adds several pieces.
    pub(crate) async fn write_all(&mut self, pieces: Vec<Bytes>) -> Result<(), StorageError> {
        for piece in pieces {
            self.write(piece).await?;
        }
        Ok(())
    }

    /// Makes it visible.
    pub(crate) async fn finish(mut self) -> Result<(), StorageError> {
        if let Some(upload) = self.upload.take() {
            return self.storage.patient("written", upload.finish()).await.map(|_| ());
        }
        let whole = PutPayload::from_iter(std::mem::take(&mut self.first));
        let put = self.storage.durable.put(&self.name, whole);
        self.storage.patient("written", put).await.map(|_| ())
    }

    /// Forgets it, with what was sent.
    pub(crate) async fn abort(mut self) -> Result<(), StorageError> {
        let Some(upload) = self.upload.take() else { return Ok(()) };
        self.storage.patient("removed", upload.abort()).await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A bucket keeps parts, and asks money for them, until somebody says that they are not wanted.
        if let (Some(upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) {
            runtime.spawn(async move { drop(upload.abort().await) });
        }
    }
}
