//! The Engine API over TCP: to clients with the right certificate, and to no
//! others. No machine runs.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

#[allow(dead_code)]
mod daemon;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::{DEADLINE, Daemon};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
};
use wherry_client::certificates::{self, Files};

struct Served {
    daemon: Daemon,
    address: SocketAddr,
    files: Files,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn configure(home: &Path, address: SocketAddr, files: &Files) {
    let text = format!(
        "[api]\nlisten = \"{address}\"\nca = '{}'\ncert = '{}'\nkey = '{}'\n",
        files.ca.display(),
        files.certificate.display(),
        files.key.display()
    );
    std::fs::write(home.join("config.toml"), text).unwrap();
}

impl Served {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let files = certificates::create(&home.path().join("tls"), &[], false).unwrap();
        let address = free_address();
        configure(home.path(), address, &files);
        let daemon = Daemon::of(home);
        // It listens there after its socket.
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "wherryd does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self {
            daemon,
            address,
            files,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Asks with the certificate in a folder, or without one, and returns what comes
    /// back; empty where it breaks off.
    fn ask(&self, client: Option<&Path>, head: &str) -> String {
        let mut stream = self.secured(client);
        let _ = stream.write_all(head.as_bytes());
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        // Its last alert is no answer.
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8(answer).unwrap()
    }

    fn secured(&self, client: Option<&Path>) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.files.ca).unwrap())
            .unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some(folder) => {
                let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
                let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
                config
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
        };
        let connection =
            ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(connection, self.connect())
    }
}

fn ping(headers: &str) -> String {
    format!("GET /_ping HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
}

#[test]
fn a_client_with_the_right_certificate_is_served_and_no_other() {
    let served = Served::start();
    let head = ping("Host: localhost\r\n");
    let right = served.ask(Some(&served.files.client), &head);
    assert!(right.starts_with("HTTP/1.1 200 OK\r\n"), "{right}");
    assert!(right.ends_with("\r\n\r\nOK"), "{right}");
    assert_eq!(served.ask(None, &head), "");
    let elsewhere = tempfile::tempdir().unwrap();
    let others = certificates::create(elsewhere.path(), &[], false).unwrap();
    assert_eq!(served.ask(Some(&others.client), &head), "");
    // The engine's own certificate is no client's.
    let server = elsewhere.path().join("server");
    std::fs::create_dir(&server).unwrap();
    std::fs::copy(&served.files.certificate, server.join("cert.pem")).unwrap();
    std::fs::copy(&served.files.key, server.join("key.pem")).unwrap();
    assert_eq!(served.ask(Some(&server), &head), "");
}

#[test]
fn plain_http_and_noise_are_turned_away() {
    let served = Served::start();
    let ask = |bytes: &[u8]| {
        let mut stream = served.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let answer = ask(ping("Host: localhost\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.0 400 "), "{answer}");
    assert!(answer.contains("HTTPS server"), "{answer}");
    ask(b"\x16\x03\x01\xff\xffnoise that is no greeting");
    // Silent strangers hold nobody up.
    let silent: Vec<TcpStream> = (0..20).map(|_| served.connect()).collect();
    let answer = served.ask(Some(&served.files.client), &ping("Host: localhost\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(silent);
}

#[test]
fn other_names_and_web_pages_are_refused() {
    let served = Served::start();
    for (headers, status) in [
        (format!("Host: {}\r\n", served.address), "200"),
        ("Host: evil.example\r\n".to_owned(), "403"),
        (
            "Host: localhost\r\nOrigin: https://evil.example\r\n".to_owned(),
            "403",
        ),
        (String::new(), "400"),
    ] {
        let answer = served.ask(Some(&served.files.client), &ping(&headers));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{headers}: {answer}"
        );
    }
}

/// Docker's own command, where it is installed.
#[test]
fn dockers_command_with_tlsverify_is_served() {
    let served = Served::start();
    let docker = |with: &[&str]| {
        Command::new("docker")
            .args(with)
            .args([
                "-H",
                &format!("tcp://{}", served.address),
                "--tlsverify",
                "swarm",
                "init",
            ])
            .env_remove("DOCKER_HOST")
            .env("DOCKER_CONFIG", served.daemon.home())
            .env("DOCKER_CERT_PATH", &served.files.client)
            .output()
    };
    let Ok(with) = docker(&[]) else {
        eprintln!("there is no docker here");
        return;
    };
    // The engine's own answer shows that it was heard: no machine is needed for that.
    let answer = "forms no swarm";
    let said = String::from_utf8_lossy(&with.stderr);
    assert!(said.contains(answer), "{said}");
    let elsewhere = tempfile::tempdir().unwrap();
    let others = certificates::create(elsewhere.path(), &[], false).unwrap();
    let key = others.client.join("key.pem");
    let certificate = others.client.join("cert.pem");
    let files = [
        "--tlskey",
        key.to_str().unwrap(),
        "--tlscert",
        certificate.to_str().unwrap(),
    ];
    let without = docker(&files).unwrap();
    // Whether it tells of the certificate or of a connection that was closed is up to
    // which of the two it saw first: the refusal follows its side of the handshake.
    let said = String::from_utf8_lossy(&without.stderr);
    assert!(
        !without.status.success() && !said.contains(answer),
        "{said}"
    );
}

#[test]
fn what_cannot_be_served_ends_wherryd_with_the_reason() {
    let refused = |prepare: &dyn Fn(&Path, SocketAddr, &Files)| {
        let home = tempfile::tempdir().unwrap();
        let files = certificates::create(&home.path().join("tls"), &[], false).unwrap();
        let address = free_address();
        configure(home.path(), address, &files);
        prepare(home.path(), address, &files);
        let ended = Command::new(env!("CARGO_BIN_EXE_wherryd"))
            .env("WHERRY_HOME", home.path())
            .output()
            .unwrap();
        assert!(!ended.status.success());
        String::from_utf8_lossy(&ended.stderr).into_owned()
    };
    let said = refused(&|home, address, _| {
        let text = format!("[api]\nlisten = \"{address}\"\n");
        std::fs::write(home.join("config.toml"), text).unwrap();
    });
    assert!(said.contains("listen needs ca, cert, key too"), "{said}");
    let said = refused(&|_, _, files| std::fs::remove_file(&files.certificate).unwrap());
    assert!(
        said.contains("cannot read") && said.contains("server-cert.pem"),
        "{said}"
    );
    let said = refused(&|_, _, files| {
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    });
    assert!(said.contains("chmod 600"), "{said}");
    let said = refused(&|_, _, files| std::fs::write(&files.ca, "nothing").unwrap());
    assert!(said.contains("holds no certificate"), "{said}");
    let said = refused(&|_, _, files| {
        std::fs::copy(files.client.join("key.pem"), &files.key).unwrap();
    });
    assert!(said.contains("cannot be used"), "{said}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = refused(&|home, _, files| configure(home, taken.local_addr().unwrap(), files));
    assert!(said.contains("cannot serve the Engine API at"), "{said}");
}
