//! All connections of the device, and the list of those with something to send.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connection::Connection;
use crate::endpoint::{Endpoint, Ports};

/// The most connections at once, those included whose end the guest has not
/// confirmed yet.
pub(crate) const MAX_CONNECTIONS: usize = 8192;

/// Ports below are reserved in AF_VSOCK as in TCP.
const FIRST_PORT: u32 = 1024;

pub(crate) struct Table {
    endpoints: Mutex<Endpoints>,
    ready: Mutex<Vec<Arc<Endpoint>>>,
    /// Whether the device has been called and has not come yet.
    called: AtomicBool,
    call: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Endpoints {
    by_ports: HashMap<Ports, Arc<Endpoint>>,
    /// Closed by their stream, not yet confirmed by the guest, oldest first.
    /// May name endpoints that are gone.
    lingering: VecDeque<Ports>,
    next_port: u32,
    shut_down: bool,
}

/// Why no connection could be added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AddError {
    Full,
    ShutDown,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("connections", &self.len())
            .finish_non_exhaustive()
    }
}

impl Table {
    /// `call` wakes the device's thread.
    pub(crate) fn new(call: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            endpoints: Mutex::default(),
            ready: Mutex::default(),
            called: AtomicBool::new(false),
            call,
        }
    }

    /// Adds a connection to a port of the guest and schedules its request.
    pub(crate) fn add(&self, guest: u32) -> Result<Arc<Endpoint>, AddError> {
        let mut endpoints = self.endpoints();
        if endpoints.shut_down {
            return Err(AddError::ShutDown);
        }
        if endpoints.by_ports.len() >= MAX_CONNECTIONS && !endpoints.evict() {
            return Err(AddError::Full);
        }
        let ports = endpoints.free_ports(guest);
        let endpoint = Arc::new(Endpoint::new(ports));
        endpoints.by_ports.insert(ports, endpoint.clone());
        drop(endpoints);
        self.schedule(&endpoint);
        Ok(endpoint)
    }

    pub(crate) fn get(&self, ports: Ports) -> Option<Arc<Endpoint>> {
        self.endpoints().by_ports.get(&ports).cloned()
    }

    pub(crate) fn remove(&self, ports: Ports) {
        self.endpoints().by_ports.remove(&ports);
    }

    /// Returns the number of connections, lingering ones included.
    pub(crate) fn len(&self) -> usize {
        self.endpoints().by_ports.len()
    }

    /// Records that a connection has lost its stream.
    pub(crate) fn linger(&self, endpoint: &Endpoint) {
        let done = endpoint.lock().connection.is_done();
        let mut endpoints = self.endpoints();
        if done {
            endpoints.by_ports.remove(&endpoint.ports);
            return;
        }
        endpoints.lingering.push_back(endpoint.ports);
        if endpoints.lingering.len() > 2 * MAX_CONNECTIONS {
            let Endpoints {
                by_ports,
                lingering,
                ..
            } = &mut *endpoints;
            lingering.retain(|ports| by_ports.contains_key(ports));
        }
    }

    /// Hands an endpoint to the device if it has something to send.
    pub(crate) fn schedule(&self, endpoint: &Arc<Endpoint>) {
        if endpoint.lock().schedule() {
            self.push(endpoint.clone());
        }
    }

    /// Hands an endpoint to the device that is marked as scheduled.
    pub(crate) fn push(&self, endpoint: Arc<Endpoint>) {
        self.ready().push(endpoint);
        if !self.called.swap(true, Ordering::AcqRel) {
            (self.call)();
        }
    }

    /// Tells that the device has come, so that it must be called again for
    /// endpoints that are scheduled from here on.
    pub(crate) fn answer_call(&self) {
        self.called.store(false, Ordering::Release);
    }

    /// Moves the scheduled endpoints to the end of `into`.
    pub(crate) fn take_ready(&self, into: &mut VecDeque<Arc<Endpoint>>) {
        into.extend(self.ready().drain(..));
    }

    /// Fails every connection the guest may know of: its driver began anew.
    pub(crate) fn lose_transport(&self) {
        let known: Vec<_> = {
            let mut endpoints = self.endpoints();
            let known: Vec<_> = endpoints
                .by_ports
                .values()
                .filter(|endpoint| endpoint.lock().connection.request_sent())
                .cloned()
                .collect();
            for endpoint in &known {
                endpoints.by_ports.remove(&endpoint.ports);
            }
            known
        };
        fail(&known);
    }

    /// Fails every connection, and every one that is still to come.
    pub(crate) fn shut_down(&self) {
        let all: Vec<_> = {
            let mut endpoints = self.endpoints();
            endpoints.shut_down = true;
            endpoints.by_ports.drain().map(|(_, value)| value).collect()
        };
        fail(&all);
        self.ready().clear();
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.endpoints().shut_down
    }

    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> MutexGuard<'_, Vec<Arc<Endpoint>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fail(endpoints: &[Arc<Endpoint>]) {
    for endpoint in endpoints {
        let wakers = endpoint.lock().end(Connection::lose_transport);
        wakers.wake();
    }
}

impl Endpoints {
    /// Forgets the oldest connection that only waits for the guest to confirm
    /// its end. A late packet for it is answered with a reset.
    fn evict(&mut self) -> bool {
        while let Some(ports) = self.lingering.pop_front() {
            if let Some(endpoint) = self.by_ports.remove(&ports) {
                endpoint.lock().end(Connection::lose_transport).wake();
                return true;
            }
        }
        false
    }

    fn free_ports(&mut self, guest: u32) -> Ports {
        loop {
            self.next_port = self.next_port.wrapping_add(1).max(FIRST_PORT);
            let ports = Ports {
                host: self.next_port,
                guest,
            };
            // VMADDR_PORT_ANY names no port.
            if ports.host != u32::MAX && !self.by_ports.contains_key(&ports) {
                return ports;
            }
        }
    }
}
