//! A server and its workers as processes of their own, with real containers: the session of a user, and what is killed.

mod faults;
mod harness;
mod many;
mod postgres;
mod session;
