//! What a container goes through between its start and its removal, as the
//! host sees it.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::fs;
use std::time::Duration;

use support::{Agent, not_root, within};
use tonic::Code;
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::*;

async fn inspect(agent: &mut Agent, id: &str) -> Container {
    let request = InspectContainerRequest {
        container: id.to_owned(),
    };
    let found = within(agent.containers.inspect(request)).await;
    found.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_failed_on_the_host_is_a_failed_start() {
    if not_root("a_start_that_failed_on_the_host") {
        return;
    }
    let mut agent = Agent::start().await;
    let failed = |id: &str| NoteFailedStartRequest {
        container: id.to_owned(),
        reason: "port 80 is taken".to_owned(),
    };
    let id = agent.create("sleep 1000", |_| ()).await;
    let mut attached = agent.attach(&id).await;
    let noted = agent.containers.note_failed_start(failed(&id));
    within(noted).await.unwrap();
    // Who had attached is let go.
    within(tokio::io::copy(&mut attached, &mut tokio::io::sink()))
        .await
        .unwrap();
    let found = inspect(&mut agent, &id).await;
    assert_eq!(
        (found.status(), found.exit_code, &*found.error),
        (container::Status::Created, 125, "port 80 is taken")
    );
    agent.run(&id).await.unwrap();
    let error = agent.containers.note_failed_start(failed(&id)).await;
    assert_eq!(error.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(inspect(&mut agent, &id).await.error, "");

    let id = agent
        .create("sleep 1000", |spec| spec.auto_remove = true)
        .await;
    let noted = agent.containers.note_failed_start(failed(&id));
    within(noted).await.unwrap();
    let error = agent.containers.note_failed_start(failed(&id)).await;
    assert_eq!(error.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_container_holds_still_until_it_is_let_go_on() {
    if not_root("a_paused_container") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("while true; do echo x; sleep 0.02; done", |_| ())
        .await;
    let pause = || PauseContainerRequest {
        container: id.clone(),
    };
    let unpause = || UnpauseContainerRequest {
        container: id.clone(),
    };
    let error = agent.containers.pause(pause()).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    agent.run(&id).await.unwrap();
    within(agent.containers.pause(pause())).await.unwrap();
    assert_eq!(
        inspect(&mut agent, &id).await.status(),
        container::Status::Paused
    );
    let error = agent.containers.pause(pause()).await.unwrap_err();
    assert!(error.message().ends_with("is already paused"), "{error}");
    let before = agent.logs(&id, |_| ()).await;
    // Also for an agent that comes later.
    agent.kill();
    agent.serve().await;
    assert_eq!(
        inspect(&mut agent, &id).await.status(),
        container::Status::Paused
    );
    let exec = CreateExecRequest {
        container: id.clone(),
        cmd: vec!["true".to_owned()],
        ..Default::default()
    };
    let error = agent.containers.create_exec(exec).await.unwrap_err();
    assert!(error.message().contains("unpause"), "{error}");
    assert!(
        agent
            .run(&id)
            .await
            .unwrap_err()
            .message()
            .contains("unpause")
    );
    let remove = RemoveContainerRequest {
        container: id.clone(),
        ..Default::default()
    };
    let error = agent.containers.remove(remove).await.unwrap_err();
    assert!(error.message().contains("unpaused first"), "{error}");
    assert_eq!(agent.logs(&id, |_| ()).await, before);
    within(agent.containers.unpause(unpause())).await.unwrap();
    let error = agent.containers.unpause(unpause()).await.unwrap_err();
    assert!(error.message().ends_with("is not paused"), "{error}");
    assert_eq!(
        inspect(&mut agent, &id).await.status(),
        container::Status::Running
    );
    within(async {
        while agent.logs(&id, |_| ()).await == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // A paused one ends when it is stopped.
    within(agent.containers.pause(pause())).await.unwrap();
    let stop = StopContainerRequest {
        container: id.clone(),
        timeout_seconds: Some(0),
        ..Default::default()
    };
    within(agent.containers.stop(stop)).await.unwrap();
    let after = inspect(&mut agent, &id).await;
    assert_eq!(after.status(), container::Status::Exited);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_even_a_container_that_removes_itself() {
    if not_root("a_restart") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create(
            "trap 'exit 0' TERM; echo ready; while true; do sleep 0.02; done",
            |spec| {
                spec.auto_remove = true;
            },
        )
        .await;
    agent.run(&id).await.unwrap();
    within(async {
        while agent.logs(&id, |_| ()).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let before = inspect(&mut agent, &id).await;
    let restart = RestartContainerRequest {
        container: id.clone(),
        timeout_seconds: Some(20),
        ..Default::default()
    };
    within(agent.containers.restart(restart.clone()))
        .await
        .unwrap();
    let after = inspect(&mut agent, &id).await;
    assert_eq!(after.status(), container::Status::Running);
    assert_ne!(before.pid, after.pid);
    let wrong = RestartContainerRequest {
        signal: "NOPE".to_owned(),
        ..restart
    };
    let error = agent.containers.restart(wrong).await.unwrap_err();
    assert_eq!(error.message(), "invalid signal: NOPE");
    let kill = KillContainerRequest {
        container: id.clone(),
        signal: "KILL".to_owned(),
    };
    within(agent.containers.kill(kill)).await.unwrap();
    let request = InspectContainerRequest { container: id };
    within(async {
        while agent.containers.inspect(request.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_taken_and_the_old_one_free() {
    if not_root("a_new_name") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("true", |spec| spec.name = "old".to_owned())
        .await;
    let other = agent
        .create("true", |spec| spec.name = "other".to_owned())
        .await;
    let rename = |container: &str, name: &str| RenameContainerRequest {
        container: container.to_owned(),
        name: name.to_owned(),
    };
    agent.containers.rename(rename("old", "new")).await.unwrap();
    assert_eq!(inspect(&mut agent, "new").await.id, id);
    let error = agent
        .containers
        .rename(rename("new", "other"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    let error = agent
        .containers
        .rename(rename("new", "a/b"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    agent
        .containers
        .rename(rename("other", "old"))
        .await
        .unwrap();
    agent.kill();
    agent.serve().await;
    assert_eq!(inspect(&mut agent, "old").await.id, other);
    assert_eq!(inspect(&mut agent, "new").await.id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_are_listed_as_ps_does() {
    if not_root("processes") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent.create("sleep 1000 & sleep 1001; true", |_| ()).await;
    let top = |arguments: &[&str]| TopRequest {
        container: id.clone(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
    };
    let error = agent.containers.top(top(&[])).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    agent.run(&id).await.unwrap();
    let commands = within(async {
        loop {
            let listed = agent.containers.top(top(&["-o", "args"])).await.unwrap();
            let listed = listed.into_inner().processes;
            let commands: Vec<_> = listed.into_iter().map(|row| row.fields.concat()).collect();
            // A child is its parent's copy before it executes its own program.
            let runs = |command: &str| commands.iter().any(|listed| listed == command);
            if runs("sleep 1000") && runs("sleep 1001") {
                break commands;
            }
        }
    })
    .await;
    assert_eq!(commands.len(), 3, "{commands:?}");
    let full = agent.containers.top(top(&[])).await.unwrap().into_inner();
    assert_eq!(full.titles[..3], ["UID", "PID", "PPID"]);
    let error = agent.containers.top(top(&["-o", "x"])).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_removes_what_does_not_run_and_says_how_much_that_was() {
    if not_root("pruning") {
        return;
    }
    let mut agent = Agent::start().await;
    let running = agent.create("sleep 1000", |_| ()).await;
    agent.run(&running).await.unwrap();
    let ended = agent
        .create("dd if=/dev/zero of=/file bs=1000 count=5", |_| ())
        .await;
    agent.run(&ended).await.unwrap();
    agent.wait(&ended, Condition::NotRunning).await;
    let kept = agent
        .create("true", |spec| {
            spec.labels.insert("keep".to_owned(), String::new());
        })
        .await;
    let request = PruneContainersRequest {
        not_labels: vec!["keep".to_owned()],
        ..Default::default()
    };
    let pruned = within(agent.containers.prune(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(pruned.ids, [ended]);
    assert!(
        (5000..6000).contains(&pruned.reclaimed),
        "{}",
        pruned.reclaimed
    );
    assert!(fs::exists(agent.root().join("containers").join(&kept)).unwrap());
    assert_eq!(
        inspect(&mut agent, &running).await.status(),
        container::Status::Running
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_what_a_container_wrote_and_what_its_image_has() {
    if not_root("sizes_are") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("dd if=/dev/zero of=/data/new bs=1000 count=7", |_| ())
        .await;
    agent.run(&id).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    let request = SizesRequest {
        containers: vec![id[..12].to_owned(), "none".to_owned()],
    };
    let sizes = within(agent.containers.sizes(request)).await.unwrap();
    let image = agent.images.list(ListImagesRequest {}).await.unwrap();
    let image = image.into_inner().images[0].size;
    let expected = ContainerSize {
        container: id,
        written: 7000,
        root: 7000 + image,
    };
    assert_eq!(sizes.into_inner().sizes, [expected]);
}
