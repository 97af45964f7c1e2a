//! Docker's clients, from their own registries, against the engine.

mod crates;
mod referee;
mod registry;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use wherry_linuxkit::default_cache;

use crate::{build, packages, setup};

/// Debian's suite that has the newest of Docker's commands.
const SUITE: &str = "sid";
const MIRROR: &str = "http://deb.debian.org/debian";
const DEBIAN: &[&str] = &["docker-cli", "docker-compose"];
const PYTHON: &[&str] = &[
    "docker==7.1.0",
    "testcontainers==4.15.0",
    "psycopg2-binary",
    "redis",
];
const NPM: &[&str] = &["@devcontainers/cli@0.89.0"];

/// The image of the scripts: a database, a cache and what web servers are written in.
const STACK: &str = "wherry-clients/stack";
const STACK_PACKAGES: &str =
    "postgresql-15,redis-server,python3-minimal,python3-psycopg2,python3-redis";
/// The database compiles nothing at run time here, and speaks English.
const STACK_WITHOUT: &[&str] = &[
    "*/libLLVM*",
    "*/libz3.*",
    "*/bitcode/*",
    "/usr/share/i18n/*",
];

/// The scripts in `tests/clients`.
const SCRIPTS: &[&str] = &[
    "docker_cli",
    "compose",
    "docker_py",
    "engine_socket",
    "testcontainers_py",
    "devcontainer",
];

/// The scripts that drive dockerd beside the engine, and compare; run where `--only`
/// names them, for they want root.
const COMPARISONS: &[&str] = &["differential", "differential_cli"];

/// What runs a client of cargo's.
type Crate = fn(&Clients, &Engine) -> anyhow::Result<()>;

/// The clients from crates.io, run where `--only` names them: building them takes
/// minutes.
const CRATES: &[(&str, Crate)] = &[
    ("testcontainers_rs", crates::testcontainers),
    ("bollard", crates::bollard),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only what contains this in its name; `differential`, `bollard` and
    /// `testcontainers_rs` run only so.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Drive the engine that listens there, `unix:///run/docker.sock`, and not one of
    /// ours: what the scripts expect is what dockerd does.
    #[arg(long, value_name = "URL")]
    host: Option<String>,
}

/// Fetches the clients, and runs each script against one engine.
///
/// # Errors
///
/// Where a client cannot be had, or a script fails; names each.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::install(setup::RUN)?;
    setup::install(setup::CLIENTS)?;
    let clients = Clients::fetch()?;
    let engine = match &options.host {
        Some(host) => Engine::Given(host.clone()),
        None => {
            build::all()?;
            Engine::start()?
        }
    };
    let mut failed = Vec::new();
    let wanted = |script: &str| {
        let only = options.only.as_ref();
        only.is_none_or(|only| script.contains(only.as_str()))
    };
    let named = |name: &str| options.only.is_some() && wanted(name);
    for script in COMPARISONS.iter().filter(|script| named(script)) {
        // dockerd against itself shows nothing.
        if let Engine::Given(_) = engine {
            continue;
        }
        println!("{script}");
        if let Err(error) = referee::compare(&clients, &engine, script) {
            eprintln!("{error:#}");
            failed.push(*script);
        }
    }
    let scripts: Vec<_> = SCRIPTS.iter().filter(|script| wanted(script)).collect();
    let crates: Vec<_> = CRATES.iter().filter(|(name, _)| named(name)).collect();
    // Not before the comparisons: both engines have the same images there.
    if !scripts.is_empty() || !crates.is_empty() {
        load_stack(&clients, &engine)?;
    }
    for (name, run) in crates {
        println!("{name}");
        if let Err(error) = run(&clients, &engine) {
            eprintln!("{error:#}");
            failed.push(*name);
        }
    }
    for script in scripts {
        println!("{script}");
        let status = clients
            .command(clients.python(), &engine)
            .arg(build::workspace().join(format!("tests/clients/{script}.py")))
            .status()
            .context("cannot run Python")?;
        if !status.success() {
            failed.push(*script);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Fetches Docker's own commands, and returns the folder that `docker` is in.
///
/// # Errors
///
/// Where they cannot be had.
pub(crate) fn commands() -> anyhow::Result<PathBuf> {
    let clients = Clients {
        folder: default_cache().join("clients"),
    };
    clients.fetch_commands()?;
    Ok(clients.folder.join("debian/usr/bin"))
}

/// The clients' programs, in folders of the cache.
struct Clients {
    folder: PathBuf,
}

impl Clients {
    fn fetch() -> anyhow::Result<Self> {
        let folder = default_cache().join("clients");
        let clients = Self { folder };
        clients.fetch_commands()?;
        clients.once("python", PYTHON, |folder| {
            build::run(shell("python3", &["-m", "venv"], folder))?;
            let mut install = Command::new(folder.join("bin/pip"));
            install.args(["install", "--quiet"]).args(PYTHON);
            build::run(install)
        })?;
        clients.once("npm", NPM, |folder| {
            let mut install = shell("npm", &["install", "--silent", "--prefix"], folder);
            install.args(NPM);
            build::run(install)
        })?;
        let plugins = clients.folder.join("config/cli-plugins");
        fs::create_dir_all(&plugins)?;
        let plugin = plugins.join("docker-compose");
        let _ = fs::remove_file(&plugin);
        let compose = clients
            .folder
            .join("debian/usr/libexec/docker/cli-plugins/docker-compose");
        link(&compose, &plugin)?;
        Ok(clients)
    }

    /// Fetches Docker's own commands alone.
    fn fetch_commands(&self) -> anyhow::Result<()> {
        self.once("debian", DEBIAN, |folder| debian(folder, DEBIAN))
    }

    /// Makes a folder unless it holds these packages already.
    fn once(
        &self,
        name: &str,
        packages: &[&str],
        make: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let folder = self.folder.join(name);
        let wanted = packages.join(" ");
        let list = folder.join(".packages");
        if fs::read_to_string(&list).is_ok_and(|has| has == wanted) {
            return Ok(());
        }
        eprintln!("Fetching {wanted}");
        // Half of it may be there; a virtual environment cannot be moved afterwards.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        make(&folder).with_context(|| format!("cannot fetch {wanted}"))?;
        fs::write(list, wanted)?;
        Ok(())
    }

    fn python(&self) -> PathBuf {
        self.folder.join("python/bin/python")
    }

    /// Returns a command that finds the clients, and by them the engine.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>, engine: &Engine) -> Command {
        let mut path = OsString::new();
        for folder in ["debian/usr/bin", "npm/node_modules/.bin"] {
            path.push(self.folder.join(folder));
            path.push(":");
        }
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let program = match Path::new("docker") == Path::new(program.as_ref()) {
            true => self.folder.join("debian/usr/bin/docker").into_os_string(),
            false => program.as_ref().to_owned(),
        };
        let mut command = Command::new(program);
        command
            .env("PATH", path)
            .env("DOCKER_CONFIG", self.folder.join("config"))
            .env("DOCKER_HOST", engine.address())
            .env("STACK_IMAGE", STACK)
            .env_remove("DOCKER_CONTEXT")
            // Where these run in a container themselves, the ports are still here.
            .env("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
            // Its image is on Docker Hub alone.
            .env("TESTCONTAINERS_RYUK_DISABLED", "true");
        command
    }
}

fn shell(program: &str, arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(folder);
    command
}

#[cfg(unix)]
fn link(original: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(original, link)
}

#[cfg(not(unix))]
fn link(original: &Path, link: &Path) -> std::io::Result<()> {
    fs::copy(original, link).map(drop)
}

/// Fetches Debian's packages of another suite than the machine's, checked against
/// Debian's keys, and unpacks them beside the machine's own.
fn debian(folder: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let apt = folder.join("apt");
    for below in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(below))?;
    }
    let sources = apt.join("sources.list");
    fs::write(
        &sources,
        format!(
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {MIRROR} {SUITE} main\n"
        ),
    )?;
    let command = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        let set = |name: &str, value: &Path| format!("{name}={}", value.display());
        command
            .current_dir(folder)
            .arg("-qq")
            .args(["-o", &set("Dir::Etc::SourceList", &sources)])
            .args(["-o", "Dir::Etc::SourceParts=-"])
            .args(["-o", &set("Dir::State::Lists", &apt.join("lists"))])
            .args(["-o", &set("Dir::Cache", &apt.join("cache"))])
            // The user that fetches for root cannot write here.
            .args(["-o", "APT::Sandbox::User=root"])
            .args(arguments);
        command
    };
    build::run(command(&["update"]))?;
    let mut download = command(&["download"]);
    download.args(packages);
    build::run(download)?;
    fs::remove_dir_all(&apt)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&path).arg(folder);
            build::run(unpack)?;
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Loads the scripts' image into an engine.
fn load_stack(clients: &Clients, engine: &Engine) -> anyhow::Result<()> {
    let stack = stack()?;
    eprintln!("Loading {STACK}");
    let import = clients
        .command("docker", engine)
        .args([
            "import",
            "--change",
            "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8",
            "-",
            STACK,
        ])
        .stdin(fs::File::open(&stack)?)
        .stdout(Stdio::null())
        .status()
        .context("cannot run docker")?;
    ensure!(import.success(), "cannot load {STACK}: {import}");
    Ok(())
}

/// Returns the archive of the scripts' image.
fn stack() -> anyhow::Result<PathBuf> {
    let folder = default_cache().join("clients");
    let path = folder.join(format!("stack-{}.tar", packages::RELEASE));
    if !path.exists() {
        eprintln!("Installing Debian's {STACK_PACKAGES} into an image");
        let partial = folder.join(format!("stack-{}.partial.tar", std::process::id()));
        packages::install(STACK_PACKAGES, STACK_WITHOUT, &partial)?;
        fs::rename(&partial, &path)?;
    }
    Ok(path)
}

/// The engine that is driven.
enum Engine {
    Given(String),
    /// One of ours, in a home folder of its own.
    Ours(PathBuf),
}

impl Engine {
    fn start() -> anyhow::Result<Self> {
        let home = std::env::temp_dir().join(format!("wherry-clients-{}", std::process::id()));
        fs::create_dir_all(&home)?;
        let engine = Self::Ours(home);
        engine.wherry(&["machine", "start"])?;
        Ok(engine)
    }

    fn address(&self) -> String {
        match self {
            Self::Given(address) => address.clone(),
            Self::Ours(home) => format!("unix://{}/run/docker.sock", home.display()),
        }
    }

    fn wherry(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let Self::Ours(home) = self else {
            return Ok(());
        };
        let status = Command::new(build::release_folder().join("wherry"))
            .args(arguments)
            .env("WHERRY_HOME", home)
            .stdout(Stdio::null())
            .status()
            .context("cannot run wherry")?;
        if !status.success() {
            bail!("wherry {} failed: {status}", arguments.join(" "));
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Self::Ours(home) = self {
            let home = home.clone();
            let stopped = self.wherry(&["machine", "stop"]);
            end_processes(&home);
            match stopped {
                Ok(()) => drop(fs::remove_dir_all(home)),
                Err(error) => eprintln!("{error:#}; its folder {} stays", home.display()),
            }
        }
    }
}

/// Ends what still runs of an engine: its daemon outlives its machine.
fn end_processes(home: &Path) {
    let variable = format!("WHERRY_HOME={}", home.display());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        let is_ours = environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == variable.as_bytes());
        if is_ours {
            let _ = Command::new("kill").arg(process.file_name()).status();
        }
    }
}
