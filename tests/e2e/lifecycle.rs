//! What needs the machine's kernel or its restart: limits, and containers that
//! start with the machine.

use std::time::Duration;

use anyhow::ensure;
use wherry_tests::{Engine, IMAGE, net, process, wait};

use crate::{Alone, Shared};

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("every_limit_reaches_the_kernel", limits),
    ("limits_change_while_a_container_runs", update),
    ("an_init_reaps_and_passes_signals_on", init),
];

pub(crate) const ALONE: &[(&str, Alone)] =
    &[("lifecycle_containers_start_with_the_machine", machine_start)];

const LONG: Duration = Duration::from_secs(60);

fn limits(engine: &Engine) -> anyhow::Result<()> {
    let script = "cd /sys/fs/cgroup; cat memory.max memory.swap.max memory.low cpu.weight \
                  cpu.max cpuset.cpus pids.max; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj";
    let line = "run --rm -m 64m --memory-swap 64m --memory-reservation 32m -c 2048 --cpu-quota 25000 \
                --cpu-period 50000 --cpuset-cpus 0 --pids-limit 50 --ulimit nofile=100:200 \
                --oom-score-adj 5 --device-read-bps /dev/vda:1m";
    let mut words: Vec<&str> = line.split_whitespace().collect();
    words.extend([IMAGE, "sh", "-c", script]);
    let printed = engine.succeed(&words)?;
    let lines: Vec<&str> = printed.lines().collect();
    ensure!(
        lines[..3] == ["67108864", "0", "33554432"]
            && lines[4..] == ["25000 50000", "0", "50", "100", "200", "5"],
        "{printed}"
    );
    ensure!(lines[3].parse::<u32>()? > 100, "{printed}");
    engine.fail(
        125,
        &["run", "--device-read-bps", "/dev/nope:1m", IMAGE, "true"],
    )?;
    Ok(())
}

fn update(engine: &Engine) -> anyhow::Result<()> {
    let spin = "while true; do :; done";
    engine.succeed(&[
        "run", "-d", "--name", "spins", "--cpus", "0.5", IMAGE, "sh", "-c", spin,
    ])?;
    engine.succeed(&[
        "update",
        "-m",
        "100m",
        "--cpus",
        "0.25",
        "--pids-limit",
        "9",
        "spins",
    ])?;
    let files = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max";
    let printed = engine.succeed(&["exec", "spins", "sh", "-c", files])?;
    ensure!(printed == "104857600\n25000 100000\n9\n", "{printed}");
    let shown = engine.succeed(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.CPUPerc}} {{.MemUsage}} {{.PIDs}}",
        "spins",
    ])?;
    let used: f64 = shown.split('%').next().unwrap_or_default().parse()?;
    ensure!((5.0..50.0).contains(&used), "{shown}");
    ensure!(shown.trim_end().ends_with("/ 100MiB 1"), "{shown}");
    engine.succeed(&["update", "--pids-limit", "-1", "spins"])?;
    let printed = engine.succeed(&["exec", "spins", "cat", "/sys/fs/cgroup/pids.max"])?;
    ensure!(printed == "max\n", "{printed}");
    engine.succeed(&["rm", "-f", "spins"])?;
    Ok(())
}

fn init(engine: &Engine) -> anyhow::Result<()> {
    let script =
        "echo $$; (sleep 0.05 &); sleep 1; cat /proc/[0-9]*/status | grep -c 'State:.Z'; exit 7";
    let ran = engine.run(&["run", "--rm", "--init", IMAGE, "sh", "-c", script])?;
    ensure!(ran.code == 7, "{ran:?}");
    // It is not the first process, and what it left is gone.
    let lines: Vec<&str> = ran.stdout.lines().collect();
    ensure!(
        lines.len() == 2 && lines[0] != "1" && lines[1] == "0",
        "{ran:?}"
    );
    let script = "trap 'echo got; exit 3' TERM; echo ready; while true; do sleep 0.1; done";
    engine.succeed(&[
        "run", "-d", "--init", "--name", "inited", IMAGE, "sh", "-c", script,
    ])?;
    wait::until("the trap", LONG, || {
        Ok(engine.succeed(&["logs", "inited"])? == "ready\n")
    })?;
    engine.succeed(&["stop", "-t", "30", "inited"])?;
    let code = engine.succeed(&["wait", "inited"])?;
    ensure!(code == "3\n", "{code}");
    engine.succeed(&["rm", "inited"])?;
    let ran = engine.run(&["run", "--rm", "--init", IMAGE, "nothing-of-this-name"])?;
    ensure!(ran.code == 127, "{ran:?}");
    Ok(())
}

fn machine_start() -> anyhow::Result<()> {
    let engine = Engine::started()?;
    let port = net::free_port()?;
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "web",
        "--restart",
        "unless-stopped",
        "-p",
        &format!("{port}:80"),
        IMAGE,
        "httpd",
        "-f",
        "-h",
        "/www",
    ])?;
    engine.succeed(&[
        "run",
        "-d",
        "--name",
        "beside",
        "--restart",
        "always",
        "--net",
        "container:web",
        IMAGE,
        "sleep",
        "1000",
    ])?;
    engine.succeed(&["run", "-d", "--name", "plain", IMAGE, "sleep", "1000"])?;
    for options in [&[][..], &["--force"], &["--all"]] {
        let (wherryd, machine) = (engine.wherryd()?, engine.machine()?);
        engine.succeed(&[&["machine", "stop"], options].concat())?;
        ensure!(!process::runs(machine));
        // The lock is free a moment before the process is gone.
        if options == ["--all"] {
            wait::until("its end", LONG, || Ok(!process::runs(wherryd)))?;
        }
        engine.succeed(&["machine", "start"])?;
        ensure!((engine.wherryd()? == wherryd) == (options != ["--all"]));
        wait::until("the page", LONG, || {
            let page = net::request(port, b"GET / HTTP/1.0\r\n\r\n")?;
            Ok(String::from_utf8_lossy(&page).contains("a page of the image"))
        })?;
        wait::until("the one beside it", LONG, || {
            let up = engine.succeed(&["ps", "--format", "{{.Names}}"])?;
            let mut names: Vec<&str> = up.lines().collect();
            names.sort_unstable();
            Ok(names == ["beside", "web"])
        })?;
    }
    Ok(())
}
