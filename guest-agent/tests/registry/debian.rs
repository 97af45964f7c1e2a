//! Debian's `docker-registry`, and `skopeo` to fill it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::image::{Image, write_layout};
use super::support::DEADLINE;

/// The password of "wherry" is "secret".
const USERS: &str = "wherry:$2b$04$ebz9TnmbcyMMurvsYSTvJOwMJgmYWFPzTelMyuDyF57BsFtgyGFTi\n";

/// A registry on the loopback.
pub(crate) struct Registry {
    directory: tempfile::TempDir,
    process: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    private: bool,
}

impl Registry {
    /// Starts one that serves everybody.
    pub(crate) async fn start() -> Registry {
        Self::start_as(false).await
    }

    /// Starts one that wants to know who asks.
    pub(crate) async fn private() -> Registry {
        Self::start_as(true).await
    }

    async fn start_as(private: bool) -> Registry {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let users = directory.path().join("users");
        std::fs::write(&users, USERS).unwrap();
        let mut configuration = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {path}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '{address}'}}\n"
        );
        if private {
            configuration += &format!("auth: {{htpasswd: {{realm: here, path: {path}/users}}}}\n");
        }
        let file = directory.path().join("config.yml");
        std::fs::write(&file, configuration).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the Debian package docker-registry");
        let registry = Registry {
            directory,
            process,
            address,
            private,
        };
        let begun = Instant::now();
        while std::net::TcpStream::connect(&registry.address).is_err() {
            assert!(begun.elapsed() < DEADLINE, "the registry does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        registry
    }

    /// Puts an image there, and returns its full name.
    pub(crate) fn put(&self, name: &str, image: &Image) -> String {
        self.put_layout(name, &[image], &image.manifest_bytes())
    }

    /// Puts a manifest or index and its images there.
    pub(crate) fn put_layout(&self, name: &str, images: &[&Image], root: &[u8]) -> String {
        let layout = tempfile::tempdir_in(self.directory.path()).unwrap();
        write_layout(layout.path(), images, root);
        let full = format!("{}/{name}", self.address);
        self.skopeo(&[
            "copy",
            "--all",
            "--preserve-digests",
            &format!("oci:{}:it", layout.path().display()),
            &format!("docker://{full}"),
        ]);
        full
    }

    /// Copies an image from the registry to an OCI layout.
    pub(crate) fn get(&self, name: &str, directory: &Path) {
        self.skopeo(&[
            "copy",
            "--preserve-digests",
            &format!("docker://{}/{name}", self.address),
            &format!("oci:{}:it", directory.display()),
        ]);
    }

    fn skopeo(&self, arguments: &[&str]) {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy"]).args(&arguments[..1]);
        command.args(["--src-tls-verify=false", "--dest-tls-verify=false"]);
        if self.private {
            command.args(["--src-creds=wherry:secret", "--dest-creds=wherry:secret"]);
        }
        let output = command.args(&arguments[1..]).output();
        let output = output.expect("the Debian package skopeo");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
