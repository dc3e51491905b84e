//! A server and its workers as processes of their own, with real containers: the session of a user, and what is killed.

mod cluster;
mod faults;
mod files;
pub mod harness;
mod health;
mod many;
mod observed;
mod people;
mod postgres;
pub mod pull_requests;
mod remote;
mod schedules;
mod secrets;
mod session;
