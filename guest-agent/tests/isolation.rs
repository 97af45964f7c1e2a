//! What containers share with the machine and each other, as the host sees it.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::time::Duration;

use support::{Agent, not_root, within};
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::*;

/// Runs a script to its end, and returns its exit code and output.
async fn output(
    agent: &mut Agent,
    script: &str,
    change: impl FnOnce(&mut ContainerSpec),
) -> (i32, String) {
    let id = agent.create(script, change).await;
    agent.run(&id).await.unwrap();
    let code = agent.wait(&id, Condition::NotRunning).await;
    (code, agent.logs(&id, |_| ()).await)
}

/// Waits until a container has written something.
async fn ready(agent: &Agent, id: &str) {
    within(async {
        while agent.logs(id, |_| ()).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_groups_and_devices_are_as_asked() {
    if not_root("settings") {
        return;
    }
    let mut agent = Agent::start().await;
    let script = "cat /proc/sys/kernel/msgmax; grep Groups /proc/self/status; \
                  ls -l /dev/nothing | tr -s ' ' | cut -d' ' -f5,6; \
                  grep /dev/shm /proc/mounts; ulimit -n; cat /proc/self/oom_score_adj";
    let (code, said) = output(&mut agent, script, |spec| {
        spec.sysctls
            .insert("kernel.msgmax".to_owned(), "1234".to_owned());
        spec.group_add = vec!["4321".to_owned()];
        spec.shm_size = 1 << 20;
        spec.oom_score_adj = 7;
        spec.devices = vec![Device {
            path: "/dev/null".to_owned(),
            target: "/dev/nothing".to_owned(),
            permissions: "rw".to_owned(),
        }];
        spec.ulimits = vec![Ulimit {
            name: "nofile".to_owned(),
            soft: 99,
            hard: 100,
        }];
    })
    .await;
    assert_eq!(code, 0);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "1234");
    assert!(lines[1].contains("4321"), "{said}");
    assert_eq!(lines[2], "1, 3", "{said}");
    assert!(lines[3].contains("size=1024k"), "{said}");
    assert_eq!(lines[4..], ["99", "7"], "{said}");
    let (_, said) = output(&mut agent, "grep -c /dev/shm /proc/mounts", |spec| {
        spec.ipc_mode = "none".to_owned();
    })
    .await;
    assert_eq!(said, "0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_shared_with_another_container() {
    if not_root("namespaces") {
        return;
    }
    let mut agent = Agent::start().await;
    let first = agent
        .create(
            "echo shared >/dev/shm/file; echo ready; exec sleep 7654",
            |spec| {
                spec.name = "first".to_owned();
                spec.ipc_mode = "shareable".to_owned();
            },
        )
        .await;
    let join = |spec: &mut ContainerSpec| {
        spec.pid_mode = "container:first".to_owned();
        spec.ipc_mode = "container:first".to_owned();
    };
    let early = agent.create("true", join).await;
    let error = agent.run(&early).await.unwrap_err();
    assert!(error.message().contains("non running container"), "{error}");
    agent.run(&first).await.unwrap();
    ready(&agent, &first).await;
    let script = "cat /dev/shm/file; cat /proc/1/cmdline | tr '\\0' ' '";
    let (code, said) = output(&mut agent, script, join).await;
    assert_eq!((code, said.as_str()), (0, "shared\nsleep 7654 "));
    let private = agent.create("sleep 1000", |_| ()).await;
    agent.run(&private).await.unwrap();
    let nosy = agent
        .create("true", |spec| {
            spec.ipc_mode = format!("container:{private}")
        })
        .await;
    let error = agent.run(&nosy).await.unwrap_err();
    assert!(error.message().contains("non-shareable"), "{error}");
}
