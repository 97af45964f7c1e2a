//! The Networks service with real containers, in a network namespace of the
//! agent's own.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use support::{Agent, not_root, within};
use tonic::{Code, Status};
use wherry_proto::v1;
use wherry_proto::v1::NetworkAttachment;
use wherry_proto::v1::wait_container_request::Condition;

async fn remove(agent: &mut Agent, network: &str) -> Result<(), Status> {
    let request = v1::RemoveNetworkRequest {
        network: network.to_owned(),
        force: false,
    };
    within(agent.networks.remove(request)).await.map(drop)
}

async fn connect(agent: &mut Agent, container: &str, network: &str) -> Result<(), Status> {
    let request = v1::ConnectNetworkRequest {
        container: container.to_owned(),
        attachment: Some(NetworkAttachment {
            network: network.to_owned(),
            aliases: vec!["store".to_owned()],
            ..Default::default()
        }),
    };
    within(agent.networks.connect_container(request))
        .await
        .map(drop)
}

async fn disconnect(agent: &mut Agent, container: &str, network: &str) -> Result<(), Status> {
    let request = v1::DisconnectNetworkRequest {
        network: network.to_owned(),
        container: container.to_owned(),
        force: false,
    };
    within(agent.networks.disconnect_container(request))
        .await
        .map(drop)
}

async fn inspect(agent: &mut Agent, id: &str) -> v1::Container {
    let request = v1::InspectContainerRequest {
        container: id.to_owned(),
    };
    within(agent.containers.inspect(request))
        .await
        .unwrap()
        .into_inner()
}

fn places(container: &v1::Container) -> Vec<&str> {
    let places = container.endpoints.iter();
    places.map(|place| place.network_name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_find_each_other_move_and_outlive_serve() {
    if not_root("containers_find_each_other") {
        return;
    }
    let mut agent = Agent::start_networked().await;
    let front = agent.create_network("front", |_| {}).await.unwrap();
    agent.create_network("back", |_| {}).await.unwrap();
    let db = agent
        .create("exec sleep 1000", |spec| {
            spec.name = "db".to_owned();
            spec.network = "front".to_owned();
        })
        .await;
    agent.run(&db).await.unwrap();
    let seen = inspect(&mut agent, &db).await;
    assert_eq!(places(&seen), ["front"]);
    assert_eq!(seen.endpoints[0].network, front);
    assert_eq!(seen.ip_address, seen.endpoints[0].ip_address);
    let asking =
        |name: &str| format!("busybox nslookup {name} | busybox tail -n +3; cat /etc/resolv.conf");
    let script = asking("db").replace("busybox", "/bin/busybox");
    let web = agent
        .create(&script, |spec| spec.network = "front".to_owned())
        .await;
    agent.run(&web).await.unwrap();
    agent.wait(&web, Condition::NotRunning).await;
    let said = agent.logs(&web, |_| {}).await;
    assert!(said.contains(&seen.ip_address), "{said}");
    assert!(
        said.contains("nameserver 127.0.0.11\noptions ndots:0"),
        "{said}"
    );

    connect(&mut agent, "db", "back").await.unwrap();
    assert_eq!(places(&inspect(&mut agent, &db).await), ["front", "back"]);
    let hosts = std::fs::read_to_string(agent.root().join("containers").join(&db).join("hosts"));
    assert_eq!(hosts.unwrap().matches(&db[..12]).count(), 2);
    let refused = remove(&mut agent, "back").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let endpoints = format!(
        "network back has active endpoints (name:\"db\" id:\"{}\")",
        &db[..12]
    );
    assert!(refused.message().contains(&endpoints), "{refused}");

    agent.kill();
    agent.serve().await;
    assert_eq!(places(&inspect(&mut agent, &db).await), ["front", "back"]);
    disconnect(&mut agent, "db", "front").await.unwrap();
    let refused = disconnect(&mut agent, "db", "front").await.unwrap_err();
    assert!(
        refused
            .message()
            .contains("is not connected to network front"),
        "{refused}"
    );
    assert_eq!(places(&inspect(&mut agent, &db).await), ["back"]);
    agent.cut_power();
    agent.serve().await;
    agent.run(&db).await.unwrap();
    assert_eq!(places(&inspect(&mut agent, &db).await), ["back"]);
    // The one that ended is on it still, and keeps it from being pruned.
    let prune = v1::PruneNetworksRequest::default();
    let pruned = within(agent.networks.prune(prune.clone())).await.unwrap();
    assert!(pruned.into_inner().removed.is_empty());
    disconnect(&mut agent, &web, "front").await.unwrap();
    let pruned = within(agent.networks.prune(prune)).await.unwrap();
    assert_eq!(pruned.into_inner().removed, ["front"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_a_name_until_it_is_removed() {
    if not_root("a_link_is_a_name") {
        return;
    }
    let mut agent = Agent::start_networked().await;
    agent.create_network("front", |_| {}).await.unwrap();
    let db = agent
        .create("exec sleep 1000", |spec| {
            spec.name = "db".to_owned();
            spec.network = "front".to_owned();
        })
        .await;
    agent.run(&db).await.unwrap();
    let web = agent
        .create(
            "trap '/bin/busybox nslookup store; exit' TERM; echo up; \
             while true; do sleep 0.02; done",
            |spec| {
                spec.name = "web".to_owned();
                spec.network = "front".to_owned();
                spec.networks = vec![NetworkAttachment {
                    network: "front".to_owned(),
                    links: vec!["db:store".to_owned()],
                    ..Default::default()
                }];
            },
        )
        .await;
    let remove = |link: &str| v1::RemoveLinkRequest {
        link: link.to_owned(),
    };
    for (link, code) in [
        ("store", Code::InvalidArgument),
        ("/web/none", Code::NotFound),
        ("/none/store", Code::NotFound),
    ] {
        let error = agent
            .containers
            .remove_link(remove(link))
            .await
            .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    // While it runs, at once; and it does not come back with the next start.
    for (start, removed) in [(1, false), (2, true), (3, false)] {
        agent.run(&web).await.unwrap();
        within(async {
            while agent.logs(&web, |_| ()).await.matches("up\n").count() < start {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        if removed {
            let link = remove("/web/store");
            within(agent.containers.remove_link(link)).await.unwrap();
        }
        let ask = v1::KillContainerRequest {
            container: web.clone(),
            signal: "TERM".to_owned(),
        };
        within(agent.containers.kill(ask)).await.unwrap();
        agent.wait(&web, Condition::NotRunning).await;
        let said = agent.logs(&web, |_| {}).await;
        assert_eq!(said.matches("Name:\tstore").count(), 1, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_networks_and_modes_that_do_not_fit_are_refused() {
    if not_root("unknown_networks") {
        return;
    }
    let mut agent = Agent::start_networked().await;
    agent.create_network("front", |_| {}).await.unwrap();
    let taken = agent.create_network("front", |_| {}).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    for (network, said) in [("nope", "network nope not found"), ("host", "pre-defined")] {
        let error = remove(&mut agent, network).await.unwrap_err();
        assert!(error.message().contains(said), "{error}");
    }
    let spec = |networks: &[&str]| v1::ContainerSpec {
        image: support::IMAGE.to_owned(),
        network: networks[0].to_owned(),
        networks: networks
            .iter()
            .map(|network| NetworkAttachment {
                network: (*network).to_owned(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    for (networks, said) in [
        (&["nope"][..], "network nope not found"),
        (&["front", "host"], "non-user-defined network-modes"),
        (&["none", "front"], "non-user-defined network-modes"),
        (&["front", "front"], "given twice"),
    ] {
        let error = agent.try_create(spec(networks)).await.unwrap_err();
        assert!(error.message().contains(said), "{error}");
    }
    let alone = agent.create("exec sleep 1000", |_| {}).await;
    for (network, said) in [("front", "private (none) mode"), ("host", "host network")] {
        let error = connect(&mut agent, &alone, network).await.unwrap_err();
        assert!(error.message().contains(said), "{error}");
    }
}
