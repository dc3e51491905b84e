//! The lease of the job: until when it may go on. Whoever keeps it says so again and again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

/// The lease; clones share it.
#[derive(Debug, Clone)]
pub struct Lease {
    until: Arc<Mutex<Moment>>,
    stop_after: Duration,
}

impl Lease {
    /// A lease that stands from now on, for so long unless it is kept.
    pub fn new(stop_after: Duration) -> Self {
        Self { until: Arc::new(Mutex::new(Moment::now().after(stop_after))), stop_after }
    }

    /// How often its keeper is asked.
    pub fn interval(&self) -> Duration {
        (self.stop_after / 10).clamp(Duration::from_millis(20), Duration::from_secs(30))
    }

    /// It is known to stand for so long after a moment. What was known before is not taken back.
    pub fn keep(&self, from: Moment, left: Duration) {
        // Nobody may keep it for longer than was agreed.
        self.keep_until(from.after(left.min(self.stop_after)));
    }

    fn keep_until(&self, moment: Moment) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(moment);
    }

    /// Nobody can be asked, so nobody is: whoever started the runner ends it.
    pub fn forgo(&self) {
        self.keep_until(Moment::now().after(Duration::MAX));
    }

    /// Until when it is known to stand.
    pub fn until(&self) -> Moment {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_kept_from_when_it_was_asked_for_and_never_longer_than_agreed() {
        let minute = Duration::from_secs(60);
        let (lease, now) = (Lease::new(minute), Moment::now());
        let first = lease.until();
        lease.keep(now, Duration::from_secs(1));
        assert_eq!(lease.until(), first);
        lease.keep(now.after(minute), Duration::from_secs(600));
        assert_eq!(lease.until(), now.after(2 * minute));
    }
}
