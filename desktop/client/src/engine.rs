//! Finding `wherryd`, and starting it where it does not run.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tonic::transport::Channel;
use wherry_proto::v1::engine_client::EngineClient;
use wherry_proto::v1::{ShutdownRequest, VersionRequest};

use crate::{ChannelError, Home, HomeError, channel, lock, platform};

/// How long a `wherryd` may take until it answers, and until it ends.
const DEADLINE: Duration = Duration::from_secs(20);

/// Between two looks at one that starts or ends.
const POLL: Duration = Duration::from_millis(5);

/// The most of a failed `wherryd`'s words that an error repeats, bytes.
const LAST_WORDS: u64 = 2048;

/// Why there is no engine to talk to.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No usable home folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// `wherryd` has a socket that does not work.
    #[error(transparent)]
    Connect(ChannelError),
    /// The program is nowhere to be found.
    #[error("cannot find wherryd, neither beside {program} nor on PATH: install Wherry again, or build it with `cargo build --release`", program = program.display())]
    NoProgram {
        /// The program that looked for it.
        program: PathBuf,
    },
    /// A file that the start needs cannot be used.
    #[error("cannot open {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program cannot be executed.
    #[error("cannot start {program}: {source}", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It ended instead of serving.
    #[error("wherryd failed to start: {last_words} (log: {log})", log = log.display())]
    Failed {
        /// What it wrote last.
        last_words: String,
        /// Its log.
        log: PathBuf,
    },
    /// It neither serves nor ends.
    #[error("wherryd did not answer within {seconds} s: look into {log}", seconds = DEADLINE.as_secs(), log = log.display())]
    Silent {
        /// Its log.
        log: PathBuf,
    },
    /// It was told to end and does not.
    #[error("wherryd does not end within {seconds} s: end it by hand, its containers run on (log: {log})", seconds = DEADLINE.as_secs(), log = log.display())]
    Stays {
        /// Its log.
        log: PathBuf,
    },
}

/// Connects to the running `wherryd` of `home`; `None` where it does not run.
///
/// # Errors
///
/// [`EngineError::Connect`] where its socket is there and cannot be used.
pub async fn connect_engine(home: &Home) -> Result<Option<Channel>, EngineError> {
    match channel(&home.wherryd_socket()).await {
        Ok(channel) => Ok(Some(channel)),
        Err(error) if error.nobody_listens() => Ok(None),
        Err(error) => Err(EngineError::Connect(error)),
    }
}

/// Connects to the `wherryd` of `home`, and starts it first where it does not
/// run, or where an upgrade has replaced the program that runs: it would not know what
/// the new one's users ask of it. Of several callers at once, one starts it.
///
/// # Errors
///
/// [`EngineError`]; a `wherryd` that fails to start comes with its own words.
pub async fn engine(home: &Home) -> Result<Channel, EngineError> {
    // First, because a path too long for a socket shows up as a failed connect.
    home.prepare()?;
    if let Some(channel) = connect_current(home).await? {
        return Ok(channel);
    }
    let _only_starter = start_lock(home).await?;
    if let Some(channel) = connect_current(home).await? {
        return Ok(channel);
    }
    let program = find_wherryd()?;
    end_engine(home).await?;
    start(home, &program).await
}

/// As [`connect_engine`]; `None` too where the program that runs was replaced since it
/// began. One that does not say is left to answer for itself.
async fn connect_current(home: &Home) -> Result<Option<Channel>, EngineError> {
    let Some(channel) = connect_engine(home).await? else {
        return Ok(None);
    };
    let version = EngineClient::new(channel.clone())
        .version(VersionRequest {})
        .await;
    let replaced = version.is_ok_and(|version| version.into_inner().replaced);
    Ok((!replaced).then_some(channel))
}

/// Has the `wherryd` of `home` end, where one runs, and returns when it has: containers
/// and the machine run on.
///
/// # Errors
///
/// [`EngineError::Connect`], and [`EngineError::Stays`] for one that does not end.
pub async fn end_engine(home: &Home) -> Result<(), EngineError> {
    let Some(channel) = connect_engine(home).await? else {
        return Ok(());
    };
    // It may be gone before it has answered.
    let _ = EngineClient::new(channel)
        .shutdown(ShutdownRequest {})
        .await;
    let deadline = Instant::now() + DEADLINE;
    while lock::is_held(&home.lock()) {
        if Instant::now() > deadline {
            return Err(EngineError::Stays {
                log: home.wherryd_log(),
            });
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Takes the lock of those who start `wherryd`. Dropping the file releases it.
async fn start_lock(home: &Home) -> Result<File, EngineError> {
    let path = home.start_lock();
    let failed = |source| EngineError::File {
        path: home.start_lock(),
        source,
    };
    let locked = tokio::task::spawn_blocking(move || {
        let file = lock::open(&path)?;
        file.lock()?;
        Ok(file)
    });
    locked
        .await
        .map_err(|error| failed(io::Error::other(error)))?
        .map_err(failed)
}

fn find_wherryd() -> Result<PathBuf, EngineError> {
    let name = format!("wherryd{}", std::env::consts::EXE_SUFFIX);
    let program = std::env::current_exe().unwrap_or_default();
    let resolved = program.canonicalize().unwrap_or_else(|_| program.clone());
    let beside = [program.parent(), resolved.parent()];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    beside
        .into_iter()
        .flatten()
        .chain(on_path.iter().map(PathBuf::as_path))
        .map(|folder| folder.join(&name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| EngineError::NoProgram {
            program: program.clone(),
        })
}

async fn start(home: &Home, program: &Path) -> Result<Channel, EngineError> {
    let log = home.wherryd_log();
    let failed = |source| EngineError::File {
        path: home.wherryd_log(),
        source,
    };
    let output = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(failed)?;
    let log_start = output.metadata().map_err(failed)?.len();
    let errors = output.try_clone().map_err(failed)?;

    let mut command = Command::new(program);
    command
        .env(crate::home::VARIABLE, home.root())
        // The folder it is started from may be unmounted or removed later.
        .current_dir(home.root())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    platform::detach(&mut command);
    let mut child = command.spawn().map_err(|source| EngineError::Spawn {
        program: program.to_owned(),
        source,
    })?;
    wait_until_it_answers(home, &mut child, &log, log_start).await
}

async fn wait_until_it_answers(
    home: &Home,
    child: &mut Child,
    log: &Path,
    log_start: u64,
) -> Result<Channel, EngineError> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(channel) = connect_engine(home).await? {
            return Ok(channel);
        }
        if let Ok(Some(status)) = child.try_wait() {
            // Another one may have been quicker, started by hand.
            if let Some(channel) = connect_engine(home).await? {
                return Ok(channel);
            }
            let words = last_words(log, log_start).unwrap_or_default();
            return Err(EngineError::Failed {
                last_words: if words.is_empty() {
                    format!("it ended with {status}")
                } else {
                    words
                },
                log: log.to_owned(),
            });
        }
        if Instant::now() > deadline {
            return Err(EngineError::Silent {
                log: log.to_owned(),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Returns the last lines that went into the log after `from`, as one line.
fn last_words(log: &Path, from: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(LAST_WORDS))))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    Ok(last.join("; "))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn home_with_wherryd(script: &str) -> (tempfile::TempDir, Home, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("home")).unwrap();
        home.prepare().unwrap();
        let program = folder.path().join("wherryd");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        (folder, home, program)
    }

    #[tokio::test]
    async fn a_wherryd_that_fails_to_start_is_quoted() {
        let (_folder, home, program) =
            home_with_wherryd("echo 'error: no QEMU: install it' >&2; exit 1");
        std::fs::write(home.wherryd_log(), "old words\n").unwrap();
        let error = start(&home, &program).await.unwrap_err().to_string();
        assert!(error.contains("error: no QEMU: install it"), "{error}");
        assert!(!error.contains("old words"), "{error}");
    }

    #[tokio::test]
    async fn a_wherryd_that_says_nothing_is_reported_by_its_status() {
        let (_folder, home, program) = home_with_wherryd("exit 3");
        let error = start(&home, &program).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
    }

    #[tokio::test]
    async fn no_wherryd_running_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        assert!(connect_engine(&home).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn one_caller_at_a_time_starts_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.prepare().unwrap();
        let first = start_lock(&home).await.unwrap();
        let second_home = home.clone();
        let second = tokio::spawn(async move { start_lock(&second_home).await.map(drop) });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), second)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
