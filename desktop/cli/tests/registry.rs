//! Pulls, and the logins they use, against an engine that speaks the real
//! protocol.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, unreachable_pub)]
mod engine;

use std::path::Path;
use std::process::{Output, Stdio};

use engine::{ScriptedEngine, errors};

/// Runs a command of a user whose `~/.docker` is `docker`.
fn run(engine: &ScriptedEngine, docker: &Path, arguments: &[&str], input: &str) -> Output {
    use std::io::Write;
    let mut child = engine
        .wherry(arguments)
        .env("DOCKER_CONFIG", docker)
        .env("HTTPS_PROXY", "http://proxy:3128")
        .env("NO_PROXY", "lan")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_pull_prints_what_docker_prints_and_nothing_else_in_a_pipe() {
    let engine = ScriptedEngine::start();
    let docker = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (
            &["pull", "nginx"][..],
            "Using default tag: latest\nlatest: Pulling from library/nginx\nDigest: sha256:1234\n\
             Status: Downloaded newer image for nginx:latest\ndocker.io/library/nginx:latest\n",
        ),
        (
            &["pull", "current:2"],
            "2: Pulling from library/current\nDigest: sha256:1234\n\
             Status: Image is up to date for current:2\ndocker.io/library/current:2\n",
        ),
        (
            &["pull", "box.lan/app@sha256:1234"],
            "box.lan/app@sha256:1234: Pulling from app\nDigest: sha256:1234\n\
             Status: Downloaded newer image for box.lan/app@sha256:1234\nbox.lan/app@sha256:1234\n",
        ),
    ] {
        let output = run(&engine, docker.path(), arguments, "");
        assert_eq!(text(&output.stdout), expected);
        assert_eq!(errors(&output), "wherry: mind the platform\n");
        assert_eq!(output.status.code(), Some(0));
    }
    let output = run(&engine, docker.path(), &["pull", "-q", "nginx"], "");
    assert_eq!(text(&output.stdout), "docker.io/library/nginx:latest\n");
    assert_eq!(errors(&output), "");
    let output = run(&engine, docker.path(), &["pull", "unknown/app"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("not in the registry"));
}

#[test]
fn a_pull_fetches_every_tag() {
    let engine = ScriptedEngine::start();
    let docker = tempfile::tempdir().unwrap();
    let output = run(&engine, docker.path(), &["pull", "-q", "-a", "nginx"], "");
    assert_eq!(
        text(&output.stdout),
        "docker.io/library/nginx:1\ndocker.io/library/nginx:2\n"
    );
    let output = run(&engine, docker.path(), &["pull", "-a", "nginx:1"], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        errors(&output),
        "wherry: tag can't be used with --all-tags/-a\n"
    );
    assert_eq!(engine.asked().pulled.len(), 2);
}

#[test]
fn a_pull_takes_the_hosts_settings_and_credentials_along() {
    let engine = ScriptedEngine::start();
    engine
        .configure("registry_mirrors = [\"https://mirror\"]\ninsecure_registries = [\"box.lan\"]");
    let docker = tempfile::tempdir().unwrap();
    let config = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "bWU6cmlnaHQ="},
                               "box.lan": {"auth": "eW91OnJpZ2h0"}}}"#;
    std::fs::write(docker.path().join("config.json"), config).unwrap();
    let name = ["pull", "--platform", "linux/arm64", "box.lan/app"];
    run(&engine, docker.path(), &name, "");
    run(&engine, docker.path(), &["pull", "nginx"], "");
    let asked = engine.asked();
    assert_eq!(asked.pulled[0].platform, "linux/arm64");
    for (pulled, user) in asked.pulled.iter().zip(["you", "me"]) {
        let access = pulled.access.clone().unwrap();
        assert_eq!(access.credentials.len(), 1, "of its own registry alone");
        assert_eq!(access.credentials[0].username, user);
        assert_eq!(access.credentials[0].password, "right");
        assert_eq!(access.mirrors, ["https://mirror"]);
        assert_eq!(access.insecure, ["box.lan"]);
        assert_eq!(access.https_proxy, "http://proxy:3128");
        assert_eq!(access.no_proxy, "lan");
    }
}

#[test]
fn run_and_create_fetch_what_is_missing() {
    let engine = ScriptedEngine::start();
    let docker = tempfile::tempdir().unwrap();
    let output = run(&engine, docker.path(), &["run", "unknown:1", "both"], "");
    assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
    assert_eq!(text(&output.stdout), "out\n");
    // Nothing of the fetch is told in a pipe.
    let begin = "wherry: mind the platform\n";
    assert!(errors(&output).starts_with(begin), "{}", errors(&output));
    assert_eq!(engine.asked().pulled.len(), 1);
    // Now it is here.
    run(&engine, docker.path(), &["create", "unknown:1"], "");
    assert_eq!(engine.asked().pulled.len(), 1);
    run(
        &engine,
        docker.path(),
        &["create", "--pull", "always", "unknown:1"],
        "",
    );
    assert_eq!(engine.asked().pulled.len(), 2);
    let output = run(
        &engine,
        docker.path(),
        &["run", "--pull=never", "unknown2"],
        "",
    );
    assert_eq!(output.status.code(), Some(125));
    assert!(errors(&output).contains("`wherry pull`"));
    let output = run(&engine, docker.path(), &["run", "unknown/x"], "");
    assert_eq!(output.status.code(), Some(125));
    let arguments = ["run", "-q", "--platform=linux/arm64", "image", "both"];
    let output = run(&engine, docker.path(), &arguments, "");
    assert_eq!(errors(&output), "wherry: warning: mind the gap\nerr\n");
    assert_eq!(engine.asked().pulled[2].platform, "linux/arm64");
    assert_eq!(engine.asked().pulled.len(), 3);
}

#[test]
fn a_push_and_a_history_print_what_docker_prints() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["push", "box.lan/app:1"], b"");
    assert_eq!(
        text(&output.stdout),
        "The push refers to repository [box.lan/app]\n1: digest: sha256:1234 size: 42\n"
    );
    let output = engine.run(&["image", "history", "nginx"], b"");
    assert_eq!(
        text(&output.stdout),
        "IMAGE          CREATED   CREATED BY                                      SIZE      COMMENT\n\
         0123456789ab   N/A       CMD [\"sh\"]                                      0B\n\
         <missing>      N/A       RUN a command that is longer than the column…   1.23MB\n"
    );
    let output = engine.run(&["history", "-q", "--no-trunc", "-H=false", "nginx"], b"");
    assert_eq!(text(&output.stdout), "sha256:0123456789abcdef\n<missing>\n");
    let arguments = [
        "search",
        "--filter",
        "stars=10",
        "--format",
        "{{.Name}} {{.StarCount}}",
        "nginx",
    ];
    let output = engine.run(&arguments, b"");
    assert_eq!(text(&output.stdout), "nginx 20000\n");
    engine.run(&["image", "tag", "nginx", "mine:2"], b"");
    assert_eq!(engine.asked().tagged[0].name, "mine:2");
}

#[test]
fn a_save_is_a_file_only_when_it_is_whole() {
    let engine = ScriptedEngine::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("images.tar");
    let save = |name| engine.run(&["save", "-o", file.to_str().unwrap(), name], b"");
    let output = save("damaged");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(errors(&output), "wherry: a layer is damaged\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(save("nginx").status.code(), Some(0));
    assert_eq!(std::fs::read(&file).unwrap(), b"halfwhole");
    let output = engine.run(&["save", "nginx"], b"");
    assert_eq!(output.stdout, b"halfwhole");
}

#[cfg(unix)]
#[test]
fn no_archive_takes_the_place_of_a_device() {
    let engine = ScriptedEngine::start();
    let folder = tempfile::tempdir().unwrap();
    // A pipe stands for `/dev/null`, which root could replace as well.
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let pipe = pipe.to_str().unwrap();
    for arguments in [["save", "-o", pipe, "nginx"], ["export", "-o", pipe, "web"]] {
        let output = engine.run(&arguments, b"");
        assert_eq!(output.status.code(), Some(1));
        let said = errors(&output);
        assert!(
            said.contains("must be a regular file: got a device or a pipe"),
            "{said}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn what_docker_has_and_wherry_cannot_is_refused_with_the_reason() {
    let engine = ScriptedEngine::start();
    let platform = ["--platform", "linux/arm64"];
    for (command, name) in [
        ("save", "nginx"),
        ("load", ""),
        ("import", "-"),
        ("history", "nginx"),
        ("push", "nginx"),
        ("rmi", "nginx"),
    ] {
        let mut arguments = vec![command];
        arguments.extend(platform);
        arguments.extend((!name.is_empty()).then_some(name));
        let output = engine.run(&arguments, b"");
        assert_eq!(output.status.code(), Some(125), "{command}");
        let said = errors(&output);
        assert!(said.contains("an image here is of one platform"), "{said}");
    }
    for (value, code) in [("", 0), ("=true", 0), ("=false", 125)] {
        let trust = format!("--disable-content-trust{value}");
        let output = engine.run(&["pull", &trust, "nginx"], b"");
        assert_eq!(output.status.code(), Some(code), "{}", errors(&output));
    }
    let output = engine.run(&["images", "--tree"], b"");
    assert!(errors(&output).contains("--tree is not supported"));
    let output = engine.run(&["images", "-a", "--digests", "-f", "dangling=true"], b"");
    assert!(text(&output.stdout).starts_with("REPOSITORY   TAG       DIGEST    IMAGE ID"));
    let output = engine.run(&["images", "-f", "since=nothing"], b"");
    assert_eq!(errors(&output), "wherry: no such image: nothing\n");
}

#[test]
fn a_prune_asks_first() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["image", "prune"], b"n\n");
    assert!(text(&output.stdout).ends_with("[y/N] Total reclaimed space: 0B\n"));
    assert!(engine.asked().pruned.is_empty());
    let output = engine.run(&["image", "prune", "-a", "--filter", "label!=keep"], b"y\n");
    assert!(text(&output.stdout).ends_with(
        "Deleted Images:\nuntagged: old:1\ndeleted: sha256:1234\n\nTotal reclaimed space: 1MB\n"
    ));
    assert_eq!(engine.asked().pruned[0].without_labels, ["keep"]);
    assert!(engine.asked().pruned[0].all);
    let output = engine.run(&["image", "prune", "-f", "--filter", "colour=red"], b"");
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn a_login_is_kept_after_the_registry_took_it() {
    let engine = ScriptedEngine::start();
    let docker = tempfile::tempdir().unwrap();
    let file = docker.path().join("config.json");
    let login = [
        "login",
        "-u",
        "me",
        "--password-stdin",
        "https://box.lan/v2/",
    ];
    let output = run(&engine, docker.path(), &login, "wrong\n");
    assert_eq!(errors(&output), "wherry: wrong password\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(!file.exists());
    let output = run(&engine, docker.path(), &login, "right\n");
    assert_eq!(text(&output.stdout), "Login Succeeded\n");
    assert!(errors(&output).contains("unencrypted"));
    let config = std::fs::read_to_string(&file).unwrap();
    assert!(
        config.contains("\"box.lan\"") && config.contains("bWU6cmlnaHQ="),
        "{config}"
    );
    // Once more, with what was kept.
    let output = run(&engine, docker.path(), &["login", "box.lan"], "");
    assert!(text(&output.stdout).ends_with("Login Succeeded\n"));
    for said in [
        "Removing login credentials for box.lan\n",
        "Not logged in to box.lan\n",
    ] {
        let output = run(&engine, docker.path(), &["logout", "box.lan"], "");
        assert_eq!(text(&output.stdout), said);
    }
    let output = run(&engine, docker.path(), &["login", "box.lan"], "");
    assert!(errors(&output).contains("--password-stdin"));
    assert_eq!(output.status.code(), Some(1));
}

#[cfg(unix)]
#[test]
fn a_credential_helper_keeps_gives_and_forgets() {
    use std::os::unix::fs::PermissionsExt;
    let engine = ScriptedEngine::start();
    let docker = tempfile::tempdir().unwrap();
    let folder = docker.path().display();
    let helper = docker.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{folder}/kept;;\nerase) rm {folder}/kept;;\n\
         get) cat >/dev/null; [ -f {folder}/kept ] || {{ echo credentials not found in native keychain; exit 1; }}\n\
         cat {folder}/kept;;\nesac\n"
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(
        docker.path().join("config.json"),
        r#"{"credsStore": "test"}"#,
    )
    .unwrap();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let wherry = |arguments: &[&str]| {
        let mut command = engine.wherry(arguments);
        let command = command
            .env("DOCKER_CONFIG", docker.path())
            .env("PATH", &path);
        command.stdin(Stdio::null()).output().unwrap()
    };
    let output = wherry(&["login", "-u", "me", "-p", "right", "box.lan"]);
    assert_eq!(
        text(&output.stdout),
        "Login Succeeded\n",
        "{}",
        errors(&output)
    );
    assert!(!errors(&output).contains("unencrypted"));
    wherry(&["pull", "box.lan/app"]);
    let access = engine.asked().pulled[0].access.clone().unwrap();
    assert_eq!(access.credentials[0].password, "right");
    wherry(&["logout", "box.lan"]);
    assert!(!docker.path().join("kept").exists());
    let output = wherry(&["pull", "box.lan/app"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let access = engine.asked().pulled[1].access.clone().unwrap();
    assert!(access.credentials.is_empty());
}
