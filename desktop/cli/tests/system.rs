//! `wherry system` against an engine that speaks the real protocol.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, unreachable_pub)]
mod engine;

use engine::{ScriptedEngine, errors};

/// Runs a command and returns its standard output and exit code.
fn run(engine: &ScriptedEngine, line: &str, input: &str) -> (String, Option<i32>) {
    let arguments: Vec<&str> = line.split(' ').collect();
    let output = engine.run(&arguments, input.as_bytes());
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    (printed + &errors(&output), output.status.code())
}

#[test]
fn check_tells_what_is_wrong_and_its_exit_code_says_whether_it_stays_so() {
    let engine = ScriptedEngine::start();
    let (printed, code) = run(&engine, "system check", "");
    assert_eq!(
        (printed.as_str(), code),
        (
            "layer /layers/abc: no image has it (--repair removes it)\n\
             Checked 2 images, 3 layers, 1 container, 0 volumes, 1 network: 1 problem\n",
            Some(2)
        )
    );
    let (printed, code) = run(&engine, "system check --repair", "");
    assert_eq!(
        (printed.as_str(), code),
        (
            "layer /layers/abc: no image has it (repaired)\n\
             Checked 2 images, 3 layers, 1 container, 0 volumes, 1 network: 1 problem, 1 repaired\n",
            Some(0)
        )
    );
}

#[test]
fn df_prints_as_dockers() {
    let engine = ScriptedEngine::start();
    let (printed, code) = run(&engine, "system df", "");
    assert_eq!(
        (printed.as_str(), code),
        (
            "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
             Images          2         1         7MB       2MB (28%)\n\
             Containers      1         0         1kB       1kB (100%)\n\
             Local Volumes   1         0         500B      500B (100%)\n",
            Some(0)
        )
    );
    let (printed, _) = run(&engine, "system df --format {{.Type}}={{.Size}}", "");
    assert_eq!(printed, "Images=7MB\nContainers=1kB\nLocal Volumes=500B\n");
    let (printed, _) = run(&engine, "system df -v", "");
    for line in [
        "Images space usage:",
        "SHARED SIZE   UNIQUE SIZE   CONTAINERS",
        "4MB           1MB           1",
        "CONTAINER ID   IMAGE     COMMAND   LOCAL VOLUMES   SIZE",
        "VOLUME NAME   LINKS     SIZE",
        "cache         0         500B",
    ] {
        assert!(printed.contains(line), "{line:?} in {printed}");
    }
    assert_eq!(run(&engine, "system df -v --format json", "").1, Some(125));
}

#[test]
fn prune_removes_what_was_agreed_to_and_nothing_else() {
    let engine = ScriptedEngine::start();
    let (printed, code) = run(&engine, "system prune -a --volumes", "n\n");
    assert_eq!(
        (printed.as_str(), code),
        (
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - all anonymous volumes not used by at least one container\n  - all images without at least one container associated to them\n\nAre you sure you want to continue? [y/N] ",
            Some(0)
        )
    );
    assert!(engine.asked().removed.is_empty());
    let (printed, _) = run(&engine, "system prune -f --filter label=a", "");
    assert_eq!(printed, "Total reclaimed space: 0B\n");
    let (printed, code) = run(&engine, "system prune -f --volumes --filter until=1h", "");
    assert!(
        printed.contains("\"until\" filter is not supported"),
        "{printed}"
    );
    assert_eq!(code, Some(125));
}
