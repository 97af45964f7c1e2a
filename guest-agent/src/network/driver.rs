//! The seat of a network driver, and the three drivers that need no bridge.

use super::context::Context;
use super::netlink::{self, Netlink};
use super::record::Record;
use super::{NetworkError, NetworkMode, SetupRequest, namespace};

/// One kind of network.
pub(super) trait Driver: Send + Sync {
    /// Returns the name that users give it.
    fn name(&self) -> &'static str;
    /// Tells whether the request can be met, before anything is made.
    fn validate(&self, context: &Context, request: &SetupRequest) -> Result<(), NetworkError>;
    /// Makes what the container needs. What a failed attempt leaves, `teardown`
    /// of the record that it kept removes.
    fn setup(&self, context: &Context, request: &SetupRequest) -> Result<Record, NetworkError>;
    /// Takes the container's network away, goes on after failures, and returns
    /// all of them. Fine if there is nothing.
    fn teardown(&self, context: &Context, record: &Record) -> Vec<NetworkError>;
    /// Removes what the kernel takes long to remove and nobody needs to wait
    /// for. Until it has succeeded nobody else gets the address.
    fn reclaim(&self, _: &Context, _: &Record) -> Vec<NetworkError> {
        Vec::new()
    }
}

/// Returns the record that a request begins with. The short id is a name too,
/// as in Docker.
pub(super) fn new_record(request: &SetupRequest, mode: NetworkMode) -> Record {
    let names = full_names(&request.names, &request.id);
    Record {
        id: request.id.clone(),
        mode,
        names,
        endpoints: Vec::new(),
        links: Vec::new(),
        name_servers: request.name_servers.clone(),
        resolver_port: None,
        leaving: false,
    }
}

/// Returns a container's names in lower case, each once, with its short id.
pub(super) fn full_names(names: &[String], id: &str) -> Vec<String> {
    let mut full: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    full.extend(id.get(..12).map(str::to_lowercase));
    full.retain(|name| !name.is_empty());
    let mut seen = std::collections::HashSet::new();
    full.retain(|name| seen.insert(name.clone()));
    full
}

/// The guest's own network.
pub(super) struct Host;

impl Driver for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn validate(&self, _: &Context, _: &SetupRequest) -> Result<(), NetworkError> {
        Ok(())
    }

    fn setup(&self, context: &Context, request: &SetupRequest) -> Result<Record, NetworkError> {
        let record = new_record(request, NetworkMode::Host);
        context.keep(record.clone())?;
        Ok(record)
    }

    fn teardown(&self, _: &Context, _: &Record) -> Vec<NetworkError> {
        Vec::new()
    }
}

/// A namespace with a loopback interface only.
pub(super) struct Isolated;

impl Driver for Isolated {
    fn name(&self) -> &'static str {
        "none"
    }

    fn validate(&self, _: &Context, _: &SetupRequest) -> Result<(), NetworkError> {
        Ok(())
    }

    fn setup(&self, context: &Context, request: &SetupRequest) -> Result<Record, NetworkError> {
        let record = new_record(request, NetworkMode::None);
        context.keep(record.clone())?;
        namespace::create(&context.netns(&record.id), |_| {
            Netlink::open()
                .and_then(|mut kernel| kernel.execute(vec![netlink::set_up("lo")]))
                .map_err(NetworkError::kernel("bring the loopback interface up"))
        })?;
        Ok(record)
    }

    fn teardown(&self, context: &Context, record: &Record) -> Vec<NetworkError> {
        namespace::remove(&context.netns(&record.id))
            .err()
            .into_iter()
            .collect()
    }
}

/// The network of another container.
pub(super) struct Joined;

impl Driver for Joined {
    fn name(&self) -> &'static str {
        "container"
    }

    fn validate(&self, context: &Context, request: &SetupRequest) -> Result<(), NetworkError> {
        target(context, request).map(drop)
    }

    fn setup(&self, context: &Context, request: &SetupRequest) -> Result<Record, NetworkError> {
        let owner = target(context, request)?;
        let record = new_record(request, NetworkMode::Container(owner));
        context.keep(record.clone())?;
        Ok(record)
    }

    fn teardown(&self, _: &Context, _: &Record) -> Vec<NetworkError> {
        // The namespace is the other container's.
        Vec::new()
    }
}

/// Returns the container whose own network the request ends at.
fn target(context: &Context, request: &SetupRequest) -> Result<String, NetworkError> {
    let NetworkMode::Container(name) = &request.mode else {
        return Err(NetworkError::UnknownNetwork(format!("{:?}", request.mode)));
    };
    let not_running = || NetworkError::TargetNotRunning(name.clone());
    let record = context
        .record(name)
        .filter(|record| record.id != request.id);
    let owner = match record.ok_or_else(not_running)? {
        Record {
            mode: NetworkMode::Container(owner),
            ..
        } => context.attached(&owner).ok_or_else(not_running)?,
        record => record,
    };
    if owner.id == request.id {
        Err(not_running())
    } else {
        Ok(owner.id)
    }
}
