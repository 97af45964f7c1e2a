//! Restart policies, as the host sees them.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::time::Duration;

use support::{Agent, not_root, within};
use tonic::Code;
use wherry_proto::v1::container::Status;
use wherry_proto::v1::*;

async fn inspect(agent: &mut Agent, id: &str) -> Container {
    let request = InspectContainerRequest {
        container: id.to_owned(),
    };
    let found = within(agent.containers.inspect(request)).await;
    found.unwrap().into_inner()
}

/// Waits until a container is as wanted.
async fn until(agent: &mut Agent, id: &str, wanted: impl Fn(&Container) -> bool) -> Container {
    within(async {
        loop {
            let found = inspect(agent, id).await;
            if wanted(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

async fn stop(agent: &mut Agent, id: &str) {
    let request = StopContainerRequest {
        container: id.to_owned(),
        timeout_seconds: Some(0),
        ..Default::default()
    };
    within(agent.containers.stop(request)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_retried_so_often_and_with_growing_pauses() {
    if not_root("a_failure_is_retried") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("date +%s.%N >>/times; exit 3", |spec| {
            spec.restart_policy = "on-failure".to_owned();
            spec.restart_retries = 3;
        })
        .await;
    let begun = std::time::Instant::now();
    agent.run(&id).await.unwrap();
    let ended = until(&mut agent, &id, |found| found.status() == Status::Exited).await;
    // 100, 200 and 400 ms of pauses.
    assert!(begun.elapsed() >= Duration::from_millis(700));
    assert_eq!((ended.restart_count, ended.exit_code), (3, 3));
    // Started by hand it counts anew.
    agent.run(&id).await.unwrap();
    let ended = until(&mut agent, &id, |found| {
        found.status() == Status::Exited && found.restart_count == 3
    })
    .await;
    assert_eq!(ended.exit_code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_is_no_failure() {
    if not_root("a_success") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("exit 0", |spec| {
            spec.restart_policy = "on-failure".to_owned();
        })
        .await;
    agent.run(&id).await.unwrap();
    let ended = until(&mut agent, &id, |found| found.status() != Status::Running).await;
    assert_eq!((ended.status(), ended.restart_count), (Status::Exited, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_waits_for_its_restart_can_be_stopped_and_removed() {
    if not_root("a_container_that_waits") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("exit 1", |spec| spec.restart_policy = "always".to_owned())
        .await;
    agent.run(&id).await.unwrap();
    let waits = |found: &Container| {
        // A pause long enough for what follows.
        found.status() == Status::Restarting && found.restart_count >= 4
    };
    until(&mut agent, &id, waits).await;
    let exec = CreateExecRequest {
        container: id.clone(),
        cmd: vec!["true".to_owned()],
        ..Default::default()
    };
    let error = agent.containers.create_exec(exec).await.unwrap_err();
    assert!(error.message().contains("is restarting, wait"), "{error}");
    let remove = |force| RemoveContainerRequest {
        container: id.clone(),
        force,
        volumes: false,
    };
    let error = agent.containers.remove(remove(false)).await.unwrap_err();
    assert!(error.message().contains("is restarting: stop"), "{error}");
    stop(&mut agent, &id).await;
    let stopped = inspect(&mut agent, &id).await;
    assert_eq!(stopped.status(), Status::Exited);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(inspect(&mut agent, &id).await, stopped);
    agent.run(&id).await.unwrap();
    until(&mut agent, &id, waits).await;
    agent.containers.remove(remove(true)).await.unwrap();
    let request = InspectContainerRequest { container: id };
    let error = agent.containers.inspect(request).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_was_due_when_the_agent_died_comes_with_the_next_one() {
    if not_root("a_restart_that_was_due") {
        return;
    }
    let mut agent = Agent::start().await;
    let waiting = agent
        .create("exit 1", |spec| spec.restart_policy = "always".to_owned())
        .await;
    let ending = agent
        .create(
            "while [ ! -e /go ]; do sleep 0.02; done; rm /go; exit 5",
            |spec| {
                spec.restart_policy = "on-failure".to_owned();
            },
        )
        .await;
    let stopped = agent
        .create("sleep 1000", |spec| {
            spec.restart_policy = "always".to_owned()
        })
        .await;
    for id in [&waiting, &ending, &stopped] {
        agent.run(id).await.unwrap();
    }
    stop(&mut agent, &stopped).await;
    let before = until(&mut agent, &waiting, |found| {
        found.status() == Status::Restarting && found.restart_count >= 3
    })
    .await;
    agent.kill();
    // Ends while no agent is there to see it.
    let root = agent.root().join("containers").join(&ending).join("rootfs");
    std::fs::write(root.join("go"), "").unwrap();
    within(async {
        while root.join("go").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    agent.serve().await;
    until(&mut agent, &waiting, |found| {
        found.restart_count > before.restart_count
    })
    .await;
    until(&mut agent, &ending, |found| {
        found.status() == Status::Running && found.restart_count == 1
    })
    .await;
    // The agent's death is no restart of the machine.
    assert_eq!(inspect(&mut agent, &stopped).await.status(), Status::Exited);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_apply_when_the_machine_starts() {
    if not_root("policies_apply") {
        return;
    }
    let mut agent = Agent::start().await;
    let mut ids = Vec::new();
    for policy in [
        "no",
        "always",
        "always",
        "unless-stopped",
        "unless-stopped",
        "on-failure",
    ] {
        let id = agent
            .create("sleep 1000", |spec| spec.restart_policy = policy.to_owned())
            .await;
        agent.run(&id).await.unwrap();
        ids.push(id);
    }
    let never = agent
        .create("sleep 1000", |spec| {
            spec.restart_policy = "always".to_owned()
        })
        .await;
    let dependant = agent
        .create("sleep 1000", |spec| {
            spec.restart_policy = "always".to_owned();
            spec.network = format!("container:{}", ids[1]);
        })
        .await;
    agent.run(&dependant).await.unwrap();
    // One of each policy was stopped by someone.
    for id in [&ids[2], &ids[4]] {
        stop(&mut agent, id).await;
    }
    let cut_off = inspect(&mut agent, &ids[1]).await.pid;
    agent.cut_power();
    agent.serve().await;
    until(&mut agent, &dependant, |found| {
        found.status() == Status::Running
    })
    .await;
    for (id, status) in ids.iter().zip([
        Status::Exited,
        Status::Running,
        Status::Running,
        Status::Running,
        Status::Exited,
        // Its end was no success.
        Status::Running,
    ]) {
        let found = until(&mut agent, id, |found| found.status() == status).await;
        assert_ne!(found.pid, cut_off);
    }
    assert_eq!(inspect(&mut agent, &never).await.status(), Status::Created);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_can_be_changed_and_a_wrong_one_is_refused() {
    if not_root("a_policy_can_be_changed") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent.create("sleep 0.5; exit 1", |_| ()).await;
    agent.run(&id).await.unwrap();
    let update = |policy: &str, retries| UpdateContainerRequest {
        container: id.clone(),
        restart_policy: Some(policy.to_owned()),
        restart_retries: retries,
        ..Default::default()
    };
    let error = agent.containers.update(update("x", 0)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    agent
        .containers
        .update(update("on-failure", 1))
        .await
        .unwrap();
    let ended = until(&mut agent, &id, |found| found.status() == Status::Exited).await;
    assert_eq!(ended.restart_count, 1);
    let spec = ContainerSpec {
        image: support::IMAGE.to_owned(),
        auto_remove: true,
        restart_policy: "always".to_owned(),
        ..Default::default()
    };
    let error = agent.try_create(spec).await.unwrap_err();
    assert!(error.message().contains("AutoRemove"), "{error}");
}
