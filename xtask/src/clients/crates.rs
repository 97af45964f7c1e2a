//! Clients written in Rust, from crates.io: testcontainers, and bollard's own tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::{Clients, Engine};
use crate::build;
use crate::clients::registry::Registry;

const BOLLARD: &str = "0.21.1";

/// The tests of bollard that cannot pass, by the beginning of their names, and why.
const CANNOT_PASS: &[(&str, &str)] = &[
    ("integration_test_build_image", "images are not built yet"),
    ("integration_test_search_images", "Docker Hub is asked"),
    ("test_downversioning", "it goes to /var/run/docker.sock"),
    ("integration_test_get_plugin_privileges", PLUGINS),
    ("integration_test_plugin_", PLUGINS),
    ("integration_test_create_config", SWARM),
    ("integration_test_list_configs", SWARM),
    ("integration_test_update_config", SWARM),
    ("integration_test_inspect_node", SWARM),
    ("integration_test_list_nodes", SWARM),
    ("integration_test_update_node", SWARM),
    ("integration_test_create_secret", SWARM),
    ("integration_test_list_secrets", SWARM),
    ("integration_test_update_secret", SWARM),
    ("integration_test_create_service", SWARM),
    ("integration_test_list_services", SWARM),
    ("integration_test_rollback_service", SWARM),
    ("integration_test_service_logs", SWARM),
    ("integration_test_update_service", SWARM),
    ("integration_test_inspect_task", SWARM),
    ("integration_test_list_tasks", SWARM),
    ("integration_test_task_logs", SWARM),
];
const SWARM: &str = "there is no swarm";
const PLUGINS: &str = "there are no plugins";

/// A root file system with what the containers of bollard's tests run and read.
const ROOT: &str = r#"
set -e
mkdir -p bin dev etc/config proc sys tmp usr/sbin www
cp "$(command -v busybox)" bin/
for name in $(busybox --list); do [ -e "bin/$name" ] || ln -s busybox "bin/$name"; done
printf '#!/bin/sh\nprintf "\\nHello from Docker!\\n"\n' > hello
printf '#!/bin/sh\nexec httpd "$@"\n' > usr/sbin/run_uhttpd
printf '\nconfig uhttpd main\n' > etc/config/uhttpd
chmod 755 hello usr/sbin/run_uhttpd
"#;

/// Runs testcontainers for Rust, with a database in it.
///
/// # Errors
///
/// Where it cannot be built, or ends with an error.
pub(super) fn testcontainers(clients: &Clients, engine: &Engine) -> anyhow::Result<()> {
    let manifest = build::workspace().join("tests/clients/testcontainers_rs/Cargo.toml");
    let mut cargo = cargo(clients, engine);
    cargo
        .args(["run", "--quiet", "--manifest-path"])
        .arg(manifest);
    build::run(cargo)
}

/// Runs bollard's own tests, as its package on crates.io has them.
///
/// # Errors
///
/// Where they cannot be had or built, or one fails that is not known to.
pub(super) fn bollard(clients: &Clients, engine: &Engine) -> anyhow::Result<()> {
    let folder = source(clients)?;
    let registry = Registry::start()?;
    fill(clients, engine, &registry)?;
    let output = cargo(clients, engine)
        .current_dir(&folder)
        .args(["test", "--no-fail-fast", "--tests", "--features", "ssl"])
        .args(["--", "--test-threads", "1"])
        .env("REGISTRY_HTTP_ADDR", registry.name())
        .env("REGISTRY_PASSWORD", "none")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tests: Vec<(&str, bool)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "))
        .filter(|(_, result)| *result != "ignored")
        .map(|(name, result)| (name, result.starts_with("ok")))
        .collect();
    ensure!(!tests.is_empty(), "bollard's tests did not run:\n{text}");
    let known = |name: &str| CANNOT_PASS.iter().find(|(test, _)| name.starts_with(test));
    let mut wrong = Vec::new();
    for (name, passed) in &tests {
        match (passed, known(name)) {
            (false, None) => wrong.push(format!("{name} failed")),
            (true, Some((_, why))) => wrong.push(format!("{name} passed, though {why}")),
            (false, Some((_, why))) => println!("  {name} cannot pass: {why}"),
            (true, None) => {}
        }
    }
    let passed = tests.iter().filter(|(_, passed)| *passed).count();
    println!("  {passed} of {} passed", tests.len());
    ensure!(wrong.is_empty(), "{text}\n{}", wrong.join("\n"));
    Ok(())
}

/// Returns a cargo whose builds lie in the cache.
fn cargo(clients: &Clients, engine: &Engine) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = clients.command(cargo, engine);
    command.env("CARGO_TARGET_DIR", clients.folder.join("target"));
    command
}

/// Returns bollard's source, a copy of what cargo has fetched from crates.io.
fn source(clients: &Clients) -> anyhow::Result<PathBuf> {
    let folder = clients.folder.join(format!("bollard-{BOLLARD}"));
    if folder.exists() {
        return Ok(folder);
    }
    let fetching = tempfile::tempdir()?;
    let manifest = fetching.path().join("Cargo.toml");
    fs::write(
        &manifest,
        format!(
            "[package]\nname = \"fetching\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [lib]\npath = \"Cargo.toml\"\n[dependencies]\nbollard = \"={BOLLARD}\"\n[workspace]\n"
        ),
    )?;
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo fetches no bollard")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let fetched = packages
        .filter(|package| package["name"] == "bollard")
        .find_map(|package| Path::new(package["manifest_path"].as_str()?).parent());
    let fetched = fetched.context("cargo has fetched no bollard")?;
    let partial = folder.with_extension("partial");
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(fetched).arg(&partial);
    build::run(copy)?;
    let manifest = partial.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    // Cargo's cache may lie below another workspace.
    fs::write(&manifest, text + "\n[workspace]\n")?;
    fs::rename(&partial, &folder)?;
    Ok(folder)
}

/// Fills a registry with the images that bollard's tests pull.
fn fill(clients: &Clients, engine: &Engine, registry: &Registry) -> anyhow::Result<()> {
    let root = tempfile::tempdir()?;
    let script = |script: &str| {
        let mut command = clients.command("sh", engine);
        command
            .current_dir(&root)
            .args(["-c", script])
            .stdout(Stdio::null());
        build::run(command)
    };
    script(ROOT)?;
    for (name, cmd) in [
        ("alpine:latest", "sh"),
        ("hello-world:linux", "/hello"),
        ("fussybeaver/uhttpd:latest", "/usr/sbin/run_uhttpd"),
    ] {
        let full = format!("{}/{name}", registry.name());
        script(&format!(
            "tar -cf - . | docker import --change 'CMD [\"{cmd}\"]' - {full} && \
             docker push {full} && docker rmi {full}"
        ))
        .with_context(|| format!("cannot fill the registry with {name}"))?;
    }
    Ok(())
}
