//! Reads a spool and hands it over, at the pace of whoever takes it.

use std::sync::Arc;

use reactorcide_engine::coordinator::{CoordinatorError, LeaseId};

use crate::keeper::Keeper;
use crate::spool::SpoolReader;

/// Hands over until the spool ends or nobody wants it any more.
pub async fn follow(mut reader: SpoolReader, keeper: Arc<Keeper>, lease: LeaseId) {
    while let Some((offset, lines)) = reader.next().await {
        match keeper.log(&lease, offset, &lines).await {
            Ok(next) => reader.go_on_at(next),
            Err(CoordinatorError::Gap { expected }) if expected < offset => reader.go_on_at(expected),
            Err(error) => {
                tracing::debug!(%error, job.name = lease.node, "the rest of a log is wanted by nobody");
                return;
            }
        }
    }
}
