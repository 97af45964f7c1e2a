//! One process of the container, its own or an exec's, with its standard
//! streams, its log and the clients attached to it.

use std::os::fd::OwnedFd;
use std::time::Instant;

use super::log::Log;
use super::replay::Replay;
use super::stdio::{Got, Output, Stdio};
use super::stream::{Received, Stream};
use crate::runtime::protocol::ExitStatus;

const OUTPUTS: [Output; 2] = [Output::Stdout, Output::Stderr];

/// How often one output is read before others get their turn.
const READS: usize = 8;

/// A process and what hangs on it.
#[derive(Debug)]
pub(super) struct Task {
    /// The exec's id; `None` is the container's own process.
    pub(super) exec: Option<String>,
    /// While it runs.
    pub(super) pid: Option<i32>,
    pub(super) exit: Option<ExitStatus>,
    pub(super) stdio: Stdio,
    pub(super) streams: Vec<Stream>,
    /// The client of an exec that does not run yet, and whether it gives input.
    pub(super) pending: Option<OwnedFd>,
    pub(super) takes_input: bool,
    /// A client's end of input is the process's.
    input_ends_with_client: bool,
    log: Option<Log>,
    drained: bool,
}

impl Task {
    pub(super) fn new(exec: Option<String>, stdio: Stdio, input_ends_with_client: bool) -> Self {
        Self {
            exec,
            pid: None,
            exit: None,
            stdio,
            streams: Vec::new(),
            pending: None,
            takes_input: false,
            input_ends_with_client,
            log: None,
            drained: false,
        }
    }

    /// Opens what the process is made with, for clients that came before it.
    pub(super) fn open(&mut self, stdio: Stdio, input_ends_with_client: bool, log: Option<Log>) {
        self.stdio = stdio;
        self.input_ends_with_client = input_ends_with_client;
        self.log = log;
        for stream in &mut self.streams {
            stream.replay = replay(self.log.as_ref(), stream.wants_log());
        }
    }

    /// Adds a client. One that is `foreground` holds the process up rather
    /// than lose a byte; any other catches up from the log when it is slow.
    pub(super) fn attach(&mut self, mut stream: Stream, foreground: bool) {
        stream.foreground = foreground;
        stream.replay = replay(self.log.as_ref(), stream.wants_log());
        self.streams.push(stream);
    }

    /// Tells whether an output should be read now.
    pub(super) fn wants_output(&self, output: Output) -> bool {
        let logged = self.log.is_some();
        !self.streams.iter().any(|stream| {
            (stream.foreground || !logged) && stream.wants(output) && stream.is_slow()
        })
    }

    /// Reads an output that is ready.
    pub(super) fn pump_output(&mut self, output: Output, buffer: &mut [u8]) {
        for _ in 0..READS {
            if !self.wants_output(output) {
                return;
            }
            match self.stdio.read(output, buffer) {
                Got::Bytes(count) => self.distribute(output, &buffer[..count]),
                Got::Nothing | Got::End => return,
            }
        }
    }

    /// Reads what a client sent.
    pub(super) fn pump_input(&mut self, index: usize, buffer: &mut [u8]) {
        for _ in 0..READS {
            if !self.stdio.has_room() {
                return;
            }
            let Some(stream) = self.streams.get_mut(index) else {
                return;
            };
            match stream.receive(buffer) {
                Received::Input(count) => self.stdio.put(&buffer[..count]),
                Received::End => {
                    if stream.gives_input() && self.input_ends_with_client {
                        self.stdio.end_input();
                    }
                }
                Received::Nothing => return,
            }
        }
    }

    /// Does what has become due: catching up, the last frames, clients that
    /// are done. Returns true once, when the process has ended and all that it
    /// wrote is read.
    pub(super) fn step(&mut self, buffer: &mut [u8]) -> bool {
        let ends_now = self.exit.is_some() && !self.drained;
        if ends_now {
            self.drain(buffer);
        }
        for stream in &mut self.streams {
            if let Some(log) = &self.log {
                catch_up(stream, log);
            }
            if let (Some(exit), true, true) = (&self.exit, self.drained, stream.replay.is_none()) {
                stream.finish(exit.code);
            }
        }
        let ends_input = self.input_ends_with_client
            && self
                .streams
                .iter()
                .any(|stream| stream.is_broken() && stream.gives_input());
        if ends_input {
            self.stdio.end_input();
        }
        self.streams.retain(|stream| !stream.is_done());
        ends_now
    }

    /// Tells whether nothing of it is left.
    pub(super) fn is_over(&self) -> bool {
        self.drained && self.streams.is_empty() && self.stdio.ended()
    }

    /// Returns when [`Task::step`] is due without anything happening.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.streams.iter().filter_map(Stream::deadline).min()
    }

    /// What a process that ended left in its pipes is at most what they hold,
    /// so slow clients are not waited for: the log and the exit are at once.
    fn drain(&mut self, buffer: &mut [u8]) {
        for output in OUTPUTS {
            while let Got::Bytes(count) = self.stdio.read(output, buffer) {
                self.distribute(output, &buffer[..count]);
            }
        }
        if let Some(log) = &mut self.log {
            log.flush();
        }
        self.stdio.close_input();
        self.drained = true;
    }

    fn distribute(&mut self, output: Output, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            for stream in &mut self.streams {
                let lags = !stream.foreground && stream.replay.is_none() && stream.is_slow();
                if lags && !stream.is_finished() {
                    stream.replay = Replay::from_now(log);
                    stream.ahead = OUTPUTS.map(|output| log.partial(output).len());
                }
            }
            log.append(output, bytes);
        }
        for stream in &mut self.streams {
            if stream.replay.is_none() {
                stream.send(output, bytes);
            }
        }
    }
}

fn replay(log: Option<&Log>, wanted: bool) -> Option<Replay> {
    Replay::from_start(log.filter(|_| wanted)?)
}

/// Brings a client from the log to the present, as far as it reads.
fn catch_up(stream: &mut Stream, log: &Log) {
    while let Some(mut replay) = stream.replay.take() {
        if stream.is_slow() {
            stream.replay = Some(replay);
            return;
        }
        if let Some((output, text)) = replay.next(log) {
            send_after_ahead(stream, output, text.as_bytes());
            stream.replay = Some(replay);
        } else {
            for output in OUTPUTS {
                send_after_ahead(stream, output, log.partial(output));
            }
            stream.ahead = [0; 2];
        }
    }
}

fn send_after_ahead(stream: &mut Stream, output: Output, bytes: &[u8]) {
    let ahead = &mut stream.ahead[output as usize];
    let known = bytes.len().min(*ahead);
    *ahead -= known;
    stream.send(output, &bytes[known..]);
}
