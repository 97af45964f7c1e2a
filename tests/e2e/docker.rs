//! Docker's own command and Compose, against the engine's socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE, Ran, process};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("dockers_command_runs_containers_unchanged", containers),
    ("dockers_command_moves_files_and_images", files_and_images),
    ("dockers_command_sees_what_happens", events),
    (
        "a_container_with_the_engines_socket_drives_it",
        engine_socket,
    ),
    (
        "dockers_command_works_over_tcp_with_its_certificate",
        over_tcp,
    ),
    ("a_web_socket_attaches_to_a_container", web_socket),
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
    fed(&mut client(engine, "docker", arguments), input)
}

/// Runs a command with this as its standard input.
fn fed(command: &mut Command, input: &[u8]) -> anyhow::Result<Ran> {
    let mut child = command
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
    // What it says shows its own end: it waits for the removal.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let publish = format!("{}:80", taken.local_addr()?.port());
    let refused = run(engine, &["run", "--rm", "-p", &publish, IMAGE, "true"])?;
    ensure!(
        refused.code == 125 && refused.stderr.contains("is taken by"),
        "{refused:?}"
    );
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

/// `attach/ws` as a browser's dashboard uses it: RFC 6455, by hand.
fn web_socket(engine: &Engine) -> anyhow::Result<()> {
    let id = succeed(engine, &["create", "-i", IMAGE, "cat"])?;
    let id = id.trim();
    let connect = || -> anyhow::Result<UnixStream> {
        let socket = UnixStream::connect(engine.home().join("run/docker.sock"))?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(socket)
    };
    // What is not there comes before what is wrong with the request.
    for (container, status) in [("no-such-one", "404"), (id, "400")] {
        let mut socket = connect()?;
        write!(
            socket,
            "GET /containers/{container}/attach/ws HTTP/1.1\r\nHost: x\r\n\
             Connection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        ensure!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let mut socket = connect()?;
    write!(
        socket,
        "GET /v1.51/containers/{id}/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?;
    // The answer to that key is the RFC's own example.
    ensure!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{head}"
    );
    succeed(engine, &["start", id])?;
    // A client's messages are masked, here with zeros.
    socket.write_all(b"\x82\x86\0\0\0\0hello\n")?;
    let mut message = [0; 8];
    socket.read_exact(&mut message)?;
    ensure!(&message == b"\x82\x06hello\n", "{message:?}");
    // It ends with its input, which ends with the socket.
    socket.write_all(b"\x88\x80\0\0\0\0")?;
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest)?;
    ensure!(succeed(engine, &["wait", id])?.trim() == "0");
    succeed(engine, &["rm", id])?;
    Ok(())
}

/// As README and docs/engine-api.md tell a user to set it up.
fn over_tcp(engine: &Engine) -> anyhow::Result<()> {
    let said = engine.succeed(&["certificates", "create"])?;
    let table = said
        .lines()
        .skip_while(|line| *line != "[api]")
        .take_while(|line| !line.is_empty());
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let table = table.collect::<Vec<_>>().join("\n");
    let config = engine.home().join("config.toml");
    let before = std::fs::read_to_string(&config).unwrap_or_default();
    let with_table = format!(
        "{before}\n{}\n",
        table.replace("127.0.0.1:2376", &free.to_string())
    );
    std::fs::write(&config, with_table)?;
    // The start settles it, of a machine that runs too.
    engine.succeed(&["machine", "start"])?;
    let variables = engine.succeed(&["docker-env", "--tcp", "--shell", "sh"])?;
    ensure!(variables.contains(&format!("tcp://{free}")), "{variables}");
    let shell = |script: &str, input: &[u8]| -> anyhow::Result<Ran> {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", "120", "sh", "-c"])
            .arg(format!("{variables}\n{script}"))
            .env("DOCKER_CONFIG", engine.home().join("docker"));
        fed(&mut command, input)
    };
    // Input, its end, and the whole reply after it, over TLS.
    let script = format!("docker run -i --rm {IMAGE} sh -c 'wc -c; seq 100000 | tail -n 1'");
    let ran = shell(&script, &vec![b'x'; 3 << 20])?;
    ensure!(
        ran.stdout.split_whitespace().eq(["3145728", "100000"]),
        "{ran:?}"
    );
    let script = format!(
        "docker run -d --name by-tcp {IMAGE} sh -c 'echo logged; sleep 1000' > /dev/null \
         && echo in | docker exec -i by-tcp cat && docker logs by-tcp && docker rm -f by-tcp"
    );
    let ran = shell(&script, b"")?;
    ensure!(ran.stdout == "in\nlogged\nby-tcp\n", "{ran:?}");
    let bare = shell(
        "DOCKER_CERT_PATH=/nowhere DOCKER_TLS_VERIFY= docker version",
        b"",
    )?;
    ensure!(bare.code != 0 && bare.stderr.contains("HTTPS"), "{bare:?}");
    // What is no more in the settings is no more served.
    std::fs::write(&config, before)?;
    engine.succeed(&["machine", "start"])?;
    ensure!(std::net::TcpStream::connect(free).is_err());
    Ok(())
}

/// Copies Docker's command and what it is linked with to a folder, and returns how it
/// is called where that is mounted at `/tools`.
fn pack_docker(folder: &Path) -> anyhow::Result<String> {
    let found = String::from_utf8(Command::new("which").arg("docker").output()?.stdout)?;
    let program = found.trim();
    std::fs::copy(program, folder.join("docker"))?;
    // Fails for one that is linked with nothing.
    let linked = Command::new("ldd").arg(program).output()?;
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    let mut loader = None;
    for path in linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let name = Path::new(path).file_name().context("no library")?;
        std::fs::copy(path, folder.join(name))?;
        let name = name.to_string_lossy();
        if name.starts_with("ld-") {
            loader = Some(name.into_owned());
        }
    }
    Ok(match loader {
        Some(loader) => format!("/tools/{loader} --library-path /tools /tools/docker"),
        None => "/tools/docker".to_owned(),
    })
}

/// A container with Docker's own command and the engine's socket.
fn engine_socket(engine: &Engine) -> anyhow::Result<()> {
    let folder = engine.shared_folder()?;
    let docker = pack_docker(folder.path())?;
    let bind = format!("{}:/tools", folder.path().display());
    let socket = "/var/run/docker.sock:/var/run/docker.sock";
    let inside = |script: &str| -> anyhow::Result<Ran> {
        let arguments = [
            "run", "--rm", "-v", &bind, "-v", socket, IMAGE, "sh", "-c", script,
        ];
        run(engine, &arguments)
    };
    let ran = inside(&format!(
        "{docker} run -d --name from-inside {IMAGE} sleep 1000 && \
         echo through | {docker} exec -i from-inside sh -c 'cat; exit 3'; echo $?"
    ))?;
    ensure!(
        ran.code == 0 && ran.stdout.ends_with("through\n3\n"),
        "{ran:?}"
    );
    // One engine: what is made inside is seen outside.
    let seen = succeed(
        engine,
        &["ps", "-q", "--no-trunc", "--filter", "name=from-inside"],
    )?;
    ensure!(
        ran.stdout.starts_with(seen.trim()) && !seen.is_empty(),
        "{seen} {ran:?}"
    );
    // By our own command too, and by the socket's own path.
    let own = engine.home().join("run/docker.sock");
    let own = format!("{}:/engine.sock", own.display());
    let listed = engine.succeed(&[
        "run",
        "--rm",
        "-v",
        &bind,
        "-v",
        &own,
        "-e",
        "DOCKER_HOST=unix:///engine.sock",
        IMAGE,
        "sh",
        "-c",
        &format!("{docker} ps --format '{{{{.Names}}}}'"),
    ])?;
    ensure!(listed.contains("from-inside"), "{listed}");
    // Only who mounts it has it.
    let none = run(
        engine,
        &["run", "--rm", IMAGE, "ls", "/var/run/docker.sock"],
    )?;
    ensure!(none.code != 0, "{none:?}");

    // A container that goes on asking works on after each end of the engine's parts.
    let id = succeed(
        engine,
        &[
            "run", "-d", "-v", &bind, "-v", socket, IMAGE, "sleep", "1000",
        ],
    )?;
    let version = format!("{docker} version -f '{{{{.Server.Version}}}}'");
    let ask = || run(engine, &["exec", id.trim(), "sh", "-c", &version]);
    let answered = |ran: &Ran| ran.code == 0 && ran.stdout.starts_with("28.");
    let ran = ask()?;
    ensure!(answered(&ran), "{ran:?}");
    process::kill(engine.wherryd()?)?;
    engine.succeed(&["ps"])?;
    wherry_tests::wait::until(
        "an answer of the next wherryd",
        Duration::from_secs(60),
        || Ok(answered(&ask()?)),
    )?;
    let serve = "kill -9 $(pgrep -f 'wherry-agent serve' || pidof wherry-serve)";
    engine.succeed(&[
        "run",
        "--rm",
        "--privileged",
        "--pid",
        "host",
        IMAGE,
        "sh",
        "-c",
        serve,
    ])?;
    wherry_tests::wait::until(
        "an answer by the next agent",
        Duration::from_secs(60),
        || Ok(answered(&ask()?)),
    )?;

    // Nothing stays of connections that ended.
    let daemon = engine.wherryd()?;
    let before = process::descriptors(daemon)?;
    let many = format!("for i in $(seq 8); do {docker} version > /dev/null || exit 1; done");
    let ran = run(engine, &["exec", id.trim(), "sh", "-c", &many])?;
    ensure!(ran.code == 0, "{ran:?}");
    // Neither of followers that were killed in the middle.
    let killed = format!("for i in 1 2 3; do timeout -s KILL 5 {docker} events; done; true");
    let ran = run(engine, &["exec", id.trim(), "sh", "-c", &killed])?;
    ensure!(ran.code == 0, "{ran:?}");
    wherry_tests::wait::until(
        "the end of the connections",
        Duration::from_secs(30),
        || Ok(process::descriptors(daemon)? <= before + 2),
    )?;
    succeed(engine, &["rm", "-f", "from-inside", id.trim()])?;
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
