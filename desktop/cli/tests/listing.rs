//! `ps`, `inspect` and `rm` with Docker's rarer options, and those that are
//! refused, against an engine that speaks the real protocol.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, unreachable_pub)]
mod engine;

use engine::{ScriptedEngine, errors};

fn run(engine: &ScriptedEngine, line: &str) -> (String, String, Option<i32>) {
    let arguments: Vec<&str> = line.split(' ').collect();
    let output = engine.run(&arguments, b"");
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    (printed, errors(&output), output.status.code())
}

#[test]
fn the_last_containers_are_listed_and_sizes_where_they_are_wanted() {
    let engine = ScriptedEngine::start();
    for name in ["a", "b", "c"] {
        run(&engine, &format!("create --name {name} image"));
    }
    let names = |options: &str| {
        let line = format!("ps {options} --format {{{{.Names}}}}");
        run(&engine, &line).0.replace('\n', "")
    };
    // They do not run.
    assert_eq!(names("-q=false"), "");
    assert_eq!(names("-a"), "cba");
    assert_eq!(names("-n 2"), "cb");
    assert_eq!(names("--last 9"), "cba");
    assert_eq!(names("-l"), "c");
    assert_eq!(names("-n -1"), "");
    let sizes = |line: &str| run(&engine, line).0;
    let with_sizes = sizes("ps -n 1 -s");
    assert!(with_sizes.lines().next().unwrap().ends_with("SIZE"));
    assert!(
        with_sizes.contains("1.1kB (virtual 4.26MB)"),
        "{with_sizes}"
    );
    assert_eq!(
        sizes("ps -l --format {{.Size}}"),
        "1.1kB (virtual 4.26MB)\n"
    );
    // Nobody asked for them, so that no directory was read.
    assert!(sizes("ps -l --format json").contains(r#""Size":"0B""#));
    assert!(!sizes("ps -l").contains("SIZE"));
}

#[test]
fn inspect_tells_sizes_where_they_are_wanted() {
    let engine = ScriptedEngine::start();
    let (id, ..) = run(&engine, "create image");
    let id = id.trim_end();
    let format = "{{.SizeRw}}/{{.SizeRootFs}}";
    let (printed, ..) = run(&engine, &format!("inspect -s -f {format} {id}"));
    assert_eq!(printed, "1100/4260000\n");
    let (printed, ..) = run(&engine, &format!("container inspect {id}"));
    assert!(!printed.contains("SizeRw"));
}

#[test]
fn a_link_is_removed_by_its_name() {
    let engine = ScriptedEngine::start();
    let (printed, _, code) = run(&engine, "rm --link /web/db");
    assert_eq!((printed.as_str(), code), ("/web/db\n", Some(0)));
    let (_, said, code) = run(&engine, "container remove -l web/none");
    assert_eq!((said.contains("No such container"), code), (true, Some(1)));
    assert!(engine.asked().removed.is_empty());
}

#[test]
fn input_stays_open_for_those_who_come_later_unless_its_starter_attaches() {
    let engine = ScriptedEngine::start();
    for (options, once) in [("-i", true), ("-i -a stdout", false), ("-i -a STDIN", true)] {
        run(&engine, &format!("create {options} image"));
        let asked = engine.asked();
        let spec = asked.created.last().unwrap();
        assert_eq!(
            (spec.open_stdin, spec.stdin_once),
            (true, once),
            "{options}"
        );
    }
    let (_, said, code) = run(&engine, "create -a stdall image");
    assert_eq!(code, Some(125), "{said}");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let engine = ScriptedEngine::start();
    for (line, reason) in [
        ("start --checkpoint one web", "not checkpointed"),
        ("volume create --scope single data", "need a swarm"),
        ("volume ls --cluster", "need a swarm"),
        ("run --use-api-socket image", "docker.sock"),
    ] {
        let (_, said, code) = run(&engine, line);
        assert_eq!(code, Some(125), "{line}: {said}");
        assert!(said.contains(reason), "{line}: {said}");
    }
}
