//! Takes jobs from a coordinator and runs them on a provider: workspaces, containers, logs, triggers, results.

mod container;
mod files;
mod follow;
mod health;
mod instance;
mod job;
mod journal;
mod keeper;
mod leftovers;
mod link;
mod observe;
mod outcome;
mod pump;
mod record;
mod remote;
mod source;
mod spec;
mod spool;
mod standby;
mod sweep;
mod worker;
mod workspace;

pub use container::{RUNNER_PATH, container_spec};
pub use health::look as health;
pub use instance::Instance;
pub use keeper::{Keeper, Order};
pub use outcome::{Observed, conclude};
pub use remote::{Identity, Remote, Welcome};
pub use source::{Context as SourceContext, CopyError, Limits as SourceLimits, SourceError, copy_tree};
pub use spec::{Secrets, credentials_wanted, job_spec, secrets_wanted};
pub use standby::{Standby, StandbySettings};
pub use sweep::{OwnerLock, remove_all, sweep};
pub use worker::{Settings, Worker};
