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
        Self::start_as("", None).await
    }

    /// Starts one that wants to know who asks.
    pub(crate) async fn private() -> Registry {
        let auth = "auth: {htpasswd: {realm: here, path: users}}\n";
        Self::start_as(auth, None).await
    }

    /// Starts one that speaks TLS alone, by a certificate for this name.
    pub(crate) async fn encrypted(name: &str) -> Registry {
        Self::start_as("", Some(name)).await
    }

    async fn start_as(auth: &str, encrypted: Option<&str>) -> Registry {
        let directory = tempfile::tempdir().unwrap();
        if let Some(name) = encrypted {
            certify(directory.path(), name);
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let users = directory.path().join("users");
        std::fs::write(&users, USERS).unwrap();
        let tls = match encrypted {
            Some(_) => ", tls: {certificate: cert.pem, key: key.pem}",
            None => "",
        };
        let configuration = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '{address}'{tls}}}\n{auth}"
        );
        let file = directory.path().join("config.yml");
        std::fs::write(&file, configuration).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the Debian package docker-registry");
        let registry = Registry {
            directory,
            process,
            address,
            private: !auth.is_empty(),
        };
        let begun = Instant::now();
        while std::net::TcpStream::connect(&registry.address).is_err() {
            assert!(begun.elapsed() < DEADLINE, "the registry does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        registry
    }

    /// The authority behind an encrypted one's certificate, DER.
    pub(crate) fn authority(&self) -> Vec<u8> {
        std::fs::read(self.directory.path().join("ca.der")).unwrap()
    }

    pub(crate) fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
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

/// Makes an authority, and by it a certificate for a name.
fn certify(directory: &Path, name: &str) {
    let openssl = |line: &str| {
        let output = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(directory)
            .output()
            .expect("the Debian package openssl");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {line}: {said}");
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!(
        "req -x509 {new} -keyout ca.key -out ca.pem -days 2 -subj /CN=Authority"
    ));
    openssl("x509 -in ca.pem -outform DER -out ca.der");
    openssl(&format!(
        "req {new} -keyout key.pem -out request.pem -subj /CN={name} -addext subjectAltName=DNS:{name}"
    ));
    openssl(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy \
         -out cert.pem -days 2",
    );
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
