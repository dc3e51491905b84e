//! What runs next: a pure state machine over one run's graph of jobs.
//!
//! [`RunState`] holds all there is to know about a run. `step` takes one [`Event`] and the time, changes the
//! state, and returns what must now be done. Loops elsewhere carry the commands out; nothing here waits,
//! reads a clock or talks to anything.

mod event;

pub use event::*;
