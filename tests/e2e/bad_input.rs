//! What users get wrong, and what their machines do: one clear error, a
//! documented exit code, nothing half-made.

use std::fs;

use anyhow::ensure;
use wherry_tests::{Engine, IMAGE};

use crate::{Alone, Shared};

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("unknown_things_are_named", unknown),
    ("an_unusable_host_path_is_named", host_paths),
    ("impossible_values_are_refused", values),
    ("a_name_is_taken_once", taken_name),
];

pub(crate) const ALONE: &[(&str, Alone)] = &[
    ("an_unusable_home_is_named", home),
    ("a_missing_qemu_is_named", qemu),
    ("wrong_settings_are_named", settings),
];

fn left_behind(engine: &Engine) -> anyhow::Result<String> {
    engine.succeed(&["ps", "-aq", "--filter", "status=created"])
}

fn unknown(engine: &Engine) -> anyhow::Result<()> {
    let error = engine.fail(125, &["run", "no/such/image:9"])?;
    ensure!(
        error.contains("no/such/image:9") && error.contains("wherry load"),
        "{error}"
    );
    let error = engine.fail(125, &["run", "--net", "nowhere", IMAGE])?;
    ensure!(error.contains("nowhere"), "{error}");
    let error = engine.fail(1, &["stop", "nobody"])?;
    ensure!(error.contains("nobody"), "{error}");
    let ran = engine.run(&["frobnicate"])?;
    ensure!(
        ran.code != 0 && ran.stderr.contains("frobnicate"),
        "{ran:?}"
    );
    ensure!(left_behind(engine)?.is_empty());
    Ok(())
}

fn host_paths(engine: &Engine) -> anyhow::Result<()> {
    let error = engine.fail(125, &["run", "--rm", "-v", "/etc:/data", IMAGE, "true"])?;
    ensure!(
        error.contains("/etc") && error.contains("not shared"),
        "{error}"
    );
    let error = engine.fail(
        125,
        &[
            "run",
            "--rm",
            "-v",
            "/tmp/no-such-folder-here:/data",
            IMAGE,
            "true",
        ],
    )?;
    ensure!(
        error.contains("/tmp/no-such-folder-here") && error.contains("not exist"),
        "{error}"
    );
    ensure!(left_behind(engine)?.is_empty());
    Ok(())
}

fn values(engine: &Engine) -> anyhow::Result<()> {
    for (flags, word) in [
        (&["-m", "1b"][..], "6"),
        (&["-m", "lots"], "lots"),
        (&["-p", "99999:80"], "99999"),
        (&["-p", "80:0"], "80:0"),
        (&["-e", "=x"], "=x"),
        (&["--name", "no spaces"], "no spaces"),
        (&["-u", "nobody-here"], "nobody-here"),
        (&["--cpus", "-1"], "-1"),
    ] {
        let mut arguments = vec!["run", "--rm"];
        arguments.extend(flags);
        arguments.extend([IMAGE, "true"]);
        let ran = engine.run(&arguments)?;
        ensure!(
            ran.code == 125 && ran.stderr.contains(word),
            "{flags:?}: {ran:?}"
        );
    }
    ensure!(left_behind(engine)?.is_empty());
    Ok(())
}

fn taken_name(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&["run", "-d", "--name", "single", IMAGE, "sleep", "1000"])?;
    let error = engine.fail(
        125,
        &["run", "-d", "--name", "single", IMAGE, "sleep", "1000"],
    )?;
    ensure!(
        error.contains("single") && error.contains("in use"),
        "{error}"
    );
    let error = engine.fail(1, &["rm", "single"])?;
    ensure!(error.contains("running"), "{error}");
    engine.succeed(&["rm", "-f", "single"])?;
    let error = engine.fail(125, &["exec", "single", "true"])?;
    ensure!(error.contains("single"), "{error}");
    Ok(())
}

fn home() -> anyhow::Result<()> {
    let mut engine = Engine::new()?;
    let long = format!("/tmp/{}", "x".repeat(150));
    engine.set("WHERRY_HOME", &long);
    let error = engine.fail(1, &["machine", "start"])?;
    ensure!(
        error.contains("too long") && error.contains("WHERRY_HOME"),
        "{error}"
    );
    engine.set("WHERRY_HOME", "/proc/wherry");
    let error = engine.fail(1, &["machine", "start"])?;
    ensure!(
        error.contains("/proc/wherry") && error.contains("WHERRY_HOME"),
        "{error}"
    );
    Ok(())
}

fn qemu() -> anyhow::Result<()> {
    let engine = Engine::new()?;
    fs::write(
        engine.home().join("config.toml"),
        "qemu = \"/no/such/qemu\"\n",
    )?;
    let error = engine.fail(1, &["machine", "start"])?;
    ensure!(error.contains("/no/such/qemu"), "{error}");
    let error = engine.fail(125, &["run", "hello"])?;
    ensure!(error.contains("/no/such/qemu"), "{error}");
    Ok(())
}

fn settings() -> anyhow::Result<()> {
    let engine = Engine::new()?;
    fs::write(engine.home().join("config.toml"), "memroy = \"1g\"\n")?;
    let error = engine.fail(1, &["machine", "start"])?;
    ensure!(
        error.contains("memroy") && error.contains("config.toml"),
        "{error}"
    );
    Ok(())
}
