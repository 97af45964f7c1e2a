//! Which ports are bound, and what is said of those that are not.

use super::*;

#[tokio::test]
async fn a_taken_port_names_itself_its_owner_and_what_to_do() {
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port();
    let (ports, _streams) = ports();
    let free = port("127.0.0.1", 0, "tcp");
    let wish = [free, port("127.0.0.1", number, "tcp")];
    let status = publish(&ports, "c1", &wish).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::AlreadyExists);
    let start = format!("port {number} on 127.0.0.1 is taken by ");
    assert!(status.message().starts_with(&start), "{}", status.message());
    let end = format!("for example -p {}:80", number + 1);
    assert!(status.message().ends_with(&end), "{}", status.message());
    // None of them stays.
    assert!(ports.list().is_empty());
}

#[tokio::test]
async fn a_port_of_another_container_names_it() {
    let (ports, _streams) = ports();
    let address = publish_one(&ports, "tcp").await;
    let wish = [port("127.0.0.1", address.port(), "tcp")];
    let status = publish(&ports, "c2", &wish).await.unwrap_err();
    assert!(
        status.message().contains("container c1"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn a_port_that_the_same_container_has_names_it() {
    let (ports, _streams) = ports();
    let number = {
        let free = StdListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let wish = |container_port| PublishedPort {
        container_port,
        ..port("127.0.0.1", number, "tcp")
    };
    let twice = [wish(80), wish(81)];
    let status = publish(&ports, "c1", &twice).await.unwrap_err();
    let taken = "is taken by the same container's port 80: publish";
    assert!(status.message().contains(taken), "{}", status.message());
    // A protocol of its own is no conflict.
    let both = [
        wish(80),
        PublishedPort {
            protocol: "udp".to_owned(),
            ..wish(81)
        },
    ];
    assert_eq!(publish(&ports, "c1", &both).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_same_container_again_is_the_same_answer() {
    let (ports, _streams) = ports();
    let wish = [port("", 0, "tcp"), port("", 0, "udp")];
    let first = publish(&ports, "c1", &wish).await.unwrap();
    assert_eq!(publish(&ports, "c1", &wish).await.unwrap(), first);
    assert!(first.iter().all(|port| port.host_port != 0));
}

#[tokio::test]
async fn bad_wishes_are_refused_by_name() {
    let (ports, _streams) = ports();
    for (wish, word) in [
        (port("everywhere", 80, "tcp"), "everywhere"),
        (port("", 80, "sctp"), "sctp"),
        (port("192.0.2.1", 0, "tcp"), "192.0.2.1"),
    ] {
        let status = publish(&ports, "c1", &[wish]).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains(word), "{}", status.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_8192_ports_is_bound_in_seconds() {
    crate::platform::raise_open_file_limit();
    let (ports, _streams) = ports();
    for protocol in ["tcp", "udp"] {
        // On IPv4 and IPv6, as a `-p` without an address; any, because other
        // programs of this host have some.
        let wishes = vec![port("", 0, protocol); 8192];
        let begun = Instant::now();
        let bound = publish(&ports, "c1", &wishes).await.unwrap();
        let opened = begun.elapsed();
        assert_eq!(bound.len(), 2 * 8192);
        ports.unpublish("c1").await;
        let closed = begun.elapsed() - opened;
        eprintln!("8192 {protocol} ports: opened in {opened:?}, closed in {closed:?}");
        assert!(
            opened + closed < Duration::from_secs(3),
            "{opened:?} {closed:?}"
        );
    }
}

#[tokio::test]
async fn more_ports_than_descriptors_are_refused_before_any_is_bound() {
    let (ports, _streams) = ports();
    let limit = usize::try_from(crate::platform::open_file_limit()).unwrap();
    let wishes = vec![port("127.0.0.1", 0, "tcp"); limit];
    let status = publish(&ports, "c1", &wishes).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(status.message().contains("ulimit"), "{}", status.message());
    assert!(ports.list().is_empty());
}

#[tokio::test]
async fn a_port_without_an_address_is_on_both_families_of_the_setting() {
    for (setting, expected) in [
        ("127.0.0.1", &["127.0.0.1", "::1"][..]),
        ("0.0.0.0", &["0.0.0.0", "::"]),
        ("::1", &["::1"]),
        ("127.0.0.2", &["127.0.0.2"]),
    ] {
        let dial: Dial = Arc::new(|| Box::pin(async { Err(io::ErrorKind::Other.into()) }));
        let ports = Ports::with(dial, setting.parse().unwrap());
        let bound = publish(&ports, "c1", &[port("", 0, "tcp")]).await.unwrap();
        let addresses: Vec<_> = bound.iter().map(|port| &port.host_address[..]).collect();
        assert_eq!(addresses, expected);
        assert!(
            bound
                .iter()
                .all(|port| port.host_port == bound[0].host_port)
        );
        // An address that was named is that address alone.
        let named = publish(&ports, "c2", &[port("127.0.0.1", 0, "tcp")]).await;
        assert_eq!(named.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_range_for_one_port_is_its_first_free_one_and_says_when_none_is() {
    let (ports, _streams) = ports();
    let first = 21_320;
    let choice = PublishedPort {
        host_port_last: u32::from(first) + 1,
        ..port("127.0.0.1", first, "tcp")
    };
    for (container, expected) in [("c1", 0), ("c2", 1)] {
        let bound = publish(&ports, container, std::slice::from_ref(&choice))
            .await
            .unwrap();
        assert_eq!(bound[0].host_port, u32::from(first) + expected);
    }
    let status = publish(&ports, "c3", &[choice]).await.unwrap_err();
    assert!(
        status
            .message()
            .contains("none of the ports 21320 to 21321"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn best_effort_binds_the_rest_and_tells_what_not() {
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let number = taken.local_addr().unwrap().port();
    let (ports, _streams) = ports();
    let free = port("127.0.0.1", 0, "tcp");
    let request = PublishRequest {
        container: "c1".to_owned(),
        ports: vec![port("127.0.0.1", number, "tcp"), free.clone()],
        best_effort: true,
    };
    let answer = ports.publish(&request).await.unwrap();
    assert_eq!(answer.ports.len(), 1);
    assert!(
        answer.problems[0].contains(&number.to_string()),
        "{:?}",
        answer.problems
    );
    // What is bound stays as it is when the rest changes.
    let request = PublishRequest {
        ports: vec![free.clone(), free],
        ..request
    };
    let later = ports.publish(&request).await.unwrap();
    assert!(later.problems.is_empty() && later.ports.contains(&answer.ports[0]));
    assert_eq!(later.ports.len(), 2);
}
