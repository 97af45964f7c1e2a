//! `wherry volume` against an engine that speaks the real protocol.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, unreachable_pub)]
mod engine;

use engine::{ScriptedEngine, errors};

/// Runs a command and returns its standard output and exit code.
fn run(engine: &ScriptedEngine, line: &str, input: &str) -> (String, String, Option<i32>) {
    let arguments: Vec<&str> = line.split(' ').collect();
    let output = engine.run(&arguments, input.as_bytes());
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    (printed, errors(&output), output.status.code())
}

#[test]
fn volumes_print_as_dockers() {
    let engine = ScriptedEngine::start();
    for (line, printed, said, code) in [
        ("volume create data", "data\n", "", 0),
        ("volume create --name data --label a=b", "data\n", "", 0),
        ("volume create -o type=tmpfs data", "data\n", "", 0),
        ("volume create --name a b", "", "conflicting options", 125),
        ("volume create --label =b data", "", "KEY=VALUE", 125),
        ("volume create -d nfs data", "", "local", 125),
        (
            "volume ls",
            "DRIVER    VOLUME NAME\nlocal     cache\nlocal     data\n",
            "",
            0,
        ),
        ("volume ls -q --filter dangling=true", "cache\n", "", 0),
        ("volume list --filter label=a=b -q", "data\n", "", 0),
        (
            "volume ls --format {{.Name}}:{{.Links}}",
            "cache:0\ndata:1\n",
            "",
            0,
        ),
        ("volume ls --filter size=1", "", "dangling", 125),
        (
            "volume inspect -f {{.Mountpoint}} data",
            "/volumes/data/_data\n",
            "",
            0,
        ),
        ("inspect --type volume -f {{.Name}} data", "data\n", "", 0),
        ("volume inspect none", "[]\n", "get none: no such volume", 1),
        (
            "volume rm cache data",
            "cache\n",
            "volume is in use - [0123]",
            1,
        ),
        ("volume prune -f", "Total reclaimed space: 0B\n", "", 0),
        (
            "volume prune -a -f",
            "Deleted Volumes:\ncache\n\nTotal reclaimed space: 1.5kB\n",
            "",
            0,
        ),
        (
            "volume prune -af --filter label!=a",
            "Total reclaimed space: 0B\n",
            "",
            0,
        ),
    ] {
        let (output, errors, ended) = run(&engine, line, "");
        assert_eq!(
            (output.as_str(), ended),
            (printed, Some(code)),
            "{line}: {errors}"
        );
        assert!(
            errors.contains(said) && errors.is_empty() == said.is_empty(),
            "{line}: {errors}"
        );
    }
}

#[test]
fn prune_asks_first() {
    let engine = ScriptedEngine::start();
    for (answer, pruned) in [("y\n", true), ("n\n", false), ("", false)] {
        let (output, _, code) = run(&engine, "volume prune -a", answer);
        assert!(
            output.starts_with("WARNING! This will remove all local volumes not used by at least one container.\nAre you sure you want to continue? [y/N] "),
            "{output}"
        );
        assert_eq!(
            (output.contains("cache"), code),
            (pruned, Some(0)),
            "{output}"
        );
    }
}
