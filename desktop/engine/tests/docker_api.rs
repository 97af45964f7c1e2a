//! The Engine API's socket as strangers treat it. No machine runs: what is asked
//! here needs none, and nothing here may start one.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

#[allow(dead_code)]
mod daemon;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use daemon::{DEADLINE, Daemon};

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
        (
            "/containers/x/stats?one-shot=1",
            "400",
            "cannot have stream=true and one-shot=true",
        ),
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

/// Names that are encoded are one name, whatever is in them, and those with slashes
/// find their way: nothing here is a path that was not found.
#[test]
fn encoded_and_doubled_slashes_are_read() {
    let daemon = Daemon::start();
    for (path, expected) in [
        // What is wrong is the query, which only the right handler reads.
        ("/containers/%2Fweb/logs", "400"),
        ("/containers//web/logs", "400"),
        ("/v1.24//containers/web/logs", "400"),
        ("/containers/a%2Fb/archive", "400"),
        ("/images/team%2Fapp%3A1/json?manifests=1&platform=x", "400"),
        ("/images/team/app:1/json?manifests=1&platform=x", "400"),
        (
            "/images/localhost:5000/a/b/c/json?manifests=1&platform=x",
            "400",
        ),
    ] {
        let answer = daemon.get(path);
        assert_eq!(status(&answer), expected, "{path}: {answer}");
        assert!(!answer.contains("page not found"), "{path}: {answer}");
    }
    for path in [
        "/%00",
        "/containers/%00/nothing",
        "/containers/../../info",
        "/%2e%2e/x",
    ] {
        let answer = daemon.get(path);
        assert_eq!(status(&answer), "404", "{path}: {answer}");
    }
}

#[test]
fn values_that_mean_nothing_are_refused_before_anything_is_done() {
    let daemon = Daemon::start();
    let filters = |call: &str, filters: &str| {
        let encoded: String = filters.bytes().map(|byte| format!("%{byte:02x}")).collect();
        format!("{call}?filters={encoded}")
    };
    for path in [
        filters("/containers/json", r#"{"status":["asleep"]}"#),
        filters("/containers/json", r#"{"health":["well"]}"#),
        filters("/containers/json", r#"{"exited":["x"]}"#),
        filters("/containers/json", r#"{"expose":["x"]}"#),
        filters("/containers/json", r#"{"publish":["1-x"]}"#),
        filters("/containers/json", r#"{"is-task":["x"]}"#),
        filters("/images/json", r#"{"dangling":["x"]}"#),
        filters("/networks", r#"{"type":["x"]}"#),
        filters("/networks", r#"{"dangling":["x"]}"#),
        filters("/volumes", r#"{"dangling":["x"]}"#),
        "/events?since=2000000000&until=1000000000".to_owned(),
        "/events?since=x".to_owned(),
        "/system/df?type=x".to_owned(),
        "/containers/x/attach?detachKeys=no%20such".to_owned(),
    ] {
        let answer = match path.contains("attach") {
            true => daemon.post(&path, b""),
            false => daemon.get(&path),
        };
        assert_eq!(status(&answer), "400", "{path}: {answer}");
    }
    // A prune that is misunderstood would remove.
    for path in [
        filters("/images/prune", r#"{"dangling":["x"]}"#),
        filters("/images/prune", r#"{"until":["x"]}"#),
        filters("/volumes/prune", r#"{"all":["x"]}"#),
        filters("/containers/prune", r#"{"until":["x"]}"#),
        filters("/networks/prune", r#"{"no-such":["x"]}"#),
        filters("/containers/prune", r#"["x"]"#),
    ] {
        let answer = daemon.post(&path, b"");
        assert_eq!(status(&answer), "400", "{path}: {answer}");
    }
    for (path, body) in [
        ("/containers/x/exec", r#"{"Cmd":[]}"#),
        (
            "/containers/x/exec",
            r#"{"Cmd":["x"],"DetachKeys":"no such"}"#,
        ),
        ("/containers/x/start?checkpoint=c", ""),
        ("/containers/x/wait?condition=never", ""),
    ] {
        let answer = daemon.post(path, body.as_bytes());
        assert_eq!(status(&answer), "400", "{path}: {answer}");
    }
}

/// Fields that nobody knows are ignored, so that newer clients are served: what is
/// wrong here is a field that is known.
#[test]
fn unknown_fields_are_ignored_and_bad_bytes_are_not() {
    let daemon = Daemon::start();
    let body =
        br#"{"Image":"x","NoSuchField":{"a":[1,null]},"HostConfig":{"AlsoNone":1,"Memory":-5}}"#;
    let answer = daemon.post("/containers/create", body);
    assert_eq!(status(&answer), "400", "{answer}");
    assert!(answer.contains("Memory"), "{answer}");
    for body in [
        &b"{\"Image\":\"\xff\xfe\"}"[..],
        b"{\"Image\":\"x\"}{}",
        b"{\"Image\":\"x\",}",
        b"nul",
        b"\0\0\0\0",
    ] {
        let answer = daemon.post("/containers/create", body);
        assert_eq!(status(&answer), "400", "{body:?}: {answer}");
    }
    // As deep as no description is, and as deep as no stack.
    let deep = [b"[".repeat(200_000), b"]".repeat(200_000)].concat();
    let answer = daemon.post("/containers/create", &deep);
    assert_eq!(status(&answer), "400", "{answer}");
    assert_eq!(status(&daemon.get("/_ping")), "200");
}

/// What looks like one request to one reader and like two to another is none.
#[test]
fn requests_of_two_lengths_are_turned_away() {
    let daemon = Daemon::start();
    for head in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: x\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ] {
        let request = format!("POST /containers/create HTTP/1.1\r\nHost: x\r\n{head}\r\n{{}}");
        let answer = daemon.ask(request.as_bytes());
        assert!(
            answer.is_empty() || status(&answer) == "400",
            "{head}: {answer}"
        );
    }
    let broken =
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    let answer = daemon.ask(broken.as_bytes());
    assert!(answer.is_empty() || status(&answer) == "400", "{answer}");
}

/// A client that asks much and reads nothing is not served on and on: what it is told
/// stays with it, and others are served.
#[test]
fn a_client_that_reads_nothing_holds_up_only_itself() {
    let daemon = Daemon::start();
    let mut stream = daemon.connect();
    stream.set_nonblocking(true).unwrap();
    let request = "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let mut sent = 0;
    let deadline = Instant::now() + DEADLINE;
    loop {
        match stream.write(request.as_bytes()) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                // It takes no more: the answers fill the socket.
                if daemon.get("/_ping").starts_with("HTTP/1.1 200") && sent > 0 {
                    break;
                }
            }
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < deadline, "{sent} bytes were taken");
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    assert_eq!(status(&daemon.get("/_ping")), "200");
}

/// Who is refused and hung up on while he sends takes that for a broken connection.
#[test]
fn a_short_body_is_read_before_its_request_is_refused() {
    let daemon = Daemon::start();
    let mut stream = daemon.connect();
    let body = r#"{"ListenAddr": "0.0.0.0:2377"}"#;
    let head = format!(
        "POST /swarm/init HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let early = stream.read(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    stream.write_all(body.as_bytes()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), "501", "{answer}");
}
