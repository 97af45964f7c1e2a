//! `-e` and `--env-file`, and the files of `--label-file`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The options that set a process's environment.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct EnvironmentOptions {
    /// Set an environment variable; without a value, pass on that of the host
    #[arg(short = 'e', long = "env", value_name = "KEY[=VALUE]", value_parser = parse_variable)]
    variables: Vec<String>,

    /// Read environment variables from a file, one KEY=VALUE a line
    #[arg(long = "env-file", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl EnvironmentOptions {
    /// Returns the variables as `KEY=value`, those of files first, so that `-e` wins.
    pub(crate) fn resolve(&self) -> Result<Vec<String>, Failure> {
        let host = |name: &str| std::env::var(name).ok();
        let mut variables = Vec::new();
        for file in &self.files {
            variables.extend(read_pairs(file, "--env-file")?);
        }
        variables.extend(self.variables.iter().cloned());
        Ok(variables
            .into_iter()
            .filter_map(|variable| with_value(variable, host))
            .collect())
    }
}

/// Adds the host's value to a variable without one; `None` where it has none either.
fn with_value(variable: String, host: impl Fn(&str) -> Option<String>) -> Option<String> {
    if variable.contains('=') {
        return Some(variable);
    }
    host(&variable).map(|value| format!("{variable}={value}"))
}

fn parse_variable(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('=') {
        return Err("the variable's name is missing: write KEY=VALUE".to_owned());
    }
    if text.contains('\0') {
        return Err("a variable cannot hold a NUL byte".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads the labels of `--label-file`, and those of `-l` over them.
pub(crate) fn labels(
    files: &[PathBuf],
    labels: &[String],
) -> Result<HashMap<String, String>, Failure> {
    let mut all = Vec::new();
    for file in files {
        all.extend(read_pairs(file, "--label-file")?);
    }
    all.extend(labels.iter().cloned());
    Ok(all
        .into_iter()
        .map(|label| match label.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (label, String::new()),
        })
        .collect())
}

fn read_pairs(file: &Path, option: &str) -> Result<Vec<String>, Failure> {
    let failed = |why: String| Failure::new(format!("{option} {}: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    parse_pairs(&bytes).map_err(failed)
}

/// Parses a file of Docker's: a pair a line, taken as it stands, quotes and all;
/// empty lines and those that begin with # are passed over.
fn parse_pairs(bytes: &[u8]) -> Result<Vec<String>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut pairs = Vec::new();
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let at = |why: &str| format!("line {}: {why}", number + 1);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| at("this is no UTF-8"))?;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or(line);
        if name.is_empty() {
            return Err(at("the name before = is missing"));
        }
        // A name alone may have blanks after it, as an editor leaves them.
        let line = if name == line { line.trim_end() } else { line };
        let name = if name.len() > line.len() { line } else { name };
        if name.contains(char::is_whitespace) {
            return Err(at(&format!("the name {name:?} has a blank in it")));
        }
        if line.contains('\0') {
            return Err(at("a value cannot hold a NUL byte"));
        }
        pairs.push(line.to_owned());
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_is_read_by_dockers_rules() {
        let file = b"\xef\xbb\xbf# comment\nA=1\r\n\n  B=two words \nC=\"quoted\"\n   # more\nD\nE=\nF=a=b #c\nG  ";
        assert_eq!(
            parse_pairs(file).unwrap(),
            [
                "A=1",
                "B=two words ",
                "C=\"quoted\"",
                "D",
                "E=",
                "F=a=b #c",
                "G"
            ]
        );
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number() {
        for (file, words) in [
            (&b"A=1\n=x"[..], "line 2: the name"),
            (b"A B=1", "line 1: the name \"A B\""),
            (b"A=1\nB=\xff", "line 2: this is no UTF-8"),
            (b"A=\0", "NUL"),
        ] {
            let error = parse_pairs(file).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_variable_without_a_value_has_the_hosts_or_is_left_out() {
        let host = |name: &str| (name == "SET").then(|| "here".to_owned());
        assert_eq!(
            with_value("SET".to_owned(), host).as_deref(),
            Some("SET=here")
        );
        assert_eq!(with_value("UNSET".to_owned(), host), None);
        assert_eq!(
            with_value("UNSET=".to_owned(), host).as_deref(),
            Some("UNSET=")
        );
    }

    #[test]
    fn a_label_without_a_value_is_empty() {
        let labels = labels(&[], &["a".to_owned(), "b=c=d".to_owned()]).unwrap();
        assert_eq!(labels["a"], "");
        assert_eq!(labels["b"], "c=d");
    }

    proptest! {
        #[test]
        fn any_file_is_pairs_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for pair in parse_pairs(&bytes).into_iter().flatten() {
                prop_assert!(!pair.is_empty() && !pair.starts_with('=') && !pair.contains(['\n', '\0']));
            }
        }

        #[test]
        fn pairs_come_back_as_written(pairs in proptest::collection::vec("[A-Z_]{1,8}=[ -~]{0,12}", 0..8)) {
            let file = pairs.join("\n");
            prop_assert_eq!(parse_pairs(file.as_bytes()).unwrap(), pairs);
        }
    }
}
