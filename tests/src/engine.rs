//! An engine of its own home folder, driven through the `wherry` command as a
//! user would.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{archive, process, wait};

/// How long one command may take, seconds.
const COMMAND_SECONDS: &str = "90";

/// The name of the image that the tests run.
pub const IMAGE: &str = "test/busybox:latest";

/// An engine in a home folder of its own. Dropped, it stops its machine and its
/// daemon and removes its home.
pub struct Engine {
    home: TempDir,
    programs: PathBuf,
    environment: Vec<(String, String)>,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; 128 and the number for one that a signal ended.
    pub code: i32,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
}

impl Engine {
    /// Makes a home folder; nothing runs in it yet.
    ///
    /// # Errors
    ///
    /// Where the programs were not built: `cargo xtask build`.
    pub fn new() -> anyhow::Result<Self> {
        let programs = std::env::var_os("WHERRY_PROGRAMS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release"),
            PathBuf::from,
        );
        ensure!(
            programs.join("wherry").exists(),
            "no wherry in {}: run `cargo xtask build` first",
            programs.display()
        );
        Self::of(programs)
    }

    /// Makes a home folder for the programs of a folder.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub fn of(programs: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            home: tempfile::Builder::new().prefix("wherry-test-").tempdir()?,
            programs,
            environment: Vec::new(),
        })
    }

    /// Makes a home folder, boots its machine and loads the tests' image.
    ///
    /// # Errors
    ///
    /// Where any of that fails.
    pub fn started() -> anyhow::Result<Self> {
        let engine = Self::new()?;
        engine.succeed(&["machine", "start"])?;
        engine.load_image()?;
        Ok(engine)
    }

    /// Loads the image [`IMAGE`].
    ///
    /// # Errors
    ///
    /// Where the import fails.
    pub fn load_image(&self) -> anyhow::Result<()> {
        let ran = self.run_with_input(
            &[
                "import",
                "-c",
                "ENV PATH=/bin",
                "-c",
                "CMD [\"/bin/sh\"]",
                "-",
                IMAGE,
            ],
            &archive::busybox_root()?,
        )?;
        ensure!(ran.code == 0, "import failed: {ran:?}");
        Ok(())
    }

    /// Sets a variable in the environment of every command from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Returns the folder of the programs, and of the guest image.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Returns the home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Returns a folder on the host that containers may mount.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub fn shared_folder(&self) -> anyhow::Result<TempDir> {
        Ok(tempfile::Builder::new().prefix("wherry-share-").tempdir()?)
    }

    /// Returns `wherry` with arguments, to be started by the caller.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("wherry"));
        command
            .args(arguments)
            .env("WHERRY_HOME", self.home.path())
            // Not the credentials of whoever runs the tests.
            .env("DOCKER_CONFIG", self.home.path().join("docker"))
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null());
        command
    }

    /// As [`Self::command`], ended by `timeout` when it hangs (exit code 124), so
    /// that one hanging command fails one test.
    fn bounded(&self, arguments: &[&str]) -> Command {
        let wherry = self.command(arguments);
        let mut command = Command::new("timeout");
        command
            .args(["--foreground", "--kill-after=5", COMMAND_SECONDS])
            .arg(wherry.get_program())
            .args(wherry.get_args())
            .envs(wherry.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .stdin(Stdio::null());
        command
    }

    /// Runs `wherry` and returns how it ended.
    ///
    /// # Errors
    ///
    /// Where it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        Ok(self.bounded(arguments).output()?.into())
    }

    /// Runs `wherry` and returns its standard output.
    ///
    /// # Errors
    ///
    /// Where it fails; with what it printed.
    pub fn succeed(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let ran = self.run(arguments)?;
        ensure!(
            ran.code == 0,
            "wherry {} failed: {ran:?}",
            arguments.join(" ")
        );
        Ok(ran.stdout)
    }

    /// Runs `wherry` and returns its standard error.
    ///
    /// # Errors
    ///
    /// Where it ends with another code, or its error is not one line.
    pub fn fail(&self, code: i32, arguments: &[&str]) -> anyhow::Result<String> {
        let ran = self.run(arguments)?;
        ensure!(
            ran.code == code,
            "wherry {} should end with {code}: {ran:?}",
            arguments.join(" ")
        );
        ensure!(
            ran.stderr.trim().lines().count() == 1,
            "an error should be one line: {ran:?}"
        );
        Ok(ran.stderr)
    }

    /// Runs `wherry` with bytes on its standard input.
    ///
    /// # Errors
    ///
    /// Where it cannot be run.
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> anyhow::Result<Ran> {
        Ok(self.output_with_input(arguments, input)?.into())
    }

    /// As [`Self::run_with_input`], with the output as bytes.
    ///
    /// # Errors
    ///
    /// Where it cannot be run.
    pub fn output_with_input(&self, arguments: &[&str], input: &[u8]) -> anyhow::Result<Output> {
        let mut child = self
            .bounded(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        Ok(std::thread::scope(|scope| {
            // It may end without reading all, which is no failure of its own.
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output()
        })?)
    }

    /// Starts `wherry` in the background.
    ///
    /// # Errors
    ///
    /// Where it cannot be run.
    pub fn spawn(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        Ok(self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?)
    }

    /// Returns `wherry machine status` as JSON.
    ///
    /// # Errors
    ///
    /// Where the command fails.
    pub fn status(&self) -> anyhow::Result<Value> {
        // It fails where the machine does not run, and prints its state all the same.
        let ran = self.run(&["machine", "status", "--format", "json"])?;
        serde_json::from_str(&ran.stdout).with_context(|| format!("no status: {ran:?}"))
    }

    /// Returns a number out of [`Self::status`].
    ///
    /// # Errors
    ///
    /// Where it is not there.
    pub fn status_number(&self, name: &str) -> anyhow::Result<u64> {
        let status = self.status()?;
        status[name]
            .as_u64()
            .with_context(|| format!("no number {name} in {status}"))
    }

    /// Returns the process id of this engine's `wherryd`.
    ///
    /// # Errors
    ///
    /// Where none runs.
    pub fn wherryd(&self) -> anyhow::Result<u32> {
        self.process_with_home(|arguments| arguments.len() == 1)
            .context("no wherryd runs")
    }

    /// Returns the id of the process that owns the VM.
    ///
    /// # Errors
    ///
    /// Where none runs.
    pub fn machine(&self) -> anyhow::Result<u32> {
        self.process_with_home(|arguments| arguments.get(1).is_some_and(|word| word == "machine"))
            .context("no machine runs")
    }

    /// Finds the `wherryd` process that has this engine's home folder.
    fn process_with_home(&self, matches: impl Fn(&[String]) -> bool) -> Option<u32> {
        let variable = format!("WHERRY_HOME={}", self.home.path().display());
        std::fs::read_dir("/proc")
            .ok()?
            .flatten()
            .find_map(|entry| {
                let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
                let words = |file: &str| -> Option<Vec<String>> {
                    let bytes = std::fs::read(entry.path().join(file)).ok()?;
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    Some(text.split_terminator('\0').map(str::to_owned).collect())
                };
                let arguments = words("cmdline")?;
                let is_ours = arguments.first()?.ends_with("wherryd")
                    && matches(&arguments)
                    && words("environ")?.contains(&variable)
                    && process::runs(pid);
                is_ours.then_some(pid)
            })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("WHERRY_KEEP_LOGS").is_some() {
            self.print_logs();
        }
        if self.machine().is_ok() {
            let _ = self.run(&["machine", "stop", "--force"]);
        }
        // Only processes of this home folder, by their ids.
        for find in [Self::wherryd, Self::machine] {
            if let Ok(pid) = find(self) {
                let _ = process::kill(pid);
                let _ = wait::until("the end of a process", Duration::from_secs(5), || {
                    Ok(!process::runs(pid))
                });
            }
        }
    }
}

impl Engine {
    fn print_logs(&self) {
        let Ok(logs) = std::fs::read_dir(self.home.path().join("log")) else {
            return;
        };
        for log in logs.flatten() {
            let text = std::fs::read(log.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            eprintln!("--- the end of {}", log.path().display());
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("{line}");
            }
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            code: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
