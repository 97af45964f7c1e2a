//! A private apt: its own sources, state and cache, the machine's mirror and
//! proxy, Debian's signatures. Nothing under `/etc` or `/var` is written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{program, run};
use crate::error::{Error, OnPath, Result};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DEBIAN: &str = "http://deb.debian.org/debian";

/// Downloads a package into `folder` and returns the `.deb`.
///
/// `release` is the Debian release whose backports hold it: `bookworm`.
///
/// # Errors
///
/// [`Error::MissingProgram`] without apt or Debian's keyring, [`Error::Program`]
/// when apt cannot fetch or verify.
pub(crate) fn download(package: &str, release: &str, folder: &Path) -> Result<PathBuf> {
    if !Path::new(KEYRING).exists() {
        return Err(Error::MissingProgram {
            program: KEYRING.into(),
            package: "debian-archive-keyring".into(),
        });
    }
    let private = tempfile::tempdir_in(folder).on("create a folder in", folder)?;
    let root = private.path();
    for name in [
        "etc/sources.list.d",
        "etc/preferences.d",
        "state/lists/partial",
        "cache/archives/partial",
    ] {
        let path = root.join(name);
        fs::create_dir_all(&path).on("create", &path)?;
    }
    let sources = root.join("etc/sources.list.d/debian.sources");
    let entries = sources_for(&machine_sources(Path::new("/etc/apt")), release);
    fs::write(&sources, entries).on("write", &sources)?;
    let status = root.join("status");
    fs::write(&status, "").on("write", &status)?;
    let machine = run(program("apt-config").arg("dump"), "reads apt's settings")?;
    let configuration = root.join("apt.conf");
    let text = private_configuration(root, &String::from_utf8_lossy(&machine));
    fs::write(&configuration, text).on("write", &configuration)?;

    run(
        program("apt-get")
            .env("APT_CONFIG", &configuration)
            .args(["-q", "update"]),
        "fetches the list of Debian's packages",
    )?;
    run(
        program("apt-get")
            .env("APT_CONFIG", &configuration)
            .current_dir(root)
            .args(["-q", "download", package]),
        "downloads the kernel's source",
    )?;
    let name = fs::read_dir(root)
        .on("list", root)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Error::KernelSource(format!("apt-get downloaded no {package}")))?;
    let kept = folder.join(name.file_name().unwrap_or_default());
    fs::rename(&name, &kept).on("rename to", &kept)?;
    Ok(kept)
}

/// Returns apt's settings: own folders, and how the machine reaches the network.
fn private_configuration(root: &Path, machine: &str) -> String {
    let root = root.display();
    let mut text = format!(
        "Dir::Etc \"{root}/etc\";\n\
         Dir::Etc::netrc \"/etc/apt/auth.conf\";\n\
         Dir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n\
         Dir::State \"{root}/state\";\n\
         Dir::State::status \"{root}/status\";\n\
         Dir::Cache \"{root}/cache\";\n\
         Dir::Log \"{root}\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n"
    );
    // Proxies, timeouts and the like. Never what would weaken the signatures,
    // nor indexes that other programs asked for.
    let taken = machine.lines().filter(|line| {
        line.starts_with("Acquire::")
            && !line.contains("Insecure")
            && !line.contains("Weak")
            && !line.starts_with("Acquire::IndexTargets")
            && !line.starts_with("Acquire::Languages")
    });
    for line in taken {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Returns the sources for a release's backports, from the mirrors in use.
fn sources_for(mirrors: &[String], release: &str) -> String {
    let find = |name: &str| {
        mirrors
            .iter()
            .find(|uri| uri.trim_end_matches('/').ends_with(name))
    };
    let debian = find("/debian").map_or(DEBIAN, String::as_str);
    let entry = |uri: &str, suite: &str| {
        format!(
            "Types: deb\nURIs: {uri}\nSuites: {release}-{suite}\nComponents: main\n\
             Signed-By: {KEYRING}\n\n"
        )
    };
    let mut text = entry(debian, "backports");
    // The security archive has newer builds of the same source at times.
    if let Some(security) = find("/debian-security") {
        text.push_str(&entry(security, "security"));
    }
    text
}

/// Returns the URIs of the machine's package sources, in order.
fn machine_sources(etc: &Path) -> Vec<String> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(folder) = fs::read_dir(etc.join("sources.list.d")) {
        let mut listed: Vec<_> = folder.filter_map(|e| Some(e.ok()?.path())).collect();
        listed.sort();
        files.extend(listed);
    }
    let mut uris = Vec::new();
    for file in files {
        let extension = file.extension().and_then(|extension| extension.to_str());
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match extension {
            Some("list") => uris.extend(text.lines().filter_map(one_line_uri)),
            Some("sources") => uris.extend(text.lines().flat_map(deb822_uris)),
            _ => {}
        }
    }
    uris
}

/// sources.list(5), one-line style: `deb [options] uri suite components`.
fn one_line_uri(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    rest.split_whitespace().next().map(str::to_owned)
}

/// sources.list(5), deb822 style: `URIs: uri uri`.
fn deb822_uris(line: &str) -> Vec<String> {
    let Some(list) = line.strip_prefix("URIs:") else {
        return Vec::new();
    };
    list.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_of_the_machine_is_used_in_both_styles() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("sources.list.d");
        fs::create_dir(&parts).unwrap();
        fs::write(
            folder.path().join("sources.list"),
            "# deb http://old.example/debian x main\n\
             deb [arch=amd64 signed-by=/k] http://mirror.example/debian/ bookworm main\n",
        )
        .unwrap();
        fs::write(
            parts.join("a.sources"),
            "Types: deb\nURIs: https://mirror.example/debian-security\n",
        )
        .unwrap();
        fs::write(
            parts.join("b.list.disabled"),
            "deb http://no.example/debian x y\n",
        )
        .unwrap();
        let text = sources_for(&machine_sources(folder.path()), "bookworm");
        assert!(
            text.contains("URIs: http://mirror.example/debian/\nSuites: bookworm-backports"),
            "{text}"
        );
        assert!(
            text.contains(
                "URIs: https://mirror.example/debian-security\nSuites: bookworm-security"
            )
        );
        assert!(!text.contains("old.example") && !text.contains("no.example"));
    }

    #[test]
    fn machine_without_debian_sources_takes_debians_default() {
        let text = sources_for(&["https://other.example/ubuntu".into()], "bookworm");
        assert!(text.contains(DEBIAN) && !text.contains("security"));
    }

    #[test]
    fn settings_that_weaken_signatures_are_not_taken_over() {
        let machine = "Acquire::http::Proxy \"http://p.example:1\";\n\
                       Acquire::AllowInsecureRepositories \"1\";\n\
                       Acquire::AllowWeakRepositories \"1\";\n\
                       APT::Get::AllowUnauthenticated \"1\";\n\
                       Acquire::IndexTargets::deb::X \"y\";\n";
        let text = private_configuration(Path::new("/private"), machine);
        assert!(text.contains("Proxy"));
        for weak in ["Insecure", "Weak", "Unauthenticated", "IndexTargets"] {
            assert!(!text.contains(weak), "{text}");
        }
    }
}
