//! Files of containers from outside: copied out and in, exported, compared with
//! the image, and made an image of.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

#[path = "files/holes.rs"]
mod holes;

use std::collections::BTreeMap;
use std::io::Read;

use prost::Message;
use support::{Agent, IMAGE, not_root, within};
use tar::{Builder, EntryType, Header};
use tokio::net::UnixStream;
use tonic::{Code, Status};
use wherry_proto::frame::{Kind, read_frame, write_frame};
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::*;

/// Reads a stream of Data frames to its end.
async fn received(stream: &mut UnixStream) -> Result<Vec<u8>, StreamReply> {
    let mut bytes = Vec::new();
    loop {
        let frame = within(read_frame(stream)).await.unwrap().expect("an end");
        match frame.kind {
            Kind::Data => bytes.extend_from_slice(&frame.payload),
            Kind::Failure => return Err(StreamReply::decode(frame.payload).unwrap()),
            _ => return Ok(bytes),
        }
    }
}

async fn copy_out(agent: &Agent, id: &str, path: &str) -> Result<Vec<u8>, StreamReply> {
    let request = CopyOutStream {
        container: id.to_owned(),
        path: path.to_owned(),
        ..Default::default()
    };
    let (mut stream, reply) = agent.stream(Purpose::CopyOut(request)).await;
    assert_eq!(reply.error, "");
    received(&mut stream).await
}

async fn copy_in(agent: &Agent, id: &str, path: &str, tar: &[u8]) -> Result<(), StreamReply> {
    let request = CopyInStream {
        container: id.to_owned(),
        path: path.to_owned(),
        ..Default::default()
    };
    copy_in_as(agent, request, tar).await
}

async fn copy_in_as(agent: &Agent, request: CopyInStream, tar: &[u8]) -> Result<(), StreamReply> {
    let (mut stream, reply) = agent.stream(Purpose::CopyIn(request)).await;
    assert_eq!(reply.error, "");
    for chunk in tar.chunks(64 * 1024) {
        if write_frame(&mut stream, Kind::Data, chunk).await.is_err() {
            break;
        }
    }
    let _ = write_frame(&mut stream, Kind::End, &[]).await;
    received(&mut stream).await.map(drop)
}

/// Returns the entries of a tar: name, kind and content or link.
fn entries(tar: &[u8]) -> BTreeMap<String, (EntryType, String)> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let kind = entry.header().entry_type();
        let name = entry.path().unwrap().display().to_string();
        let link = entry.link_name().unwrap();
        let text = match link {
            Some(link) => link.display().to_string(),
            None => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        (name, (kind, text))
    });
    entries.collect()
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_mtime(1_000_000_000);
        builder
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// Runs a container to its end and returns what it printed.
async fn output(agent: &mut Agent, image: &str, script: &str) -> String {
    let id = agent
        .create(script, |spec| image.clone_into(&mut spec.image))
        .await;
    agent.run(&id).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    agent.logs(&id, |_| ()).await
}

async fn changes(agent: &mut Agent, id: &str) -> Vec<String> {
    let request = DiffRequest {
        container: id.to_owned(),
    };
    let diff = within(agent.containers.diff(request)).await.unwrap();
    let letter = |change: &FileChange| match change.kind() {
        file_change::Kind::Added => 'A',
        file_change::Kind::Modified => 'C',
        file_change::Kind::Deleted => 'D',
        file_change::Kind::Unspecified => '?',
    };
    let changes = diff.into_inner().changes;
    changes
        .iter()
        .map(|change| format!("{} {}", letter(change), change.path))
        .collect()
}

async fn commit(agent: &mut Agent, id: &str, changes: &[&str]) -> Result<Image, Status> {
    let request = CommitRequest {
        container: id.to_owned(),
        name: "made:1".to_owned(),
        author: "someone".to_owned(),
        message: "a message".to_owned(),
        changes: changes.iter().map(|change| (*change).to_owned()).collect(),
        ..Default::default()
    };
    Ok(within(agent.containers.commit(request)).await?.into_inner())
}

const FILES: &str = "mkdir -p /srv/a; echo one > /srv/a/one; ln -s one /srv/a/link; \
                     ln /srv/a/one /srv/a/hard; mkfifo /srv/a/fifo; echo ready; exec sleep 1000";

async fn ready(agent: &Agent, id: &str) {
    within(async {
        while !agent.logs(id, |_| ()).await.contains("ready") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_out_of_a_container_that_runs_or_does_not() {
    if not_root("files_come_out") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent.create(FILES, |_| ()).await;
    agent.run(&id).await.unwrap();
    ready(&agent, &id).await;
    let running = copy_out(&agent, &id, "/srv/a").await.unwrap();
    let found = entries(&running);
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["a/", "a/fifo", "a/hard", "a/link", "a/one"]);
    assert_eq!(found["a/hard"].1, "one\n");
    assert_eq!(found["a/one"], (EntryType::Link, "a/hard".to_owned()));
    assert_eq!(found["a/link"], (EntryType::Symlink, "one".to_owned()));
    assert_eq!(found["a/fifo"].0, EntryType::Fifo);

    let kill = KillContainerRequest {
        container: id.clone(),
        ..Default::default()
    };
    within(agent.containers.kill(kill)).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    assert_eq!(copy_out(&agent, &id, "/srv/a").await.unwrap(), running);
    // The root itself has no name.
    assert!(entries(&copy_out(&agent, &id, "/").await.unwrap()).contains_key("srv/a/one"));
    let error = copy_out(&agent, &id, "/srv/none").await.unwrap_err();
    assert_eq!(error.code, Code::NotFound as i32);
    assert!(error.error.contains("Could not find the file /srv/none"));
    // Nothing of it stays, and it starts again.
    agent.run(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_leads_nowhere_out_of_the_container() {
    if not_root("a_link_leads_nowhere") {
        return;
    }
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let path = secret.path().display().to_string();
    let mut agent = Agent::start().await;
    let script = format!(
        "ln -s /tmp /out; ln -s {path} /file; ln -s /proc/1/root /magic; echo ready; exec sleep 1000"
    );
    let id = agent.create(&script, |_| ()).await;
    agent.run(&id).await.unwrap();
    ready(&agent, &id).await;
    let name = secret.path().file_name().unwrap().to_str().unwrap();
    for path in [
        format!("/out/{name}"),
        format!("/../../../{path}"),
        "/file/".to_owned(),
        format!("/magic/{path}"),
        format!("/proc/1/root/{path}"),
    ] {
        let copied = copy_out(&agent, &id, &path).await;
        assert!(copied.is_err(), "{path}");
    }
    let escape = tar(&[("escape", "x")]);
    let _ = copy_in(&agent, &id, "/out", &escape).await;
    assert!(!std::path::Path::new("/tmp/escape").exists());
    let mut climbing = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..12].copy_from_slice(b"../../escape");
    header.set_size(0);
    header.set_cksum();
    climbing.append(&header, &[][..]).unwrap();
    let climbing = climbing.into_inner().unwrap();
    let error = copy_in(&agent, &id, "/tmp/..", &climbing)
        .await
        .unwrap_err();
    assert!(error.error.contains("climbs out"), "{}", error.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_into_a_container_before_its_first_start_and_while_it_runs() {
    if not_root("files_go_into") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create(
            "cat /data/f; ls -ln /data/f; while :; do sleep 0.1; cat /tmp/g && exit; done",
            |spec| {
                spec.mounts.push(Mount {
                    kind: mount::Kind::Volume.into(),
                    source: "filled".to_owned(),
                    target: "/data".to_owned(),
                    ..Default::default()
                });
            },
        )
        .await;
    copy_in(&agent, &id, "/data", &tar(&[("f", "early\n")]))
        .await
        .unwrap();
    agent.run(&id).await.unwrap();
    let whiteout = tar(&[(".wh.x", ""), ("g", "late\n")]);
    copy_in(&agent, &id, "tmp", &whiteout).await.unwrap();
    assert_eq!(agent.wait(&id, Condition::NotRunning).await, 0);
    let log = agent.logs(&id, |_| ()).await;
    assert!(log.starts_with("early\n-rw-r-----"), "{log}");
    assert!(log.contains(" 7 ") && log.ends_with("late\n"), "{log}");
    let out = copy_out(&agent, &id, "/data").await.unwrap();
    assert_eq!(entries(&out)["data/f"].1, "early\n");
    // A name that means something in layers means nothing here.
    assert!(copy_out(&agent, &id, "/tmp/.wh.x").await.is_ok());

    let error = copy_in(&agent, &id, "/data/f", &tar(&[("x", "")])).await;
    assert!(error.unwrap_err().error.contains("is not a directory"));
    let error = copy_in(&agent, &id, "/", &tar(&[("data", "")])).await;
    let error = error.unwrap_err().error;
    assert!(
        error.contains("cannot overwrite directory with non-directory"),
        "{error}"
    );
    let error = copy_in(&agent, &id, "/", &[7; 2000]).await.unwrap_err();
    assert!(error.error.contains("invalid archive"), "{}", error.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_may_belong_to_the_containers_user_whoever_the_archive_says() {
    if not_root("files_may_belong") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("ls -ln /tmp/h", |spec| spec.user = "11:12".to_owned())
        .await;
    let request = CopyInStream {
        container: id.clone(),
        path: "/tmp".to_owned(),
        users_own: true,
        ..Default::default()
    };
    copy_in_as(&agent, request, &tar(&[("h", "")]))
        .await
        .unwrap();
    agent.run(&id).await.unwrap();
    assert_eq!(agent.wait(&id, Condition::NotRunning).await, 0);
    let log = agent.logs(&id, |_| ()).await;
    let words: Vec<_> = log.split_whitespace().collect();
    assert_eq!(words[2..4], ["11", "12"], "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_tells_what_was_added_changed_and_deleted() {
    if not_root("a_diff_tells") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent.create("true", |_| ()).await;
    assert!(changes(&mut agent, &id).await.is_empty());
    agent.run(&id).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    // What the runtime mounts on is not the container's doing.
    assert!(changes(&mut agent, &id).await.is_empty());
    let script = "mkdir -p /new/dir; echo x > /new/dir/file; rm /bin/cat; chmod 700 /tmp";
    let id = agent.create(script, |_| ()).await;
    agent.run(&id).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    let expected = [
        "C /bin",
        "D /bin/cat",
        "A /new",
        "A /new/dir",
        "A /new/dir/file",
        "C /tmp",
    ];
    assert_eq!(changes(&mut agent, &id).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_an_image_of_the_containers_files() {
    if not_root("a_commit_is") {
        return;
    }
    let mut agent = Agent::start().await;
    let script = "mkdir /new; echo text > /new/file; ln /new/file /new/hard; ln -s file /new/link; \
                  chown 5:6 /new/file; touch -d @1000000000 /new/file; rm /bin/cat; \
                  rm -r /tmp; mkdir /tmp; echo ready; exec sleep 1000";
    let id = agent
        .create(script, |spec| spec.env.push("FROM=container".to_owned()))
        .await;
    agent.run(&id).await.unwrap();
    ready(&agent, &id).await;
    let image = commit(&mut agent, &id, &["ENV A=b", "WORKDIR /new"])
        .await
        .unwrap();
    let config = image.config.unwrap();
    assert_eq!(config.working_dir, "/new");
    assert!(
        config.env.contains(&"FROM=container".to_owned()),
        "{:?}",
        config.env
    );
    assert_eq!(config.cmd[..2], ["sh", "-c"]);
    let seen = output(
        &mut agent,
        "made:1",
        "read line < /new/file; echo $line $A $FROM $PWD; ls -ln /new | tail -n 3; \
         test -e /bin/cat || echo no cat; readlink link; ls /tmp | wc -l",
    )
    .await;
    assert!(seen.starts_with("text b container /new\n"), "{seen}");
    assert!(seen.contains("2 5        6"), "{seen}");
    assert!(seen.ends_with("no cat\nfile\n0\n"), "{seen}");
    // The container goes on, and a second commit is on top of the first.
    let id = agent
        .create("echo more > more", |spec| spec.image = "made:1".to_owned())
        .await;
    agent.run(&id).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    commit(&mut agent, &id, &[]).await.unwrap();
    let seen = output(
        &mut agent,
        "made:1",
        "read line < more; echo $line; ls /new",
    )
    .await;
    assert_eq!(seen, "more\nfile\nhard\nlink\nmore\n");
    let error = commit(&mut agent, &id, &["RUN true"]).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let names = |images: Vec<Image>| images.into_iter().flat_map(|image| image.tags).count();
    let list = agent.images.list(ListImagesRequest::default()).await;
    assert_eq!(names(list.unwrap().into_inner().images), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_imports_as_the_same_files() {
    if not_root("an_export_imports") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = agent
        .create("echo x > /new; ln -s /new /link", |_| ())
        .await;
    agent.run(&id).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    let export = ExportStream { container: id };
    let (mut stream, reply) = agent.stream(Purpose::Export(export)).await;
    assert_eq!(reply.error, "");
    let tar = received(&mut stream).await.unwrap();
    agent.import("again:latest", &tar, &[]).await.unwrap();
    assert_eq!(output(&mut agent, "again", "cat /link").await, "x\n");
    assert_ne!(IMAGE, "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_what_is_removed_meanwhile_is_no_archive() {
    if not_root("an_export_of_what_is_removed") {
        return;
    }
    let mut agent = Agent::start().await;
    // More than all the buffers on the way hold.
    let script = "dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null; echo there; sleep 1000";
    let id = agent.create(script, |_| ()).await;
    let mut client = agent.attach(&id).await;
    agent.run(&id).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"there\n") {
        let frame = within(read_frame(&mut client)).await.unwrap().unwrap();
        said.extend_from_slice(&frame.payload);
    }
    let export = ExportStream {
        container: id.clone(),
    };
    let (mut stream, reply) = agent.stream(Purpose::Export(export)).await;
    assert_eq!(reply.error, "");
    let first = within(read_frame(&mut stream)).await.unwrap().unwrap();
    assert_eq!(first.kind, Kind::Data);
    let remove = RemoveContainerRequest {
        container: id,
        force: true,
        volumes: false,
    };
    within(agent.containers.clone().remove(remove))
        .await
        .unwrap();
    let error = received(&mut stream).await.unwrap_err();
    assert!(error.error.contains("was removed while"), "{error:?}");
}
