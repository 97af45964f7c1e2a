//! Archives of images to the host.

use std::io;
use std::sync::Arc;

use tonic::Status;
use wherry_proto::v1::SaveStream;

use super::sending::send;
use super::{Agent, Connection, refuse};

/// Sends an archive of images.
pub(super) async fn serve(
    agent: &Arc<Agent>,
    request: SaveStream,
    mut connection: Connection,
) -> io::Result<()> {
    if request.images.is_empty() {
        let status = Status::invalid_argument("a save needs an image");
        return refuse(&mut connection, &status).await;
    }
    let store = agent.images.clone();
    let saving = match blocking(move || store.find_to_save(&request.images)).await {
        Ok(saving) => saving,
        Err(status) => return refuse(&mut connection, &status).await,
    };
    let store = agent.images.clone();
    send(connection, |sink| {
        blocking(move || store.save(&saving, sink))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::image::Error> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Status::from),
        Err(error) => Err(Status::internal(format!(
            "an internal task failed: {error}"
        ))),
    }
}
