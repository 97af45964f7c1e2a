//! A container with something of everything.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use wherry_proto::v1::container::Status;
use wherry_proto::v1::mount::Kind;
use wherry_proto::v1::{
    Container, ContainerSpec, ImageConfig, Mount, MountPoint, PortBinding, Resources,
};

pub(crate) fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

pub(crate) fn binding(host_address: &str, host_port: u32, container_port: u32) -> PortBinding {
    PortBinding {
        container_port,
        protocol: "tcp".to_owned(),
        host_address: host_address.to_owned(),
        host_port,
        host_port_last: 0,
    }
}

pub(crate) fn web() -> Container {
    Container {
        id: "0123456789abcdef".repeat(4),
        name: "web".to_owned(),
        spec: Some(ContainerSpec {
            image: "nginx".to_owned(),
            env: vec!["PATH=/mine".to_owned(), "A=1".to_owned()],
            labels: [
                ("b".to_owned(), "2".to_owned()),
                ("a".to_owned(), "1".to_owned()),
            ]
            .into(),
            mounts: vec![Mount {
                kind: Kind::Bind.into(),
                source: "/mnt/host/srv".to_owned(),
                target: "/data".to_owned(),
                read_only: true,
                host_source: "/srv".to_owned(),
                ..Mount::default()
            }],
            ports: vec![binding("", 8000, 80)],
            resources: Some(Resources {
                memory: 512 << 20,
                nano_cpus: 1_500_000_000,
                ..Resources::default()
            }),
            ..ContainerSpec::default()
        }),
        image_id: "sha256:feed".to_owned(),
        status: Status::Running.into(),
        pid: 42,
        created: time(1_700_000_000),
        started: time(1_700_000_060),
        endpoints: vec![wherry_proto::v1::NetworkEndpoint {
            network: "a".repeat(64),
            network_name: "bridge".to_owned(),
            endpoint: "e".repeat(64),
            ip_address: "172.17.0.2".to_owned(),
            prefix_length: 16,
            gateway: "172.17.0.1".to_owned(),
            names: vec!["web".to_owned()],
            ..Default::default()
        }],
        ip_address: "172.17.0.2".to_owned(),
        gateway: "172.17.0.1".to_owned(),
        prefix_length: 16,
        ports: vec![
            binding("127.0.0.1", 8001, 81),
            binding("127.0.0.1", 8000, 80),
            binding("::1", 9000, 90),
        ],
        args: ["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"]
            .map(str::to_owned)
            .to_vec(),
        mounts: vec![
            MountPoint {
                kind: Kind::Bind.into(),
                source: "/srv".to_owned(),
                target: "/data".to_owned(),
                read_only: true,
                ..MountPoint::default()
            },
            MountPoint {
                kind: Kind::Volume.into(),
                name: "cache".to_owned(),
                source: "/var/lib/wherry/volumes/cache/_data".to_owned(),
                target: "/cache".to_owned(),
                ..MountPoint::default()
            },
        ],
        image_config: Some(ImageConfig {
            env: vec!["PATH=/usr/bin".to_owned()],
            cmd: vec!["nginx".to_owned()],
            exposed_ports: vec!["80/tcp".to_owned(), "443/tcp".to_owned()],
            ..ImageConfig::default()
        }),
        ..Container::default()
    }
}

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_180)
}
