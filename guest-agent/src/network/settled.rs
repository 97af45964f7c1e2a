//! Where the default network is: at its usual subnet, or where that is one of the
//! host's networks or of another one here, at the next that is free. Settled once
//! in a machine's life, while no container runs.

use std::fs;
use std::io;
use std::net::IpAddr;

use super::definition::Definition;
use super::options::{BridgeOptions, Options};
use super::plan::free_subnet;
use super::prefix::Prefix;
use super::{NetworkError, Subnet};

/// The file in the folder that ends with the machine.
const FILE: &str = "default-subnet";

/// Returns the default bridge, with the subnet that it has until the machine ends.
pub(super) fn settled(
    options: &Options,
    bridge: &BridgeOptions,
    others: &[Definition],
) -> Result<BridgeOptions, NetworkError> {
    let path = options.run.join(FILE);
    let kept = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(NetworkError::file("read", &path)(error)),
    };
    let subnet = match kept {
        Some(subnet) => subnet,
        None => {
            let subnet = choose(bridge.subnet.prefix(), &options.avoided, others);
            fs::write(&path, format!("{subnet}\n")).map_err(NetworkError::file("write", &path))?;
            subnet
        }
    };
    let subnet = match subnet.network() {
        IpAddr::V4(network) => Subnet::new(network, subnet.length()),
        IpAddr::V6(_) => bridge.subnet,
    };
    Ok(BridgeOptions {
        subnet,
        ..bridge.clone()
    })
}

fn choose(usual: Prefix, avoided: &[Prefix], others: &[Definition]) -> Prefix {
    let free = |subnet: Prefix| {
        let others = others.iter().flat_map(Definition::subnets);
        !others
            .chain(avoided.iter().copied())
            .any(|other| other.overlaps(subnet))
    };
    if free(usual) {
        return usual;
    }
    let chosen = free_subnet(free);
    match chosen {
        Some(chosen) => {
            tracing::info!(%usual, %chosen, "the default network is not at its usual subnet, which is another network's")
        }
        None => {
            tracing::warn!(%usual, "the default network overlaps another one: no subnet is free")
        }
    }
    chosen.unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn the_default_network_makes_way_for_the_hosts_and_then_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::guest(folder.path(), folder.path());
        options.avoided = vec![prefix("172.17.128.0/17"), prefix("172.18.0.0/16")];
        let bridge = options.bridge.clone().unwrap();
        let made = settled(&options, &bridge, &[]).unwrap();
        assert_eq!(made.subnet.prefix(), prefix("172.19.0.0/16"));
        // The next agent of the same machine asks no more.
        options.avoided = vec![prefix("172.19.0.0/16")];
        let again = settled(&options, &bridge, &[]).unwrap();
        assert_eq!(again, made);
    }

    #[test]
    fn it_is_where_it_is_usually_unless_another_network_is_there() {
        let usual = prefix("172.17.0.0/16");
        assert_eq!(choose(usual, &[prefix("10.0.0.0/8")], &[]), usual);
        let other = super::super::Range::whole(prefix("172.17.4.0/24"));
        let other = Definition::new("0".repeat(64), "other", 0, other);
        assert_eq!(choose(usual, &[], &[other]), prefix("172.18.0.0/16"));
        // Better where it always was than nowhere.
        assert_eq!(
            choose(usual, &[prefix("0.0.0.0/1"), prefix("128.0.0.0/1")], &[]),
            usual
        );
    }
}
