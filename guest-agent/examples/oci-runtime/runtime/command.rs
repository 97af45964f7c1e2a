//! The commands: create, start, state, kill, delete, run, exec, pause, resume.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::signal::Signal;
use serde::{Deserialize, Serialize};

use super::protocol::ExecSpec;
use super::run_oci::{self, Streams};

/// What the command line said.
#[derive(Debug, Default)]
struct Request {
    root: PathBuf,
    command: String,
    bundle: PathBuf,
    pid_file: Option<PathBuf>,
    cwd: Option<String>,
    env: Vec<String>,
    force: bool,
    words: Vec<String>,
}

/// What is kept of a container beside libcontainer's state.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    id: String,
    bundle: PathBuf,
}

/// Runs a command, and returns the exit code.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let request = parse(arguments)?;
    match request.command.as_str() {
        "create" => create(&request).map(|_| 0),
        "start" => container(&request)?.start().map(|()| 0).map_err(Into::into),
        "run" => run_to_the_end(&request),
        "state" => state(&request),
        "kill" => kill(&request),
        "delete" => delete(&request),
        "pause" => container(&request)?.pause().map(|()| 0).map_err(Into::into),
        "resume" => container(&request)?
            .resume()
            .map(|()| 0)
            .map_err(Into::into),
        "exec" => exec(&request),
        other => bail!("there is no command {other:?}"),
    }
}

fn parse(arguments: &[String]) -> anyhow::Result<Request> {
    let mut request = Request {
        root: "/run/oci-runtime".into(),
        bundle: std::env::current_dir()?,
        ..Request::default()
    };
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let mut value = || {
            rest.next()
                .cloned()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            // Everything behind the container is an exec's command.
            _ if request.command == "exec" && !request.words.is_empty() => {
                request.words.push(word.clone());
            }
            "--root" => request.root = value()?.into(),
            "--log" | "--log-format" => drop(value()?),
            "--bundle" | "-b" => request.bundle = value()?.into(),
            "--pid-file" => request.pid_file = Some(value()?.into()),
            "--cwd" => request.cwd = Some(value()?),
            "--env" | "-e" => request.env.push(value()?),
            "--force" | "-f" => request.force = true,
            "--debug" | "--all" | "--systemd-log" => {}
            option if option.starts_with('-') => bail!("there is no option {option}"),
            word if request.command.is_empty() => request.command = word.to_owned(),
            word => request.words.push(word.to_owned()),
        }
    }
    Ok(request)
}

impl Request {
    fn id(&self) -> anyhow::Result<&str> {
        let id = self.words.first().context("which container?")?;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_+-.".contains(letter);
        ensure!(
            !id.is_empty() && id.chars().all(plain) && !matches!(id.as_str(), "." | ".."),
            "invalid container id: {id:?}"
        );
        Ok(id)
    }

    fn directory(&self) -> anyhow::Result<PathBuf> {
        Ok(self.root.join(self.id()?))
    }
}

fn note(request: &Request) -> anyhow::Result<Note> {
    let path = request.directory()?.join("note.json");
    let bytes =
        fs::read(path).map_err(|_| anyhow!("container {} does not exist", request.words[0]))?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn container(request: &Request) -> anyhow::Result<Container> {
    note(request)?;
    let mut container = Container::load(request.directory()?.join(run_oci::NAME))?;
    container.refresh_status()?;
    Ok(container)
}

fn create(request: &Request) -> anyhow::Result<i32> {
    let directory = request.directory()?;
    let bundle = fs::canonicalize(&request.bundle)
        .with_context(|| format!("no bundle at {}", request.bundle.display()))?;
    let mut spec = Spec::load(bundle.join("config.json"))?;
    ensure!(
        spec.version().starts_with("1."),
        "the runtime specification {} is not supported",
        spec.version()
    );
    // Relative paths in it are below the bundle.
    spec.canonicalize_rootfs(&bundle)?;
    if let Some(linux) = spec.linux_mut()
        && linux.cgroups_path().is_none()
    {
        linux.set_cgroups_path(Some(Path::new("/oci-runtime").join(request.id()?)));
    }
    fs::create_dir_all(&request.root)?;
    fs::create_dir(&directory)
        .with_context(|| format!("container {} exists already", request.words[0]))?;
    let made = make(request, &directory, &bundle, &spec);
    if made.is_err() {
        let _ = fs::remove_dir_all(&directory);
    }
    made
}

fn make(request: &Request, directory: &Path, bundle: &Path, spec: &Spec) -> anyhow::Result<i32> {
    spec.save(directory.join("config.json"))?;
    let note = Note {
        id: request.words[0].clone(),
        bundle: bundle.to_owned(),
    };
    fs::write(directory.join("note.json"), serde_json::to_vec(&note)?)?;
    let made =
        run_oci::create(directory, streams()?).map_err(|failure| anyhow!(failure.message))?;
    if let Some(file) = &request.pid_file {
        fs::write(file, made.pid.to_string())?;
    }
    Ok(made.pid)
}

/// The container's process has the standard streams of this one.
fn streams() -> anyhow::Result<Streams> {
    use std::os::fd::AsFd;
    Ok(Streams::Pipes([
        std::io::stdin().as_fd().try_clone_to_owned()?,
        std::io::stdout().as_fd().try_clone_to_owned()?,
        std::io::stderr().as_fd().try_clone_to_owned()?,
    ]))
}

fn run_to_the_end(request: &Request) -> anyhow::Result<u8> {
    nix::sys::prctl::set_child_subreaper(true)?;
    let pid = create(request)?;
    container(request)?.start()?;
    let code = wait(pid)?;
    delete(request)?;
    Ok(code)
}

fn wait(pid: i32) -> anyhow::Result<u8> {
    use nix::sys::wait::{WaitStatus, waitpid};
    let status = waitpid(nix::unistd::Pid::from_raw(pid), None)?;
    Ok(match status {
        WaitStatus::Exited(_, code) => u8::try_from(code)?,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as u8,
        other => bail!("{other:?}"),
    })
}

fn state(request: &Request) -> anyhow::Result<u8> {
    let note = note(request)?;
    let container = container(request)?;
    let spec = Spec::load(request.directory()?.join("config.json"))?;
    let mut state = serde_json::json!({
        "ociVersion": spec.version(),
        "id": note.id,
        "status": container.status().to_string().to_lowercase(),
        "bundle": note.bundle,
        "annotations": spec.annotations().clone().unwrap_or_default(),
        "created": container.created(),
    });
    if let Some(pid) = container
        .pid()
        .filter(|_| container.status() != ContainerStatus::Stopped)
    {
        state["pid"] = pid.as_raw().into();
    }
    println!("{state:#}");
    Ok(0)
}

fn kill(request: &Request) -> anyhow::Result<u8> {
    let signal = request.words.get(1).map_or("TERM", String::as_str);
    let signal = Signal::try_from(signal).map_err(|_| anyhow!("invalid signal {signal}"))?;
    container(request)?.kill(signal, false)?;
    Ok(0)
}

fn delete(request: &Request) -> anyhow::Result<u8> {
    let directory = request.directory()?;
    if request.force && !directory.exists() {
        return Ok(0);
    }
    container(request)?.delete(request.force)?;
    fs::remove_dir_all(directory)?;
    Ok(0)
}

fn exec(request: &Request) -> anyhow::Result<u8> {
    nix::sys::prctl::set_child_subreaper(true)?;
    note(request)?;
    let exec = ExecSpec {
        id: "exec".to_owned(),
        args: request.words[1..].to_vec(),
        env: request.env.clone(),
        cwd: request.cwd.clone(),
        user: None,
        terminal: false,
        terminal_size: None,
        open_stdin: true,
        privileged: false,
    };
    let made = run_oci::exec(&request.directory()?, &exec, streams()?)
        .map_err(|failure| anyhow!(failure.message))?;
    wait(made.pid)
}
