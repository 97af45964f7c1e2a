//! The options that `run` and `create` share.

use std::path::PathBuf;

use clap::ArgAction;
use wherry_proto::v1::{ContainerSpec, Mount};

use super::elsewhere::ElsewhereOptions;
use super::environment::{self, EnvironmentOptions};
use super::health::HealthOptions;
use super::isolation::IsolationOptions;
use super::limits::{FixedLimitOptions, LimitOptions};
use super::logging::LoggingOptions;
use super::mount::{parse_mount, parse_tmpfs, parse_volume};
use super::network::NetworkOptions;
use super::number::parse_patience;
use super::publish::PublishOptions;
use super::restart::{RestartPolicy, parse_restart};
use crate::failure::Failure;

/// What to run and how.
#[derive(clap::Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct ContainerOptions {
    /// The image, then the command to run in it with all its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    command: Vec<String>,

    /// Keep standard input open, and pass this one on
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Give the container a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Remove the container when it has ended
    #[arg(long = "rm")]
    pub(crate) remove: bool,

    /// Name the container
    #[arg(long)]
    name: Option<String>,

    #[command(flatten)]
    environment: EnvironmentOptions,

    /// Mount a folder or file of the host, or a volume
    #[arg(short = 'v', long = "volume", value_name = "SOURCE:PATH[:ro]", value_parser = parse_volume)]
    volumes: Vec<Mount>,

    /// Mount, field by field: type=bind,source=/srv,target=/data,readonly
    #[arg(long = "mount", value_name = "FIELDS", value_parser = parse_mount)]
    mounts: Vec<Mount>,

    /// Mount what another container mounts: its volumes, and folders of the host
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<String>,

    /// Mount an empty file system in memory, with options such as size=64m,mode=700,exec
    #[arg(long, value_name = "PATH[:OPTIONS]", value_parser = parse_tmpfs)]
    tmpfs: Vec<Mount>,

    #[command(flatten)]
    publish: PublishOptions,

    /// The folder that the command runs in
    #[arg(short, long, value_name = "PATH", value_parser = parse_folder)]
    workdir: Option<String>,

    /// Run as this user: a name or number, and perhaps a group: USER[:GROUP]
    #[arg(short, long)]
    user: Option<String>,

    /// Replace the image's entrypoint; "" takes it away
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,

    /// The container's host name
    #[arg(short = 'h', long)]
    hostname: Option<String>,

    /// The container's NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,

    /// Attach a label to the container
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = parse_label)]
    label: Vec<String>,

    /// Read labels from a file, one KEY=VALUE a line
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,

    #[command(flatten)]
    limits: LimitOptions,

    #[command(flatten)]
    fixed_limits: FixedLimitOptions,

    #[command(flatten)]
    network: NetworkOptions,

    #[command(flatten)]
    isolation: IsolationOptions,

    /// Give the container every capability and device
    #[arg(long)]
    privileged: bool,

    /// Mount the container's root file system read-only
    #[arg(long)]
    read_only: bool,

    /// Add a capability, such as NET_ADMIN
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,

    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,

    /// The signal that asks the container to stop
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,

    /// Seconds from that signal to the kill, by default 10; -1 is for ever
    #[arg(long, value_name = "SECONDS", value_parser = parse_patience, allow_hyphen_values = true)]
    stop_timeout: Option<u32>,

    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = parse_host)]
    add_host: Vec<String>,

    /// Use this DNS server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<std::net::IpAddr>,

    /// Start the container again when it ends, and with the machine:
    /// no, always, unless-stopped or on-failure[:NUMBER]
    #[arg(long, value_name = "POLICY", value_parser = parse_restart)]
    restart: Option<RestartPolicy>,

    #[command(flatten)]
    logging: LoggingOptions,

    #[command(flatten)]
    health: HealthOptions,

    #[command(flatten)]
    pub(crate) elsewhere: ElsewhereOptions,

    /// Write the container's id to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,

    /// When to fetch the image from its registry
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(crate) pull: PullPolicy,

    /// Show no progress of the fetch
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// The platform of the image, such as linux/arm64
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    pub(crate) platform: Option<String>,

    /// Show this help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// When `run` and `create` fetch an image: each time, where it is not here, or
/// not at all.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PullPolicy {
    Always,
    Missing,
    Never,
}

impl ContainerOptions {
    /// Returns the image that was named.
    pub(crate) fn image(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }

    /// Returns what the engine is asked for. Reads the files that options name.
    /// A container that nobody attaches to at its start keeps its input open for
    /// those who come later; any other's ends with its first client's, as in Docker.
    pub(crate) fn spec(&self, detached: bool) -> Result<ContainerSpec, Failure> {
        let (rows, columns) = if self.tty {
            crate::terminal::size()
        } else {
            (0, 0)
        };
        let text = |option: &Option<String>| option.clone().unwrap_or_default();
        let mut resources = self.limits.resources();
        self.fixed_limits.add_to(&mut resources);
        let restart = self.restart.clone().unwrap_or_default();
        if self.remove && !matches!(restart.name.as_str(), "" | "no") {
            return Err(Failure::new(
                "conflicting options: cannot specify both --restart and --rm",
            ));
        }
        let mut spec = ContainerSpec {
            image: self.image().to_owned(),
            name: text(&self.name),
            cmd: self.command.get(1..).unwrap_or_default().to_vec(),
            entrypoint: self
                .entrypoint
                .iter()
                .filter(|entry| !entry.is_empty())
                .cloned()
                .collect(),
            clear_entrypoint: self.entrypoint.as_deref() == Some(""),
            env: self.environment.resolve()?,
            working_dir: text(&self.workdir),
            user: text(&self.user),
            hostname: text(&self.hostname),
            domainname: text(&self.domainname),
            log: self.logging.config(),
            labels: environment::labels(&self.label_file, &self.label)?,
            terminal: self.tty,
            open_stdin: self.interactive,
            auto_remove: self.remove,
            mounts: self
                .volumes
                .iter()
                .chain(&self.mounts)
                .chain(&self.tmpfs)
                .cloned()
                .collect(),
            resources: Some(resources),
            ulimits: self.fixed_limits.ulimit.clone(),
            oom_score_adj: self.fixed_limits.oom_score_adj.unwrap_or(0),
            privileged: self.privileged,
            read_only: self.read_only,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            stop_signal: text(&self.stop_signal),
            stop_timeout_seconds: self.stop_timeout,
            terminal_rows: rows,
            terminal_columns: columns,
            stdin_once: self.interactive && !detached,
            volumes_from: self.volumes_from.clone(),
            extra_hosts: self.add_host.clone(),
            dns: self.dns.iter().map(ToString::to_string).collect(),
            restart_policy: restart.name,
            restart_retries: restart.retries,
            health_check: self.health.check()?,
            ..ContainerSpec::default()
        };
        self.publish.add_to(&mut spec);
        self.network.add_to(&mut spec)?;
        self.isolation.add_to(&mut spec)?;
        Ok(spec)
    }
}

fn parse_folder(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err("the container's path must be absolute: write it with a leading /".to_owned())
    }
}

fn parse_label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('=') {
        return Err("the label's name is missing: write KEY=VALUE".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_host(text: &str) -> Result<String, String> {
    match text.split_once([':', '=']) {
        Some((name, address)) if !name.is_empty() => {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            if bare == "host-gateway" || bare.parse::<std::net::IpAddr>().is_ok() {
                Ok(format!("{name}:{bare}"))
            } else {
                Err(format!("{address:?} is no IP address"))
            }
        }
        _ => Err("write NAME:ADDRESS, such as db:10.0.0.5".to_owned()),
    }
}
