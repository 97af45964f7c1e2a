//! Wherry's agent: everything that runs inside the guest, in one static binary.
//!
//! The first argument chooses the part: `init` is PID 1, `serve` the agent
//! itself, `shim` the process that owns one container and forks what creates
//! it.

mod check;
mod container;
mod event;
mod image;
mod init;
mod listening;
mod network;
mod reaper;
mod registry;
mod runtime;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    // In a container, where it is PID 1 too.
    let called = std::path::Path::new(&program).file_name();
    if called.is_some_and(|name| name == reaper::NAME) {
        return reaper::main(&arguments);
    }
    let called_init = std::path::Path::new(&program)
        .file_name()
        .is_some_and(|name| name == "init");
    // The kernel passes words of its command line that it does not know on to
    // init, so PID 1 looks at no argument.
    if called_init || std::process::id() == 1 {
        return init::main();
    }
    let mode = arguments.first().and_then(|mode| mode.to_str());
    match mode {
        Some("init") => init::main(),
        Some("serve") => serve::main(&arguments[1..]),
        Some("shim") => runtime::shim::main(&arguments[1..]),
        Some("--version" | "version") => {
            println!("wherry-agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: wherry-agent init | serve | shim");
            ExitCode::from(2)
        }
    }
}
