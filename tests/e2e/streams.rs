//! Standard input and output: whole, in order, and ended when they should be.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use wherry_tests::{Engine, IMAGE, wait};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("ten_megabytes_piped_in_arrive_whole", piped_in),
    ("fifty_megabytes_come_out_whole", come_out),
    (
        "an_input_ended_early_still_gets_its_whole_reply",
        half_close,
    ),
    ("a_stream_nobody_reads_holds_up_only_itself", blocked),
    (
        "a_reader_that_leaves_ends_the_command_quietly",
        reader_leaves,
    ),
    ("a_killed_client_of_run_rm_leaves_nothing", killed_client),
];

/// Bytes that do not repeat soon.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// PITFALLS 4.
fn piped_in(engine: &Engine) -> anyhow::Result<()> {
    let bytes = noise(10_000_000);
    let ran = engine.run_with_input(&["run", "--rm", "-i", IMAGE, "sha256sum"], &bytes)?;
    let expected = hex::encode(Sha256::digest(&bytes));
    ensure!(ran.stdout.starts_with(&expected), "{ran:?}");
    Ok(())
}

fn come_out(engine: &Engine) -> anyhow::Result<()> {
    let output = engine
        .command(&[
            "run",
            "--rm",
            IMAGE,
            "sh",
            "-c",
            "yes abcdefg | head -c 50000000",
        ])
        .output()?;
    ensure!(
        output.stdout.len() == 50_000_000,
        "{} bytes",
        output.stdout.len()
    );
    ensure!(
        output
            .stdout
            .chunks_exact(8)
            .all(|line| line == b"abcdefg\n")
    );
    Ok(())
}

/// PITFALLS 1.
fn half_close(engine: &Engine) -> anyhow::Result<()> {
    let ran = engine.run_with_input(
        &[
            "run",
            "--rm",
            "-i",
            IMAGE,
            "sh",
            "-c",
            "cat > /dev/null; sleep 0.3; seq 100000",
        ],
        b"a request",
    )?;
    ensure!(
        ran.stdout.ends_with("\n99999\n100000\n"),
        "{} bytes",
        ran.stdout.len()
    );
    Ok(())
}

/// PITFALLS 3.
fn blocked(engine: &Engine) -> anyhow::Result<()> {
    let mut stuck = engine.spawn(&["run", "--rm", "--name", "stuck", IMAGE, "yes"])?;
    let mut first = [0; 1];
    stuck
        .stdout
        .as_mut()
        .context("stdout")?
        .read_exact(&mut first)?;
    // Its standard output is not read from here on.
    for _ in 0..3 {
        let printed = engine.succeed(&["run", "--rm", IMAGE, "seq", "10000"])?;
        ensure!(printed.ends_with("\n10000\n"));
    }
    stuck.kill()?;
    stuck.wait()?;
    engine.run(&["rm", "-f", "stuck"])?;
    Ok(())
}

fn reader_leaves(engine: &Engine) -> anyhow::Result<()> {
    let mut child = engine.spawn(&[
        "run",
        "--rm",
        "--name",
        "left",
        IMAGE,
        "sh",
        "-c",
        "yes | head -c 1000000",
    ])?;
    let mut first = [0; 2];
    child
        .stdout
        .take()
        .context("stdout")?
        .read_exact(&mut first)?;
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !errors.contains("panicked") && !errors.contains("error"),
        "{errors}"
    );
    wait::until("the container's removal", Duration::from_secs(20), || {
        Ok(engine
            .succeed(&["ps", "-aq", "--filter", "name=left"])?
            .is_empty())
    })
}

/// PITFALLS 20.
fn killed_client(engine: &Engine) -> anyhow::Result<()> {
    let mut child = engine.spawn(&[
        "run",
        "--rm",
        "--name",
        "orphaned",
        IMAGE,
        "sh",
        "-c",
        "echo up; sleep 1",
    ])?;
    let mut first = [0; 2];
    child
        .stdout
        .as_mut()
        .context("stdout")?
        .read_exact(&mut first)?;
    child.kill()?;
    child.wait()?;
    wait::until("the container's removal", Duration::from_secs(30), || {
        Ok(engine
            .succeed(&["ps", "-aq", "--filter", "name=orphaned"])?
            .is_empty())
    })
}
