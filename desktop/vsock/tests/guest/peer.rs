//! The other end of the torture test: PID 1 of a guest that does nothing but
//! serve vsock ports. Compiled by `guest.rs` with plain `rustc`, without crates.
//!
//! Port 1 echoes. Port 2 takes an order (see `Order`) and sends and receives at
//! once, over TCP as well. Port 3 accepts and never reads. Port 4 closes after the first byte.

mod pattern;

use std::ffi::{CString, c_char, c_int, c_long, c_ulong, c_void};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

use pattern::Pattern;

/// Says something in the kernel's log, as an error so that it reaches the console,
/// which the test shows when it fails. A standard stream will not do: a process
/// cannot write to microvm's serial port, which has no interrupt.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = std::fs::write("/dev/kmsg", format!("<3>peer: {text}\n"));
}

#[repr(C)]
struct SockaddrVm {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    zero: [u8; 4],
}

unsafe extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(fd: c_int, address: *const SockaddrVm, len: u32) -> c_int;
    fn listen(fd: c_int, backlog: c_int) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const u64, len: u32) -> c_int;
    fn accept(fd: c_int, address: *mut c_void, len: *mut u32) -> c_int;
    fn shutdown(fd: c_int, how: c_int) -> c_int;
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, argument: *const u8) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

const AF_VSOCK: c_int = 40;
const SOCK_STREAM: c_int = 1;
const ANY_CID: u32 = u32::MAX;
const BUFFER_SIZE: c_int = 0;
const BUFFER_MAX_SIZE: c_int = 2;
const SHUT_WR: c_int = 1;
const SHUT_RDWR: c_int = 2;
const SYS_FINIT_MODULE: c_long = if cfg!(target_arch = "x86_64") { 313 } else { 273 };

/// What a client asks of port 2: seven 8-byte numbers.
struct Order {
    /// Bytes to send to the client, from the pattern of `seed`.
    send: u64,
    seed: u64,
    /// Size of each write and read.
    chunk: u64,
    /// Sleep before each read, in microseconds.
    delay: u64,
    /// Close after so many bytes received, 0 for never.
    close_after: u64,
    /// Seed of what the client sends.
    peer_seed: u64,
    /// Whether to look at the bytes at all.
    check: bool,
}

impl Order {
    fn read(socket: &mut File) -> Option<Self> {
        let mut number = || {
            let mut bytes = [0; 8];
            socket.read_exact(&mut bytes).ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        Some(Self {
            send: number()?,
            seed: number()?,
            chunk: number()?.max(1),
            delay: number()?,
            close_after: number()?,
            peer_seed: number()?,
            check: number()? != 0,
        })
    }
}

fn main() {
    mount_new("devtmpfs", "/dev");
    std::panic::set_hook(Box::new(|panic| say(format_args!("{panic}"))));
    load_modules();
    join_cgroup();
    if let Err(error) = serve_tcp() {
        say(format_args!("no network: {error}"));
    }
    let ports: [(u32, fn(File)); 4] = [(1, echo), (2, exchange), (3, stall), (4, hang_up)];
    for (port, serve) in ports {
        let listener = listen_on(port);
        thread::spawn(move || {
            loop {
                // SAFETY: no address is asked for.
                let fd = unsafe {
                    accept(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut())
                };
                if fd < 0 {
                    continue;
                }
                // SAFETY: accept made it, and nobody else has it.
                let connection = unsafe { File::from_raw_fd(fd) };
                let thread = thread::Builder::new().stack_size(128 * 1024);
                if let Err(error) = thread.spawn(move || serve(connection)) {
                    say(format_args!("cannot start a thread: {error}"));
                }
            }
        });
    }
    say(format_args!("ready"));
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn mount_new(kind: &str, folder: &str) {
    let _ = std::fs::create_dir(folder);
    let (kind, folder) = (CString::new(kind).unwrap(), CString::new(folder).unwrap());
    // SAFETY: three valid strings and no data.
    unsafe { mount(kind.as_ptr(), folder.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
}

/// Moves to a cgroup, as all programs of a Wherry guest are in one.
///
/// One kernel thread takes in the packets of all connections. Where programs are its
/// equals, a hundred busy ones leave it a hundredth of the processors, and every
/// stream stands still for seconds. Beside one cgroup it has half of them.
fn join_cgroup() {
    mount_new("cgroup2", "/cgroup");
    let _ = std::fs::create_dir("/cgroup/peer");
    for (file, text) in [("cgroup.subtree_control", "+cpu"), ("peer/cgroup.procs", "1")] {
        if let Err(error) = std::fs::write(format!("/cgroup/{file}"), text) {
            say(format_args!("{file}: {error}"));
        }
    }
}

/// Serves port 2 over TCP too, at the address that QEMU forwards to: what vsock is
/// compared with.
fn serve_tcp() -> std::io::Result<()> {
    const ADDRESS: c_ulong = 0x8916;
    const NETMASK: c_ulong = 0x891c;
    const FLAGS: c_ulong = 0x8914;
    const UP: [u8; 2] = 1u16.to_ne_bytes();
    let internet = |address: [u8; 4]| {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&2u16.to_ne_bytes());
        bytes[4..].copy_from_slice(&address);
        bytes
    };
    let any = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let set = |request: c_ulong, value: &[u8]| {
        // struct ifreq: a name of 16 bytes, and a union of 24.
        let mut bytes = [0; 40];
        bytes[..4].copy_from_slice(b"eth0");
        bytes[16..16 + value.len()].copy_from_slice(value);
        // SAFETY: an open socket and a whole structure.
        match unsafe { ioctl(any.as_raw_fd(), request, bytes.as_ptr()) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    set(ADDRESS, &internet([10, 0, 2, 15]))?;
    set(NETMASK, &internet([255, 255, 255, 0]))?;
    set(FLAGS, &UP)?;
    let listener = std::net::TcpListener::bind("0.0.0.0:2")?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || exchange(OwnedFd::from(stream).into()));
        }
    });
    Ok(())
}

fn load_modules() {
    let Ok(folder) = std::fs::read_dir("/modules") else { return };
    let mut paths: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let module = File::open(&path).unwrap();
        // SAFETY: an open file and an empty string of parameters.
        let result = unsafe { syscall(SYS_FINIT_MODULE, module.as_raw_fd(), c"".as_ptr(), 0) };
        if result != 0 {
            say(format_args!("{}: {}", path.display(), std::io::Error::last_os_error()));
        }
    }
}

fn listen_on(port: u32) -> File {
    let address = SockaddrVm {
        family: AF_VSOCK as u16,
        reserved: 0,
        port,
        cid: ANY_CID,
        zero: [0; 4],
    };
    // SAFETY: plain system calls on a socket made here, with a whole address.
    unsafe {
        let fd = socket(AF_VSOCK, SOCK_STREAM, 0);
        assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
        // Connections inherit it. With Linux's 256 KiB the host waits for credit
        // while the guest copies.
        let window = 512 << 10;
        setsockopt(fd, AF_VSOCK, BUFFER_MAX_SIZE, &window, 8);
        setsockopt(fd, AF_VSOCK, BUFFER_SIZE, &window, 8);
        let len = size_of::<SockaddrVm>() as u32;
        assert_eq!(bind(fd, &address, len), 0, "{}", std::io::Error::last_os_error());
        assert_eq!(listen(fd, 1024), 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(fd)
    }
}

fn end(socket: &File, how: c_int) {
    // SAFETY: an open socket.
    unsafe { shutdown(socket.as_raw_fd(), how) };
}

fn echo(mut socket: File) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        if socket.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    end(&socket, SHUT_WR);
    let _ = socket.read(&mut buffer);
}

/// Sends and receives as ordered, then reports how many bytes arrived and
/// whether they were the right ones.
fn exchange(mut socket: File) {
    let Some(order) = Order::read(&mut socket) else { return };
    let Ok(mut sender) = socket.try_clone() else { return };
    let (send, seed, chunk, check) = (order.send, order.seed, order.chunk, order.check);
    let sending = thread::spawn(move || {
        let pattern = Pattern::new(seed);
        let mut buffer = vec![0; chunk as usize];
        let mut sent = 0;
        while sent < send {
            let count = chunk.min(send - sent) as usize;
            if check {
                pattern.fill(sent, &mut buffer[..count]);
            }
            if sender.write_all(&buffer[..count]).is_err() {
                break;
            }
            sent += count as u64;
        }
    });
    let pattern = Pattern::new(order.peer_seed);
    let mut buffer = vec![0; chunk as usize];
    let (mut received, mut right) = (0, true);
    loop {
        if order.delay > 0 {
            thread::sleep(Duration::from_micros(order.delay));
        }
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                right &= !check || pattern.matches(received, &buffer[..count]);
                received += count as u64;
            }
            Err(error) => {
                say(format_args!("read: {error}"));
                right = false;
                break;
            }
        }
        if order.close_after > 0 && received >= order.close_after {
            // The sender has the socket too: closing it here would end nothing, and
            // the host would wait for a reader for as long as the sender goes on.
            end(&socket, SHUT_RDWR);
            return;
        }
    }
    let _ = sending.join();
    let mut report = received.to_le_bytes().to_vec();
    report.push(u8::from(right));
    let _ = socket.write_all(&report);
}

fn stall(_socket: File) {
    thread::sleep(Duration::from_secs(3600));
}

fn hang_up(mut socket: File) {
    let _ = socket.read(&mut [0]);
}
