//! `wherry network` and `run --network` against an engine that speaks the real
//! protocol.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, unreachable_pub)]
mod engine;

use engine::{ScriptedEngine, errors};

#[test]
fn networks_print_as_dockers() {
    let engine = ScriptedEngine::start();
    let id = |digit: &str, length| digit.repeat(length);
    let table = format!(
        "NETWORK ID     NAME      DRIVER    SCOPE\n{}   back      bridge    local\n{}   bridge    bridge    local\n{}   front     bridge    local\n{}   host      host      local\n{}   none      null      local\n",
        id("b", 12),
        id("1", 12),
        id("a", 12),
        id("2", 12),
        id("3", 12)
    );
    let made = format!("{}\n", id("c", 64));
    let whole = format!("{}\n", id("b", 64));
    for (line, printed, said, code) in [
        ("network create net", made.as_str(), "", 0),
        (
            "network create front",
            "",
            "network with name front already exists",
            1,
        ),
        (
            "network create --gateway 10.0.0.1 net",
            "",
            "every ip-range or gateway",
            1,
        ),
        ("network create --label =b net", "", "KEY=VALUE", 125),
        ("network ls", table.as_str(), "", 0),
        (
            "network ls -q --no-trunc --filter dangling=true",
            whole.as_str(),
            "",
            0,
        ),
        (
            "network ls --filter label=a=b --format {{.Name}}:{{.IPv6}}",
            "front:false\n",
            "",
            0,
        ),
        ("network ls --filter type=x", "", "custom", 125),
        ("network inspect -f {{.Driver}} front", "bridge\n", "", 0),
        (
            "network inspect -f {{json.IPAM.Config}} front",
            "",
            "write {{json .IPAM}}",
            1,
        ),
        ("network inspect nope", "[]\n", "network nope not found", 1),
        (
            "inspect --type network -f {{.Name}} front",
            "front\n",
            "",
            0,
        ),
        (
            "network rm back front",
            "back\n",
            "has active endpoints (name:\"web\"",
            1,
        ),
        ("network prune -f", "Deleted Networks:\nback\n\n", "", 0),
        ("network prune -f --filter label=a", "", "", 0),
        ("network prune --filter size=1", "", "until=TIME", 125),
        (
            "network connect --ip 10.1.0.9 --alias db --link a:b front web",
            "",
            "",
            0,
        ),
        ("network connect --ip x front web", "", "invalid", 125),
        (
            "network disconnect front web",
            "",
            "is not connected to network front",
            1,
        ),
        ("network disconnect -f front web", "", "", 0),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = engine.run(&arguments, b"");
        let (errors, ended) = (errors(&output), output.status.code());
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            (text.as_str(), ended),
            (printed, Some(code)),
            "{line}: {errors}"
        );
        assert!(
            errors.contains(said) && errors.is_empty() == said.is_empty(),
            "{line}: {errors}"
        );
    }
    let asked = engine.asked();
    let attachment = asked.connected[0].attachment.clone().unwrap();
    assert_eq!(attachment.ipv4_address, "10.1.0.9");
    assert_eq!(
        (attachment.aliases, attachment.links),
        (vec!["db".to_owned()], vec!["a:b".to_owned()])
    );
}

#[test]
fn inspect_shows_members_in_dockers_shape() {
    let engine = ScriptedEngine::start();
    let output = engine.run(&["network", "inspect", "front"], b"");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown[0]["IPAM"]["Config"][0]["Subnet"], "10.1.0.0/24");
    assert_eq!(shown[0]["Containers"]["0123"]["Name"], "web");
    assert_eq!(shown[0]["Containers"]["0123"]["IPv4Address"], "10.1.0.2/24");
}

#[test]
fn create_and_run_ask_for_what_was_said() {
    let engine = ScriptedEngine::start();
    let run = |line: &str| {
        let output = engine.run(&line.split(' ').collect::<Vec<_>>(), b"");
        assert_eq!(output.status.code(), Some(0), "{line}: {}", errors(&output));
    };
    run(
        "network create --subnet 10.9.0.0/24 --gateway 10.9.0.9 --subnet fd00::/64 --internal -o a=b --label c net",
    );
    run(
        "create --network name=front,alias=x --network back --ip 10.1.0.5 --dns-search a.example --dns-opt ndots:2 image",
    );
    let asked = engine.asked();
    let network = &asked.networks[0];
    assert!(network.internal && network.ipv6);
    assert_eq!(network.subnets[0].gateway, "10.9.0.9");
    assert_eq!(network.options["a"], "b");
    let spec = &asked.created[0];
    assert_eq!(spec.network, "front");
    assert_eq!(spec.networks[0].ipv4_address, "10.1.0.5");
    assert_eq!(spec.networks[1].network, "back");
    assert_eq!(
        (spec.dns_search.join(","), spec.dns_options.join(",")),
        ("a.example".to_owned(), "ndots:2".to_owned())
    );
}
