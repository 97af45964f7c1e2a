//! What happens to containers, images and volumes, told to whoever subscribed
//! and kept for a while for those who ask later.

mod filter;
mod ring;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;
use wherry_proto::v1::Event;

pub(crate) use filter::Filter;
use ring::Ring;

/// Events a subscriber may lag behind before it is disconnected.
const BACKLOG: usize = 1024;

/// Sends events to every subscriber; publishing never waits for one.
#[derive(Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    /// Held while an event is kept and sent, so that who looks at both misses
    /// none and sees none twice.
    ring: Mutex<Ring>,
}

impl Events {
    /// Finds the events of before the agent's last end in a directory that ends
    /// with the machine.
    pub(crate) fn open(directory: &Path) -> Self {
        Self {
            sender: broadcast::Sender::new(BACKLOG),
            ring: Mutex::new(Ring::open(directory)),
        }
    }

    /// Tells what happened just now to one container, image or volume.
    pub(crate) fn publish<'a>(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        attributes: impl IntoIterator<Item = (&'a str, String)>,
    ) {
        let attributes = attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        self.send(Event {
            time: Some(now()),
            r#type: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes,
        });
    }

    /// Tells what happened just now to one image, with its labels.
    pub(crate) fn publish_image<'a>(
        &self,
        action: &str,
        id: &str,
        name: String,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) {
        let labels = labels.into_iter();
        let labels = labels.map(|(key, value)| (key.as_str(), value.clone()));
        self.publish("image", action, id, labels.chain([("name", name)]));
    }

    /// Tells of an event, which may have been some time ago.
    pub(crate) fn send(&self, event: Event) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.push(event.clone());
        // No receiver is left: nobody wanted to know.
        let _ = self.sender.send(event);
    }

    /// Subscribes to what happens from now on, and returns what is kept from
    /// before.
    pub(crate) fn subscribe(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.events(), self.sender.subscribe())
    }

    /// Returns the event that begins every subscription.
    pub(crate) fn ready() -> Event {
        Event {
            time: Some(now()),
            r#type: "ready".to_owned(),
            action: "ready".to_owned(),
            ..Event::default()
        }
    }
}

/// Returns the present time as it goes over the wire.
pub(crate) fn now() -> prost_types::Timestamp {
    std::time::SystemTime::now().into()
}

/// Returns when an event was, nanoseconds since 1970.
pub(crate) fn time_ns(event: &Event) -> i64 {
    let time = event.time.unwrap_or_default();
    time.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(time.nanos.into())
}
