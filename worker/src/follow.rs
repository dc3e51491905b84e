//! Reads a spool and reports what is in it, at the pace of whoever listens.

use std::sync::Arc;

use reactorcide_engine::coordinator::{Coordinator, LeaseId, Report};

use crate::spool::SpoolReader;

/// Reports until the spool ends or nobody wants to hear.
pub async fn follow(mut reader: SpoolReader, coordinator: Arc<dyn Coordinator>, lease: LeaseId) {
    while let Some(frames) = reader.next().await {
        if coordinator.report(&lease, Report::Frames(frames)).await.is_err() {
            return;
        }
    }
}
