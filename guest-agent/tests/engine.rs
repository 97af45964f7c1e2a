//! The socket by which containers reach the engine: each connection is told of, and
//! carried by a bulk stream.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use support::{Agent, not_root, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use wherry_proto::frame::{Kind, read_frame, write_frame};
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::*;

async fn watch(agent: &Agent) -> tonic::Streaming<EngineConnection> {
    let request = WatchEngineConnectionsRequest {};
    let mut system = agent.system.clone();
    within(system.watch_engine_connections(request))
        .await
        .unwrap()
        .into_inner()
}

async fn next(watched: &mut tonic::Streaming<EngineConnection>) -> EngineStream {
    let told = within(watched.message()).await.unwrap().unwrap();
    EngineStream {
        connection: told.connection,
    }
}

async fn carried(agent: &Agent, engine: EngineStream) -> UnixStream {
    let (stream, reply) = agent.stream(Purpose::Engine(engine)).await;
    assert_eq!(reply.error, "");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ended_early_gets_its_whole_reply_through_the_engines_socket() {
    if not_root("a_request_ended_early") {
        return;
    }
    let agent = Agent::start().await;
    // It waits until somebody watches.
    let mut client = UnixStream::connect(agent.engine_socket()).await.unwrap();
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    let mut watched = watch(&agent).await;
    let engine = next(&mut watched).await;
    let mut stream = carried(&agent, engine).await;
    let frame = within(read_frame(&mut stream)).await.unwrap().unwrap();
    assert_eq!(
        (frame.kind, &frame.payload[..]),
        (Kind::Data, &b"request"[..])
    );
    let frame = within(read_frame(&mut stream)).await.unwrap().unwrap();
    assert_eq!(frame.kind, Kind::End);
    // More than the sockets hold, so that it is read meanwhile.
    let replying = tokio::spawn(async move {
        for _ in 0..32 {
            let frame = write_frame(&mut stream, Kind::Data, &[b'r'; 32 * 1024]);
            frame.await.unwrap();
        }
        write_frame(&mut stream, Kind::End, &[]).await.unwrap();
        stream
    });
    let mut reply = Vec::new();
    within(client.read_to_end(&mut reply)).await.unwrap();
    assert_eq!(reply.len(), 1 << 20);
    drop(replying.await.unwrap());
    // A connection is carried once.
    let (_, reply) = agent.stream(Purpose::Engine(engine)).await;
    assert_eq!(reply.code, tonic::Code::NotFound as i32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_and_a_host_that_goes_end_the_other_side() {
    if not_root("a_client_that_goes") {
        return;
    }
    let agent = Agent::start().await;
    let mut watched = watch(&agent).await;
    // The client has ended its sending, waits, and goes.
    let mut client = UnixStream::connect(agent.engine_socket()).await.unwrap();
    client.shutdown().await.unwrap();
    let engine = next(&mut watched).await;
    let mut stream = carried(&agent, engine).await;
    let frame = within(read_frame(&mut stream)).await.unwrap().unwrap();
    assert_eq!(frame.kind, Kind::End);
    drop(client);
    assert!(within(read_frame(&mut stream)).await.unwrap().is_none());
    // The host goes in the middle.
    let mut client = UnixStream::connect(agent.engine_socket()).await.unwrap();
    let engine = next(&mut watched).await;
    drop(carried(&agent, engine).await);
    assert_eq!(within(client.read(&mut [0])).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_asks_for_it_has_the_socket_and_no_other() {
    if not_root("a_container_that_asks") {
        return;
    }
    let mut agent = Agent::start().await;
    let script = "test -S /var/run/docker.sock && stat -c %a /var/run/docker.sock";
    let with = agent
        .create(script, |spec| {
            spec.mounts.push(Mount {
                kind: mount::Kind::Bind.into(),
                engine_socket: true,
                host_source: "/var/run/docker.sock".to_owned(),
                target: "/var/run/docker.sock".to_owned(),
                ..Default::default()
            });
        })
        .await;
    let request = InspectContainerRequest {
        container: with.clone(),
    };
    let shown = within(agent.containers.inspect(request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.mounts[0].source, "/var/run/docker.sock");
    agent.run(&with).await.unwrap();
    assert_eq!(agent.wait(&with, Condition::NotRunning).await, 0);
    assert_eq!(agent.logs(&with, |_| ()).await, "660\n");
    let without = agent.create(script, |_| ()).await;
    agent.run(&without).await.unwrap();
    assert_ne!(agent.wait(&without, Condition::NotRunning).await, 0);
}
