//! Policy: who may reach which secret, and which consequences of a change somebody should accept knowingly.
//!
//! Pure functions of a catalog of resources. What they over-estimate is the reach, never the protection:
//! two patterns of branches that may have a branch in common count as if they had.

mod access;
mod approval;
mod digest;
mod finding;
mod lease;
mod pattern;
mod reach;
mod trust;

pub use access::{Access, Situation, Tested, grants_of, secrets_of, would_get};
pub use approval::{Approval, ApprovalError, Approver, is_bound, may_approve};
pub use digest::digest;
pub use finding::{CODES, Finding, Severity, findings};
pub use lease::{Asked, Decided, Purpose, decide_lease, refusal, secret_key, secrets_asked};
pub use pattern::glob_matches;
pub use reach::{ReachRow, reach};
pub use trust::{Actor, Proposal, Trust, trust};
