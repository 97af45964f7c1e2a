//! The networks that the host has routes to, from its table of routes.

use std::net::IpAddr;

#[cfg(target_os = "linux")]
mod proc;
#[cfg(target_os = "linux")]
use proc as imp;
#[cfg(not(target_os = "linux"))]
mod table;
#[cfg(not(target_os = "linux"))]
use table as imp;

/// No network that anybody calls their own is wider, by bits of its prefix:
/// 10.0.0.0/8 and fc00::/7 are the widest. VPNs that take all traffic split the
/// default route into wider ones, 0.0.0.0/1 and 128.0.0.0/1 above all, and to
/// stay clear of these would be to find no free subnet anywhere.
const WIDEST_IPV4: u8 = 8;
const WIDEST_IPV6: u8 = 7;

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Route {
    destination: IpAddr,
    length: u8,
}

/// Returns the networks that new ones should not overlap, as "10.8.0.0/16".
pub(super) fn networks() -> Vec<String> {
    of_routes(imp::routes())
}

/// Returns the destinations without default routes, the loopback's, links' own and
/// everybody's.
fn of_routes(routes: impl IntoIterator<Item = Route>) -> Vec<String> {
    let mut networks: Vec<_> = routes
        .into_iter()
        .filter(is_network)
        .map(|route| format!("{}/{}", route.destination, route.length))
        .collect();
    networks.sort();
    networks.dedup();
    networks
}

fn is_network(route: &Route) -> bool {
    let (own, lengths) = match route.destination {
        IpAddr::V4(address) => (
            !address.is_loopback()
                && !address.is_multicast()
                && !address.is_link_local()
                && !address.is_broadcast(),
            WIDEST_IPV4..=32,
        ),
        IpAddr::V6(address) => (
            !address.is_loopback() && !address.is_multicast() && !address.is_unicast_link_local(),
            WIDEST_IPV6..=128,
        ),
    };
    own && lengths.contains(&route.length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(routes: &[(&str, u8)]) -> Vec<String> {
        of_routes(routes.iter().map(|(destination, length)| Route {
            destination: destination.parse().unwrap(),
            length: *length,
        }))
    }

    #[test]
    fn networks_are_told_once_and_what_is_nobodys_own_is_not() {
        let told = networks(&[
            ("192.168.1.0", 24),
            ("10.0.0.0", 8),
            ("192.168.1.0", 24),
            ("fd00::", 8),
            ("127.0.0.0", 8),
            ("224.0.0.0", 4),
            ("239.0.0.0", 8),
            ("169.254.0.0", 16),
            ("255.255.255.255", 32),
            ("::1", 128),
            ("fe80::", 64),
            ("ff00::", 8),
        ]);
        assert_eq!(told, ["10.0.0.0/8", "192.168.1.0/24", "fd00::/8"]);
    }

    #[test]
    fn a_default_route_in_parts_is_no_network() {
        // OpenVPN's redirect-gateway, and WireGuard's AllowedIPs without the LAN.
        let told = networks(&[
            ("0.0.0.0", 0),
            ("0.0.0.0", 1),
            ("128.0.0.0", 1),
            ("8.0.0.0", 5),
            ("172.16.0.0", 12),
            ("::", 0),
            ("::", 1),
            ("2000::", 3),
        ]);
        assert_eq!(told, ["172.16.0.0/12"]);
    }

    #[test]
    fn a_length_that_no_address_has_is_no_network() {
        assert!(networks(&[("10.0.0.0", 33), ("fd00::", 129)]).is_empty());
    }
}
