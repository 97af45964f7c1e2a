//! Docker's options for what this engine has not: those whose absence changes
//! nothing are taken, some with the warning that Docker itself gives; any other
//! is refused by name, with the reason.

use clap::ArgAction;

use super::refused::refuse;
use crate::output;

/// Those of `run` and `create`.
#[derive(clap::Args, Debug)]
pub(crate) struct ElsewhereOptions {
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    disable_content_trust: Option<bool>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    oom_kill_disable: Option<bool>,

    #[arg(long, hide = true, allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(-1..=100))]
    memory_swappiness: Option<i64>,

    #[arg(long, hide = true)]
    kernel_memory: Option<String>,

    #[arg(long, hide = true, value_parser = ["runc", "io.containerd.runc.v2"])]
    runtime: Option<String>,

    #[arg(long, hide = true, value_parser = ["", "default"])]
    isolation: Option<String>,

    #[arg(long, hide = true, value_parser = parse_volume_driver)]
    volume_driver: Option<String>,

    #[arg(long, hide = true, value_parser = refuse("every container has its cgroup below the engine's own"))]
    cgroup_parent: Option<String>,

    #[arg(long, hide = true, value_parser = refuse("the machine has no GPU"))]
    gpus: Option<String>,

    #[arg(long, hide = true, value_parser = refuse("a container's writable layer has no limit of its own: use a volume or --tmpfs with size="))]
    storage_opt: Vec<String>,

    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", value_parser = refuse("mount the socket with -v /var/run/docker.sock:/var/run/docker.sock"))]
    use_api_socket: Option<String>,

    #[command(flatten)]
    realtime: RealtimeOptions,

    #[command(flatten)]
    windows: WindowsOptions,
}

/// Those of `update` too.
#[derive(clap::Args, Debug)]
pub(crate) struct RealtimeOptions {
    #[arg(long, hide = true, value_parser = refuse(REALTIME))]
    cpu_rt_period: Option<String>,

    #[arg(long, hide = true, value_parser = refuse(REALTIME))]
    cpu_rt_runtime: Option<String>,
}

/// What Docker has for containers of Windows alone.
#[derive(clap::Args, Debug)]
struct WindowsOptions {
    #[arg(long, hide = true, value_parser = refuse(WINDOWS))]
    cpu_count: Option<String>,

    #[arg(long, hide = true, value_parser = refuse(WINDOWS))]
    cpu_percent: Option<String>,

    #[arg(long, hide = true, action = ArgAction::Append, value_parser = refuse(WINDOWS))]
    io_maxbandwidth: Vec<String>,

    #[arg(long, hide = true, action = ArgAction::Append, value_parser = refuse(WINDOWS))]
    io_maxiops: Vec<String>,
}

/// cgroup-v2.rst, "CPU": the controller does not support real-time processes.
const REALTIME: &str = "Your kernel does not support CPU real-time scheduler";
const WINDOWS: &str =
    "this is for containers of Windows: use --cpus, --device-read-bps and their kin";

impl ElsewhereOptions {
    /// Says what of the options has no effect, in Docker's words for a machine
    /// with version 2 of cgroups.
    pub(crate) fn warn(&self) {
        for (given, what) in [
            (
                self.oom_kill_disable == Some(true),
                "OomKillDisable. OomKillDisable discarded.",
            ),
            (
                self.memory_swappiness.is_some_and(|value| value != -1),
                "memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
            ),
            (
                self.kernel_memory.is_some(),
                "kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
            ),
        ] {
            if given {
                output::complain(&format!("warning: Your kernel does not support {what}"));
            }
        }
    }
}

fn parse_volume_driver(text: &str) -> Result<String, String> {
    match text {
        "local" => Ok(text.to_owned()),
        _ => Err(format!("there is no volume driver {text:?}, only local")),
    }
}
