//! Limits that bite, which only a kernel with every controller of version 2 can
//! show.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE, wait};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("what_memory_runs_out_of_is_told", out_of_memory),
    ("memory_and_swap_are_what_was_given", swap),
    ("processors_processes_and_files_are_limited", processes),
    ("rules_and_rights_are_what_was_given", rights),
    ("a_device_is_only_so_fast", device),
    ("weights_share_a_device", weights),
];

const LONG: Duration = Duration::from_secs(60);

/// Touches so many MiB of memory.
fn hog(mebibytes: u32) -> String {
    format!("dd if=/dev/zero of=/dev/null bs={mebibytes}M count=1 2>/dev/null")
}

fn killed(engine: &Engine, name: &str) -> anyhow::Result<bool> {
    let shown = engine.succeed(&["inspect", "--format", "{{.State.OOMKilled}}", name])?;
    Ok(shown.trim_end() == "true")
}

/// Runs a shell in 16 MiB, and returns its exit code.
fn shell(engine: &Engine, name: &str, script: &str) -> anyhow::Result<i32> {
    let line = ["run", "--name", name, "-m", "16m", "--memory-swap", "16m"];
    let words = [&line[..], &[IMAGE, "sh", "-c", script]].concat();
    Ok(engine.run(&words)?.code)
}

fn out_of_memory(engine: &Engine) -> anyhow::Result<()> {
    let first = format!("exec {}", hog(64));
    // A shell that goes on, whatever became of its command.
    let child = format!("{}; exit 0", hog(64));
    ensure!(shell(engine, "oom-first", &first)? == 137);
    ensure!(shell(engine, "oom-child", &child)? == 0);
    ensure!(shell(engine, "oom-not", "sh -c 'kill -9 $$'; exit $?")? == 137);
    ensure!(killed(engine, "oom-first")? && killed(engine, "oom-child")?);
    ensure!(!killed(engine, "oom-not")?);

    let line = "run -d --name oom-lives -m 16m --memory-swap 16m";
    let words: Vec<&str> = line.split(' ').collect();
    engine.succeed(&[&words[..], &[IMAGE, "sleep", "1000"]].concat())?;
    ensure!(!killed(engine, "oom-lives")?);
    let exec = engine.run(&["exec", "oom-lives", "sh", "-c", &first])?;
    ensure!(exec.code == 137, "{exec:?}");
    wait::until("the news of the exec's end", LONG, || {
        killed(engine, "oom-lives")
    })?;
    let state = "{{.State.Running}}";
    let running = engine.succeed(&["inspect", "--format", state, "oom-lives"])?;
    ensure!(running == "true\n", "{running}");

    let told = engine.succeed(&[
        "events",
        "--since",
        "10m",
        "--until",
        "0s",
        "--filter",
        "event=oom",
        "--format",
        "{{.Actor.Attributes.name}}",
    ])?;
    let told: Vec<&str> = told
        .lines()
        .filter(|name| name.starts_with("oom-"))
        .collect();
    ensure!(told == ["oom-first", "oom-child", "oom-lives"], "{told:?}");
    // A new start begins anew.
    engine.succeed(&["restart", "-t", "0", "oom-lives"])?;
    ensure!(!killed(engine, "oom-lives")?);
    engine.succeed(&["rm", "-f", "oom-first", "oom-child", "oom-not", "oom-lives"])?;
    Ok(())
}

/// Swaps to a file in a volume, since the machine itself has no swap.
fn swap(engine: &Engine) -> anyhow::Result<()> {
    let on = "dd if=/dev/zero of=/swap/file bs=1M count=64 2>/dev/null && \
              chmod 600 /swap/file && mkswap /swap/file >/dev/null && swapon /swap/file";
    let privileged = [
        "run",
        "--rm",
        "--privileged",
        "-v",
        "swap:/swap",
        IMAGE,
        "sh",
        "-c",
    ];
    engine.succeed(&[&privileged[..], &[on]].concat())?;
    let script = hog(32);
    let run = |both: &str| -> anyhow::Result<i32> {
        let line = [
            "run",
            "--rm",
            "-m",
            "16m",
            "--memory-swap",
            both,
            IMAGE,
            "sh",
            "-c",
        ];
        Ok(engine.run(&[&line[..], &[&script]].concat())?.code)
    };
    let codes = (run("16m")?, run("64m")?, run("-1")?);
    engine.succeed(&[&privileged[..], &["swapoff /swap/file"]].concat())?;
    engine.succeed(&["volume", "rm", "swap"])?;
    ensure!(codes == (137, 0, 0), "{codes:?}");
    Ok(())
}

fn processes(engine: &Engine) -> anyhow::Result<()> {
    let run = |options: &str, script: &str| {
        let words: Vec<&str> = options.split(' ').collect();
        engine.run(&[&["run", "--rm"], &words[..], &[IMAGE, "sh", "-c", script]].concat())
    };
    let ran = run(
        "--pids-limit 5",
        "for n in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait",
    )?;
    ensure!(ran.stderr.contains("can't fork"), "{ran:?}");
    let ran = run("--ulimit nofile=10", "exec 12</dev/null")?;
    ensure!(ran.code != 0, "{ran:?}");
    // SIGXFSZ, in a shell's words 128 and 25; the unit is bytes.
    let ran = run(
        "--ulimit fsize=1048576",
        "dd if=/dev/zero of=/f bs=1M count=2 2>/dev/null; echo $?; wc -c < /f",
    )?;
    ensure!(ran.stdout == "153\n1048576\n", "{ran:?}");
    let ran = run("--cpuset-cpus 1", "nproc")?;
    ensure!(ran.stdout == "1\n", "{ran:?}");
    let spin = "timeout 4 sh -c 'while :; do :; done'; \
                awk '/^usage_usec/ {print $2}' /sys/fs/cgroup/cpu.stat";
    let ran = run("--cpus 0.25", spin)?;
    let used: u64 = ran.stdout.trim().parse()?;
    ensure!((300_000..1_600_000).contains(&used), "{ran:?}");
    Ok(())
}

fn rights(engine: &Engine) -> anyhow::Result<()> {
    // /dev/fuse, which any container may make and none may open.
    let open = "mknod /f c 10 229 && exec 3<>/f && echo opened";
    let ran = engine.run(&["run", "--rm", IMAGE, "sh", "-c", open])?;
    ensure!(ran.code != 0 && ran.stdout.is_empty(), "{ran:?}");
    let rule = ["run", "--rm", "--device-cgroup-rule", "c 10:229 rw"];
    let opened = engine.succeed(&[&rule[..], &[IMAGE, "sh", "-c", open]].concat())?;
    ensure!(opened == "opened\n", "{opened}");

    engine.succeed(&["run", "-d", "--name", "rights", IMAGE, "sleep", "1000"])?;
    let show = "grep -E 'CapEff|Seccomp:' /proc/self/status | cut -f2 | xargs";
    let plain = engine.succeed(&["exec", "rights", "sh", "-c", show])?;
    ensure!(plain == "00000000a80425fb 2\n", "{plain}");
    let privileged = engine.succeed(&["exec", "--privileged", "rights", "sh", "-c", show])?;
    ensure!(privileged == "000001ffffffffff 0\n", "{privileged}");
    engine.succeed(&["rm", "-f", "rights"])?;
    Ok(())
}

fn device(engine: &Engine) -> anyhow::Result<()> {
    let run = |option: &str, limit: &str, script: &str| -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let line = [
            "run", "--rm", option, limit, "-v", "slow:/v", IMAGE, "sh", "-c", script,
        ];
        engine.succeed(&line)?;
        Ok(begun.elapsed())
    };
    // A new file: what is written to one that another container made is that one's.
    let write = "rm -f /v/f; dd if=/dev/zero of=/v/f bs=1M count=8 conv=fsync";
    let read = "dd if=/v/f of=/dev/null bs=64k iflag=direct";
    for (option, script, little, much) in [
        ("--device-write-bps", write, "/dev/vda:1m", "/dev/vda:1g"),
        ("--device-read-bps", read, "/dev/vda:1m", "/dev/vda:1g"),
        // 128 reads of 64 KiB.
        ("--device-read-iops", read, "/dev/vda:16", "/dev/vda:100000"),
    ] {
        let fast = run(option, much, script)?;
        let slow = run(option, little, script)?;
        // 8 MiB at 1 MiB a second, the first of which may come at once.
        ensure!(
            slow > fast + Duration::from_secs(5),
            "{option}: {slow:?} with the limit, {fast:?} without"
        );
    }
    engine.succeed(&["volume", "rm", "slow"])?;
    Ok(())
}

/// Two containers that read all the time share the disk by their weights, and
/// nothing schedules it before there are any.
fn weights(engine: &Engine) -> anyhow::Result<()> {
    let scheduler = || {
        let show = ["run", "--rm", "--privileged", IMAGE, "cat"];
        engine.succeed(&[&show[..], &["/sys/block/vda/queue/scheduler"]].concat())
    };
    ensure!(scheduler()?.contains("[none]"), "{}", scheduler()?);
    engine.succeed(&["run", "-d", "--name", "unweighted", IMAGE, "sleep", "1000"])?;

    let read = "dd if=/dev/zero of=/v/$0 bs=1M count=32 conv=fsync 2>/dev/null; \
                while :; do dd if=/v/$0 of=/dev/null bs=128k iflag=direct 2>/dev/null; done";
    for (name, weight) in [("light", "100"), ("heavy", "1000")] {
        let line = [
            "run",
            "-d",
            "--name",
            name,
            "--blkio-weight",
            weight,
            "-v",
            "weights:/v",
        ];
        engine.succeed(&[&line[..], &[IMAGE, "sh", "-c", read, name]].concat())?;
    }
    ensure!(scheduler()?.contains("[bfq]"), "{}", scheduler()?);
    let weight =
        |name: &str| engine.succeed(&["exec", name, "cat", "/sys/fs/cgroup/io.bfq.weight"]);
    for (name, expected) in [
        ("light", "100\n"),
        ("heavy", "1000\n"),
        ("unweighted", "500\n"),
    ] {
        let found = weight(name)?;
        ensure!(found.ends_with(expected), "{name}: {found}");
    }

    let bytes_read = |name: &str| -> anyhow::Result<u64> {
        let show = "tr ' ' '\\n' < /sys/fs/cgroup/io.stat | sed -n 's/^rbytes=//p' | head -1";
        Ok(engine
            .succeed(&["exec", name, "sh", "-c", show])?
            .trim()
            .parse()
            .unwrap_or(0))
    };
    const MUCH: u64 = 64 << 20;
    wait::until("both containers to read", LONG, || {
        Ok(bytes_read("light")? > 0 && bytes_read("heavy")? > 0)
    })?;
    // What the host has to do meanwhile goes into a single measurement.
    let mut shares = Vec::new();
    let shared = wait::until("the heavier one's greater share", LONG, || {
        let before = (bytes_read("light")?, bytes_read("heavy")?);
        wait::until("the heavier one to read much", LONG, || {
            Ok(bytes_read("heavy")? > before.1 + MUCH)
        })?;
        let light = bytes_read("light")? - before.0;
        let heavy = bytes_read("heavy")? - before.1;
        shares.push((heavy, light));
        Ok(heavy > 2 * light)
    });
    shared.with_context(|| format!("weights of 1000 and 100 read {shares:?} bytes"))?;

    engine.succeed(&["update", "--blkio-weight", "1000", "light"])?;
    engine.fail(1, &["update", "--blkio-weight", "1000", "nobody"])?;
    ensure!(weight("light")?.ends_with("1000\n"));
    let on = [
        "run",
        "--rm",
        "--blkio-weight-device",
        "/dev/vda:20",
        IMAGE,
        "cat",
    ];
    let found = engine.succeed(&[&on[..], &["/sys/fs/cgroup/io.bfq.weight"]].concat())?;
    ensure!(found.lines().any(|line| line.ends_with(":0 20")), "{found}");
    engine.succeed(&["rm", "-f", "light", "heavy", "unweighted"])?;
    engine.succeed(&["volume", "rm", "weights"])?;
    Ok(())
}
