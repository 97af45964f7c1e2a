//! `system check`: what it finds, what it mends, and that it finds nothing
//! where nothing is wrong.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Agent, not_root, within};
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::*;

async fn check(agent: &mut Agent, repair: bool) -> CheckResponse {
    let checked = within(agent.system.check(CheckRequest { repair })).await;
    checked.unwrap().into_inner()
}

fn only(directory: &Path) -> PathBuf {
    let entries: Vec<_> = fs::read_dir(directory).unwrap().flatten().collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].path()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_engine_has_no_findings() {
    if not_root("a_sound_engine") {
        return;
    }
    let mut agent = Agent::start().await;
    let mount = Mount {
        kind: mount::Kind::Volume.into(),
        source: "data".to_owned(),
        target: "/data".to_owned(),
        ..Default::default()
    };
    let ended = agent
        .create("true", |spec| spec.mounts = vec![mount.clone()])
        .await;
    agent.run(&ended).await.unwrap();
    agent.wait(&ended, Condition::NotRunning).await;
    let running = agent
        .create("sleep 1000", |spec| spec.mounts = vec![mount])
        .await;
    agent.run(&running).await.unwrap();
    agent.create("true", |_| ()).await;
    let response = check(&mut agent, false).await;
    assert!(response.findings.is_empty(), "{:?}", response.findings);
    assert_eq!(
        (
            response.images,
            response.layers,
            response.containers,
            response.volumes
        ),
        (1, 1, 3, 1)
    );
    let usage = agent.system.disk_usage(DiskUsageRequest {}).await.unwrap();
    let usage = usage.into_inner();
    assert_eq!((usage.images.len(), usage.images[0].containers), (1, 3));
    assert_eq!(usage.images[0].unique, usage.layers);
    assert_eq!(usage.volumes[0].size, Some(14));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_and_not_hidden_by_a_repair() {
    if not_root("damage_is_found") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent.create("true", |_| ()).await;
    let root = agent.root();
    let layer = only(&root.join("layers"));
    // As a write that never reached the disk.
    fs::write(layer.join("etc/passwd"), "").unwrap();
    let blob = fs::read_dir(root.join("blobs/sha256")).unwrap().next();
    let blob = blob.unwrap().unwrap().path();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[10] ^= 1;
    fs::write(&blob, bytes).unwrap();
    for repair in [false, true] {
        let response = check(&mut agent, repair).await;
        let kinds: Vec<_> = response.findings.iter().map(|f| &*f.kind).collect();
        assert_eq!(kinds, ["blob", "layer"], "{:?}", response.findings);
        assert!(
            response
                .findings
                .iter()
                .all(|f| !f.repairable && !f.repaired)
        );
        assert!(
            response.findings[1].problem.contains("bytes where"),
            "{:?}",
            response.findings
        );
    }
    // A record that is gone is written anew.
    fs::remove_file(root.join("containers").join(&id).join("container.json")).unwrap();
    let findings = check(&mut agent, true).await.findings;
    let container = findings.iter().find(|f| f.kind == "container").unwrap();
    assert!(container.repaired && container.subject == id);
    assert!(
        !check(&mut agent, false)
            .await
            .findings
            .iter()
            .any(|f| f.kind == "container")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn debris_is_found_and_removed() {
    if not_root("debris_is_found") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent.create("true", |_| ()).await;
    let root = agent.root();
    let nobody = "ef".repeat(32);
    fs::create_dir(root.join("layers").join(&nobody)).unwrap();
    fs::write(root.join("layers").join(&nobody).join("file"), "x").unwrap();
    fs::write(root.join("blobs/sha256").join(&nobody), "x").unwrap();
    fs::create_dir_all(root.join("containers").join(&nobody).join("upper/a")).unwrap();
    fs::create_dir(root.join("volumes/empty")).unwrap();
    let run = root.parent().unwrap().join("run");
    fs::create_dir_all(run.join("shims").join(&nobody[..32])).unwrap();
    fs::create_dir_all(run.join("shims").join(&id[..32])).unwrap();
    fs::create_dir_all(run.join("netns")).unwrap();
    fs::write(run.join("netns").join(&nobody), "").unwrap();
    let kinds = |response: &CheckResponse| {
        let kinds = response.findings.iter().map(|f| f.kind.clone());
        let mut kinds: Vec<_> = kinds.collect();
        kinds.sort();
        kinds
    };
    let all = [
        "blob",
        "container",
        "container",
        "container",
        "layer",
        "network",
        "volume",
    ];
    let found = check(&mut agent, false).await;
    assert_eq!(kinds(&found), all, "{:?}", found.findings);
    assert!(found.findings.iter().all(|f| !f.repaired));
    let repaired = check(&mut agent, true).await;
    assert_eq!(kinds(&repaired), all);
    for finding in &repaired.findings {
        assert_eq!(finding.repaired, finding.repairable, "{finding:?}");
    }
    // A volume may hold what somebody wants: it is left to the user.
    let left = check(&mut agent, false).await;
    assert_eq!(kinds(&left), ["volume"], "{:?}", left.findings);
}
