//! The guest's own way out.

use std::path::Path;

use super::NetworkError;
use super::netlink::{self, Netlink};
use super::options::Uplink;
use super::prefix::Prefix;

/// Brings the loopback and the first network card up, with its address and the
/// default route. A guest without a card has no way out, which is no error.
pub(super) fn configure(uplink: &Uplink) -> Result<(), NetworkError> {
    let Uplink::Static {
        address,
        prefix_length,
        gateway,
    } = *uplink
    else {
        return Ok(());
    };
    let mut kernel = Netlink::open().map_err(NetworkError::kernel("open a netlink socket"))?;
    let links = kernel
        .links()
        .map_err(NetworkError::kernel("list the network interfaces"))?;
    // Only a card has a device behind it; a bridge, a tunnel, the loopback have not.
    let card = links
        .into_iter()
        .filter(|link| {
            Path::new("/sys/class/net")
                .join(&link.name)
                .join("device")
                .exists()
        })
        .min_by_key(|link| link.index);
    let mut requests = vec![netlink::set_up("lo")];
    match &card {
        Some(card) => {
            let subnet = Prefix::of(address.into(), prefix_length);
            requests.push(netlink::set_up(&card.name));
            requests.push(netlink::add_address(card.index, address.into(), subnet));
            requests.push(netlink::set_default_route(card.index, gateway.into()));
        }
        None => tracing::warn!("no network card: the guest has no way out"),
    }
    let name = card.map_or_else(|| "lo".to_owned(), |card| card.name);
    kernel
        .execute(requests)
        .map_err(NetworkError::kernel(format!(
            "configure the network interface {name}"
        )))
}
