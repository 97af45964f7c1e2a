//! What one asker sees: the networks it is on, names of its own, the host, and
//! who answers for everything else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use super::super::files::HOST_NAMES;
use super::Zone;
use super::zone::shortened;

/// What one asker sees. Changes are seen by the next query.
#[derive(Debug)]
pub(in crate::network) struct View {
    host: Ipv4Addr,
    /// Whether addresses are told with the network's name behind the
    /// container's, as on all networks but the default one.
    qualified: bool,
    seen: RwLock<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    zones: Vec<Arc<Zone>>,
    links: HashMap<String, String>,
    upstream: Arc<[SocketAddr]>,
}

impl View {
    /// Returns the view of everybody on the default network.
    pub(in crate::network) fn shared(
        zone: Arc<Zone>,
        host: Ipv4Addr,
        upstream: &[SocketAddr],
    ) -> Self {
        let view = Self {
            host,
            qualified: false,
            seen: RwLock::default(),
        };
        view.set(vec![zone], HashMap::new(), upstream);
        view
    }

    /// Returns the view of one container, which sees nothing yet.
    pub(in crate::network) fn own(host: Ipv4Addr) -> Self {
        Self {
            host,
            qualified: true,
            seen: RwLock::default(),
        }
    }

    /// Says what is seen from now on; links are alias and name in lower case.
    pub(in crate::network) fn set(
        &self,
        zones: Vec<Arc<Zone>>,
        links: HashMap<String, String>,
        upstream: &[SocketAddr],
    ) {
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = Seen {
            zones,
            links,
            upstream: upstream.into(),
        };
    }

    /// Returns the servers that answer for other names.
    pub(super) fn upstream(&self) -> Arc<[SocketAddr]> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.upstream.clone()
    }

    /// Returns the addresses of a name in lower case without a final dot, none
    /// if it is not ours. A container cannot take the host's names.
    pub(super) fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        if HOST_NAMES.contains(&name) {
            return Some(vec![self.host.into()]);
        }
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let name = seen.links.get(name).map_or(name, String::as_str);
        let mut zones = seen.zones.iter();
        zones.find_map(|zone| zone.addresses(name)).map(shortened)
    }

    /// Returns the name of an address; see [`Zone::name`].
    pub(super) fn name(&self, address: IpAddr) -> Option<Option<String>> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.zones.iter().find_map(|zone| {
            let name = zone.name(address)?;
            Some(match self.qualified {
                true => name.map(|name| format!("{name}.{}", zone.network())),
                false => name,
            })
        })
    }
}
