//! Running, looking at and ending containers.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use wherry_tests::{Engine, IMAGE, wait};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("hello_runs_with_nothing_loaded", hello),
    ("exit_codes_are_dockers", exit_codes),
    ("output_and_error_stay_apart", output_and_error),
    ("environment_and_working_folder_and_user", environment),
    ("env_file_is_read", env_file),
    ("limits_reach_the_cgroup", limits),
    ("the_limits_of_processes_are_dockers", process_limits),
    ("a_container_is_confined", confined),
    ("ps_and_inspect_tell_the_truth", ps_and_inspect),
    ("logs_keep_what_was_printed", logs),
    ("logs_follow_until_the_end", logs_follow),
    ("exec_runs_beside_the_first_process", exec),
    ("many_execs_at_once", many_execs),
    ("stop_sends_the_stop_signal_then_kills", stop),
    ("kill_sends_any_signal", kill),
    ("a_stopped_container_starts_again_with_its_files", restart),
    ("twenty_containers_start_at_once", twenty),
    ("names_resolve_on_the_bridge", names),
    ("none_has_loopback_alone_and_host_the_guests", networks),
    ("signals_pass_on", signals),
    ("a_flood_of_orphans_is_reaped", orphans),
];

fn hello(engine: &Engine) -> anyhow::Result<()> {
    let printed = engine.succeed(&["run", "--rm", "hello"])?;
    ensure!(printed.contains("Wherry"), "{printed}");
    Ok(())
}

fn exit_codes(engine: &Engine) -> anyhow::Result<()> {
    let code = |arguments: &[&str]| -> anyhow::Result<i32> { Ok(engine.run(arguments)?.code) };
    ensure!(code(&["run", "--rm", IMAGE, "true"])? == 0);
    ensure!(code(&["run", "--rm", IMAGE, "sh", "-c", "exit 42"])? == 42);
    ensure!(code(&["run", "--rm", IMAGE, "no-such-command"])? == 127);
    ensure!(code(&["run", "--rm", IMAGE, "/not-executable"])? == 126);
    ensure!(code(&["run", "--rm", "no-such-image"])? == 125);
    let left = engine.succeed(&["ps", "-aq", "--filter", "status=created"])?;
    ensure!(left.is_empty(), "a failed start left debris: {left}");
    Ok(())
}

fn output_and_error(engine: &Engine) -> anyhow::Result<()> {
    let ran = engine.run(&["run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2"])?;
    ensure!(ran.stdout == "out\n" && ran.stderr == "err\n", "{ran:?}");
    Ok(())
}

fn environment(engine: &Engine) -> anyhow::Result<()> {
    let printed = engine.succeed(&[
        "run",
        "--rm",
        "-e",
        "A=1",
        "-e",
        "B=two words",
        "-w",
        "/tmp",
        "-u",
        "sailor",
        "-h",
        "boat",
        "--entrypoint",
        "sh",
        IMAGE,
        "-c",
        "echo $A,$B; pwd; id -u; hostname",
    ])?;
    ensure!(printed == "1,two words\n/tmp\n1000\nboat\n", "{printed}");
    Ok(())
}

fn env_file(engine: &Engine) -> anyhow::Result<()> {
    let folder = engine.shared_folder()?;
    let file = folder.path().join("env");
    std::fs::write(&file, "# a comment\nA=from file\nB=from file\n\n")?;
    let file = file.to_str().context("path")?;
    let printed = engine.succeed(&[
        "run",
        "--rm",
        "--env-file",
        file,
        "-e",
        "B=from flag",
        IMAGE,
        "sh",
        "-c",
        "echo $A; echo $B",
    ])?;
    ensure!(printed == "from file\nfrom flag\n", "{printed}");
    Ok(())
}

fn limits(engine: &Engine) -> anyhow::Result<()> {
    let printed = engine.succeed(&[
        "run",
        "--rm",
        "-m",
        "64m",
        "--cpus",
        "0.5",
        IMAGE,
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max",
    ])?;
    ensure!(printed == "67108864\n50000 100000\n", "{printed}");
    Ok(())
}

fn process_limits(engine: &Engine) -> anyhow::Result<()> {
    let script = "grep -E 'open files|locked memory|Max processes' /proc/self/limits | tr -s ' '";
    let expected = "Max processes unlimited unlimited processes \n\
                    Max open files 1048576 1048576 files \n\
                    Max locked memory 8388608 8388608 bytes \n";
    let name = "process-limits";
    engine.succeed(&["run", "-d", "--name", name, IMAGE, "sleep", "1000"])?;
    let of_exec = engine.succeed(&["exec", name, "sh", "-c", script])?;
    engine.succeed(&["rm", "-f", name])?;
    let of_run = engine.succeed(&["run", "--rm", IMAGE, "sh", "-c", script])?;
    ensure!(of_run == expected, "{of_run}");
    ensure!(of_exec == expected, "{of_exec}");
    Ok(())
}

fn confined(engine: &Engine) -> anyhow::Result<()> {
    let printed = engine.succeed(&[
        "run",
        "--rm",
        IMAGE,
        "sh",
        "-c",
        "grep -E '^(CapEff|Seccomp):' /proc/self/status; ps | wc -l; \
         mount -t tmpfs none /tmp 2>/dev/null || echo no mount; \
         cat /proc/kcore 2>/dev/null | head -c 1 | wc -c; \
         echo 1 > /proc/sys/kernel/panic 2>/dev/null || echo read-only",
    ])?;
    // Docker's fourteen capabilities, and a seccomp filter.
    ensure!(printed.contains("00000000a80425fb"), "{printed}");
    ensure!(printed.contains("Seccomp:\t2"), "{printed}");
    ensure!(printed.contains("no mount\n0\n"), "{printed}");
    ensure!(printed.contains("read-only"), "{printed}");
    Ok(())
}

fn ps_and_inspect(engine: &Engine) -> anyhow::Result<()> {
    let id = engine.succeed(&[
        "run", "-d", "--name", "seen", "-l", "a=b", IMAGE, "sleep", "1000",
    ])?;
    let id = id.trim();
    ensure!(id.len() == 64, "{id}");
    let lines = engine.succeed(&["ps", "--format", "json", "--filter", "name=seen"])?;
    let row: Value = serde_json::from_str(lines.trim())?;
    ensure!(row["Names"] == "seen" && row["Image"] == IMAGE, "{row}");
    let inspected = engine.succeed(&["inspect", "seen"])?;
    let inspected: Value = serde_json::from_str(&inspected)?;
    ensure!(
        inspected[0]["Id"] == id && inspected[0]["State"]["Running"] == true,
        "{inspected}"
    );
    ensure!(inspected[0]["Config"]["Labels"]["a"] == "b", "{inspected}");
    let address = engine.succeed(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "seen"])?;
    ensure!(address.starts_with("172.17.0."), "{address}");
    engine.succeed(&["rm", "-f", "seen"])?;
    ensure!(engine.run(&["inspect", "seen"])?.code == 1);
    Ok(())
}

fn logs(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&[
        "run",
        "--name",
        "logged",
        IMAGE,
        "sh",
        "-c",
        "seq 5; echo bad >&2",
    ])?;
    let ran = engine.run(&["logs", "logged"])?;
    ensure!(
        ran.stdout == "1\n2\n3\n4\n5\n" && ran.stderr == "bad\n",
        "{ran:?}"
    );
    let tail = engine.run(&["logs", "-n", "2", "logged"])?;
    ensure!(tail.stdout == "5\n" && tail.stderr == "bad\n", "{tail:?}");
    let stamped = engine.succeed(&["logs", "-t", "-n", "2", "logged"])?;
    ensure!(
        stamped.starts_with("20") && stamped.contains("Z 5"),
        "{stamped}"
    );
    engine.succeed(&["rm", "logged"])?;
    Ok(())
}

fn logs_follow(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "followed",
        IMAGE,
        "sh",
        "-c",
        "for i in 1 2 3; do echo $i; sleep 0.2; done",
    ])?;
    let printed = engine.succeed(&["logs", "-f", "followed"])?;
    ensure!(printed == "1\n2\n3\n", "{printed}");
    engine.succeed(&["rm", "-f", "followed"])?;
    Ok(())
}

fn exec(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&["run", "-d", "--name", "host", IMAGE, "sleep", "1000"])?;
    let printed = engine.succeed(&[
        "exec",
        "-e",
        "A=b",
        "-w",
        "/tmp",
        "host",
        "sh",
        "-c",
        "echo $A; pwd",
    ])?;
    ensure!(printed == "b\n/tmp\n", "{printed}");
    ensure!(engine.run(&["exec", "host", "sh", "-c", "exit 7"])?.code == 7);
    ensure!(engine.run(&["exec", "host", "no-such-command"])?.code == 127);
    let piped = engine.run_with_input(&["exec", "-i", "host", "wc", "-c"], &[b'x'; 100_000])?;
    ensure!(piped.stdout.trim() == "100000", "{piped:?}");
    engine.succeed(&["rm", "-f", "host"])?;
    Ok(())
}

fn many_execs(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&["run", "-d", "--name", "busy", IMAGE, "sleep", "1000"])?;
    let children: Vec<_> = (0..20)
        .map(|n| engine.spawn(&["exec", "busy", "sh", "-c", &format!("echo {n}; exit {n}")]))
        .collect::<Result<_, _>>()?;
    for (n, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output()?;
        ensure!(
            output.stdout == format!("{n}\n").as_bytes(),
            "exec {n}: {output:?}"
        );
        ensure!(
            output.status.code() == Some(i32::try_from(n)?),
            "exec {n}: {output:?}"
        );
    }
    engine.succeed(&["rm", "-f", "busy"])?;
    Ok(())
}

fn stop(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "polite",
        IMAGE,
        "sh",
        "-c",
        "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done",
    ])?;
    wait::until("the trap", Duration::from_secs(20), || {
        Ok(engine.succeed(&["logs", "polite"])?.contains("up"))
    })?;
    engine.succeed(&["stop", "polite"])?;
    ensure!(
        engine
            .succeed(&["inspect", "-f", "{{.State.ExitCode}}", "polite"])?
            .trim()
            == "3"
    );
    ensure!(engine.succeed(&["logs", "polite"])?.ends_with("bye\n"));
    engine.succeed(&["run", "-d", "--name", "deaf", IMAGE, "sleep", "1000"])?;
    engine.succeed(&["stop", "-t", "1", "deaf"])?;
    ensure!(
        engine
            .succeed(&["inspect", "-f", "{{.State.ExitCode}}", "deaf"])?
            .trim()
            == "137"
    );
    engine.succeed(&["rm", "polite", "deaf"])?;
    Ok(())
}

fn kill(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "target",
        IMAGE,
        "sh",
        "-c",
        "trap 'exit 9' USR1; echo up; while :; do sleep 0.1; done",
    ])?;
    wait::until("the trap", Duration::from_secs(20), || {
        Ok(engine.succeed(&["logs", "target"])?.contains("up"))
    })?;
    engine.succeed(&["kill", "-s", "USR1", "target"])?;
    wait::until("its end", Duration::from_secs(20), || {
        Ok(engine
            .succeed(&[
                "inspect",
                "-f",
                "{{.State.ExitCode}}/{{.State.Running}}",
                "target",
            ])?
            .trim()
            == "9/false")
    })?;
    engine.succeed(&["rm", "target"])?;
    Ok(())
}

fn restart(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&[
        "run",
        "--name",
        "twice",
        IMAGE,
        "sh",
        "-c",
        "echo x >> /tmp/runs; wc -l < /tmp/runs",
    ])?;
    let printed = engine.succeed(&["start", "-a", "twice"])?;
    ensure!(printed.trim() == "2", "{printed}");
    engine.succeed(&["rm", "twice"])?;
    Ok(())
}

fn twenty(engine: &Engine) -> anyhow::Result<()> {
    let children: Vec<_> = (0..20)
        .map(|n| engine.spawn(&["run", "--rm", IMAGE, "echo", &n.to_string()]))
        .collect::<Result<_, _>>()?;
    for (n, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success() && output.stdout == format!("{n}\n").as_bytes(),
            "run {n}: {output:?}"
        );
    }
    Ok(())
}

fn names(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&["run", "-d", "--name", "lighthouse", IMAGE, "sleep", "1000"])?;
    let address = engine.succeed(&[
        "inspect",
        "-f",
        "{{.NetworkSettings.IPAddress}}",
        "lighthouse",
    ])?;
    let found = engine.succeed(&["run", "--rm", IMAGE, "nslookup", "lighthouse"])?;
    ensure!(
        found.contains(address.trim()),
        "{address} is not in {found}"
    );
    let host = engine.succeed(&["run", "--rm", IMAGE, "nslookup", "host.docker.internal"])?;
    ensure!(host.contains("10.0.2.2"), "{host}");
    engine.succeed(&["run", "--rm", IMAGE, "ping", "-c", "1", "lighthouse"])?;
    engine.succeed(&["rm", "-f", "lighthouse"])?;
    Ok(())
}

fn networks(engine: &Engine) -> anyhow::Result<()> {
    let links = "ls /sys/class/net | tr '\\n' ' '";
    let none = engine.succeed(&["run", "--rm", "--net", "none", IMAGE, "sh", "-c", links])?;
    ensure!(none.trim() == "lo", "{none}");
    let host = engine.succeed(&["run", "--rm", "--net", "host", IMAGE, "sh", "-c", links])?;
    ensure!(host.contains("wherry0"), "{host}");
    engine.succeed(&["run", "-d", "--name", "first", IMAGE, "sleep", "1000"])?;
    let own = engine.succeed(&["exec", "first", "ip", "-4", "-o", "addr", "show", "eth0"])?;
    let joined = engine.succeed(&[
        "run",
        "--rm",
        "--net",
        "container:first",
        IMAGE,
        "ip",
        "-4",
        "-o",
        "addr",
        "show",
        "eth0",
    ])?;
    ensure!(own == joined, "{own} is not {joined}");
    engine.succeed(&["rm", "-f", "first"])?;
    Ok(())
}

fn signals(engine: &Engine) -> anyhow::Result<()> {
    let child = engine.spawn(&[
        "run",
        "--rm",
        "--name",
        "signalled",
        IMAGE,
        "sh",
        "-c",
        "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done",
    ])?;
    wait::until("the trap", Duration::from_secs(20), || {
        Ok(engine.run(&["logs", "signalled"])?.stdout.contains("up"))
    })?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id())?).context("pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.code() == Some(5), "{output:?}");
    Ok(())
}

/// PITFALLS 19.
fn orphans(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&[
        "run",
        "--rm",
        IMAGE,
        "sh",
        "-c",
        "for i in $(seq 300); do (sleep 0.01 &) ; done; echo done",
    ])?;
    engine.succeed(&["run", "--rm", IMAGE, "true"])?;
    Ok(())
}
