//! Reading the command line, and what is said of a wrong one.

use std::ffi::OsString;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command, CommandFactory, FromArgMatches, Parser};

use super::Cli;
use crate::failure::ENGINE;
use crate::output;

/// Commands of Docker's that are not here, and why.
const ELSEWHERE: [(&[&str], &str); 7] = [
    (
        &["swarm", "node", "service", "stack", "config", "secret"],
        "there is no swarm: the machine is one, and Compose runs systems of several containers (`wherry docker-env`)",
    ),
    (
        &["compose"],
        "Docker's Compose works with this engine: `eval \"$(wherry docker-env)\"`, then `docker compose`",
    ),
    (&["plugin"], "there are no plugins"),
    (
        &["checkpoint"],
        "containers are not checkpointed: `wherry pause` holds one, and `wherry commit` keeps its files",
    ),
    (
        &["trust"],
        "signatures of Docker Content Trust are not made or checked: name an image by its digest to be sure of it",
    ),
    (
        &["manifest"],
        "lists of manifests are not made: `wherry pull --platform` chooses from one",
    ),
    (&["builder", "buildx"], "there is no such command yet"),
];

/// Parses the command line. What is not a command has been answered; the error
/// is the exit code.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, u8> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    read(&arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Fails where the reader is gone, who then wants no help.
            let _ = output::print(&error.render().to_string());
            0
        }
        _ => {
            output::complain(&usage_error(&error, &arguments));
            ENGINE
        }
    })
}

/// Parses the command line, and where a flag has a value, `--rm=true` for one as
/// Docker takes it, with flags that do.
fn read(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let error = match Cli::try_parse_from(arguments) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::TooManyValues | ErrorKind::UnknownArgument
            ) =>
        {
            error
        }
        parsed => return parsed,
    };
    let parsed = with_values(Cli::command()).try_get_matches_from(arguments);
    match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Err(other)
            if other.kind() == ErrorKind::ValueValidation
                || error.kind() == ErrorKind::TooManyValues =>
        {
            Err(other)
        }
        Err(_) => Err(error),
        parsed => parsed,
    }
}

/// Lets every flag of a command and its subcommands have `true` or `false` for a value.
fn with_values(command: Command) -> Command {
    command
        .mut_args(|argument| match argument.get_action() {
            ArgAction::SetTrue => argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_value("false")
                .default_missing_value("true")
                .value_name("BOOL")
                .value_parser(BoolishValueParser::new()),
            _ => argument,
        })
        .mut_subcommands(with_values)
}

/// Returns clap's report as one line, with the way to the help.
fn usage_error(error: &clap::Error, arguments: &[OsString]) -> String {
    if let (ErrorKind::InvalidSubcommand, Some(ContextValue::String(name))) =
        (error.kind(), error.get(ContextKind::InvalidSubcommand))
        && let Some((_, why)) = ELSEWHERE
            .iter()
            .find(|(names, _)| names.contains(&name.as_str()))
    {
        return format!("{name} is none of the commands: {why}");
    }
    let report = error.render().to_string();
    let said: Vec<&str> = report
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        // That tip is wrong before an image, and no help behind it.
        .filter(|line| !line.is_empty() && !line.starts_with("tip: to pass"))
        .collect();
    let said = said.join(" ").replace(" tip: ", ": ");
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    let known = Cli::command();
    let mut command = &known;
    let mut path = String::new();
    for name in arguments.iter().skip(1) {
        let Some(found) = command.find_subcommand(name) else {
            break;
        };
        path = format!("{path} {}", found.get_name());
        command = found;
    }
    format!("{said}; see `wherry{path} --help`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::container::ContainerCommand;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn wrong(line: &str) -> String {
        let words = words(line);
        usage_error(&read(&words).unwrap_err(), &words)
    }

    #[test]
    fn flags_take_true_and_false() {
        for line in [
            "wherry run --rm=true --tty=false -d=1 image --rm=maybe",
            "wherry ps -a=true --no-trunc=false",
            "wherry container rm --force=true x",
            "wherry run --rm --sig-proxy=false image",
        ] {
            read(&words(line)).unwrap();
        }
        let parsed = read(&words("wherry stop --help=x"));
        assert!(parsed.is_err());
        let Ok(Cli {
            command: super::super::Command::Container(ContainerCommand::Rm(arguments)),
        }) = read(&words("wherry rm --force=false --volumes=true x"))
        else {
            panic!("rm is not read");
        };
        let said = format!("{arguments:?}");
        assert!(
            said.contains("force: false") && said.contains("volumes: true"),
            "{said}"
        );
    }

    #[test]
    fn a_flag_with_another_value_is_refused_by_name() {
        for (line, name) in [
            ("wherry run --rm=maybe image", "--rm"),
            ("wherry ps -a=x", "--all"),
        ] {
            let said = wrong(line);
            assert!(
                said.contains("invalid value")
                    && said.contains(name)
                    && said.contains("see `wherry "),
                "{said}"
            );
        }
        let said = wrong("wherry run --nope=true image");
        assert!(said.contains("unexpected argument '--nope'"), "{said}");
    }

    #[test]
    fn commands_of_docker_that_are_not_here_say_why() {
        for (line, why) in [
            ("wherry swarm init", "there is no swarm"),
            ("wherry compose up", "wherry docker-env"),
            ("wherry trust sign", "digest"),
        ] {
            let said = wrong(line);
            assert!(said.contains(why), "{said}");
        }
        assert!(wrong("wherry nosuch").contains("unrecognized subcommand"));
    }
}
