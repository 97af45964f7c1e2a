//! The network of all containers, as the rest of the agent sees it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::bridge::{Bridge, other_ports, remove_link};
use super::context::{Context, lock};
use super::driver::{Driver, Host, Isolated, Joined};
use super::options::Options;
use super::record::{Record, files};
use super::{Attachment, NetworkError, NetworkMode, SetupRequest, namespace, uplink};

/// How many containers' networks are worked on at once. The kernel does one at
/// a time anyway (rtnl_mutex); more would only be threads that wait.
const AT_ONCE: usize = 4;

/// The network of all containers. Clones are the same network.
#[derive(Clone)]
pub(crate) struct Network {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) context: Context,
    pub(super) bridge: Bridge,
    turns: Semaphore,
    leaving: Mutex<Leaving>,
}

/// The containers whose networks the kernel still has to remove.
#[derive(Default)]
struct Leaving {
    queue: VecDeque<Record>,
    /// Whether a thread works the queue off.
    attended: bool,
}

impl Network {
    /// Configures the uplink and reads the records that an earlier process
    /// left. To be called in the runtime in which the name server will run;
    /// blocks for a few netlink round trips. No bridge is made yet.
    ///
    /// # Errors
    /// When the kernel refuses the uplink, or `run` cannot be written.
    pub(crate) fn open(options: Options) -> Result<Self, NetworkError> {
        uplink::configure(&options.uplink)?;
        let context = Context::open(options)?;
        let bridge = Bridge::new(Handle::current());
        let turns = Semaphore::new(AT_ONCE);
        let leaving = Mutex::default();
        Ok(Self {
            shared: Arc::new(Shared {
                context,
                bridge,
                turns,
                leaving,
            }),
        })
    }

    /// Gives a container its network. What an earlier attempt with this id
    /// left is removed first; what a failed attempt makes is removed again. A
    /// caller that is cancelled calls [`Network::teardown`].
    ///
    /// # Errors
    /// When the request cannot be met, no address is left, or the kernel refuses.
    pub(crate) async fn setup(&self, request: SetupRequest) -> Result<Attachment, NetworkError> {
        let id = request.id.clone();
        self.blocking(&id, move |shared| shared.setup(&request))
            .await?
    }

    /// Takes a container's network away. Fine if it has none, or half of one.
    /// The address is given back as soon as the kernel has removed the veth
    /// pair, shortly after this returns; a new setup of the same container
    /// waits for it.
    ///
    /// # Errors
    /// Every failure; it goes on after each. The address stays taken then, and
    /// the next call tries again.
    pub(crate) async fn teardown(&self, id: &str) -> Result<(), Vec<NetworkError>> {
        let owned = id.to_owned();
        let failures = self
            .blocking(id, move |shared| Shared::detach(shared, &owned))
            .await
            .unwrap_or_else(|error| vec![error]);
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    /// Keeps what the running containers `ids` have, with their addresses and
    /// names, and removes what an earlier process left of all others. To be
    /// called once after [`Network::open`], before the first setup.
    ///
    /// # Errors
    /// Every failure; it goes on after each.
    pub(crate) async fn adopt(&self, ids: &[String]) -> Result<(), Vec<NetworkError>> {
        let ids = ids.to_vec();
        let failures = self
            .blocking("all containers", move |shared| shared.adopt(&ids))
            .await
            .unwrap_or_else(|error| vec![error]);
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures)
        }
    }

    /// Returns what a container has, none if it has not been set up.
    pub(crate) fn attachment(&self, id: &str) -> Option<Attachment> {
        let record = self.shared.context.attached(id)?;
        Some(self.shared.context.attachment(&record))
    }

    /// Connects to a port of a container: at its address on the bridge, or at
    /// its loopback where it has none.
    ///
    /// # Errors
    /// [`NetworkError::Connect`] when nothing listens there.
    pub(crate) async fn connect_tcp(&self, id: &str, port: u16) -> Result<TcpStream, NetworkError> {
        let (address, netns) = self.way_in(id)?;
        let failure = |source| NetworkError::Connect {
            container: id.to_owned(),
            address,
            port,
            source,
        };
        let socket = self
            .socket(id, netns, TcpSocket::new_v4)
            .await?
            .map_err(failure)?;
        // Nothing listening is known at once. A container that drops packets,
        // for one because the server's queue is full, is asked again for as long
        // as the kernel does it, two minutes (tcp_syn_retries in ip-sysctl.rst).
        let stream = socket
            .connect(SocketAddr::from((address, port)))
            .await
            .map_err(failure)?;
        // Both ends of a published port see the bytes as they are written.
        stream.set_nodelay(true).map_err(failure)?;
        Ok(stream)
    }

    /// Returns a socket of its own for one flow of datagrams to a port of a
    /// container, connected as in [`Network::connect_tcp`]. That nothing
    /// listens shows when datagrams are sent.
    ///
    /// # Errors
    /// When the container has no network or the socket cannot be made.
    pub(crate) async fn connect_udp(&self, id: &str, port: u16) -> Result<UdpSocket, NetworkError> {
        let (address, netns) = self.way_in(id)?;
        let failure = |source| NetworkError::Connect {
            container: id.to_owned(),
            address,
            port,
            source,
        };
        let create = move || {
            let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.set_nonblocking(true)?;
            socket.connect((address, port))?;
            Ok(socket)
        };
        let socket = self.socket(id, netns, create).await?.map_err(failure)?;
        UdpSocket::from_std(socket).map_err(failure)
    }

    /// Returns the address to connect to, and the namespace to do it from where
    /// the guest's own does not reach it.
    fn way_in(&self, id: &str) -> Result<(Ipv4Addr, Option<PathBuf>), NetworkError> {
        let attachment = self
            .attachment(id)
            .ok_or_else(|| NetworkError::NotAttached(id.to_owned()))?;
        Ok(match attachment.address {
            Some(address) => (address, None),
            None => (Ipv4Addr::LOCALHOST, attachment.netns),
        })
    }

    /// Makes a socket inside a namespace, to which it then belongs.
    async fn socket<T: Send + 'static>(
        &self,
        id: &str,
        netns: Option<PathBuf>,
        create: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<std::io::Result<T>, NetworkError> {
        match netns {
            None => Ok(create()),
            Some(netns) => {
                self.blocking(id, move |_| namespace::inside(&netns, || Ok(create())))
                    .await?
            }
        }
    }

    /// Runs work on a blocking thread, where it goes on to its end even if the
    /// caller is cancelled.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&Arc<Shared>) -> T + Send + 'static,
    ) -> Result<T, NetworkError> {
        let interrupted = || NetworkError::Interrupted(what.to_owned());
        let _turn = self
            .shared
            .turns
            .acquire()
            .await
            .map_err(|_| interrupted())?;
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .map_err(|_| interrupted())
    }
}

impl Shared {
    fn driver(&self, mode: &NetworkMode) -> &dyn Driver {
        match mode {
            NetworkMode::Bridge => &self.bridge,
            NetworkMode::Host => &Host,
            NetworkMode::None => &Isolated,
            NetworkMode::Container(_) => &Joined,
        }
    }

    fn setup(&self, request: &SetupRequest) -> Result<Attachment, NetworkError> {
        let id = checked(&request.id)?;
        let driver = self.driver(&request.mode);
        driver.validate(&self.context, request)?;
        let _turn = self.context.turn(id);
        if let Some(failure) = self.remove(id).into_iter().next() {
            return Err(failure);
        }
        match driver.setup(&self.context, request) {
            Ok(record) => Ok(self.context.attachment(&record)),
            Err(error) => {
                for failure in self.remove(id) {
                    let failure = &failure as &dyn std::error::Error;
                    tracing::warn!(
                        container = id,
                        network = driver.name(),
                        failure,
                        "cannot undo a failed setup"
                    );
                }
                Err(error)
            }
        }
    }

    /// Takes a container's network away and leaves the slow rest to a thread
    /// of its own: together it takes the kernel tens of milliseconds.
    fn detach(shared: &Arc<Self>, id: &str) -> Vec<NetworkError> {
        if let Err(error) = checked(id) {
            return vec![error];
        }
        let context = &shared.context;
        let turn = context.turn(id);
        let Some(record) = context
            .record(id)
            .filter(|record| !record.endpoints.is_empty())
        else {
            return shared.remove(id);
        };
        let failures = shared.driver(&record.mode).teardown(context, &record);
        if failures.is_empty() {
            context.detach(id);
            turn.leave();
            let mut leaving = lock(&shared.leaving);
            leaving.queue.push_back(record);
            if !std::mem::replace(&mut leaving.attended, true) {
                let shared = shared.clone();
                tokio::task::spawn_blocking(move || shared.reclaim());
            }
        }
        failures
    }

    /// Works the queue of leaving containers off.
    fn reclaim(&self) {
        loop {
            let record = {
                let mut leaving = lock(&self.leaving);
                let next = leaving.queue.pop_front();
                leaving.attended = next.is_some();
                next
            };
            let Some(record) = record else { return };
            let _turn = self.context.take_over(&record.id);
            for failure in self.remove_record(&record) {
                let failure = &failure as &dyn std::error::Error;
                tracing::warn!(container = record.id, failure, "cannot remove a network");
            }
        }
    }

    /// Removes what there is of a container's network, whatever it is.
    fn remove(&self, id: &str) -> Vec<NetworkError> {
        let mut failures = match self.context.record(id) {
            Some(record) => self.remove_record(&record),
            None => Vec::new(),
        };
        // Without a record there may still be a namespace, of a process killed
        // between the two.
        if failures.is_empty() {
            failures.extend(namespace::remove(&self.context.netns(id)).err());
        }
        failures
    }

    fn remove_record(&self, record: &Record) -> Vec<NetworkError> {
        let driver = self.driver(&record.mode);
        let mut failures = driver.teardown(&self.context, record);
        failures.extend(driver.reclaim(&self.context, record));
        if failures.is_empty() {
            failures.extend(self.context.forget(record).err());
        }
        failures
    }

    fn adopt(&self, ids: &[String]) -> Vec<NetworkError> {
        let running = |id: &str| ids.iter().any(|running| running == id);
        let mut failures = Vec::new();
        for record in self.context.records() {
            if !running(&record.id) {
                let _turn = self.context.turn(&record.id);
                failures.extend(self.remove(&record.id));
            }
        }
        match files(&self.context.netns_folder()) {
            Ok(paths) => {
                for path in paths {
                    let id = path.file_name().and_then(|name| name.to_str());
                    if !id.is_some_and(running) {
                        failures.extend(namespace::remove(&path).err());
                    }
                }
            }
            Err(error) => failures.push(error),
        }
        failures.extend(self.remove_strays());
        failures.extend(self.bridge.adopt(&self.context));
        failures
    }

    /// Removes the ports of our bridges that are no container's.
    fn remove_strays(&self) -> Vec<NetworkError> {
        let strays = self.context.stray_ports();
        let strays = strays.map(|strays| {
            let removed = strays.iter().map(|name| remove_link(name));
            removed.filter_map(Result::err).collect()
        });
        strays.unwrap_or_else(|error| vec![error])
    }
}

impl Context {
    /// Returns the ports of our bridges that are no container's.
    pub(super) fn stray_ports(&self) -> Result<Vec<String>, NetworkError> {
        let bridges: Vec<_> = self
            .networks()
            .iter()
            .map(|network| network.interface.clone())
            .collect();
        let devices = other_ports(&bridges, |_| false)?;
        // Asked for afterwards: a device's record is written before it is made.
        let records = self.records();
        let known = |name: &str| {
            let mut endpoints = records.iter().flat_map(|record| &record.endpoints);
            endpoints.any(|endpoint| endpoint.veth == name)
        };
        Ok(devices.into_iter().filter(|name| !known(name)).collect())
    }
}

/// Refuses what cannot name a file or would name another one.
pub(super) fn checked(id: &str) -> Result<&str, NetworkError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if id.is_empty() || id.len() > 128 || !id.bytes().all(plain) {
        return Err(NetworkError::InvalidId(id.to_owned()));
    }
    Ok(id)
}
