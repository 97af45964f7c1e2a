//! What all drivers share: options, networks, records, addresses in use, names.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::NetworkError;
use super::definition::{Definition, DefinitionFolder, predefined_id};
use super::dns::{Server, Sockets, View, Zone};
use super::options::Options;
use super::pool::AddressPool;
use super::record::{Record, RecordFolder};
use super::resolver::Resolver;
use super::settled::settled;

/// What all drivers share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) options: Options,
    pub(super) definitions: DefinitionFolder,
    pub(super) folder: RecordFolder,
    pub(super) state: Mutex<State>,
    /// Held while a network is made or removed.
    pub(super) changing: Mutex<()>,
    resolvers: Mutex<HashMap<String, Resolver>>,
    busy: Mutex<HashSet<String>>,
    idle: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) records: BTreeMap<String, Record>,
    /// By id.
    pub(super) networks: BTreeMap<String, Live>,
}

/// A network as it is now.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) definition: Arc<Definition>,
    pub(super) ipv4: AddressPool,
    pub(super) ipv6: Option<AddressPool>,
    pub(super) zone: Arc<Zone>,
}

impl Live {
    /// Begins a network that has no container.
    pub(super) fn new(definition: Definition) -> Self {
        let subnets = definition.subnets().collect();
        Self {
            ipv4: AddressPool::new(&definition.ipv4),
            ipv6: definition.ipv6.as_ref().map(AddressPool::new),
            zone: Arc::new(Zone::new(&definition.name, subnets)),
            definition: Arc::new(definition),
        }
    }

    /// Returns the pool of an address's family.
    pub(super) fn pool(&mut self, address: IpAddr) -> Option<&mut AddressPool> {
        match address {
            IpAddr::V4(_) => Some(&mut self.ipv4),
            IpAddr::V6(_) => self.ipv6.as_mut(),
        }
    }
}

/// Takes a lock whatever a panicking holder did: the states here are whole
/// after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to work on one container's network; given back when dropped.
pub(super) struct Turn<'a> {
    context: &'a Context,
    id: &'a str,
}

impl Turn<'_> {
    /// Leaves the right with the container: [`Context::take_over`] finds it.
    pub(super) fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.context.busy).remove(self.id);
        self.context.idle.notify_all();
    }
}

impl Context {
    /// Reads the networks, and the records that an earlier process left.
    pub(super) fn open(mut options: Options) -> Result<Self, NetworkError> {
        let folder = RecordFolder::open(options.run.join("network"))?;
        let definitions = DefinitionFolder::open(options.root.join("networks"))?;
        let mut state = State::default();
        if let Some(bridge) = &options.bridge {
            let (found, damaged) = definitions.read_all()?;
            let bridge = settled(&options, bridge, &found)?;
            state.add(Definition::default_bridge(&bridge));
            options.bridge = Some(bridge);
            for (path, problem) in damaged {
                tracing::error!(path = %path.display(), "cannot use the record of a network: {problem}");
            }
            found
                .into_iter()
                .for_each(|definition| state.add(definition));
        }
        for record in folder.read_all()? {
            state.adopt(record);
        }
        Ok(Self {
            options,
            definitions,
            folder,
            state: Mutex::new(state),
            changing: Mutex::default(),
            resolvers: Mutex::default(),
            busy: Mutex::default(),
            idle: Condvar::new(),
        })
    }

    /// Waits until nobody else works on this container's network.
    pub(super) fn turn<'a>(&'a self, id: &'a str) -> Turn<'a> {
        let mut busy = lock(&self.busy);
        while busy.contains(id) {
            busy = self.idle.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        busy.insert(id.to_owned());
        Turn { context: self, id }
    }

    /// Returns the right that somebody left.
    pub(super) fn take_over<'a>(&'a self, id: &'a str) -> Turn<'a> {
        Turn { context: self, id }
    }

    /// Returns where a container's namespace is kept.
    pub(super) fn netns(&self, id: &str) -> PathBuf {
        self.netns_folder().join(id)
    }

    /// Returns the folder of the namespaces.
    pub(super) fn netns_folder(&self) -> PathBuf {
        self.options.run.join("netns")
    }

    /// Returns a container's record.
    pub(super) fn record(&self, id: &str) -> Option<Record> {
        lock(&self.state).records.get(id).cloned()
    }

    /// Returns the record of a container that has its network.
    pub(super) fn attached(&self, id: &str) -> Option<Record> {
        self.record(id).filter(|record| !record.leaving)
    }

    /// Strikes a container out for everybody but the kernel. Its addresses stay
    /// taken until [`Context::forget`].
    pub(super) fn detach(&self, id: &str) {
        let mut state = lock(&self.state);
        let State { records, networks } = &mut *state;
        if let Some(record) = records.get_mut(id) {
            record.leaving = true;
            strike_out(record, networks);
        }
    }

    /// Returns all records.
    pub(super) fn records(&self) -> Vec<Record> {
        lock(&self.state).records.values().cloned().collect()
    }

    /// Keeps a record.
    pub(super) fn keep(&self, record: Record) -> Result<(), NetworkError> {
        self.folder.write(&record)?;
        lock(&self.state).records.insert(record.id.clone(), record);
        Ok(())
    }

    /// Forgets a record and gives its addresses back.
    pub(super) fn forget(&self, record: &Record) -> Result<(), NetworkError> {
        strike_out(record, &lock(&self.state).networks);
        self.folder.remove(&record.id)?;
        let mut state = lock(&self.state);
        if state.records.remove(&record.id).is_some() {
            for endpoint in &record.endpoints {
                state.release(endpoint);
            }
        }
        Ok(())
    }

    /// Returns a network.
    pub(super) fn definition(&self, id: &str) -> Result<Arc<Definition>, NetworkError> {
        let state = lock(&self.state);
        let live = state.networks.get(id);
        live.map(|live| live.definition.clone())
            .ok_or_else(|| NetworkError::UnknownNetwork(id.to_owned()))
    }

    /// Returns a network's names.
    pub(super) fn zone(&self, id: &str) -> Result<Arc<Zone>, NetworkError> {
        let state = lock(&self.state);
        let live = state.networks.get(id);
        live.map(|live| live.zone.clone())
            .ok_or_else(|| NetworkError::UnknownNetwork(id.to_owned()))
    }

    /// Returns every network, the default one first, then by age.
    pub(super) fn networks(&self) -> Vec<Arc<Definition>> {
        let state = lock(&self.state);
        let mut networks: Vec<_> = state
            .networks
            .values()
            .map(|live| live.definition.clone())
            .collect();
        networks.sort_by_key(|network| (network.created, network.id.clone()));
        networks
    }

    /// Tells whether a container has a name server of its own: whoever is on
    /// more than the default network.
    pub(super) fn wants_resolver(&self, record: &Record) -> bool {
        let default = predefined_id("bridge");
        record
            .endpoints
            .iter()
            .any(|endpoint| endpoint.network != default)
    }

    /// Starts a container's own name server and notes its port.
    pub(super) fn keep_resolver(
        &self,
        runtime: &Handle,
        id: &str,
        sockets: Sockets,
    ) -> Result<(), NetworkError> {
        let port = sockets
            .port()
            .map_err(NetworkError::kernel("ask a name server for its port"))?;
        let view = Arc::new(View::own(self.options.host_address));
        let server = Server::start(runtime, sockets, view.clone())?;
        let resolver = Resolver {
            view,
            _server: server,
        };
        lock(&self.resolvers).insert(id.to_owned(), resolver);
        let mut state = lock(&self.state);
        match state.records.get_mut(id) {
            Some(record) if record.resolver_port != Some(port) => {
                record.resolver_port = Some(port);
                self.folder.write(record)
            }
            _ => Ok(()),
        }
    }

    /// Ends a container's own name server; fine if it has none.
    pub(super) fn drop_resolver(&self, id: &str) {
        lock(&self.resolvers).remove(id);
    }

    /// Tells a container's own name server what it sees now.
    pub(super) fn refresh_view(&self, id: &str) {
        let resolvers = lock(&self.resolvers);
        let Some(resolver) = resolvers.get(id) else {
            return;
        };
        let state = lock(&self.state);
        let Some(record) = state.records.get(id) else {
            return;
        };
        let networks = record.endpoints.iter();
        let zones = networks
            .filter_map(|endpoint| state.networks.get(&endpoint.network))
            .map(|live| live.zone.clone());
        let upstream: Vec<SocketAddr> = match record.name_servers.as_slice() {
            // What an internal network may not reach it may not ask for either.
            _ if state.way_out(record).is_none() => Vec::new(),
            [] => self.options.upstream.clone(),
            servers => servers
                .iter()
                .map(|server| SocketAddr::new(*server, 53))
                .collect(),
        };
        let links = record.links.iter().cloned().collect();
        resolver.view.set(zones.collect(), links, &upstream);
    }
}

/// Strikes a container's names out.
fn strike_out(record: &Record, networks: &BTreeMap<String, Live>) {
    for endpoint in &record.endpoints {
        if let Some(live) = networks.get(&endpoint.network) {
            endpoint
                .addresses()
                .for_each(|address| live.zone.remove(address));
        }
    }
}
