//! `wherry login`

use std::io::{IsTerminal, Read};

use wherry_client::registry::{self, Credentials, Kept};
use wherry_proto::v1::{LoginRequest, RegistryAccess, RegistryCredential};

use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::output;

#[derive(clap::Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The registry; docker.io where there is none
    server: Option<String>,

    /// Your name there
    #[arg(short, long)]
    username: Option<String>,

    /// Your password or token, for everybody to see who lists processes
    #[arg(short, long, conflicts_with = "password_stdin")]
    password: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

const AFTER_HELP: &str = "\
Examples:
  wherry login
  wherry login ghcr.io -u me --password-stdin < token

The password goes to the credential helper that ~/.docker/config.json names, or
into that file, where Docker's own tools find it too.";

/// The longest password that is read, bytes.
const LONGEST: u64 = 64 * 1024;

pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let registry = registry::of_server(arguments.server.as_deref().unwrap_or_default()).to_owned();
    if arguments.password_stdin && arguments.username.is_none() {
        return Err(Failure::new(
            "Must provide --username with --password-stdin",
        ));
    }
    if arguments.password.is_some() {
        output::complain(
            "warning: --password is insecure, because other users see it: use --password-stdin",
        );
    }
    let typed = typed(&arguments)?;
    let connection = Connection::to_machine().await?;
    let credentials = Credentials::of_user()?;
    let mut access = connection.registry_access(&registry).await?;
    if let Some(credential) = typed {
        access.credentials = vec![named(credential, &registry)];
    } else if access.credentials.is_empty() {
        access.credentials = vec![named(ask(arguments.username)?, &registry)];
    } else {
        output::print_line("Authenticating with existing credentials...")?;
        if try_login(&connection, &registry, &access).await.is_ok() {
            output::print_line("Login Succeeded")?;
            return Ok(0);
        }
        output::complain("the existing credentials are not valid any more");
        access.credentials = vec![named(ask(arguments.username)?, &registry)];
    }
    let identity_token = try_login(&connection, &registry, &access).await?;
    let Some(mut credential) = access.credentials.pop() else {
        return Err(Failure::new("there is no credential to keep"));
    };
    credential.identity_token = identity_token;
    match credentials.store(&credential)? {
        Kept::File(path) => output::complain(&format!(
            "warning: your password is stored unencrypted in {}; a credential helper would keep it safe: https://docs.docker.com/go/credential-store/",
            path.display()
        )),
        Kept::Helper(_) => {}
    }
    output::print_line("Login Succeeded")?;
    Ok(0)
}

async fn try_login(
    connection: &Connection,
    registry: &str,
    access: &RegistryAccess,
) -> Result<String, Failure> {
    let request = LoginRequest {
        registry: registry.to_owned(),
        access: Some(access.clone()),
    };
    let login = connection.images().login(request).await?;
    Ok(login.into_inner().identity_token)
}

/// Returns the name and password of the command line, if it has both.
fn typed(arguments: &Arguments) -> Result<Option<(String, String)>, Failure> {
    let password = if arguments.password_stdin {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .take(LONGEST)
            .read_to_string(&mut text)
            .map_err(|error| Failure::new(format!("cannot read the password: {error}")))?;
        Some(text.trim_end_matches(['\n', '\r']).to_owned())
    } else {
        arguments.password.clone()
    };
    match (&arguments.username, password) {
        (Some(name), Some(password)) => {
            check(name, &password)?;
            Ok(Some((name.clone(), password)))
        }
        (Some(name), None) => ask(Some(name.clone())).map(Some),
        (None, Some(_)) => Err(Failure::new("Must provide --username with --password")),
        (None, None) => Ok(None),
    }
}

/// Asks for what is missing.
fn ask(name: Option<String>) -> Result<(String, String), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            "cannot ask for the password, because standard input is no terminal: use --username and --password-stdin",
        ));
    }
    let failed = |error: std::io::Error| Failure::new(format!("cannot read it: {error}"));
    let name = if let Some(name) = name {
        name
    } else {
        output::print("Username: ")?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(failed)?;
        line.trim().to_owned()
    };
    let password = rpassword::prompt_password("Password: ").map_err(failed)?;
    check(&name, &password)?;
    Ok((name, password))
}

fn check(name: &str, password: &str) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::new("a login needs a name"));
    }
    if password.is_empty() {
        return Err(Failure::new("a login needs a password"));
    }
    Ok(())
}

fn named((username, password): (String, String), registry: &str) -> RegistryCredential {
    RegistryCredential {
        registry: registry.to_owned(),
        username,
        password,
        identity_token: String::new(),
    }
}
