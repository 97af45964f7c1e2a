//! The packet filter's rules for the bridge, set in one transaction by `nft`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::NetworkError;
use super::options::BridgeOptions;

/// Returns the rules. The table is made anew: `table` before `delete table`
/// lets the deletion succeed the first time too (nft(8), "delete").
///
/// What leaves the bridge's range by another interface is masqueraded. Nobody
/// outside opens connections to containers except through published ports,
/// which the agent connects itself and which therefore are not forwarded.
pub(super) fn rules(bridge: &BridgeOptions) -> String {
    let BridgeOptions {
        interface,
        subnet,
        table,
    } = bridge;
    format!(
        "table inet {table}\n\
         delete table inet {table}\n\
         table inet {table} {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {subnet} oifname != \"{interface}\" masquerade\n\
         \t}}\n\
         \tchain forward {{\n\
         \t\ttype filter hook forward priority filter; policy accept;\n\
         \t\tiifname \"{interface}\" accept\n\
         \t\toifname \"{interface}\" ct state established,related accept\n\
         \t\toifname \"{interface}\" drop\n\
         \t}}\n\
         }}\n"
    )
}

/// Applies the rules, all or none.
pub(super) fn apply(bridge: &BridgeOptions) -> Result<(), NetworkError> {
    let failure = |message: String| NetworkError::Firewall {
        table: bridge.table.clone(),
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
        let _ = stdin.write_all(rules(bridge).as_bytes());
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
