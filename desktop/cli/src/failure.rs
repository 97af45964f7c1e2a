//! Why a command failed, and the exit code for it.

use tonic::{Code, Status};
use wherry_client::registry::CredentialsError;
use wherry_client::{EngineError, HomeError, SettingsError, StreamError};

/// The exit code for a wrong command line, and for an engine that fails where
/// the exit code is otherwise a process's own.
pub(crate) const ENGINE: u8 = 125;

/// The exit code for a command that is there and cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;

/// The exit code for a command that is not there.
pub(crate) const NOT_FOUND: u8 = 127;

/// The exit code of a program that SIGPIPE ends.
pub(crate) const PIPE_CLOSED: u8 = 128 + 13;

/// The exit code for a failure of every other command.
pub(crate) const FAILED: u8 = 1;

/// The metadata of a [`Status`] that carries the exit code of a failed start.
const EXIT_CODE: &str = "wherry-exit-code";

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One line; `None` where everything has been said.
    pub(crate) message: Option<String>,
    /// The exit code; `None` for the command's usual one.
    pub(crate) code: Option<u8>,
}

/// What a command ends with: its exit code, or why it failed.
pub(crate) type Outcome = Result<u8, Failure>;

impl Failure {
    /// A failure that is reported with one line.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: Some(one_line(&message.into())),
            code: None,
        }
    }

    /// A failure that has been reported.
    pub(crate) fn reported(code: u8) -> Self {
        Self {
            message: None,
            code: Some(code),
        }
    }

    /// The same failure with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = Some(code);
        self
    }
}

/// Joins the lines of a message: an error is one line, so that scripts can read it.
fn one_line(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = status
            .metadata()
            .get(EXIT_CODE)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .or_else(|| start_code(status.message()));
        let message = match (status.code(), status.message()) {
            (Code::Unavailable, message) if std::error::Error::source(&status).is_some() => {
                format!(
                    "the engine went away in the middle: {message}; the same command again starts it anew"
                )
            }
            (Code::Unimplemented, "") => {
                "the running engine is of another version and does not know this: \
                 restart it with `wherry machine restart`"
                    .to_owned()
            }
            (code, "") => code.description().to_owned(),
            (_, message) => message.to_owned(),
        };
        Self {
            code,
            ..Self::new(message)
        }
    }
}

/// Tells the exit code of a failed start from runc's words for it, where no
/// metadata says it: a bulk stream's reply has none.
fn start_code(message: &str) -> Option<u8> {
    let reason = message.split_once("exec: \"")?.1;
    if reason.contains("not found") || reason.contains("no such file") {
        Some(NOT_FOUND)
    } else {
        ["permission denied", "is a directory", "exec format error"]
            .iter()
            .any(|cause| reason.contains(cause))
            .then_some(NOT_EXECUTABLE)
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Refused { code, message } => Status::new(code, message).into(),
            error => Self::new(error.to_string()),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Connect(connect) => Self::new(format!("{connect}: {}", connect.source)),
            error => Self::new(error.to_string()),
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_gives_the_exit_code_of_a_failed_start() {
        let mut status = Status::failed_precondition("exec: \"foo\": permission denied");
        status
            .metadata_mut()
            .insert(EXIT_CODE, "126".parse().unwrap());
        assert_eq!(Failure::from(status).code, Some(126));
    }

    #[test]
    fn words_give_the_exit_code_of_a_failed_start_without_metadata() {
        for (message, code) in [
            (
                "exec: \"foo\": executable file not found in $PATH",
                Some(127),
            ),
            (
                "exec: \"/foo\": stat /foo: no such file or directory",
                Some(127),
            ),
            ("exec: \"/etc/passwd\": permission denied", Some(126)),
            ("exec: \"/etc\": is a directory", Some(126)),
            ("no such container: x", None),
            ("container x is not found", None),
        ] {
            assert_eq!(
                Failure::from(Status::failed_precondition(message)).code,
                code,
                "{message}"
            );
        }
    }

    #[test]
    fn a_message_is_always_one_line() {
        let failure = Failure::from(Status::internal("first\n  second\n\nthird"));
        assert_eq!(failure.message.as_deref(), Some("first second third"));
    }
}
