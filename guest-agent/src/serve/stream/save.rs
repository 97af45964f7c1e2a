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
    let found = agent.on_store(move |agent| agent.images.find_to_save(&request.images));
    let saving = match found.await {
        Ok(saving) => saving,
        Err(status) => return refuse(&mut connection, &status).await,
    };
    let agent = agent.clone();
    send(connection, |sink| async move {
        agent
            .on_store(move |agent| agent.images.save(&saving, sink))
            .await
    })
    .await
}
