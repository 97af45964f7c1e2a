//! What all drivers share: options, records, addresses in use, names.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::address::{AddressPool, hardware_address, hardware_address_text};
use super::dns::Zone;
use super::options::Options;
use super::record::{Record, RecordFolder};
use super::{Attachment, NetworkError, NetworkMode};

/// What all drivers share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) options: Options,
    pub(super) zone: Arc<Zone>,
    folder: RecordFolder,
    state: Mutex<State>,
    busy: Mutex<HashSet<String>>,
    idle: Condvar,
}

#[derive(Debug)]
struct State {
    records: BTreeMap<String, Record>,
    pool: Option<AddressPool>,
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
    /// Reads the records that an earlier process left.
    pub(super) fn open(options: Options, zone: Arc<Zone>) -> Result<Self, NetworkError> {
        let folder = RecordFolder::open(options.run.join("network"))?;
        let pool = options
            .bridge
            .as_ref()
            .map(|bridge| AddressPool::new(bridge.subnet));
        let mut state = State {
            records: BTreeMap::new(),
            pool,
        };
        for record in folder.read_all()? {
            if let (Some(address), Some(pool)) = (record.address, &mut state.pool) {
                if !pool.reserve(address) {
                    tracing::warn!(container = record.id, %address, "address is not of the range or held twice");
                }
                zone.insert(address, &record.names);
            }
            state.records.insert(record.id.clone(), record);
        }
        Ok(Self {
            options,
            zone,
            folder,
            state: Mutex::new(state),
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

    /// Strikes a container out for everybody but the kernel. Its address stays
    /// taken until [`Context::forget`].
    pub(super) fn detach(&self, id: &str) {
        if let Some(record) = lock(&self.state).records.get_mut(id) {
            record.leaving = true;
            if let Some(address) = record.address {
                self.zone.remove(address);
            }
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

    /// Keeps a record with an address and the name of a veth interface of its
    /// own. From here on the names are answered.
    pub(super) fn keep_with_address(&self, mut record: Record) -> Result<Record, NetworkError> {
        let mut state = lock(&self.state);
        let State { records, pool } = &mut *state;
        let (Some(pool), Some(bridge)) = (pool, &self.options.bridge) else {
            return Err(NetworkError::BridgeDisabled);
        };
        let address = pool
            .take()
            .ok_or_else(|| NetworkError::AddressesExhausted {
                subnet: bridge.subnet.to_string(),
            })?;
        record.address = Some(address);
        record.veth = Some(free_interface_name(&record.id, |name| {
            records
                .values()
                .any(|other| other.veth.as_deref() == Some(name))
        }));
        if let Err(error) = self.folder.write(&record) {
            pool.release(address);
            return Err(error);
        }
        records.insert(record.id.clone(), record.clone());
        self.zone.insert(address, &record.names);
        Ok(record)
    }

    /// Forgets a record and gives its address back.
    pub(super) fn forget(&self, record: &Record) -> Result<(), NetworkError> {
        if let Some(address) = record.address {
            self.zone.remove(address);
        }
        self.folder.remove(&record.id)?;
        let mut state = lock(&self.state);
        if let (Some(_), Some(address), Some(pool)) = (
            state.records.remove(&record.id),
            record.address,
            &mut state.pool,
        ) {
            pool.release(address);
        }
        Ok(())
    }

    /// Returns what a record's container has.
    pub(super) fn attachment(&self, record: &Record) -> Attachment {
        let mut attachment = Attachment {
            netns: None,
            address: None,
            prefix_length: 0,
            gateway: None,
            mac: None,
            dns: self
                .options
                .upstream
                .iter()
                .map(|server| server.ip())
                .collect(),
            host_address: self.options.host_address,
            host_network: false,
        };
        match &record.mode {
            NetworkMode::Host => attachment.host_network = true,
            NetworkMode::None => attachment.netns = Some(self.netns(&record.id)),
            NetworkMode::Bridge => {
                attachment.netns = Some(self.netns(&record.id));
                attachment.address = record.address;
                attachment.mac = record
                    .address
                    .map(|address| hardware_address_text(hardware_address(address)));
                if let Some(bridge) = &self.options.bridge {
                    let gateway: Ipv4Addr = bridge.subnet.gateway();
                    attachment.prefix_length = bridge.subnet.prefix_length();
                    attachment.gateway = Some(gateway);
                    attachment.dns = vec![IpAddr::V4(gateway)];
                }
            }
            NetworkMode::Container(target) => match self.attached(target) {
                // Never a chain: the driver writes the last one's id down.
                Some(target) if !matches!(target.mode, NetworkMode::Container(_)) => {
                    attachment = self.attachment(&target);
                }
                _ => attachment.netns = Some(self.netns(target)),
            },
        }
        attachment
    }
}

/// Returns "veth" and seven digits made of the id (FNV-1a), the first such
/// name that is free. Interface names are at most 15 bytes long.
fn free_interface_name(id: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in id.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    loop {
        let name = format!("veth{:07x}", (hash ^ (hash >> 28)) & 0x0fff_ffff);
        if !taken(&name) {
            return name;
        }
        hash = hash.wrapping_add(1);
    }
}
