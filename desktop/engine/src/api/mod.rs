//! The Docker Engine API, version 1.51 down to 1.24, on a local socket, and over TCP
//! where the settings say so.
//!
//! It holds no state: each call is translated to the guest's own services, as
//! the `wherry` command's are. What the API answers is in `docs/engine-api.md`.

mod body;
mod containers;
mod detach_keys;
mod error;
mod exec;
#[cfg(any(test, fuzzing))]
#[cfg_attr(
    not(fuzzing),
    expect(unreachable_pub, reason = "the fuzzer's crate reaches it")
)]
pub mod fuzzing;
mod hangup;
mod history;
mod images;
mod networks;
mod path;
mod query;
mod server;
mod stream;
mod swarm;
mod system;
mod tcp;
mod version;
mod volumes;
mod web_socket;

use std::sync::Arc;

use axum::Router;
use tonic::transport::Channel;
use wherry_client::{BulkStream, Home, open_stream};
use wherry_proto::MAX_MESSAGE;
use wherry_proto::v1::StreamHeader;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::images_client::ImagesClient;
use wherry_proto::v1::networks_client::NetworksClient;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::system_client::SystemClient;
use wherry_proto::v1::volumes_client::VolumesClient;

use crate::daemon::{MachineLink, Translator};
use error::{ApiError, Result};
pub(crate) use server::serve;
pub(crate) use tcp::Tcp;
pub use tcp::TcpError;

/// What every call has.
#[derive(Clone)]
pub(crate) struct Api {
    link: Arc<MachineLink>,
}

impl Api {
    pub(crate) fn new(link: Arc<MachineLink>) -> Self {
        Self { link }
    }

    fn home(&self) -> &Home {
        self.link.home()
    }

    /// Returns a channel to the guest, whose machine is started where none runs.
    async fn guest(&self) -> Result<Channel> {
        Ok(self.link.running_guest().await?)
    }

    async fn containers(&self) -> Result<ContainersClient<Channel>> {
        let client = ContainersClient::new(self.guest().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE))
    }

    async fn images(&self) -> Result<ImagesClient<Channel>> {
        let client = ImagesClient::new(self.guest().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE))
    }

    async fn networks(&self) -> Result<NetworksClient<Channel>> {
        let client = NetworksClient::new(self.guest().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE))
    }

    async fn volumes(&self) -> Result<VolumesClient<Channel>> {
        let client = VolumesClient::new(self.guest().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE))
    }

    async fn system(&self) -> Result<SystemClient<Channel>> {
        let client = SystemClient::new(self.guest().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE))
    }

    /// Returns the calls on containers that name things of the host.
    fn translator(&self) -> Translator {
        Translator::new(self.link.clone())
    }

    /// Opens a bulk stream to the guest.
    async fn open(&self, purpose: Purpose) -> Result<BulkStream> {
        self.guest().await?;
        let header = StreamHeader {
            wire_version: 0,
            purpose: Some(purpose),
        };
        Ok(open_stream(self.home(), header).await?)
    }
}

/// Returns every path of the API.
fn router() -> Router<Api> {
    Router::new()
        .merge(system::routes())
        .merge(containers::routes())
        .merge(exec::routes())
        .merge(images::routes())
        .merge(networks::routes())
        .merge(volumes::routes())
        .merge(swarm::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

/// Answers what no route takes, in Docker's words.
async fn unknown() -> ApiError {
    ApiError::new(http::StatusCode::NOT_FOUND, "page not found")
}
