//! The Engine API's socket as strangers treat it. No machine runs: what is asked
//! here needs none, and nothing here may start one.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

#[allow(dead_code)]
mod daemon;

use std::os::unix::fs::PermissionsExt;

use daemon::Daemon;

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
        ("/containers/x/attach/ws", "400", "Connection"),
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
