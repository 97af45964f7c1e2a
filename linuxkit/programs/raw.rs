// Linux system calls for programs without libc. The numbers are those of
// asm/unistd.h of each architecture.

use core::arch::asm;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}

#[cfg(target_arch = "x86_64")]
mod number {
    pub const OPENAT: usize = 257;
    pub const WRITE: usize = 1;
    pub const PPOLL: usize = 271;
    pub const EXIT_GROUP: usize = 231;
    pub const MOUNT: usize = 165;
    pub const REBOOT: usize = 169;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const OPENAT: usize = 56;
    pub const WRITE: usize = 64;
    pub const PPOLL: usize = 73;
    pub const EXIT_GROUP: usize = 94;
    pub const MOUNT: usize = 40;
    pub const REBOOT: usize = 142;
}

#[cfg(target_arch = "x86_64")]
fn syscall(number: usize, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    let result;
    // SAFETY: the callers pass pointers to memory that outlives the call, and
    // the clobbers are those of the System V ABI's `syscall`.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

#[cfg(target_arch = "aarch64")]
fn syscall(number: usize, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    let result;
    // SAFETY: the callers pass pointers to memory that outlives the call.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, options(nostack));
    }
    result
}

#[allow(dead_code)]
fn write_all(descriptor: isize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = syscall(
            number::WRITE,
            [descriptor as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0],
        );
        if written <= 0 {
            return;
        }
        bytes = match bytes.get(written as usize..) {
            Some(rest) => rest,
            None => return,
        };
    }
}

#[allow(dead_code)]
fn exit(code: usize) -> ! {
    loop {
        syscall(number::EXIT_GROUP, [code, 0, 0, 0, 0]);
    }
}

/// Opens a path that ends in a zero byte for writing.
#[allow(dead_code)]
fn open_write(path: &[u8]) -> isize {
    const AT_FDCWD: isize = -100;
    const O_WRONLY: usize = 1;
    syscall(number::OPENAT, [AT_FDCWD as usize, path.as_ptr() as usize, O_WRONLY, 0, 0])
}

#[allow(dead_code)]
fn mount_devtmpfs() {
    let name = b"devtmpfs\0".as_ptr() as usize;
    syscall(number::MOUNT, [name, b"/dev\0".as_ptr() as usize, name, 0, 0]);
}

#[allow(dead_code)]
fn power_off() {
    // linux/reboot.h
    const MAGIC1: usize = 0xfee1_dead;
    const MAGIC2: usize = 672_274_793;
    const POWER_OFF: usize = 0x4321_fedc;
    syscall(number::REBOOT, [MAGIC1, MAGIC2, POWER_OFF, 0, 0]);
}

#[allow(dead_code)]
fn pause() {
    syscall(number::PPOLL, [0, 0, 0, 0, 0]);
}
