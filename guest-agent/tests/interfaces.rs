//! What a container can ask of its interfaces: names, sysctls, further addresses.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

use support::{Agent, not_root, within};
use tonic::Code;
use wherry_proto::v1;
use wherry_proto::v1::NetworkAttachment;
use wherry_proto::v1::wait_container_request::Condition;

const NAME: &str = "com.docker.network.endpoint.ifname";
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

fn place(network: &str, options: &[(&str, &str)]) -> NetworkAttachment {
    let option = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    NetworkAttachment {
        network: network.to_owned(),
        driver_options: options.iter().map(option).collect(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_have_the_names_sysctls_and_addresses_that_were_asked_for() {
    if not_root("interfaces_have") {
        return;
    }
    let mut agent = Agent::start_networked().await;
    for name in ["one", "two", "three"] {
        agent.create_network(name, |_| {}).await.unwrap();
    }
    let script = "cat /proc/net/dev /proc/net/fib_trie
        cd /proc/sys/net/ipv4/conf; for i in eth* front; do echo $i=$(cat $i/log_martians); done";
    let id = agent
        .create(script, |spec| {
            spec.network = "one".to_owned();
            // The name that the first would have got is the second's.
            spec.networks = vec![
                place("one", &[(SYSCTLS, "net.ipv4.conf.IFNAME.log_martians=1")]),
                place("two", &[(NAME, "eth0")]),
                place("three", &[(NAME, "front"), ("else", "kept")]),
            ];
            spec.networks[2].link_local_addresses = vec!["169.254.77.5".to_owned()];
        })
        .await;
    agent.run(&id).await.unwrap();
    agent.wait(&id, Condition::NotRunning).await;
    let said = agent.logs(&id, |_| {}).await;
    for line in [
        "eth0=0\n",
        "eth1=1\n",
        "front=0\n",
        "front:",
        "169.254.77.5\n",
    ] {
        assert!(said.contains(line), "{line:?} is not in {said}");
    }
    assert!(!said.contains("eth2"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_interface_can_be_is_refused() {
    if not_root("what_no_interface_can_be") {
        return;
    }
    let mut agent = Agent::start_networked().await;
    agent.create_network("one", |_| {}).await.unwrap();
    agent.create_network("two", |_| {}).await.unwrap();
    let running = agent
        .create("exec sleep 1000", |spec| {
            spec.network = "one".to_owned();
            spec.networks = vec![place("one", &[])];
        })
        .await;
    agent.run(&running).await.unwrap();
    for (option, value, code, reason) in [
        (NAME, "lo", Code::InvalidArgument, "loopback"),
        (NAME, "eth0", Code::FailedPrecondition, "eth0 already"),
        (
            SYSCTLS,
            "net.ipv4.ip_forward=1",
            Code::InvalidArgument,
            "unrecognised network interface sysctl",
        ),
        (
            SYSCTLS,
            "net.ipv4.conf.IFNAME.no_such=1",
            Code::Internal,
            "cannot set the sysctl net.ipv4.conf.IFNAME.no_such=1 of the interface eth1",
        ),
    ] {
        let request = v1::ConnectNetworkRequest {
            container: running.clone(),
            attachment: Some(place("two", &[(option, value)])),
        };
        let refused = within(agent.networks.connect_container(request)).await;
        let refused = refused.unwrap_err();
        assert!(refused.message().contains(reason), "{refused:?}");
        assert_eq!(refused.code(), code, "{refused:?}");
    }
    // Nothing is half attached: it can still be.
    let request = v1::ConnectNetworkRequest {
        container: running,
        attachment: Some(place("two", &[])),
    };
    within(agent.networks.connect_container(request))
        .await
        .unwrap();
}
