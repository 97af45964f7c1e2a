//! Linux tells of its routes in `/proc/net`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Route;

/// Bits of `linux/route.h`: the route is in use, and it refuses packets.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

/// Returns the routes that carry packets.
pub(super) fn routes() -> Vec<Route> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    parse(&read("/proc/net/route"), &read("/proc/net/ipv6_route"))
}

fn parse(ipv4: &str, ipv6: &str) -> Vec<Route> {
    let four = ipv4.lines().skip(1).filter_map(four);
    four.chain(ipv6.lines().filter_map(six)).collect()
}

/// Reads "eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0": the numbers are
/// in the processor's own order of bytes.
fn four(line: &str) -> Option<Route> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let number = |place: usize| u32::from_str_radix(fields.get(place)?, 16).ok();
    let (destination, flags, mask) = (number(1)?, number(3)?, number(7)?);
    used(flags).then(|| Route {
        destination: Ipv4Addr::from(destination.to_ne_bytes()).into(),
        length: mask.count_ones() as u8,
    })
}

/// Reads "fd000000…0000 40 0000…0000 00 0000…0000 00000100 00000001 00000000
/// 00000001 eth0".
fn six(line: &str) -> Option<Route> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let destination = u128::from_str_radix(fields.first()?, 16).ok()?;
    let length = u8::from_str_radix(fields.get(1)?, 16).ok()?;
    let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
    used(flags).then(|| Route {
        destination: Ipv6Addr::from_bits(destination).into(),
        length,
    })
}

fn used(flags: u32) -> bool {
    flags & UP != 0 && flags & REJECT == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_cards_and_vpns_are_read_and_no_others() {
        let ipv4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            tun0\t0000080A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            half a line\n";
        let ipv6 = "fd000000000000010000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n\
            fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n\
            00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n";
        assert_eq!(
            super::super::of_routes(parse(ipv4, ipv6)),
            ["10.8.0.0/16", "192.0.2.0/24", "fd00:0:0:1::/64"]
        );
        assert!(parse("", "").is_empty());
    }
}
