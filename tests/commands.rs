//! Every command that needs no container engine, with the whole of what it prints: `tests/transcripts`.

mod applying;
mod looking;
mod refusals;
mod starting;
