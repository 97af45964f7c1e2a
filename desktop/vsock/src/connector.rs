//! Opens connections to programs in the guest.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::connection::{Closed, Phase};
use crate::stream::Stream;
use crate::table::{AddError, MAX_CONNECTIONS, Table};

/// How long a connection waits for the guest's driver to come up.
const DRIVER_DEADLINE: Duration = Duration::from_secs(10);

/// How long the guest, once asked, has to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Opens connections to programs in the guest.
#[derive(Clone, Debug)]
pub struct Connector {
    table: Arc<Table>,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The guest runs, and nobody listens on the port yet: try again.
    #[error("the guest refused the connection: nothing listens on its vsock port {0}")]
    Refused(u32),
    /// The guest has not started its vsock driver: try again.
    #[error("the guest is not ready for vsock connections after {0:?}")]
    NotReady(Duration),
    /// The guest did not answer: try again.
    #[error("the guest did not answer on vsock port {port} within {deadline:?}")]
    TimedOut {
        /// The guest's port.
        port: u32,
        /// How long it had.
        deadline: Duration,
    },
    /// The guest restarted while the connection was being opened: try again.
    #[error("the guest restarted while its vsock port {0} was being connected")]
    Reset(u32),
    /// Too many connections are open: close some.
    #[error("all {MAX_CONNECTIONS} vsock connections to the guest are in use: close some")]
    TooMany,
    /// The virtual machine is gone.
    #[error("the virtual machine has ended")]
    Ended,
}

impl Connector {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        Self { table }
    }

    /// Connects to a port on which a program in the guest listens. Waits up to
    /// 10 seconds for the guest's driver, then 5 seconds for the answer.
    pub async fn connect(&self, port: u32) -> Result<Stream, ConnectError> {
        let endpoint = self.table.add(port).map_err(|error| match error {
            AddError::Full => ConnectError::TooMany,
            AddError::ShutDown => ConnectError::Ended,
        })?;
        // From here on, dropping the stream takes the request back.
        let stream = Stream::new(endpoint, self.table.clone());
        let endpoint = stream.endpoint();
        timeout(
            DRIVER_DEADLINE,
            poll_fn(|context| endpoint.lock().poll_requested(context)),
        )
        .await
        .map_err(|_| ConnectError::NotReady(DRIVER_DEADLINE))?;
        let phase = timeout(
            ANSWER_DEADLINE,
            poll_fn(|context| endpoint.lock().poll_answered(context)),
        )
        .await
        .map_err(|_| ConnectError::TimedOut {
            port,
            deadline: ANSWER_DEADLINE,
        })?;
        match phase {
            Phase::Closed(Closed::Refused) => Err(ConnectError::Refused(port)),
            Phase::Closed(Closed::Reset) if self.table.is_shut_down() => Err(ConnectError::Ended),
            Phase::Closed(Closed::Reset) => Err(ConnectError::Reset(port)),
            // A guest may accept, send and close before this task runs.
            Phase::Open | Phase::Closed(Closed::Finished) | Phase::Connecting => Ok(stream),
        }
    }

    /// Returns how many connections there are, those included that are closed on
    /// this side and not yet confirmed by the guest.
    pub fn connections(&self) -> usize {
        self.table.len()
    }
}
