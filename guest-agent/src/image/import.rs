use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use super::layer::{Compression, looks_like_tar, read_full, unpack};
use super::load::docker::manifest_of;
use super::oci::{Configuration, Empty, History, RootFs, RunConfig, our_platform};
use super::store::NewImage;
use super::time::format_time;
use super::{Digest, Error, ImageRecord, LayerRecord, Progress, Reference, Store};

/// How a root file system becomes an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImportOptions {
    /// The image's name; empty for none.
    pub(crate) tag: String,
    /// Dockerfile instructions: `CMD ["nginx"]`, `ENV A=b`.
    pub(crate) changes: Vec<String>,
    /// A comment for the image's history.
    pub(crate) message: String,
}

impl Store {
    /// Makes an image of one layer from the tar of a root file system, packed
    /// or not.
    pub(crate) fn import(
        &self,
        mut reader: impl Read,
        options: &ImportOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<ImageRecord, Error> {
        let name = match options.tag.as_str() {
            "" => None,
            tag => Some(tag.parse::<Reference>()?),
        };
        let mut config = RunConfig::default();
        for change in &options.changes {
            apply(change, &mut config).map_err(|reason| Error::InvalidChange {
                change: change.clone(),
                reason,
            })?;
        }
        let mut start = [0; 512];
        let length = read_full(&mut reader, &mut start)
            .map_err(|error| Error::InvalidArchive(format!("it cannot be read: {error}")))?;
        let start = &start[..length];
        let compression = Compression::of(start);
        if compression == Compression::None && !looks_like_tar(start) {
            return Err(Error::InvalidArchive(
                "it is no tar of a root file system".to_owned(),
            ));
        }
        progress(Progress {
            stage: "unpacking".to_owned(),
            subject: "rootfs".to_owned(),
            ..Progress::default()
        });
        let unpacked = unpack(
            &mut start.chain(reader),
            compression,
            &self.temporary(),
            "rootfs",
        )?;
        let layer = LayerRecord {
            diff_id: unpacked.layer.diff_id,
            size: unpacked.layer.size,
        };
        let configuration = configuration(config, layer.diff_id, &options.message);
        let bytes = serde_json::to_vec(&configuration)
            .map_err(|error| Error::InvalidArchive(error.to_string()))?;
        let id = Digest::of(&bytes);
        let manifest = manifest_of(id, &bytes, std::slice::from_ref(&layer));
        let manifest_digest = Digest::of(&manifest);
        let image = NewImage {
            record: ImageRecord::new(id, manifest_digest, &configuration, vec![layer]),
            names: name.into_iter().collect(),
            digests: Vec::new(),
            blobs: vec![(id, bytes), (manifest_digest, manifest)],
        };
        let record = self
            .commit(vec![image], &[unpacked.layer])?
            .into_iter()
            .next();
        progress(Progress {
            stage: "done".to_owned(),
            ..Progress::default()
        });
        record.ok_or_else(|| Error::NotFound(id.to_string()))
    }
}

fn configuration(config: RunConfig, diff_id: Digest, message: &str) -> Configuration {
    let platform = our_platform();
    let created = Some(now());
    Configuration {
        created: created.clone(),
        architecture: platform.architecture,
        os: platform.os,
        variant: None,
        config,
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![diff_id.to_string()],
        },
        history: vec![History {
            created,
            created_by: None,
            comment: Some(message.to_owned()).filter(|message| !message.is_empty()),
            empty_layer: false,
        }],
    }
}

/// Returns the present time as configurations have it.
pub(super) fn now() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format_time(i64::try_from(now.as_secs()).unwrap_or(0))
}

/// Applies one Dockerfile instruction, of those that `docker import --change`
/// and `docker commit --change` take.
pub(super) fn apply(change: &str, config: &mut RunConfig) -> Result<(), String> {
    let change = change.trim();
    let (instruction, rest) = change
        .split_once(char::is_whitespace)
        .unwrap_or((change, ""));
    let rest = rest.trim();
    let instruction = instruction.to_ascii_uppercase();
    if rest.is_empty() && instruction != "CMD" && instruction != "ENTRYPOINT" {
        return Err(format!("{instruction} needs an argument"));
    }
    match instruction.as_str() {
        "CMD" => config.cmd = command(rest),
        "ENTRYPOINT" => config.entrypoint = command(rest),
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => config.working_dir = join(&config.working_dir, rest),
        "STOPSIGNAL" => config.stop_signal = rest.to_owned(),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                config
                    .exposed_ports
                    .extend(ports(port)?.into_iter().map(|port| (port, Empty {})));
            }
        }
        "VOLUME" => {
            let paths =
                list(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            config
                .volumes
                .extend(paths.into_iter().map(|path| (path, Empty {})));
        }
        "ENV" => {
            for (key, value) in pairs(rest)? {
                let prefix = format!("{key}=");
                config.env.retain(|entry| !entry.starts_with(&prefix));
                config.env.push(prefix + &value);
            }
        }
        "LABEL" => config.labels.extend(pairs(rest)?),
        other => {
            return Err(format!(
                "{other} is not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR, STOPSIGNAL"
            ));
        }
    }
    Ok(())
}

/// The exec form is a JSON list, anything else is the shell form.
fn command(text: &str) -> Vec<String> {
    match list(text) {
        Some(words) => words,
        None if text.is_empty() => Vec::new(),
        None => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()],
    }
}

fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

fn join(directory: &str, path: &str) -> String {
    match path.strip_prefix('/') {
        Some(_) => path.to_owned(),
        None => format!("{}/{path}", directory.trim_end_matches('/')),
    }
}

/// `80`, `80/udp` or `8000-8010/tcp`.
fn ports(text: &str) -> Result<Vec<String>, String> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("{protocol:?} is no protocol of ports"));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("{text:?} is no port"))
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(format!("the range {range} runs backwards"));
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// `A=b C="d e"`, or the older `A value to the end`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let words = words(text)?;
    if !words.first().is_some_and(|word| word.contains('=')) {
        let (key, value) = text
            .split_once(char::is_whitespace)
            .ok_or("it needs the form KEY=value")?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{word:?} is not of the form KEY=value")),
    };
    words.iter().map(pair).collect()
}

/// Splits at white space, taking quotes and backslashes as a shell does.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut begun, mut quote) = (Vec::new(), String::new(), false, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                begun = true;
                word.push(characters.next().ok_or("it ends in a backslash")?);
            }
            (character, Some(open)) if character == open => quote = None,
            ('"' | '\'', None) => {
                begun = true;
                quote = Some(character);
            }
            (character, None) if character.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            (character, _) => {
                begun = true;
                word.push(character);
            }
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    if begun {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(changes: &[&str]) -> RunConfig {
        let mut config = RunConfig::default();
        for change in changes {
            apply(change, &mut config).unwrap();
        }
        config
    }

    #[test]
    fn changes_are_applied_as_docker_does() {
        let config = applied(&[
            r#"CMD ["nginx", "-g", "daemon off;"]"#,
            "entrypoint exec /start",
            "ENV A=b C=\"d e\"",
            "ENV A=c",
            "ENV PATH /usr/bin:/bin",
            "EXPOSE 80 53/udp 8000-8001",
            "LABEL a.b=c d='e f'",
            "USER www",
            r#"VOLUME ["/data"]"#,
            "VOLUME /x /y",
            "WORKDIR /srv",
            "WORKDIR sub",
            "STOPSIGNAL SIGQUIT",
        ]);
        assert_eq!(config.cmd, ["nginx", "-g", "daemon off;"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "exec /start"]);
        assert_eq!(config.env, ["C=d e", "A=c", "PATH=/usr/bin:/bin"]);
        assert_eq!(
            config.exposed_ports.keys().collect::<Vec<_>>(),
            ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]
        );
        assert_eq!(config.labels["d"], "e f");
        assert_eq!(
            config.volumes.keys().collect::<Vec<_>>(),
            ["/data", "/x", "/y"]
        );
        assert_eq!(
            (
                config.user.as_str(),
                config.working_dir.as_str(),
                config.stop_signal.as_str()
            ),
            ("www", "/srv/sub", "SIGQUIT")
        );
    }

    #[test]
    fn unknown_and_malformed_changes_are_refused() {
        for change in [
            "",
            "RUN true",
            "FROM x",
            "ENV",
            "ENV A",
            "ENV A=\"b",
            "EXPOSE 0",
            "EXPOSE 9-8",
            "EXPOSE 80/ip",
            "EXPOSE x",
            "LABEL =a b=c",
            "USER",
        ] {
            assert!(
                apply(change, &mut RunConfig::default()).is_err(),
                "{change:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_change_is_applied_or_refused(instruction in "(ENV|LABEL|CMD|EXPOSE|VOLUME|WORKDIR)", rest in "\\PC{0,40}") {
            let _ = apply(&format!("{instruction} {rest}"), &mut RunConfig::default());
        }
    }
}
