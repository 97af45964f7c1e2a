//! Connections of containers that mount the engine's socket: each is one more
//! client of the Engine API.

use std::path::Path;
use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wherry_client::local::{self, LocalStream};
use wherry_client::{BulkReader, BulkWriter, Home, Settings, StreamError, open_stream};
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::system_client::SystemClient;
use wherry_proto::v1::{EngineStream, StreamHeader, WatchEngineConnectionsRequest};

/// Bytes that are read of the engine at once.
const BUFFER: usize = 64 * 1024;

/// The connections that a guest may have at once, whatever it asks for.
const MOST: usize = 256;

/// Where Docker's tools look for the engine, which is never another engine's
/// socket: containers reach no Unix socket of the host.
const WELL_KNOWN: [&str; 4] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    // As shells on Windows pass an absolute path on.
    "//var/run/docker.sock",
    "//run/docker.sock",
];

/// Tells whether a bind mount's source is the engine's own socket.
pub(super) fn is_meant(source: &Path, home: &Home) -> bool {
    let own = home.docker_socket();
    let is_same = || match (source.canonicalize(), own.canonicalize()) {
        (Ok(source), Ok(own)) => source == own,
        _ => false,
    };
    WELL_KNOWN.iter().any(|known| source == Path::new(known)) || source == own || is_same()
}

/// Serves what containers connect to, for as long as the guest tells of it.
pub(super) async fn follow(guest: Channel, home: &Home) -> Result<(), Status> {
    let is_served = Settings::load(home).map(|settings| settings.api.in_containers);
    if !is_served.unwrap_or(false) {
        return std::future::pending().await;
    }
    let mut system = SystemClient::new(guest);
    let watched = system.watch_engine_connections(WatchEngineConnectionsRequest {});
    let mut accepted = match watched.await {
        Ok(accepted) => accepted.into_inner(),
        // An older guest.
        Err(status) if status.code() == Code::Unimplemented => {
            return std::future::pending().await;
        }
        Err(status) => return Err(status),
    };
    let mut connections = JoinSet::new();
    loop {
        let told = tokio::select! {
            told = accepted.message(), if connections.len() < MOST => told?,
            Some(_) = connections.join_next() => continue,
        };
        let Some(told) = told else {
            return Err(Status::unavailable(
                "the guest tells no more of connections",
            ));
        };
        let home = home.clone();
        connections.spawn(async move {
            if let Err(error) = serve(&home, told.connection).await {
                tracing::debug!(%error, "a container's connection to the engine broke");
            }
        });
    }
}

async fn serve(home: &Home, connection: u64) -> Result<(), StreamError> {
    let header = StreamHeader {
        wire_version: 0,
        purpose: Some(Purpose::Engine(EngineStream { connection })),
    };
    let guest = open_stream(home, header).await?;
    // Over the socket, as every other client: there is one way in.
    let engine = local::connect(&home.docker_socket()).await?;
    let (from_engine, to_engine_half) = tokio::io::split(engine);
    let mut down = pin!(to_engine(guest.reader, to_engine_half));
    tokio::select! {
        ended = to_guest(from_engine, guest.writer) => {
            ended?;
            down.await
        }
        ended = &mut down => ended,
    }
}

async fn to_guest(
    mut engine: ReadHalf<LocalStream>,
    mut guest: BulkWriter,
) -> Result<(), StreamError> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match engine.read(&mut buffer).await? {
            0 => return Ok(guest.end().await?),
            read => guest.send(&buffer[..read]).await?,
        }
    }
}

/// Returns when the guest has closed the stream, which it does when the container
/// has gone, and not only ended its sending.
async fn to_engine(
    mut guest: BulkReader,
    mut engine: WriteHalf<LocalStream>,
) -> Result<(), StreamError> {
    while let Some(frame) = guest.next().await? {
        engine.write_all(&frame.payload).await?;
    }
    // Fails where the engine has hung up already.
    let _ = engine.shutdown().await;
    let _ = guest.next().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_client::local::LocalListener;
    use wherry_proto::frame::{self, Kind};
    use wherry_proto::v1::StreamReply;

    #[test]
    fn the_engines_socket_is_known_by_dockers_names_and_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let own = home.docker_socket();
        for source in [
            Path::new("/var/run/docker.sock"),
            Path::new("/run/docker.sock"),
            &own,
        ] {
            assert!(is_meant(source, &home), "{}", source.display());
        }
        for source in [
            "/var/run",
            "/home/me/run/docker.sock",
            "/var/run/docker.sock2",
        ] {
            assert!(!is_meant(Path::new(source), &home), "{source}");
        }
    }

    /// Accepts one bulk stream as the guest does, and sends a request and its end.
    async fn guest(listener: LocalListener) -> LocalStream {
        let mut stream = listener.accept().await.unwrap();
        let header = frame::read_stream_header(&mut stream).await.unwrap();
        let wanted = Purpose::Engine(EngineStream { connection: 7 });
        assert_eq!(header.purpose, Some(wanted));
        let accepted = StreamReply::default();
        frame::write_stream_reply(&mut stream, &accepted)
            .await
            .unwrap();
        for (kind, payload) in [(Kind::Data, &b"request"[..]), (Kind::End, b"")] {
            frame::write_frame(&mut stream, kind, payload)
                .await
                .unwrap();
        }
        stream
    }

    async fn sockets() -> (tempfile::TempDir, Home, LocalListener, LocalListener) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.prepare().unwrap();
        let streams = local::listen(&home.stream_socket()).await.unwrap();
        let engine = local::listen(&home.docker_socket()).await.unwrap();
        (folder, home, streams, engine)
    }

    #[tokio::test]
    async fn a_request_ended_early_still_gets_its_whole_reply() {
        let (_folder, home, streams, engine) = sockets().await;
        let serving = tokio::spawn(async move {
            let mut stream = engine.accept().await.unwrap();
            let mut request = Vec::new();
            stream.read_to_end(&mut request).await.unwrap();
            stream.write_all(&vec![b'r'; 1 << 20]).await.unwrap();
            stream.shutdown().await.unwrap();
            request
        });
        let container = tokio::spawn(async move {
            let mut stream = guest(streams).await;
            let mut reply = 0;
            while let Some(frame) = frame::read_frame(&mut stream).await.unwrap() {
                match frame.kind {
                    Kind::Data => reply += frame.payload.len(),
                    _ => break,
                }
            }
            reply
        });
        serve(&home, 7).await.unwrap();
        assert_eq!(container.await.unwrap(), 1 << 20);
        assert_eq!(serving.await.unwrap(), b"request");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_container_that_goes_while_it_waits_is_a_client_that_has_gone() {
        let (_folder, home, streams, engine) = sockets().await;
        let served = tokio::spawn(async move { serve(&home, 7).await });
        let guest = guest(streams).await;
        let mut stream = engine.accept().await.unwrap();
        let hangup = stream.hangup().unwrap();
        let mut request = Vec::new();
        stream.read_to_end(&mut request).await.unwrap();
        drop(guest);
        let patience = std::time::Duration::from_secs(10);
        tokio::time::timeout(patience, hangup.wait()).await.unwrap();
        served.await.unwrap().unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_the_socket_is_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("home")).unwrap();
        home.prepare().unwrap();
        std::fs::write(home.docker_socket(), "").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(home.docker_socket(), &link).unwrap();
        assert!(is_meant(&link, &home));
    }
}
