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
    for line in own_lines(attachment, hostname) {
        let _ = writeln!(file, "{line}");
    }
    Ok(file)
}

/// Returns the lines of a hosts file that are about the container itself, one
/// for each of its addresses.
pub(crate) fn own_lines(attachment: &Attachment, hostname: &str) -> Vec<String> {
    // "web.example.org" is known as "web" too.
    let names = match hostname.split_once('.') {
        Some((short, _)) => format!("{hostname} {short}"),
        None => hostname.to_owned(),
    };
    let endpoints = attachment.endpoints.iter();
    let addresses = endpoints.flat_map(|endpoint| {
        let ipv6 = endpoint.ipv6.map(|(address, _)| address);
        [Some(endpoint.ipv4), ipv6].into_iter().flatten()
    });
    addresses
        .map(|address| format!("{address}\t{names}"))
        .collect()
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

/// What the user says about name resolution.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ResolverOptions<'a> {
    /// The addresses of Docker's `--dns`. A container with a name server of its
    /// own asks them through that one.
    pub(crate) servers: &'a [String],
    /// Docker's `--dns-search`; "." is none at all.
    pub(crate) search: &'a [String],
    /// Docker's `--dns-option`.
    pub(crate) options: &'a [String],
}

/// Returns a container's `/etc/resolv.conf`.
///
/// # Errors
/// [`NetworkError::InvalidDnsServer`].
pub(crate) fn resolv_conf(
    attachment: &Attachment,
    wanted: ResolverOptions<'_>,
) -> Result<String, NetworkError> {
    let mut servers = name_servers(wanted.servers)?;
    if servers.is_empty() || attachment.own_name_server {
        servers.clone_from(&attachment.dns);
    }
    let mut file: String = servers
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    let search: Vec<_> = wanted.search.iter().filter(|name| *name != ".").collect();
    if !search.is_empty() {
        let names: Vec<_> = search.iter().map(|name| name.as_str()).collect();
        let _ = writeln!(file, "search {}", names.join(" "));
    }
    let mut options: Vec<&str> = wanted.options.iter().map(String::as_str).collect();
    if attachment.own_name_server && !options.iter().any(|option| option.starts_with("ndots:")) {
        // As Docker: names without a dot are asked for as they are.
        options.push("ndots:0");
    }
    if !options.is_empty() {
        let _ = writeln!(file, "options {}", options.join(" "));
    }
    Ok(file)
}

/// Reads the addresses of Docker's `--dns`.
///
/// # Errors
/// [`NetworkError::InvalidDnsServer`].
pub(crate) fn name_servers(texts: &[String]) -> Result<Vec<IpAddr>, NetworkError> {
    let servers = texts.iter().map(|text| {
        text.parse()
            .map_err(|_| NetworkError::InvalidDnsServer(text.clone()))
    });
    servers.collect()
}
