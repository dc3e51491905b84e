//! The interface from outside: requests against the router, with everything behind it in memory.

mod config;
mod identity;
mod matrix;
mod world;
