//! Compiles the kernel once for each set of inputs.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::configuration::verify;
use super::source::{Source, Tree};
use crate::cache::{lock, sha256_of_parts};
use crate::command::{program, run, run_lines};
use crate::error::{OnPath, Result};
use crate::{Architecture, Progress};

/// Raised when this file builds another kernel from the same inputs.
const RECIPE: &str = "1";

/// Steps that `make` announces for the configuration in this folder, measured.
const EXPECTED_STEPS: u64 = 2143;

/// A kernel in the cache.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The image that the hypervisor loads.
    pub image: PathBuf,
    /// The name of the source: the package's file name, or a path.
    pub source: String,
    /// The hash of all inputs.
    pub inputs: String,
}

/// Builds the kernel named `image` with the configuration in `configuration`,
/// or finds it in the cache.
pub(crate) fn build(
    image: &str,
    configuration: &Path,
    given_source: Option<&OsStr>,
    architecture: Architecture,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<Kernel> {
    let wanted = fs::read_to_string(configuration).on("read", configuration)?;
    let source = Source::find(image, given_source, cache, progress)?;
    let patches = Patches::beside(configuration)?;
    let compiler = run(
        program("gcc").arg("--version"),
        "tells the compiler's version",
    )?;
    let compiler = String::from_utf8_lossy(&compiler);
    let inputs = sha256_of_parts(&[
        RECIPE,
        architecture.name(),
        &source.identity,
        compiler.lines().next().unwrap_or_default(),
        &options(&wanted),
        &patches.text,
    ]);
    let guest = cache.join("guest");
    fs::create_dir_all(&guest).on("create", &guest)?;
    let folder = guest.join(format!("kernel-{inputs}"));
    let kernel = Kernel {
        image: folder.join("kernel"),
        source: source.name.clone(),
        inputs,
    };
    let _lock = lock(&folder)?;
    if kernel.image.exists() {
        return Ok(kernel);
    }
    let work = tempfile::Builder::new()
        .prefix("building-")
        .tempdir_in(&guest)
        .on("create a folder in", &guest)?;
    progress.step(&format!("Unpacking {}", source.name));
    let tree = source.unpack(work.path())?;
    patches.apply(&tree)?;
    let make = Make::new(&tree, work.path(), architecture)?;
    make.configure(configuration, &wanted, work.path())?;
    progress.step("Compiling the guest's kernel");
    make.compile(architecture, progress)?;

    let result = work.path().join("result");
    fs::create_dir(&result).on("create", &result)?;
    for (from, to) in [
        (architecture.kernel_image(), "kernel"),
        (".config", "config"),
    ] {
        let (from, to) = (make.output.join(from), result.join(to));
        fs::copy(&from, &to).on("copy", &from)?;
    }
    fs::rename(&result, &folder).on("rename to", &folder)?;
    Ok(kernel)
}

/// Returns the configuration without comments and empty lines, which change
/// nothing in the kernel.
fn options(wanted: &str) -> String {
    let line = |line: &&str| line.contains("CONFIG_") && !line.is_empty();
    wanted.lines().filter(line).collect::<Vec<_>>().join("\n")
}

/// What is changed in the kernel's source: the files of `patches` beside the
/// configuration, in the order of their names.
struct Patches {
    files: Vec<PathBuf>,
    text: String,
}

impl Patches {
    fn beside(configuration: &Path) -> Result<Self> {
        let folder = configuration.with_file_name("patches");
        let entries = fs::read_dir(&folder).on("list", &folder)?;
        let mut files: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension() == Some(OsStr::new("patch")))
            .collect();
        files.sort();
        let texts = files
            .iter()
            .map(|file| fs::read_to_string(file).on("read", file));
        let text = texts.collect::<Result<String>>()?;
        Ok(Self { files, text })
    }

    /// Changes an unpacked tree; one that is the user's stays as it is.
    fn apply(&self, tree: &Tree) -> Result<()> {
        if tree.foreign {
            return Ok(());
        }
        for file in &self.files {
            let mut patch = program("patch");
            patch
                .args(["--strip=1", "--batch", "--forward", "--directory"])
                .arg(&tree.path)
                .arg("--input")
                .arg(file);
            run(&mut patch, "changes the kernel's source")?;
        }
        Ok(())
    }
}

struct Make {
    source: PathBuf,
    output: PathBuf,
    architecture: Architecture,
}

impl Make {
    /// Compiles inside an unpacked tree, beside one that is the user's.
    fn new(tree: &Tree, work: &Path, architecture: Architecture) -> Result<Self> {
        let output = if tree.foreign {
            let output = work.join("output");
            fs::create_dir(&output).on("create", &output)?;
            output
        } else {
            tree.path.clone()
        };
        Ok(Self {
            source: tree.path.clone(),
            output,
            architecture,
        })
    }

    fn command(&self) -> Command {
        let mut command = program("make");
        command.arg("-C").arg(&self.source);
        if self.output != self.source {
            let mut output = std::ffi::OsString::from("O=");
            output.push(&self.output);
            command.arg(output);
        }
        command.arg(format!("ARCH={}", self.architecture.kernel_name()));
        for variable in [
            "MAKEFLAGS",
            "MFLAGS",
            "CROSS_COMPILE",
            "KCFLAGS",
            "KBUILD_OUTPUT",
        ] {
            command.env_remove(variable);
        }
        // Documentation/kbuild/reproducible-builds.rst
        command
            .env("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970")
            .env("KBUILD_BUILD_USER", "wherry")
            .env("KBUILD_BUILD_HOST", "wherry")
            .env("KBUILD_BUILD_VERSION", "1");
        command
    }

    /// Everything off but what is wanted, and the check that it stayed.
    fn configure(&self, file: &Path, wanted: &str, work: &Path) -> Result<()> {
        let merged = work.join("wanted.config");
        fs::write(&merged, wanted).on("write", &merged)?;
        run(
            self.command()
                .env("KCONFIG_ALLCONFIG", &merged)
                .arg("allnoconfig"),
            "configures the kernel",
        )?;
        let config = self.output.join(".config");
        let config = fs::read_to_string(&config).on("read", &config)?;
        verify(file, wanted, &config)
    }

    fn compile(&self, architecture: Architecture, progress: &dyn Progress) -> Result<()> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let target = architecture.kernel_target();
        // One pipe for both, or a filled one for errors would stop the build.
        let mut shell = program("sh");
        let make = self.command();
        for (name, value) in make.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
            .args(["-c", "exec \"$@\" 2>&1", "make"])
            .arg(make.get_program())
            .args(make.get_args())
            .arg(format!("-j{jobs}"))
            .arg(target)
            .stdin(Stdio::null());
        let mut done = 0;
        run_lines(&mut shell, "compiles the kernel", |line| {
            if line.starts_with("  ") {
                done += 1;
                progress.advance(done, EXPECTED_STEPS.max(done));
            }
        })
    }
}
