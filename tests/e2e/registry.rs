//! Registries on the host's loopback, as the guest reaches them.

use anyhow::{Context, ensure};
use wherry_tests::{Engine, IMAGE, Registry};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[(
    "an_image_goes_to_a_registry_on_this_computer_and_comes_back",
    round_trip,
)];

fn round_trip(engine: &Engine) -> anyhow::Result<()> {
    let registry = Registry::with_login()?;
    for host in ["localhost", "127.0.0.1"] {
        let server = format!("{host}:{}", registry.port());
        let name = format!("{server}/team/box:1");
        engine.succeed(&["tag", IMAGE, &name])?;
        let refused = engine.run(&["push", &name])?;
        ensure!(
            refused.code == 1 && refused.stderr.contains(&format!("`wherry login {server}`")),
            "{refused:?}"
        );
        let login = ["login", "-u", "wherry", "--password-stdin", &server];
        let ran = engine.run_with_input(&login, b"secret\n")?;
        ensure!(ran.stdout.contains("Login Succeeded"), "{ran:?}");
        let pushed = engine.succeed(&["push", &name])?;
        let digest = pushed
            .split_whitespace()
            .find(|word| word.starts_with("sha256:"))
            .context("no digest")?
            .to_owned();
        engine.succeed(&["rmi", &name])?;
        // Its layers are those of the tests' image: nothing to download again.
        let pulled = engine.succeed(&["pull", &name])?;
        ensure!(pulled.contains(&digest), "{pulled}");
        engine.succeed(&["rmi", &name])?;
        let ran = engine.run(&["run", "--rm", &name, "echo", "here"])?;
        ensure!(ran.code == 0 && ran.stdout == "here\n", "{ran:?}");
        // In a pipe, nothing is told of the pull.
        ensure!(ran.stderr.is_empty(), "{ran:?}");
        engine.succeed(&["rmi", &name])?;
        engine.succeed(&["logout", &server])?;
    }
    let nobody = engine.fail(1, &["pull", "localhost:1/none"])?;
    ensure!(
        nobody.contains("cannot reach the registry localhost:1"),
        "{nobody}"
    );
    Ok(())
}
