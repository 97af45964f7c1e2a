//! The Engine API under load: many clients at once, and clients that stop reading or
//! vanish. What they cost ends with them.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use wherry_tests::{Api, Engine, IMAGE, Streaming, process, run_once, wait};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("fifty_clients_at_once_are_served", fifty_clients),
    ("a_log_has_a_hundred_followers", hundred_followers),
    (
        "clients_that_stop_reading_or_vanish_leave_nothing",
        slow_and_gone,
    ),
    (
        "clients_that_vanish_while_they_send_or_wait_leave_nothing",
        gone_before_an_answer,
    ),
];

const CLIENTS: usize = 50;
const FOLLOWERS: usize = 100;

/// What `wherryd` may take more while nobody reads what it has to tell, bytes.
const BOUND: u64 = 64 << 20;

/// What its allocator may keep afterwards, bytes.
const KEPT: u64 = 32 << 20;

fn api(engine: &Engine) -> Api {
    Api::Unix(engine.home().join("run/docker.sock"))
}

/// Runs something as often as there are clients, each on a thread of its own.
fn at_once(
    clients: usize,
    act: impl Fn(usize) -> anyhow::Result<()> + Send + Sync,
) -> anyhow::Result<()> {
    let act = &act;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| scope.spawn(move || act(client)))
            .collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    })
}

fn fifty_clients(engine: &Engine) -> anyhow::Result<()> {
    let api = api(engine);
    let wherryd = engine.wherryd()?;
    run_once(&api, IMAGE)?;
    let before = process::descriptors(wherryd)?;
    at_once(CLIENTS, |_| run_once(&api, IMAGE))?;
    descriptors_return(wherryd, before)
}

/// Waits until as few descriptors are open as before, and a handful of pooled ones.
fn descriptors_return(wherryd: u32, before: usize) -> anyhow::Result<()> {
    let mut now = 0;
    wait::until(
        "wherryd closes its descriptors",
        Duration::from_secs(20),
        || {
            now = process::descriptors(wherryd)?;
            Ok(now <= before + 4)
        },
    )
    .with_context(|| format!("{before} before, {now} now"))
}

fn hundred_followers(engine: &Engine) -> anyhow::Result<()> {
    let api = api(engine);
    let wherryd = engine.wherryd()?;
    let before = process::descriptors(wherryd)?;
    // It speaks once everybody listens.
    let script =
        "echo ready; read go; i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done";
    let description = json!({
        "Image": IMAGE, "Cmd": ["sh", "-c", script], "OpenStdin": true, "Tty": false,
    });
    api.expect(
        201,
        "POST",
        "/containers/create?name=followed",
        Some(&description),
    )?;
    api.expect(204, "POST", "/containers/followed/start", None)?;
    let path = "/containers/followed/logs?stdout=1&follow=1";
    let heard = std::sync::atomic::AtomicUsize::new(0);
    let speak = || -> anyhow::Result<()> {
        wait::until("everybody follows", Duration::from_secs(60), || {
            Ok(heard.load(std::sync::atomic::Ordering::Relaxed) == FOLLOWERS)
        })?;
        let ran = engine.run_with_input(&["attach", "followed"], b"go\n")?;
        ensure!(ran.code == 0, "{ran:?}");
        Ok(())
    };
    std::thread::scope(|scope| {
        let speaker = scope.spawn(speak);
        at_once(FOLLOWERS, |_| {
            let mut log = api.open("GET", path, None)?;
            ensure!(log.status == 200, "{}", log.status);
            let mut text = Vec::new();
            while let Some(part) = log.part()? {
                if text.is_empty() {
                    heard.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                text.extend(part);
            }
            let lines = text.windows(5).filter(|five| five == b"line ").count();
            ensure!(lines == 500, "{lines} lines of 500");
            Ok(())
        })?;
        speaker.join().map_err(|_| anyhow::anyhow!("panicked"))?
    })?;
    api.expect(204, "DELETE", "/containers/followed?force=1", None)?;
    descriptors_return(wherryd, before)
}

/// Every streaming call, of a container that speaks without end.
fn streams(api: &Api) -> anyhow::Result<Vec<(&'static str, Streaming)>> {
    let exec = api.expect(
        201,
        "POST",
        "/containers/loud/exec",
        Some(&json!({"Cmd": ["yes"], "AttachStdout": true})),
    )?;
    let exec: serde_json::Value = serde_json::from_slice(&exec)?;
    let exec = format!("/exec/{}/start", exec["Id"].as_str().context("no id")?);
    let calls = [
        (
            "attach",
            "POST",
            "/containers/loud/attach?stream=1&stdout=1",
        ),
        ("logs", "GET", "/containers/loud/logs?stdout=1&follow=1"),
        ("stats", "GET", "/containers/loud/stats"),
        ("export", "GET", "/containers/loud/export"),
        ("archive", "GET", "/containers/loud/archive?path=/bin"),
        ("events", "GET", "/events"),
        ("wait", "POST", "/containers/loud/wait"),
        ("save", "GET", "/images/test%2Fbusybox/get"),
        ("exec", "POST", exec.as_str()),
    ];
    let open = |(name, method, path): (&'static str, &str, &str)| -> anyhow::Result<_> {
        let body = (name == "exec").then(|| json!({}));
        let stream = api.open(method, path, body.as_ref())?;
        Ok((name, stream))
    };
    calls.into_iter().map(open).collect()
}

fn slow_and_gone(engine: &Engine) -> anyhow::Result<()> {
    let api = api(engine);
    let wherryd = engine.wherryd()?;
    let description = json!({
        "Image": IMAGE, "Cmd": ["yes", "a line that nobody reads"],
        "HostConfig": {"LogConfig": {"Config": {"max-size": "1m", "max-file": "2"}}},
    });
    api.expect(
        201,
        "POST",
        "/containers/create?name=loud",
        Some(&description),
    )?;
    api.expect(204, "POST", "/containers/loud/start", None)?;
    let descriptors = process::descriptors(wherryd)?;
    let resident = process::resident(wherryd)?;

    let slow: Vec<_> = (0..4)
        .map(|_| streams(&api))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    for (name, stream) in &slow {
        ensure!(stream.status == 200, "{name}: {}", stream.status);
    }
    // While nobody reads, others are served and nothing piles up.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        api.expect(200, "GET", "/containers/json", None)?;
        let taken = process::resident(wherryd)?.saturating_sub(resident);
        ensure!(taken < BOUND, "wherryd took {taken} bytes more");
    }
    // All vanish at once.
    drop(slow);
    descriptors_return(wherryd, descriptors)?;
    // Some vanish in the middle of what they read.
    for (name, mut stream) in streams(&api)? {
        // Events and a wait have nothing to tell for now.
        if !matches!(name, "events" | "wait") {
            ensure!(stream.part()?.is_some(), "{name} tells nothing");
        }
    }
    descriptors_return(wherryd, descriptors)?;
    let kept = process::resident(wherryd)?.saturating_sub(resident);
    ensure!(kept < KEPT, "wherryd keeps {kept} bytes");
    api.expect(204, "DELETE", "/containers/loud?force=1", None)?;
    Ok(())
}

/// Calls whose clients vanish before there is anything to answer: in the middle of
/// what they send, or while a registry is asked that says nothing.
fn gone_before_an_answer(engine: &Engine) -> anyhow::Result<()> {
    const MUTE: usize = 2;
    let api = api(engine);
    let wherryd = engine.wherryd()?;
    let description = json!({"Image": IMAGE});
    api.expect(
        201,
        "POST",
        "/containers/create?name=unsent",
        Some(&description),
    )?;
    let registry = std::net::TcpListener::bind("127.0.0.1:0")?;
    let server = format!("localhost:{}", registry.local_addr()?.port());
    engine.succeed(&["tag", IMAGE, &format!("{server}/unsent:1")])?;
    let push = format!("/images/{server}/unsent/push?tag=1");
    let pull = format!("/images/create?fromImage={server}/unknown&tag=1");
    // A member of an archive that is longer than what comes of it.
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1 << 20);
    header.set_mode(0o644);
    archive.append_data(&mut header, "part", vec![0; 1 << 20].as_slice())?;
    let part = &archive.into_inner()?[..512 * 1024];
    const LENGTH: u64 = 1 << 30;
    let calls = [
        ("POST", "/images/load", LENGTH, part),
        ("POST", "/images/create?fromSrc=-&repo=unsent", LENGTH, part),
        ("PUT", "/containers/unsent/archive?path=/", LENGTH, part),
        ("POST", "/containers/create", 1 << 20, b"{".as_slice()),
        ("POST", &pull, 0, &[]),
        ("POST", &push, 0, &[]),
    ];
    let descriptors = process::descriptors(wherryd)?;
    let begun = calls
        .iter()
        .map(|(method, path, length, sent)| api.begin(method, path, *length, sent))
        .collect::<Result<Vec<_>, _>>()?;
    let mut asked = Vec::new();
    for _ in 0..MUTE {
        let (mut asking, _) = registry.accept()?;
        asking.set_read_timeout(Some(Duration::from_secs(60)))?;
        ensure!(asking.read(&mut [0])? == 1, "the registry is asked nothing");
        asked.push(asking);
    }
    drop(begun);
    // Nobody waits for the registry any more.
    for mut asking in asked {
        std::io::copy(&mut asking, &mut std::io::sink())?;
    }
    descriptors_return(wherryd, descriptors)?;
    // Nothing is half there, and the same names can be used.
    let names = engine.succeed(&["images"])?;
    ensure!(!names.contains("unknown"), "{names}");
    let unsent = names.lines().filter(|line| line.contains("unsent"));
    ensure!(unsent.count() == 1, "{names}");
    api.expect(204, "DELETE", "/containers/unsent", None)?;
    engine.succeed(&["rmi", &format!("{server}/unsent:1")])?;
    Ok(())
}
