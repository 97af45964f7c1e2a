//! Containers that change networks, and networks that cannot go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use wherry_tests::{Engine, IMAGE, net, wait};

use super::{LONG, address, answers, lookup, remove, rests};

/// How long a published port may take to answer after its container moved.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) fn in_use(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&["network", "create", "used"])?;
    answers(engine, "user", &["--net", "used"])?;
    rests(engine, "visitor", &["--net", "used"])?;
    let refused = engine.run(&["network", "rm", "used"])?;
    ensure!(
        refused.code == 1
            && refused.stderr.contains("network used has active endpoints")
            && refused.stderr.contains("name:\"user\""),
        "{refused:?}"
    );
    // Nothing of it has gone.
    let server = address(engine, "user", "used", "IPAddress")?;
    let said = super::reaches(engine, "visitor", &server, 80)?;
    ensure!(said.as_deref() == Some("user"), "{said:?}");
    ensure!(lookup(engine, "visitor", "user")? == [server]);
    engine.succeed(&["rm", "-f", "user"])?;
    engine.succeed(&["network", "disconnect", "used", "visitor"])?;
    engine.succeed(&["network", "rm", "used"])?;
    engine.succeed(&["rm", "-f", "visitor"])?;
    Ok(())
}

/// A container on two networks leaves one and comes back, over and over, while
/// somebody downloads from it on the other and the host uses its port.
pub(super) fn under_traffic(engine: &Engine) -> anyhow::Result<()> {
    const ROUNDS: usize = 4;
    engine.succeed(&["network", "create", "front"])?;
    engine.succeed(&["network", "create", "back"])?;
    let port = net::free_port()?;
    let publish = format!("{port}:80");
    answers(engine, "mover", &["--net", "front", "-p", &publish])?;
    engine.succeed(&["network", "connect", "back", "mover"])?;
    let count = "nc -l -p 81 -e sh -c \
                 'until [ -e /stop ]; do i=$((i+1)); echo $i; done; echo the end'";
    engine.succeed(&["exec", "-d", "mover", "sh", "-c", count])?;
    wait::until("the second server", LONG, || {
        let listening = engine.succeed(&["exec", "mover", "netstat", "-ltn"])?;
        Ok(listening.contains(":81 "))
    })?;
    let server = address(engine, "mover", "back", "IPAddress")?;
    let download = format!(
        "nc {server} 81 </dev/null | awk '$0 == NR {{right++}} END {{print $0, NR - right, (right > 1000)}}'"
    );
    let child = engine.spawn(&[
        "run", "--rm", "--name", "loader", "--net", "back", IMAGE, "sh", "-c", &download,
    ])?;
    wait::until("the download", LONG, || {
        let open = engine.succeed(&["exec", "mover", "netstat", "-tn"])?;
        Ok(open.contains(&format!("{server}:81")))
    })?;

    let done = AtomicBool::new(false);
    let slowest = std::thread::scope(|scope| -> anyhow::Result<Duration> {
        // Requests without pause: what a move breaks ends, and does not hang.
        let asking = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let _ = net::request(port, b"");
                slowest = slowest.max(begun.elapsed());
            }
            slowest
        });
        let moved = (|| {
            for round in 0..ROUNDS {
                for change in ["disconnect", "connect"] {
                    engine.succeed(&["network", change, "front", "mover"])?;
                    wait::until("the published port", AGAIN, || {
                        Ok(net::request(port, b"")? == b"mover\n")
                    })
                    .map_err(|error| error.context(format!("{change} in round {round}")))?;
                }
            }
            anyhow::Ok(())
        })();
        done.store(true, Ordering::Relaxed);
        let slowest = asking
            .join()
            .map_err(|_| anyhow::anyhow!("the asking thread panicked"))?;
        moved.map(|()| slowest)
    })?;
    ensure!(slowest < Duration::from_secs(10), "one took {slowest:?}");
    engine.succeed(&["exec", "mover", "touch", "/stop"])?;
    let output = child.wait_with_output()?;
    // Each of many numbers came in its turn, and the last line is none.
    ensure!(
        output.stdout == b"the end 1 1\n",
        "the download on the other network: {output:?}"
    );
    remove(engine, &["mover"], &["front", "back"])
}
