//! Where init's and serve's words go.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// Points standard output and error at the virtio console, and input at
/// nothing.
///
/// Without a virtio console the kernel's log takes the words: writing to a
/// serial port can block for ever (on QEMU's microvm it gets no interrupt).
/// The console is opened non-blocking for the same reason: a host that does
/// not read it must not stop PID 1.
pub(super) fn open() {
    let output = ["/dev/hvc0", "/dev/kmsg"].into_iter().find_map(|path| {
        OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(path)
            .ok()
    });
    if let Some(output) = output {
        redirect(output.as_raw_fd(), 1);
        redirect(output.as_raw_fd(), 2);
    }
    if let Ok(null) = OpenOptions::new().read(true).open("/dev/null") {
        redirect(null.as_raw_fd(), 0);
    }
}

fn redirect(from: i32, to: i32) {
    // SAFETY: both are plain numbers; `from` is open, and the standard
    // descriptors belong to nobody in this single-threaded process.
    unsafe {
        libc::dup2(from, to);
    }
}

/// Writes one line to the console. Never fails and never blocks: what the
/// console does not take is lost.
pub(super) fn say(line: &str) {
    let mut bytes = String::with_capacity(line.len() + 1);
    bytes.push_str(line);
    bytes.push('\n');
    let _ = std::io::stderr().write_all(bytes.as_bytes());
}
