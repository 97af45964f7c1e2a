//! The packet filter's rules: a table for each network, set in one transaction
//! by `nft`, so that no other network's change touches it and none is ever half
//! there.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::NetworkError;
use super::definition::Definition;

/// The table of a container's own namespace.
const RESOLVER_TABLE: &str = "wherry-resolver";

/// Returns the rules. The table is made anew: `table` before `delete table`
/// lets the deletion succeed the first time too (nft(8), "delete").
///
/// What leaves the network's ranges by another interface is masqueraded. Nobody
/// outside opens connections to containers except through published ports,
/// which the agent connects itself and which therefore are not forwarded. A
/// rule that accepts ends its own table's chain alone: what goes from one
/// network to another is dropped by the second one's.
pub(super) fn rules(network: &Definition) -> String {
    let (table, interface) = (&network.table, &network.interface);
    let mut rules =
        format!("table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    if network.internal {
        rules.push_str(&internal(interface));
    } else {
        rules.push_str(&open(network));
    }
    rules.push_str("}\n");
    rules
}

fn open(network: &Definition) -> String {
    let interface = &network.interface;
    let mut rules = String::new();
    if network.masquerades() {
        rules.push_str(
            "\tchain postrouting {\n\
             \t\ttype nat hook postrouting priority srcnat; policy accept;\n",
        );
        for subnet in network.subnets() {
            let family = if subnet.is_ipv6() { "ip6" } else { "ip" };
            rules.push_str(&format!(
                "\t\t{family} saddr {subnet} oifname != \"{interface}\" masquerade\n"
            ));
        }
        rules.push_str("\t}\n");
    }
    rules.push_str(&format!(
        "\tchain forward {{\n\
         \t\ttype filter hook forward priority filter; policy accept;\n\
         \t\tiifname \"{interface}\" accept\n\
         \t\toifname \"{interface}\" ct state established,related accept\n\
         \t\toifname \"{interface}\" drop\n\
         \t}}\n"
    ));
    rules
}

/// Nothing is forwarded in or out, and of the guest nothing answers but to ping
/// and to whom asks for its hardware address: what listens there has a way out.
fn internal(interface: &str) -> String {
    format!(
        "\tchain forward {{\n\
         \t\ttype filter hook forward priority filter; policy accept;\n\
         \t\tiifname \"{interface}\" oifname \"{interface}\" accept\n\
         \t\tiifname \"{interface}\" drop\n\
         \t\toifname \"{interface}\" drop\n\
         \t}}\n\
         \tchain input {{\n\
         \t\ttype filter hook input priority filter; policy accept;\n\
         \t\tiifname != \"{interface}\" accept\n\
         \t\tct state established,related accept\n\
         \t\tmeta l4proto {{ icmp, icmpv6 }} accept\n\
         \t\tdrop\n\
         \t}}\n"
    )
}

/// Applies a network's rules, all or none.
pub(super) fn apply(network: &Definition) -> Result<(), NetworkError> {
    run(&network.table, &rules(network))
}

/// Removes a network's rules; fine if there are none.
pub(super) fn remove(table: &str) -> Result<(), NetworkError> {
    run(
        table,
        &format!("table inet {table}\ndelete table inet {table}\n"),
    )
}

/// Leads the DNS queries of the calling thread's namespace from the address of
/// Docker's name server to the port that ours has there. Port 53 stays free:
/// the container may be a name server itself.
pub(super) fn redirect_queries(server: std::net::Ipv4Addr, port: u16) -> Result<(), NetworkError> {
    let table = RESOLVER_TABLE;
    let rules = format!(
        "table ip {table}\n\
         delete table ip {table}\n\
         table ip {table} {{\n\
         \tchain output {{\n\
         \t\ttype nat hook output priority -100; policy accept;\n\
         \t\tip daddr {server} udp dport 53 dnat to {server}:{port}\n\
         \t\tip daddr {server} tcp dport 53 dnat to {server}:{port}\n\
         \t}}\n\
         }}\n"
    );
    run(table, &rules)
}

/// Has `nft` do one transaction in the calling thread's namespace.
fn run(table: &str, rules: &str) -> Result<(), NetworkError> {
    let failure = |message: String| NetworkError::Firewall {
        table: table.to_owned(),
        message,
    };
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failure(format!("cannot run nft: {error}")))?;
    // A closed pipe means that nft ended early: its status and words say why.
    if let Some(mut stdin) = nft.stdin.take() {
        let _ = stdin.write_all(rules.as_bytes());
    }
    let output = nft
        .wait_with_output()
        .map_err(|error| failure(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        let words = String::from_utf8_lossy(&output.stderr);
        Err(failure(format!("{}: {}", output.status, words.trim())))
    }
}
