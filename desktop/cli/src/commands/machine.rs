//! `wherry machine`

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use wherry_client::size;
use wherry_proto::v1::{
    MachineState, MachineStatusRequest, MachineStatusResponse, StopMachineRequest,
};

use crate::connection::Connection;
use crate::failure::{FAILED, Failure, Outcome};
use crate::output::{self, Template};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry machine status\n  wherry machine restart      after a change of config.toml"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Start the machine; every other command does so by itself
    Start,
    /// Stop every container and the machine
    Stop(Stop),
    /// Stop the machine and start it again
    Restart(Stop),
    /// Show how the machine is; exit code 0 when it runs, 1 when not
    Status(Status),
}

#[derive(clap::Args, Debug)]
struct Stop {
    /// Cut the power at once: running containers lose what they have not written
    #[arg(short, long)]
    force: bool,

    /// Seconds that containers have to stop
    #[arg(short = 't', long, visible_alias = "time", value_name = "SECONDS")]
    timeout: Option<u32>,

    /// End the engine (wherryd) too
    #[arg(long)]
    all: bool,
}

#[derive(clap::Args, Debug)]
struct Status {
    /// json, or a template such as '{{.State}}'
    #[arg(long)]
    format: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    match arguments.action {
        Action::Start => start(&Connection::to_engine().await?).await,
        Action::Stop(how) => {
            let connection = Connection::to_engine().await?;
            stop(&connection, &how).await?;
            if how.all {
                connection.end_engine().await?;
            }
            output::print_line("stopped")?;
            Ok(0)
        }
        Action::Restart(how) => {
            let mut connection = Connection::to_engine().await?;
            stop(&connection, &how).await?;
            if how.all {
                connection.end_engine().await?;
                connection = Connection::to_engine().await?;
            }
            start(&connection).await
        }
        Action::Status(how) => status(&how).await,
    }
}

async fn start(connection: &Connection) -> Outcome {
    match connection.start_machine().await? {
        Some(took) => output::print_line(&format!("running, after {:.1} s", took.as_secs_f64()))?,
        None => output::print_line("running already")?,
    }
    Ok(0)
}

async fn stop(connection: &Connection, how: &Stop) -> Result<(), Failure> {
    let request = StopMachineRequest {
        force: how.force,
        timeout_seconds: how.timeout.unwrap_or(0),
    };
    connection.engine().stop_machine(request).await?;
    Ok(())
}

async fn status(how: &Status) -> Outcome {
    let connection = Connection::to_engine().await?;
    let status = connection
        .engine()
        .machine_status(MachineStatusRequest {})
        .await?
        .into_inner();
    match how.format.as_deref() {
        None | Some("table") => output::print(&lines(&status))?,
        Some("json") => output::print_json(&fields(&status))?,
        Some(format) => output::print_line(&Template::parse(format)?.render(&fields(&status))?)?,
    }
    Ok(if status.state() == MachineState::Running {
        0
    } else {
        FAILED
    })
}

/// Returns the machine's state in one word.
pub(super) fn state_name(state: MachineState) -> &'static str {
    match state {
        MachineState::Unspecified => "unknown",
        MachineState::Stopped => "stopped",
        MachineState::Starting => "starting",
        MachineState::Running => "running",
        MachineState::Paused => "paused",
        MachineState::Stopping => "stopping",
        MachineState::Failed => "failed",
    }
}

/// Returns the status as JSON.
pub(super) fn fields(status: &MachineStatusResponse) -> Value {
    json!({
        "State": state_name(status.state()),
        "Error": status.error,
        "Warning": status.warning,
        "Hypervisor": status.hypervisor,
        "Accelerator": status.accelerator,
        "Cpus": status.cpus,
        "Memory": status.memory,
        "Pid": status.pid,
        "HypervisorPid": status.hypervisor_pid,
        "UptimeMs": status.uptime_ms,
        "ReadyMs": status.ready_ms,
        "Home": status.home,
        "Shares": status.shares,
        "DiskAllocated": status.disk_allocated,
        "Resident": status.resident,
        "LogPath": status.log_path,
    })
}

/// Returns the status as lines for people.
pub(super) fn lines(status: &MachineStatusResponse) -> String {
    let mut lines = vec![("State", state_name(status.state()).to_owned())];
    let mut add = |name, value: String| {
        if !value.is_empty() {
            lines.push((name, value));
        }
    };
    add("Error", status.error.clone());
    add("Warning", status.warning.clone());
    if matches!(status.state(), MachineState::Running | MachineState::Paused) {
        let uptime =
            wherry_docker::human::duration(Duration::from_millis(status.uptime_ms)).to_lowercase();
        add(
            "Up",
            format!(
                "{uptime}, ready after {:.1} s",
                status.ready_ms as f64 / 1000.0
            ),
        );
        add(
            "Hypervisor",
            format!("{} ({})", status.hypervisor, status.accelerator),
        );
        add("Processors", status.cpus.to_string());
        add(
            "Memory",
            format!(
                "{}, of which the host holds {}",
                size::binary(status.memory),
                size::binary(status.resident)
            ),
        );
        add(
            "Processes",
            format!(
                "machine {}, {} {}",
                status.pid, status.hypervisor, status.hypervisor_pid
            ),
        );
    }
    add(
        "Data disk",
        format!("{} on the host", size::binary(status.disk_allocated)),
    );
    add("Shares", status.shares.join(", "));
    add("Home", status.home.clone());
    add("Log", status.log_path.clone());
    lines
        .iter()
        .map(|(name, value)| format!("{:<13}{value}\n", format!("{name}:")))
        .collect()
}
