//! Docker's commands and options are all here: they work, or are refused by name
//! with the reason.

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::Cli;

const OPTIONS: &str = include_str!("docker_options.txt");

fn command(path: &str) -> Option<Command> {
    let mut command = Cli::command();
    command.build();
    for name in path.split(' ') {
        command = command.find_subcommand(name)?.clone();
    }
    Some(command)
}

fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

#[test]
fn every_option_of_docker_is_known() {
    let mut missing = Vec::new();
    for line in OPTIONS.lines().filter(|line| !line.starts_with('#')) {
        let (path, options) = line.split_once(':').unwrap();
        let Some(command) = command(path) else {
            missing.push(format!("the command {path}"));
            continue;
        };
        for option in options.split_whitespace() {
            let (name, valued) = match option.strip_suffix('=') {
                Some(name) => (name, true),
                None => (option, false),
            };
            let (short, name) = match name.split_once('/') {
                Some((short, name)) => (short.chars().next(), name),
                None => (None, name),
            };
            let called = |argument: &&Arg| {
                let aliases = argument.get_all_aliases().unwrap_or_default();
                argument.get_long() == Some(name) || aliases.contains(&name)
            };
            let Some(argument) = command.get_arguments().find(called) else {
                missing.push(format!("{path} --{name}"));
                continue;
            };
            let aliases = argument.get_all_short_aliases().unwrap_or_default();
            if short.is_some_and(|short| {
                argument.get_short() != Some(short) && !aliases.contains(&short)
            }) {
                missing.push(format!("{path} -{}", short.unwrap_or(' ')));
            }
            if valued && !takes_value(argument) {
                missing.push(format!("{path} --{name} VALUE"));
            }
            let alone = !takes_value(argument)
                || argument
                    .get_num_args()
                    .is_some_and(|range| range.min_values() == 0);
            if !valued && !alone {
                missing.push(format!("{path} --{name} without a value"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not known here:\n{}",
        missing.join("\n")
    );
}
