//! What happens in the guest, as far as ports of the host follow from it, and what
//! its containers ask of the engine.

use std::time::Duration;

use tonic::Status;
use tonic::transport::Channel;
use wherry_client::{Home, channel};
use wherry_proto::v1::EventsRequest;
use wherry_proto::v1::system_client::SystemClient;

use super::forward::chain;
use super::ports::Ports;
use super::{engine_socket, listening};

/// How long to wait before asking again for the events of a guest that does not
/// answer.
const EVENTS_RETRY: Duration = Duration::from_millis(250);

/// Keeps the host's ports in step with what the guest tells, until the machine is
/// gone.
pub(super) async fn events(home: Home, ports: Ports) {
    loop {
        let guest = match channel(&home.agent_socket()).await {
            Ok(guest) => guest,
            Err(error) => {
                tracing::info!("no more events: {}", chain(&error));
                return;
            }
        };
        if let Err(status) = connection(guest, &home, &ports).await {
            tracing::debug!(%status, "the guest's events broke off");
        }
        // `serve` may have died; init starts it again.
        tokio::time::sleep(EVENTS_RETRY).await;
    }
}

async fn connection(guest: Channel, home: &Home, ports: &Ports) -> Result<(), Status> {
    tokio::select! {
        ended = containers(guest.clone(), ports) => ended,
        ended = listening::follow(guest.clone(), ports) => ended,
        ended = engine_socket::follow(guest, home) => ended,
    }
}

async fn containers(guest: Channel, ports: &Ports) -> Result<(), Status> {
    let mut events = SystemClient::new(guest.clone())
        .events(EventsRequest::default())
        .await?
        .into_inner();
    while let Some(event) = events.message().await? {
        match (event.r#type.as_str(), event.action.as_str()) {
            ("ready", _) => {
                // What ended while nobody followed.
                ports.settle_all(&guest, |_| true).await?;
                ports.complete_all(&guest).await?;
            }
            ("container", "start") => ports.complete(&event.id, guest.clone()).await?,
            ("container", "die" | "destroy") => ports.settle(&event.id, guest.clone()).await?,
            _ => {}
        }
    }
    Ok(())
}
