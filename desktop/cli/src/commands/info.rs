//! `wherry info`

use serde_json::json;
use wherry_client::size;
use wherry_proto::WIRE_VERSION;
use wherry_proto::v1::{InfoRequest, MachineStatusRequest};

use super::machine;
use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output::{self, Template};

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// json, or a template such as '{{.Containers}}'
    #[arg(short, long)]
    format: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let status = connection
        .engine()
        .machine_status(MachineStatusRequest {})
        .await?
        .into_inner();
    let request = InfoRequest {
        wire_version: WIRE_VERSION,
        host_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let guest = connection.system().info(request).await?.into_inner();
    let stopped = guest.containers.saturating_sub(guest.containers_running);
    let fields = json!({
        "Containers": guest.containers,
        "ContainersRunning": guest.containers_running,
        "ContainersStopped": stopped,
        "Images": guest.images,
        // Docker's names of what is known otherwise or is always so.
        "ServerVersion": guest.agent_version,
        "OSType": "linux",
        "Driver": "overlayfs",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2",
        "AgentVersion": guest.agent_version,
        "WireVersion": guest.wire_version,
        "KernelVersion": guest.kernel_version,
        "Architecture": guest.architecture,
        "NCPU": guest.processors,
        "MemTotal": guest.memory_total,
        "MemAvailable": guest.memory_available,
        "DiskTotal": guest.disk_total,
        "DiskAvailable": guest.disk_available,
        "AgentResident": guest.agent_resident,
        "Machine": machine::fields(&status),
    });
    match arguments.format.as_deref() {
        None | Some("table") => {
            let of = |available, total| {
                format!(
                    "{} of {} free",
                    size::binary(available),
                    size::binary(total)
                )
            };
            let lines = [
                (
                    "Containers",
                    format!(
                        "{}: {} running, {stopped} stopped",
                        guest.containers, guest.containers_running
                    ),
                ),
                ("Images", guest.images.to_string()),
                (
                    "Agent",
                    format!(
                        "{}, {} of memory",
                        guest.agent_version,
                        size::binary(guest.agent_resident)
                    ),
                ),
                (
                    "Kernel",
                    format!("{}, {}", guest.kernel_version, guest.architecture),
                ),
                ("Memory", of(guest.memory_available, guest.memory_total)),
                ("Disk", of(guest.disk_available, guest.disk_total)),
            ];
            let mut text = String::from("Guest\n");
            for (name, value) in lines {
                text.push_str(&format!("  {:<13}{value}\n", format!("{name}:")));
            }
            text.push_str("Machine\n");
            for line in machine::lines(&status).lines() {
                text.push_str(&format!("  {line}\n"));
            }
            output::print(&text)?;
        }
        Some("json") => output::print_json(&fields)?,
        Some(format) => output::print_line(&Template::parse(format)?.render(&fields)?)?,
    }
    Ok(0)
}
