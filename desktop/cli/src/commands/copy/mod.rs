//! `wherry cp`

mod local;
mod place;
mod sparse;
mod stream;

use std::path::{Path, PathBuf};

use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::{CopyInStream, CopyOutStream, PathStatus, StatPathRequest};

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::terminal;
use place::{End, base_name, means_content, means_directory, parent};
pub(super) use stream::{receive_to_file, to_output};

#[derive(clap::Args, Debug)]
#[command(
    override_usage = "wherry cp [OPTIONS] CONTAINER:PATH LOCAL|-\n       wherry cp [OPTIONS] LOCAL|- CONTAINER:PATH",
    after_help = "Examples:\n  wherry cp web:/etc/nginx/nginx.conf .\n  wherry cp page.html web:/usr/share/nginx/html/\n  \
                  wherry cp site/. web:/srv\n  tar -c . | wherry cp - web:/srv\n\n\
                  A folder goes into a folder that is there, and becomes one that is not. FOLDER/. is what\n\
                  is in a folder. - is a tar on standard input or output. Works while the container runs\n\
                  and while it does not."
)]
pub(crate) struct Arguments {
    /// Copy what a symbolic link named as the source leads to
    #[arg(short = 'L', long)]
    follow_link: bool,

    /// Keep the numbers of owner and group
    #[arg(short, long)]
    archive: bool,

    /// Say nothing
    #[arg(short, long)]
    quiet: bool,

    /// CONTAINER:PATH, a path of the host, or - for a tar on standard input
    source: String,

    /// CONTAINER:PATH, a path of the host, or - for a tar on standard output
    target: String,
}

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let (source, target) = (End::parse(&arguments.source), End::parse(&arguments.target));
    match (source, target) {
        (End::Container { name, path }, End::Local(local)) => {
            copy_out(&arguments, &name, &path, &local).await
        }
        (End::Container { name, path }, End::Stream) => to_stream(&arguments, name, path).await,
        (End::Local(local), End::Container { name, path }) => {
            copy_in(&arguments, &local, &name, &path).await
        }
        (End::Stream, End::Container { name, path }) => from_stream(name, path).await,
        (End::Container { .. }, End::Container { .. }) => {
            Err(Failure::new("copying between containers is not supported"))
        }
        _ => Err(Failure::new(
            "must specify at least one container source: write CONTAINER:PATH",
        )),
    }
}

/// A container's side of a copy.
struct Remote<'a> {
    connection: &'a Connection,
    container: &'a str,
}

impl Remote<'_> {
    async fn status(&self, path: &str, follow: bool) -> Result<PathStatus, tonic::Status> {
        let request = StatPathRequest {
            container: self.container.to_owned(),
            path: path.to_owned(),
            follow,
        };
        let found = self.connection.containers().stat_path(request).await?;
        Ok(found.into_inner())
    }

    /// As [`Remote::status`], `None` where nothing is there.
    async fn status_if_there(&self, path: &str) -> Result<Option<PathStatus>, Failure> {
        match self.status(path, false).await {
            Ok(status) => Ok(Some(status)),
            // The container may be missing as well; what follows says so.
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }
}

async fn copy_out(arguments: &Arguments, container: &str, path: &str, local: &Path) -> Outcome {
    let connection = Connection::to_machine().await?;
    let remote = Remote {
        connection: &connection,
        container,
    };
    let follow = arguments.follow_link;
    let status = remote.status(path, follow).await?;
    if means_directory(path) && !status.is_directory {
        return Err(Failure::new(format!(
            "{container}:{path} is not a directory"
        )));
    }
    let written = local.as_os_str().to_string_lossy().into_owned();
    let (folder, name) = match std::fs::metadata(local) {
        Ok(there) if there.is_dir() => {
            let content = means_content(path) || status.name == ".";
            (
                local.to_owned(),
                if content { ".".to_owned() } else { status.name },
            )
        }
        Ok(_) if status.is_directory => {
            return Err(Failure::new(format!(
                "cannot copy a directory to {written}, which is a file"
            )));
        }
        Ok(_) if means_directory(&written) => {
            return Err(Failure::new(format!("{written} is not a directory")));
        }
        Ok(_) => local::split(local)?,
        Err(_) if means_directory(&written) && !status.is_directory => {
            return Err(Failure::new(format!("no such directory: {written}")));
        }
        Err(_) => {
            let (folder, name) = local::split(local)?;
            if !folder.is_dir() {
                return Err(Failure::new(format!(
                    "invalid output path: directory {} does not exist",
                    folder.display()
                )));
            }
            (folder, name)
        }
    };
    let stream = connection
        .open(Purpose::CopyOut(CopyOutStream {
            container: container.to_owned(),
            path: path.to_owned(),
            follow,
            name,
            sparse: true,
        }))
        .await?;
    let archive = arguments.archive;
    let bytes = stream::receive(stream, arguments.quiet, move |tar| {
        local::unpack(tar, &folder, archive)
    })
    .await?;
    stream::tell(arguments.quiet, bytes, &written);
    Ok(0)
}

async fn to_stream(arguments: &Arguments, container: String, path: String) -> Outcome {
    if terminal::output_is_terminal() {
        return Err(Failure::new(
            "cowardly refusing to write a tar to a terminal: redirect standard output",
        ));
    }
    let connection = Connection::to_machine().await?;
    let stream = connection
        .open(Purpose::CopyOut(CopyOutStream {
            container,
            path,
            follow: arguments.follow_link,
            name: String::new(),
            // Not everything that reads it there knows the form.
            sparse: false,
        }))
        .await?;
    stream::to_output(stream).await
}

async fn copy_in(arguments: &Arguments, local: &Path, container: &str, path: &str) -> Outcome {
    let written = local.as_os_str().to_string_lossy().into_owned();
    let source = local::Source::find(local, arguments.follow_link)?;
    let connection = Connection::to_machine().await?;
    let remote = Remote {
        connection: &connection,
        container,
    };
    let mut path = path.to_owned();
    let mut there = remote.status_if_there(&path).await?;
    if let Some(link) = there
        .as_ref()
        .filter(|status| !status.link_target.is_empty())
    {
        path = place::join(parent(&path), &link.link_target);
        there = remote.status_if_there(&path).await?;
    }
    let (folder, name) = match there {
        Some(status) if status.is_directory => {
            let content = means_content(&written);
            (
                path.clone(),
                if content {
                    ".".to_owned()
                } else {
                    source.name()?
                },
            )
        }
        Some(_) if source.is_directory => {
            return Err(Failure::new(format!(
                "cannot copy a directory to {container}:{path}, which is a file"
            )));
        }
        None if means_directory(&path) && !source.is_directory => {
            return Err(Failure::new(format!(
                "no such directory: {container}:{path}"
            )));
        }
        _ => (parent(&path).to_owned(), base_name(&path).to_owned()),
    };
    if !remote.status(&folder, true).await?.is_directory {
        return Err(Failure::new(format!(
            "{container}:{folder} is not a directory"
        )));
    }
    let stream = connection
        .open(Purpose::CopyIn(CopyInStream {
            container: container.to_owned(),
            path: folder,
            overwrite: false,
            users_own: false,
        }))
        .await?;
    let archive = arguments.archive;
    let bytes = stream::send(stream, arguments.quiet, move |sink| {
        source.pack(sink, Path::new(&name), archive)
    })
    .await?;
    stream::tell(arguments.quiet, bytes, &format!("{container}:{path}"));
    Ok(0)
}

async fn from_stream(container: String, path: String) -> Outcome {
    if terminal::input_is_terminal() {
        return Err(Failure::new(
            "cp - needs a tar on standard input: pipe one in",
        ));
    }
    let connection = Connection::to_machine().await?;
    let stream = connection
        .open(Purpose::CopyIn(CopyInStream {
            container,
            path,
            overwrite: false,
            users_own: false,
        }))
        .await?;
    stream::from_input(stream).await
}

/// Where a path of the host lies and what it is called there.
type Split = (PathBuf, String);
