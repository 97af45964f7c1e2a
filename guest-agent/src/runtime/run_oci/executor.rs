//! The last steps inside the container: finding the command, saying in runc's
//! words why it cannot be run, and running it.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::capabilities::drop_privileges;
use libcontainer::oci_spec::runtime::{LinuxCapabilities, Process, Spec};
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::sys::resource::{Resource, setrlimit};

use super::seccomp::Filter;
use crate::runtime::protocol::{Failure, FailureKind};

const NOT_FOUND: &str = "executable file not found in $PATH";
const NO_FILE: &str = "no such file or directory";
const DENIED: &str = "permission denied";
const DIRECTORY: &str = "is a directory";

/// Runs a container's command.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    terminal_size: Option<(u16, u16)>,
    /// The limits on locked memory, soft and hard, where making the container
    /// raised them.
    locked: Option<(u64, u64)>,
    /// Loaded right before the command, and what is given up after that.
    filter: Option<Rc<(Filter, Option<LinuxCapabilities>)>>,
}

impl Launcher {
    pub(super) fn new(
        process: &Process,
        filter: Option<Filter>,
        locked: Option<(u64, u64)>,
    ) -> Self {
        let terminal = process.terminal().unwrap_or(false);
        let size = process.console_size().filter(|_| terminal);
        // With no_new_privs they are given up already.
        let keep = process.no_new_privileges() != Some(true);
        let capabilities = process.capabilities().clone().filter(|_| keep);
        Self {
            terminal_size: size.map(|size| (size.height() as u16, size.width() as u16)),
            locked,
            filter: filter.map(|filter| Rc::new((filter, capabilities))),
        }
    }
}

impl Executor for Launcher {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        if let Some((rows, columns)) = self.terminal_size {
            let size = rustix::termios::Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // A terminal of no known size is still a terminal.
            let _ = rustix::termios::tcsetwinsize(rustix::stdio::stdin(), size);
        }
        locate(spec)
            .map(|_| ())
            .map_err(ExecutorValidationError::ArgValidationError)
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let path = locate(spec).map_err(ExecutorError::Other)?;
        let args = arguments(spec)
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<Vec<_>, _>>();
        let (Ok(args), Ok(program)) = (args, CString::new(path.as_os_str().as_bytes())) else {
            return Err(ExecutorError::InvalidArg);
        };
        if let Some((soft, hard)) = self.locked {
            setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)
                .map_err(|error| ExecutorError::Other(format!("locked memory: {error}")))?;
        }
        if let Some((filter, capabilities)) = self.filter.as_deref() {
            filter
                .load()
                .map_err(|error| ExecutorError::Other(format!("loading seccomp: {error}")))?;
            if let Some(capabilities) = capabilities {
                drop_privileges(capabilities, create_syscall().as_ref())
                    .map_err(|error| ExecutorError::Other(format!("capabilities: {error}")))?;
            }
        }
        let Err(error) = nix::unistd::execv(&program, &args);
        let message = format!("exec {}: {}", path.display(), words(error));
        // The start was answered already: like runc, say it on the container's own error output.
        eprintln!("{message}");
        Err(ExecutorError::Other(message))
    }
}

/// Errors as Go spells them, which is what people search for.
fn words(error: nix::Error) -> String {
    match error {
        nix::Error::ENOENT => NO_FILE.to_owned(),
        nix::Error::EACCES => DENIED.to_owned(),
        nix::Error::ENOEXEC => "exec format error".to_owned(),
        other => other.desc().to_lowercase(),
    }
}

fn arguments(spec: &Spec) -> &[String] {
    spec.process()
        .as_ref()
        .and_then(|process| process.args().as_deref())
        .unwrap_or_default()
}

/// Finds the command as Go's exec.LookPath does, by the container's own PATH.
fn locate(spec: &Spec) -> Result<PathBuf, String> {
    let name = arguments(spec).first().map_or("", String::as_str);
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(NO_FILE) => Err(format!("exec: {name:?}: stat {name}: {NO_FILE}")),
            Err(reason) => Err(format!("exec: {name:?}: {reason}")),
        };
    }
    let env = spec
        .process()
        .as_ref()
        .and_then(|process| process.env().as_deref());
    let path = env
        .unwrap_or_default()
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or_default();
    path.split(':')
        .filter(|_| !name.is_empty())
        .map(|folder| Path::new(if folder.is_empty() { "." } else { folder }).join(name))
        .find(|candidate| executable(candidate).is_ok())
        .ok_or_else(|| format!("exec: {name:?}: {NOT_FOUND}"))
}

fn executable(path: &Path) -> Result<(), &'static str> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => DENIED,
        _ => NO_FILE,
    })?;
    if metadata.is_dir() {
        return Err(DIRECTORY);
    }
    let permitted = nix::unistd::eaccess(path, nix::unistd::AccessFlags::X_OK).is_ok();
    // Root passes access(2) on files that nobody may execute.
    if !permitted || metadata.permissions().mode() & 0o111 == 0 {
        return Err(DENIED);
    }
    Ok(())
}

/// Tells what kind of failure a message is, and cuts off what surrounds ours.
pub(super) fn classify(text: &str) -> Failure {
    let ours = text.find("exec: \"").map(|start| &text[start..]);
    if let Some(ours) = ours {
        for (ending, kind) in [
            (NOT_FOUND, FailureKind::CommandNotFound),
            (NO_FILE, FailureKind::CommandNotFound),
            (DENIED, FailureKind::CommandNotExecutable),
            (DIRECTORY, FailureKind::CommandNotExecutable),
        ] {
            if let Some(end) = ours.find(ending) {
                return Failure {
                    kind,
                    message: ours[..end + ending.len()].to_owned(),
                };
            }
        }
    }
    // An exec whose command the kernel refused, after it was found.
    let kind = match text.find("exec /").map(|start| &text[start..]) {
        Some(rest) if rest.contains(NO_FILE) => FailureKind::CommandNotFound,
        Some(_) => FailureKind::CommandNotExecutable,
        None => FailureKind::Other,
    };
    Failure {
        kind,
        message: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_s_words_are_found_in_what_surrounds_them() {
        let failure = classify(
            "failed to create container: error in executing process : exec: \"nope\": executable file not found in $PATH: more",
        );
        assert_eq!(failure.kind, FailureKind::CommandNotFound);
        assert_eq!(
            failure.message,
            "exec: \"nope\": executable file not found in $PATH"
        );
        let failure = classify("x exec: \"/etc\": is a directory");
        assert_eq!(failure.kind, FailureKind::CommandNotExecutable);
        assert_eq!(classify("anything").kind, FailureKind::Other);
    }
}
