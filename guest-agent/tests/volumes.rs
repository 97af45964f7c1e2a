//! Volumes: made, shared, filled, refused and removed.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::fs;

use support::{Agent, IMAGE, not_root, root_file_system, within};
use tonic::{Code, Status};
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::*;

fn volume(source: &str, target: &str) -> Mount {
    Mount {
        kind: mount::Kind::Volume.into(),
        source: source.to_owned(),
        target: target.to_owned(),
        ..Default::default()
    }
}

async fn create(agent: &mut Agent, name: &str) -> Result<Volume, Status> {
    let request = CreateVolumeRequest {
        name: name.to_owned(),
        labels: [("of".to_owned(), "test".to_owned())].into(),
        ..Default::default()
    };
    Ok(within(agent.volumes.create(request)).await?.into_inner())
}

async fn names(agent: &mut Agent) -> Vec<String> {
    let request = ListVolumesRequest { sizes: false };
    let list = agent.volumes.list(request).await.unwrap().into_inner();
    list.volumes.into_iter().map(|volume| volume.name).collect()
}

async fn remove(agent: &mut Agent, name: &str, force: bool) -> Result<(), Status> {
    let request = RemoveVolumeRequest {
        name: name.to_owned(),
        force,
    };
    within(agent.volumes.remove(request)).await.map(drop)
}

async fn remove_container(agent: &mut Agent, id: &str, volumes: bool) {
    let request = RemoveContainerRequest {
        container: id.to_owned(),
        force: true,
        volumes,
    };
    within(agent.containers.remove(request)).await.unwrap();
}

/// Runs a container to its end and returns what it printed.
async fn output(
    agent: &mut Agent,
    script: &str,
    change: impl FnOnce(&mut ContainerSpec),
) -> String {
    let id = agent.create(script, change).await;
    agent.run(&id).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    let printed = agent.logs(&id, |_| ()).await;
    remove_container(agent, &id, false).await;
    printed
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_made_listed_and_removed() {
    if not_root("volumes_are_made") {
        return;
    }
    let mut agent = Agent::start().await;
    let data = create(&mut agent, "data").await.unwrap();
    assert_eq!((data.name.as_str(), &*data.labels["of"]), ("data", "test"));
    assert!(data.mountpoint.ends_with("volumes/data/_data"));
    // Again is no fault, and changes nothing.
    let again = create(&mut agent, "data").await.unwrap();
    assert_eq!(again, data);
    let anonymous = create(&mut agent, "").await.unwrap();
    assert_eq!(anonymous.name.len(), 64);
    assert!(anonymous.labels.contains_key("com.docker.volume.anonymous"));
    for (name, words) in [
        ("a", "too short"),
        (
            "a/b",
            "\"a/b\" includes invalid characters for a local volume name",
        ),
        ("..", "includes invalid characters"),
        (&*"a".repeat(256), "longer than 255"),
    ] {
        let error = create(&mut agent, name).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(words), "{}", error.message());
    }
    // They outlive the agent.
    agent.kill();
    agent.serve().await;
    let mut expected = vec!["data".to_owned(), anonymous.name.clone()];
    expected.sort();
    assert_eq!(names(&mut agent).await, expected);
    let inspected = agent
        .volumes
        .inspect(InspectVolumeRequest {
            name: "data".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(inspected, data);
    remove(&mut agent, "data", false).await.unwrap();
    let error = remove(&mut agent, "data", false).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::NotFound, "get data: no such volume")
    );
    remove(&mut agent, "data", true).await.unwrap();
    assert_eq!(names(&mut agent).await, [anonymous.name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_in_use_is_not_removed_and_the_containers_are_named() {
    if not_root("a_volume_in_use") {
        return;
    }
    let mut agent = Agent::start().await;
    let mounted = |spec: &mut ContainerSpec| spec.mounts = vec![volume("data", "/v")];
    let one = agent.create("true", mounted).await;
    let other = agent.create("true", mounted).await;
    for force in [false, true] {
        let error = remove(&mut agent, "data", force).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition);
        let message = error.message();
        assert!(
            message.starts_with("remove data: volume is in use - [")
                && message.contains(&one)
                && message.contains(&other),
            "{message}"
        );
    }
    let prune = PruneVolumesRequest {
        all: true,
        ..Default::default()
    };
    let pruned = agent.volumes.prune(prune).await.unwrap().into_inner();
    assert!(pruned.removed.is_empty());
    remove_container(&mut agent, &one, true).await;
    remove_container(&mut agent, &other, true).await;
    // A named one outlives its containers even with -v.
    remove(&mut agent, "data", false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_images_volumes_are_anonymous_and_go_with_their_container() {
    if not_root("an_images_volumes") {
        return;
    }
    let mut agent = Agent::start().await;
    let tar = root_file_system();
    agent
        .import("kept:1", &tar, &["VOLUME /data", "CMD [\"sh\"]"])
        .await
        .unwrap();
    let of_image = |spec: &mut ContainerSpec| spec.image = "kept:1".to_owned();
    let id = agent.create("cat /data/seed", of_image).await;
    agent.run(&id).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    // It was filled with what the image has there.
    assert_eq!(agent.logs(&id, |_| ()).await, "from the image");
    let inspect = InspectContainerRequest {
        container: id.clone(),
    };
    let container = agent
        .containers
        .inspect(inspect)
        .await
        .unwrap()
        .into_inner();
    let [made] = &names(&mut agent).await[..] else {
        panic!("one volume");
    };
    assert_eq!(
        (&container.mounts[0].name, &*container.mounts[0].target),
        (made, "/data")
    );
    remove_container(&mut agent, &id, false).await;
    assert_eq!(names(&mut agent).await.len(), 1);
    // Without its container, prune takes it and tells its size.
    let pruned = agent.volumes.prune(PruneVolumesRequest::default()).await;
    let pruned = pruned.unwrap().into_inner();
    assert_eq!((pruned.removed.len(), pruned.reclaimed), (1, 14));
    let id = agent.create("true", of_image).await;
    remove_container(&mut agent, &id, true).await;
    assert!(names(&mut agent).await.is_empty());
    let id = agent
        .create("true", |spec| {
            of_image(spec);
            spec.auto_remove = true;
        })
        .await;
    let request = WaitContainerRequest {
        container: id.clone(),
        condition: Condition::Removed.into(),
    };
    let mut waiting = agent.containers.clone();
    let waiting = tokio::spawn(async move { within(waiting.wait(request)).await });
    agent.run(&id).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(names(&mut agent).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_takes_by_kind_and_label() {
    if not_root("prune_takes") {
        return;
    }
    let mut agent = Agent::start().await;
    create(&mut agent, "named").await.unwrap();
    create(&mut agent, "").await.unwrap();
    fs::write(agent.root().join("volumes/named/_data/file"), "12345").unwrap();
    let prune = |all, label: &str, without: &str| PruneVolumesRequest {
        all,
        labels: [label.to_owned()]
            .into_iter()
            .filter(|l| !l.is_empty())
            .collect(),
        without_labels: [without.to_owned()]
            .into_iter()
            .filter(|l| !l.is_empty())
            .collect(),
    };
    for (request, removed) in [
        (prune(false, "of=other", ""), 0),
        (prune(false, "", "of"), 0),
        (prune(false, "of=test", ""), 1),
        (prune(false, "", ""), 0),
    ] {
        let pruned = agent.volumes.prune(request).await.unwrap().into_inner();
        assert_eq!(pruned.removed.len(), removed);
    }
    let pruned = agent.volumes.prune(prune(true, "of", "")).await.unwrap();
    let pruned = pruned.into_inner();
    assert_eq!(
        (pruned.removed, pruned.reclaimed),
        (vec!["named".to_owned()], 5)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_mounts_what_another_one_mounts() {
    if not_root("a_container_mounts_what") {
        return;
    }
    let mut agent = Agent::start().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "host").unwrap();
    let bind = Mount {
        kind: mount::Kind::Bind.into(),
        source: folder.path().canonicalize().unwrap().display().to_string(),
        target: "/bound".to_owned(),
        read_only: true,
        ..Default::default()
    };
    let script = "echo kept >/v/file; echo anonymous >/w/file";
    let first = agent
        .create(script, |spec| {
            spec.name = "first".to_owned();
            spec.mounts = vec![volume("data", "/v"), volume("", "/w"), bind];
        })
        .await;
    agent.run(&first).await.unwrap();
    agent.wait(&first, Condition::NotRunning).await;
    let from = |spec: &mut ContainerSpec, wanted: &str| spec.volumes_from = vec![wanted.to_owned()];
    let script = "cat /v/file /w/file /bound/file; echo x >/v/new || echo read-only";
    let printed = output(&mut agent, script, |spec| from(spec, "first:ro")).await;
    assert!(
        printed.starts_with("kept\nanonymous\nhost") && printed.ends_with("read-only\n"),
        "{printed}"
    );
    // What is asked for stands before it; the rest can be written.
    let script = "cat /v/seed; echo x >/w/new && cat /w/new";
    let printed = output(&mut agent, script, |spec| {
        from(spec, &first[..12]);
        spec.mounts = vec![volume("other", "/v")];
        spec.cmd[2] = script.to_owned();
    })
    .await;
    assert!(printed.ends_with("x\n"), "{printed}");
    // The anonymous volume stays as long as a container has it.
    let second = agent.create("true", |spec| from(spec, "first")).await;
    remove_container(&mut agent, &first, true).await;
    assert_eq!(names(&mut agent).await.len(), 3);
    remove_container(&mut agent, &second, true).await;
    assert_eq!(names(&mut agent).await, ["data", "other"]);
    for (wanted, code, words) in [
        ("nobody", Code::NotFound, "No such container: nobody"),
        ("first:rx", Code::InvalidArgument, "invalid mode: rx"),
    ] {
        let spec = ContainerSpec {
            image: IMAGE.to_owned(),
            volumes_from: vec![wanted.to_owned()],
            ..Default::default()
        };
        let error = agent.try_create(spec).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (code, words));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_may_leave_the_volume_empty_and_size_its_tmpfs() {
    if not_root("a_mount_may") {
        return;
    }
    let mut agent = Agent::start().await;
    let empty = Mount {
        no_copy: true,
        volume_labels: [("a".to_owned(), "b".to_owned())].into(),
        ..volume("empty", "/data")
    };
    let memory = Mount {
        kind: mount::Kind::Tmpfs.into(),
        target: "/memory".to_owned(),
        tmpfs_size: 1 << 20,
        tmpfs_mode: 0o750,
        ..Default::default()
    };
    let script =
        "ls /data | wc -l; ls -ld /memory; dd if=/dev/zero of=/memory/f bs=1M count=2 2>&1 | cat";
    let printed = output(&mut agent, script, |spec| spec.mounts = vec![empty, memory]).await;
    assert!(printed.starts_with("0\ndrwxr-x---"), "{printed}");
    assert!(printed.contains("No space left"), "{printed}");
    let list = agent.volumes.list(ListVolumesRequest { sizes: true }).await;
    let list = list.unwrap().into_inner().volumes;
    assert_eq!((&*list[0].labels["a"], list[0].size), ("b", Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn options_put_a_folder_or_memory_behind_a_volume() {
    if not_root("options_put") {
        return;
    }
    let mut agent = Agent::start().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("there"), "of the host").unwrap();
    let make = async |agent: &mut Agent, name: &str, options: &[(&str, &str)], source: &str| {
        let options = options.iter();
        let request = CreateVolumeRequest {
            name: name.to_owned(),
            options: options
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            bind_source: source.to_owned(),
            ..Default::default()
        };
        within(agent.volumes.create(request)).await
    };
    let path = folder.path().to_str().unwrap();
    let bind = [("type", "none"), ("o", "bind"), ("device", path)];
    let made = make(&mut agent, "bound", &bind, path)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(made.options["device"], path);
    let memory = [
        ("type", "tmpfs"),
        ("device", "tmpfs"),
        ("o", "size=1m,mode=700"),
    ];
    make(&mut agent, "memory", &memory, "").await.unwrap();
    for (options, code) in [
        (
            &[("type", "nfs"), ("o", "addr=h"), ("device", ":/x")][..],
            Code::Unimplemented,
        ),
        (&[("type", "none"), ("device", path)], Code::InvalidArgument),
    ] {
        let error = make(&mut agent, "none", options, "").await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }

    let both = |spec: &mut ContainerSpec| {
        spec.mounts = vec![volume("bound", "/b"), volume("memory", "/m")];
    };
    let script =
        "cat /b/there; echo x > /b/made; echo y > /m/kept; stat -c %a /m; grep ' /m ' /proc/mounts";
    let seen = output(&mut agent, script, both).await;
    assert!(seen.starts_with("of the host700\ntmpfs"), "{seen}");
    assert_eq!(fs::read(folder.path().join("made")).unwrap(), b"x\n");
    // Whoever mounts it next shares it, by another agent too.
    agent.kill();
    agent.serve().await;
    assert_eq!(output(&mut agent, "cat /m/kept", both).await, "y\n");
    for name in ["bound", "memory"] {
        remove(&mut agent, name, false).await.unwrap();
    }
    assert!(folder.path().join("there").exists());
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", agent.holder())).unwrap();
    assert!(!mounts.contains("volumes/memory"), "{mounts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_in_a_volume_is_mounted_alone() {
    if not_root("a_path_in_a_volume") {
        return;
    }
    let mut agent = Agent::start().await;
    let whole = |spec: &mut ContainerSpec| spec.mounts = vec![volume("data", "/v")];
    let script = "mkdir -p /v/a/b; echo deep > /v/a/b/file; ln -s /etc /v/out";
    output(&mut agent, script, whole).await;
    let of = |subpath: &'static str| {
        move |spec: &mut ContainerSpec| {
            let mut mount = volume("data", "/sub");
            mount.volume_subpath = subpath.to_owned();
            spec.mounts = vec![mount];
        }
    };
    assert_eq!(
        output(&mut agent, "cat /sub/file", of("a/b")).await,
        "deep\n"
    );
    for missing in ["a/none", "../..", "out"] {
        let id = agent.create("true", of(missing)).await;
        let error = agent.run(&id).await.unwrap_err();
        assert!(
            error.message().contains("cannot access path"),
            "{missing}: {error}"
        );
        remove_container(&mut agent, &id, false).await;
    }
}
