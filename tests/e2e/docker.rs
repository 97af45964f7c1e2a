//! Docker's own command and Compose, against the engine's socket.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE, Ran};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("dockers_command_runs_containers_unchanged", containers),
    ("dockers_command_moves_files_and_images", files_and_images),
    ("dockers_command_sees_what_happens", events),
    ("compose_brings_an_application_up_and_down", compose),
];

/// Returns a client of Docker's, bounded in time, pointed at the engine's socket.
fn client(engine: &Engine, program: &str, arguments: &[&str]) -> Command {
    let socket = engine.home().join("run/docker.sock");
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", "120", program])
        .args(arguments)
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .env("DOCKER_CONFIG", engine.home().join("docker"))
        .stdin(Stdio::null());
    command
}

fn run(engine: &Engine, arguments: &[&str]) -> anyhow::Result<Ran> {
    Ok(client(engine, "docker", arguments).output()?.into())
}

fn succeed(engine: &Engine, arguments: &[&str]) -> anyhow::Result<String> {
    let ran = run(engine, arguments)?;
    ensure!(ran.code == 0, "docker {arguments:?}: {ran:?}");
    Ok(ran.stdout)
}

fn with_input(engine: &Engine, arguments: &[&str], input: &[u8]) -> anyhow::Result<Ran> {
    let mut child = client(engine, "docker", arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let ran = child.wait_with_output()?.into();
    // A client that ended early has its input's pipe broken; how it ended tells.
    let _ = writer.join();
    Ok(ran)
}

fn containers(engine: &Engine) -> anyhow::Result<()> {
    let version = succeed(
        engine,
        &[
            "version",
            "--format",
            "{{.Server.Os}} {{.Server.Platform.Name}}",
        ],
    )?;
    ensure!(version.starts_with("linux Wherry"), "{version}");
    let ran = run(
        engine,
        &[
            "run",
            "--rm",
            IMAGE,
            "sh",
            "-c",
            "echo out; echo err >&2; exit 3",
        ],
    )?;
    ensure!(
        (ran.code, &*ran.stdout, &*ran.stderr) == (3, "out\n", "err\n"),
        "{ran:?}"
    );
    let missing = run(engine, &["run", "--rm", IMAGE, "/no/such"])?;
    ensure!(missing.code == 127, "{missing:?}");
    // More than any pipe holds, and its end.
    let ran = with_input(
        engine,
        &["run", "-i", "--rm", IMAGE, "wc", "-c"],
        &vec![b'x'; 3 << 20],
    )?;
    ensure!(ran.stdout.trim() == (3 << 20).to_string(), "{ran:?}");

    let id = succeed(
        engine,
        &[
            "run",
            "-d",
            "--name",
            "by-docker",
            "--label",
            "a=b",
            IMAGE,
            "sleep",
            "1000",
        ],
    )?;
    let listed = succeed(
        engine,
        &[
            "ps",
            "--no-trunc",
            "--filter",
            "label=a=b",
            "--format",
            "{{.ID}} {{.State}}",
        ],
    )?;
    ensure!(
        listed.trim() == format!("{} running", id.trim()),
        "{listed}"
    );
    // Its exit code is there as soon as its output has ended.
    for code in [0, 7] {
        let script = format!("cat; exit {code}");
        let ran = with_input(
            engine,
            &["exec", "-i", "by-docker", "sh", "-c", &script],
            b"through",
        )?;
        ensure!((ran.code, &*ran.stdout) == (code, "through"), "{ran:?}");
    }
    let stats = succeed(
        engine,
        &[
            "stats",
            "--no-stream",
            "--format",
            "{{.Name}} {{.PIDs}}",
            "by-docker",
        ],
    )?;
    ensure!(stats.trim() == "by-docker 1", "{stats}");
    let state = "{{.State.Status}} {{.HostConfig.Memory}}";
    succeed(
        engine,
        &[
            "update",
            "--memory",
            "64m",
            "--memory-swap",
            "64m",
            "by-docker",
        ],
    )?;
    ensure!(succeed(engine, &["inspect", "-f", state, "by-docker"])?.trim() == "running 67108864");
    succeed(engine, &["pause", "by-docker"])?;
    ensure!(succeed(engine, &["inspect", "-f", state, "by-docker"])?.starts_with("paused"));
    succeed(engine, &["unpause", "by-docker"])?;
    succeed(engine, &["rename", "by-docker", "renamed"])?;
    succeed(engine, &["stop", "-t", "0", "renamed"])?;
    ensure!(succeed(engine, &["wait", "renamed"])?.trim() == "137");
    // Both commands see the same container.
    ensure!(
        engine
            .succeed(&["ps", "-aq", "--filter", "name=renamed"])?
            .lines()
            .count()
            == 1
    );
    succeed(engine, &["rm", "renamed"])?;
    let gone = run(engine, &["inspect", "renamed"])?;
    ensure!(
        gone.code == 1 && gone.stderr.to_lowercase().contains("no such object"),
        "{gone:?}"
    );
    Ok(())
}

fn files_and_images(engine: &Engine) -> anyhow::Result<()> {
    let folder = engine.shared_folder()?;
    let text = |path: &Path| path.to_str().map(str::to_owned).context("no text");
    let file = folder.path().join("file");
    std::fs::write(&file, "contents")?;
    succeed(engine, &["create", "--name", "for-files", IMAGE, "true"])?;
    succeed(engine, &["cp", &text(&file)?, "for-files:/tmp/copied"])?;
    let back = folder.path().join("back");
    succeed(engine, &["cp", "for-files:/tmp/copied", &text(&back)?])?;
    ensure!(std::fs::read(&back)? == b"contents");
    let changed = succeed(engine, &["diff", "for-files"])?;
    ensure!(changed.contains("A /tmp/copied"), "{changed}");
    succeed(
        engine,
        &[
            "commit",
            "-c",
            "CMD [\"cat\", \"/tmp/copied\"]",
            "for-files",
            "made/by:docker",
        ],
    )?;
    ensure!(succeed(engine, &["run", "--rm", "made/by:docker"])? == "contents");
    let archive = folder.path().join("image.tar");
    succeed(engine, &["save", "-o", &text(&archive)?, "made/by:docker"])?;
    succeed(engine, &["rm", "for-files"])?;
    succeed(engine, &["rmi", "made/by:docker"])?;
    let loaded = succeed(engine, &["load", "-i", &text(&archive)?])?;
    ensure!(loaded.trim() == "Loaded image: made/by:docker", "{loaded}");
    succeed(engine, &["rmi", "made/by:docker"])?;
    // The short form of a bind makes its folder.
    let made = folder.path().join("made/here");
    let bind = format!("{}:/there", text(&made)?);
    succeed(
        engine,
        &["run", "--rm", "-v", &bind, IMAGE, "touch", "/there/file"],
    )?;
    ensure!(made.join("file").exists());
    Ok(())
}

fn events(engine: &Engine) -> anyhow::Result<()> {
    let since = succeed(engine, &["info", "--format", "{{.SystemTime}}"])?;
    succeed(
        engine,
        &["run", "--rm", "--name", "eventful", IMAGE, "true"],
    )?;
    let until = succeed(engine, &["info", "--format", "{{.SystemTime}}"])?;
    let told = succeed(
        engine,
        &[
            "events",
            "--since",
            since.trim(),
            "--until",
            until.trim(),
            "--filter",
            "container=eventful",
            "--format",
            "{{.Action}}",
        ],
    )?;
    let told: Vec<_> = told.lines().collect();
    for action in ["create", "start", "die"] {
        ensure!(told.contains(&action), "no {action} in {told:?}");
    }
    let df = succeed(engine, &["system", "df", "--format", "{{.Type}}"])?;
    ensure!(df.lines().count() == 4, "{df}");
    // What is not here says so, and is no page that was not found.
    let swarm = run(engine, &["swarm", "init"])?;
    ensure!(
        swarm.code == 1 && swarm.stderr.contains("no swarm"),
        "{swarm:?}"
    );
    Ok(())
}

const APPLICATION: &str = r#"
version: "2.4"
services:
  web:
    image: IMAGE
    command: ["sh", "-c", "cat /config/greeting; nc db 5432 < /dev/null; sleep 1000"]
    volumes: ["./config:/config:ro", "data:/data"]
    depends_on:
      db: {condition: service_healthy}
  db:
    image: IMAGE
    command: ["sh", "-c", "touch /ready; while true; do echo from-the-database | nc -l -p 5432; done"]
    healthcheck: {test: ["CMD", "ls", "/ready"], interval: 1s, retries: 60}
volumes: {data: {}}
"#;

fn compose(engine: &Engine) -> anyhow::Result<()> {
    let folder = engine.shared_folder()?;
    std::fs::create_dir(folder.path().join("config"))?;
    std::fs::write(folder.path().join("config/greeting"), "greetings\n")?;
    let file = folder.path().join("docker-compose.yml");
    std::fs::write(&file, APPLICATION.replace("IMAGE", IMAGE))?;
    let compose = |arguments: &[&str]| -> anyhow::Result<String> {
        let file = file.to_str().context("no text")?;
        let arguments = [&["-p", "e2e", "-f", file], arguments].concat();
        let ran: Ran = client(engine, "docker-compose", &arguments)
            .output()?
            .into();
        ensure!(ran.code == 0, "docker-compose {arguments:?}: {ran:?}");
        Ok(ran.stdout)
    };
    compose(&["up", "-d"])?;
    ensure!(compose(&["ps", "-q"])?.lines().count() == 2);
    wherry_tests::wait::until("the services have met", Duration::from_secs(60), || {
        let logs = compose(&["logs", "--no-color", "web"])?;
        Ok(logs.contains("greetings") && logs.contains("from-the-database"))
    })?;
    compose(&["exec", "-T", "web", "ls", "/data"])?;
    compose(&["down", "-v", "-t", "0"])?;
    ensure!(
        engine
            .succeed(&["volume", "ls", "-q"])?
            .lines()
            .all(|name| name != "e2e_data")
    );
    ensure!(
        engine
            .succeed(&[
                "ps",
                "-aq",
                "--filter",
                "label=com.docker.compose.project=e2e"
            ])?
            .is_empty()
    );
    Ok(())
}
