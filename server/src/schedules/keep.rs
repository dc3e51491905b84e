//! When schedules are looked after: as soon as another configuration is applied, and when the next start is due.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use super::{AGAIN, Schedules};
use crate::conductor::now;

/// How long at most between two looks at the clock. It may be set, and machines sleep, which no timer notices.
const CLOCK: Duration = Duration::from_secs(60);

/// Starts runs by the clock, for as long as it is run. Where nothing is due ever, nobody looks until something is applied.
pub(crate) async fn keep(schedules: Schedules) {
    let mut notices = schedules.conductor.notices();
    let mut serials = schedules.applied.serials();
    loop {
        serials.mark_unchanged();
        let next = schedules.look(now()).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "schedules could not be looked after");
            Some(now() + AGAIN)
        });
        loop {
            let wait =
                next.map(|next| Duration::from_millis(u64::try_from(next - now()).unwrap_or_default()));
            let timer = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait.min(CLOCK)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = serials.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                notice = notices.recv() => match notice {
                    // Other servers say only that something has happened.
                    Ok(notice) if notice.run.is_empty() => break,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                // At a time that was not due yet only the clock was looked at.
                () = timer => if next.is_some_and(|next| next <= now()) { break },
            }
        }
    }
}
