//! Networks that users make: addresses, isolation, names, changes while
//! containers run, and what outlives the process.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use super::names::{addresses, query};
use super::sandbox::{Sandbox, id, inside, links, request, sandboxed};
use crate::network::netlink;
use crate::network::{
    Attachment, EndpointRequest, Network, NetworkError, NetworkMode, NewNetwork, NewRange, Prefix,
    SetupRequest,
};

const PATIENCE: Duration = Duration::from_millis(400);

fn named(name: &str) -> NewNetwork {
    NewNetwork {
        name: name.to_owned(),
        ..NewNetwork::default()
    }
}

fn with_subnet(name: &str, subnet: &str) -> NewNetwork {
    let range = NewRange {
        subnet: subnet.to_owned(),
        ..NewRange::default()
    };
    NewNetwork {
        ranges: vec![range],
        ..named(name)
    }
}

async fn create(network: &Network, new: NewNetwork) -> String {
    network.create(new, Vec::new()).await.unwrap().id.clone()
}

/// Returns a request for a container on networks.
fn on(name: &str, networks: &[&str]) -> SetupRequest {
    SetupRequest {
        endpoints: networks.iter().map(|network| endpoint(network)).collect(),
        ..request(name, NetworkMode::Bridge)
    }
}

fn endpoint(network: &str) -> EndpointRequest {
    EndpointRequest {
        network: network.to_owned(),
        ..EndpointRequest::default()
    }
}

async fn start(network: &Network, name: &str, networks: &[&str]) -> Attachment {
    network.setup(on(name, networks)).await.unwrap()
}

/// Asks the container's own name server, as its programs would.
async fn ask(attachment: &Attachment, name: &str, kind: RecordType) -> Message {
    let netns = attachment.netns.clone().unwrap();
    let message = query(name, kind).to_vec().unwrap();
    tokio::task::spawn_blocking(move || {
        inside(&netns, || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            socket.connect("127.0.0.11:53").unwrap();
            socket.send(&message).unwrap();
            let mut buffer = vec![0; 4096];
            let length = socket.recv(&mut buffer).unwrap();
            Message::from_vec(&buffer[..length]).unwrap()
        })
    })
    .await
    .unwrap()
}

fn reaches(netns: &Path, target: impl Into<std::net::IpAddr>, listener: &Path) -> bool {
    let _open = inside(listener, || TcpListener::bind("0.0.0.0:80").unwrap());
    let target = SocketAddr::new(target.into(), 80);
    inside(netns, || {
        TcpStream::connect_timeout(&target, PATIENCE).is_ok()
    })
}

/// As [`reaches`], for what has to go through: on a busy machine a packet may take longer.
fn comes_to_reach(
    netns: &Path,
    target: impl Into<std::net::IpAddr> + Copy,
    listener: &Path,
) -> bool {
    (0..20).any(|_| reaches(netns, target, listener))
}

fn rules(table: &str) -> String {
    let output = Command::new("nft")
        .args(["list", "table", "inet", table])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_network_may_keep_its_containers_from_each_other() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let option = |value: &str| NewNetwork {
            options: [(
                "com.docker.network.bridge.enable_icc".to_owned(),
                value.to_owned(),
            )]
            .into(),
            ..named("apart")
        };
        let wrong = network.create(option("maybe"), Vec::new()).await;
        assert!(wrong.unwrap_err().to_string().contains("true or false"));
        create(&network, option("false")).await;
        create(&network, named("together")).await;
        let (one, other) = (
            start(&network, "one", &["apart", "together"]).await,
            start(&network, "other", &["apart", "together"]).await,
        );
        let address = |attachment: &Attachment, place: usize| attachment.endpoints[place].ipv4;
        let netns = |attachment: &Attachment| attachment.netns.clone().unwrap();
        assert!(!reaches(&netns(&one), address(&other, 0), &netns(&other)));
        assert!(comes_to_reach(
            &netns(&one),
            address(&other, 1),
            &netns(&other)
        ));
    });
}

#[test]
fn containers_reach_their_own_networks_and_no_others() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        create(&network, named("front")).await;
        create(&network, named("back")).await;
        let web = start(&network, "web", &["front"]).await;
        let db = start(&network, "db", &["back"]).await;
        let both = start(&network, "both", &["front", "back"]).await;
        let old = start(&network, "old", &[]).await;
        assert_eq!(web.address, Some(Ipv4Addr::new(172, 18, 0, 2)));
        assert_eq!(db.address, Some(Ipv4Addr::new(172, 19, 0, 2)));
        let places: Vec<_> = both
            .endpoints
            .iter()
            .map(|place| (place.ipv4.to_string(), place.interface.as_str()))
            .collect();
        assert_eq!(
            places,
            [
                ("172.18.0.3".to_owned(), "eth0"),
                ("172.19.0.3".to_owned(), "eth1")
            ]
        );
        let (web, db, both, old) = (web, db, both, old.netns.unwrap());
        let netns = |attachment: &Attachment| attachment.netns.clone().unwrap();
        assert!(comes_to_reach(
            &netns(&both),
            web.address.unwrap(),
            &netns(&web)
        ));
        assert!(comes_to_reach(
            &netns(&both),
            db.address.unwrap(),
            &netns(&db)
        ));
        assert!(!reaches(&netns(&web), db.address.unwrap(), &netns(&db)));
        assert!(!reaches(&netns(&db), web.address.unwrap(), &netns(&web)));
        assert!(!reaches(&old, web.address.unwrap(), &netns(&web)));
        assert!(!reaches(&netns(&web), Ipv4Addr::new(172, 17, 0, 2), &old));
    });
}

#[test]
fn internal_network_has_no_way_out_nor_in() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let internal = NewNetwork {
            internal: true,
            ..named("inner")
        };
        create(&network, internal).await;
        create(&network, named("front")).await;
        let one = start(&network, "one", &["inner"]).await;
        let two = start(&network, "two", &["inner"]).await;
        let web = start(&network, "web", &["front"]).await;
        let netns = |attachment: &Attachment| attachment.netns.clone().unwrap();
        assert_eq!(one.gateway, None);
        assert!(comes_to_reach(
            &netns(&one),
            two.address.unwrap(),
            &netns(&two)
        ));
        let guest = TcpListener::bind("0.0.0.0:8080").unwrap();
        let gateway = SocketAddr::from(([172, 18, 0, 1], 8080));
        let connect = || TcpStream::connect_timeout(&gateway, PATIENCE).is_ok();
        assert!(!inside(&netns(&one), connect), "a service of the guest");
        drop(guest);
        // Even with a route of its own.
        inside(&netns(&one), || {
            let index = netlink::interface_index("eth0").unwrap();
            netlink::Netlink::open()
                .unwrap()
                .execute(vec![netlink::set_default_route(
                    index,
                    [172, 18, 0, 1].into(),
                )])
                .unwrap();
        });
        assert!(!reaches(&netns(&one), web.address.unwrap(), &netns(&web)));
        assert!(!reaches(&netns(&web), one.address.unwrap(), &netns(&one)));
        let other = ask(&one, "example.org.", RecordType::A).await;
        assert_eq!(other.metadata.response_code, ResponseCode::ServFail);
        let known = ask(&one, "two.", RecordType::A).await;
        assert_eq!(addresses(&known), [two.address.unwrap()]);
    });
}

#[test]
fn names_and_aliases_are_known_on_their_networks_at_once() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        create(&network, named("front")).await;
        create(&network, named("back")).await;
        let web = start(&network, "web", &["front"]).await;
        assert_eq!(web.dns, [std::net::IpAddr::from([127, 0, 0, 11])]);
        // Port 53 is the container's own.
        let netns = web.netns.clone().unwrap();
        let _own = inside(&netns, || UdpSocket::bind("0.0.0.0:53").unwrap());
        let mut db = on("db", &["front"]);
        db.endpoints[0].aliases = vec!["Store".to_owned()];
        network.setup(db).await.unwrap();
        let at = |last: u8| vec![Ipv4Addr::new(172, 18, 0, last)];
        for name in ["db.", "store.", "db.front.", "db0000000000."] {
            let found = ask(&web, name, RecordType::A).await;
            assert_eq!(addresses(&found), at(3), "{name}");
        }
        let reverse = ask(&web, "3.0.18.172.in-addr.arpa.", RecordType::PTR).await;
        assert_eq!(reverse.answers[0].data.to_string(), "db.front.");
        network.rename(&id("db"), &["base".to_owned()]).unwrap();
        assert_eq!(addresses(&ask(&web, "base.", RecordType::A).await), at(3));
        assert!(addresses(&ask(&web, "db.", RecordType::A).await).is_empty());
        // A link is a name for one container alone.
        let back = start(&network, "far", &["back"]).await;
        assert!(addresses(&ask(&web, "far.", RecordType::A).await).is_empty());
        let mut linked = endpoint("back");
        linked.links = vec![("mine".to_owned(), "far".to_owned())];
        network.connect(&id("web"), linked).await.unwrap();
        for name in ["far.", "mine."] {
            let found = ask(&web, name, RecordType::A).await;
            assert_eq!(addresses(&found), [back.address.unwrap()], "{name}");
        }
        assert!(addresses(&ask(&back, "mine.", RecordType::A).await).is_empty());
        network.teardown(&id("far")).await.unwrap();
        assert!(addresses(&ask(&web, "far.", RecordType::A).await).is_empty());
    });
}

#[test]
fn container_moves_between_networks_under_traffic() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let front = create(&network, named("front")).await;
        create(&network, named("back")).await;
        let web = start(&network, "web", &["front"]).await;
        let db = start(&network, "db", &["back"]).await;
        let client = start(&network, "client", &["front", "back"]).await;
        let netns = |attachment: &Attachment| attachment.netns.clone().unwrap();
        let listener = inside(&netns(&db), || TcpListener::bind("0.0.0.0:80").unwrap());
        let target = SocketAddr::from((db.address.unwrap(), 80));
        let mut stream = inside(&netns(&client), || TcpStream::connect(target).unwrap());
        let (mut server, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE * 10)).unwrap();
        let mut exchange = |byte: u8| {
            stream.write_all(&[byte]).unwrap();
            let mut got = [0];
            server.read_exact(&mut got).unwrap();
            server.write_all(&got).unwrap();
            stream.read_exact(&mut got).unwrap();
            assert_eq!(got, [byte]);
        };
        exchange(1);
        let before = rules(&format!("wherry-{}", &front[..12]));
        for turn in 0..5 {
            network.disconnect(&id("client"), &front).await.unwrap();
            exchange(turn);
            let moved = network.attachment(&id("client")).unwrap();
            assert_eq!(moved.address, Some(Ipv4Addr::new(172, 19, 0, 3)));
            assert!(!reaches(
                &netns(&client),
                web.address.unwrap(),
                &netns(&web)
            ));
            network
                .connect(&id("client"), endpoint("front"))
                .await
                .unwrap();
            exchange(turn);
            assert!(comes_to_reach(
                &netns(&client),
                web.address.unwrap(),
                &netns(&web)
            ));
        }
        assert_eq!(rules(&format!("wherry-{}", &front[..12])), before);
        let twice = network.connect(&id("client"), endpoint("front")).await;
        assert!(
            twice
                .unwrap_err()
                .to_string()
                .contains("already exists in network front")
        );
        network.disconnect(&id("client"), &front).await.unwrap();
        let again = network.disconnect(&id("client"), &front).await.unwrap_err();
        assert!(
            again
                .to_string()
                .contains("is not connected to network front"),
            "{again}"
        );
        for name in ["web", "db", "client"] {
            network.teardown(&id(name)).await.unwrap();
        }
        sandbox.assert_clean().await;
    });
}

#[test]
fn network_in_use_stays_and_others_are_left_alone() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let front = create(&network, named("front")).await;
        let back = create(&network, named("back")).await;
        start(&network, "web", &["front"]).await;
        start(&network, "db", &["back"]).await;
        let error = network
            .remove_network(&front, |_| "web".to_owned())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "error while removing network: network front has active endpoints (name:\"web\" id:\"web000000000\")"
        );
        let before = rules(&format!("wherry-{}", &front[..12]));
        assert!(before.contains("masquerade"));
        network.teardown(&id("db")).await.unwrap();
        network
            .remove_network(&back, |_| String::new())
            .await
            .unwrap();
        assert_eq!(rules(&format!("wherry-{}", &front[..12])), before);
        assert_eq!(rules(&format!("wherry-{}", &back[..12])), "");
        let bridges = links();
        assert!(
            !bridges
                .iter()
                .any(|link| link.name == format!("br-{}", &back[..12]))
        );
        assert_eq!(network.networks().len(), 2);
        let bridge = network.find_network("bridge").unwrap().id.clone();
        let error = network
            .remove_network(&bridge, |_| String::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("pre-defined"), "{error}");
    });
}

#[test]
fn networks_and_name_servers_outlive_the_process() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        create(&network, with_subnet("front", "10.77.0.0/24")).await;
        let six = NewNetwork {
            ipv6: true,
            ..named("six")
        };
        create(&network, six).await;
        let web = start(&network, "web", &["front", "six"]).await;
        let db = start(&network, "db", &["front"]).await;
        let known = network.networks();
        drop(network);
        let network = sandbox.open();
        network.adopt(&[id("web"), id("db")]).await.unwrap();
        assert_eq!(network.networks(), known);
        assert_eq!(network.attachment(&id("web")), Some(web.clone()));
        let found = ask(&web, "db.", RecordType::A).await;
        assert_eq!(addresses(&found), [db.address.unwrap()]);
        let next = start(&network, "next", &["front"]).await;
        assert_eq!(next.address, Some(Ipv4Addr::new(10, 77, 0, 4)));
        // The machine starts anew: nothing of the kernel is left.
        for name in ["web", "db", "next"] {
            network.teardown(&id(name)).await.unwrap();
        }
        sandbox.assert_clean().await;
        drop(network);
        for definition in &known {
            crate::network::bridge::remove_link(&definition.interface).unwrap();
        }
        Command::new("nft")
            .args(["flush", "ruleset"])
            .status()
            .unwrap();
        std::fs::remove_dir_all(sandbox.run.join("run")).unwrap();
        let network = sandbox.open();
        assert_eq!(network.networks(), known);
        let web = start(&network, "web", &["front"]).await;
        assert_eq!(web.address, Some(Ipv4Addr::new(10, 77, 0, 2)));
        assert!(rules(&known[1].table).contains("masquerade"));
    });
}

#[test]
fn addresses_of_ipv6_work_and_are_told() {
    if std::fs::metadata("/proc/sys/net/ipv6").is_err() {
        eprintln!("skipped: this kernel has no IPv6");
        return;
    }
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let six = NewNetwork {
            ipv6: true,
            ..named("six")
        };
        create(&network, six).await;
        let one = start(&network, "one", &["six"]).await;
        let two = start(&network, "two", &["six"]).await;
        let (address, length) = two.endpoints[0].ipv6.unwrap();
        assert_eq!(length, 64);
        assert!(
            address.to_string().starts_with("fd") && address.to_string().ends_with("::3"),
            "{address}"
        );
        let _open = inside(&two.netns.clone().unwrap(), || {
            TcpListener::bind("[::]:80").unwrap()
        });
        let target = SocketAddr::from((address, 80));
        let patience = PATIENCE * 5;
        inside(&one.netns.clone().unwrap(), || {
            TcpStream::connect_timeout(&target, patience).unwrap()
        });
        let found = ask(&one, "two.", RecordType::AAAA).await;
        assert_eq!(found.answers[0].data.to_string(), address.to_string());
    });
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_half_attached() {
    sandboxed(async |sandbox: Sandbox| {
        let network = sandbox.open();
        create(&network, with_subnet("front", "10.77.0.0/24")).await;
        create(&network, named("auto")).await;
        for (new, said) in [
            (with_subnet("x", "10.77.0.128/25"), "Pool overlaps"),
            (with_subnet("x", "10.0.0.0/8"), "Pool overlaps"),
            (with_subnet("x", "172.17.5.0/24"), "Pool overlaps"),
            (
                with_subnet("x", "10.78.0.5/24"),
                "it should be 10.78.0.0/24",
            ),
            (
                with_subnet("x", "10.78.0.0/33"),
                "invalid CIDR block notation",
            ),
            (with_subnet("x", "127.0.0.0/16"), "nobody's own"),
            (with_subnet("x", "10.78.0.0/31"), "no room"),
            (named("front"), "network with name front already exists"),
            (named("host"), "predefined host network"),
            (named("a b"), "invalid network name"),
            (
                NewNetwork {
                    driver: "macvlan".to_owned(),
                    ..named("x")
                },
                "macvlan driver is not supported",
            ),
            (
                NewNetwork {
                    driver: "ipvlan".to_owned(),
                    ..named("x")
                },
                "ipvlan driver is not supported",
            ),
        ] {
            let error = network.create(new, Vec::new()).await.unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        let at = |name: &str, address: [u8; 4]| {
            let mut place = endpoint(name);
            place.ipv4 = Some(address.into());
            SetupRequest {
                endpoints: vec![endpoint("auto"), place],
                ..on("web", &[])
            }
        };
        let mut holder = on("holder", &["front"]);
        holder.endpoints[0].ipv4 = Some([10, 77, 0, 9].into());
        network.setup(holder).await.unwrap();
        for (wanted, said) in [
            (at("front", [10, 77, 0, 9]), "Address already in use"),
            (at("front", [10, 77, 0, 1]), "Address already in use"),
            (
                at("front", [10, 78, 0, 9]),
                "no configured subnet contains IP address 10.78.0.9",
            ),
            (at("front", [10, 77, 0, 255]), "no configured subnet"),
            (at("bridge", [172, 17, 0, 9]), "user defined networks only"),
            (on("web", &["auto", "nope"]), "network nope not found"),
            (
                on("web", &["auto", "auto"]),
                "already exists in network auto",
            ),
        ] {
            let error = network.setup(wanted).await.unwrap_err();
            assert!(error.to_string().contains(said), "{said}: {error}");
            assert_eq!(network.attachment(&id("web")), None);
            assert_eq!(sandbox.entries("netns").len(), 1, "{said}");
        }
        let web = start(&network, "web", &["auto"]).await;
        assert_eq!(
            web.address,
            Some(Ipv4Addr::new(172, 18, 0, 2)),
            "none was kept"
        );
        let mut taken = endpoint("front");
        taken.ipv4 = Some([10, 77, 0, 9].into());
        network.connect(&id("web"), taken).await.unwrap_err();
        assert_eq!(network.attachment(&id("web")), Some(web));
    });
}

#[test]
fn two_hundred_networks_overlap_neither_each_other_nor_the_hosts() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let host: Vec<Prefix> = ["172.16.0.0/13", "192.168.0.0/18", "10.128.0.0/16"]
            .map(|text| text.parse().unwrap())
            .into();
        for number in 0..200 {
            network
                .create(named(&format!("net{number}")), host.clone())
                .await
                .unwrap();
        }
        let subnets: Vec<_> = network
            .networks()
            .iter()
            .flat_map(|network| network.subnets())
            .collect();
        assert_eq!(subnets.len(), 201);
        for (place, subnet) in subnets.iter().enumerate() {
            assert!(!subnets[..place].iter().any(|other| other.overlaps(*subnet)));
            // The default one was there before.
            assert!(
                place == 0 || !host.iter().any(|other| other.overlaps(*subnet)),
                "{subnet}"
            );
        }
        let names: Vec<String> = (0..200).map(|number| format!("net{number}")).collect();
        let names: Vec<&str> = names.iter().step_by(20).map(String::as_str).collect();
        let web = start(&network, "web", &names).await;
        assert_eq!(web.endpoints.len(), 10);
        network.teardown(&id("web")).await.unwrap();
        for definition in network.networks().iter().skip(1) {
            network
                .remove_network(&definition.id, |_| String::new())
                .await
                .unwrap();
        }
        sandbox.assert_clean().await;
        assert!(!links().iter().any(|link| link.name.starts_with("br-")));
    });
}

#[test]
fn a_hundred_containers_on_one_network_find_each_other() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        create(&network, named("front")).await;
        let names: Vec<_> = (0..100).map(|number| format!("c{number}x")).collect();
        let setups = names.iter().map(|name| network.setup(on(name, &["front"])));
        let mut found: Vec<_> = futures_util::future::join_all(setups)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let first = found.remove(0);
        for (attachment, name) in found.iter().zip(&names[1..]) {
            let answer = ask(&first, &format!("{name}."), RecordType::A).await;
            assert_eq!(addresses(&answer), [attachment.address.unwrap()], "{name}");
        }
        for name in &names {
            network.teardown(&id(name)).await.unwrap();
        }
        sandbox.assert_clean().await;
    });
}

#[test]
fn unknown_networks_are_told_by_name() {
    sandboxed(async |sandbox| {
        let network = sandbox.open();
        let front = create(&network, named("front")).await;
        assert_eq!(network.find_network(&front[..8]).unwrap().name, "front");
        for name in ["nope", ""] {
            let error = network.find_network(name).unwrap_err();
            assert!(matches!(error, NetworkError::UnknownNetwork(_)), "{error}");
        }
    });
}
