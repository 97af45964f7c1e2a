//! Processes that are killed, and engines side by side. Each test has machines
//! of its own.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, ensure};
use wherry_tests::{Api, Engine, IMAGE, process, wait};

use crate::Alone;

pub(crate) const TESTS: &[(&str, Alone)] = &[
    (
        "a_killed_hypervisor_is_told_and_loses_nothing",
        killed_hypervisor,
    ),
    ("a_useless_kvm_is_warned_of_once", useless_kvm),
    ("two_engines_run_side_by_side", side_by_side),
    ("a_full_disk_is_told_and_loses_nothing", full_disk),
    ("containers_survive_the_agent", killed_agent),
    ("a_replaced_program_starts_the_machine_again", replaced),
];

fn killed_hypervisor() -> anyhow::Result<()> {
    let engine = Engine::started()?;
    engine.succeed(&[
        "run",
        "--name",
        "kept",
        "-v",
        "hold:/hold",
        IMAGE,
        "sh",
        "-c",
        "echo rope > /hold/item; sync",
    ])?;
    process::kill(u32::try_from(engine.status_number("HypervisorPid")?)?)?;
    wait::until("the failed state", Duration::from_secs(10), || {
        Ok(engine.status()?["State"]
            .as_str()
            .is_some_and(|state| state.eq_ignore_ascii_case("failed")))
    })?;
    engine.succeed(&["machine", "start"])?;
    ensure!(
        engine
            .succeed(&["ps", "-aq", "--filter", "name=kept"])?
            .lines()
            .count()
            == 1
    );
    let printed = engine.succeed(&[
        "run",
        "--rm",
        "-v",
        "hold:/hold",
        IMAGE,
        "cat",
        "/hold/item",
    ])?;
    ensure!(printed == "rope\n", "{printed}");
    Ok(())
}

fn useless_kvm() -> anyhow::Result<()> {
    let engine = Engine::new()?;
    let first = engine.run(&["machine", "start"])?;
    ensure!(first.code == 0, "{first:?}");
    let accelerator = engine.status()?["Accelerator"].clone();
    let warnings = |text: &str| {
        text.lines()
            .filter(|line| line.contains("KVM") || line.contains("kvm"))
            .count()
    };
    if accelerator == "tcg" && std::path::Path::new("/dev/kvm").exists() {
        ensure!(warnings(&first.stderr) <= 1, "{first:?}");
    } else {
        ensure!(warnings(&first.stderr) == 0, "{first:?}");
    }
    engine.succeed(&["machine", "stop"])?;
    let second = engine.run(&["machine", "start"])?;
    ensure!(
        second.code == 0 && warnings(&second.stderr) == 0,
        "{second:?}"
    );
    Ok(())
}

fn side_by_side() -> anyhow::Result<()> {
    let (one, two) = (Engine::started()?, Engine::started()?);
    one.succeed(&["run", "-d", "--name", "same", IMAGE, "sleep", "1000"])?;
    two.succeed(&["run", "-d", "--name", "same", IMAGE, "sleep", "1000"])?;
    one.succeed(&["machine", "stop"])?;
    ensure!(
        two.succeed(&["ps", "-q", "--filter", "name=same"])?
            .lines()
            .count()
            == 1
    );
    Ok(())
}

/// PITFALLS 15.
fn full_disk() -> anyhow::Result<()> {
    let engine = Engine::started()?;
    engine.succeed(&["run", "-d", "--name", "hog", IMAGE, "sleep", "1000"])?;
    // The blocks are reserved and not written, so this takes no space here.
    engine.run(&[
        "exec", "hog", "sh", "-c",
        "for size in 40G 20G 10G 5G 2G 1G 500M 200M 100M 50M 20M 10M 5M 2M 1M 500K 100K 10K; do \
         fallocate -l $size /fill-$size; done; while fallocate -l 4K /fill-$((i=i+1)); do :; done; true",
    ])?;
    let mut archive = tar::Builder::new(Vec::new());
    wherry_tests::archive::append(&mut archive, "big", &vec![7; 4 << 20], 0o644)?;
    let image = wherry_tests::archive::docker_archive("test/big:1", &[archive.into_inner()?])?;
    let ran = engine.run_with_input(&["load"], &image)?;
    ensure!(
        ran.code == 1 && ran.stderr.contains("no space left on the data disk"),
        "{ran:?}"
    );
    engine.succeed(&["rm", "-f", "hog"])?;
    let ran = engine.run_with_input(&["load"], &image)?;
    ensure!(ran.code == 0, "{ran:?}");
    engine.succeed(&["run", "--rm", IMAGE, "true"])?;
    Ok(())
}

fn killed_agent() -> anyhow::Result<()> {
    let engine = Engine::started()?;
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "steady",
        IMAGE,
        "sh",
        "-c",
        "for i in $(seq 100); do echo $i; sleep 0.1; done; exit 11",
    ])?;
    // In the guest's own process namespace, where the agent is to be seen.
    engine.run(&[
        "run",
        "--rm",
        "--privileged",
        "--pid",
        "host",
        IMAGE,
        "sh",
        "-c",
        "kill -9 $(pgrep -f 'wherry-agent serve')",
    ])?;
    wait::until("the container's end", Duration::from_secs(60), || {
        Ok(engine
            .run(&[
                "inspect",
                "-f",
                "{{.State.Status}} {{.State.ExitCode}}",
                "steady",
            ])?
            .stdout
            .trim()
            == "exited 11")
    })?;
    let printed = engine.succeed(&["logs", "steady"])?;
    ensure!(
        printed.lines().count() == 100,
        "{} lines",
        printed.lines().count()
    );
    Ok(())
}

/// PITFALLS 16: an upgrade replaces the programs under an engine that runs.
fn replaced() -> anyhow::Result<()> {
    let built = Engine::new()?;
    let folder = tempfile::tempdir()?;
    let place = |name: &str| {
        // A new file under the name, as package managers do it.
        let partial = folder.path().join("partial");
        std::fs::copy(built.programs().join(name), &partial)?;
        std::fs::rename(&partial, folder.path().join(name))
    };
    let upgrade = || {
        ["wherry", "wherryd"]
            .iter()
            .try_for_each(|name| place(name))
    };
    upgrade()?;
    std::os::unix::fs::symlink(built.programs().join("guest"), folder.path().join("guest"))?;
    let engine = Engine::of(folder.path().to_owned())?;
    engine.succeed(&["machine", "start"])?;
    engine.load_image()?;
    engine.succeed(&["run", "-d", "--name", "kept", IMAGE, "sleep", "1000"])?;
    let before = (engine.wherryd()?, engine.machine()?);
    // A call that never ends by itself does not keep the old one, and goes on.
    let mut follower = engine.spawn(&["events", "--filter", "event=create"])?;
    upgrade()?;
    engine.succeed(&["exec", "kept", "true"])?;
    let after = (engine.wherryd()?, engine.machine()?);
    ensure!(
        after.0 != before.0 && after.1 == before.1,
        "{before:?}, {after:?}"
    );
    engine.succeed(&["create", "--name", "later", IMAGE])?;
    let mut line = String::new();
    let output = follower.stdout.take().context("no output")?;
    BufReader::new(output).read_line(&mut line)?;
    follower.kill()?;
    follower.wait()?;
    ensure!(line.contains("name=later"), "{line}");
    let warned = |engine: &Engine| -> anyhow::Result<bool> {
        let status = engine.status()?;
        let warning = status["Warning"].as_str().unwrap_or_default();
        Ok(warning.contains("Wherry was upgraded since the machine started"))
    };
    ensure!(warned(&engine)? && engine.wherryd()? == after.0);
    engine.succeed(&["machine", "restart"])?;
    ensure!(!warned(&engine)?);
    // Docker's tools ask the one that runs, which starts the machine again.
    engine.succeed(&["machine", "stop"])?;
    upgrade()?;
    let api = Api::Unix(engine.home().join("run/docker.sock"));
    api.expect(200, "GET", "/containers/json?all=1", None)?;
    // It is called what it was called before.
    engine.machine()?;
    ensure!(engine.succeed(&["ps", "-aq"])?.lines().count() == 2);
    let wherryd = engine.wherryd()?;
    engine.succeed(&["machine", "restart", "--all"])?;
    ensure!(engine.wherryd()? != wherryd);
    Ok(())
}
