//! The values of options, in Docker's spelling: ports, mounts, environments,
//! times. Each is a parser that clap calls, so a wrong value is reported with
//! the option it belongs to.

mod container;
mod elsewhere;
mod environment;
mod health;
mod isolation;
mod limits;
mod logging;
mod mount;
mod network;
mod number;
mod publish;
mod refused;
mod restart;
mod time;

pub(crate) use container::{AttachedStream, ContainerOptions, PullPolicy};
pub(crate) use elsewhere::RealtimeOptions;
pub(crate) use environment::EnvironmentOptions;
pub(crate) use limits::LimitOptions;
pub(crate) use network::parse_driver_option;
pub(crate) use number::parse_patience;
pub(crate) use refused::{
    Checkpoints, ClusterVolumes, ContentTrust, OnePlatform, SwarmNetworks, VolumeDrivers,
};
pub(crate) use restart::{RestartPolicy, parse_restart};
pub(crate) use time::parse_moment;
