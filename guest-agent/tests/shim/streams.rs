//! Standard streams, terminals and logs, and the clients of them.

use super::container::*;
use super::runtime::{AttachOptions, LogLimits, TerminalSize, log_file};

test!(
    ten_megabytes_of_input_sent_before_the_start_arrive_whole,
    async {
        let mut container = Container::with(&["sha1sum"], |_, config| {
            config.open_stdin = true;
            config.stdin_once = true;
        })
        .await;
        let mut client = container.attach_all().await;
        let bytes: Vec<u8> = (0..10_000_000_u32).map(|n| (n / 7) as u8).collect();
        let expected = sha1sum(&bytes);
        let (mut reader, mut writer) = client.split();
        let sending = async {
            send_input(&mut writer, &bytes).await;
        };
        let starting = async {
            container.shim.start().await.unwrap();
        };
        let (_, _, output) = tokio::join!(sending, starting, collect(&mut reader));
        assert_eq!(output.code, Some(0));
        assert!(output.stdout_text().starts_with(&expected), "{output:?}");
        container.exited().await;
        container.delete().await;
    }
);

test!(a_client_may_come_before_the_container_is_made, async {
    let mut container = Container::prepare(&["cat"], |_, config| {
        config.open_stdin = true;
        config.stdin_once = true;
    })
    .await;
    let mut client = container.attach_all().await;
    let output = AttachOptions {
        stdout: true,
        ..AttachOptions::default()
    };
    let mut gone = container.attach(output).await;
    let bytes = vec![b'x'; 1_000_000];
    let (mut reader, mut writer) = client.split();
    let running = async {
        accepted(&mut gone.split().0).await;
        drop(gone);
        container.create().await.unwrap();
        container.shim.start().await.unwrap();
    };
    let sending = send_input(&mut writer, &bytes);
    let (_, _, output) = tokio::join!(sending, running, collect(&mut reader));
    assert!(output.stdout == bytes && output.code == Some(0));
    container.exited().await;
    container.delete().await;

    let container = Container::prepare(&["nope"], |_, _| {}).await;
    let mut client = container.attach_all().await;
    assert!(container.create().await.is_err());
    container.delete().await;
    accepted(&mut client).await;
    assert!(read_to_end(&mut client).await.is_empty());
});

test!(a_request_ended_early_still_gets_its_whole_reply, async {
    let script = "cat >/dev/null; head -c 5000000 /dev/zero; echo done >&2";
    let mut container = Container::with(&["sh", "-c", script], |_, config| {
        config.open_stdin = true;
        config.stdin_once = true;
    })
    .await;
    let mut client = container.attach_all().await;
    container.shim.start().await.unwrap();
    let (mut reader, mut writer) = client.split();
    send_input(&mut writer, b"request").await;
    let output = collect(&mut reader).await;
    assert_eq!(output.stdout.len(), 5_000_000);
    assert_eq!(output.stderr, b"done\n");
    assert_eq!(output.code, Some(0));
    container.exited().await;
    container.delete().await;
});

test!(the_log_is_docker_s_json_file, async {
    let script = "echo one; echo two >&2; printf 'a<b\\377'";
    let mut container = Container::make(&["sh", "-c", script]).await;
    container.shim.start().await.unwrap();
    container.exited().await;
    let log = std::fs::read_to_string(container.log()).unwrap();
    let mut entries: Vec<_> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .collect();
    entries.sort_by_key(|entry| entry["stream"].to_string());
    let texts: Vec<_> = entries
        .iter()
        .map(|entry| entry["log"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["two\n", "one\n", "a<b\u{fffd}"]);
    assert!(
        entries
            .iter()
            .all(|entry| entry["time"].as_str().unwrap().ends_with('Z'))
    );
    container.delete().await;
});

test!(a_foreground_client_that_reads_slowly_loses_nothing, async {
    let mut container = Container::make(&["seq", "1", "400000"]).await;
    let mut client = container.attach_all().await;
    container.shim.start().await.unwrap();
    // It reads nothing until the container is held up.
    let task = container.shim.state().await.unwrap();
    wait_until(|| blocked_in_write(task.pid)).await;
    let output = collect(&mut client.split().0).await;
    let expected: String = (1..=400_000).map(|n| format!("{n}\n")).collect();
    assert!(output.stdout_text() == expected);
    assert_eq!(output.code, Some(0));
    container.exited().await;
    container.delete().await;
});

test!(
    a_late_client_that_does_not_read_holds_up_only_itself,
    async {
        let script = "read line; seq 1 300000; exit 3";
        let mut container = Container::with(&["sh", "-c", script], |_, config| {
            config.open_stdin = true;
        })
        .await;
        container.shim.start().await.unwrap();
        let all = AttachOptions {
            stdin: true,
            stdout: true,
            stderr: true,
            logs: false,
        };
        let mut slow = container.attach(all).await;
        let mut quick = container.attach(all).await;
        send_data(&mut quick.split().1, b"go\n").await;
        let output = collect(&mut quick.split().0).await;
        let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
        assert!(output.stdout_text() == expected);
        assert_eq!(container.exited().await.code, 3);
        let output = collect(&mut slow.split().0).await;
        assert!(output.stdout_text() == expected);
        assert_eq!(output.code, Some(3));
        container.delete().await;
    }
);

test!(what_was_logged_comes_first_when_asked_for, async {
    let script = "echo early; printf par; read line; echo tial; echo $line";
    let mut container = Container::with(&["sh", "-c", script], |_, config| {
        config.open_stdin = true;
    })
    .await;
    container.shim.start().await.unwrap();
    let log = container.log();
    wait_until(|| std::fs::read_to_string(&log).is_ok_and(|text| text.contains("early"))).await;
    let mut client = container
        .attach(AttachOptions {
            stdin: true,
            stdout: true,
            stderr: true,
            logs: true,
        })
        .await;
    send_data(&mut client.split().1, b"typed\n").await;
    let output = collect(&mut client.split().0).await;
    assert_eq!(output.stdout_text(), "early\npartial\ntyped\n");
    container.exited().await;
    container.delete().await;
});

test!(a_client_that_vanishes_does_not_stop_the_container, async {
    let mut container = Container::make(&["seq", "1", "400000"]).await;
    let client = container.attach_all().await;
    container.shim.start().await.unwrap();
    let pid = container.shim.state().await.unwrap().pid;
    wait_until(|| blocked_in_write(pid)).await;
    drop(client);
    assert_eq!(container.exited().await.code, 0);
    let files = (0..LogLimits::default().files).map(|age| log_file(&container.log(), age));
    let logged: usize = files
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .map(|log| log.lines().count())
        .sum();
    assert_eq!(logged, 400_000);
    container.delete().await;
});

test!(a_terminal_has_its_size_and_takes_new_ones, async {
    let script = "stty size; read line; stty size; test -t 0 && echo tty; exit 5";
    let first = TerminalSize {
        rows: 30,
        columns: 100,
    };
    let mut container = Container::with(&["sh", "-c", script], |description, config| {
        description.terminal = true;
        description.terminal_size = Some(first);
        config.terminal = true;
        config.terminal_size = Some(first);
        config.open_stdin = true;
    })
    .await;
    let mut client = container.attach_all().await;
    container.shim.start().await.unwrap();
    let (mut reader, mut writer) = client.split();
    accepted(&mut reader).await;
    read_until(&mut reader, "30 100").await;
    let second = TerminalSize {
        rows: 50,
        columns: 132,
    };
    container.shim.resize(None, second).await.unwrap();
    send_data(&mut writer, b"\n").await;
    let output = collect_rest(&mut reader).await;
    assert!(output.stdout_text().contains("50 132"), "{output:?}");
    assert!(output.stdout_text().contains("tty"), "{output:?}");
    assert_eq!(output.code, Some(5));
    container.exited().await;
    container.delete().await;
});

test!(a_user_may_open_its_terminal_and_its_pipes_again, async {
    for terminal in [false, true] {
        let script = "echo out >/dev/stdout && echo err >/dev/stderr && echo both";
        let mut container = Container::with(&["sh", "-c", script], |description, config| {
            description.user.uid = 1000;
            description.user.gid = 1000;
            description.terminal = terminal;
            config.terminal = terminal;
        })
        .await;
        let mut client = container.attach_all().await;
        container.shim.start().await.unwrap();
        let output = collect(&mut client.split().0).await;
        assert!(output.stdout_text().contains("both"), "{output:?}");
        container.exited().await;
        container.delete().await;
    }
});

test!(a_full_disk_loses_log_entries_and_stops_nothing, async {
    let mut container = Container::with(&["seq", "1", "100000"], |_, config| {
        config.log = Some("/dev/full".into());
    })
    .await;
    let mut client = container.attach_all().await;
    container.shim.start().await.unwrap();
    let output = collect(&mut client.split().0).await;
    assert!(output.stdout_text().ends_with("\n100000\n"));
    assert_eq!(container.exited().await.code, 0);
    container.delete().await;
});

test!(clients_that_come_and_go_leave_no_descriptor, async {
    let mut container = Container::make(&["sleep", "1000"]).await;
    container.shim.start().await.unwrap();
    let shim = container.shim.state().await.unwrap().shim_pid;
    let open = || {
        std::fs::read_dir(format!("/proc/{shim}/fd"))
            .unwrap()
            .count()
    };
    let before = open();
    for number in 0..50 {
        drop(container.attach_all().await);
        let (mut client, theirs) = stream();
        let exec = exec_spec(&format!("exec{number}"), &["true"]);
        let started = container
            .shim
            .exec(exec, Some(std::os::fd::AsFd::as_fd(&theirs)));
        started.await.unwrap();
        drop(theirs);
        assert_eq!(collect(&mut client.split().0).await.code, Some(0));
    }
    wait_until(|| open() == before).await;
    container.delete().await;
    container.exited().await;
});

test!(an_exec_has_a_terminal_of_its_own, async {
    let mut container = Container::make(&["sleep", "1000"]).await;
    container.shim.start().await.unwrap();
    let (mut client, theirs) = stream();
    let mut exec = exec_spec("e", &["sh", "-c", "stty size; tty"]);
    exec.terminal = true;
    exec.terminal_size = Some(TerminalSize {
        rows: 20,
        columns: 70,
    });
    let started = container
        .shim
        .exec(exec, Some(std::os::fd::AsFd::as_fd(&theirs)));
    started.await.unwrap();
    drop(theirs);
    let output = collect(&mut client.split().0).await;
    assert!(output.stdout_text().contains("20 70"), "{output:?}");
    assert!(output.stdout_text().contains("/dev/pts/"), "{output:?}");
    container.delete().await;
    let _ = container.exited().await;
});
