//! A container's files to the host and from it, as tar.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use wherry_proto::v1::{CopyInStream, CopyOutStream, ExportStream};

use super::archive::{Archive, FRAMES, drain, feed};
use super::sending::{end, send};
use super::{Agent, Connection, accept};
use crate::container::CopyInOptions;

/// Sends what a path of a container refers to.
pub(super) async fn copy_out(
    agent: &Arc<Agent>,
    request: CopyOutStream,
    connection: Connection,
) -> io::Result<()> {
    let containers = agent.containers.clone();
    send(connection, |sink| async move {
        containers.copy_out(request, sink).await
    })
    .await
}

/// Sends a container's whole file system.
pub(super) async fn export(
    agent: &Arc<Agent>,
    request: ExportStream,
    connection: Connection,
) -> io::Result<()> {
    let containers = agent.containers.clone();
    send(connection, |sink| async move {
        containers.export(&request.container, sink).await
    })
    .await
}

/// Unpacks what the host sends.
pub(super) async fn copy_in(
    agent: &Arc<Agent>,
    request: CopyInStream,
    mut connection: Connection,
) -> io::Result<()> {
    accept(&mut connection).await?;
    let (from_host, mut to_host) = tokio::io::split(connection);
    let (sender, receiver) = mpsc::channel(FRAMES);
    // Ends by itself: with the archive, the connection or the reader's interest.
    let feeding = tokio::spawn(feed(from_host, sender));
    let options = CopyInOptions {
        container: request.container,
        path: request.path,
        overwrite: request.overwrite,
        users_own: request.users_own,
    };
    let result = agent
        .containers
        .copy_in(options, Archive::new(receiver))
        .await;
    let answered = end(&mut to_host, result.map_err(Into::into)).await;
    drain(feeding, answered.is_ok()).await;
    answered
}
