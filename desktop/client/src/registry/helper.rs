//! Programs that keep credentials: `docker-credential-NAME`, which read one
//! request on their standard input (github.com/docker/docker-credential-helpers).

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;
use wherry_proto::v1::RegistryCredential;

use super::CredentialsError;

/// What helpers call a user whose secret is an identity token.
const TOKEN: &str = "<token>";

/// A helper by the end of its name.
pub(super) struct Helper<'a>(pub(super) &'a str);

impl Helper<'_> {
    /// Keeps a credential under a registry's key.
    pub(super) fn store(
        &self,
        key: &str,
        credential: &RegistryCredential,
    ) -> Result<(), CredentialsError> {
        let (name, secret) = if credential.identity_token.is_empty() {
            (credential.username.as_str(), &credential.password)
        } else {
            (TOKEN, &credential.identity_token)
        };
        let request = json!({ "ServerURL": key, "Username": name, "Secret": secret });
        self.run("store", &request.to_string())
    }

    /// Forgets what there is under a registry's key.
    pub(super) fn erase(&self, key: &str) -> Result<(), CredentialsError> {
        self.run("erase", key)
    }

    fn run(&self, action: &str, request: &str) -> Result<(), CredentialsError> {
        let program = format!("docker-credential-{}", self.0);
        let failed = |reason: String| CredentialsError::Helper {
            program: program.clone(),
            action: action.to_owned(),
            reason,
        };
        let mut child = Command::new(&program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        if let Some(mut input) = child.stdin.take() {
            // One that ends without reading says why with its exit code.
            let _ = input.write_all(request.as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        // Helpers tell their errors on standard output.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Err(failed(if said.is_empty() {
            output.status.to_string()
        } else {
            said
        }))
    }
}
