//! Health checks, as the host sees them.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::fs;
use std::time::Duration;

use support::{Agent, not_root, within};
use wherry_proto::v1::*;

const MILLISECOND: u64 = 1_000_000;

fn check(script: &str) -> HealthCheck {
    HealthCheck {
        test: vec!["CMD-SHELL".to_owned(), script.to_owned()],
        interval_ns: 50 * MILLISECOND,
        timeout_ns: 5000 * MILLISECOND,
        retries: 2,
        ..Default::default()
    }
}

/// Waits until a container's health is as wanted.
async fn until(agent: &mut Agent, id: &str, wanted: impl Fn(&Health) -> bool) -> Health {
    let request = InspectContainerRequest {
        container: id.to_owned(),
    };
    within(async {
        loop {
            let found = agent.containers.inspect(request.clone()).await.unwrap();
            let health = found.into_inner().health.unwrap();
            if wanted(&health) {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_checks_and_the_agent_may_die() {
    if not_root("health_follows") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("sleep 1000", |spec| {
            spec.health_check = Some(check("echo looked; [ -e /good ]"));
        })
        .await;
    agent.run(&id).await.unwrap();
    let sick = until(&mut agent, &id, |health| health.status == "unhealthy").await;
    assert!(sick.failing_streak >= 2);
    assert_eq!(sick.log[0].output, "looked\n");
    assert_eq!(sick.log[0].exit_code, 1);
    let root = agent.root().join("containers").join(&id).join("rootfs");
    fs::write(root.join("good"), "").unwrap();
    until(&mut agent, &id, |health| health.status == "healthy").await;
    let full = until(&mut agent, &id, |health| health.log.len() == 5).await;
    assert!(full.log.is_sorted_by_key(|result| {
        let start = result.start.unwrap();
        (start.seconds, start.nanos)
    }));
    agent.kill();
    agent.serve().await;
    let known = until(&mut agent, &id, |_| true).await;
    assert_eq!((known.status.as_str(), known.log.len()), ("healthy", 5));
    fs::remove_file(root.join("good")).unwrap();
    until(&mut agent, &id, |health| health.status == "unhealthy").await;
    let request = EventsRequest {
        since_ns: 1,
        until_ns: 2_000_000_000 * 1_000_000_000,
        filters: vec![EventFilter {
            key: "event".to_owned(),
            values: vec!["health_status".to_owned()],
        }],
    };
    let mut events = agent.system.events(request).await.unwrap().into_inner();
    let mut actions = Vec::new();
    while actions.len() < 4 {
        actions.push(within(events.message()).await.unwrap().unwrap().action);
    }
    assert_eq!(
        actions[1..],
        ["unhealthy", "healthy", "unhealthy"].map(|word| format!("health_status: {word}"))
    );
    let stop = StopContainerRequest {
        container: id.clone(),
        timeout_seconds: Some(0),
        ..Default::default()
    };
    within(agent.containers.stop(stop)).await.unwrap();
    agent.run(&id).await.unwrap();
    let anew = until(&mut agent, &id, |_| true).await;
    assert_eq!(anew.failing_streak, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_hangs_is_ended_and_one_that_cannot_run_is_told() {
    if not_root("a_check_that_hangs") {
        return;
    }
    let mut agent = Agent::start().await;
    let hangs = agent
        .create("sleep 1000", |spec| {
            spec.health_check = Some(HealthCheck {
                timeout_ns: 200 * MILLISECOND,
                ..check("exec sleep 7777")
            });
        })
        .await;
    let missing = agent
        .create("sleep 1000", |spec| {
            spec.health_check = Some(HealthCheck {
                test: vec!["CMD".to_owned(), "missing".to_owned()],
                ..check("")
            });
        })
        .await;
    agent.run(&hangs).await.unwrap();
    agent.run(&missing).await.unwrap();
    let sick = until(&mut agent, &hangs, |health| health.status == "unhealthy").await;
    assert_eq!(sick.log[0].exit_code, -1);
    assert_eq!(sick.log[0].output, "Health check exceeded timeout (200ms)");
    let sick = until(&mut agent, &missing, |health| health.status == "unhealthy").await;
    assert!(sick.log[0].output.contains("\"missing\""), "{sick:?}");
    // None of those that were ended is left.
    let top = TopRequest {
        container: hangs.clone(),
        arguments: vec!["-o".to_owned(), "args".to_owned()],
    };
    let pause = PauseContainerRequest { container: hangs };
    within(async {
        loop {
            let listed = agent.containers.top(top.clone()).await.unwrap();
            if listed.into_inner().processes.len() <= 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    within(agent.containers.pause(pause)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_checks_leave_no_descriptor_open() {
    if not_root("many_checks") {
        return;
    }
    let mut agent = Agent::start().await;
    let descriptors = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let id = agent
        .create("sleep 1000", |spec| {
            spec.health_check = Some(HealthCheck {
                interval_ns: MILLISECOND,
                ..check("exit 1")
            });
        })
        .await;
    agent.run(&id).await.unwrap();
    until(&mut agent, &id, |health| health.failing_streak > 3).await;
    let before = descriptors(agent.pid());
    until(&mut agent, &id, |health| health.failing_streak > 40).await;
    let after = descriptors(agent.pid());
    assert!(after <= before + 4, "{before} became {after}");
}
