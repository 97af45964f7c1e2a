//! `-it`: a terminal of the container in the user's own.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use wherry_tests::{Engine, IMAGE};

use crate::Shared;

pub(crate) const TESTS: &[(&str, Shared)] = &[
    ("a_shell_has_a_terminal_with_job_control", shell),
    ("the_terminal_follows_the_window", resize),
    ("exec_has_a_terminal_too", exec),
    ("a_terminal_needs_one", no_terminal),
];

struct Session {
    pty: Pty,
    child: std::process::Child,
    seen: String,
}

impl Session {
    fn start(engine: &Engine, arguments: &[&str]) -> anyhow::Result<Self> {
        let template = engine.command(arguments);
        let (pty, slave) = open()?;
        pty.resize(Size::new(30, 100))?;
        let mut command = Command::new(template.get_program());
        command = command.args(template.get_args());
        for (name, value) in template.get_envs() {
            if let Some(value) = value {
                command = command.env(name, value);
            }
        }
        let child = command.spawn(slave)?;
        Ok(Self {
            pty,
            child,
            seen: String::new(),
        })
    }

    fn send(&mut self, text: &str) -> anyhow::Result<()> {
        self.pty.write_all(text.as_bytes())?;
        Ok(())
    }

    /// Reads until `words` have come since the last call.
    fn expect(&mut self, words: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.seen.contains(words) {
            ensure!(Instant::now() < deadline, "no {words:?} in {:?}", self.seen);
            let mut ready = [rustix::event::PollFd::new(
                &self.pty,
                rustix::event::PollFlags::IN,
            )];
            let limit = rustix::event::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            if rustix::event::poll(&mut ready, Some(&limit))? == 0 {
                continue;
            }
            let mut bytes = [0; 4096];
            match self.pty.read(&mut bytes) {
                Ok(0) | Err(_) => bail!("the terminal closed before {words:?}: {:?}", self.seen),
                Ok(count) => self
                    .seen
                    .push_str(&String::from_utf8_lossy(&bytes[..count])),
            }
        }
        let end = self.seen.find(words).map_or(0, |at| at + words.len());
        self.seen.drain(..end);
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<i32> {
        // What is left in the terminal would hold the process up.
        let mut rest = Vec::new();
        let _ = self.pty.read_to_end(&mut rest);
        self.child.wait()?.code().context("ended by a signal")
    }
}

fn shell(engine: &Engine) -> anyhow::Result<()> {
    let mut session = Session::start(engine, &["run", "--rm", "-it", IMAGE, "sh"])?;
    session.expect("# ")?;
    session.send("tty; echo $((20+3))\r")?;
    session.expect("/dev/pts/")?;
    session.expect("23\r\n")?;
    // Ctrl-C ends the foreground job and not the shell. It is sent once the job
    // runs: the shell drops what is typed while it sets the terminal for a job.
    session.send("sh -c 'echo run''ning; exec sleep 1000'\r")?;
    session.expect("running\r\n")?;
    session.send("\x03")?;
    session.expect("# ")?;
    session.send("exit 4\r")?;
    ensure!(session.end()? == 4);
    Ok(())
}

fn resize(engine: &Engine) -> anyhow::Result<()> {
    let mut session = Session::start(engine, &["run", "--rm", "-it", IMAGE, "sh"])?;
    session.expect("# ")?;
    session.send("stty size\r")?;
    session.expect("30 100")?;
    session.pty.resize(Size::new(41, 123))?;
    session.send("sleep 1; stty size\r")?;
    session.expect("41 123")?;
    session.send("exit\r")?;
    session.end()?;
    Ok(())
}

fn exec(engine: &Engine) -> anyhow::Result<()> {
    engine.succeed(&["run", "-d", "--name", "terminal", IMAGE, "sleep", "1000"])?;
    let mut session = Session::start(engine, &["exec", "-it", "terminal", "sh"])?;
    session.expect("# ")?;
    session.send("exit 6\r")?;
    ensure!(session.end()? == 6);
    engine.succeed(&["rm", "-f", "terminal"])?;
    Ok(())
}

fn no_terminal(engine: &Engine) -> anyhow::Result<()> {
    let error = engine
        .fail(125, &["run", "--rm", "-it", IMAGE, "sh"])
        .or_else(|_| engine.fail(1, &["run", "--rm", "-it", IMAGE, "sh"]))?;
    ensure!(error.contains("not a TTY"), "{error}");
    Ok(())
}
