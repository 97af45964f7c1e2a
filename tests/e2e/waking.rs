//! Published ports and the clock after the machine stood still, the host slept or
//! `wherryd` died.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use wherry_client::channel;
use wherry_proto::v1::machine_client::MachineClient;
use wherry_proto::v1::{PauseRequest, ResumeRequest};
use wherry_tests::{Engine, net, process, server, wait};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    (
        "every_port_answers_after_a_pause_a_sleep_and_a_killed_wherryd",
        ports,
    ),
    ("the_clock_is_right_after_a_pause", clock),
];

/// How long the machine, or the host, stands still.
const STANDSTILL: Duration = Duration::from_secs(3);

/// How long a port may take to answer again.
const AGAIN: Duration = Duration::from_secs(5);

/// What the guest's clock may be off by.
const OFF: Duration = Duration::from_millis(100);

/// Published ports of the tests' server.
struct Ports {
    echo: u16,
    datagrams: u16,
    time: u16,
}

impl Ports {
    fn publish(engine: &Engine, name: &str) -> anyhow::Result<Self> {
        server::import(engine)?;
        let ports = Self {
            echo: net::free_port()?,
            datagrams: net::free_port()?,
            time: net::free_port()?,
        };
        let wishes = [
            format!("{}:5003", ports.echo),
            format!("{}:5005/udp", ports.datagrams),
            format!("{}:5006", ports.time),
        ];
        let [echo, datagrams, time] = wishes.each_ref().map(String::as_str);
        engine.succeed(&[
            "run",
            "-d",
            "--name",
            name,
            "-p",
            echo,
            "-p",
            datagrams,
            "-p",
            time,
            server::IMAGE,
            "/server",
        ])?;
        ports.answer(Duration::from_secs(20))?;
        Ok(ports)
    }

    /// Waits until each port answers, of IPv4 and IPv6.
    fn answer(&self, deadline: Duration) -> anyhow::Result<()> {
        for address in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            let client = UdpSocket::bind(SocketAddr::new(address, 0))?;
            client.set_read_timeout(Some(Duration::from_millis(300)))?;
            client.connect((address, self.datagrams))?;
            wait::until("the ports' answers", deadline, || {
                client.send(b"?")?;
                client.recv(&mut [0; 8])?;
                let mut stream = TcpStream::connect((address, self.echo))?;
                stream.set_read_timeout(Some(deadline))?;
                stream.write_all(b"x")?;
                stream.read_exact(&mut [0])?;
                Ok(true)
            })?;
        }
        Ok(())
    }

    /// Returns how far the guest's clock is from the host's at least; it is known
    /// only as well as the answer was quick.
    fn clock_offset(&self) -> anyhow::Result<Duration> {
        let since_1970 = || SystemTime::now().duration_since(UNIX_EPOCH);
        let before = since_1970()?;
        let told = String::from_utf8(net::request(self.time, b"")?)?;
        let after = since_1970()?;
        let guest = Duration::from_nanos(told.parse().context(told)?);
        Ok(before.saturating_sub(guest) + guest.saturating_sub(after))
    }
}

/// PITFALLS 7 and 9.
fn ports(engine: &Engine) -> anyhow::Result<()> {
    let ports = Ports::publish(engine, "returns")?;
    let mut standing = net::connect(ports.echo)?;
    let mut echo = |byte: u8, meanwhile: &mut dyn FnMut() -> anyhow::Result<()>| {
        standing.write_all(&[byte])?;
        meanwhile()?;
        // What was sent meanwhile has arrived, and the connection goes on.
        let mut reply = [0];
        standing.read_exact(&mut reply)?;
        ensure!(reply == [byte], "{reply:?}");
        anyhow::Ok(())
    };
    echo(b'a', &mut || Ok(()))?;
    echo(b'b', &mut || {
        pause(engine)?;
        ports.answer(AGAIN)
    })?;
    echo(b'c', &mut || {
        sleep(engine)?;
        ports.answer(AGAIN)
    })?;
    let wherryd = engine.wherryd()?;
    echo(b'd', &mut || {
        process::kill(wherryd)?;
        ports.answer(AGAIN)
    })?;
    engine.succeed(&["rm", "-f", "returns"])?;
    ensure!(engine.wherryd()? != wherryd);
    wait::until("the closed port", Duration::from_secs(10), || {
        Ok(net::connect(ports.echo).is_err())
    })
}

/// PITFALLS 8. A machine that stands still for a while is behind by that.
fn clock(engine: &Engine) -> anyhow::Result<()> {
    let ports = Ports::publish(engine, "clock")?;
    let right = || Ok(ports.clock_offset()? <= OFF);
    wait::until("the right time", Duration::from_secs(1), right)?;
    pause(engine)?;
    wait::until("the right time again", Duration::from_secs(1), right)?;
    engine.succeed(&["rm", "-f", "clock"])?;
    Ok(())
}

/// Stops the machine's processors for a while.
fn pause(engine: &Engine) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let socket = wherry_client::Home::at(engine.home())?.machine_socket();
    runtime.block_on(async {
        let mut machine = MachineClient::new(channel(&socket).await?);
        machine.pause(PauseRequest {}).await?;
        std::thread::sleep(STANDSTILL);
        machine.resume(ResumeRequest {}).await?;
        Ok(())
    })
}

/// Has everything of the engine stand still, as a host does that sleeps.
fn sleep(engine: &Engine) -> anyhow::Result<()> {
    let processes = [
        u32::try_from(engine.status_number("HypervisorPid")?)?,
        u32::try_from(engine.status_number("Pid")?)?,
        engine.wherryd()?,
    ];
    let signal = |signal| -> anyhow::Result<()> {
        for pid in processes {
            let pid = Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
            kill_process(pid, signal)?;
        }
        Ok(())
    };
    let stopped = signal(Signal::STOP);
    std::thread::sleep(STANDSTILL);
    signal(Signal::CONT)?;
    stopped
}
