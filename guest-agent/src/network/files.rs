//! The contents of a container's `/etc/hosts` and `/etc/resolv.conf`, in
//! Docker's form.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Attachment, NetworkError};

/// The lines that every container's hosts file begins with, as Docker's.
const DEFAULT_HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The names that stand for the host.
pub(super) const HOST_NAMES: [&str; 3] = [
    "host.docker.internal",
    "host.wherry.internal",
    "gateway.docker.internal",
];

/// Returns a container's `/etc/hosts`. Each of `extra_hosts` is "name:address",
/// where the address may be `host-gateway`, as for Docker's `--add-host`.
///
/// A container in the guest's own network does not ask the embedded name
/// server, so the host's names stand in its file.
///
/// # Errors
/// [`NetworkError::InvalidExtraHost`].
pub(crate) fn hosts(
    attachment: &Attachment,
    hostname: &str,
    extra_hosts: &[String],
) -> Result<String, NetworkError> {
    let mut file = DEFAULT_HOSTS.to_owned();
    for line in extra_hosts {
        let (address, name) = extra_host(attachment, line)
            .ok_or_else(|| NetworkError::InvalidExtraHost(line.clone()))?;
        let _ = writeln!(file, "{address}\t{name}");
    }
    if attachment.host_network {
        let _ = writeln!(
            file,
            "{}\t{}",
            attachment.host_address,
            HOST_NAMES.join(" ")
        );
    }
    if let Some(address) = attachment.address {
        // "web.example.org" is known as "web" too.
        let _ = match hostname.split_once('.') {
            Some((short, _)) => writeln!(file, "{address}\t{hostname} {short}"),
            None => writeln!(file, "{address}\t{hostname}"),
        };
    }
    Ok(file)
}

/// Returns the address and the name of "name:address" or "name=address". The
/// address may hold colons, and may stand in brackets.
fn extra_host<'a>(attachment: &Attachment, line: &'a str) -> Option<(IpAddr, &'a str)> {
    let (name, address) = line.split_once('=').or_else(|| line.split_once(':'))?;
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '#') {
        return None;
    }
    if address == "host-gateway" {
        return Some((attachment.host_address.into(), name));
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    Some((bare.unwrap_or(address).parse().ok()?, name))
}

/// Returns a container's `/etc/resolv.conf`; `dns` are the addresses of
/// Docker's `--dns`, which take the place of the embedded name server.
///
/// # Errors
/// [`NetworkError::InvalidDnsServer`].
pub(crate) fn resolv_conf(attachment: &Attachment, dns: &[String]) -> Result<String, NetworkError> {
    let mut servers = Vec::new();
    for server in dns {
        let server: IpAddr = server
            .parse()
            .map_err(|_| NetworkError::InvalidDnsServer(server.clone()))?;
        servers.push(server);
    }
    if servers.is_empty() {
        servers.clone_from(&attachment.dns);
    }
    Ok(servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect())
}
