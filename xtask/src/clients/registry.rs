//! Debian's registry on this machine's loopback.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::setup;

/// A registry that anybody may use. Dropped, it ends and its folder goes.
pub(super) struct Registry {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Registry {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub(super) fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Self::at(port, None)
    }

    /// Starts one at a port, in another network namespace where one is given.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub(super) fn at(port: u16, namespace: Option<&str>) -> anyhow::Result<Self> {
        setup::install(setup::REGISTRY)?;
        let folder = tempfile::tempdir()?;
        let configuration = folder.path().join("config.yml");
        fs::write(
            &configuration,
            format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {}/data}}}}\n\
                 http: {{addr: '127.0.0.1:{port}'}}\n",
                folder.path().display()
            ),
        )?;
        let mut command = match namespace {
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command
                    .arg(format!("--net={namespace}"))
                    .arg("docker-registry");
                command
            }
            None => Command::new("docker-registry"),
        };
        let process = command
            .arg("serve")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run docker-registry")?;
        let registry = Self {
            process,
            port,
            _folder: folder,
        };
        let end = Instant::now() + Duration::from_secs(30);
        // Another namespace's loopback is not reached from here.
        while namespace.is_none() && TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(Instant::now() < end, "docker-registry does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(registry)
    }

    /// Returns what images in it begin with.
    pub(super) fn name(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
