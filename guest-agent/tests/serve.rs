//! The agent as the host sees it: containers run by a plain process over two
//! Unix sockets.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::{Agent, IMAGE, collect, not_root, within};
use tonic::Code;
use wherry_proto::frame::{Kind, write_bytes, write_frame};
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_and_its_output_and_exit_code_come_back() {
    if not_root("a_container_runs") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent.create("echo out; echo err >&2; exit 7", |_| ()).await;
    let mut stream = agent.attach(&id).await;
    agent.run(&id).await.unwrap();
    let output = within(collect(&mut stream)).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
    assert_eq!(output.exit_code, Some(7));
    assert_eq!(agent.wait(&id, Condition::NotRunning).await, 7);
    let container = agent
        .containers
        .inspect(InspectContainerRequest {
            container: id.clone(),
        })
        .await;
    let container = container.unwrap().into_inner();
    assert_eq!(container.status(), container::Status::Exited);
    assert_eq!(container.exit_code, 7);
    assert!(agent.logs(&id, |_| ()).await.contains("out\n"));
    // Again, with the same root.
    agent.run(&id).await.unwrap();
    assert_eq!(agent.wait(&id, Condition::NotRunning).await, 7);
    remove(&mut agent, &id, false).await.unwrap();
    let gone = remove(&mut agent, &id, false).await.unwrap_err();
    assert_eq!(
        (gone.code(), gone.message()),
        (Code::NotFound, &*format!("No such container: {id}"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_sent_before_the_start_arrive_whole() {
    if not_root("ten_megabytes") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("cat | wc -c", |spec| {
            spec.open_stdin = true;
            spec.stdin_once = true;
        })
        .await;
    let stream = agent.attach(&id).await;
    let (mut reader, mut writer) = stream.into_split();
    let sender = tokio::spawn(async move {
        write_bytes(&mut writer, Kind::Data, &vec![b'x'; 10_000_000])
            .await
            .unwrap();
        write_frame(&mut writer, Kind::End, &[]).await.unwrap();
        writer
    });
    agent.run(&id).await.unwrap();
    let output = within(collect(&mut reader)).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "10000000");
    assert_eq!(output.exit_code, Some(0));
    drop(sender.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_runs_in_the_container() {
    if not_root("an_exec") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("echo here >/tmp/file; exec sleep 1000", |_| ())
        .await;
    agent.run(&id).await.unwrap();
    let output = exec(&mut agent, &id, &["cat", "/tmp/file"], "").await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "here\n");
    assert_eq!(output.exit_code, Some(0));
    let output = exec(
        &mut agent,
        &id,
        &["sh", "-c", "id -u; echo $HOME; exit 3"],
        "user",
    )
    .await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1000\n/home/user\n"
    );
    assert_eq!(output.exit_code, Some(3));
    let request = CreateExecRequest {
        container: id.clone(),
        cmd: vec!["nope".to_owned()],
        ..Default::default()
    };
    let made = agent
        .containers
        .create_exec(request)
        .await
        .unwrap()
        .into_inner()
        .exec;
    let (_, reply) = agent
        .stream(Purpose::Exec(ExecStream {
            exec: made,
            detach: false,
        }))
        .await;
    assert!(
        reply.error.contains("executable file not found in $PATH"),
        "{}",
        reply.error
    );
    remove(&mut agent, &id, true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_stops_on_its_signal_and_is_killed_when_it_does_not() {
    if not_root("a_container_stops") {
        return;
    }
    let mut agent = Agent::start().await;
    let polite = agent
        .create(
            "trap 'exit 5' TERM; while true; do sleep 0.05; done",
            |_| (),
        )
        .await;
    let deaf = agent
        .create("trap '' TERM; while true; do sleep 0.05; done", |_| ())
        .await;
    agent.run(&polite).await.unwrap();
    agent.run(&deaf).await.unwrap();
    let stop = |container: &str, seconds| StopContainerRequest {
        container: container.to_owned(),
        timeout_seconds: Some(seconds),
        ..Default::default()
    };
    within(agent.containers.stop(stop(&polite, 50)))
        .await
        .unwrap();
    assert_eq!(agent.wait(&polite, Condition::NotRunning).await, 5);
    within(agent.containers.stop(stop(&deaf, 0))).await.unwrap();
    assert_eq!(agent.wait(&deaf, Condition::NotRunning).await, 137);
    let kill = KillContainerRequest {
        container: deaf.clone(),
        signal: "KILL".to_owned(),
    };
    let error = agent.containers.kill(kill).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(
        error.message().ends_with("is not running"),
        "{}",
        error.message()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_is_removed_only_by_force() {
    if not_root("a_running_container") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent.create("sleep 1000", |_| ()).await;
    agent.run(&id).await.unwrap();
    let error = remove(&mut agent, &id, false).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    remove(&mut agent, &id, true).await.unwrap();
    assert!(list(&mut agent).await.is_empty());
    wait_for("its files to be deleted", || directories(&agent).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_removes_itself_leaves_nothing() {
    if not_root("a_container_that_removes_itself") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent.create("exit 4", |spec| spec.auto_remove = true).await;
    let request = WaitContainerRequest {
        container: id.clone(),
        condition: Condition::Removed.into(),
    };
    let mut waiting = agent.containers.clone();
    let waiting = tokio::spawn(async move { within(waiting.wait(request)).await });
    agent.run(&id).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().exit_code, 4);
    assert!(list(&mut agent).await.is_empty());
    wait_for("its files to be deleted", || directories(&agent).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_before_the_start_takes_its_container_along() {
    if not_root("a_client_that_vanishes") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent.create("true", |spec| spec.auto_remove = true).await;
    drop(agent.attach(&id).await);
    wait_for("the container to be removed", || {
        directories(&agent).is_empty()
    })
    .await;
    assert!(list(&mut agent).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_survive_the_agent() {
    if not_root("containers_survive") {
        return;
    }
    let mut agent = Agent::start().await;
    let script = "echo before; while ! [ -e /tmp/go ]; do sleep 0.05; done; echo after; exit 9";
    let running = agent.create(script, |_| ()).await;
    let volume = Mount {
        kind: mount::Kind::Volume.into(),
        source: "signs".to_owned(),
        target: "/signs".to_owned(),
        ..Default::default()
    };
    let script = "while ! [ -e /signs/go ]; do sleep 0.05; done; echo last; exit 6";
    let ending = agent
        .create(script, |spec| spec.mounts = vec![volume])
        .await;
    agent.run(&running).await.unwrap();
    agent.run(&ending).await.unwrap();
    let before = inspect(&mut agent, &running).await;
    let root = agent.root();
    agent.kill();
    // One ends while no agent is there to see it.
    fs::write(root.join("volumes/signs/_data/go"), "").unwrap();
    let exit = root.join(format!("containers/{ending}/exit.json"));
    wait_for("the exit to be noted", || exit.exists()).await;
    agent.serve().await;
    let after = inspect(&mut agent, &running).await;
    assert_eq!(after.status(), container::Status::Running);
    assert_eq!((after.pid, after.shim_pid), (before.pid, before.shim_pid));
    assert_eq!(agent.wait(&ending, Condition::NotRunning).await, 6);
    assert!(agent.logs(&ending, |_| ()).await.ends_with("last\n"));
    let output = exec(&mut agent, &running, &["touch", "/tmp/go"], "").await;
    assert_eq!(output.exit_code, Some(0));
    assert_eq!(agent.wait(&running, Condition::NotRunning).await, 9);
    assert_eq!(agent.logs(&running, |_| ()).await, "before\nafter\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_follow_to_the_end_of_the_container() {
    if not_root("logs_follow") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create(
            "for i in 1 2 3 4 5; do echo line $i; sleep 0.05; done",
            |_| (),
        )
        .await;
    agent.run(&id).await.unwrap();
    let followed = agent.logs(&id, |logs| logs.follow = true).await;
    assert_eq!(followed, "line 1\nline 2\nline 3\nline 4\nline 5\n");
    assert_eq!(
        agent.logs(&id, |logs| logs.tail = Some(2)).await,
        "line 4\nline 5\n"
    );
    let stamped = agent
        .logs(&id, |logs| (logs.timestamps, logs.tail) = (true, Some(1)))
        .await;
    assert!(stamped.ends_with("Z line 5\n"), "{stamped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_keep_what_was_written_and_begin_with_the_images_files() {
    if not_root("volumes") {
        return;
    }
    let mut agent = Agent::start().await;
    let volume = Mount {
        kind: mount::Kind::Volume.into(),
        source: "store".to_owned(),
        target: "/data".to_owned(),
        ..Default::default()
    };
    let first = agent
        .create("cat /data/seed; echo kept >/data/new", |spec| {
            spec.mounts = vec![volume.clone()]
        })
        .await;
    agent.run(&first).await.unwrap();
    agent.wait(&first, Condition::NotRunning).await;
    assert_eq!(agent.logs(&first, |_| ()).await, "from the image");
    let second = agent
        .create("cat /data/new; echo x >/data/y || echo read-only", |spec| {
            spec.mounts = vec![Mount {
                read_only: true,
                ..volume
            }];
        })
        .await;
    agent.run(&second).await.unwrap();
    agent.wait(&second, Condition::NotRunning).await;
    assert!(agent.logs(&second, |_| ()).await.starts_with("kept\n"));
    assert!(agent.logs(&second, |_| ()).await.ends_with("read-only\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_and_single_files_are_bound_in() {
    if not_root("folders") {
        return;
    }
    let mut agent = Agent::start().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    fs::write(folder.join("file"), "from outside").unwrap();
    let bind = |source: &std::path::Path, target: &str| Mount {
        kind: mount::Kind::Bind.into(),
        source: source.display().to_string(),
        target: target.to_owned(),
        ..Default::default()
    };
    let mounts = vec![
        bind(&folder, "/mnt/folder"),
        bind(&folder.join("file"), "/mnt/single"),
    ];
    let id = agent
        .create(
            "cat /mnt/folder/file /mnt/single; echo back >/mnt/folder/new",
            |spec| spec.mounts = mounts,
        )
        .await;
    agent.run(&id).await.unwrap();
    assert_eq!(agent.wait(&id, Condition::NotRunning).await, 0);
    assert_eq!(agent.logs(&id, |_| ()).await, "from outsidefrom outside");
    assert_eq!(fs::read_to_string(folder.join("new")).unwrap(), "back\n");
    remove(&mut agent, &id, false).await.unwrap();
    assert!(folder.join("file").exists());
    let missing = ContainerSpec {
        image: IMAGE.to_owned(),
        mounts: vec![bind(&folder.join("none"), "/mnt")],
        ..Default::default()
    };
    let error = agent.try_create(missing).await.unwrap_err();
    assert!(
        error.message().contains("bind source path does not exist"),
        "{}",
        error.message()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_start_says_why_and_leaves_nothing_running() {
    if not_root("a_failed_start") {
        return;
    }
    let mut agent = Agent::start().await;
    for (program, code, message) in [
        (
            "nope",
            "127",
            "exec: \"nope\": executable file not found in $PATH",
        ),
        (
            "/etc/plain",
            "126",
            "exec: \"/etc/plain\": permission denied",
        ),
    ] {
        let id = agent
            .create("", |spec| spec.cmd = vec![program.to_owned()])
            .await;
        let error = agent.run(&id).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition);
        assert!(error.message().contains(message), "{}", error.message());
        assert_eq!(error.metadata().get("wherry-exit-code").unwrap(), code);
        let container = inspect(&mut agent, &id).await;
        assert_ne!(container.status(), container::Status::Running);
        assert_eq!(container.exit_code.to_string(), code);
        remove(&mut agent, &id, false).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_when_it_is_made() {
    if not_root("what_cannot_be") {
        return;
    }
    let mut agent = Agent::start().await;
    let spec = || ContainerSpec {
        image: IMAGE.to_owned(),
        network: "none".to_owned(),
        ..Default::default()
    };
    let taken = agent
        .try_create(ContainerSpec {
            name: "taken".to_owned(),
            ..spec()
        })
        .await
        .unwrap();
    let resources = Some(Resources {
        memory: 1,
        ..Default::default()
    });
    for (spec, code, message) in [
        (
            ContainerSpec {
                image: "nope".to_owned(),
                ..spec()
            },
            Code::NotFound,
            "No such image: nope:latest".to_owned(),
        ),
        (
            ContainerSpec {
                network: "foo".to_owned(),
                ..spec()
            },
            Code::NotFound,
            "network foo not found".to_owned(),
        ),
        (
            ContainerSpec {
                name: "taken".to_owned(),
                ..spec()
            },
            Code::AlreadyExists,
            format!("already in use by container \"{taken}\""),
        ),
        (
            ContainerSpec {
                resources,
                ..spec()
            },
            Code::InvalidArgument,
            "Minimum memory limit allowed is 6MB".to_owned(),
        ),
        (
            ContainerSpec {
                cap_add: vec!["NOPE".to_owned()],
                ..spec()
            },
            Code::InvalidArgument,
            "NOPE".to_owned(),
        ),
    ] {
        let error = agent.try_create(spec).await.unwrap_err();
        assert_eq!(error.code(), code, "{}", error.message());
        assert!(error.message().contains(&message), "{}", error.message());
    }
    assert_eq!(list(&mut agent).await.len(), 1);
    assert_eq!(directories(&agent).len(), 1);
    // By name, by a prefix of the id, by the id.
    for reference in ["taken", &taken[..10], &taken] {
        assert_eq!(inspect(&mut agent, reference).await.id, taken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_cut_off_leaves_no_image() {
    if not_root("an_archive_cut_off") {
        return;
    }
    let mut agent = Agent::start().await;
    let import = ImportStream {
        tag: "half:latest".to_owned(),
        ..Default::default()
    };
    let (mut stream, _) = agent.stream(Purpose::Import(import)).await;
    let tar = support::root_file_system();
    write_bytes(&mut stream, Kind::Data, &tar[..tar.len() / 2])
        .await
        .unwrap();
    drop(stream);
    let root = agent.root();
    wait_for("the store to give up", || {
        fs::read_dir(root.join("images/tmp")).is_ok_and(|entries| entries.count() == 0)
    })
    .await;
    let images = agent
        .images
        .list(ListImagesRequest {})
        .await
        .unwrap()
        .into_inner()
        .images;
    assert_eq!(images.len(), 1);
    let broken = agent
        .import("broken:latest", b"this is no archive at all", &[])
        .await
        .unwrap_err();
    assert_eq!(
        broken.code,
        Code::InvalidArgument as i32,
        "{}",
        broken.error
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_a_life() {
    if not_root("events") {
        return;
    }
    let mut agent = Agent::start().await;
    let mut events = agent
        .system
        .events(EventsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        within(events.message()).await.unwrap().unwrap().r#type,
        "ready"
    );
    let id = agent.create("exit 2", |spec| spec.auto_remove = true).await;
    agent.run(&id).await.unwrap();
    let mut actions = Vec::new();
    while actions.last().map(String::as_str) != Some("destroy") {
        let event = within(events.message()).await.unwrap().unwrap();
        match event.r#type.as_str() {
            "network" => assert_eq!(event.attributes["container"], id),
            _ => assert_eq!(event.id, id),
        }
        if event.action == "die" {
            assert_eq!(event.attributes["exitCode"], "2");
        }
        actions.push(event.action);
    }
    assert_eq!(
        actions,
        ["create", "connect", "start", "die", "disconnect", "destroy"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_while_the_agent_was_away_are_told_afterwards() {
    if not_root("events_of_while") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("while [ ! -e /go ]; do sleep 0.02; done; exit 5", |spec| {
            spec.labels.insert("tier".to_owned(), "front".to_owned());
        })
        .await;
    agent.run(&id).await.unwrap();
    agent.kill();
    let root = agent.root().join("containers").join(&id);
    fs::write(root.join("rootfs/go"), "").unwrap();
    wait_for("the end", || root.join("exit.json").exists()).await;
    let ended = std::time::SystemTime::now();
    agent.serve().await;
    assert_eq!(agent.wait(&id, Condition::NotRunning).await, 5);
    let until = std::time::SystemTime::now() + Duration::from_millis(300);
    let until = until.duration_since(std::time::UNIX_EPOCH).unwrap();
    let filter = |key: &str, value: &str| EventFilter {
        key: key.to_owned(),
        values: vec![value.to_owned()],
    };
    let request = EventsRequest {
        since_ns: 1,
        until_ns: until.as_nanos() as i64,
        filters: vec![filter("type", "container"), filter("label", "tier=front")],
    };
    let mut events = agent.system.events(request).await.unwrap().into_inner();
    let mut actions = Vec::new();
    // It ends by itself, at its time.
    while let Some(event) = within(events.message()).await.unwrap() {
        if event.action == "die" {
            let time = event.time.unwrap();
            let time = std::time::SystemTime::try_from(time).unwrap();
            assert!(time <= ended, "when it was, not when it was seen");
            assert_eq!(event.attributes["exitCode"], "5");
        }
        actions.push(event.action);
    }
    assert_eq!(actions, ["ready", "create", "start", "die"]);
    let request = EventsRequest {
        filters: vec![filter("colour", "red")],
        ..Default::default()
    };
    let error = agent.system.events(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_containers_start_at_once_and_none_fails() {
    if not_root("twenty_containers") {
        return;
    }
    let mut agent = Agent::start().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(agent.create("exit 0", |_| ()).await);
    }
    let begun = Instant::now();
    let starts: Vec<_> = ids
        .iter()
        .map(|id| {
            let (mut containers, id) = (agent.containers.clone(), id.clone());
            tokio::spawn(async move {
                let start = StartContainerRequest {
                    container: id.clone(),
                    bound_ports: Vec::new(),
                };
                containers.start(start).await.unwrap();
            })
        })
        .collect();
    for start in starts {
        within(start).await.unwrap();
    }
    for id in &ids {
        assert_eq!(agent.wait(id, Condition::NotRunning).await, 0);
    }
    eprintln!("20 containers started and ended in {:?}", begun.elapsed());
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", agent.pid()))
            .unwrap()
            .count()
    };
    wait_for("the descriptors to be given back", || descriptors() < 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_clear_error_and_heals_when_space_is_freed() {
    if not_root("a_full_disk") {
        return;
    }
    let mut agent = Agent::start_on(Some(12 << 20)).await;
    let ballast = agent.root().join("ballast");
    // All that is left, to the last byte.
    let mut file = fs::File::create(&ballast).unwrap();
    let filled = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    let spec = ContainerSpec {
        image: IMAGE.to_owned(),
        network: "none".to_owned(),
        ..Default::default()
    };
    let error = agent.try_create(spec.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{}", error.message());
    assert!(
        error.message().contains("no space left"),
        "{}",
        error.message()
    );
    let import = agent
        .import("more:latest", &support::root_file_system(), &[])
        .await;
    assert_eq!(import.unwrap_err().code, Code::ResourceExhausted as i32);
    assert!(list(&mut agent).await.is_empty());
    assert!(directories(&agent).is_empty());
    drop(file);
    fs::remove_file(ballast).unwrap();
    // The file system has the space back when its journal has been written,
    // which can be a moment later.
    let again = ContainerSpec {
        cmd: ["sh", "-c", "echo fine"].map(str::to_owned).to_vec(),
        ..spec
    };
    let id = within(async {
        loop {
            match agent.try_create(again.clone()).await {
                Ok(id) => return id,
                Err(error) => assert_eq!(error.code(), Code::ResourceExhausted),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    agent.run(&id).await.unwrap();
    assert_eq!(agent.wait(&id, Condition::NotRunning).await, 0);
    assert_eq!(agent.logs(&id, |_| ()).await, "fine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_removed_by_force_goes_with_the_last_of_its_containers() {
    if not_root("an_image_removed_by_force") {
        return;
    }
    let mut agent = Agent::start().await;
    let layers = agent.root().join("layers");
    let count = || fs::read_dir(&layers).unwrap().count();
    let id = agent
        .create(
            "test -e mark && exit 3; touch mark; exec sleep 1000",
            |_| (),
        )
        .await;
    agent.run(&id).await.unwrap();
    let image = inspect(&mut agent, &id).await.image_id;
    let error = remove_image(&mut agent, &image).await.unwrap_err();
    assert!(error.message().contains("cannot be forced"), "{error}");
    let mark = directories(&agent)[0].join("upper/mark");
    wait_for("the mark", || mark.exists()).await;
    kill(&mut agent, &id).await;
    let removed = remove_image(&mut agent, &image).await.unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted.len()), (1, 1));
    assert!(remove_image(&mut agent, &image).await.is_err());
    // The container starts again with its files, also after a restart of serve.
    agent.kill();
    agent.serve().await;
    agent.run(&id).await.unwrap();
    assert_eq!(agent.wait(&id, Condition::NotRunning).await, 3);
    assert_eq!(count(), 1);
    remove(&mut agent, &id, false).await.unwrap();
    assert_eq!(count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_many_files_is_whole_though_serve_is_killed() {
    const LINES: u32 = 700_000;
    if not_root("a_log_of_many_files") {
        return;
    }
    let mut agent = Agent::start().await;
    let script = format!("seq 1 {LINES}");
    let id = agent.create(&script, |_| ()).await;
    agent.run(&id).await.unwrap();
    let log = directories(&agent)[0].join("log.json");
    // Killed again and again while files are put aside.
    for age in 1..=2 {
        let aside = log.with_extension(format!("json.{age}"));
        wait_for("a file that is put aside", || aside.exists()).await;
        agent.kill();
        agent.serve().await;
    }
    let followed = agent.logs(&id, |logs| logs.follow = true).await;
    agent.wait(&id, Condition::NotRunning).await;
    let whole: String = (1..=LINES).map(|number| format!("{number}\n")).collect();
    assert!(followed == whole);
    assert!(agent.logs(&id, |_| ()).await == whole);
    let last = agent.logs(&id, |logs| logs.tail = Some(1)).await;
    assert_eq!(last, format!("{LINES}\n"));
}

async fn remove_image(agent: &mut Agent, name: &str) -> Result<RemoveImageResponse, tonic::Status> {
    let request = RemoveImageRequest {
        name: name.to_owned(),
        force: true,
    };
    let removed = within(agent.images.remove(request)).await?;
    Ok(removed.into_inner())
}

async fn kill(agent: &mut Agent, id: &str) {
    let request = KillContainerRequest {
        container: id.to_owned(),
        signal: "KILL".to_owned(),
    };
    agent.containers.kill(request).await.unwrap();
    agent.wait(id, Condition::NotRunning).await;
}

async fn exec(agent: &mut Agent, id: &str, command: &[&str], user: &str) -> support::Output {
    let request = CreateExecRequest {
        container: id.to_owned(),
        cmd: command.iter().map(|word| (*word).to_owned()).collect(),
        user: user.to_owned(),
        ..Default::default()
    };
    let made = agent
        .containers
        .create_exec(request)
        .await
        .unwrap()
        .into_inner()
        .exec;
    let (mut stream, reply) = agent
        .stream(Purpose::Exec(ExecStream {
            exec: made.clone(),
            detach: false,
        }))
        .await;
    assert_eq!(reply.error, "");
    let output = within(collect(&mut stream)).await;
    let exec = agent
        .containers
        .inspect_exec(InspectExecRequest { exec: made })
        .await;
    let exec = exec.unwrap().into_inner();
    assert!(exec.running || Some(exec.exit_code) == output.exit_code);
    output
}

async fn inspect(agent: &mut Agent, id: &str) -> Container {
    let request = InspectContainerRequest {
        container: id.to_owned(),
    };
    agent
        .containers
        .inspect(request)
        .await
        .unwrap()
        .into_inner()
}

async fn remove(agent: &mut Agent, id: &str, force: bool) -> Result<(), tonic::Status> {
    let request = RemoveContainerRequest {
        container: id.to_owned(),
        force,
        volumes: true,
    };
    within(agent.containers.remove(request)).await.map(drop)
}

async fn list(agent: &mut Agent) -> Vec<Container> {
    agent
        .containers
        .list(ListContainersRequest { all: true })
        .await
        .unwrap()
        .into_inner()
        .containers
}

fn directories(agent: &Agent) -> Vec<std::path::PathBuf> {
    fs::read_dir(agent.root().join("containers"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < support::DEADLINE,
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
