//! What has to be on the machine, and its installation.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// One thing that a step needs: present if one of the paths exists.
pub(crate) struct Need {
    /// Debian's package.
    package: &'static str,
    /// Paths, of which one exists where the package is installed. `{multiarch}`
    /// is Debian's name for the machine, `x86_64-linux-gnu`.
    paths: &'static [&'static str],
}

const fn need(package: &'static str, paths: &'static [&'static str]) -> Need {
    Need { package, paths }
}

/// For building the programs and the guest image.
pub(crate) const BUILD: &[Need] = &[
    need("gcc", &["/usr/bin/gcc"]),
    need(
        "libc6-dev",
        &["/usr/include/stdio.h", "/usr/include/{multiarch}/stdio.h"],
    ),
    need("make", &["/usr/bin/make"]),
    need("patch", &["/usr/bin/patch"]),
    need("pkg-config", &["/usr/bin/pkg-config"]),
    need("flex", &["/usr/bin/flex"]),
    need("bison", &["/usr/bin/bison"]),
    need("bc", &["/usr/bin/bc"]),
    need("cpio", &["/usr/bin/cpio", "/bin/cpio"]),
    need("lz4", &["/usr/bin/lz4"]),
    need("xz-utils", &["/usr/bin/xz"]),
    need("zstd", &["/usr/bin/zstd"]),
    need("dpkg-dev", &["/usr/bin/dpkg-source"]),
    need(
        "debian-archive-keyring",
        &["/usr/share/keyrings/debian-archive-keyring.gpg"],
    ),
    need("e2fsprogs", &["/usr/sbin/mke2fs", "/sbin/mke2fs"]),
    need("nftables", &["/usr/sbin/nft"]),
    need("libelf-dev", &["/usr/include/libelf.h"]),
    need("zlib1g-dev", &["/usr/include/zlib.h"]),
    need("libssl-dev", &["/usr/include/openssl/ssl.h"]),
    need("libseccomp-dev", &["/usr/include/seccomp.h"]),
    need("libcap-ng-dev", &["/usr/include/cap-ng.h"]),
];

/// For booting the guest and making images to run in it.
pub(crate) const RUN: &[Need] = &[
    need(qemu_package(), &[qemu_program()]),
    need("busybox-static", &["/usr/bin/busybox", "/bin/busybox"]),
    need("mmdebstrap", &["/usr/bin/mmdebstrap"]),
];

/// For the benchmarks alone.
pub(crate) const BENCH: &[Need] = &[
    need("wrk", &["/usr/bin/wrk"]),
    need("iperf3", &["/usr/bin/iperf3"]),
];

/// For the tests alone.
pub(crate) const TEST: &[Need] = &[
    need("docker-registry", &["/usr/bin/docker-registry"]),
    need("skopeo", &["/usr/bin/skopeo"]),
    need("openssl", &["/usr/bin/openssl"]),
    need("docker-compose", &["/usr/bin/docker-compose"]),
];

/// For Docker's clients: what their own registries' tools need.
pub(crate) const CLIENTS: &[Need] = &[
    need(
        "python3-venv",
        &["/usr/share/doc/python3-venv", "/usr/share/python-wheels"],
    ),
    need("npm", &["/usr/bin/npm"]),
];

/// For what pulls and pushes.
pub(crate) const REGISTRY: &[Need] = &[need("docker-registry", &["/usr/bin/docker-registry"])];

/// For dockerd beside the engine.
pub(crate) const REFEREE: &[Need] = &[
    need("runc", &["/usr/sbin/runc"]),
    need("iproute2", &["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"]),
];

/// For the fuzzer, whose loop is written in C++.
pub(crate) const FUZZ: &[Need] = &[need("g++", &["/usr/bin/g++"])];

/// For checking the host crates for other systems. Debian's compiler comes with
/// the source of its standard library, which is built for each of them.
pub(crate) const TARGETS: &[Need] = &[
    need("rustc-web", &["/usr/share/doc/rustc-web"]),
    need("rust-web-src", &["/usr/share/doc/rust-web-src"]),
    need(
        "gcc-mingw-w64-x86-64-posix",
        &["/usr/bin/x86_64-w64-mingw32-gcc-posix"],
    ),
];

const fn qemu_package() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "qemu-system-arm"
    } else {
        "qemu-system-x86"
    }
}

const fn qemu_program() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "/usr/bin/qemu-system-aarch64"
    } else {
        "/usr/bin/qemu-system-x86_64"
    }
}

impl Need {
    fn is_met(&self) -> bool {
        let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
        self.paths
            .iter()
            .any(|path| Path::new(&path.replace("{multiarch}", &multiarch)).exists())
    }
}

/// Installs what is missing, and says so before.
///
/// # Errors
///
/// Where packages are missing and cannot be installed; names them.
pub(crate) fn install(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<&str> = needs
        .iter()
        .filter(|need| !need.is_met())
        .map(|need| need.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("these Debian packages, or what your system calls them, are missing: {list}");
    }
    eprintln!("Installing Debian packages: {list}");
    let root = is_root();
    run_apt(root, &["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&missing);
    run_apt(root, &arguments).with_context(|| format!("cannot install {list}"))
}

fn is_root() -> bool {
    // The owner of a process's own entry is its effective user.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

fn run_apt(root: bool, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = if root {
        Command::new("apt-get")
    } else {
        eprintln!("(asking sudo for the right to do so)");
        let mut command = Command::new("sudo");
        command.arg("apt-get");
        command
    };
    let log = std::env::temp_dir().join(format!("wherry-apt-{}.log", std::process::id()));
    let output = std::fs::File::create(&log)?;
    let status = command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .context("cannot run apt-get")?;
    if !status.success() {
        bail!(
            "apt-get {} failed:\n{}",
            arguments.join(" "),
            std::fs::read_to_string(&log).unwrap_or_default()
        );
    }
    let _ = std::fs::remove_file(&log);
    Ok(())
}
