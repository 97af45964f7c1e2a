//! Published ports are looked at from end to end, because one that has died
//! looks from the control channel like one that nobody uses.

use std::time::Duration;

use wherry_proto::v1::PortStream;

use super::Ports;
use super::listeners::Route;
use super::tcp::{PortStreamError, open};

/// How often.
const EVERY: Duration = Duration::from_secs(60);

/// How long the guest may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Ports {
    /// Looks after the ports until it is dropped: once a minute, and when the
    /// machine has been away.
    pub(in crate::machine) async fn keep(&self) {
        loop {
            let _ = tokio::time::timeout(EVERY, self.woken.notified()).await;
            self.check().await;
        }
    }

    /// Has the ports looked at now.
    pub(in crate::machine) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Opens again what no longer listens, and asks the guest about each
    /// container on the way that its connections go. Returns how many ways are
    /// broken.
    pub(super) async fn check(&self) -> usize {
        self.mend();
        let routes: Vec<Route> = self
            .lock()
            .values()
            .filter_map(|published| Some(published.open.first()?.route().clone()))
            .collect();
        let mut broken = 0;
        for route in routes {
            let target = PortStream {
                check: true,
                ..PortStream::clone(&route.target)
            };
            let answer = tokio::time::timeout(PATIENCE, open(&route.dial, &target)).await;
            let problem = match answer {
                Ok(Ok(_)) => continue,
                // It ends or starts just now.
                Ok(Err(PortStreamError::Refused(_))) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            broken += 1;
            tracing::warn!(
                container = target.container,
                "connections to its published ports do not reach the guest: {problem}"
            );
        }
        broken
    }

    fn mend(&self) {
        let _carrier = self.carrier.enter();
        for (container, published) in self.lock().iter_mut() {
            for port in &mut published.open {
                let number = port.wish().container_port;
                match port.mend() {
                    Ok(0) => {}
                    Ok(_) => tracing::warn!(container, port = number, "listens again"),
                    Err(error) => {
                        tracing::warn!(container, port = number, %error, "cannot listen again");
                    }
                }
            }
        }
    }
}
