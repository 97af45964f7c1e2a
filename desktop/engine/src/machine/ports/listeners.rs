//! Which ports are published for which container.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use wherry_proto::STREAM_PORT;
use wherry_proto::v1::{PortStream, PublishRequest, PublishResponse, PublishedPort};

use super::bind::{Wish, bind};
use super::carrier;
use super::error::PortError;
use super::open::OpenPort;
use super::udp::Budget;
use crate::platform;
use crate::vm::{GuestStream, Vm};

/// Descriptors that are left for everything but listening sockets.
const SPARE_DESCRIPTORS: u64 = 512;

/// Opens a new stream to the agent.
pub(super) type Dial =
    Arc<dyn Fn() -> BoxFuture<'static, io::Result<Box<dyn GuestStream>>> + Send + Sync>;

/// What a listening socket needs to serve its clients.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) dial: Dial,
    pub(super) target: Arc<PortStream>,
    /// Ends the connections, which go on when the port is closed.
    pub(super) end: CancellationToken,
    /// What the UDP flows of all ports have together.
    pub(super) budget: Budget,
}

/// The published ports of all containers. Dropping it closes them and their
/// connections.
pub(in crate::machine) struct Ports {
    dial: Dial,
    /// Where ports listen that name no address.
    address: IpAddr,
    pub(super) published: Mutex<HashMap<String, Published>>,
    budget: Budget,
    pub(super) woken: Notify,
    /// Where connections are carried.
    pub(super) carrier: Handle,
    end: CancellationToken,
    _end: DropGuard,
}

/// A container's ports.
#[derive(Default)]
pub(super) struct Published {
    wishes: Vec<Wish>,
    pub(super) open: Vec<OpenPort>,
}

impl Published {
    fn ports(&self) -> Vec<PublishedPort> {
        self.open.iter().flat_map(OpenPort::published).collect()
    }

    /// Takes the ports that are open as they are wished for, and returns the
    /// wishes that none of them meets.
    fn take(&mut self, wishes: &[Wish]) -> (Vec<OpenPort>, Vec<Wish>) {
        let mut present: HashMap<_, Vec<_>> = HashMap::new();
        for port in self.open.drain(..) {
            present.entry(port.wish().clone()).or_default().push(port);
        }
        let (mut kept, mut missing) = (Vec::new(), Vec::new());
        for wish in wishes {
            match present.get_mut(wish).and_then(Vec::pop) {
                Some(port) => kept.push(port),
                None => missing.push(wish.clone()),
            }
        }
        self.open.extend(present.into_values().flatten());
        (kept, missing)
    }
}

impl Ports {
    /// `address` is where ports listen that name none. To be called in a runtime.
    pub(in crate::machine) fn new(vm: &Arc<dyn Vm>, address: IpAddr) -> Self {
        // Weak, so that a connection does not keep the VM.
        let vm = Arc::downgrade(vm);
        let dial: Dial = Arc::new(move || match vm.upgrade() {
            Some(vm) => vm.connect(STREAM_PORT),
            None => Box::pin(async { Err(io::ErrorKind::NotConnected.into()) }),
        });
        Self::with(dial, address)
    }

    pub(super) fn with(dial: Dial, address: IpAddr) -> Self {
        let end = CancellationToken::new();
        let carrier = carrier::start(end.clone()).unwrap_or_else(|error| {
            tracing::warn!(%error, "ports have no thread of their own");
            Handle::current()
        });
        Self {
            carrier,
            dial,
            address,
            published: Mutex::default(),
            budget: Budget::default(),
            woken: Notify::new(),
            _end: end.clone().drop_guard(),
            end,
        }
    }

    /// Binds a container's ports: all or none, or at best effort what can be
    /// bound. The same container with the same ports again is the same answer;
    /// with others, those that it has already stay, and the rest is closed.
    pub(in crate::machine) async fn publish(
        &self,
        request: &PublishRequest,
    ) -> Result<PublishResponse, tonic::Status> {
        let container = &request.container;
        let mut problems = Vec::new();
        let mut wishes = Vec::with_capacity(request.ports.len());
        for port in &request.ports {
            match Wish::try_from(port) {
                Ok(wish) => wishes.push(wish),
                Err(error) if request.best_effort => problems.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        let present = self.lock().remove(container);
        let mut present = match present {
            Some(present) if present.wishes == wishes && !request.best_effort => {
                let ports = present.ports();
                self.lock().insert(container.clone(), present);
                return Ok(PublishResponse { ports, problems });
            }
            present => present.unwrap_or_default(),
        };
        let (mut open, missing) = present.take(&wishes);
        close(present.open).await;
        let (opened, failures) = self.open(container, missing, request.best_effort).await?;
        open.extend(opened);
        let mut failures: Vec<_> = failures
            .into_iter()
            .map(|error| self.name_owner(error, &open))
            .collect();
        if !request.best_effort && !failures.is_empty() {
            close(open).await;
            return Err(failures.swap_remove(0).into());
        }
        problems.extend(failures.iter().map(PortError::to_string));
        let entry = Published { wishes, open };
        let ports = entry.ports();
        let overtaken = self.lock().insert(container.clone(), entry);
        close(overtaken.unwrap_or_default().open).await;
        Ok(PublishResponse { ports, problems })
    }

    /// Binds and serves ports, on a thread where thousands of them keep nobody
    /// waiting, and up to the first that cannot be bound unless `all` are to be
    /// tried.
    async fn open(
        &self,
        container: &str,
        wishes: Vec<Wish>,
        all: bool,
    ) -> Result<(Vec<OpenPort>, Vec<PortError>), PortError> {
        let address = self.address;
        let wanted: u64 = wishes.iter().map(|wish| wish.descriptors(address)).sum();
        let limit = platform::open_file_limit();
        let taken: u64 = {
            let published = self.lock();
            let open = published.values().flat_map(|published| &published.open);
            open.map(OpenPort::descriptors).sum()
        };
        if wanted > 0 && taken + wanted + SPARE_DESCRIPTORS > limit {
            return Err(PortError::Descriptors {
                ports: wishes.len(),
                wanted,
                limit,
            });
        }
        let routes: Vec<_> = wishes
            .into_iter()
            .map(|wish| (self.route(container, &wish), wish))
            .collect();
        let carrier = self.carrier.clone();
        let bound = tokio::task::spawn_blocking(move || {
            let _carrier = carrier.enter();
            let (mut open, mut failures) = (Vec::with_capacity(routes.len()), Vec::new());
            for (route, wish) in routes {
                match bind(wish, address) {
                    Ok(bound) => open.push(OpenPort::serve(bound, route)),
                    Err(error) => failures.push(error),
                }
                if !all && !failures.is_empty() {
                    break;
                }
            }
            (open, failures)
        });
        Ok(bound.await?)
    }

    #[cfg(test)]
    fn shorten_flows(&mut self, unreplied: std::time::Duration, replied: std::time::Duration) {
        self.budget.unreplied = unreplied;
        self.budget.replied = replied;
    }

    fn route(&self, container: &str, wish: &Wish) -> Route {
        Route {
            dial: self.dial.clone(),
            target: Arc::new(PortStream {
                container: container.to_owned(),
                port: wish.container_port.into(),
                protocol: wish.protocol.name().to_owned(),
                address: wish
                    .container_address
                    .map_or_else(String::new, |address| address.to_string()),
                check: false,
            }),
            end: self.end.clone(),
            budget: self.budget.clone(),
        }
    }

    /// Closes a container's listening ports, and returns when they can be bound
    /// again. Connections that stand go on.
    pub(in crate::machine) async fn unpublish(&self, container: &str) {
        let removed = self.lock().remove(container);
        close(removed.unwrap_or_default().open).await;
    }

    pub(in crate::machine) fn list(&self) -> Vec<PublishRequest> {
        self.lock()
            .iter()
            .map(|(container, published)| PublishRequest {
                container: container.clone(),
                ports: published.ports(),
                best_effort: false,
            })
            .collect()
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Published>> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Names who has the port: the same container by its `own`, another one of ours, or
    /// a program.
    fn name_owner(&self, error: PortError, own: &[OpenPort]) -> PortError {
        let PortError::Taken {
            address,
            protocol,
            container_port,
            ..
        } = error
        else {
            return error;
        };
        let has = |open: &&OpenPort| {
            open.wish().protocol == protocol
                && open.addresses().any(|bound| conflict(bound, address))
        };
        let itself = own
            .iter()
            .find(has)
            .map(|port| format!("the same container's port {}", port.wish().container_port));
        let ours = || {
            let published = self.lock();
            let (container, _) = published
                .iter()
                .find(|(_, entry)| entry.open.iter().any(|port| has(&port)))?;
            Some(format!(
                "container {}",
                container.get(..12).unwrap_or(container)
            ))
        };
        PortError::Taken {
            address,
            protocol,
            container_port,
            owner: itself
                .or_else(ours)
                .or_else(|| platform::port_owner(protocol, address)),
        }
    }
}

async fn close(ports: Vec<OpenPort>) {
    // All at once, then one after the other until each has ended.
    let closing: Vec<_> = ports.into_iter().map(OpenPort::close).collect();
    for ended in closing {
        ended.await;
    }
}

/// Tells whether one address keeps another from being bound.
fn conflict(bound: SocketAddr, wanted: SocketAddr) -> bool {
    bound.port() == wanted.port()
        && bound.is_ipv4() == wanted.is_ipv4()
        && (bound.ip() == wanted.ip()
            || bound.ip().is_unspecified()
            || wanted.ip().is_unspecified())
}

#[cfg(test)]
mod tests;
