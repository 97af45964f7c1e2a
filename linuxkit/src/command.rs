//! Running the build's programs, with errors that name the package to install.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};

use crate::error::{Error, Result};

/// Programs and files that the build needs, each with the Debian package that
/// holds it. A name that starts with a slash is a file.
const REQUIRED: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    (
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
    ),
    ("dpkg-deb", "dpkg"),
    ("xz", "xz-utils"),
    ("patch", "patch"),
    ("make", "make"),
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("lz4", "lz4"),
    ("perl", "perl"),
    ("/usr/include/libelf.h", "libelf-dev"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
    ("/usr/sbin/nft", "nftables"),
    ("mke2fs", "e2fsprogs"),
];

/// Returns the programs and files that the build needs, each with the Debian
/// package that holds it. A name that starts with a slash is a file, any other
/// a program to be found in `PATH` (or in `/usr/sbin`, `/sbin`).
pub fn required_packages() -> &'static [(&'static str, &'static str)] {
    REQUIRED
}

/// Prepares a program whose output does not depend on the user's language, and
/// that is found even where `PATH` lacks the system's administration folders.
pub(crate) fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

/// Runs a program to its end and returns its standard output.
pub(crate) fn run(command: &mut Command, purpose: &str) -> Result<Vec<u8>> {
    let output = command
        .output()
        .map_err(|error| not_started(command, purpose, &error))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(failed(command, output.status, purpose, &text))
}

/// Runs a program to its end, giving each line of its standard output to `line`.
/// Standard error is joined to it by the caller's own choice of `command`.
pub(crate) fn run_lines(
    command: &mut Command,
    purpose: &str,
    mut line: impl FnMut(&str),
) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| not_started(command, purpose, &error))?;
    let mut tail = std::collections::VecDeque::new();
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).split(b'\n') {
            let Ok(text) = text else { break };
            let text = String::from_utf8_lossy(&text).into_owned();
            line(&text);
            tail.push_back(text);
            if tail.len() > 40 {
                tail.pop_front();
            }
        }
    }
    let status = child
        .wait()
        .map_err(|error| not_started(command, purpose, &error))?;
    if status.success() {
        return Ok(());
    }
    let text = Vec::from(tail).join("\n");
    Err(failed(command, status, purpose, &text))
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn not_started(command: &Command, purpose: &str, error: &std::io::Error) -> Error {
    let program = name(command);
    if error.kind() == std::io::ErrorKind::NotFound {
        let package = REQUIRED
            .iter()
            .find(|(known, _)| *known == program)
            .map_or(program.as_str(), |(_, package)| package)
            .to_owned();
        return Error::MissingProgram { program, package };
    }
    Error::Program {
        program,
        status: "not started".into(),
        purpose: purpose.to_owned(),
        output: error.to_string(),
    }
}

fn failed(command: &Command, status: ExitStatus, purpose: &str, text: &str) -> Error {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(40);
    Error::Program {
        program: name(command),
        status: status.to_string(),
        purpose: purpose.to_owned(),
        output: lines[from..].join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_names_its_package() {
        let error = not_started(
            &program("mke2fs"),
            "formats",
            &std::io::ErrorKind::NotFound.into(),
        );
        assert!(
            error.to_string().contains("Debian package e2fsprogs"),
            "{error}"
        );
    }

    #[test]
    fn failure_carries_the_last_lines() {
        let mut command = program("sh");
        command.args(["-c", "echo first; echo why >&2; exit 3"]);
        let message = run(&mut command, "tests").unwrap_err().to_string();
        assert!(
            message.contains("why") && message.contains('3'),
            "{message}"
        );
    }
}
