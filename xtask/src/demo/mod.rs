//! The demo: from nothing to a web server in a container that serves a folder
//! of the host on a port of the host.

mod image;
mod web;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::{build, setup};

const CONTAINER: &str = "wherry-demo";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The host port to publish the web server on.
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    port: u16,

    /// Pull this image of nginx instead of making one out of Debian's packages.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
}

/// Pulled where Debian's packages cannot be had: nginx, with a shell.
const PULLED: &str = "docker.io/library/nginx:alpine";

/// Runs the demo and leaves the engine running.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    setup::install(setup::BUILD)?;
    setup::install(setup::RUN)?;
    heading("Building wherry, wherryd and the guest image");
    build::all()?;
    let demo = Demo {
        wherry: build::release_folder().join("wherry"),
        site: std::env::temp_dir().join("wherry-demo-site"),
        port: options.port,
        image: options.image.clone(),
        figures: Vec::new(),
    };
    demo.show()
}

struct Demo {
    wherry: PathBuf,
    site: PathBuf,
    port: u16,
    image: Option<String>,
    figures: Vec<(&'static str, String)>,
}

impl Demo {
    fn show(mut self) -> anyhow::Result<()> {
        let archive = self.make_image();

        heading("The machine");
        let (_, time) = self.wherry(&["machine", "start"])?;
        self.note("wherry machine start", time);

        let image = if let Some(archive) = archive {
            heading("Loading the image");
            let (_, time) = self.wherry(&["load", "-i", text(&archive)?])?;
            self.note("wherry load", time);
            image::NAME.to_owned()
        } else {
            heading("Pulling an image");
            let image = self.image.clone().unwrap_or_else(|| PULLED.to_owned());
            let (_, time) = self.wherry(&["pull", &image])?;
            self.note("wherry pull", time);
            image
        };

        heading("A container that needs nothing: the built-in image");
        let (_, time) = self.wherry(&["run", "--rm", "hello"])?;
        self.note("wherry run --rm hello", time);

        heading("A web server: a folder of the host on a port of the host");
        self.write_page("Hello from a container.")?;
        // One of an earlier run, if there is one.
        let _ = self.command(&["rm", "-f", CONTAINER]).output();
        let volume = format!("{}:/usr/share/nginx/html:ro", text(&self.site)?);
        let publish = format!("{}:80", self.port);
        let (_, time) = self.wherry(&[
            "run", "-d", "--name", CONTAINER, "-p", &publish, "-v", &volume, &image,
        ])?;
        self.note("wherry run -d", time);
        let begun = Instant::now();
        let page = web::fetch_until(
            self.port,
            "Hello from a container.",
            Duration::from_secs(60),
        )
        .with_context(|| self.logs())?;
        self.note("until the first page", begun.elapsed());
        println!("GET http://127.0.0.1:{}/\n{}", self.port, page.trim());

        heading("A change on the host is seen at once");
        self.write_page("Hello again, changed on the host.")?;
        let begun = Instant::now();
        let page = web::fetch(self.port)?;
        self.note("a request", begun.elapsed());
        println!("GET http://127.0.0.1:{}/\n{}", self.port, page.trim());
        ensure!(
            page.contains("changed on the host"),
            "the page is stale: the container did not see the change on the host"
        );

        heading("Inside the container");
        let (_, time) = self.wherry(&["exec", CONTAINER, "sh", "-c", "hostname; uname -sr; ps"])?;
        self.note("wherry exec", time);
        heading("Its logs");
        let (logs, _) = self.wherry(&["logs", CONTAINER])?;
        ensure!(
            logs.contains("GET / HTTP"),
            "the requests are not in the container's log"
        );
        self.wherry(&["ps"])?;

        self.summary()
    }

    /// Makes the image, unless another one is to be pulled.
    fn make_image(&mut self) -> Option<PathBuf> {
        if self.image.is_some() {
            return None;
        }
        heading("An image out of Debian's packages");
        let begun = Instant::now();
        match image::archive() {
            Ok((archive, cached)) => {
                let how = if cached { "made before" } else { "made now" };
                println!("{} ({how})", archive.display());
                self.note("make the image", begun.elapsed());
                Some(archive)
            }
            Err(error) => {
                println!("{error:#}\nPulling one from a registry instead.");
                None
            }
        }
    }

    /// Returns what the server said of itself, for when it fails.
    fn logs(&self) -> String {
        let printed = self.command(&["logs", CONTAINER]).output();
        printed.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    fn write_page(&self, words: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.site)?;
        let page = self.site.join("index.html");
        std::fs::write(&page, format!("<h1>{words}</h1>\n"))
            .with_context(|| format!("cannot write {}", page.display()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.wherry);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `wherry`, shows the command and what it prints, and returns that
    /// and the time it took.
    fn wherry(&self, arguments: &[&str]) -> anyhow::Result<(String, Duration)> {
        println!("$ wherry {}", arguments.join(" "));
        let begun = Instant::now();
        let output = self
            .command(arguments)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run {}", self.wherry.display()))?;
        let time = begun.elapsed();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{printed}");
        if !output.status.success() {
            bail!("wherry {} failed ({})", arguments.join(" "), output.status);
        }
        Ok((printed, time))
    }

    fn note(&mut self, what: &'static str, time: Duration) {
        self.figures
            .push((what, format!("{:.2} s", time.as_secs_f64())));
    }

    fn summary(&self) -> anyhow::Result<()> {
        heading("Measured just now");
        let mut table = String::new();
        for (what, figure) in &self.figures {
            writeln!(table, "  {what:<24}{figure:>10}")?;
        }
        print!("{table}");
        let wherry = self.wherry.display();
        println!(
            "\nThe engine goes on running. Try next:\n  \
             {wherry} exec -it {CONTAINER} sh\n  \
             {wherry} logs -f {CONTAINER}\n  \
             {wherry} stop {CONTAINER}\n  \
             {wherry} machine stop\n\
             The page is http://127.0.0.1:{}/, its folder {}.",
            self.port,
            self.site.display()
        );
        Ok(())
    }
}

fn heading(words: &str) {
    println!("\n== {words}");
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not valid UTF-8", path.display()))
}
