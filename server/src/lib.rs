//! Carries out what the scheduler decides: the loop that decides on runs, what workers talk to, and what commits owe to
//! the outside.

mod ad_hoc;
pub mod api;
mod applied;
mod conductor;
pub mod configure;
mod coordinator;
mod errands;
mod files;
pub mod holder;
mod issuer;
mod local;
mod observe;
mod reaper;
mod reconcile;
mod retention;
mod schedules;
mod serve;
mod start;
mod telemetry;
pub mod vault;

pub use applied::{Applied, Current};
pub use conductor::{ConductError, Conductor, Notice, Start, Started};
pub use coordinator::{Audience, Desk, Terms};
pub use errands::Errands;
pub use files::{Files, NoProjects, Projects};
pub use issuer::{KeyDirectory, check_url};
pub use local::{Approvals, Happening, Local, RunEnd, RunError, end_gone, run};
pub use observe::observe;
pub use reaper::reap;
pub use reconcile::{Progress, Reconcile, ReconcileError, Reconciled};
pub use serve::{ServeError, Server, new_token};
pub use start::{StartError, Wanted, find, start};
pub use telemetry::Observer;
pub use vault::{Deliverer, Vault};
