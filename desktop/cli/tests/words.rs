//! What users read: helps and error lines, as snapshots.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

fn wherry(arguments: &[&str]) -> (String, String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wherry"))
        .args(arguments)
        .env("WHERRY_HOME", folder.path())
        .env("PATH", "")
        .env_remove("COLUMNS")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code(),
    )
}

#[test]
fn helps_teach_the_command() {
    for command in [
        "", "run", "exec", "ps", "logs", "machine", "load", "inspect",
    ] {
        let arguments: Vec<&str> = [command, "--help"]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        let (help, errors, code) = wherry(&arguments);
        assert_eq!((errors.as_str(), code), ("", Some(0)));
        insta::assert_snapshot!(
            format!(
                "help_{}",
                if command.is_empty() {
                    "wherry"
                } else {
                    command
                }
            ),
            help
        );
    }
}

#[test]
fn a_wrong_command_line_is_one_line_and_125() {
    let mut said = String::new();
    for line in [
        "run",
        "run --bad image",
        "run -p 80:99999 image",
        "run -p 8000-8010:80-81 image",
        "run -v src/app:/data image",
        "run -v /a:b image",
        "run --mount type=bind,target=/x image",
        "run -m 1 image",
        "run --cpus many image",
        "run -e =x image",
        "run -w here image",
        "run --add-host db image",
        "run --env-file /does/not/exist image",
        "run --userns remap image",
        "run --gpus all image",
        "run --cpu-rt-runtime 5 image",
        "run --volume-driver nfs image",
        "run --log-opt size image",
        "run -d -a stdout image",
        "update --cpu-rt-period 5 web",
        "run -it image",
        "runn image",
        "ps --no-trun",
        "ps --filter colour=red",
        "logs --since yesterday web",
        "exec web",
        "start -a one two",
        "stop",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (output, errors, code) = wherry(&arguments);
        assert_eq!((output.as_str(), code), ("", Some(125)), "{line}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{line}: {errors}");
        said.push_str(&format!("$ wherry {line}\n{errors}\n"));
    }
    insta::assert_snapshot!(said);
}
