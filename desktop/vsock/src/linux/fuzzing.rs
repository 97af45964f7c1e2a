//! Plays a script of a hostile guest against the device: for the fuzzer, and
//! for a test that feeds it random bytes.

use std::pin::pin;
use std::task::{Context, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use virtio_queue::desc::split::Descriptor;

use super::rig::{BUFFERS, GUEST_CID, MEMORY, RECEIVE, Rig, TRANSMIT};
use crate::endpoint::Endpoint;
use crate::packet::{HEADER_LEN, HOST_CID, Header, TYPE_STREAM};
use crate::stream::Stream;
use crate::table::MAX_CONNECTIONS;

/// Runs of the device after the script, to see whether it comes to rest.
const LAST_RUNS: usize = 64;

/// Plays `data` as a script. Panics when the device breaks one of its bounds.
pub fn fuzz_device(data: &[u8]) {
    let Some(mut rig) = Rig::new(16) else { return };
    let mut script = Script(data);
    let mut streams: Vec<Stream> = Vec::new();
    while let Some(step) = script.byte() {
        match step % 10 {
            0 => {
                let address = u64::from(script.word()) % MEMORY;
                let len = usize::from(script.byte().unwrap_or(0));
                rig.write(address, script.bytes(len));
            }
            1 => {
                let queue = script.queue();
                let index = script.half();
                let descriptor = script.descriptor();
                rig.descriptor(queue, index, descriptor);
            }
            2 => {
                let queue = script.queue();
                let head = script.half() % 20;
                rig.offer(queue, head);
            }
            3 => {
                let queue = script.queue();
                let index = script.half();
                rig.offer_up_to(queue, index);
            }
            4 | 5 => packet(&mut rig, &mut script, &streams),
            6 => {
                // A buffer of 4 KiB for the device's packets, as Linux gives.
                let index = script.half() % 16;
                let address = BUFFERS + u64::from(index) * 4096;
                rig.descriptor(RECEIVE, index, Descriptor::new(address, 4096, 2, 0));
                rig.offer(RECEIVE, index);
            }
            7 => host(&rig, &mut script, &mut streams),
            _ => {
                rig.run();
            }
        }
    }
    drop(streams);
    for _ in 0..LAST_RUNS {
        rig.run();
    }
    assert!(rig.table.len() <= MAX_CONNECTIONS);
    rig.queues.assert_bounds();
}

/// Sends a packet that is more or less well formed, to a connection if there is
/// one.
fn packet(rig: &mut Rig, script: &mut Script<'_>, streams: &[Stream]) {
    let choice = usize::from(script.byte().unwrap_or(0));
    let (host, guest) = match streams.get(choice % (streams.len() + 1)) {
        Some(stream) => {
            let Endpoint { ports, .. } = stream.endpoint();
            (ports.host, ports.guest)
        }
        None => (script.word(), script.word()),
    };
    let len = u32::from(script.half());
    let twist = script.byte().unwrap_or(0);
    let header = Header {
        source_cid: if twist == 1 { 7 } else { GUEST_CID },
        destination_cid: if twist == 2 { 7 } else { HOST_CID },
        source_port: guest,
        destination_port: host,
        len: if twist == 3 { script.word() } else { len },
        socket_type: if twist == 4 { 2 } else { TYPE_STREAM },
        operation: u16::from(script.byte().unwrap_or(0) % 9),
        flags: u32::from(script.byte().unwrap_or(0) % 5),
        buf_alloc: script.word(),
        fwd_cnt: u32::from(script.half()),
    };
    let address = BUFFERS + 0x10_0000 + u64::from(script.byte().unwrap_or(0)) * 64;
    rig.write(address, &header.to_bytes());
    let index = script.half() % 15;
    let header_len = HEADER_LEN as u32;
    let payload = address + u64::from(header_len);
    rig.descriptor(
        TRANSMIT,
        index,
        Descriptor::new(address, header_len, 1, index + 1),
    );
    rig.descriptor(TRANSMIT, index + 1, Descriptor::new(payload, len, 0, 0));
    rig.offer(TRANSMIT, index);
}

/// Does something on the host's side of the connections.
fn host(rig: &Rig, script: &mut Script<'_>, streams: &mut Vec<Stream>) {
    let action = script.byte().unwrap_or(0);
    if action.is_multiple_of(5) {
        if let Ok(endpoint) = rig.table.add(script.word()) {
            streams.push(Stream::new(endpoint, rig.table.clone()));
        }
        return;
    }
    let choice = usize::from(script.byte().unwrap_or(0));
    let count = usize::from(script.half());
    if streams.is_empty() {
        return;
    }
    let choice = choice % streams.len();
    let mut context = Context::from_waker(Waker::noop());
    match action % 5 {
        1 => {
            let _ = pin!(&mut streams[choice]).poll_write(&mut context, &vec![1; count]);
        }
        2 => {
            let mut bytes = vec![0; count];
            let mut buffer = ReadBuf::new(&mut bytes);
            let _ = pin!(&mut streams[choice]).poll_read(&mut context, &mut buffer);
        }
        3 => {
            let _ = pin!(&mut streams[choice]).poll_shutdown(&mut context);
        }
        _ => {
            streams.swap_remove(choice);
        }
    }
}

/// Numbers from the front of the script; past its end, zeros.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn half(&mut self) -> u16 {
        u16::from_le_bytes([self.byte().unwrap_or(0), self.byte().unwrap_or(0)])
    }

    fn word(&mut self) -> u32 {
        u32::from(self.half()) | u32::from(self.half()) << 16
    }

    fn queue(&mut self) -> usize {
        usize::from(self.byte().unwrap_or(0)) % 2
    }

    fn bytes(&mut self, len: usize) -> &[u8] {
        let (first, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        first
    }

    /// Makes a descriptor that points into memory, to its edges or nowhere.
    fn descriptor(&mut self) -> Descriptor {
        let kind = self.byte().unwrap_or(0);
        let (address, len) = (u64::from(self.word()), self.word());
        let address = match kind % 4 {
            0 => u64::MAX - address,
            1 => MEMORY - address % 64,
            _ => address % MEMORY,
        };
        let len = match kind / 4 % 3 {
            0 => len,
            1 => len % 128,
            _ => len % 70_000 * 16,
        };
        Descriptor::new(address, len, self.half() % 8, self.half() % 20)
    }
}

#[cfg(test)]
mod tests {
    use super::fuzz_device;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn no_script_of_a_guest_breaks_the_device(script in prop::collection::vec(any::<u8>(), 0..4000)) {
            fuzz_device(&script);
        }
    }
}
