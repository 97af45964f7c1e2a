//! Docker's own engine, Debian's `docker.io`, in a privileged container of ours:
//! on the same kernel in the same VM, driven by its own client on the host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use wherry_tests::{Api, Engine, archive, net, wait};

const NAME: &str = "dockerd";
const IMAGE: &str = "bench/dockerd";

/// Its processes leave the cgroup's root, where no controller could be passed on
/// otherwise. Its data is on the disk: overlayfs does not lie on overlayfs.
const START: &str = "
mkdir /sys/fs/cgroup/init
for process in $(cat /sys/fs/cgroup/cgroup.procs); do
    echo $process > /sys/fs/cgroup/init/cgroup.procs
done
sed 's/ / +/g; s/^/+/' /sys/fs/cgroup/cgroup.controllers > /sys/fs/cgroup/cgroup.subtree_control
exec dockerd --host tcp://0.0.0.0:2375 --tls=false --iptables=false --userland-proxy=false";

/// A running dockerd.
pub(crate) struct Dockerd<'a> {
    engine: &'a Engine,
    /// Holds the client.
    _folder: TempDir,
    client: PathBuf,
    host: String,
}

impl<'a> Dockerd<'a> {
    /// Starts it and loads the tests' image into it.
    pub(crate) fn start(engine: &'a Engine) -> anyhow::Result<Self> {
        let root =
            std::env::var_os("WHERRY_DOCKER_ROOT").context("run this by `cargo xtask bench`")?;
        let root = Path::new(&root);
        let folder = tempfile::tempdir()?;
        let client = unpack_client(root, folder.path())?;
        engine.succeed(&["import", &root.to_string_lossy(), IMAGE])?;
        let port = net::free_port()?;
        engine.succeed(&[
            "run",
            "-d",
            "--privileged",
            "--name",
            NAME,
            "-v",
            "dockerd:/var/lib/docker",
            "-p",
            &format!("{port}:2375"),
            IMAGE,
            "busybox",
            "sh",
            "-c",
            START,
        ])?;
        let dockerd = Self {
            engine,
            _folder: folder,
            client,
            host: format!("tcp://127.0.0.1:{port}"),
        };
        wait::until("dockerd", Duration::from_secs(120), || {
            Ok(dockerd.docker(&["version"]).is_ok())
        })
        .map_err(|error| error.context(dockerd.log()))?;
        let busybox = dockerd._folder.path().join("busybox.tar");
        std::fs::write(&busybox, archive::busybox_root()?)?;
        dockerd.docker(&[
            "import",
            "-c",
            "ENV PATH=/bin",
            &busybox.to_string_lossy(),
            wherry_tests::IMAGE,
        ])?;
        Ok(dockerd)
    }

    /// Returns its API.
    pub(crate) fn api(&self) -> Api {
        Api::Tcp(self.host.trim_start_matches("tcp://").to_owned())
    }

    /// Runs `docker`.
    pub(crate) fn docker(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new(&self.client)
            .args(["--host", &self.host])
            .args(arguments)
            .output()?;
        ensure!(
            output.status.success(),
            "docker {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn log(&self) -> String {
        let ran = self.engine.run(&["logs", "--tail", "10", NAME]);
        ran.map_or_else(|error| error.to_string(), |ran| ran.stderr)
    }
}

impl Drop for Dockerd<'_> {
    fn drop(&mut self) {
        let _ = self.engine.run(&["rm", "-f", NAME]);
    }
}

fn unpack_client(root: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let mut archive = tar::Archive::new(std::fs::File::open(root)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.ends_with("usr/bin/docker") {
            let path = folder.join("docker");
            entry.unpack(&path)?;
            return Ok(path);
        }
    }
    anyhow::bail!("no docker in {}", root.display())
}
