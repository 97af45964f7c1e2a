//! The Engine API's socket as strangers treat it. No machine runs: what is asked
//! here needs none, and nothing here may start one.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

struct Daemon {
    home: tempfile::TempDir,
    process: Child,
}

impl Daemon {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_wherryd"))
            .env("WHERRY_HOME", home.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { home, process };
        let deadline = Instant::now() + DEADLINE;
        while UnixStream::connect(daemon.socket()).is_err() {
            assert!(Instant::now() < deadline, "wherryd does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("run/docker.sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Sends bytes, ends the stream, and returns all that comes back.
    fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have hung up on what it does not want to read.
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(&self, path: &str) -> String {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    fn post(&self, path: &str, body: &[u8]) -> String {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        self.ask(&[head.as_bytes(), body].concat())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn the_socket_is_its_owners_alone_and_answers_without_a_machine() {
    let daemon = Daemon::start();
    let mode = std::fs::metadata(daemon.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    for method in ["GET", "HEAD"] {
        for path in ["/_ping", "/v1.24/_ping", "/v1.51/_ping"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let answer = daemon.ask(request.as_bytes());
            assert_eq!(status(&answer), "200", "{answer}");
            assert!(answer.contains("api-version: 1.51\r\n"), "{answer}");
            assert!(answer.contains("ostype: linux\r\n"), "{answer}");
            assert_eq!(answer.ends_with("\r\n\r\nOK"), method == "GET", "{answer}");
        }
    }
}

#[test]
fn what_is_wrong_is_answered_in_json() {
    let daemon = Daemon::start();
    for (path, expected, words) in [
        ("/v1.23/_ping", "400", "client version 1.23 is too old"),
        ("/v1.99/_ping", "400", "client version 1.99 is too new"),
        ("/no/such", "404", "page not found"),
        ("/containers/%ff/json", "400", "UTF-8"),
        ("/containers/json?filters=%7B", "400", "invalid filters"),
        (
            "/containers/json?filters=%7B%22x%22:%5B%5D%7D",
            "400",
            "invalid filter 'x'",
        ),
        ("/containers/json?limit=x", "400", "limit"),
        (
            "/containers/x/logs",
            "400",
            "you must choose at least one stream",
        ),
        ("/containers/x/archive", "400", "'path' cannot be empty"),
        ("/nodes", "503", "not a swarm manager"),
        ("/plugins/x/json", "404", "plugin"),
    ] {
        let answer = daemon.get(path);
        assert_eq!(status(&answer), expected, "{path}: {answer}");
        assert!(answer.contains("{\"message\":\""), "{path}: {answer}");
        assert!(answer.contains(words), "{path}: {answer}");
    }
    for (path, body, expected) in [
        ("/containers/create", &b"{"[..], "400"),
        ("/containers/create", b"{\"Image\": 3}", "400"),
        ("/containers/create", b"\xff\xfe", "400"),
        ("/containers/create", b"", "400"),
        (
            "/containers/create",
            b"{\"Image\":\"x\",\"HostConfig\":{\"Memory\":-5}}",
            "400",
        ),
        (
            "/containers/create",
            b"{\"Image\":\"x\",\"HostConfig\":{\"Binds\":[\":\"]}}",
            "400",
        ),
        ("/networks/create", b"[]", "400"),
        ("/swarm/init", b"{}", "501"),
        ("/build", b"", "501"),
        ("/session", b"", "501"),
    ] {
        let answer = daemon.post(path, body);
        assert_eq!(status(&answer), expected, "{path}: {answer}");
        assert!(answer.contains("{\"message\":\""), "{path}: {answer}");
    }
}

#[test]
fn hostile_requests_are_turned_away_and_the_next_is_served() {
    let daemon = Daemon::start();
    let long = "x".repeat(2 << 20);
    for request in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET /_ping HTTP/9.9\r\n\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /_ping HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
        format!(
            "GET /_ping HTTP/1.1\r\nHost: x\r\n{}\r\n",
            "A: b\r\n".repeat(5000)
        ),
    ] {
        let answer = daemon.ask(request.as_bytes());
        let shown: String = request.chars().take(40).collect();
        assert!(
            answer.is_empty() || status(&answer).starts_with('4'),
            "{shown}: {answer}"
        );
    }
    // No longer than what is read of a body, and no memory for what is announced.
    let huge = daemon.post("/containers/create", &vec![b' '; 9 << 20]);
    assert!(huge.is_empty() || status(&huge) == "400", "{huge}");
    let announced =
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{";
    let announced = daemon.ask(announced);
    assert!(
        announced.is_empty() || status(&announced) == "400",
        "{announced}"
    );
    assert_eq!(status(&daemon.get("/_ping")), "200");
}

#[test]
fn several_requests_of_one_connection_are_answered_in_turn() {
    let daemon = Daemon::start();
    let request = "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
    assert_eq!(
        daemon
            .ask(request.as_bytes())
            .matches("HTTP/1.1 200")
            .count(),
        3
    );
}
