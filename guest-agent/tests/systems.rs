//! Whole systems: a Debian with systemd, made by `mmdebstrap`.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::{Agent, collect, not_root, within};
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::*;

const TAG: &str = "debian-systemd:latest";

/// Returns the root file system, made once and kept beside what cargo builds;
/// `None`, loudly, where it cannot be made.
fn debian() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-systemd.tar");
    if path.exists() {
        return Some(path);
    }
    let new = path.with_extension("new.tar");
    let made = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--include=systemd,systemd-sysv,dbus"])
        .args(["--quiet", "bookworm"])
        .arg(&new)
        .status();
    match made {
        Ok(status) if status.success() => {
            std::fs::rename(new, &path).unwrap();
            Some(path)
        }
        other => {
            eprintln!("SKIPPED whole systems: mmdebstrap made no Debian: {other:?}");
            None
        }
    }
}

/// Runs a command in a container, and returns its exit code and output.
async fn exec(agent: &mut Agent, id: &str, command: &str) -> (Option<i32>, String) {
    let request = CreateExecRequest {
        container: id.to_owned(),
        cmd: ["sh", "-c", command].map(str::to_owned).to_vec(),
        ..Default::default()
    };
    let exec = agent.containers.create_exec(request).await.unwrap();
    let exec = exec.into_inner().exec;
    let purpose = Purpose::Exec(ExecStream {
        exec,
        detach: false,
    });
    let (mut stream, reply) = agent.stream(purpose).await;
    assert_eq!(reply.error, "", "{command}");
    let output = within(collect(&mut stream)).await;
    (output.exit_code, String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_comes_up_takes_commands_and_shuts_down() {
    if not_root("systemd") {
        return;
    }
    let Some(debian) = debian() else {
        return;
    };
    let mut agent = Agent::start().await;
    let tar = std::fs::read(debian).unwrap();
    agent
        .import(TAG, &tar, &["CMD [\"/sbin/init\"]"])
        .await
        .unwrap();
    let spec = ContainerSpec {
        image: TAG.to_owned(),
        network: "none".to_owned(),
        ..Default::default()
    };
    let id = agent.try_create(spec).await.unwrap();
    agent.run(&id).await.unwrap();
    // A second time with what the first left, as after a stop.
    for _ in 0..2 {
        let state = tokio::time::timeout(Duration::from_secs(90), async {
            loop {
                let (_, state) = exec(&mut agent, &id, "systemctl is-system-running").await;
                if ["running\n", "degraded\n"].contains(&state.as_str()) {
                    return state;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .expect("the system comes up");
        eprintln!("{state}");
        let (code, failed) = exec(&mut agent, &id, "systemctl --failed --plain --no-legend").await;
        assert_eq!((code, failed.as_str()), (Some(0), ""), "units that failed");
        let (code, cgroup) = exec(&mut agent, &id, "grep ^0: /proc/1/cgroup").await;
        assert_eq!((code, cgroup.as_str()), (Some(0), "0::/init.scope\n"));
        let run = "systemd-run --quiet --wait --pipe echo from a service";
        assert_eq!(
            exec(&mut agent, &id, run).await,
            (Some(0), "from a service\n".to_owned())
        );
        let (code, _) = exec(&mut agent, &id, "echo kept >>/var/tmp/kept").await;
        assert_eq!(code, Some(0));
        let stop = StopContainerRequest {
            container: id.clone(),
            timeout_seconds: Some(50),
            ..Default::default()
        };
        within(agent.containers.stop(stop)).await.unwrap();
        let request = InspectContainerRequest {
            container: id.clone(),
        };
        let ended = agent
            .containers
            .inspect(request)
            .await
            .unwrap()
            .into_inner();
        // Not killed: systemd ended by itself.
        assert_ne!(ended.exit_code, 137);
        agent.run(&id).await.unwrap();
    }
    let (_, kept) = exec(&mut agent, &id, "cat /var/tmp/kept").await;
    assert_eq!(kept, "kept\nkept\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn busyboxs_init_runs_services_and_shuts_down() {
    if not_root("busyboxs_init") {
        return;
    }
    let mut agent = Agent::start().await;
    // A service that comes back, and one that tells of the end.
    let script = "mkdir -p /etc /sbin; ln -sf /bin/busybox /sbin/init; cd /etc; \
                  echo '::sysinit:/bin/busybox touch /up' > inittab; \
                  echo '::respawn:/bin/busybox sleep 1234' >> inittab; \
                  echo '::ctrlaltdel:/bin/busybox reboot' >> inittab; \
                  echo '::shutdown:/bin/busybox touch /down' >> inittab; exec /sbin/init";
    let id = agent
        .create(script, |spec| spec.init_system = "always".to_owned())
        .await;
    agent.run(&id).await.unwrap();
    let running = "ls /up && ps | grep '[s]leep 1234'";
    within(async {
        while exec(&mut agent, &id, running).await.0 != Some(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let stop = StopContainerRequest {
        container: id.clone(),
        timeout_seconds: Some(50),
        ..Default::default()
    };
    within(agent.containers.stop(stop)).await.unwrap();
    let request = InspectContainerRequest {
        container: id.clone(),
    };
    let ended = agent.containers.inspect(request).await.unwrap();
    // By reboot(2), not killed.
    assert_eq!(ended.into_inner().exit_code, 128 + libc::SIGHUP);
    let changes = agent.containers.diff(DiffRequest { container: id }).await;
    let changes = changes.unwrap().into_inner().changes;
    assert!(changes.iter().any(|change| change.path == "/down"));
}
