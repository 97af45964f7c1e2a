//! What a container's processes are, do and leave.

use super::container::*;
use super::runtime::{FailureKind, ShimEvent, ShimStatus};

test!(exit_codes_are_the_process_s_own_or_the_signal_s, async {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        // PID 1 of a namespace cannot kill itself, its child can.
        let mut container =
            Container::make(&["sh", "-c", &format!("sh -c '{script}'; exit $?")]).await;
        container.shim.start().await.unwrap();
        let status = container.exited().await;
        assert_eq!(status.code, code, "{script}");
        assert_eq!(container.recorded(), Some(status));
        container.delete().await;
    }
});

test!(a_signal_ends_the_container, async {
    let mut container = Container::make(&["sleep", "1000"]).await;
    container.shim.start().await.unwrap();
    container.shim.kill(libc::SIGKILL).await.unwrap();
    let status = container.exited().await;
    assert_eq!((status.code, status.signal), (137, Some(9)));
    assert!(container.shim.kill(libc::SIGTERM).await.is_err());
    container.delete().await;
});

test!(commands_that_cannot_run_say_so_as_runc_does, async {
    for (command, message, code) in [
        (
            "nope",
            "exec: \"nope\": executable file not found in $PATH",
            127,
        ),
        (
            "/nope",
            "exec: \"/nope\": stat /nope: no such file or directory",
            127,
        ),
        ("/plain", "exec: \"/plain\": permission denied", 126),
        ("/bin", "exec: \"/bin\": is a directory", 126),
    ] {
        let container = Container::prepare(&[command], |_, _| {}).await;
        std::fs::write(container.rootfs().join("plain"), "x").unwrap();
        let error = container.create().await.unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.exit_code(), code);
        container.delete().await;
    }
    let mut container = Container::make(&["sleep", "1000"]).await;
    container.shim.start().await.unwrap();
    let error = container.exec("e", &["nope"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 127, "{error}");
    let error = container.exec("e", &["/bin"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 126, "{error}");
    container.delete().await;
    let _ = container.exited().await;
});

test!(
    twenty_execs_at_once_each_have_their_own_output_and_code,
    async {
        let mut container = Container::make(&["sleep", "1000"]).await;
        container.shim.start().await.unwrap();
        let runs = (0..20).map(|number| {
            let shim = container.shim.clone();
            async move {
                let (mut client, theirs) = stream();
                let script = format!("cat; echo out{number}; echo err{number} >&2; exit {number}");
                let mut exec = exec_spec(&format!("exec{number}"), &["sh", "-c", &script]);
                exec.open_stdin = true;
                let started = shim.exec(exec, Some(std::os::fd::AsFd::as_fd(&theirs)));
                assert!(started.await.unwrap() > 0);
                drop(theirs);
                let (mut reader, mut writer) = client.split();
                let input = format!("in{number}\n");
                let sending = send_input(&mut writer, input.as_bytes());
                let (_, output) = tokio::join!(sending, collect(&mut reader));
                assert_eq!(output.code, Some(number));
                assert_eq!(output.stdout_text(), format!("in{number}\nout{number}\n"));
                assert_eq!(output.stderr, format!("err{number}\n").into_bytes());
            }
        });
        futures_util::future::join_all(runs).await;
        let mut ended = 0;
        while ended < 20 {
            if let ShimEvent::ExecExited { exec, status } = container.event().await {
                assert_eq!(exec, format!("exec{}", status.code));
                ended += 1;
            }
        }
        assert!(container.shim.state().await.unwrap().execs.is_empty());
        container.delete().await;
    }
);

test!(an_exec_is_confined_as_the_container_is, async {
    let mut container = Container::make(&["sh", "-c", STATUS]).await;
    let mut client = container.attach_all().await;
    container.shim.start().await.unwrap();
    let own = collect(&mut client.split().0).await.stdout_text();
    assert!(own.contains("Seccomp:\t2"), "{own}");
    assert!(own.contains("CapEff:\t00000000a80425fb"), "{own}");
    container.exited().await;
    container.delete().await;

    for user in [None, Some(1000)] {
        let container = Container::make(&["sleep", "1000"]).await;
        container.shim.start().await.unwrap();
        let (mut client, theirs) = stream();
        let mut exec = exec_spec("e", &["sh", "-c", STATUS]);
        exec.user = user.map(|uid| super::runtime::spec::User {
            uid,
            gid: uid,
            additional_gids: Vec::new(),
        });
        let theirs = std::os::fd::OwnedFd::from(theirs);
        let started = container
            .shim
            .exec(exec, Some(std::os::fd::AsFd::as_fd(&theirs)));
        started.await.unwrap();
        drop(theirs);
        let exec = collect(&mut client.split().0).await.stdout_text();
        if user.is_none() {
            assert_eq!(exec, own);
        } else {
            assert!(exec.contains("Seccomp:\t2"), "{exec}");
            assert!(exec.contains("CapEff:\t0000000000000000"), "{exec}");
            assert!(exec.contains("CapBnd:\t00000000a80425fb"), "{exec}");
        }
        container.delete().await;
    }
});

test!(a_denied_system_call_is_not_permitted, async {
    let script = "unshare -U true; echo $?";
    let mut container = Container::make(&["sh", "-c", script]).await;
    let mut client = container.attach_all().await;
    container.shim.start().await.unwrap();
    let output = collect(&mut client.split().0).await;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("Operation not permitted"), "{error}");
    container.exited().await;
    container.delete().await;
});

test!(a_later_serve_finds_the_shim_and_the_exit, async {
    let mut container = Container::make(&["sh", "-c", "exit 9"]).await;
    container.reconnect().await;
    assert_eq!(
        container.shim.state().await.unwrap().status,
        ShimStatus::Created
    );
    container.shim.start().await.unwrap();
    assert_eq!(container.exited().await.code, 9);
    container.reconnect().await;
    assert_eq!(container.exited().await.code, 9);
    container.delete().await;
    assert_eq!(container.event().await, ShimEvent::Gone);
});

test!(what_is_asked_out_of_turn_is_refused, async {
    let mut container = Container::make(&["true"]).await;
    let error = container.exec("e", &["true"]).await.unwrap_err();
    assert!(error.to_string().contains("not running"));
    container.shim.start().await.unwrap();
    match container.shim.start().await.unwrap_err() {
        super::runtime::ShimError::Refused { kind, .. } => {
            assert_eq!(kind, FailureKind::WrongState);
        }
        other => panic!("{other}"),
    }
    container.exited().await;
    container.delete().await;
});

test!(
    masked_paths_are_empty_and_the_working_directory_is_made,
    async {
        let script = "pwd; wc -c </proc/timer_list; touch /proc/sys/x 2>/dev/null || echo ro";
        let mut container = Container::with(&["sh", "-c", script], |description, _| {
            description.cwd = "/made/for/it".to_owned();
        })
        .await;
        let mut client = container.attach_all().await;
        container.shim.start().await.unwrap();
        let output = collect(&mut client.split().0).await;
        assert!(
            output.stdout_text().starts_with("/made/for/it\n0\n"),
            "{output:?}"
        );
        container.exited().await;
        container.delete().await;
    }
);

test!(latency_of_a_whole_run_and_of_an_exec, async {
    const ROUNDS: usize = 21;
    let mut phases: [Vec<std::time::Duration>; 7] = Default::default();
    for round in 0..ROUNDS {
        let mut container = Container::prepare(&["sleep", "0"], |_, _| {}).await;
        let mut last = std::time::Instant::now();
        let begin = last;
        let mut lap = |phase: usize| {
            phases[phase].push(last.elapsed());
            last = std::time::Instant::now();
        };
        container.respawn().await;
        container.shim.state().await.unwrap();
        lap(0);
        container.create().await.unwrap();
        lap(1);
        let mut client = container.attach_all().await;
        container.shim.start().await.unwrap();
        lap(2);
        collect(&mut client.split().0).await;
        container.exited().await;
        lap(3);
        container.delete().await;
        lap(4);
        phases[5].push(begin.elapsed());

        let mut container = Container::make(&["sleep", "1000"]).await;
        container.shim.start().await.unwrap();
        let begin = std::time::Instant::now();
        let (mut client, theirs) = stream();
        let exec = exec_spec(&format!("exec{round}"), &["true"]);
        let started = container
            .shim
            .exec(exec, Some(std::os::fd::AsFd::as_fd(&theirs)));
        started.await.unwrap();
        drop(theirs);
        collect(&mut client.split().0).await;
        phases[6].push(begin.elapsed());
        if round == ROUNDS - 1 {
            let shim = container.shim.state().await.unwrap().shim_pid;
            let busy = resident(shim);
            // Only the passing of time makes it idle.
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            let idle = resident(shim);
            println!("shim, busy: {busy} KiB, idle: {idle} KiB");
            assert!(idle < busy);
        }
        container.delete().await;
        container.exited().await;
    }
    for (name, times) in [
        "spawn",
        "create",
        "start",
        "exit",
        "delete",
        "whole run",
        "exec",
    ]
    .iter()
    .zip(&mut phases)
    {
        times.sort();
        println!("{name}: {:?}", times[times.len() / 2]);
    }
});
