//! `wherry version`

use serde_json::{Value, json};
use wherry_proto::WIRE_VERSION;
use wherry_proto::v1::{InfoRequest, MachineState, MachineStatusRequest, VersionRequest};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output::{self, Template};

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// json, or a template such as '{{.Client.Version}}'
    #[arg(short, long)]
    format: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let connection = Connection::to_engine().await?;
    let engine = connection
        .engine()
        .version(VersionRequest {})
        .await?
        .into_inner();
    let status = connection
        .engine()
        .machine_status(MachineStatusRequest {})
        .await?
        .into_inner();
    // The machine is not started to be asked for its version.
    let guest = if status.state() == MachineState::Running {
        let request = InfoRequest {
            wire_version: WIRE_VERSION,
            host_version: version.to_owned(),
        };
        let guest = connection.system().info(request).await?.into_inner();
        json!({
            "Version": guest.agent_version,
            "WireVersion": guest.wire_version,
            "KernelVersion": guest.kernel_version,
            "Arch": guest.architecture,
        })
    } else {
        Value::Null
    };
    let fields = json!({
        "Client": {
            "Version": version,
            "WireVersion": WIRE_VERSION,
            "Os": std::env::consts::OS,
            "Arch": std::env::consts::ARCH,
        },
        // By the name that scripts ask Docker's command for.
        "Server": { "Version": engine.version, "Os": "linux" },
        "Engine": { "Version": engine.version, "WireVersion": engine.wire_version },
        "Guest": guest,
    });
    match arguments.format.as_deref() {
        None => {
            let guest = match &fields["Guest"] {
                Value::Null => "not running".to_owned(),
                guest => {
                    let field = |name: &str| guest[name].as_str().unwrap_or_default();
                    format!(
                        "{} (Linux {}, {})",
                        field("Version"),
                        field("KernelVersion"),
                        field("Arch")
                    )
                }
            };
            output::print(&format!(
                "Client: {version} ({}, {})\nEngine: {}\nGuest:  {guest}\nWire:   {WIRE_VERSION}\n",
                std::env::consts::OS,
                std::env::consts::ARCH,
                engine.version
            ))?;
        }
        Some("json") => output::print_json(&fields)?,
        Some(format) => output::print_line(&Template::parse(format)?.render(&fields)?)?,
    }
    Ok(0)
}
