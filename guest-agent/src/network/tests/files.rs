//! The contents of `/etc/hosts` and `/etc/resolv.conf`.

use std::net::{IpAddr, Ipv4Addr};

use crate::network::options::name_servers;
use crate::network::{AttachedEndpoint, Attachment, ResolverOptions, hosts, resolv_conf};

fn attachment() -> Attachment {
    Attachment {
        netns: Some("/run/wherry/netns/x".into()),
        address: Some(Ipv4Addr::new(172, 17, 0, 2)),
        prefix_length: 16,
        gateway: Some(Ipv4Addr::new(172, 17, 0, 1)),
        mac: Some("02:42:ac:11:00:02".to_owned()),
        dns: vec![IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1))],
        own_name_server: false,
        host_address: Ipv4Addr::new(10, 0, 2, 2),
        host_network: false,
        endpoints: vec![AttachedEndpoint {
            id: "e".repeat(64),
            network: "a".repeat(64),
            network_name: "bridge".to_owned(),
            ipv4: IpAddr::V4(Ipv4Addr::new(172, 17, 0, 2)),
            prefix_length: 16,
            gateway: Some(IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1))),
            ipv6: None,
            ipv6_gateway: None,
            mac: "02:42:ac:11:00:02".to_owned(),
            names: vec!["web".to_owned()],
            interface: "eth0".to_owned(),
        }],
    }
}

#[test]
fn hosts_file_is_as_docker_writes_it() {
    let extra = [
        "db:10.1.2.3".to_owned(),
        "me:host-gateway".to_owned(),
        "six:fd00::1".to_owned(),
    ];
    assert_eq!(
        hosts(&attachment(), "web", &extra).unwrap(),
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n\
         10.1.2.3\tdb\n\
         10.0.2.2\tme\n\
         fd00::1\tsix\n\
         172.17.0.2\tweb\n"
    );
}

#[test]
fn host_of_a_domain_is_known_by_its_short_name() {
    let file = hosts(&attachment(), "web.example.org", &[]).unwrap();
    assert!(
        file.ends_with("172.17.0.2\tweb.example.org web\n"),
        "{file}"
    );
}

#[test]
fn container_in_the_guests_network_finds_the_host_by_its_file() {
    let attachment = Attachment {
        address: None,
        host_network: true,
        endpoints: Vec::new(),
        ..attachment()
    };
    let file = hosts(&attachment, "web", &[]).unwrap();
    assert!(
        file.contains("\n10.0.2.2\thost.docker.internal host.wherry.internal"),
        "{file}"
    );
    assert!(!file.contains("web"), "{file}");
}

#[test]
fn bad_extra_hosts_are_refused_by_name() {
    for bad in [
        "",
        "db",
        "db:",
        ":1.2.3.4",
        "db:nowhere",
        "a b:1.2.3.4",
        "a\nb:1.2.3.4",
        "#:1.2.3.4",
    ] {
        let error = hosts(&attachment(), "web", &[bad.to_owned()])
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("{bad:?}")), "{error}");
    }
    assert!(hosts(&attachment(), "web", &["db=[fd00::1]".to_owned()]).is_ok());
}

#[test]
fn resolv_conf_names_the_embedded_server_or_the_users() {
    assert_eq!(
        resolv_conf(&attachment(), ResolverOptions::default()).unwrap(),
        "nameserver 172.17.0.1\n"
    );
    let dns = ["9.9.9.9".to_owned(), "fd00::53".to_owned()];
    let expected = "nameserver 9.9.9.9\nnameserver fd00::53\n";
    assert_eq!(resolv_conf(&attachment(), with(&dns)).unwrap(), expected);
    assert!(resolv_conf(&attachment(), with(&["dns.example".to_owned()])).is_err());
}

#[test]
fn upstream_servers_are_read_from_resolv_conf() {
    let file = "# comment\nnameserver 1.1.1.1\nnameservers 2.2.2.2\n search x\n\
                \tnameserver\tfd00::1 \nnameserver bad\n";
    let servers = name_servers(file);
    assert_eq!(
        servers,
        [
            "1.1.1.1:53".parse().unwrap(),
            "[fd00::1]:53".parse().unwrap()
        ]
    );
}

fn with(servers: &[String]) -> ResolverOptions<'_> {
    ResolverOptions {
        servers,
        ..ResolverOptions::default()
    }
}

#[test]
fn own_name_server_takes_the_place_of_the_users() {
    let attachment = Attachment {
        own_name_server: true,
        dns: vec![IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11))],
        ..attachment()
    };
    let (servers, search, options) = (
        ["10.0.0.53".to_owned()],
        ["a.example".to_owned(), ".".to_owned()],
        ["timeout:1".to_owned()],
    );
    let wanted = ResolverOptions {
        servers: &servers,
        search: &search,
        options: &options,
    };
    assert_eq!(
        resolv_conf(&attachment, wanted).unwrap(),
        "nameserver 127.0.0.11\nsearch a.example\noptions timeout:1 ndots:0\n"
    );
}
