//! What a container can ask of its interface on a network: Docker's options of an
//! endpoint's driver (`--network name=front,driver-opt=…`, Compose's `driver_opts` and
//! `interface_name`).

use std::collections::HashMap;
use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

use super::NetworkError;

/// The option that names the interface in the container.
const NAME_OPTION: &str = "com.docker.network.endpoint.ifname";
/// The option with the interface's sysctls, separated by commas:
/// "net.ipv4.conf.IFNAME.log_martians=1".
const SYSCTLS_OPTION: &str = "com.docker.network.endpoint.sysctls";

/// The longest name of an interface, bytes (IFNAMSIZ without the zero).
const LONGEST_NAME: usize = 15;

/// What an interface is to be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterfaceOptions {
    /// Its name in the container; none: the first of eth0, eth1 and so on.
    pub(super) name: Option<String>,
    pub(super) sysctls: Vec<Sysctl>,
}

/// A setting of one interface in `/proc/sys/GROUP/INTERFACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sysctl {
    /// "net/ipv4/conf"
    group: String,
    name: String,
    value: String,
}

impl InterfaceOptions {
    /// Reads an endpoint's options; those that are not for the interface are left
    /// alone.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Invalid`] where a value can be no name or no sysctl.
    pub(crate) fn of(options: &HashMap<String, String>) -> Result<Self, NetworkError> {
        let name = options.get(NAME_OPTION);
        if let Some(name) = name {
            check_name(name)?;
        }
        let sysctls = options.get(SYSCTLS_OPTION).map_or("", String::as_str);
        let sysctls = sysctls.split(',').filter(|text| !text.is_empty());
        Ok(Self {
            name: name.cloned(),
            sysctls: sysctls.map(Sysctl::read).collect::<Result<_, _>>()?,
        })
    }
}

/// Checks a name as the kernel does (dev_valid_name), and that it is not the loopback's.
fn check_name(name: &str) -> Result<(), NetworkError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    let why = match name {
        "" => "it is empty",
        "lo" => "it is the loopback's",
        "." | ".." => "the kernel takes it for a folder",
        "all" | "default" => "the kernel's settings for all interfaces have it",
        name if name.len() > LONGEST_NAME => "it is longer than 15 bytes",
        name if name.contains(bad) => "it has a blank or one of / : %",
        _ => return Ok(()),
    };
    Err(NetworkError::Invalid(format!(
        "invalid endpoint settings:\ninvalid interface name {name:?} in {NAME_OPTION}: {why}"
    )))
}

impl Sysctl {
    /// Reads "net.ipv4.conf.IFNAME.log_martians=1"; Docker's command writes it in small
    /// letters.
    fn read(text: &str) -> Result<Self, NetworkError> {
        let invalid = || {
            NetworkError::Invalid(format!(
                "invalid endpoint settings:\nunrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
            ))
        };
        // Each becomes a part of a path.
        let plain = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            !part.is_empty() && part.chars().all(plain)
        };
        let (key, value) = text.split_once('=').ok_or_else(invalid)?;
        let parts: Vec<_> = key.split('.').collect();
        match parts.as_slice() {
            [
                "net",
                family @ ("ipv4" | "ipv6" | "mpls"),
                group,
                "IFNAME" | "ifname",
                name,
            ] if plain(group) && plain(name) => Ok(Self {
                group: format!("net/{family}/{group}"),
                name: (*name).to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(invalid()),
        }
    }

    /// Sets it for an interface of the calling thread's namespace.
    pub(super) fn set(&self, interface: &str) -> Result<(), NetworkError> {
        let path = format!("/proc/sys/{}/{interface}/{}", self.group, self.name);
        fs::write(path, &self.value).map_err(NetworkError::kernel(format!(
            "set the sysctl {self} of the interface {interface}"
        )))
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = self.group.replace('/', ".");
        write!(f, "{group}.IFNAME.{}={}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(option: &str, value: &str) -> Result<InterfaceOptions, String> {
        let options = HashMap::from([(option.to_owned(), value.to_owned())]);
        InterfaceOptions::of(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for name in ["eth7", "front", "a.b-c_d", "fifteen-letters"] {
            assert_eq!(of(NAME_OPTION, name).unwrap().name.as_deref(), Some(name));
        }
        for name in [
            "",
            "lo",
            ".",
            "..",
            "a/b",
            "a b",
            "a\nb",
            "a:b",
            "all",
            "default",
            "sixteen--letters",
        ] {
            let said = of(NAME_OPTION, name).unwrap_err();
            assert!(said.contains("invalid interface name"), "{said}");
        }
    }

    #[test]
    fn sysctls_are_read_in_both_spellings() {
        let text = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.neigh.ifname.gc_stale_time=30";
        let sysctls = of(SYSCTLS_OPTION, text).unwrap().sysctls;
        let told: Vec<_> = sysctls.iter().map(Sysctl::to_string).collect();
        assert_eq!(
            told,
            [
                "net.ipv4.conf.IFNAME.log_martians=1",
                "net.ipv6.neigh.IFNAME.gc_stale_time=30"
            ]
        );
        assert_eq!(of(SYSCTLS_OPTION, "").unwrap(), InterfaceOptions::default());
        assert_eq!(of("else", "what").unwrap(), InterfaceOptions::default());
    }

    #[test]
    fn a_sysctl_is_of_one_interface_and_leads_nowhere_else() {
        for text in [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.all.log_martians=1",
            "net.core.x.IFNAME.y=1",
            "kernel.x.y.IFNAME.z=1",
            "net.ipv4.conf.IFNAME.log_martians",
            "net.ipv4.conf.IFNAME.=1",
            "net.ipv4./../../..IFNAME.x=1",
            "net.ipv4.conf.IFNAME./etc/passwd=1",
            "net.ipv4.conf.IFNAME.a.b=1",
        ] {
            let said = of(SYSCTLS_OPTION, text).unwrap_err();
            assert!(
                said.contains("unrecognised network interface sysctl"),
                "{said}"
            );
        }
    }
}
