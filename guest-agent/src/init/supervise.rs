//! Starts `serve`, starts it again when it dies, and reaps every orphan.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::command_line::CommandLine;
use super::console::say;
use super::mounts::DATA;
use crate::serve::engine;

/// The first pause before `serve` is started again; it doubles up to
/// [`LONGEST_PAUSE`] as long as `serve` does not live for [`STEADY`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(10);

/// The directory of what ends with the machine.
const RUN: &str = "/run/wherry";

fn signals() -> SigSet {
    [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGPWR,
    ]
    .into_iter()
    .collect()
}

/// Blocks the signals that [`run`] waits for, and ignores SIGPIPE.
pub(super) fn block_signals() {
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals()), None);
    // SAFETY: ignoring a signal installs no handler.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}

/// Supervises until something asks to power off: SIGTERM from `serve`, or
/// SIGPWR or SIGINT from the kernel.
pub(super) fn run(cgroup: Option<&Path>, command_line: &CommandLine) {
    let engine_socket = engine_socket();
    let mut serve: Option<(i32, Instant)> = None;
    let mut pause = Duration::ZERO;
    let mut due = Instant::now();
    loop {
        if serve.is_none() && Instant::now() >= due {
            match start(cgroup, command_line, engine_socket.as_ref()) {
                Ok(pid) => serve = Some((pid, Instant::now())),
                Err(error) => {
                    say(&format!("init: cannot start serve: {error}"));
                    pause = longer(pause);
                    due = Instant::now() + pause;
                }
            }
        }
        let timeout = match serve {
            Some(_) => None,
            None => Some(due.saturating_duration_since(Instant::now())),
        };
        match wait_for_signal(timeout) {
            Some(libc::SIGTERM | libc::SIGPWR | libc::SIGINT) => return,
            // A signal says only that there is something to reap: many
            // children that die at once send one.
            _ => {
                while let Some((pid, status)) = reap() {
                    let Some((_, since)) = serve.filter(|(running, _)| *running == pid) else {
                        continue;
                    };
                    serve = None;
                    pause = if since.elapsed() > STEADY {
                        FIRST_PAUSE
                    } else {
                        longer(pause)
                    };
                    due = Instant::now() + pause;
                    say(&format!(
                        "init: serve ended ({status}), starting it again in {} ms",
                        pause.as_millis()
                    ));
                }
            }
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
}

/// Takes one dead child, if there is one.
pub(super) fn reap() -> Option<(i32, String)> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => {
                return Some((pid.as_raw(), format!("exit code {code}")));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Some((pid.as_raw(), format!("{signal}")));
            }
            Ok(WaitStatus::StillAlive) => return None,
            // A real-time signal killed it, which `nix` has no name for; the
            // child is reaped all the same.
            Err(Errno::EINVAL | Errno::EINTR) | Ok(_) => {}
            Err(_) => return None,
        }
    }
}

fn wait_for_signal(timeout: Option<Duration>) -> Option<i32> {
    let set = signals();
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    });
    let pointer = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the set and the time-out live through the call; no information
    // about the signal is asked for.
    let signal = unsafe { libc::sigtimedwait(set.as_ref(), std::ptr::null_mut(), pointer) };
    (signal > 0).then_some(signal)
}

/// Listens on the socket that leads containers to the engine, for every `serve`
/// that is to come: a container has mounted this one.
fn engine_socket() -> Option<OwnedFd> {
    let path = Path::new(RUN).join(engine::FILE);
    let listening = std::fs::create_dir_all(RUN).and_then(|()| engine::listen(&path));
    match listening {
        Ok(socket) => Some(socket.into()),
        Err(error) => {
            say(&format!(
                "init: cannot listen on {}: {error}",
                path.display()
            ));
            None
        }
    }
}

fn start(
    cgroup: Option<&Path>,
    command_line: &CommandLine,
    engine_socket: Option<&OwnedFd>,
) -> std::io::Result<i32> {
    let processes = cgroup.map(|path| {
        OpenOptions::new()
            .write(true)
            .open(path.join("cgroup.procs"))
    });
    let processes = processes.transpose()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("wherry-agent")
        .args([
            "serve", "--root", DATA, "--run", RUN, "--listen", "vsock", "--init",
        ])
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir("/");
    let engine_socket = engine_socket.map(AsRawFd::as_raw_fd);
    if let Some(descriptor) = engine_socket {
        command.arg("--engine-socket").arg(descriptor.to_string());
    }
    if let Some(log) = &command_line.log {
        command.env("WHERRY_LOG", log);
    }
    if let Some(routes) = &command_line.host_routes {
        command.env("WHERRY_HOST_ROUTES", routes);
    }
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            // The mask of PID 1 is not for its children.
            let empty = SigSet::empty();
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&empty), None)?;
            libc::setsid();
            if let Some(descriptor) = engine_socket {
                // Closed on exec otherwise.
                libc::fcntl(descriptor, libc::F_SETFD, 0);
            }
            if let Some(processes) = &processes {
                // "0" is the writing process itself.
                libc::write(processes.as_raw_fd(), c"0".as_ptr().cast(), 1);
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(child.id() as i32)
}
