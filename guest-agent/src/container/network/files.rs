//! A running container's `/etc/hosts` and `/etc/resolv.conf` when its networks
//! change: what the container itself wrote there stays.

use std::fs;

use crate::container::{Container, chain};
use crate::network::{Attachment, ResolverOptions, own_lines, resolv_conf};

/// Writes what a change of networks makes of a container's files. They are
/// written in place, because they are mounted.
pub(super) fn refresh(container: &Container, before: &Attachment, after: &Attachment) {
    let record = container.record();
    let hosts = container.paths.directory.join("hosts");
    let (old, new) = (
        own_lines(before, &record.hostname),
        own_lines(after, &record.hostname),
    );
    let mut written = fs::read_to_string(&hosts).and_then(|text| {
        let kept = text
            .lines()
            .filter(|line| !old.iter().any(|old| old == line))
            .map(str::to_owned);
        let text: Vec<String> = kept.chain(new).map(|line| line + "\n").collect();
        fs::write(&hosts, text.concat())
    });
    let options = ResolverOptions {
        servers: &record.spec.dns,
        search: &record.spec.dns_search,
        options: &record.spec.dns_options,
    };
    let resolv = container.paths.directory.join("resolv.conf");
    if let (Ok(old), Ok(new)) = (resolv_conf(before, options), resolv_conf(after, options))
        && old != new
        && fs::read_to_string(&resolv).is_ok_and(|text| text == old)
    {
        written = written.and(fs::write(&resolv, new));
    }
    if let Err(error) = written {
        tracing::warn!(
            container = container.id,
            "cannot write its hosts and resolv.conf: {}",
            chain(&error)
        );
    }
}
