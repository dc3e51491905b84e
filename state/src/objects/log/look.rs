//! Learning what is there, by a listing.

use std::time::{Duration, Instant};

use reactorcide_engine::storage::StorageError;

use super::{Log, TRIES};
use crate::objects::segment::{Segment, Sequence, marked};

impl Log {
    /// Learns what is there by a listing that begins after this was called. Several who ask share one.
    pub(super) async fn look(&self) -> Result<(), StorageError> {
        let asked = self.state().listings;
        let _turn = self.looking.lock().await;
        if self.state().looked > asked {
            return Ok(());
        }
        self.list().await
    }

    /// Looks, by who holds `looking`.
    pub(super) async fn list(&self) -> Result<(), StorageError> {
        for left in (0..TRIES).rev() {
            let number = {
                let mut state = self.state();
                state.put_since.clear();
                state.listings += 1;
                state.listings
            };
            let objects = self.storage.list(&self.directory).await?;
            let named = objects.iter().filter_map(|object| Some((object.location.filename()?, object.size)));
            let finished = named.clone().filter_map(|(name, _)| marked(name)).min();
            // One whose size is not what its name says was cut off by the end of a machine.
            let mut segments: Vec<Segment> = named
                .filter_map(|(name, size)| Segment::parse(name).filter(|segment| segment.len() == size))
                .collect();
            let learnt = {
                let mut state = self.state();
                segments.extend(&state.put_since);
                let sequence = Sequence::new(segments);
                let is_torn = !sequence.beyond.is_empty() || finished.is_some_and(|end| end > sequence.end());
                (left == 0 || !is_torn).then(|| {
                    let shrank = sequence.end() < state.sequence.end();
                    let freed = if shrank { state.cache.clear() } else { 0 };
                    (state.sequence, state.finished) = (sequence, finished);
                    (state.looked, state.looked_at) = (number, Some(Instant::now()));
                    (freed, state.progress())
                })
            };
            let Some((freed, progress)) = learnt else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            self.pool.changed(&self.key, freed, 0);
            self.progress.send_if_modified(|known| std::mem::replace(known, progress) != progress);
            return Ok(());
        }
        Ok(())
    }
}
