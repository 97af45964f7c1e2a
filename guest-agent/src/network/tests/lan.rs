//! What containers reach, and what reaches them.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};

use super::sandbox::{Sandbox, address, inside, request, sandboxed};
use crate::network::netlink::{self, Netlink};
use crate::network::{Definition, NetworkMode, namespace};

/// Sends an ICMP echo request through an unprivileged socket, which the
/// namespace allows to everybody, and returns whether it was answered.
fn ping(target: Ipv4Addr) -> bool {
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP)).unwrap();
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(Duration::from_secs(5)),
    )
    .unwrap();
    rustix::net::connect(&socket, &SocketAddr::from((target, 0))).unwrap();
    // Type 8, code 0, checksum and identifier by the kernel, sequence 1.
    rustix::net::send(&socket, &[8, 0, 0, 0, 0, 0, 0, 1], SendFlags::empty()).unwrap();
    let mut reply = [0_u8; 64];
    rustix::net::recv(&socket, &mut reply, RecvFlags::empty()).is_ok_and(|_| reply[0] == 0)
}

#[test]
fn containers_reach_each_other_by_ping_and_tcp() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let one = network
            .setup(request("one", NetworkMode::Bridge))
            .await
            .unwrap();
        let two = network
            .setup(request("two", NetworkMode::Bridge))
            .await
            .unwrap();
        let (one, two) = (one.netns.unwrap(), two.netns.unwrap());
        assert!(inside(&one, || ping(address(3))));
        assert!(inside(&two, || ping(address(2))));
        assert!(inside(&two, || ping(address(1))), "the gateway");
        assert!(inside(&two, || ping(Ipv4Addr::LOCALHOST)), "its loopback");
        for (server, client, target) in [(&one, &two, address(2)), (&two, &one, address(3))] {
            let listener = inside(server, || TcpListener::bind("0.0.0.0:80").unwrap());
            let client = inside(client, || TcpStream::connect((target, 80)).unwrap());
            let (mut accepted, peer) = listener.accept().unwrap();
            assert_eq!(
                client.local_addr().unwrap(),
                peer,
                "no translation between containers"
            );
            drop(client);
            assert_eq!(accepted.read(&mut [0; 1]).unwrap(), 0);
        }
    });
}

/// Makes a network 192.0.2.0/24 beside the containers', with one other machine
/// at 192.0.2.2 that takes the sandbox, 192.0.2.1, for its router.
fn other_machine(sandbox: &Sandbox) -> std::path::PathBuf {
    let mut kernel = Netlink::open().unwrap();
    kernel
        .execute(vec![netlink::create_bridge(
            "out0",
            [2, 0, 0, 0, 0, 1],
            None,
        )])
        .unwrap();
    let out = netlink::interface_index("out0").unwrap();
    let network = |last: u8| {
        netlink::add_address(
            out,
            [192, 0, 2, last].into(),
            "192.0.2.0/24".parse().unwrap(),
        )
    };
    kernel.execute(vec![network(1)]).unwrap();
    let path = sandbox.run.join("other");
    namespace::create(&path, |own| {
        let pair = netlink::create_veth("out1", out, "eth0", [2, 0, 0, 0, 0, 2], own.as_fd(), None);
        kernel.execute(vec![pair]).unwrap();
        let index = netlink::interface_index("eth0").unwrap();
        let requests = vec![
            netlink::set_up("eth0"),
            netlink::add_address(
                index,
                [192, 0, 2, 2].into(),
                "192.0.2.0/24".parse().unwrap(),
            ),
            netlink::set_default_route(index, [192, 0, 2, 1].into()),
        ];
        Netlink::open().unwrap().execute(requests).unwrap();
        Ok(())
    })
    .unwrap();
    path
}

#[test]
fn containers_go_out_masqueraded_and_nobody_comes_in() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let web = network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        let web = web.netns.unwrap();
        let other = other_machine(&sandbox);
        let listener = inside(&other, || TcpListener::bind("192.0.2.2:80").unwrap());
        let _client = inside(&web, || TcpStream::connect("192.0.2.2:80").unwrap());
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(
            peer.ip(),
            Ipv4Addr::new(192, 0, 2, 1),
            "the sandbox's own address"
        );

        let _open = inside(&web, || TcpListener::bind("0.0.0.0:80").unwrap());
        let target = SocketAddr::from((address(2), 80));
        let patience = Duration::from_millis(500);
        assert!(inside(&other, || TcpStream::connect_timeout(&target, patience)).is_err());
        assert!(
            TcpStream::connect_timeout(&target, patience).is_ok(),
            "the agent itself"
        );
        namespace::remove(&other).unwrap();
    });
}

#[test]
fn rules_are_there_once_however_often_they_are_set() {
    sandboxed(async |sandbox| {
        let list = || {
            let output = Command::new("nft")
                .args(["list", "ruleset"])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(list(), "");
        let network = sandbox.open();
        network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        let rules = list();
        let masquerade = "ip saddr 172.17.0.0/16 oifname != \"wherry0\" masquerade";
        assert_eq!(rules.matches(masquerade).count(), 1, "{rules}");
        crate::network::firewall::apply(&Definition::default_bridge(
            &sandbox.options(&[]).bridge.unwrap(),
        ))
        .unwrap();
        assert_eq!(list(), rules);
    });
}

#[test]
fn refused_rules_are_reported_in_the_words_of_nft() {
    sandboxed(async |sandbox| {
        let mut bridge = sandbox.options(&[]).bridge.unwrap();
        bridge.table = "no table".to_owned();
        let error = crate::network::firewall::apply(&Definition::default_bridge(&bridge))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no table") && error.contains("syntax error"),
            "{error}"
        );
    });
}
