//! The description of the guest: `wherry.yml`, in LinuxKit's schema
//! (linuxkit/linuxkit, docs/yaml.md).
//!
//! A section or key that the builder does not act on is refused by name, so
//! that no line of the description is silently without effect.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, OnPath, Result};

/// A part of the root file system that the builder can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The static agent, as `/init`.
    GuestAgent,
    /// `nft` with its shared libraries.
    Nftables,
    /// The archive of the built-in image `hello`.
    Hello,
}

impl Component {
    const NAMES: [(&'static str, Self); 3] = [
        ("wherry-guest-agent", Self::GuestAgent),
        ("debian-nftables", Self::Nftables),
        ("wherry-hello", Self::Hello),
    ];
}

/// The section `kernel`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Kernel {
    /// The name of the kernel's source, `debian-linux-6.12`.
    pub image: String,
    /// The kernel's command line, to which the engine adds its own words.
    #[serde(default)]
    pub cmdline: String,
}

/// One entry of the section `files`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct File {
    /// Where it lies in the guest, with or without a leading slash.
    pub path: String,
    /// The bytes of the file, as text.
    pub contents: Option<String>,
    /// The file on the host to copy, relative to the description.
    pub source: Option<PathBuf>,
    /// The target of a symbolic link.
    pub symlink: Option<String>,
    /// Whether it is a directory.
    #[serde(default)]
    pub directory: bool,
    /// Permission bits in octal, as text. 0755 for directories, else 0644.
    pub mode: Option<String>,
    /// The numeric owner.
    #[serde(default)]
    pub uid: u32,
    /// The numeric group.
    #[serde(default)]
    pub gid: u32,
    /// Whether a `source` that does not exist is left out instead of an error.
    #[serde(default)]
    pub optional: bool,
}

impl File {
    /// Returns the permission bits.
    fn permissions(&self) -> Option<u32> {
        match &self.mode {
            Some(text) => u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777),
            None if self.directory => Some(0o755),
            None => Some(0o644),
        }
    }

    /// Returns the permission bits, which [`Description::read`] has checked.
    pub fn mode(&self) -> u32 {
        self.permissions().unwrap_or(0o644)
    }
}

/// A checked description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Where it was read from.
    pub file: PathBuf,
    /// The kernel.
    pub kernel: Kernel,
    /// The parts of the root file system.
    pub init: Vec<Component>,
    /// Further files.
    pub files: Vec<File>,
}

impl Description {
    /// Reads and checks a description.
    ///
    /// # Errors
    ///
    /// [`Error::Yaml`] for what is not YAML or has the wrong type,
    /// [`Error::Unsupported`] for every key, section or component that the
    /// builder does not act on.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).on("read", path)?;
        Self::parse(path, &text)
    }

    /// Checks a description already read from `path`.
    ///
    /// # Errors
    ///
    /// As [`Description::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let check = Check { file: path };
        let value: Value =
            serde_saphyr::from_str(text).map_err(|error| check.malformed(&error.to_string()))?;
        let sections = check.map(&value, "the description")?;
        check.keys(sections, "", &["kernel", "init", "files"])?;

        let kernel = sections
            .get("kernel")
            .ok_or_else(|| check.malformed("the section `kernel` is missing"))?;
        check.keys(
            check.map(kernel, "kernel")?,
            "kernel.",
            &["image", "cmdline"],
        )?;
        let kernel: Kernel = check.typed(kernel, "kernel")?;

        let mut init = Vec::new();
        for (index, name) in check.list(sections.get("init"), "init")?.iter().enumerate() {
            let key = format!("init[{index}]");
            let name: String = check.typed(name, &key)?;
            init.push(check.component(&name, &key)?);
        }

        let mut files = Vec::new();
        for (index, value) in check
            .list(sections.get("files"), "files")?
            .iter()
            .enumerate()
        {
            files.push(check.file_entry(value, &format!("files[{index}]"))?);
        }
        Ok(Self {
            file: path.to_owned(),
            kernel,
            init,
            files,
        })
    }
}

struct Check<'a> {
    file: &'a Path,
}

impl Check<'_> {
    fn malformed(&self, message: &str) -> Error {
        Error::Yaml {
            file: self.file.to_owned(),
            message: message.to_owned(),
        }
    }

    fn unsupported(&self, key: &str, reason: String) -> Error {
        Error::Unsupported {
            file: self.file.to_owned(),
            key: key.to_owned(),
            reason,
        }
    }

    fn map<'v>(&self, value: &'v Value, key: &str) -> Result<&'v Map<String, Value>> {
        value
            .as_object()
            .ok_or_else(|| self.malformed(&format!("`{key}` is not a map")))
    }

    fn list<'v>(&self, value: Option<&'v Value>, key: &str) -> Result<&'v [Value]> {
        match value {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(self.malformed(&format!("`{key}` is not a list"))),
        }
    }

    fn keys(&self, map: &Map<String, Value>, prefix: &str, known: &[&str]) -> Result<()> {
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(self.unsupported(
                &format!("{prefix}{key}"),
                format!("it knows {}", known.join(", ")),
            )),
        }
    }

    fn typed<T: DeserializeOwned>(&self, value: &Value, key: &str) -> Result<T> {
        T::deserialize(value).map_err(|error| self.malformed(&format!("`{key}`: {error}")))
    }

    fn component(&self, name: &str, key: &str) -> Result<Component> {
        Component::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, component)| *component)
            .ok_or_else(|| {
                let known = Component::NAMES.map(|(known, _)| known).join(", ");
                self.unsupported(&format!("{key}: {name}"), format!("it knows {known}"))
            })
    }

    fn file_entry(&self, value: &Value, key: &str) -> Result<File> {
        let known = [
            "path",
            "contents",
            "source",
            "symlink",
            "directory",
            "mode",
            "uid",
            "gid",
            "optional",
        ];
        self.keys(self.map(value, key)?, &format!("{key}."), &known)?;
        let file: File = self.typed(value, key)?;
        let kinds = [
            file.contents.is_some(),
            file.source.is_some(),
            file.symlink.is_some(),
            file.directory,
        ];
        if kinds.iter().filter(|given| **given).count() != 1 {
            return Err(self.malformed(&format!(
                "`{key}` ({}) needs exactly one of contents, source, symlink, directory",
                file.path
            )));
        }
        if file.permissions().is_none() {
            return Err(self.malformed(&format!(
                "`{key}.mode` is not an octal mode in quotes, like \"0644\""
            )));
        }
        if file.optional && file.source.is_none() {
            return Err(self.unsupported(
                &format!("{key}.optional"),
                "only a file with `source` can be optional".into(),
            ));
        }
        Ok(file)
    }
}

#[cfg(test)]
#[path = "yml_tests.rs"]
mod tests;
