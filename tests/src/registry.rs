//! Debian's `docker-registry` on the host's loopback.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::wait;

/// The password of "wherry" is "secret".
const USERS: &str = "wherry:$2b$04$ebz9TnmbcyMMurvsYSTvJOwMJgmYWFPzTelMyuDyF57BsFtgyGFTi\n";

/// A registry with a folder of its own. Dropped, it ends and its folder goes.
pub struct Registry {
    folder: TempDir,
    process: Child,
    port: u16,
}

impl Registry {
    /// Starts one that anybody may use.
    ///
    /// # Errors
    ///
    /// Where Debian's package `docker-registry` is not installed.
    pub fn open() -> anyhow::Result<Self> {
        Self::start(tempfile::tempdir()?, "")
    }

    /// Starts one for the user `wherry` with the password `secret`.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn with_login() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let users = folder.path().join("users");
        std::fs::write(&users, USERS)?;
        let login = format!(
            "auth: {{htpasswd: {{realm: here, path: {}}}}}\n",
            users.display()
        );
        Self::start(folder, &login)
    }

    fn start(folder: TempDir, more: &str) -> anyhow::Result<Self> {
        let path = folder.path().display();
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let configuration = folder.path().join("config.yml");
        std::fs::write(
            &configuration,
            format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {path}/data}}}}\n\
                 http: {{addr: '127.0.0.1:{port}'}}\n{more}"
            ),
        )?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("the Debian package docker-registry")?;
        let registry = Self {
            folder,
            process,
            port,
        };
        wait::until("the registry answers", Duration::from_secs(30), || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        Ok(registry)
    }

    /// Returns the port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Fills it with an image by `skopeo`, so that no engine has seen the image.
    /// `name` is a path and a tag, `team/app:1`; returns it with the registry's.
    ///
    /// # Errors
    ///
    /// Where `skopeo` fails, with what it printed.
    pub fn fill(&self, name: &str, docker_archive: &[u8]) -> anyhow::Result<String> {
        let mut archive = tempfile::NamedTempFile::new_in(self.folder.path())?;
        archive.write_all(docker_archive)?;
        let full = format!("localhost:{}/{name}", self.port);
        let copied = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"])
            .arg(format!("docker-archive:{}", archive.path().display()))
            .arg(format!("docker://{full}"))
            .output()
            .context("the Debian package skopeo")?;
        ensure!(
            copied.status.success(),
            "skopeo cannot copy {full}: {}",
            String::from_utf8_lossy(&copied.stderr)
        );
        Ok(full)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
