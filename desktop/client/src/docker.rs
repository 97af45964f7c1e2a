//! Where Docker's clients find this engine: the address of its socket, and the
//! context that names it for them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::registry::CredentialsError;
use crate::{Home, local, registry};

/// Why a context cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is no folder of Docker's clients.
    #[error(transparent)]
    Folder(#[from] CredentialsError),
    /// Not a name that Docker's clients take.
    #[error(
        "{name:?} is no name of a context: use letters, digits and . _ + -, and not \"default\""
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// A file cannot be written or removed.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Returns the address that Docker's clients want in `DOCKER_HOST`.
#[must_use]
pub fn docker_host(home: &Home) -> String {
    local::docker_host(&home.docker_socket())
}

/// Makes a context of Docker's clients that stands for this engine, or renews it,
/// and returns where it lies.
///
/// # Errors
///
/// [`ContextError`].
pub fn install_context(home: &Home, name: &str) -> Result<PathBuf, ContextError> {
    install_in(&registry::config_folder()?, home, name)
}

/// Removes a context; tells whether there was one.
///
/// # Errors
///
/// [`ContextError`].
pub fn remove_context(name: &str) -> Result<bool, ContextError> {
    let folder = context_folder(&registry::config_folder()?, name)?;
    match std::fs::remove_dir_all(&folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ContextError::File {
            path: folder,
            source,
        }),
    }
}

/// Docker's clients keep a context in a folder named for the name's digest.
fn context_folder(config: &Path, name: &str) -> Result<PathBuf, ContextError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !begins || !name.bytes().all(known) || name == "default" {
        return Err(ContextError::Name {
            name: name.to_owned(),
        });
    }
    let digest = Sha256::digest(name.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(config.join("contexts").join("meta").join(digest))
}

fn install_in(config: &Path, home: &Home, name: &str) -> Result<PathBuf, ContextError> {
    let folder = context_folder(config, name)?;
    let path = folder.join("meta.json");
    let meta = json!({
        "Name": name,
        "Metadata": { "Description": "Wherry" },
        "Endpoints": { "docker": { "Host": docker_host(home), "SkipTLSVerify": false } },
    });
    let replace = || {
        std::fs::create_dir_all(&folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&folder)?;
        file.write_all(meta.to_string().as_bytes())?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    match replace() {
        Ok(()) => Ok(path),
        Err(source) => Err(ContextError::File { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_lies_where_dockers_clients_look() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("home")).unwrap();
        let path = install_in(folder.path(), &home, "wherry").unwrap();
        // sha256("wherry"), as `docker context create` names it.
        let digest = path
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        assert_eq!(digest.len(), 64);
        let meta: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(meta["Name"], "wherry");
        assert_eq!(meta["Endpoints"]["docker"]["Host"], docker_host(&home));
        // Once more is no error.
        assert_eq!(install_in(folder.path(), &home, "wherry").unwrap(), path);
    }

    #[test]
    fn a_name_that_dockers_clients_do_not_take_is_refused() {
        for name in ["", "default", "../x", "a b", "-a"] {
            assert!(context_folder(Path::new("/c"), name).is_err(), "{name}");
        }
    }
}
