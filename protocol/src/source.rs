//! Addresses and refs of code that somebody else wrote: which are taken. Functions on values.

pub mod location;
pub mod reference;

pub use location::{Location, LocationError, Schemes};
pub use reference::{Reference, ReferenceError, is_commit};
