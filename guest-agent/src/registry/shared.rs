//! Pulls under way, and their clients.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::Stream;
use prost::Message;
use tokio::sync::watch;
use tonic::Status;
use wherry_proto::v1::transfer_event::Event;
use wherry_proto::v1::{PullImageRequest, PushImageRequest, TransferEvent, TransferResult};

use super::layers::LayerLocks;
use super::progress::{Progress, State};
use super::pull::{Pull, pull};
use super::push::{Push, push};
use super::{Access, Error};
use crate::event::Events;
use crate::image::{Digest, Platform, Reference, Store};

/// The least time between two looks of one client.
const PAUSE: Duration = Duration::from_millis(50);

/// Every pull that is under way.
pub(crate) struct Pulls {
    store: Arc<Store>,
    events: Arc<Events>,
    /// By what was asked for. The credentials count too: a client with wrong
    /// ones gets its own error and not another's image.
    running: Mutex<HashMap<Digest, Weak<Running>>>,
    locks: Arc<LayerLocks>,
    /// The address under which the host's loopback is reached from here.
    host: std::net::Ipv4Addr,
}

/// A pull or push; it ends with its last client.
struct Running {
    task: tokio::task::AbortHandle,
    state: watch::Receiver<State>,
}

impl Running {
    fn start(
        state: watch::Receiver<State>,
        transfer: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Running> {
        Arc::new(Running {
            task: tokio::spawn(transfer).abort_handle(),
            state,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pulls {
    pub(crate) fn new(store: Arc<Store>, events: Arc<Events>, host: std::net::Ipv4Addr) -> Pulls {
        Pulls {
            store,
            events,
            running: Mutex::default(),
            locks: Arc::default(),
            host,
        }
    }

    /// Returns how registries are reached with what the host sent.
    pub(crate) fn access(&self, request: Option<wherry_proto::v1::RegistryAccess>) -> Access {
        Access::new(request, self.host)
    }

    /// Pulls an image, or joins those who pull it already.
    pub(crate) fn pull(
        &self,
        request: PullImageRequest,
    ) -> Result<impl Stream<Item = Result<TransferEvent, Status>> + Send + use<>, Error> {
        let key = Digest::of(&request.encode_to_vec());
        let reference: Reference = request.name.parse()?;
        let platform = match request.platform.as_str() {
            "" => None,
            platform => Some(Platform::parse(platform).map_err(Error::Invalid)?),
        };
        let access = self.access(request.access);
        let mut pulls = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.retain(|_, pull| pull.strong_count() > 0);
        let joined = pulls
            .get(&key)
            .and_then(Weak::upgrade)
            .filter(|pull| pull.state.borrow().end.is_none());
        let running = joined.unwrap_or_else(|| {
            let (progress, state) = Progress::new();
            let events = self.events.clone();
            let pull_of = Pull {
                store: self.store.clone(),
                locks: self.locks.clone(),
                access,
                reference,
                platform,
                progress: progress.clone(),
            };
            let running = Running::start(state, async move {
                let pulled = pull(&pull_of).await;
                if let Ok(result) = &pulled {
                    tell(&events, "pull", &pull_of.reference, result);
                }
                progress.end(pulled.map_err(Status::from));
            });
            pulls.insert(key, Arc::downgrade(&running));
            running
        });
        drop(pulls);
        Ok(Client::new(running).events())
    }
}

impl Pulls {
    /// Pushes an image; ends with its client.
    pub(crate) fn push(
        &self,
        request: PushImageRequest,
    ) -> Result<impl Stream<Item = Result<TransferEvent, Status>> + Send + use<>, Error> {
        let (progress, state) = Progress::new();
        let push_of = Push {
            store: self.store.clone(),
            access: self.access(request.access),
            reference: request.name.parse()?,
            progress: progress.clone(),
        };
        let events = self.events.clone();
        let running = Running::start(state, async move {
            let pushed = push(&push_of).await;
            if let Ok(result) = &pushed {
                tell(&events, "push", &push_of.reference, result);
            }
            progress.end(pushed.map_err(Status::from));
        });
        Ok(Client::new(running).events())
    }
}

/// Tells of a transfer that is through. As Docker's events have it, the id is the
/// whole name.
fn tell(events: &Events, action: &str, reference: &Reference, result: &TransferResult) {
    let config = result
        .image
        .as_ref()
        .and_then(|image| image.config.as_ref());
    let labels = config.iter().flat_map(|config| &config.labels);
    let (id, name) = (reference.familiar(), reference.familiar_repository());
    events.publish_image(action, &id, name, labels);
}

/// One client's view of a transfer.
struct Client {
    running: Arc<Running>,
    state: watch::Receiver<State>,
    seen: State,
    queue: VecDeque<Result<TransferEvent, Status>>,
    /// Whether the first look, which waits for nothing, is over.
    looked: bool,
}

impl Client {
    fn new(running: Arc<Running>) -> Client {
        Client {
            state: running.state.clone(),
            running,
            seen: State::default(),
            queue: VecDeque::new(),
            looked: false,
        }
    }

    fn events(self) -> impl Stream<Item = Result<TransferEvent, Status>> + Send {
        futures_util::stream::unfold(self, |mut client| async move {
            loop {
                if let Some(event) = client.queue.pop_front() {
                    return Some((event, client));
                }
                if client.seen.end.is_some() {
                    return None;
                }
                client.look().await;
            }
        })
    }

    async fn look(&mut self) {
        if self.looked {
            // A late look sees more at once: progress need not be complete.
            if self.state.changed().await.is_err() && self.running.state.borrow().end.is_none() {
                self.seen.end = Some(Err(Status::aborted("")));
                self.queue
                    .push_back(Err(Status::internal("the transfer ended without a result")));
                return;
            }
            if self.state.borrow().end.is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.looked = true;
        let now = self.state.borrow_and_update().clone();
        let mut say = |event| {
            self.queue
                .push_back(Ok(TransferEvent { event: Some(event) }));
        };
        for message in now.messages.iter().skip(self.seen.messages.len()) {
            say(Event::Message(message.clone()));
        }
        for (index, layer) in now.layers.iter().enumerate() {
            if self.seen.layers.get(index) != Some(layer) {
                say(Event::Layer(layer.clone()));
            }
        }
        match &now.end {
            Some(Ok(result)) => say(Event::Result(result.clone())),
            Some(Err(status)) => self.queue.push_back(Err(status.clone())),
            None => {}
        }
        self.seen = now;
    }
}
