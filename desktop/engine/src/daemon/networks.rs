//! The calls on networks that the host has a part in: a new network must not
//! take addresses that the host reaches elsewhere.

use tonic::{Request, Response, Status};
use wherry_proto::v1::networks_client::NetworksClient;
use wherry_proto::v1::{CreateNetworkRequest, CreateNetworkResponse};

use super::machine::MachineLink;
use crate::platform;

/// Makes a network, and tells the guest the host's routes as they are now.
pub(crate) async fn create(
    link: &MachineLink,
    mut request: Request<CreateNetworkRequest>,
) -> Result<Response<CreateNetworkResponse>, Status> {
    request.get_mut().host_routes = platform::routes();
    NetworksClient::new(link.guest().await?)
        .create(request)
        .await
}
