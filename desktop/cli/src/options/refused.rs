//! Docker's options that have nothing to do here: refused with the reason, or
//! taken where they ask for what is so anyway.

/// `--platform` of what works with images that are here.
#[derive(clap::Args, Debug)]
pub(crate) struct OnePlatform {
    #[arg(long = "platform", hide = true, value_parser = refuse_platform)]
    _platform: Option<String>,
}

/// Checkpoints of `start`.
#[derive(clap::Args, Debug)]
pub(crate) struct Checkpoints {
    #[arg(long, hide = true, value_parser = refuse(CHECKPOINTS))]
    checkpoint: Option<String>,

    #[arg(long, hide = true, value_parser = refuse(CHECKPOINTS))]
    checkpoint_dir: Option<String>,
}

const CHECKPOINTS: &str = "containers are not checkpointed: `wherry pause` holds one, \
                           and `wherry commit` keeps its files";

/// What `volume create` has for a swarm's volumes.
#[derive(clap::Args, Debug)]
pub(crate) struct VolumeDrivers {
    #[arg(long, hide = true, value_parser = refuse(CLUSTER))]
    availability: Option<String>,

    #[arg(long, hide = true, value_parser = refuse(CLUSTER))]
    group: Option<String>,

    #[arg(long, hide = true, value_parser = refuse(CLUSTER))]
    limit_bytes: Option<String>,

    #[arg(long, hide = true, value_parser = refuse(CLUSTER))]
    required_bytes: Option<String>,

    #[arg(long, hide = true, value_parser = refuse(CLUSTER))]
    scope: Option<String>,

    #[arg(long, hide = true, value_parser = refuse(CLUSTER))]
    secret: Vec<String>,

    #[arg(long, hide = true, value_parser = refuse(CLUSTER))]
    sharing: Option<String>,

    #[arg(long, hide = true, value_parser = refuse(CLUSTER))]
    topology_preferred: Vec<String>,

    #[arg(long, hide = true, value_parser = refuse(CLUSTER))]
    topology_required: Vec<String>,

    #[arg(long = "type", hide = true, value_parser = refuse(CLUSTER))]
    kind: Option<String>,
}

/// `--cluster` of `volume ls`.
#[derive(clap::Args, Debug)]
pub(crate) struct ClusterVolumes {
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", value_parser = refuse(CLUSTER))]
    cluster: Option<String>,
}

/// What `network create` has for a swarm's networks, and for drivers of
/// addresses that are not here.
#[derive(clap::Args, Debug)]
pub(crate) struct SwarmNetworks {
    #[arg(long, hide = true, value_parser = refuse(CONFIGURATION))]
    config_from: Option<String>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = refuse(CONFIGURATION))]
    config_only: Option<String>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = refuse("there is no swarm whose routing mesh it could carry: publish ports with -p"))]
    ingress: Option<String>,

    #[arg(long, hide = true, value_parser = refuse("the default driver has no options: use --subnet, --gateway, --ip-range and --aux-address"))]
    ipam_opt: Vec<String>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_ipv4)]
    ipv4: Option<String>,

    #[arg(long, hide = true, value_parser = parse_scope)]
    scope: Option<String>,
}

const CONFIGURATION: &str =
    "no network is a configuration for others here: give each its options, as Compose does";

fn parse_ipv4(value: &str) -> Result<String, String> {
    match value {
        "true" | "1" => Ok(value.to_owned()),
        _ => Err("every network has addresses of IPv4: leave it out".to_owned()),
    }
}

fn parse_scope(value: &str) -> Result<String, String> {
    match value {
        "" | "local" => Ok(value.to_owned()),
        _ => Err(format!(
            "there is no scope {value:?} without a swarm, only local"
        )),
    }
}

const CLUSTER: &str = "there are no cluster volumes, which need a swarm";

/// Returns a parser that takes no value.
pub(super) fn refuse(why: &'static str) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |_| Err(why.to_owned())
}

fn refuse_platform(_: &str) -> Result<String, String> {
    Err(
        "an image here is of one platform, and that one is taken: leave --platform out, \
         or fetch the image for another one with `wherry pull --platform`"
            .to_owned(),
    )
}

/// `--disable-content-trust` of what works with registries.
#[derive(clap::Args, Debug)]
pub(crate) struct ContentTrust {
    #[arg(long = "disable-content-trust", hide = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = refuse_trust)]
    _disabled: Option<String>,
}

fn refuse_trust(value: &str) -> Result<String, String> {
    match value {
        "true" | "1" => Ok(value.to_owned()),
        _ => Err(
            "signatures of Docker Content Trust are not checked: leave it out, \
             and name the image by its digest to be sure of it"
                .to_owned(),
        ),
    }
}
