//! `--link` on the default bridge, which has no aliases: there the names of one's
//! own are in the hosts file, and the environment tells of the linked containers,
//! both in Docker's form (daemon/links in its source).

use std::fs;

use super::moves::networks;
use super::wanted::link;
use crate::container::error::Error;
use crate::container::record::{Record, Status};
use crate::container::{Container, Containers, chain};

/// A container that another one has a name of its own for.
#[derive(Debug)]
pub(in crate::container) struct Link {
    alias: String,
    /// What the linked container is called, and what it calls itself.
    name: String,
    hostname: String,
    address: String,
    environment: Vec<String>,
    ports: Vec<Port>,
}

/// A port as Docker sorts them: by number, TCP before UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    number: u16,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Port {
    /// Reads "80/tcp" or "80".
    fn read(text: &str) -> Option<Self> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return None,
        };
        let number = number.parse().ok()?;
        Some(Self { number, protocol })
    }

    fn protocol(self) -> (&'static str, &'static str) {
        match self.protocol {
            Protocol::Tcp => ("tcp", "TCP"),
            Protocol::Udp => ("udp", "UDP"),
            Protocol::Sctp => ("sctp", "SCTP"),
        }
    }
}

impl Link {
    /// Returns the line of a hosts file.
    pub(in crate::container) fn line(&self) -> String {
        format!("{}\t{}", self.address, self.names())
    }

    fn names(&self) -> String {
        match self.alias == self.name {
            true => format!("{} {}", self.alias, self.hostname),
            false => format!("{} {} {}", self.alias, self.hostname, self.name),
        }
    }

    /// Returns the variables that tell the container `parent` of it.
    pub(in crate::container) fn variables(&self, parent: &str) -> Vec<String> {
        let alias = self.alias.to_uppercase().replace('-', "_");
        let mut variables = Vec::new();
        if let Some(first) = self.ports.first() {
            let url = self.url(*first);
            variables.push(format!("{alias}_PORT={url}"));
        }
        let mut rest = self.ports.as_slice();
        while let Some(first) = rest.first() {
            let run = contiguous(rest);
            // Docker's: a run of two is none.
            let taken = match run {
                ..=2 => 1,
                _ => {
                    self.tell_run(&alias, *first, rest[run - 1], &mut variables);
                    run
                }
            };
            rest = &rest[taken..];
        }
        for port in &self.ports {
            let (protocol, upper) = port.protocol();
            let name = format!("{alias}_PORT_{}_{upper}", port.number);
            variables.push(format!("{name}={}", self.url(*port)));
            variables.push(format!("{name}_ADDR={}", self.address));
            variables.push(format!("{name}_PORT={}", port.number));
            variables.push(format!("{name}_PROTO={protocol}"));
        }
        variables.push(format!("{alias}_NAME=/{parent}/{}", self.alias));
        for variable in &self.environment {
            let name = variable.split('=').next().unwrap_or_default();
            if !matches!(name, "HOME" | "PATH") {
                variables.push(format!("{alias}_ENV_{variable}"));
            }
        }
        variables
    }

    fn tell_run(&self, alias: &str, first: Port, last: Port, variables: &mut Vec<String>) {
        let (protocol, upper) = first.protocol();
        let begin = format!("{alias}_PORT_{}_{upper}", first.number);
        variables.push(format!("{begin}_START={}", self.url(first)));
        variables.push(format!("{begin}_ADDR={}", self.address));
        variables.push(format!("{begin}_PROTO={protocol}"));
        variables.push(format!("{begin}_PORT_START={}", first.number));
        let (_, upper) = last.protocol();
        let end = format!("{alias}_PORT_{}_{upper}", last.number);
        variables.push(format!("{end}_END={}", self.url(last)));
        variables.push(format!("{begin}_PORT_END={}", last.number));
    }

    fn url(&self, port: Port) -> String {
        let (protocol, _) = port.protocol();
        format!("{protocol}://{}:{}", self.address, port.number)
    }
}

/// Returns how many ports from the first on have numbers in a row.
fn contiguous(ports: &[Port]) -> usize {
    let in_a_row = |pair: &&[Port]| pair[1].number <= pair[0].number.saturating_add(1);
    1 + ports.windows(2).take_while(in_a_row).count()
}

impl Containers {
    /// Returns the containers that a container is linked to on the default
    /// bridge.
    ///
    /// # Errors
    ///
    /// In Docker's words, where one does not run or is not there.
    pub(in crate::container) fn links(&self, record: &Record) -> Result<Vec<Link>, Error> {
        let on_default = record.spec.networks.iter();
        let on_default = on_default.filter(|attachment| attachment.network == "bridge");
        let links = on_default.flat_map(|attachment| &attachment.links);
        links.map(|text| self.linked(text)).collect()
    }

    fn linked(&self, text: &str) -> Result<Link, Error> {
        let (name, alias) = link(text);
        let linked = self.find(name)?;
        let record = linked.record();
        if linked.status() != Status::Running {
            return Err(Error::State(format!(
                "Cannot link to a non running container: /{} AS {alias}",
                record.name
            )));
        }
        let mut places = record.state.endpoints.iter();
        let place = places.find(|place| place.network_name == "bridge");
        let place = place.ok_or_else(|| {
            Error::State(format!(
                "Cannot link to /{}, as it does not belong to the default network",
                record.name
            ))
        })?;
        Ok(Link {
            alias: alias.to_owned(),
            address: place.ip_address.clone(),
            environment: crate::container::validate::merged_environment(
                &record.spec,
                &record.image_config,
            ),
            ports: ports(&record),
            name: record.name,
            hostname: record.hostname,
        })
    }

    /// Puts a container's new address into the hosts files of those that are
    /// linked to it.
    pub(in crate::container) fn tell_linking(&self, container: &Container) {
        for other in self.all() {
            let links_here = |text: &String| {
                let found = self.find(link(text).0);
                found.is_ok_and(|linked| linked.id == container.id)
            };
            if other.status() != Status::Running {
                continue;
            }
            for attachment in networks(&other) {
                if attachment.network != "bridge" {
                    continue;
                }
                for text in attachment.links.iter().filter(|text| links_here(text)) {
                    let told = self.linked(text).map(|link| relink(&other, &link));
                    if let Ok(Err(error)) = told {
                        tracing::warn!(
                            container = other.id,
                            "cannot write its hosts: {}",
                            chain(&error)
                        );
                    }
                }
            }
        }
    }
}

/// Puts the line of a link in the place of the one before. The file is written in
/// place, because it is mounted.
fn relink(container: &Container, link: &Link) -> std::io::Result<()> {
    let path = container.paths.directory.join("hosts");
    let before = fs::read_to_string(&path)?;
    let after = relinked(&before, link);
    match after == before {
        true => Ok(()),
        false => fs::write(&path, after),
    }
}

fn relinked(hosts: &str, link: &Link) -> String {
    let names = link.names();
    let lines = hosts.lines().map(|line| match line.split_once('\t') {
        Some((_, of)) if of == names => link.line() + "\n",
        _ => line.to_owned() + "\n",
    });
    lines.collect()
}

/// Returns the ports of the image, those exposed and those published.
fn ports(record: &Record) -> Vec<Port> {
    let published = record.spec.ports.iter();
    let published = published.map(|port| format!("{}/{}", port.container_port, port.protocol));
    let exposed = record.image_config.exposed_ports.iter();
    let exposed = exposed.chain(&record.spec.exposed_ports).cloned();
    let mut ports: Vec<_> = exposed
        .chain(published)
        .filter_map(|text| Port::read(text.trim_end_matches('/')))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(alias: &str, ports: &[&str]) -> Link {
        let mut ports: Vec<_> = ports.iter().map(|text| Port::read(text).unwrap()).collect();
        ports.sort_unstable();
        Link {
            alias: alias.to_owned(),
            name: "db".to_owned(),
            hostname: "0123456789ab".to_owned(),
            address: "172.17.0.2".to_owned(),
            environment: ["PATH=/bin", "HOME=/", "USER=me"]
                .map(str::to_owned)
                .to_vec(),
            ports,
        }
    }

    #[test]
    fn a_line_has_the_alias_the_host_name_and_the_name() {
        assert_eq!(
            link("store", &[]).line(),
            "172.17.0.2\tstore 0123456789ab db"
        );
        assert_eq!(link("db", &[]).line(), "172.17.0.2\tdb 0123456789ab");
    }

    #[test]
    fn the_environment_is_dockers() {
        let link = link("my-store", &["5432", "53/udp", "53/tcp"]);
        assert_eq!(
            link.variables("web"),
            [
                "MY_STORE_PORT=tcp://172.17.0.2:53",
                "MY_STORE_PORT_53_TCP=tcp://172.17.0.2:53",
                "MY_STORE_PORT_53_TCP_ADDR=172.17.0.2",
                "MY_STORE_PORT_53_TCP_PORT=53",
                "MY_STORE_PORT_53_TCP_PROTO=tcp",
                "MY_STORE_PORT_53_UDP=udp://172.17.0.2:53",
                "MY_STORE_PORT_53_UDP_ADDR=172.17.0.2",
                "MY_STORE_PORT_53_UDP_PORT=53",
                "MY_STORE_PORT_53_UDP_PROTO=udp",
                "MY_STORE_PORT_5432_TCP=tcp://172.17.0.2:5432",
                "MY_STORE_PORT_5432_TCP_ADDR=172.17.0.2",
                "MY_STORE_PORT_5432_TCP_PORT=5432",
                "MY_STORE_PORT_5432_TCP_PROTO=tcp",
                "MY_STORE_NAME=/web/my-store",
                "MY_STORE_ENV_USER=me",
            ]
        );
    }

    #[test]
    fn a_run_of_ports_is_told_as_one_too() {
        let variables = link("db", &["80", "81", "82", "90"]).variables("web");
        assert_eq!(
            variables[1..7],
            [
                "DB_PORT_80_TCP_START=tcp://172.17.0.2:80",
                "DB_PORT_80_TCP_ADDR=172.17.0.2",
                "DB_PORT_80_TCP_PROTO=tcp",
                "DB_PORT_80_TCP_PORT_START=80",
                "DB_PORT_82_TCP_END=tcp://172.17.0.2:82",
                "DB_PORT_80_TCP_PORT_END=82",
            ]
        );
        let two = link("db", &["80", "81"]).variables("web");
        assert!(!two.iter().any(|variable| variable.contains("_START")));
    }

    #[test]
    fn a_new_address_takes_the_place_of_the_old_one() {
        let mut link = link("store", &[]);
        let hosts = format!("127.0.0.1\tlocalhost\n{}\n10.0.0.1\tstore\n", link.line());
        link.address = "172.17.0.9".to_owned();
        assert_eq!(
            relinked(&hosts, &link),
            "127.0.0.1\tlocalhost\n172.17.0.9\tstore 0123456789ab db\n10.0.0.1\tstore\n"
        );
    }
}
