//! The contents of `/etc/hosts` and `/etc/resolv.conf`.

use std::net::{IpAddr, Ipv4Addr};

use crate::network::options::name_servers;
use crate::network::{Attachment, NetworkMode, hosts, resolv_conf};

fn attachment() -> Attachment {
    Attachment {
        netns: Some("/run/wherry/netns/x".into()),
        address: Some(Ipv4Addr::new(172, 17, 0, 2)),
        prefix_length: 16,
        gateway: Some(Ipv4Addr::new(172, 17, 0, 1)),
        mac: Some("02:42:ac:11:00:02".to_owned()),
        dns: vec![IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1))],
        host_address: Ipv4Addr::new(10, 0, 2, 2),
        host_network: false,
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
        resolv_conf(&attachment(), &[]).unwrap(),
        "nameserver 172.17.0.1\n"
    );
    let dns = ["9.9.9.9".to_owned(), "fd00::53".to_owned()];
    let expected = "nameserver 9.9.9.9\nnameserver fd00::53\n";
    assert_eq!(resolv_conf(&attachment(), &dns).unwrap(), expected);
    assert!(resolv_conf(&attachment(), &["dns.example".to_owned()]).is_err());
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

#[test]
fn network_flags_are_read_in_dockers_spelling() {
    assert_eq!("".parse::<NetworkMode>().unwrap(), NetworkMode::Bridge);
    assert_eq!(
        "bridge".parse::<NetworkMode>().unwrap(),
        NetworkMode::Bridge
    );
    assert_eq!("host".parse::<NetworkMode>().unwrap(), NetworkMode::Host);
    assert_eq!("none".parse::<NetworkMode>().unwrap(), NetworkMode::None);
    let joined = NetworkMode::Container("db".to_owned());
    assert_eq!("container:db".parse::<NetworkMode>().unwrap(), joined);
    for unknown in ["container:", "web", "Bridge"] {
        let error = unknown.parse::<NetworkMode>().unwrap_err().to_string();
        assert!(error.contains(unknown), "{error}");
    }
}
