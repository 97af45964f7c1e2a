//! The host's side of the peer's port 2.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use wherry_vsock::Connector;

use crate::pattern::Pattern;

pub(crate) const PORT: u32 = 2;

/// No stream may stand still for longer.
const STALL: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 5 });

/// What to send, what to receive, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    /// Bytes to the guest and from it.
    pub(crate) give: u64,
    pub(crate) take: u64,
    pub(crate) seed: u64,
    /// Size of each read and write, on both sides.
    pub(crate) chunk: u64,
    /// Sleep before each read in the guest and here, in microseconds.
    pub(crate) delay: u64,
    pub(crate) host_delay: u64,
    /// The guest closes after so many bytes, 0 for never.
    pub(crate) close_after: u64,
    pub(crate) check: bool,
}

impl Order {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [
            self.take,
            self.seed + 1000,
            self.chunk,
            self.delay,
            self.close_after,
            self.seed,
            u64::from(self.check),
        ]
        .into_iter()
        .flat_map(u64::to_le_bytes)
        .collect()
    }
}

/// Runs one exchange, checks every byte, and returns how many went to the guest
/// and how many came from it.
pub(crate) async fn run(connector: &Connector, order: Order) -> (u64, u64) {
    run_over(connector.connect(PORT).await.unwrap(), order).await
}

/// The same over any connection to the peer's port 2.
pub(crate) async fn run_over(
    mut stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    order: Order,
) -> (u64, u64) {
    stream.write_all(&order.to_bytes()).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let chunk = order.chunk.max(1);

    let sending = tokio::spawn(async move {
        let pattern = Arc::new(Pattern::new(order.seed));
        let mut buffer = vec![0; chunk as usize];
        let mut sent = 0;
        while sent < order.give {
            let count = chunk.min(order.give - sent) as usize;
            if order.check {
                pattern.fill(sent, &mut buffer[..count]);
            }
            let written = timeout(2 * STALL, writer.write_all(&buffer[..count]))
                .await
                .unwrap_or_else(|_| panic!("writing stalls after {sent} bytes: {order:?}"));
            match written {
                Ok(()) => sent += count as u64,
                Err(error) if order.close_after > 0 => {
                    assert!(matches!(
                        error.kind(),
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                    ));
                    break;
                }
                Err(error) => panic!("writing after {sent} bytes: {error}"),
            }
        }
        let _ = writer.shutdown().await;
        sent
    });

    let pattern = Pattern::new(order.seed + 1000);
    let mut buffer = vec![0; chunk.max(4096) as usize];
    let mut received = 0;
    while received < order.take {
        if order.host_delay > 0 {
            tokio::time::sleep(Duration::from_micros(order.host_delay)).await;
        }
        let count = buffer.len().min((order.take - received) as usize);
        let count = timeout(STALL, reader.read(&mut buffer[..count]))
            .await
            .unwrap_or_else(|_| panic!("reading stalls after {received} bytes: {order:?}"));
        match count {
            Ok(0) | Err(_) if order.close_after > 0 => break,
            Ok(0) => panic!("the end after {received} bytes"),
            Ok(count) => {
                assert!(
                    !order.check || pattern.matches(received, &buffer[..count]),
                    "wrong bytes after {received}"
                );
                received += count as u64;
            }
            Err(error) => panic!("reading after {received} bytes: {error}"),
        }
    }
    if order.close_after > 0 {
        drop(reader);
        return (sending.await.unwrap(), received);
    }
    let sent = sending.await.unwrap();
    let mut report = Vec::new();
    timeout(6 * STALL, reader.read_to_end(&mut report))
        .await
        .expect("the report stalls")
        .unwrap();
    assert_eq!(report.len(), 9, "a report of another length");
    assert_eq!(report[..8], sent.to_le_bytes(), "bytes that arrived");
    assert_eq!(report[8], 1, "the guest got wrong bytes");
    (sent, received)
}
