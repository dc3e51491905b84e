//! placeholder
#[allow(dead_code, reason = "the commands that run jobs use it")]
mod runner_binary;

fn main() {}
