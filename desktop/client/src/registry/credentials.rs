//! The user's credentials, where Docker's clients keep them: `config.json`, or
//! the helper that it names.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde_json::{Map, Value, json};
use wherry_proto::v1::RegistryCredential;

use super::helper::Helper;

/// Docker's key for its own registry, older than the protocol.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Why credentials cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// There is no home folder to look in.
    #[error("cannot find your home folder: set DOCKER_CONFIG to the folder of config.json")]
    NoHome,
    /// The file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not what Docker's clients write.
    #[error("{path}: {reason}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A credential helper failed.
    #[error("{program} {action} failed: {reason}")]
    Helper {
        /// The helper.
        program: String,
        /// What it was asked to do.
        action: String,
        /// What it says.
        reason: String,
    },
}

/// Where a credential was kept.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept {
    /// In this file, as everybody can read who reads the file.
    File(PathBuf),
    /// By this helper.
    Helper(String),
}

/// A `config.json`.
#[derive(Debug)]
pub struct Credentials {
    path: PathBuf,
}

impl Credentials {
    /// The user's own: in `DOCKER_CONFIG` or `~/.docker`.
    ///
    /// # Errors
    ///
    /// Where there is no home folder.
    pub fn of_user() -> Result<Self, CredentialsError> {
        let folder = config_folder().ok_or(CredentialsError::NoHome)?;
        Ok(Self::at(&folder.join("config.json")))
    }

    /// Those of a file, which need not be there.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Returns what there is for a registry.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or a helper fails.
    pub fn find(&self, registry: &str) -> Result<Option<RegistryCredential>, CredentialsError> {
        let Some(text) = self.text()? else {
            return Ok(None);
        };
        // Says more of what is wrong than the reading of credentials does.
        self.parse(&text)?;
        let found = docker_credential::get_credential_from_reader(text.as_bytes(), key(registry));
        let credential = |username: String, password: String, identity_token: String| {
            Some(RegistryCredential {
                registry: registry.to_owned(),
                username,
                password,
                identity_token,
            })
        };
        match found {
            Ok(DockerCredential::UsernamePassword(name, password))
                if name.is_empty() && password.is_empty() =>
            {
                Ok(None)
            }
            Ok(DockerCredential::UsernamePassword(name, password)) => {
                Ok(credential(name, password, String::new()))
            }
            Ok(DockerCredential::IdentityToken(token)) => {
                Ok(credential(String::new(), String::new(), token))
            }
            Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
            // docker-credential-helpers, credentials/error.go.
            Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
                if (stdout.clone() + &stderr).contains("credentials not found") =>
            {
                Ok(None)
            }
            Err(CredentialRetrievalError::HelperFailure {
                helper,
                stdout,
                stderr,
            }) => Err(CredentialsError::Helper {
                program: helper,
                action: "get".to_owned(),
                reason: format!("{} {}", stdout.trim(), stderr.trim())
                    .trim()
                    .to_owned(),
            }),
            Err(error) => Err(self.malformed(&format!("the credential for {registry}: {error}"))),
        }
    }

    /// Keeps a credential: with the helper that the file names, or in the file.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written, or the helper fails.
    pub fn store(&self, credential: &RegistryCredential) -> Result<Kept, CredentialsError> {
        let mut config = self.read()?;
        let key = key(&credential.registry);
        let helper = helper_of(&config, key);
        let entry = if let Some(name) = &helper {
            Helper(name).store(key, credential)?;
            json!({})
        } else {
            let pair = format!("{}:{}", credential.username, credential.password);
            let auth = base64::engine::general_purpose::STANDARD.encode(pair);
            if credential.identity_token.is_empty() {
                json!({ "auth": auth })
            } else {
                json!({ "auth": auth, "identitytoken": credential.identity_token })
            }
        };
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        let auths = auths
            .as_object_mut()
            .ok_or_else(|| self.malformed("\"auths\" must be an object"))?;
        auths.insert(key.to_owned(), entry);
        self.write(&config)?;
        Ok(helper.map_or_else(|| Kept::File(self.path.clone()), Kept::Helper))
    }

    /// Forgets the credential of a registry; tells whether there was one.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written, or the helper fails.
    pub fn erase(&self, registry: &str) -> Result<bool, CredentialsError> {
        let mut config = self.read()?;
        let key = key(registry);
        let helper = helper_of(&config, key);
        let auths = config.get_mut("auths").and_then(Value::as_object_mut);
        let removed = auths.is_some_and(|auths| auths.remove(key).is_some());
        if removed && let Some(name) = helper {
            Helper(&name).erase(key)?;
        }
        if removed {
            self.write(&config)?;
        }
        Ok(removed)
    }

    fn text(&self) -> Result<Option<String>, CredentialsError> {
        match std::fs::read_to_string(&self.path) {
            // Editors of such files leave them empty now and then.
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.file(source)),
        }
    }

    fn read(&self) -> Result<Map<String, Value>, CredentialsError> {
        self.text()?
            .map_or_else(|| Ok(Map::new()), |text| self.parse(&text))
    }

    fn parse(&self, text: &str) -> Result<Map<String, Value>, CredentialsError> {
        serde_json::from_str(text).map_err(|error| self.malformed(&error.to_string()))
    }

    /// Replaces the file, for its owner alone to read.
    fn write(&self, config: &Map<String, Value>) -> Result<(), CredentialsError> {
        let text = serde_json::to_vec_pretty(config)
            .map_err(|error| self.malformed(&error.to_string()))?;
        // Some keep the file elsewhere and link to it.
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = path.parent().unwrap_or(Path::new("."));
        let replace = || {
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&text)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        replace().map_err(|source| self.file(source))
    }

    fn file(&self, source: io::Error) -> CredentialsError {
        CredentialsError::File {
            path: self.path.clone(),
            source,
        }
    }

    fn malformed(&self, reason: &str) -> CredentialsError {
        CredentialsError::Malformed {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// Returns the folder of Docker's clients' own files.
pub(super) fn config_folder() -> Option<PathBuf> {
    let named = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty());
    named.map(PathBuf::from).or_else(|| {
        let folders = directories::BaseDirs::new()?;
        Some(folders.home_dir().join(".docker"))
    })
}

fn key(registry: &str) -> &str {
    if registry == super::DEFAULT {
        HUB_KEY
    } else {
        registry
    }
}

fn helper_of(config: &Map<String, Value>, key: &str) -> Option<String> {
    let own = config
        .get("credHelpers")
        .and_then(|helpers| helpers.get(key));
    let name = own.or_else(|| config.get("credsStore"))?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(registry: &str) -> RegistryCredential {
        RegistryCredential {
            registry: registry.to_owned(),
            username: "me".to_owned(),
            password: "a:b".to_owned(),
            identity_token: String::new(),
        }
    }

    #[test]
    fn what_is_kept_is_found_and_the_rest_of_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/config.json");
        let credentials = Credentials::at(&path);
        assert_eq!(credentials.find("box:5000").unwrap(), None);
        assert!(!credentials.erase("box:5000").unwrap());
        for registry in ["box:5000", "docker.io"] {
            let kept = credentials.store(&credential(registry)).unwrap();
            assert_eq!(kept, Kept::File(path.clone()));
            let found = credentials.find(registry).unwrap();
            assert_eq!(found, Some(credential(registry)));
        }
        let mut config = credentials.read().unwrap();
        assert!(config["auths"][HUB_KEY]["auth"].is_string());
        config.insert("detachKeys".to_owned(), "ctrl-x".into());
        credentials.write(&config).unwrap();
        assert!(credentials.erase("box:5000").unwrap());
        assert_eq!(credentials.find("box:5000").unwrap(), None);
        assert_eq!(credentials.read().unwrap()["detachKeys"], "ctrl-x");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_token_is_kept_instead_of_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::at(&folder.path().join("config.json"));
        let with_token = RegistryCredential {
            identity_token: "token".to_owned(),
            ..RegistryCredential {
                username: String::new(),
                password: String::new(),
                ..credential("a.example")
            }
        };
        credentials.store(&with_token).unwrap();
        assert_eq!(credentials.find("a.example").unwrap(), Some(with_token));
    }

    #[test]
    fn a_file_that_is_none_of_dockers_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let credentials = Credentials::at(&path);
        std::fs::write(&path, "").unwrap();
        assert_eq!(credentials.find("a.example").unwrap(), None);
        for text in [
            "{\"auths\":",
            "[]",
            "{\"auths\": {\"a.example\": {\"auth\": \"!\"}}}",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = credentials.find("a.example").unwrap_err().to_string();
            assert!(error.contains("config.json: "), "{error}");
        }
        std::fs::write(&path, "{\"auths\": 1}").unwrap();
        let error = credentials.store(&credential("a.example")).unwrap_err();
        assert!(error.to_string().contains("auths"), "{error}");
    }

    #[test]
    fn a_helper_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, "{\"credsStore\": \"wherry-test-none\"}").unwrap();
        let error = Credentials::at(&path).store(&credential("a.example"));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("docker-credential-wherry-test-none store"),
            "{error}"
        );
    }
}
