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

fn tmpfs(target: &str, options: &str) -> Mount {
    Mount {
        kind: mount::Kind::Tmpfs.into(),
        target: target.to_owned(),
        tmpfs_options: options.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tmpfs_is_mounted_as_its_options_say() {
    if not_root("a_tmpfs_is") {
        return;
    }
    let mut agent = Agent::start().await;
    let script = "grep ' /[abcd] ' /proc/mounts | cut -d' ' -f2,4; stat -c '%a %u:%g' /a /b; \
                  cp /bin/busybox /a/true; cp /bin/busybox /b/true; \
                  /a/true && echo a; /b/true && echo b; \
                  touch /c/f 2>/dev/null || echo c; stat -c %a /tmp /d";
    let (_, said) = output(&mut agent, script, |spec| {
        spec.mounts = vec![
            tmpfs("/a", ""),
            tmpfs("/b", "size=4m,mode=750,uid=5,gid=6,exec,dev,suid"),
            tmpfs("/c", "rw,ro"),
            tmpfs("/d", "nr_inodes=100,mode=1700,exec,noexec"),
            tmpfs("/tmp", ""),
        ];
    })
    .await;
    let options = |target: &str| {
        let line = said.lines().find(|line| line.starts_with(target)).unwrap();
        line.split([' ', ','])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let has = |target: &str, option: &str| options(target).iter().any(|one| one == option);
    for option in ["rw", "noexec", "nosuid", "nodev"] {
        assert!(has("/a", option), "{said}");
    }
    assert!(has("/b", "size=4096k") && has("/b", "uid=5"), "{said}");
    for option in ["noexec", "nosuid", "nodev"] {
        assert!(!has("/b", option), "{said}");
    }
    assert!(has("/c", "ro") && has("/c", "noexec"), "{said}");
    assert!(has("/d", "nr_inodes=100") && has("/d", "noexec"), "{said}");
    let rest: Vec<_> = said.lines().filter(|line| !line.starts_with('/')).collect();
    let rest: Vec<_> = rest
        .into_iter()
        .filter(|line| !line.contains("denied"))
        .collect();
    // What is below /tmp in the image says its permissions.
    assert_eq!(
        rest,
        ["1777 0:0", "750 5:6", "b", "c", "755", "1700"],
        "{said}"
    );
    let error = agent
        .try_create(ContainerSpec {
            image: support::IMAGE.to_owned(),
            mounts: vec![tmpfs("/a", "shiny")],
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert!(
        error
            .message()
            .starts_with("Invalid tmpfs option \"shiny\""),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_has_a_domain_and_the_machines_cgroups_where_asked() {
    if not_root("a_container_has_a_domain") {
        return;
    }
    let mut agent = Agent::start().await;
    let script = "cat /proc/sys/kernel/domainname /proc/self/cgroup";
    for (mode, cgroup) in [("", "0::/\n"), ("host", "0::/wherry-containers/")] {
        let (_, said) = output(&mut agent, script, |spec| {
            spec.domainname = "example.org".to_owned();
            spec.cgroupns_mode = mode.to_owned();
        })
        .await;
        assert_eq!(said.lines().next(), Some("example.org"), "{said}");
        assert!(said.contains(cgroup), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_kept_as_far_as_was_asked() {
    if not_root("a_log_is_kept") {
        return;
    }
    let mut agent = Agent::start().await;
    let log = |driver: &str, options: &[(&str, &str)]| {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Some(LogConfig {
            driver: driver.to_owned(),
            options: options.iter().map(text).collect(),
        })
    };
    let options = [("max-size", "2k"), ("max-file", "3")];
    let script = "for n in $(seq 200); do echo line $n; done";
    let (_, said) = output(&mut agent, script, |spec| {
        spec.log = log("json-file", &options);
    })
    .await;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.last(), Some(&"line 200"));
    assert!((40..160).contains(&lines.len()), "{}", lines.len());

    let id = agent
        .create("echo unkept", |spec| spec.log = log("none", &[]))
        .await;
    let mut stream = agent.attach(&id).await;
    agent.run(&id).await.unwrap();
    let heard = support::collect(&mut stream).await;
    assert_eq!(String::from_utf8_lossy(&heard.stdout), "unkept\n");
    let request = LogsStream {
        container: id,
        stdout: true,
        ..Default::default()
    };
    let (_, reply) = agent.stream(stream_header::Purpose::Logs(request)).await;
    assert!(
        reply.error.contains("does not support reading"),
        "{reply:?}"
    );
}
