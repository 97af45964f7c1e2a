//! `wherry run`

use std::io::IsTerminal;

use tonic::Code;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{
    AttachStream, CreateContainerRequest, CreateContainerResponse, InspectImageRequest,
    RemoveContainerRequest, StartContainerRequest,
};

use super::pull;
use super::session::{Session, check_terminal};
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::options::{AttachedStream, ContainerOptions, PullPolicy};
use crate::output;
use crate::terminal::{DetachKeys, Target};

#[derive(clap::Args, Debug)]
#[command(
    disable_help_flag = true,
    override_usage = "wherry run [OPTIONS] IMAGE [COMMAND] [ARGUMENT]...",
    after_help = AFTER_HELP
)]
pub(crate) struct Arguments {
    /// Leave the container running in the background and print its id
    #[arg(short, long, conflicts_with = "attach")]
    detach: bool,

    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,

    /// The keys that leave a terminal and let the container run on
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,

    #[command(flatten)]
    container: ContainerOptions,
}

const AFTER_HELP: &str = "\
Examples:
  wherry run hello
  wherry run -it --rm debian bash                       a shell in a fresh container
  wherry run -d --name web -p 8080:80 -v ./site:/usr/share/nginx/html:ro nginx
  cat data | wherry run -i --rm debian sort > sorted
  wherry run --rm -m 512m --cpus 1.5 -e MODE=test app

Everything after IMAGE is the container's command. A host folder must be one
that the settings share (your home folder and the temporary folder, unless you
choose others). With --rm, closing the output ends the container. With --restart,
this command ends when the container ends for the first time, and the container
starts again without it.

Exit codes: the process's own; 125 for a wrong option or an engine that failed,
126 for a command that cannot be executed, 127 for one that is not there,
128+n for a process that signal n ended.";

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let options = &arguments.container;
    if !arguments.detach {
        check_terminal(options.interactive, options.tty)?;
    }
    let request = prepare(options, arguments.detach)?;
    let connection = Connection::to_machine().await?;
    let id = create(&connection, options, request).await?;
    let started = if arguments.detach {
        start(&connection, &id).await
    } else {
        run_in_foreground(&connection, &arguments, &id).await
    };
    match started {
        Ok(code) if arguments.detach => output::print_line(&id).map(|()| code),
        Ok(code) => Ok(code),
        Err(Unstarted::NeverRan(failure)) => {
            if options.remove {
                discard(&connection, &id).await;
            }
            Err(failure)
        }
        Err(Unstarted::Ran(failure)) => Err(failure),
    }
}

/// Why a container came to no good end: before it ran, or after.
enum Unstarted {
    NeverRan(Failure),
    Ran(Failure),
}

/// Turns the options into a request; reads files, and asks the engine nothing.
pub(super) fn prepare(
    options: &ContainerOptions,
    detached: bool,
) -> Result<CreateContainerRequest, Failure> {
    if let Some(file) = &options.cidfile
        && file.exists()
    {
        return Err(Failure::new(format!(
            "--cidfile {} is there already: remove it, or name another",
            file.display()
        )));
    }
    Ok(CreateContainerRequest {
        spec: Some(options.spec(detached)?),
    })
}

/// Creates the container and returns its id.
pub(super) async fn create(
    connection: &Connection,
    options: &ContainerOptions,
    request: CreateContainerRequest,
) -> Result<String, Failure> {
    let created = create_from_image(connection, options, request).await?;
    options.elsewhere.warn();
    for warning in &created.warnings {
        output::complain(&format!("warning: {warning}"));
    }
    if let Some(file) = &options.cidfile
        && let Err(error) = std::fs::write(file, &created.id)
    {
        discard(connection, &created.id).await;
        return Err(Failure::new(format!(
            "--cidfile {}: {error}",
            file.display()
        )));
    }
    Ok(created.id)
}

/// Creates the container, with its image fetched where that is wanted.
async fn create_from_image(
    connection: &Connection,
    options: &ContainerOptions,
    request: CreateContainerRequest,
) -> Result<CreateContainerResponse, Failure> {
    let fetch = || {
        let platform = options.platform.as_deref();
        pull::fetch(connection, options.image(), platform, options.quiet)
    };
    let first = match options.pull {
        PullPolicy::Always => true,
        PullPolicy::Missing if options.platform.is_some() => !is_here(connection, options).await?,
        _ => false,
    };
    if first {
        fetch().await?;
    }
    let missing = |status: &tonic::Status| {
        status.code() == Code::NotFound && status.message().contains("image")
    };
    match connection.containers().create(request.clone()).await {
        Err(status) if missing(&status) => match options.pull {
            PullPolicy::Missing => {
                let name = wherry_docker::reference::normalised(options.image());
                let image = wherry_docker::reference::familiar(&name);
                if !options.quiet && std::io::stderr().is_terminal() {
                    eprintln!("Unable to find image '{image}' locally");
                }
                fetch().await.map_err(|failure| Failure {
                    message: failure.message.map(|message| {
                        format!(
                            "there is no image {image:?} here, and it cannot be pulled: {message}; `wherry load -i FILE` takes one from an archive"
                        )
                    }),
                    ..failure
                })?;
                Ok(connection.containers().create(request).await?.into_inner())
            }
            _ => Err(Failure::new(format!(
                "there is no image {:?} here: fetch it with `wherry pull`, or load it with `wherry load -i FILE`; `wherry images` lists what there is",
                options.image()
            ))),
        },
        created => Ok(created?.into_inner()),
    }
}

/// Tells whether the image is here, and for the platform that is wanted.
async fn is_here(connection: &Connection, options: &ContainerOptions) -> Result<bool, Failure> {
    let request = InspectImageRequest {
        name: options.image().to_owned(),
    };
    let image = match connection.images().inspect(request).await {
        Ok(image) => image.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok(false),
        Err(status) => return Err(status.into()),
    };
    let wanted = options.platform.as_deref().unwrap_or_default();
    let mut parts = wanted.split('/');
    Ok(parts.next() == Some(image.os.as_str())
        && parts.next() == Some(image.architecture.as_str())
        && parts.next().is_none_or(|variant| variant == image.variant))
}

async fn start(connection: &Connection, id: &str) -> Result<u8, Unstarted> {
    let request = StartContainerRequest {
        container: id.to_owned(),
        bound_ports: Vec::new(),
    };
    match connection.containers().start(request).await {
        Ok(_) => Ok(0),
        Err(status) => Err(Unstarted::NeverRan(status.into())),
    }
}

async fn run_in_foreground(
    connection: &Connection,
    arguments: &Arguments,
    id: &str,
) -> Result<u8, Unstarted> {
    let options = &arguments.container;
    let interactive = options.interactive && options.attaches(AttachedStream::Stdin);
    let session = Session {
        target: Target {
            container: id.to_owned(),
            exec: String::new(),
        },
        interactive,
        terminal: options.tty,
        signals: arguments.sig_proxy,
        owned: options.remove,
        detach_keys: arguments.detach_keys.clone(),
    };
    let watch = session.watch(connection).map_err(Unstarted::NeverRan)?;
    // Attached before the start, so that not a byte is missed.
    let stream = connection
        .open(Purpose::Attach(AttachStream {
            container: id.to_owned(),
            stdin: interactive,
            stdout: options.attaches(AttachedStream::Stdout),
            stderr: options.attaches(AttachedStream::Stderr),
            logs: false,
        }))
        .await
        .map_err(Unstarted::NeverRan)?;
    start(connection, id).await?;
    session
        .sit(connection, stream, watch)
        .await
        .map_err(Unstarted::Ran)
}

/// Removes a container that was created and will not run.
pub(super) async fn discard(connection: &Connection, id: &str) {
    let request = RemoveContainerRequest {
        container: id.to_owned(),
        force: true,
        volumes: true,
    };
    match connection.containers().remove(request).await {
        // The engine may have removed it already.
        Err(status) if status.code() != Code::NotFound => {
            output::complain(&format!(
                "warning: container {id} is left behind: {}",
                status.message()
            ));
        }
        _ => {}
    }
}
