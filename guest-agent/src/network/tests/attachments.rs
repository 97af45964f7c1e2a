//! Making and removing containers' networks.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::sandbox::{address, id, inside, links, request, sandboxed};
use crate::network::netlink::{self, Netlink};
use crate::network::{Network, NetworkError, NetworkMode, Options, namespace};

#[test]
fn bridged_container_gets_the_first_address_as_docker_gives_it() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        assert!(
            links().iter().all(|link| link.name != "wherry0"),
            "made when needed only"
        );
        let web = network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        assert_eq!(web.address, Some(address(2)));
        assert_eq!(web.prefix_length, 16);
        assert_eq!(web.gateway, Some(address(1)));
        assert_eq!(web.mac.as_deref(), Some("02:42:ac:11:00:02"));
        assert_eq!(web.dns, [address(1)]);
        assert_eq!(network.attachment(&id("web")), Some(web.clone()));
        let (mac, ipv6) = inside(&web.netns.unwrap(), || {
            let ipv6 = fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
            let socket = UdpSocket::bind((address(2), 0)).unwrap();
            socket
                .connect((Ipv4Addr::new(192, 0, 2, 1), 9))
                .expect("a default route");
            (netlink::interface_index("eth0"), ipv6)
        });
        assert!(mac.is_ok());
        assert!(ipv6.is_err() || ipv6.unwrap().trim() == "1");
        network.teardown(&id("web")).await.unwrap();
        assert_eq!(network.attachment(&id("web")), None);
        sandbox.assert_clean().await;
        let again = network
            .setup(request("other", NetworkMode::Bridge))
            .await
            .unwrap();
        assert_eq!(again.address, Some(address(2)), "given back");
    });
}

#[test]
fn published_port_reaches_the_container_in_every_mode() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        for (name, mode, bind) in [
            ("web", NetworkMode::Bridge, address(2)),
            ("alone", NetworkMode::None, Ipv4Addr::LOCALHOST),
            ("guest", NetworkMode::Host, Ipv4Addr::LOCALHOST),
        ] {
            let got = network.setup(request(name, mode)).await.unwrap();
            let listen = || TcpListener::bind((bind, 8080)).unwrap();
            let listener = match &got.netns {
                Some(netns) => inside(netns, listen),
                None => listen(),
            };
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut client = network.connect_tcp(&id(name), 8080).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            client.write_all(b"ping").await.unwrap();
            client.shutdown().await.unwrap();
            let mut text = String::new();
            server.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "ping", "{name}");
            let error = network.connect_tcp(&id(name), 8081).await.unwrap_err();
            let NetworkError::Connect {
                source, port: 8081, ..
            } = &error
            else {
                panic!("{error}");
            };
            assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused, "{name}");
        }
        // What joins "alone" is reached there too.
        let joined = request("joined", NetworkMode::Container(id("alone")));
        network.setup(joined).await.unwrap();
        let netns = network.attachment(&id("joined")).unwrap().netns.unwrap();
        assert!(netns.ends_with(id("alone")));
        let _listener = inside(&netns, || TcpListener::bind("127.0.0.1:9000").unwrap());
        network.connect_tcp(&id("joined"), 9000).await.unwrap();
    });
}

#[test]
fn datagrams_reach_a_published_port_and_come_back() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        for (name, mode) in [("web", NetworkMode::Bridge), ("alone", NetworkMode::None)] {
            let netns = network
                .setup(request(name, mode))
                .await
                .unwrap()
                .netns
                .unwrap();
            let server = inside(&netns, || UdpSocket::bind("0.0.0.0:5353").unwrap());
            server
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let flow = network.connect_udp(&id(name), 5353).await.unwrap();
            flow.send(b"ask").await.unwrap();
            let mut buffer = [0; 16];
            let (length, client) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"ask");
            server.send_to(b"answer", client).unwrap();
            let length = flow.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], b"answer", "{name}");
        }
    });
}

#[test]
fn fifty_setups_at_once_get_distinct_addresses_and_leave_nothing() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let names: Vec<_> = (0..50).map(|number| format!("c{number}x")).collect();
        let setups = names
            .iter()
            .map(|name| network.setup(request(name, NetworkMode::Bridge)));
        let addresses: BTreeSet<_> = join_all(setups)
            .await
            .into_iter()
            .map(|got| got.unwrap().address.unwrap())
            .collect();
        let expected: BTreeSet<_> = (2..52).map(address).collect();
        assert_eq!(addresses, expected);
        let teardowns = names
            .iter()
            .map(|name| async { network.teardown(&id(name)).await });
        for result in join_all(teardowns).await {
            result.unwrap();
        }
        sandbox.assert_clean().await;
    });
}

#[test]
fn teardown_is_fine_twice_never_and_halfway() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        network.teardown(&id("never")).await.unwrap();
        let web = network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        // As if the process had been killed with the namespace unmade.
        namespace::remove(&web.netns.unwrap()).unwrap();
        network.teardown(&id("web")).await.unwrap();
        network.teardown(&id("web")).await.unwrap();
        sandbox.assert_clean().await;
        // A setup right after waits for the kernel, and has the same address.
        network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        network.teardown(&id("web")).await.unwrap();
        assert_eq!(network.attachment(&id("web")), None);
        // A second setup takes the place of the first.
        network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        let again = network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        assert_eq!(again.address, Some(address(2)));
        network.teardown(&id("web")).await.unwrap();
        sandbox.assert_clean().await;
    });
}

#[test]
fn failed_setup_leaves_nothing_and_keeps_no_address() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        network
            .setup(request("first", NetworkMode::Bridge))
            .await
            .unwrap();
        // The bridge goes away beneath us: the kernel refuses the pair.
        Netlink::open()
            .unwrap()
            .execute(vec![netlink::delete_link("wherry0")])
            .unwrap();
        network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap_err();
        assert_eq!(sandbox.entries("netns").len(), 1);
        assert_eq!(network.attachment(&id("web")), None);
        // And the next one makes the bridge anew.
        let web = network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap();
        assert_eq!(web.address, Some(address(3)));
    });
}

#[test]
fn bad_requests_are_refused_by_name() {
    sandboxed(async |sandbox| {
        let network = Network::open(Options {
            uplink: crate::network::options::Uplink::Untouched,
            ..Options::without_bridge(sandbox.run.join("root"), sandbox.run.join("run"))
        })
        .unwrap();
        let mut climbing = request("x", NetworkMode::None);
        for bad in ["", "..", "../../etc/passwd", "a/b", "a b"] {
            climbing.id = bad.to_owned();
            let error = network.setup(climbing.clone()).await.unwrap_err();
            assert!(matches!(error, NetworkError::InvalidId(_)), "{error}");
        }
        let error = network
            .setup(request("web", NetworkMode::Bridge))
            .await
            .unwrap_err();
        assert!(matches!(error, NetworkError::BridgeDisabled), "{error}");
        for target in ["gone", "web"] {
            let joined = request("web", NetworkMode::Container(id(target)));
            let error = network.setup(joined).await.unwrap_err();
            assert!(
                matches!(error, NetworkError::TargetNotRunning(_)),
                "{error}"
            );
        }
        let error = network.connect_tcp(&id("web"), 80).await.unwrap_err();
        assert!(matches!(error, NetworkError::NotAttached(_)), "{error}");
        sandbox.assert_clean().await;
    });
}

#[test]
fn next_process_keeps_the_running_and_removes_the_rest() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        for name in ["kept", "gone", "also"] {
            network
                .setup(request(name, NetworkMode::Bridge))
                .await
                .unwrap();
        }
        let kept = network.attachment(&id("kept")).unwrap();
        drop(network);
        // What a process killed in the middle leaves: a namespace and a port
        // without a record, half a record.
        let bridge = netlink::interface_index("wherry0").unwrap();
        let stray = sandbox.run.join("run/netns").join(id("stray"));
        namespace::create(&stray, |_| Ok(())).unwrap();
        let namespace_file = fs::File::open(&stray).unwrap();
        let veth = netlink::create_veth(
            "veth0000000",
            bridge,
            "eth0",
            [2; 6],
            namespace_file.as_fd(),
            None,
        );
        Netlink::open().unwrap().execute(vec![veth]).unwrap();
        drop(namespace_file);
        fs::write(sandbox.run.join("run/network/torn.json"), b"{\"id\":").unwrap();

        let network = sandbox.open();
        let running = [id("kept"), id("also")];
        // The first name server's sockets close when its aborted tasks are dropped.
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Err(failures) = network.adopt(&running).await {
            assert!(Instant::now() < deadline, "{failures:?}");
            tokio::task::yield_now().await;
        }
        assert_eq!(network.attachment(&id("kept")), Some(kept.clone()));
        assert_eq!(sandbox.entries("netns").len(), 2);
        assert_eq!(sandbox.entries("network").len(), 2);
        let ports = links()
            .iter()
            .filter(|link| link.controller == Some(bridge))
            .count();
        assert_eq!(ports, 2);
        let next = network
            .setup(request("next", NetworkMode::Bridge))
            .await
            .unwrap();
        assert_eq!(next.address, Some(address(3)), "of the one that went");
        let _listener = inside(&kept.netns.unwrap(), || {
            TcpListener::bind("0.0.0.0:80").unwrap()
        });
        network.connect_tcp(&id("kept"), 80).await.unwrap();
        for name in ["kept", "also", "next"] {
            network.teardown(&id(name)).await.unwrap();
        }
        sandbox.assert_clean().await;
    });
}

/// Prints what one container's network costs: run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_container() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let begun = Instant::now();
        network
            .setup(request("first", NetworkMode::Bridge))
            .await
            .unwrap();
        println!(
            "first, with bridge, rules and name server: {:?}",
            begun.elapsed()
        );
        for (mode, pause) in [
            (NetworkMode::None, 0),
            (NetworkMode::Bridge, 0),
            (NetworkMode::Bridge, 100),
        ] {
            let mut up = Vec::new();
            let mut down = Vec::new();
            for turn in 0..50 {
                let name = format!("c{turn}x");
                let begun = Instant::now();
                network.setup(request(&name, mode.clone())).await.unwrap();
                up.push(begun.elapsed());
                let begun = Instant::now();
                network.teardown(&id(&name)).await.unwrap();
                down.push(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            up.sort();
            down.sort();
            println!(
                "{mode:?}, then {pause} ms: setup median {:?}, teardown median {:?}",
                up[25], down[25]
            );
        }
    });
}
