//! What happens to containers and images, told to whoever subscribed.

use std::collections::HashMap;

use tokio::sync::broadcast;
use wherry_proto::v1::Event;

/// Events a subscriber may lag behind before it is disconnected.
const BACKLOG: usize = 1024;

/// Sends events to every subscriber; publishing never blocks.
#[derive(Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(BACKLOG),
        }
    }
}

impl Events {
    /// Tells what happened to one container or image.
    pub(crate) fn publish<'a>(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        attributes: impl IntoIterator<Item = (&'a str, String)>,
    ) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        // No receiver is left: nobody wanted to know.
        let _ = self.sender.send(Event {
            time: Some(now()),
            r#type: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes: attributes
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        });
    }

    /// Subscribes to what happens from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// Returns the event that begins every subscription.
    pub(crate) fn ready() -> Event {
        Event {
            time: Some(now()),
            r#type: "ready".to_owned(),
            action: "ready".to_owned(),
            id: String::new(),
            attributes: HashMap::new(),
        }
    }
}

/// Returns the present time as it goes over the wire.
pub(crate) fn now() -> prost_types::Timestamp {
    std::time::SystemTime::now().into()
}
