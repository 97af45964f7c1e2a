//! `--link` on the default bridge, and which of several networks is the way out.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::fs;
use std::net::Ipv4Addr;

use support::{Agent, not_root, within};
use tonic::{Code, Status};
use wherry_proto::v1;
use wherry_proto::v1::NetworkAttachment;
use wherry_proto::v1::wait_container_request::Condition;

async fn inspect(agent: &mut Agent, id: &str) -> v1::Container {
    let request = v1::InspectContainerRequest {
        container: id.to_owned(),
    };
    let shown = within(agent.containers.inspect(request)).await.unwrap();
    shown.into_inner()
}

fn on_default(links: &[&str]) -> NetworkAttachment {
    NetworkAttachment {
        network: "bridge".to_owned(),
        links: links.iter().map(|link| (*link).to_owned()).collect(),
        ..Default::default()
    }
}

async fn kill(agent: &mut Agent, id: &str) {
    let request = v1::KillContainerRequest {
        container: id.to_owned(),
        signal: "KILL".to_owned(),
    };
    within(agent.containers.kill(request)).await.unwrap();
    agent.wait(id, Condition::NotRunning).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linked_containers_are_in_the_hosts_file_and_the_environment() {
    if not_root("linked_containers") {
        return;
    }
    let mut agent = Agent::start_networked().await;
    let db = agent
        .create("exec sleep 1000", |spec| {
            spec.name = "db".to_owned();
            spec.network = "bridge".to_owned();
            spec.hostname = "vault".to_owned();
            spec.env = vec!["USER=me".to_owned()];
            spec.exposed_ports = vec!["5432/tcp".to_owned()];
        })
        .await;
    let web = agent
        .create("cat /etc/hosts; export; exec sleep 1000", |spec| {
            spec.name = "web".to_owned();
            spec.network = "bridge".to_owned();
            spec.networks = vec![on_default(&["db:store"])];
            spec.env = vec!["STORE_NAME=mine".to_owned()];
        })
        .await;
    let refused = agent.run(&web).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(
        refused.message(),
        "Cannot link to a non running container: /db AS store"
    );

    agent.run(&db).await.unwrap();
    agent.run(&web).await.unwrap();
    let address = inspect(&mut agent, &db).await.ip_address;
    let hosts = agent.root().join("containers").join(&web).join("hosts");
    let line = format!("{address}\tstore vault db\n");
    let text = fs::read_to_string(&hosts).unwrap();
    assert!(text.contains(&line), "{text}");
    let begun = std::time::Instant::now();
    let said = loop {
        let said = agent.logs(&web, |_| {}).await;
        if said.contains("STORE_PORT_5432") || begun.elapsed() > support::DEADLINE {
            break said;
        }
    };
    assert!(said.contains(&line), "{said}");
    for variable in [
        format!("STORE_PORT='tcp://{address}:5432'"),
        format!("STORE_PORT_5432_TCP_ADDR='{address}'"),
        "STORE_ENV_USER='me'".to_owned(),
        // The container's own goes before.
        "STORE_NAME='mine'".to_owned(),
    ] {
        assert!(said.contains(&variable), "{variable} is not in {said}");
    }

    // Somewhere else the next time: whoever is linked is told.
    kill(&mut agent, &db).await;
    let other = agent
        .create("exec sleep 1000", |spec| spec.network = "bridge".to_owned())
        .await;
    agent.run(&other).await.unwrap();
    agent.run(&db).await.unwrap();
    let moved = inspect(&mut agent, &db).await.ip_address;
    let text = fs::read_to_string(&hosts).unwrap();
    assert!(
        text.contains(&format!("{moved}\tstore vault db\n")),
        "{text}"
    );
    assert_eq!(text.matches("store").count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_cannot_be_are_refused() {
    if not_root("links_that_cannot_be") {
        return;
    }
    let mut agent = Agent::start_networked().await;
    let alone = agent.create("exec sleep 1000", |spec| spec.name = "alone".to_owned());
    let alone = alone.await;
    agent.run(&alone).await.unwrap();
    let spec = |network: &str, link: &str| v1::ContainerSpec {
        image: support::IMAGE.to_owned(),
        network: network.to_owned(),
        networks: vec![NetworkAttachment {
            network: network.to_owned(),
            ..on_default(&[link])
        }],
        ..Default::default()
    };
    for (network, link, said) in [
        (
            "host",
            "alone",
            "host type networking can't be used with links",
        ),
        (
            "container:alone",
            "alone",
            "container type network can't be used with links",
        ),
        ("bridge", "nobody", "nobody"),
    ] {
        let error: Status = agent.try_create(spec(network, link)).await.unwrap_err();
        assert!(error.message().contains(said), "{error}");
    }
    let linking = agent.try_create(spec("bridge", "alone")).await.unwrap();
    let error = agent.run(&linking).await.unwrap_err();
    assert!(
        error
            .message()
            .contains("Cannot link to /alone, as it does not belong to the default network"),
        "{error}"
    );
}

/// Returns the gateway of the default route as the container's kernel has it.
async fn gateway(agent: &mut Agent, id: &str) -> Ipv4Addr {
    let pid = inspect(agent, id).await.pid;
    let routes = fs::read_to_string(format!("/proc/{pid}/net/route")).unwrap();
    let mut default = routes.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields.get(1) == Some(&"00000000")).then(|| fields[2].to_owned())
    });
    let gateway = default.next().unwrap();
    assert!(default.next().is_none(), "{routes}");
    Ipv4Addr::from(u32::from_str_radix(&gateway, 16).unwrap().to_ne_bytes())
}

async fn gateway_on(agent: &mut Agent, id: &str, network: &str) -> Ipv4Addr {
    let places = inspect(agent, id).await.endpoints;
    let place = places.iter().find(|place| place.network_name == network);
    place.unwrap().gateway.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_of_the_highest_priority_is_the_way_out() {
    if not_root("the_network_of_the_highest_priority") {
        return;
    }
    let mut agent = Agent::start_networked().await;
    for name in ["one", "two", "three", "four"] {
        let internal = |request: &mut v1::CreateNetworkRequest| request.internal = name == "four";
        agent.create_network(name, internal).await.unwrap();
    }
    let place = |network: &str, gateway_priority| NetworkAttachment {
        network: network.to_owned(),
        gateway_priority,
        ..Default::default()
    };
    let id = agent
        .create("exec sleep 1000", |spec| {
            spec.network = "one".to_owned();
            spec.networks = vec![place("one", 0), place("two", 5)];
        })
        .await;
    agent.run(&id).await.unwrap();
    let two = gateway_on(&mut agent, &id, "two").await;
    assert_eq!(gateway(&mut agent, &id).await, two);
    for (network, priority) in [("three", 9), ("four", 100)] {
        let request = v1::ConnectNetworkRequest {
            container: id.clone(),
            attachment: Some(place(network, priority)),
        };
        within(agent.networks.connect_container(request))
            .await
            .unwrap();
    }
    // Not by the fourth, which is internal, whatever its priority.
    let three = gateway_on(&mut agent, &id, "three").await;
    assert_eq!(gateway(&mut agent, &id).await, three);
    let request = v1::DisconnectNetworkRequest {
        network: "three".to_owned(),
        container: id.clone(),
        force: false,
    };
    within(agent.networks.disconnect_container(request))
        .await
        .unwrap();
    assert_eq!(gateway(&mut agent, &id).await, two);
    assert_eq!(inspect(&mut agent, &id).await.gateway, two.to_string());
}
