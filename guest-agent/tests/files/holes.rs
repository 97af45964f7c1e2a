//! Files with holes, which stay holes.

use super::*;

/// Makes a file of 64 GiB, of which two parts of a page are there, and a hole.
const MAKE: &str = "mkdir /made; cd /made; echo begin > big; \
                    echo end | dd of=big bs=1M seek=32768 conv=notrunc 2>/dev/null; \
                    truncate -s 68719476736 big; truncate -s 1000000 hole";

/// Looks at them.
const LOOK: &str = "cd /made; stat -c '%s' big hole; du -k big hole | cut -f1; head -n1 big; \
                    dd if=big bs=1M skip=32768 count=1 2>/dev/null | head -n1";

fn assert_whole_and_small(seen: &str) {
    let lines: Vec<_> = seen.lines().collect();
    assert_eq!(lines[..2], ["68719476736", "1000000"], "{seen}");
    assert!(lines[2].parse::<u64>().unwrap() < 100, "{seen}");
    assert_eq!(lines[3..], ["0", "begin", "end"], "{seen}");
}

async fn made(agent: &mut Agent) -> String {
    let id = agent.create(MAKE, |_| ()).await;
    agent.run(&id).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_keeps_the_holes_of_files() {
    if not_root("a_commit_keeps_the_holes") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = made(&mut agent).await;
    let commit = CommitRequest {
        container: id,
        name: "sparse:1".to_owned(),
        ..Default::default()
    };
    within(agent.containers.clone().commit(commit))
        .await
        .unwrap();
    assert_whole_and_small(&output(&mut agent, "sparse:1", LOOK).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_keeps_the_holes_of_files_where_its_reader_knows_them() {
    if not_root("a_copy_keeps_the_holes") {
        return;
    }
    let mut agent = Agent::start().await;
    let id = made(&mut agent).await;
    let copy = |path: &str, sparse| CopyOutStream {
        container: id.clone(),
        path: path.to_owned(),
        sparse,
        ..Default::default()
    };
    let (mut stream, _) = agent.stream(Purpose::CopyOut(copy("/made", true))).await;
    let tar = received(&mut stream).await.unwrap();
    assert!(tar.len() < 100_000, "{}", tar.len());
    let other = agent.create(LOOK, |_| ()).await;
    copy_in(&agent, &other, "/", &tar).await.unwrap();
    agent.run(&other).await.unwrap();
    agent.wait(&other, Condition::NotRunning).await;
    assert_whole_and_small(&agent.logs(&other, |_| ()).await);
    // For any other reader it is a plain file.
    let plain = copy("/made/hole", false);
    let (mut stream, _) = agent.stream(Purpose::CopyOut(plain)).await;
    let tar = received(&mut stream).await.unwrap();
    let (kind, content) = &entries(&tar)["hole"];
    assert_eq!((*kind, content.len()), (EntryType::Regular, 1_000_000));
}
