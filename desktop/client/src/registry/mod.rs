//! Registries as the host knows them: who the user is there, whom the host
//! trusts, which way leads out. The guest, which does the talking, knows none
//! of it and is told with each call.

mod certificates;
mod credentials;
mod helper;

pub use credentials::{Credentials, CredentialsError, Kept};

use std::path::PathBuf;

use wherry_proto::v1::RegistryAccess;

use crate::Settings;

/// The registry of names that name none.
pub const DEFAULT: &str = "docker.io";

/// Returns the folder where Docker's clients keep what the user has: `DOCKER_CONFIG`
/// or `~/.docker`.
///
/// # Errors
///
/// Where there is no home folder.
pub fn config_folder() -> Result<PathBuf, CredentialsError> {
    credentials::config_folder().ok_or(CredentialsError::NoHome)
}

/// Returns how a registry is reached. Waits for the user's credential helper,
/// if there is one, so call it where that may take a while.
///
/// # Errors
///
/// [`CredentialsError`] where there are credentials that cannot be had.
pub fn access(settings: &Settings, registry: &str) -> Result<RegistryAccess, CredentialsError> {
    let credential = Credentials::of_user()?.find(registry)?;
    Ok(RegistryAccess {
        credentials: credential.into_iter().collect(),
        ..public_access(settings, registry)
    })
}

/// Returns how a registry is reached without credentials.
#[must_use]
pub fn public_access(settings: &Settings, registry: &str) -> RegistryAccess {
    let variable = |name: &str| {
        [name.to_uppercase(), name.to_owned(), "ALL_PROXY".to_owned()]
            .iter()
            .filter(|known| name != "no_proxy" || known.as_str() != "ALL_PROXY")
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .unwrap_or_default()
    };
    let trusted = certificates::trusted(registry);
    RegistryAccess {
        credentials: Vec::new(),
        insecure: settings.insecure_registries.clone(),
        mirrors: settings.registry_mirrors.clone(),
        authorities: trusted.authorities,
        bundled_authorities: trusted.bundled,
        http_proxy: variable("http_proxy"),
        https_proxy: variable("https_proxy"),
        no_proxy: variable("no_proxy"),
    }
}

/// Returns the registry of an image's name, by Docker's rule: what stands
/// before the first slash, where it looks like a host.
#[must_use]
pub fn of_image(name: &str) -> &str {
    match name.split_once('/') {
        Some((first, _))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            of_server(first)
        }
        _ => DEFAULT,
    }
}

/// Returns the registry that a user means by an address: `https://box.lan/v2/`
/// is `box.lan`.
#[must_use]
pub fn of_server(address: &str) -> &str {
    let bare = ["https://", "http://"]
        .iter()
        .find_map(|scheme| address.strip_prefix(scheme))
        .unwrap_or(address);
    match bare.split('/').next().unwrap_or(bare) {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => DEFAULT,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_of_a_name_is_found_as_docker_does() {
        for (name, registry) in [
            ("nginx", "docker.io"),
            ("me/app:1", "docker.io"),
            ("index.docker.io/me/app", "docker.io"),
            ("localhost/app", "localhost"),
            ("box:5000/a/b@sha256:0", "box:5000"),
            ("ghcr.io/me/app", "ghcr.io"),
        ] {
            assert_eq!(of_image(name), registry);
        }
        assert_eq!(of_server("https://box.lan:5000/v2/"), "box.lan:5000");
        assert_eq!(of_server("https://index.docker.io/v1/"), "docker.io");
    }
}
