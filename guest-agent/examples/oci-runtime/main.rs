//! The agent's runtime with the command line of runc, for public conformance
//! tests and bundles of other tools. The product has no such program: there a
//! shim makes its container by the same code (`runtime/run_oci`), and what
//! follows here — start, signals, state, removal — libcontainer does.
//!
//! It wants cgroup version 2 at `/sys/fs/cgroup`, and root.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "parts of the agent's own modules"
)]

use std::process::ExitCode;

mod runtime;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match runtime::command::run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
