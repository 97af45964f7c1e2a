//! The bytes of a published TCP port: frames of the host's stream on one side, a
//! socket towards the container on the other.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use wherry_proto::frame::{HEADER_LENGTH, Kind, decode_header, encode_header};

use super::Connection;

/// Bytes that are read or written at once, headers among them: each time wakes
/// somebody, and vsock's packets towards the host are of 64 KiB at most.
const AT_ONCE: usize = 512 * 1024;

/// What a connection may hold for its reader once it has carried so many bytes. Room
/// for one frame while another is read keeps the host waiting; and what stays unread
/// costs the guest memory, so that a connection has to be read to get more.
const WIDE: u64 = 2 * 1024 * 1024;
const CARRIES_MUCH: usize = 1024 * 1024;

/// So many connections at once. Where more of them carry much, each waits for the
/// others anyway, and what they all hold no longer fits the processor's caches.
const WIDE_AT_ONCE: usize = 4;

/// Who has carried nothing for so long makes room for another. It stays wide, and when
/// it goes on it is one too many for a while.
const IDLE: Duration = Duration::from_secs(1);

static WIDE_NOW: Mutex<[Option<Place>; WIDE_AT_ONCE]> = Mutex::new([const { None }; WIDE_AT_ONCE]);

/// A place of one wide connection.
struct Place {
    owner: Arc<()>,
    used: Instant,
}

/// Whether a connection is among the wide ones.
#[derive(Default)]
struct Width {
    owner: Arc<()>,
    carried: usize,
    wide: bool,
}

impl Width {
    /// Counts what a connection carried, and widens it once that is much and there is a
    /// place.
    fn carried(&mut self, connection: &Connection, length: usize) {
        self.carried += length;
        if self.carried < CARRIES_MUCH {
            return;
        }
        self.carried = 0;
        if self.take_place(Instant::now()) && !self.wide {
            self.wide = true;
            // A Unix socket has no window.
            let _ = connection.set_window(WIDE);
        }
    }

    fn take_place(&self, now: Instant) -> bool {
        let mut places = WIDE_NOW.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |place: &Option<Place>| {
            place
                .as_ref()
                .is_some_and(|place| Arc::ptr_eq(&place.owner, &self.owner))
        };
        let free = |place: &Option<Place>| {
            place
                .as_ref()
                .is_none_or(|place| now.saturating_duration_since(place.used) > IDLE)
        };
        let found = places.iter().position(own);
        let Some(number) = found.or_else(|| places.iter().position(free)) else {
            return false;
        };
        places[number] = Some(Place {
            owner: self.owner.clone(),
            used: now,
        });
        true
    }
}

impl Drop for Width {
    fn drop(&mut self) {
        let mut places = WIDE_NOW.lock().unwrap_or_else(PoisonError::into_inner);
        for place in places.iter_mut() {
            place.take_if(|place| Arc::ptr_eq(&place.owner, &self.owner));
        }
    }
}

/// A frame of which so many bytes are still to come is waited for.
const LONG: usize = 8 * 1024;

thread_local! {
    /// One for each thread and not for each connection, of which there are
    /// thousands: nothing stays in it while a connection waits.
    static BUFFER: RefCell<Box<[u8]>> =
        RefCell::new(vec![0; AT_ONCE].into_boxed_slice());
}

/// Copies both ways. Each end of input is passed on by itself; a connection
/// that breaks on one side breaks on the other, so that neither takes half a
/// reply for a whole one.
pub(super) async fn carry(connection: &Connection, socket: TcpStream) -> io::Result<()> {
    let copied = tokio::try_join!(inwards(connection, &socket), outwards(connection, &socket));
    if copied.is_err() {
        // Reset, not closed. The host sees its stream close without an End,
        // which says the same.
        let _ = socket.set_zero_linger();
    }
    copied.map(drop)
}

/// Copies the payload of Data frames, until End.
async fn inwards(connection: &Connection, socket: &TcpStream) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut low_water = 1;
    // There may be more to read although nobody says so any more.
    let mut more = false;
    let mut width = Width::default();
    while !frames.ended {
        consume_budget().await;
        // The rest of a long frame is on its way: to wake for each packet of it would
        // cost more than the packets do.
        let wanted = match frames.left.min(AT_ONCE) {
            left if left >= LONG => left,
            _ => 1,
        };
        if !more && wanted != low_water && connection.set_low_water(wanted).is_ok() {
            // What came before the mark was lowered has woken nobody.
            more = wanted < low_water;
            low_water = wanted;
        }
        let mut ready = match more {
            true => connection.readable_anyway(),
            false => connection.readable().await?,
        };
        // What the socket does not take at once waits in a buffer of its own.
        let waiting = BUFFER.with_borrow_mut(|buffer| -> io::Result<_> {
            let read = ready.read(buffer)?;
            more = read == Some(buffer.len());
            let Some(length) = read else {
                return Ok(Vec::new());
            };
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            width.carried(connection, length);
            let pieces = frames.payload(&buffer[..length])?;
            let sent = match pieces.as_slice() {
                [] => 0,
                pieces => at_once(socket.try_write_vectored(pieces))?,
            };
            Ok(rest(&pieces, sent))
        })?;
        write_whole(socket, &waiting).await?;
    }
    rustix::net::shutdown(socket, Shutdown::Write).or_else(|error| match error {
        // The container has reset it; who reads learns of that.
        rustix::io::Errno::NOTCONN => Ok(()),
        error => Err(error.into()),
    })
}

/// Copies what a container sends into Data frames, and its end into End.
async fn outwards(connection: &Connection, socket: &TcpStream) -> io::Result<()> {
    loop {
        consume_budget().await;
        socket.readable().await?;
        let waiting = BUFFER.with_borrow_mut(|buffer| -> io::Result<_> {
            // The header stands before the bytes, so that both go out in one write.
            let length = match read_once(socket, &mut buffer[HEADER_LENGTH..])? {
                None => return Ok(Some(Vec::new())),
                Some(0) => return Ok(None),
                Some(length) => length,
            };
            buffer[..HEADER_LENGTH].copy_from_slice(&encode_header(Kind::Data, length as u32));
            let frame = &buffer[..HEADER_LENGTH + length];
            let sent = connection.try_write(frame)?;
            Ok(Some(frame[sent..].to_vec()))
        })?;
        match waiting {
            Some(waiting) => connection.write_whole(&waiting).await?,
            None => return connection.write_whole(&encode_header(Kind::End, 0)).await,
        }
    }
}

/// Reads once, none if there is nothing. A stream that gave less than it was asked for
/// is empty, and tells when it is no longer (epoll(7), question 9): to ask it again is a
/// system call for nothing.
fn read_once(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let mut part = None;
    let read = socket.try_io(Interest::READABLE, || {
        let length = rustix::io::read(socket, &mut *buffer)?;
        if length == 0 || length == buffer.len() {
            return Ok(length);
        }
        part = Some(length);
        Err(io::ErrorKind::WouldBlock.into())
    });
    match read {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(part),
        read => read.map(Some),
    }
}

fn at_once(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}

/// Copies what is left of some pieces behind so many bytes.
fn rest(pieces: &[IoSlice<'_>], mut sent: usize) -> Vec<u8> {
    let mut rest = Vec::new();
    for piece in pieces {
        let skipped = sent.min(piece.len());
        sent -= skipped;
        rest.extend_from_slice(&piece[skipped..]);
    }
    rest
}

async fn write_whole(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        bytes = &bytes[at_once(socket.try_write(bytes))?..];
    }
    Ok(())
}

/// Where the reading of frames stands.
#[derive(Default)]
struct Frames {
    header: [u8; HEADER_LENGTH],
    /// Bytes of the next frame's header that are here.
    begun: usize,
    /// Bytes of the current frame's payload that are to come.
    left: usize,
    /// End has come.
    ended: bool,
}

impl Frames {
    /// Returns the payload in the bytes that come next. What follows End is nobody's.
    ///
    /// # Errors
    ///
    /// Where they are no frames, or not such as a port connection has.
    fn payload<'a>(&mut self, mut bytes: &'a [u8]) -> io::Result<Vec<IoSlice<'a>>> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() && !self.ended {
            if self.left > 0 {
                let (piece, behind) = bytes.split_at(self.left.min(bytes.len()));
                pieces.push(IoSlice::new(piece));
                self.left -= piece.len();
                bytes = behind;
                continue;
            }
            let missing = (HEADER_LENGTH - self.begun).min(bytes.len());
            let (part, behind) = bytes.split_at(missing);
            self.header[self.begun..self.begun + missing].copy_from_slice(part);
            self.begun += missing;
            bytes = behind;
            if self.begun == HEADER_LENGTH {
                self.begun = 0;
                match decode_header(self.header).map_err(io::Error::other)? {
                    (Kind::Data, length) => self.left = length,
                    (Kind::End, _) => self.ended = true,
                    (other, _) => {
                        return Err(io::Error::other(format!("an unexpected frame: {other:?}")));
                    }
                }
            }
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for payload in payloads {
            wire.extend_from_slice(&encode_header(Kind::Data, payload.len() as u32));
            wire.extend_from_slice(payload);
        }
        wire.extend_from_slice(&encode_header(Kind::End, 0));
        wire
    }

    proptest! {
        #[test]
        fn payload_is_the_same_however_the_frames_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in proptest::collection::vec(1_usize..200, 1..8),
        ) {
            let wire = wire(&payloads);
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            let mut rest = wire.as_slice();
            for cut in cuts.iter().cycle() {
                let (bytes, behind) = rest.split_at(rest.len().min(*cut));
                prop_assert!(!frames.ended);
                for piece in frames.payload(bytes).unwrap() {
                    seen.extend_from_slice(&piece);
                }
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(frames.ended);
            prop_assert_eq!(seen, payloads.concat());
        }

        #[test]
        fn any_bytes_are_payload_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let pieces = Frames::default().payload(&bytes).map(|pieces| rest(&pieces, 0).len());
            prop_assert!(pieces.is_err() || pieces.unwrap() <= bytes.len());
        }

        #[test]
        fn what_is_left_of_pieces_is_what_was_not_sent(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..5),
            sent in 0_usize..300,
        ) {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let whole = pieces.concat();
            let sent = sent.min(whole.len());
            prop_assert_eq!(rest(&slices, sent), &whole[sent..]);
        }
    }

    #[test]
    fn few_are_wide_at_once_and_who_idles_makes_room() {
        let now = Instant::now();
        let connections: Vec<_> = (0..=WIDE_AT_ONCE).map(|_| Width::default()).collect();
        let (last, first) = connections.split_last().unwrap();
        assert!(first.iter().all(|width| width.take_place(now)));
        assert!(!last.take_place(now));
        // The first goes on, the others do not.
        let later = now + 2 * IDLE;
        assert!(first[0].take_place(later) && last.take_place(later));
        let taken = |width: &&Width| Arc::strong_count(&width.owner) == 2;
        assert_eq!(connections.iter().filter(taken).count(), WIDE_AT_ONCE);
        assert!(taken(&&first[0]) && taken(&last));
        drop(connections);
        let empty = WIDE_NOW.lock().unwrap().iter().all(Option::is_none);
        assert!(empty);
    }

    #[test]
    fn frames_of_other_kinds_are_refused() {
        assert!(
            Frames::default()
                .payload(&encode_header(Kind::Exit, 4))
                .is_err()
        );
        let mut frames = Frames::default();
        let ended = [&encode_header(Kind::End, 0)[..], b"more"].concat();
        assert!(frames.payload(&ended).unwrap().is_empty() && frames.ended);
    }
}
