//! Commands against an engine that speaks the real protocol: input, output,
//! exit codes and signals.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(unreachable_pub)]
mod engine;

use engine::{ScriptedEngine, errors};
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use wherry_proto::v1::wait_container_request::Condition;

#[test]
fn ten_megabytes_piped_into_run_arrive_whole() {
    let engine = ScriptedEngine::start();
    let input: Vec<u8> = (0..10_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let output = engine.run(&["run", "-i", "--rm", "image", "cat"], &input);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(engine.asked().created[0].stdin_once);
    assert!(
        output.stdout == input,
        "{} bytes came back",
        output.stdout.len()
    );
}

#[test]
fn output_and_errors_stay_apart_and_the_exit_code_is_the_processs() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["run", "image", "both"], b"");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(errors(&output), "wherry: warning: mind the gap\nerr\n");
}

#[test]
fn what_comes_after_run_finds_the_container_ended_or_gone() {
    let engine = ScriptedEngine::start();
    for (arguments, waits) in [
        (&["run", "image", "both"][..], vec![Condition::NotRunning]),
        (
            &["run", "--rm", "image", "both"],
            vec![Condition::NotRunning, Condition::Removed],
        ),
    ] {
        engine.run(arguments, b"");
        assert_eq!(engine.asked().waits, waits);
    }
}

#[test]
fn everything_after_the_image_is_the_command() {
    let engine = ScriptedEngine::start();
    let command = ["both", "-it", "--rm", "--name", "x", "--", "-p"];
    let arguments = [&["run", "-e", "A=1", "image"][..], &command].concat();
    engine.run(&arguments, b"");
    let asked = engine.asked();
    let spec = &asked.created[0];
    assert_eq!(spec.cmd, command);
    assert_eq!(spec.env, ["A=1"]);
    assert!(!spec.terminal && !spec.open_stdin && spec.name.is_empty());
}

#[test]
fn run_detached_prints_the_id() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["run", "-d", "-p", "8080:80", "image"], b"");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout.len(), 65);
    assert_eq!(engine.asked().created[0].ports[0].host_port, 8080);
}

#[test]
fn an_unknown_image_that_may_not_be_fetched_says_how_to_get_it() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["run", "--pull", "never", "unknown"], b"");
    assert_eq!(output.status.code(), Some(125));
    let said = errors(&output);
    assert!(
        said.contains("wherry load -i FILE") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn a_command_that_is_not_there_is_127_and_leaves_nothing_behind() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["run", "--rm", "image", "missing"], b"");
    assert_eq!(output.status.code(), Some(127), "{}", errors(&output));
    assert_eq!(engine.asked().removed.len(), 1);
    let output = engine.run(&["exec", "web", "missing"], b"");
    assert_eq!(output.status.code(), Some(127), "{}", errors(&output));
}

#[test]
fn a_stream_that_is_cut_off_is_an_engine_failure() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["run", "image", "crash"], b"");
    assert_eq!(output.status.code(), Some(125));
    assert!(errors(&output).contains("cut off"), "{}", errors(&output));
}

#[test]
fn exec_passes_input_and_exit_code_on() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["exec", "-i", "web", "cat"], b"hello");
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"hello"[..])
    );
    assert_eq!(
        engine.run(&["exec", "web", "both"], b"").status.code(),
        Some(3)
    );
    let output = engine.run(&["exec", "nobody", "cat"], b"");
    assert_eq!(output.status.code(), Some(125));
}

#[cfg(unix)]
#[test]
fn a_signal_goes_on_to_the_container_and_its_exit_code_comes_back() {
    let engine = ScriptedEngine::start();
    let mut child = engine
        .wherry(&["run", "image", "sleep"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(engine.asked().kills, ["INT"]);
}

#[cfg(unix)]
#[test]
fn a_closed_output_ends_quietly_and_takes_the_container_with_it() {
    let engine = ScriptedEngine::start();
    let mut child = engine
        .wherry(&["run", "--rm", "image", "yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(&first, b"y\n");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(errors(&output), "wherry: warning: mind the gap\n");
    assert_eq!(engine.asked().kills, ["KILL"]);
}

#[test]
fn a_failure_for_one_of_several_is_told_and_the_others_are_done() {
    let engine = ScriptedEngine::start();
    let id = engine.run(&["create", "image"], b"").stdout;
    let id = String::from_utf8(id).unwrap();
    let output = engine.run(&["rm", "a", id.trim(), "b"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, id.as_bytes());
    assert_eq!(
        errors(&output),
        "wherry: no such container: a\nwherry: no such container: b\n"
    );
}

#[test]
fn an_archive_is_sent_whole_and_a_corrupt_one_is_told() {
    let engine = ScriptedEngine::start();
    let archive = b"a tar archive".repeat(100_000);
    let output = engine.run(&["load"], &archive);
    assert_eq!(
        output.stdout,
        b"Loaded image: nginx:latest\n",
        "{}",
        errors(&output)
    );
    assert!(engine.asked().archive == archive);
    let output = engine.run(&["load"], &b"corrupt".repeat(1_000_000));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(errors(&output), "wherry: the archive is no tar archive\n");
}

#[test]
fn a_cidfile_that_is_there_is_left_alone() {
    let engine = ScriptedEngine::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cid");
    let file = file.to_str().unwrap();
    assert_eq!(
        engine
            .run(&["create", "--cidfile", file, "image"], b"")
            .status
            .code(),
        Some(0)
    );
    assert_eq!(std::fs::read_to_string(file).unwrap().len(), 64);
    let output = engine.run(&["run", "--cidfile", file, "image"], b"");
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(engine.asked().created.len(), 1);
}

/// `script` of util-linux gives the command a terminal and passes on what it reads.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_is_raw_while_the_container_has_it_and_as_before_afterwards() {
    use std::io::Write;

    let engine = ScriptedEngine::start();
    let folder = engine.wherry(&[]);
    let home = folder
        .get_envs()
        .find_map(|(name, value)| (name == "WHERRY_HOME").then_some(value?));
    let line = format!(
        "stty rows 33 cols 101; stty -g; {} run -it image prompt; echo; echo code $?; stty -g",
        env!("CARGO_BIN_EXE_wherry")
    );
    let mut child = std::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("WHERRY_HOME", home.unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    let mut read_until = |words: &str, seen: &mut Vec<u8>| {
        while !String::from_utf8_lossy(seen).contains(words) {
            let mut byte = [0];
            assert_eq!(
                stdout.read(&mut byte).unwrap(),
                1,
                "{}",
                String::from_utf8_lossy(seen)
            );
            seen.push(byte[0]);
        }
    };
    read_until("ready> ", &mut seen);
    // In raw mode Ctrl-C is a byte like any other.
    stdin.write_all(b"typed\x03").unwrap();
    read_until("typed\x03", &mut seen);
    // The size goes its own way beside the stream.
    let begun = std::time::Instant::now();
    while !engine.asked().sizes.contains(&(33, 101)) {
        let sizes = engine.asked().sizes.clone();
        assert!(begun.elapsed().as_secs() < 30, "{sizes:?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    stdin.write_all(b"\x10\x11").unwrap();
    read_until("code 0\r\n", &mut seen);
    drop(stdin);
    stdout.read_to_end(&mut seen).unwrap();
    child.wait().unwrap();
    let seen = String::from_utf8_lossy(&seen).into_owned();
    let lines: Vec<&str> = seen.lines().collect();
    assert!(seen.contains("detached"), "{seen}");
    assert_eq!(lines.first(), lines.last(), "{seen}");
    let asked = engine.asked();
    // It runs on, so that nothing is waited for.
    assert!(asked.waits.is_empty(), "{:?}", asked.waits);
    let spec = &asked.created[0];
    assert_eq!((spec.terminal_rows, spec.terminal_columns), (33, 101));
}

#[test]
fn prune_asks_first_and_tells_what_is_gone() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["container", "prune"], b"n\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("Deleted"));
    let output = engine.run(&["container", "prune"], b"y\n");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("[y/N] Deleted Containers:\n0123456789abcdef"),
        "{said}"
    );
    assert!(
        said.ends_with("\n\nTotal reclaimed space: 1.5kB\n"),
        "{said}"
    );
}

#[test]
fn a_command_behind_container_is_the_command() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["container", "run", "image", "both"], b"");
    assert_eq!(output.status.code(), Some(3));
    let output = engine.run(&["container", "ls", "-q"], b"");
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let output = engine.run(&["container", "run", "--bad", "image"], b"");
    assert_eq!(output.status.code(), Some(125));
    assert!(errors(&output).ends_with("see `wherry container run --help`\n"));
}

#[test]
fn top_passes_its_arguments_on() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["top", "web", "-o", "pid"], b"");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "PID       CMD\n-o        pid\n"
    );
}

#[test]
fn events_go_on_after_the_agent_died() {
    let engine = ScriptedEngine::start();
    let child = engine
        .wherry(&[
            "events",
            "--since",
            "0.000000001",
            "--format",
            "{{.Action}} {{.TimeNano}}",
            "--filter",
            "type=container",
            "--filter",
            "event=die",
            "--filter",
            "event=start",
        ])
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut lines = String::new();
    let mut stdout = child.stdout.take().unwrap();
    let mut byte = [0];
    while lines.lines().count() < 2 || !lines.ends_with('\n') {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{lines}");
        lines.push(byte[0].into());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lines, "start 5000000001\ndie 5000000002\n");
    let filters = &engine.asked().filters;
    assert_eq!(filters.len(), 2);
    assert_eq!(filters[1].values, ["die", "start"]);
    let output = engine.run(&["events", "--filter", "colour=red"], b"");
    assert!(errors(&output).contains("the keys are type, event"));
}

#[test]
fn diff_prints_a_letter_and_a_path() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["diff", "web"], b"");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "C /etc\nA /etc/new\nD /etc/old\n"
    );
}

#[test]
fn a_copy_has_a_container_at_one_end() {
    let engine = ScriptedEngine::start();
    for (arguments, message) in [
        (
            ["a:/x", "b:/y"],
            "copying between containers is not supported",
        ),
        (["x", "y"], "must specify at least one container source"),
        (["./none", "a:/x"], "cannot read ./none"),
    ] {
        let output = engine.run(&["cp", arguments[0], arguments[1]], b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(errors(&output).contains(message), "{}", errors(&output));
    }
}

#[test]
fn limits_reach_the_engine_and_stats_are_a_table() {
    let engine = ScriptedEngine::start();
    let line = "create -m 64m --memory-swap -1 --memory-reservation 32m -c 512 --cpuset-cpus 0,1 --cpu-period 50000 --cpu-quota 25000 --pids-limit 9 --blkio-weight 300 --blkio-weight-device /dev/vda:20 --device-read-bps /dev/vda:1m --ulimit nofile=10:20 --oom-score-adj -5 image";
    let words: Vec<&str> = line.split(' ').collect();
    let output = engine.run(&words, b"");
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    {
        let asked = engine.asked();
        let spec = &asked.created[0];
        let limits = spec.resources.as_ref().unwrap();
        assert_eq!((limits.memory, limits.memory_swap), (64 << 20, -1));
        assert_eq!((limits.cpu_shares, limits.cpu_quota), (512, 25_000));
        assert_eq!(limits.device_read_bps[0].rate, 1 << 20);
        let device = &limits.blkio_weight_devices[0];
        assert_eq!((limits.blkio_weight, device.weight), (300, 20));
        assert_eq!((spec.ulimits[0].hard, spec.oom_score_adj), (20, -5));
    }
    let output = engine.run(&["stats", "--no-stream"], b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.starts_with("CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT"),
        "{said}"
    );
    assert!(
        said.contains("0123456789ab   web       0.00%     1MiB / 4MiB         25.00%"),
        "{said}"
    );
    let output = engine.run(&["update", "web"], b"");
    assert!(errors(&output).contains("one or more flags"));
}
