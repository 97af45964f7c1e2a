//! Notices from the kernel that a container's process listens at a port of this
//! network, or no longer does: small programs at the containers' cgroup
//! (bpf(2), BPF_PROG_TYPE_SOCK_OPS and BPF_PROG_TYPE_CGROUP_SOCK) that write to
//! a ring buffer. Nothing happens between notices, and no other network's
//! sockets make one.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr::NonNull;

use libbpf_sys as bpf;
use tokio::io::unix::AsyncFd;

use super::program::{self, Instruction};

/// The ring buffer's size, bytes: a page, of 16 bytes a notice. More than fit
/// say no more than those that do.
const BUFFER: u32 = 4096;

/// The option that tells a socket's network, asm-generic/socket.h.
const SO_NETNS_COOKIE: i32 = 71;

/// Where the programs are attached, until it is dropped.
pub(super) struct Notices {
    // Before the buffer, whose descriptor it watches.
    ready: AsyncFd<Watched>,
    buffer: RingBuffer,
    _links: Vec<OwnedFd>,
}

/// The descriptor of a ring buffer's owner.
struct Watched(RawFd);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Notices {
    /// Attaches the programs to a cgroup (version 2) and all below it. To be
    /// called in a runtime.
    ///
    /// # Errors
    ///
    /// Where there is no such cgroup, or the kernel cannot or may not.
    pub(super) fn attach(cgroup: &Path) -> io::Result<Self> {
        let cgroup = std::fs::File::open(cgroup)?;
        let network = network_cookie()?;
        // SAFETY: the name is a C string and no options are given.
        let map = owned(unsafe {
            bpf::bpf_map_create(
                bpf::BPF_MAP_TYPE_RINGBUF,
                c"wherry_ports".as_ptr(),
                0,
                0,
                BUFFER,
                std::ptr::null(),
            )
        })?;
        let buffer = RingBuffer::new(&map)?;
        let mut links = Vec::new();
        let map = map.as_raw_fd();
        for (kind, attach_type, program) in [
            (
                bpf::BPF_PROG_TYPE_SOCK_OPS,
                bpf::BPF_CGROUP_SOCK_OPS,
                program::listening(map, network),
            ),
            (
                bpf::BPF_PROG_TYPE_CGROUP_SOCK,
                bpf::BPF_CGROUP_INET4_POST_BIND,
                program::datagrams(map, network),
            ),
            (
                bpf::BPF_PROG_TYPE_CGROUP_SOCK,
                bpf::BPF_CGROUP_INET6_POST_BIND,
                program::datagrams(map, network),
            ),
            (
                bpf::BPF_PROG_TYPE_CGROUP_SOCK,
                bpf::BPF_CGROUP_INET_SOCK_RELEASE,
                program::datagrams(map, network),
            ),
        ] {
            let program = load(kind, attach_type, &program)?;
            // SAFETY: both descriptors are open, and no options are given.
            links.push(owned(unsafe {
                bpf::bpf_link_create(
                    program.as_raw_fd(),
                    cgroup.as_raw_fd(),
                    attach_type,
                    std::ptr::null(),
                )
            })?);
        }
        // SAFETY: the buffer is open.
        let descriptor = unsafe { bpf::ring_buffer__epoll_fd(buffer.0.as_ptr()) };
        // SAFETY: the descriptor is the buffer's, which is closed later, and stays
        // the same.
        let ready = unsafe { AsyncFd::register(Watched(descriptor)) }.map_err(io::Error::other)?;
        Ok(Self {
            ready,
            buffer,
            _links: links,
        })
    }

    /// Waits for notices, one or more. Cancellation-safe.
    pub(super) async fn next(&mut self) -> io::Result<()> {
        let mut guard = self.ready.readable().await?;
        // Before the notices are taken: one that comes later wakes again.
        guard.clear_ready();
        self.buffer.consume();
        Ok(())
    }
}

/// libbpf's reader of a ring buffer.
struct RingBuffer(NonNull<bpf::ring_buffer>);

// SAFETY: it has no ties to the thread that made it, and only one uses it at a
// time (`&mut`, or the descriptor alone).
unsafe impl Send for RingBuffer {}

impl RingBuffer {
    fn new(map: &OwnedFd) -> io::Result<Self> {
        unsafe extern "C" fn nothing(_: *mut c_void, _: *mut c_void, _: bpf::size_t) -> i32 {
            0
        }
        // SAFETY: the map is a ring buffer; the function ignores what it gets.
        let buffer = unsafe {
            bpf::ring_buffer__new(
                map.as_raw_fd(),
                Some(nothing),
                std::ptr::null_mut(),
                std::ptr::null(),
            )
        };
        NonNull::new(buffer)
            .map(Self)
            .ok_or_else(io::Error::last_os_error)
    }

    fn consume(&mut self) {
        // SAFETY: the buffer is open and nobody else uses it now.
        let _ = unsafe { bpf::ring_buffer__consume(self.0.as_ptr()) };
    }
}

impl Drop for RingBuffer {
    fn drop(&mut self) {
        // SAFETY: it is open and used no more.
        unsafe { bpf::ring_buffer__free(self.0.as_ptr()) };
    }
}

fn load(
    kind: bpf::bpf_prog_type,
    attach_type: bpf::bpf_attach_type,
    program: &[Instruction],
) -> io::Result<OwnedFd> {
    let mut options = bpf::bpf_prog_load_opts {
        sz: size_of::<bpf::bpf_prog_load_opts>() as bpf::size_t,
        expected_attach_type: attach_type,
        ..bpf::bpf_prog_load_opts::default()
    };
    // SAFETY: an `Instruction` has the layout of `bpf_insn`; the strings are C
    // strings; all outlive the call.
    owned(unsafe {
        bpf::bpf_prog_load(
            kind,
            c"wherry_ports".as_ptr(),
            c"Dual MIT/GPL".as_ptr(),
            program.as_ptr().cast(),
            program.len() as bpf::size_t,
            &raw mut options,
        )
    })
}

/// Takes the descriptor that a function of libbpf returned, or its error.
fn owned(descriptor: i32) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(-descriptor));
    }
    // SAFETY: it was just made, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Returns what tells the network of this thread from others.
fn network_cookie() -> io::Result<u64> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the value has the length that is told, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}
