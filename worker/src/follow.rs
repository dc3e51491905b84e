//! Reads a spool and hands it over, at the pace of whoever takes it.

use std::sync::Arc;

use reactorcide_engine::coordinator::{CoordinatorError, LeaseId};

use crate::keeper::Keeper;
use crate::spool::SpoolReader;

/// Hands over until the spool ends or nobody wants it any more. The first `known` bytes may have been handed over
/// before.
pub async fn follow(mut reader: SpoolReader, known: u64, keeper: Arc<Keeper>, lease: LeaseId) {
    // How much more was handed over before than is here: a machine that broke down forgets the end of a file.
    let mut ahead = 0;
    if known > 0 {
        reader.go_on_at(known);
        match keeper.log(&lease, known, &[]).await {
            Ok(next) => ahead = next.saturating_sub(known),
            Err(CoordinatorError::Gap { expected }) if expected < known => reader.go_on_at(expected),
            Err(error) => return unwanted(&lease, &error),
        }
    }
    while let Some((offset, lines)) = reader.next().await {
        let offset = offset + ahead;
        match keeper.log(&lease, offset, &lines).await {
            Ok(next) => reader.go_on_at(next.saturating_sub(ahead)),
            Err(CoordinatorError::Gap { expected }) if expected < offset => {
                reader.go_on_at(expected.saturating_sub(ahead));
            }
            Err(error) => return unwanted(&lease, &error),
        }
    }
}

fn unwanted(lease: &LeaseId, error: &CoordinatorError) {
    tracing::debug!(%error, job.name = lease.node, "the rest of a log is wanted by nobody");
}
