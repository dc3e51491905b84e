//! Carries out what the scheduler decides: the loop that owns a run, and the coordinator that workers talk to.

mod coordinator;
pub mod holder;
mod reconcile;
mod run_loop;

pub use coordinator::LocalCoordinator;
pub use reconcile::{Progress, Reconcile, ReconcileError, Reconciled};
pub use run_loop::{Happening, RunEnd, RunError, run};
