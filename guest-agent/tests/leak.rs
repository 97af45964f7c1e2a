//! Many containers, started and removed side by side, leave nothing behind.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::{Agent, IMAGE, not_root, within};
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::*;

const CONTAINERS: usize = 500;
const LANES: usize = 8;

/// What there is of each thing that could leak.
#[derive(Debug, PartialEq, Eq)]
struct Census {
    mounts: usize,
    devices: usize,
    cgroups: usize,
    descriptors: usize,
    processes: usize,
    files: Vec<PathBuf>,
}

/// `made` are the ids of the containers that were made so far.
fn census(agent: &Agent, made: &BTreeSet<String>) -> Census {
    let process = PathBuf::from(format!("/proc/{}", agent.pid()));
    let root = agent.root();
    let own = root.parent().unwrap().to_owned();
    let own_path = own
        .strip_prefix(format!("/proc/{}/root", agent.holder()))
        .unwrap();
    let own_path = own_path.display().to_string();
    let lines = |file: &str| fs::read_to_string(process.join(file)).unwrap();
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let of_ours = |entry: &fs::DirEntry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&own_path)
    };
    // Other agents may run beside this one; their cgroups have other names.
    let cgroups = process.join("root/sys/fs/cgroup/wherry-containers");
    let ours = |entry: &fs::DirEntry| made.contains(&*entry.file_name().to_string_lossy());
    let mut files = Vec::new();
    let mut pending = vec![root.clone(), own.join("run")];
    while let Some(directory) = pending.pop() {
        for entry in entries(directory) {
            files.push(entry.path());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    files.sort();
    Census {
        mounts: lines("mountinfo").lines().count(),
        devices: lines("net/dev").lines().count(),
        cgroups: entries(cgroups).filter(ours).count(),
        descriptors: entries(process.join("fd")).count(),
        processes: entries(PathBuf::from("/proc")).filter(of_ours).count(),
        files,
    }
}

/// Runs a container to its end and removes it; returns its id.
async fn one(
    mut containers: containers_client::ContainersClient<tonic::transport::Channel>,
    number: usize,
) -> String {
    let spec = ContainerSpec {
        image: IMAGE.to_owned(),
        cmd: ["sh", "-c", "echo $$ >/file"].map(str::to_owned).to_vec(),
        // With a network of its own kind for every second pair.
        network: if number % 4 < 2 { "bridge" } else { "none" }.to_owned(),
        mounts: vec![Mount {
            kind: mount::Kind::Volume.into(),
            target: "/data".to_owned(),
            ..Mount::default()
        }],
        // Both ways of going.
        auto_remove: number.is_multiple_of(2),
        ..ContainerSpec::default()
    };
    let auto_remove = spec.auto_remove;
    let request = CreateContainerRequest { spec: Some(spec) };
    let id = within(containers.create(request))
        .await
        .unwrap()
        .into_inner()
        .id;
    let wait = WaitContainerRequest {
        container: id.clone(),
        condition: if auto_remove {
            Condition::Removed
        } else {
            Condition::NextExit
        }
        .into(),
    };
    let mut waiting = containers.clone();
    let ended = tokio::spawn(async move { within(waiting.wait(wait)).await });
    let start = StartContainerRequest {
        container: id.clone(),
        bound_ports: Vec::new(),
    };
    within(containers.start(start)).await.unwrap();
    if auto_remove {
        // It may be gone before the wait arrives.
        let _ = ended.await.unwrap();
        return id;
    }
    let remove = RemoveContainerRequest {
        container: id.clone(),
        force: true,
        volumes: true,
    };
    within(containers.remove(remove)).await.unwrap();
    ended.abort();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_containers_leave_nothing_behind() {
    if not_root("five_hundred_containers") {
        return;
    }
    let agent = Agent::start_networked().await;
    let mut made = BTreeSet::new();
    // What the first ones make for good is there before.
    for number in 0..4 {
        made.insert(one(agent.containers.clone(), number).await);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = census(&agent, &made);
    assert_eq!(before.cgroups, 0);
    let begun = Instant::now();
    let lanes = (0..LANES).map(|lane| {
        let containers = agent.containers.clone();
        tokio::spawn(async move {
            let mut made = Vec::new();
            for number in (lane..CONTAINERS).step_by(LANES) {
                made.push(one(containers.clone(), number).await);
            }
            made
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        made.extend(lane.await.unwrap());
    }
    assert_eq!(made.len(), CONTAINERS + 4);
    eprintln!("{CONTAINERS} containers in {:?}", begun.elapsed());
    let begun = Instant::now();
    loop {
        let after = census(&agent, &made);
        if after == before {
            break;
        }
        assert!(begun.elapsed() < support::DEADLINE, "{before:?}\n{after:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut system = agent.system.clone();
    let checked = system.check(CheckRequest { repair: false }).await.unwrap();
    assert_eq!(checked.into_inner().findings, []);
}
