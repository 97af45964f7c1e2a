//! `wherry inspect`

use serde_json::Value;
use tonic::Code;
use wherry_proto::v1::{
    Container, InspectContainerRequest, InspectImageRequest, InspectNetworkRequest,
    InspectVolumeRequest, SizesRequest,
};

use crate::connection::Connection;
use crate::failure::{FAILED, Failure, Outcome};
use crate::options::OnePlatform;
use crate::output::{self, Template};

#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  wherry inspect web\n  wherry inspect --format '{{.State.ExitCode}}' job\n  wherry inspect --format '{{json .Mounts}}' web\n  wherry inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web\n\nTemplates are those of Go's text/template, with Docker's functions json, split, join, title, lower,\nupper, pad and truncate."
)]
pub(crate) struct Arguments {
    /// Containers, images, networks or volumes, by name or id
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,

    /// A template such as '{{.State.Status}}', or json
    #[arg(short, long)]
    format: Option<String>,

    /// Look for one kind alone
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<Kind>,

    /// Show how much a container has written, and with its image
    #[arg(short, long)]
    size: bool,
}

impl Arguments {
    /// The same for containers alone.
    pub(crate) fn containers_only(self) -> Self {
        Self {
            kind: Some(Kind::Container),
            ..self
        }
    }
}

/// Those of `image inspect`.
#[derive(clap::Args, Debug)]
pub(crate) struct ImageArguments {
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,

    /// A template such as '{{.Config.Cmd}}', or json
    #[arg(short, long)]
    format: Option<String>,

    #[command(flatten)]
    _platform: OnePlatform,
}

impl From<ImageArguments> for Arguments {
    fn from(arguments: ImageArguments) -> Self {
        Self {
            names: arguments.names,
            format: arguments.format,
            kind: Some(Kind::Image),
            size: false,
        }
    }
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let connection = Connection::to_machine().await?;
    let (kind, size) = (arguments.kind, arguments.size);
    each(
        &arguments.names,
        arguments.format.as_deref(),
        async |name| find(&connection, name, kind, size).await,
    )
    .await
}

/// Prints what `find` finds under each name, as `--format` says: goes on after
/// a failure, reports each, and fails in the end if one did.
pub(super) async fn each(
    names: &[String],
    format: Option<&str>,
    find: impl AsyncFn(&str) -> Result<Value, Failure>,
) -> Outcome {
    let format = format.filter(|format| !format.is_empty());
    let template = match format {
        None | Some("json") => None,
        Some(format) => Some(Template::parse(format)?),
    };
    let mut found = Vec::new();
    let mut code = 0;
    for name in names {
        let inspected = match find(name).await {
            Ok(value) => match &template {
                Some(template) => template
                    .render(&value)
                    .and_then(|line| output::print_line(&line)),
                None => {
                    found.push(value);
                    Ok(())
                }
            },
            Err(failure) => Err(failure),
        };
        if let Err(failure) = inspected {
            match failure.message {
                Some(message) => output::complain(&message),
                None => return Err(failure),
            }
            code = FAILED;
        }
    }
    match format {
        None => output::print_json(&Value::Array(found))?,
        Some("json") => output::print_line(&Value::Array(found).to_string())?,
        Some(_) => {}
    }
    Ok(code)
}

async fn find(
    connection: &Connection,
    name: &str,
    kind: Option<Kind>,
    size: bool,
) -> Result<Value, Failure> {
    if kind.is_none_or(|kind| kind == Kind::Container) {
        let request = InspectContainerRequest {
            container: name.to_owned(),
        };
        match connection.containers().inspect(request).await {
            Ok(container) => {
                return container_value(connection, &container.into_inner(), size).await;
            }
            Err(status) if status.code() == Code::NotFound && kind.is_none() => {}
            Err(status) => return Err(status.into()),
        }
    }
    if kind.is_none_or(|kind| kind == Kind::Image) {
        let request = InspectImageRequest {
            name: name.to_owned(),
        };
        match connection.images().inspect(request).await {
            Ok(image) => return Ok(wherry_docker::image::inspect(&image.into_inner())),
            // A name may be none at all for an image, "A" for one.
            Err(status)
                if kind.is_none()
                    && matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {}
            Err(status) => return Err(status.into()),
        }
    }
    if kind.is_none_or(|kind| kind == Kind::Network) {
        let request = InspectNetworkRequest {
            network: name.to_owned(),
        };
        match connection.networks().inspect(request).await {
            Ok(network) => return Ok(wherry_docker::network::inspect(&network.into_inner())),
            Err(status)
                if kind.is_none()
                    && matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {}
            Err(status) => return Err(status.into()),
        }
    }
    let request = InspectVolumeRequest {
        name: name.to_owned(),
    };
    match connection.volumes().inspect(request).await {
        Ok(volume) => Ok(wherry_docker::volume::inspect(&volume.into_inner())),
        Err(status) if kind.is_none() && status.code() == Code::NotFound => {
            Err(Failure::new(format!(
                "there is no container, no image, no network and no volume {name:?}: `wherry ps -a`, `wherry images`, `wherry network ls` and `wherry volume ls` list what there is"
            )))
        }
        Err(status) => Err(status.into()),
    }
}

async fn container_value(
    connection: &Connection,
    container: &Container,
    size: bool,
) -> Result<Value, Failure> {
    let mut value = wherry_docker::container::inspect(container);
    if size {
        let request = SizesRequest {
            containers: vec![container.id.clone()],
        };
        let sizes = connection.containers().sizes(request).await?.into_inner();
        if let Some(size) = sizes.sizes.first() {
            value["SizeRw"] = size.written.into();
            value["SizeRootFs"] = size.root.into();
        }
    }
    Ok(value)
}
