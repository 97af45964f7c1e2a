//! The standard streams of one process, as the shim holds them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::super::protocol::TerminalSize;

/// How much of a client's input waits for the process, bytes.
const INPUT_ROOM: usize = 256 * 1024;

/// Standard output or standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Stdout = 0,
    Stderr = 1,
}

impl Output {
    /// The name in logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What reading an output gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    Bytes(usize),
    Nothing,
    End,
}

/// The shim's ends of a process's standard streams.
#[derive(Debug, Default)]
pub(super) struct Stdio {
    input: Option<File>,
    waiting: VecDeque<u8>,
    /// No more input will come: close it when `waiting` has gone.
    ending: bool,
    outputs: [Option<File>; 2],
    terminal: Option<OwnedFd>,
    awaited: bool,
}

impl Stdio {
    /// Makes pipes; without `open_stdin` the input is empty. Returns the
    /// process's ends with them: input, output, error.
    pub(super) fn pipes(open_stdin: bool) -> io::Result<(Self, [OwnedFd; 3])> {
        let (theirs, input) = if open_stdin {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            (read, Some(nonblocking(write)?))
        } else {
            (File::open("/dev/null")?.into(), None)
        };
        let (stdout, their_stdout) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr, their_stderr) = pipe2(OFlag::O_CLOEXEC)?;
        let stdio = Self {
            input,
            outputs: [Some(nonblocking(stdout)?), Some(nonblocking(stderr)?)],
            ..Self::default()
        };
        Ok((stdio, [theirs, their_stdout, their_stderr]))
    }

    /// Takes a terminal's master.
    pub(super) fn terminal(&mut self, master: OwnedFd) -> io::Result<()> {
        let input = nonblocking(master.try_clone()?)?;
        self.outputs[0] = Some(File::from(master.try_clone()?));
        self.input = Some(input);
        self.terminal = Some(master);
        Ok(())
    }

    /// Sets the terminal's size; false where there is none.
    pub(super) fn resize(&self, size: TerminalSize) -> io::Result<bool> {
        let Some(terminal) = &self.terminal else {
            return Ok(false);
        };
        let size = rustix::termios::Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(terminal, size)?;
        Ok(true)
    }

    /// Returns the streams of a process that is not made yet.
    pub(super) fn awaited() -> Self {
        Self {
            awaited: true,
            ..Self::default()
        }
    }

    /// Tells whether more input may be put. There is no room before the
    /// process is made.
    pub(super) fn has_room(&self) -> bool {
        !self.awaited && self.waiting.len() < INPUT_ROOM
    }

    /// Takes input for the process. Without an open input it goes nowhere.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.input.is_some() && !self.ending {
            self.waiting.extend(bytes);
            self.write();
        }
    }

    /// Closes the input once what waits has been written. A terminal's stays.
    pub(super) fn end_input(&mut self) {
        if self.terminal.is_none() {
            self.ending = true;
            self.write();
        }
    }

    /// Returns the input to poll for room, while something waits.
    pub(super) fn input_to_poll(&self) -> Option<BorrowedFd<'_>> {
        let wanted = !self.waiting.is_empty();
        self.input.as_ref().filter(|_| wanted).map(AsFd::as_fd)
    }

    /// Returns an output to poll, while it is open.
    pub(super) fn output_to_poll(&self, output: Output) -> Option<BorrowedFd<'_>> {
        self.outputs[output as usize].as_ref().map(AsFd::as_fd)
    }

    /// Writes input as far as the process takes it.
    pub(super) fn write(&mut self) {
        let Some(input) = &mut self.input else {
            self.waiting = VecDeque::new();
            return;
        };
        while !self.waiting.is_empty() {
            match input.write(self.waiting.as_slices().0) {
                Ok(count) => {
                    self.waiting.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The process closed its input, or ended.
                Err(_) => {
                    self.ending = true;
                    break;
                }
            }
        }
        self.waiting = VecDeque::new();
        if self.ending {
            self.input = None;
        }
    }

    /// Reads an output.
    pub(super) fn read(&mut self, output: Output, buffer: &mut [u8]) -> Got {
        let slot = &mut self.outputs[output as usize];
        let Some(file) = slot else {
            return Got::End;
        };
        loop {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(count) => return Got::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Got::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A terminal whose other side closed gives EIO.
                Err(_) => break,
            }
        }
        *slot = None;
        Got::End
    }

    /// Tells whether every output has ended.
    pub(super) fn ended(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// Closes the input, whatever waits.
    pub(super) fn close_input(&mut self) {
        self.input = None;
        self.waiting = VecDeque::new();
    }
}

fn nonblocking(descriptor: OwnedFd) -> io::Result<File> {
    rustix::io::ioctl_fionbio(&descriptor, true)?;
    Ok(File::from(descriptor))
}
