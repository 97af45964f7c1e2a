//! The torture test through a booted guest.
//!
//! Runs only when `WHERRY_TEST_KERNEL` names a kernel with vsock:
//! `WHERRY_TEST_KERNEL=bzImage cargo test -p wherry-vsock --test guest -- --nocapture`.
//! `WHERRY_TEST_MEBIBYTES` is how much goes each way in the big one (256; the
//! whole torture is 4096), and `WHERRY_TEST_QUICK` leaves it out. For a distribution's kernel,
//! `WHERRY_TEST_MACHINE=q35` and `WHERRY_TEST_MODULES` (see `vm.rs`) help.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test says what failed by panicking")]

mod exchange;
mod pattern;
mod vm;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wherry_vsock::{ConnectError, Connector};

use exchange::{Order, run, run_over};
use vm::Vm;

const ECHO: u32 = 1;
const STALL: u32 = 3;
const HANG_UP: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booted_guest_gets_and_gives_every_byte() {
    let Ok(kernel) = std::env::var("WHERRY_TEST_KERNEL") else {
        eprintln!("skipped: WHERRY_TEST_KERNEL is not set");
        return;
    };
    let started = Instant::now();
    let mut vm = Vm::boot(Path::new(&kernel));
    drop(vm.connect(ECHO).await);
    println!("ready after {:?}", started.elapsed());

    nobody_listens(&vm).await;
    round_trip(&vm).await;
    throughput(&vm).await;
    half_closed_request_gets_its_whole_reply(&vm).await;
    early_close(&vm).await;
    many_short_connections(&vm).await;
    if std::env::var_os("WHERRY_TEST_QUICK").is_none() {
        torture(&vm).await;
    }
    pause(&vm).await;
    reset(&vm).await;

    let mut stream = vm.connect(STALL).await;
    vm.kill();
    timeout(Duration::from_secs(5), vm.device.ended())
        .await
        .unwrap();
    assert!(stream.read(&mut [0]).await.is_err());
    assert!(matches!(
        vm.connector.connect(ECHO).await,
        Err(ConnectError::Ended)
    ));
}

async fn nobody_listens(vm: &Vm) {
    let begun = Instant::now();
    let result = vm.connector.connect(999).await;
    assert!(matches!(result, Err(ConnectError::Refused(999))));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

async fn round_trip(vm: &Vm) {
    let mut stream = vm.connect(ECHO).await;
    let mut times = Vec::new();
    for _ in 0..300 {
        let begun = Instant::now();
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort();
    let median = times[times.len() / 2].as_secs_f64() * 1e3;
    println!("round trip: {median:.3} ms");
}

/// Measures one stream, beside QEMU's port forwarding into the same guest.
async fn throughput(vm: &Vm) {
    const BYTES: u64 = 128 << 20;
    // A distribution's kernel has its network driver among the modules.
    let forwards = std::env::var_os("WHERRY_TEST_MODULES").is_none();
    for (name, give, take) in [("in", BYTES, 0), ("out", 0, BYTES), ("both", BYTES, BYTES)] {
        let order = Order {
            give,
            take,
            chunk: 256 << 10,
            check: false,
            ..Order::default()
        };
        let vsock = measure(vm, BYTES, run(&vm.connector, order)).await;
        println!("throughput {name}: {vsock}");
        if forwards {
            let stream = TcpStream::connect(vm.forward).await.unwrap();
            let forward = measure(vm, BYTES, run_over(stream, order)).await;
            println!("throughput {name}, hostfwd: {forward}");
        }
    }
}

async fn measure<T>(vm: &Vm, bytes: u64, exchange: impl Future<Output = T>) -> String {
    let begun = Instant::now();
    let (guest, host) = (vm.processor_time(), vm::processor_time("self"));
    exchange.await;
    let rate = bytes as f64 / begun.elapsed().as_secs_f64() / 1e6;
    // Seconds of processor say more than the rate on a machine that is busy.
    let guest = vm.processor_time() - guest;
    let host = vm::processor_time("self") - host;
    format!("{rate:.0} MB/s, {guest:.2} s in QEMU, {host:.2} s here")
}

async fn half_closed_request_gets_its_whole_reply(vm: &Vm) {
    let mut stream = vm.connect(ECHO).await;
    let request = vec![7; 200_000];
    stream.write_all(&request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    assert_eq!(reply, request);
}

async fn early_close(vm: &Vm) {
    // The guest closes while the host writes.
    let mut stream = vm.connect(HANG_UP).await;
    let block = vec![0; 64 << 10];
    timeout(Duration::from_secs(10), async {
        while stream.write_all(&block).await.is_ok() {}
    })
    .await
    .unwrap();
    // The host closes while the guest writes.
    for _ in 0..20 {
        let order = Order {
            take: 64 << 20,
            chunk: 64 << 10,
            ..Order::default()
        };
        let mut stream = vm.connect(exchange::PORT).await;
        stream.write_all(&order.to_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 100]).await.unwrap();
    }
    confirmed(&vm.connector, 0).await;
}

async fn many_short_connections(vm: &Vm) {
    const CONNECTIONS: usize = 10_000;
    let before = descriptors();
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let connector = vm.connector.clone();
        tasks.spawn(async move {
            for _ in 0..CONNECTIONS / 8 {
                let mut stream = connector.connect(ECHO).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                stream.shutdown().await.unwrap();
                let mut reply = Vec::new();
                stream.read_to_end(&mut reply).await.unwrap();
                assert_eq!(reply, b"hello");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    println!("{CONNECTIONS} short connections: {:?}", begun.elapsed());
    confirmed(&vm.connector, 0).await;
    assert!(descriptors() <= before);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Returns the memory of this process, in MiB, without the guest's, which is mapped
/// here, and without what the allocator keeps for later.
fn memory() -> u64 {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: it has no precondition.
        unsafe { malloc_trim(0) };
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let field = line.and_then(|line| line.split_whitespace().nth(1));
    field.and_then(|text| text.parse::<u64>().ok()).unwrap() >> 10
}

/// 64 streams at once, with every size of chunk, slow readers on both sides,
/// early closers, and one stream that nobody reads.
async fn torture(vm: &Vm) {
    let total: u64 = std::env::var("WHERRY_TEST_MEBIBYTES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(256)
        << 20;
    let mut stalled = vm.connect(STALL).await;
    let _ = timeout(Duration::from_millis(500), async {
        let block = vec![0; 64 << 10];
        while stalled.write_all(&block).await.is_ok() {}
    })
    .await;

    // What comes later may take no more memory than what came first.
    traffic(vm, total.min(64 << 20)).await;
    let before = (descriptors(), memory());
    let begun = Instant::now();
    let (given, taken) = traffic(vm, total).await;
    assert!(given >= total && taken >= total);
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "torture: {} MiB in and {} MiB out in {seconds:.0} s, {} MiB before and {} after",
        given >> 20,
        taken >> 20,
        before.1,
        memory()
    );
    confirmed(&vm.connector, 1).await;
    assert!(descriptors() <= before.0);
    assert!(memory() <= before.1 + 16, "memory has grown");
    drop(stalled);
}

/// Carries `total` bytes or a little more each way. Returns how many to the guest
/// and how many from it.
async fn traffic(vm: &Vm, total: u64) -> (u64, u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64u64 {
        let chunk = [1, 7, 100, 1000, 4096, 4097, 65_536, 1 << 20][number as usize % 8];
        // Single bytes cost a system call each in an emulated guest.
        let share = match chunk {
            1 => total / 64 / 256,
            7 => total / 64 / 16,
            // Those that close early come on top.
            _ => total.div_ceil(44),
        };
        let order = Order {
            give: share,
            take: share,
            seed: number,
            chunk,
            delay: if number % 16 == 13 { 500 } else { 0 },
            host_delay: if number % 16 == 6 { 500 } else { 0 },
            close_after: if number % 16 == 11 { share / 2 } else { 0 },
            check: true,
        };
        let connector = vm.connector.clone();
        tasks.spawn(async move { run(&connector, order).await });
    }
    let mut sum = (0, 0);
    while let Some(task) = tasks.join_next().await {
        let (given, taken) = task.unwrap();
        sum = (sum.0 + given, sum.1 + taken);
    }
    sum
}

/// Streams survive a pause of the machine.
async fn pause(vm: &Vm) {
    let mut stream = vm.connect(ECHO).await;
    stream.write_all(b"before").await.unwrap();
    vm.command(&["stop"]);
    stream.write_all(b" and after").await.unwrap();
    vm.command(&["cont"]);
    let mut reply = [0; 16];
    timeout(Duration::from_secs(5), stream.read_exact(&mut reply))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&reply, b"before and after");
    let order = Order {
        give: 16 << 20,
        take: 16 << 20,
        chunk: 64 << 10,
        check: true,
        ..Order::default()
    };
    let connector = vm.connector.clone();
    let task = tokio::spawn(async move { run(&connector, order).await });
    for _ in 0..5 {
        vm.command(&["stop", "cont"]);
    }
    timeout(Duration::from_secs(60), task)
        .await
        .unwrap()
        .unwrap();
}

/// A guest that restarts fails the old streams, and new ones work.
async fn reset(vm: &Vm) {
    let mut stream = vm.connect(STALL).await;
    vm.command(&["system_reset"]);
    let begun = Instant::now();
    let error = timeout(Duration::from_secs(60), stream.read(&mut [0]))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut stream = vm.connect(ECHO).await;
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut [0; 5]).await.unwrap();
    println!("works {:?} after a reset", begun.elapsed());
}

/// Waits until so many connections are left.
async fn confirmed(connector: &Connector, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while connector.connections() > count {
        assert!(
            Instant::now() < deadline,
            "{} connections are left",
            connector.connections()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
