//! dockerd as the referee: Debian's newest, run beside the engine on this machine for
//! as long as the same calls are made to both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::Clients;
use super::registry::Registry;
use crate::{build, setup};

/// dockerd and what it runs; `runc` is the machine's own, because the newest wants a
/// newer C library than the machine has.
const PACKAGES: &[&str] = &["docker.io", "containerd", "tini-static"];

/// The port of each engine's registry: each is on a loopback of its own.
const REGISTRY_PORT: u16 = 5055;

const DEADLINE: Duration = Duration::from_secs(60);

/// A dockerd in a network namespace of its own, and a registry in there and one here.
/// Dropped, all end and what they wrote goes.
pub(super) struct Referee {
    folder: PathBuf,
    process: Option<Child>,
    registries: Vec<Registry>,
}

impl Referee {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// Where this is not root on Linux, or one of the programs does not start.
    pub(super) fn start(clients: &Clients) -> anyhow::Result<Self> {
        setup::install(setup::REFEREE)?;
        clients.once("referee", PACKAGES, |folder| {
            super::debian(folder, PACKAGES)
        })?;
        let folder = std::env::temp_dir().join(format!("wherry-referee-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let mut referee = Self {
            folder,
            process: None,
            registries: Vec::new(),
        };
        let programs = clients.folder.join("referee");
        let dockerd = referee.dockerd(&programs)?;
        let namespace = format!("/proc/{}/ns/net", dockerd.id());
        referee.process = Some(dockerd);
        referee.wait("dockerd", |referee| referee.socket().exists())?;
        for namespace in [Some(&*namespace), None] {
            let registry = Registry::at(REGISTRY_PORT, namespace)?;
            referee.registries.push(registry);
        }
        Ok(referee)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// Returns what both engines call their registry.
    pub(super) fn registry_name() -> String {
        format!("localhost:{REGISTRY_PORT}")
    }

    /// Starts dockerd, with its data and sockets in a folder and its bridges in a
    /// network namespace of its own: it changes nothing of the machine.
    fn dockerd(&self, programs: &Path) -> anyhow::Result<Child> {
        let path = format!(
            "{0}/usr/bin:{0}/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            programs.display()
        );
        let log = fs::File::create(self.folder.join("log"))?;
        let at = |name: &str| self.folder.join(name);
        Command::new("unshare")
            .args([
                "--net",
                "sh",
                "-c",
                "ip link set lo up && exec \"$@\"",
                "sh",
            ])
            .arg("dockerd")
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("--init-path")
            .arg(programs.join("usr/bin/tini-static"))
            .args([
                "--iptables=false",
                "--ip6tables=false",
                "--userland-proxy=false",
            ])
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run unshare, which wants root on Linux")
    }

    fn wait(&mut self, what: &str, come: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + DEADLINE;
        while !come(self) {
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?;
            if ended.flatten().is_some() || Instant::now() > end {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let lines: Vec<_> = log.lines().rev().take(5).collect();
                bail!("{what} does not start: {}", lines.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Referee {
    fn drop(&mut self) {
        self.registries.clear();
        if let Some(process) = &mut self.process {
            // dockerd ends its containerd and unmounts when it is asked to end.
            let asked = build::run({
                let mut kill = Command::new("kill");
                kill.arg(process.id().to_string());
                kill
            });
            let ended = asked.and_then(|()| Ok(process.wait()?));
            if let Err(error) = ended {
                eprintln!("a process of the referee does not end: {error:#}");
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays: {error}", self.folder.display());
        }
    }
}

/// Makes the same calls to the engine and to dockerd, and runs the docker command on
/// both.
///
/// # Errors
///
/// Where they differ in what is not known to differ.
pub(super) fn compare(
    clients: &Clients,
    engine: &super::Engine,
    script: &str,
) -> anyhow::Result<()> {
    let referee = Referee::start(clients)?;
    let status = clients
        .command(clients.python(), engine)
        .arg(build::workspace().join(format!("tests/clients/{script}.py")))
        .env(
            "REFEREE_HOST",
            format!("unix://{}", referee.socket().display()),
        )
        .env("REGISTRY", Referee::registry_name())
        .env("REFEREE_REGISTRY", Referee::registry_name())
        .status()
        .context("cannot run Python")?;
    ensure!(status.success(), "{script} ended with {status}");
    Ok(())
}
