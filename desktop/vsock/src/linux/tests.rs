//! Streams through the rings, without a virtual machine.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::device::{Error, VsockDevice};
use super::driver::Guest;
use crate::connector::ConnectError;

const ECHO: u32 = 1;
const STALL: u32 = 2;
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_carry_every_byte_and_leave_nothing_behind() {
    let guest = Guest::boot();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8usize {
        let connector = guest.connector.clone();
        tasks.spawn(async move {
            let stream = connector.connect(ECHO).await.expect("a stream");
            let (mut reader, mut writer) = tokio::io::split(stream);
            let request: Vec<u8> = (0..700_000).map(|i| (i * (number + 3) / 7) as u8).collect();
            let copy = request.clone();
            let sending = tokio::spawn(async move {
                for chunk in request.chunks([1000, 4096, 65_536, 300_000][number % 4]) {
                    writer.write_all(chunk).await.expect("writing");
                }
                writer.shutdown().await.expect("ending");
            });
            let mut reply = Vec::new();
            reader.read_to_end(&mut reply).await.expect("reading");
            assert!(reply == copy, "other bytes came back");
            sending.await.expect("the sender");
        });
    }
    let all = async {
        while let Some(task) = tasks.join_next().await {
            task.expect("a task")
        }
    };
    timeout(DEADLINE, all).await.expect("the streams stall");
    let begun = Instant::now();
    while guest.connector.connections() > 0 {
        assert!(begun.elapsed() < DEADLINE, "connections are left");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_nobody_reads_holds_up_only_itself() {
    let guest = Guest::boot();
    let mut stalled = guest.connector.connect(STALL).await.expect("a stream");
    let block = vec![0; 1 << 20];
    let stuck = timeout(Duration::from_millis(200), stalled.write_all(&block)).await;
    assert!(stuck.is_err(), "more was taken than there is room for");
    // The other way round: the guest echoes what this side does not read.
    let mut unread = guest.connector.connect(ECHO).await.expect("a stream");
    let _ = timeout(Duration::from_millis(200), unread.write_all(&block)).await;

    let mut other = guest.connector.connect(ECHO).await.expect("a stream");
    timeout(DEADLINE, async {
        for _ in 0..100 {
            other.write_all(&[7; 10_000]).await.expect("writing");
            other.read_exact(&mut [0; 10_000]).await.expect("reading");
        }
    })
    .await
    .expect("another stream stalls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_nobody_listens_on_is_refused() {
    let guest = Guest::boot();
    let result = timeout(DEADLINE, guest.connector.connect(9))
        .await
        .expect("an answer");
    assert!(matches!(result, Err(ConnectError::Refused(9))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_restarts_resets_old_streams_and_takes_new_ones() {
    let guest = Guest::boot();
    let mut old = guest.connector.connect(STALL).await.expect("a stream");
    guest.restart();
    let error = timeout(DEADLINE, old.read(&mut [0])).await.expect("an end");
    assert_eq!(
        error.expect_err("an error").kind(),
        ErrorKind::ConnectionReset
    );
    let mut new = guest.connector.connect(ECHO).await.expect("a stream");
    new.write_all(b"hello").await.expect("writing");
    new.read_exact(&mut [0; 5]).await.expect("reading");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_never_starts_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let (device, connector) =
        VsockDevice::start(&folder.path().join("vsock.sock"), 3).expect("a device");
    let result = connector.connect(ECHO).await;
    assert!(matches!(result, Err(ConnectError::NotReady(_))));
    assert_eq!(connector.connections(), 0);
    drop(device);
}

#[tokio::test]
async fn a_device_dropped_before_qemu_connects_stops_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("vsock.sock");
    let (device, connector) = VsockDevice::start(&socket, 3).expect("a device");
    let mut ended = device.ended.clone();
    drop(device);
    timeout(DEADLINE, ended.wait_for(|ended| *ended))
        .await
        .expect("an end")
        .expect("a sender");
    assert!(matches!(
        connector.connect(ECHO).await,
        Err(ConnectError::Ended)
    ));
}

#[test]
fn reserved_context_identifiers_are_refused() {
    for cid in [0, 1, 2, u64::from(u32::MAX), u64::MAX] {
        let result = VsockDevice::start(std::path::Path::new("/nonexistent/x"), cid);
        assert!(matches!(result, Err(Error::GuestCid(_))));
    }
}
