//! The comparator of the cold-start benchmark: an init that prints one line and
//! switches the machine off. It mounts nothing but the devices it writes to.
#![no_std]
#![no_main]

include!("raw.rs");

const LINE: &[u8] = b"bare init\n";

/// For the kernel's log: level 1 (alert) reaches the console even with `quiet`.
const LOG_LINE: &[u8] = b"<1>bare init\n";

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    mount_devtmpfs();
    let console = open_write(b"/dev/hvc0\0");
    if console >= 0 {
        write_all(console, LINE);
    }
    // Through the kernel's log and not /dev/console, because the kernel writes
    // its log out before it goes on, a terminal's buffer is lost at power off.
    let log = open_write(b"/dev/kmsg\0");
    if log >= 0 {
        write_all(log, LOG_LINE);
    }
    power_off();
    loop {
        pause();
    }
}
