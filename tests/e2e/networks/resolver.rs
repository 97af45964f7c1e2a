//! Names that are no container's: the host's resolver answers, the one that the
//! host has at that moment.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use wherry_tests::{Engine, wait};

use super::{lookup, rests};

/// A name that only the servers of this test know.
const NAME: &str = "beacon.coast.test";

/// How long the host's new resolver may take to be asked.
const SOON: Duration = Duration::from_secs(5);

/// Answers every query of an A record with one address.
struct Server {
    address: Ipv4Addr,
}

impl Server {
    /// Starts one on port 53 of an address of the loopback.
    fn start(address: Ipv4Addr, answer: Ipv4Addr) -> anyhow::Result<Self> {
        let socket = Arc::new(UdpSocket::bind((address, 53))?);
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query) {
                if let Some(reply) = reply(&query[..length], answer) {
                    let _ = socket.send_to(&reply, client);
                }
            }
        });
        Ok(Self { address })
    }

    fn resolv_conf(&self) -> String {
        format!("nameserver {}\n", self.address)
    }
}

/// Makes an answer by hand (RFC 1035, 4.1): the question, and one record for a
/// question of type A.
fn reply(query: &[u8], answer: Ipv4Addr) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mut end = HEADER;
    while *query.get(end)? != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = query.get(HEADER..end + 5)?;
    let is_a = question[question.len() - 4..] == [0, 1, 0, 1];
    let mut reply = query[..2].to_vec();
    // A response, with recursion; one question, perhaps an answer.
    reply.extend([0x81, 0x80, 0, 1, 0, is_a.into(), 0, 0, 0, 0]);
    reply.extend(question);
    if is_a {
        // The name is the question's; type A, class IN, no time to live.
        reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend(answer.octets());
    }
    Some(reply)
}

/// The engine runs in a mount namespace, where `/etc/resolv.conf` is the test's.
pub(super) fn follows_the_host() -> anyhow::Result<()> {
    let (first, second) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let at_home = Server::start([127, 77, 0, 1].into(), first)?;
    let by_vpn = Server::start([127, 77, 0, 2].into(), second)?;
    let folder = tempfile::tempdir()?;
    let resolv_conf = folder.path().join("resolv.conf");
    fs::write(&resolv_conf, at_home.resolv_conf())?;
    let engine = Engine::new()?;
    start_with(&engine, &resolv_conf)?;
    engine.load_image()?;
    engine.succeed(&["network", "create", "own"])?;
    rests(&engine, "on-default", &[])?;
    rests(&engine, "on-own", &["--net", "own"])?;
    for container in ["on-default", "on-own"] {
        let found = lookup(&engine, container, NAME)?;
        ensure!(found == [first.to_string()], "{container}: {found:?}");
    }
    // In place, as a file that is mounted must be.
    fs::write(&resolv_conf, by_vpn.resolv_conf())?;
    for container in ["on-default", "on-own"] {
        wait::until("the new resolver's answer", SOON, || {
            Ok(lookup(&engine, container, NAME)? == [second.to_string()])
        })?;
    }
    Ok(())
}

fn start_with(engine: &Engine, resolv_conf: &Path) -> anyhow::Result<()> {
    let wherry = engine.command(&["machine", "start"]);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"")
        .arg(resolv_conf)
        .arg(wherry.get_program())
        .args(wherry.get_args())
        .envs(wherry.get_envs().filter_map(|(k, v)| Some((k, v?))));
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}
