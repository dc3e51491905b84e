//! Every command, with the whole of what it prints: `tests/transcripts`.

mod applying;
mod changing;
mod looking;
mod refusals;
mod running;
mod secrets;
mod starting;
