use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path;

use crate::image::layer::{
    Compression, Kind, TarReader, UnpackedLayer, looks_like_tar, read_full, unpack,
};
use crate::image::oci::{Configuration, Descriptor, MAX_JSON, parse};
use crate::image::{Digest, Error, LayerRecord, Progress};

/// An archive of images has a few members a layer.
const MAX_MEMBERS: usize = 20_000;
/// All manifests and configurations of an archive together, bytes.
const MAX_JSON_TOTAL: usize = 64 * 1024 * 1024;
/// How often progress is told, bytes.
const PROGRESS_STEP: u64 = 4 * 1024 * 1024;

/// What an archive holds, by name.
pub(super) struct Archive {
    members: HashMap<String, Member>,
    /// Symbolic links: Docker's older archives share layers by them.
    links: HashMap<String, String>,
    layers: Vec<UnpackedLayer>,
}

struct Member {
    digest: Digest,
    size: u64,
    content: Content,
}

enum Content {
    Json(Vec<u8>),
    Layer(LayerRecord),
    /// Neither JSON nor a layer.
    Other,
}

impl Archive {
    /// Reads an archive to its end.
    pub(super) fn read(
        source: impl BufRead,
        temporary: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Archive, Error> {
        let broken = |error| Error::InvalidArchive(format!("it cannot be read: {error}"));
        let mut archive = Archive {
            members: HashMap::new(),
            links: HashMap::new(),
            layers: Vec::new(),
        };
        let mut json_total = 0;
        let mut tar = TarReader::new(source);
        while let Some(entry) = tar.next_entry().map_err(broken)? {
            let name = normalise(&String::from_utf8_lossy(&entry.path));
            if archive.members.len() + archive.links.len() >= MAX_MEMBERS {
                return Err(Error::InvalidArchive(format!(
                    "it has more than {MAX_MEMBERS} members"
                )));
            }
            match entry.kind {
                Kind::Regular if entry.sparse.is_none() => {}
                Kind::Symlink | Kind::HardLink => {
                    let target = String::from_utf8_lossy(&entry.link).into_owned();
                    let base = if entry.kind == Kind::Symlink {
                        parent(&name)
                    } else {
                        ""
                    };
                    archive
                        .links
                        .insert(name.clone(), normalise(&format!("{base}/{target}")));
                    continue;
                }
                _ => continue,
            }
            let mut source = Reporting {
                source: &mut tar,
                progress,
                name: &name,
                read: 0,
                reported: 0,
                total: entry.size,
            };
            let member = archive.member(&mut source, entry.size, temporary, &name)?;
            check_name(&name, &member)?;
            if let Content::Json(bytes) = &member.content {
                json_total += bytes.len();
                if json_total > MAX_JSON_TOTAL {
                    return Err(Error::InvalidArchive(
                        "its manifests and configurations are too large".to_owned(),
                    ));
                }
            }
            archive.members.insert(name, member);
        }
        tar.finish().map_err(broken)?;
        Ok(archive)
    }

    fn member(
        &mut self,
        source: &mut dyn Read,
        size: u64,
        temporary: &Path,
        name: &str,
    ) -> Result<Member, Error> {
        let broken =
            |error| Error::InvalidArchive(format!("its member {name} cannot be read: {error}"));
        let mut start = [0; 512];
        let length = read_full(source, &mut start).map_err(broken)?;
        let start = &start[..length];
        let compression = Compression::of(start);
        let mut whole = start.chain(source);
        if compression != Compression::None || looks_like_tar(start) {
            let unpacked = unpack(&mut whole, compression, temporary, &short(name))?;
            let record = LayerRecord {
                diff_id: unpacked.layer.diff_id,
                size: unpacked.layer.size,
            };
            if !self
                .layers
                .iter()
                .any(|layer| layer.diff_id == record.diff_id)
            {
                self.layers.push(unpacked.layer);
            }
            return Ok(Member {
                digest: unpacked.digest,
                size: unpacked.size,
                content: Content::Layer(record),
            });
        }
        if size > MAX_JSON {
            std::io::copy(&mut whole, &mut std::io::sink()).map_err(broken)?;
            return Ok(Member {
                digest: Digest::of(b""),
                size,
                content: Content::Other,
            });
        }
        let mut bytes = Vec::new();
        whole.read_to_end(&mut bytes).map_err(broken)?;
        Ok(Member {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            content: Content::Json(bytes),
        })
    }

    /// Returns the content of a JSON document by its name, if it is there.
    pub(super) fn json(&self, name: &str) -> Result<Option<&[u8]>, Error> {
        match self.find(name) {
            None => Ok(None),
            Some(Member {
                content: Content::Json(bytes),
                ..
            }) => Ok(Some(bytes)),
            Some(_) => Err(Error::InvalidArchive(format!("{name} is no JSON document"))),
        }
    }

    /// Returns a document and its digest by its name.
    pub(super) fn document(&self, name: &str) -> Result<(Digest, &[u8]), Error> {
        let bytes = self.json(name)?.ok_or_else(|| missing(name))?;
        Ok((Digest::of(bytes), bytes))
    }

    /// Tells whether the blob of a descriptor is in the archive.
    pub(super) fn has(&self, descriptor: &Descriptor) -> bool {
        blob_name(descriptor).is_ok_and(|(_, name)| self.members.contains_key(&name))
    }

    /// Returns the document that a descriptor names, its digest and size checked.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<(Digest, &[u8]), Error> {
        let (digest, name) = blob_name(descriptor)?;
        self.check(descriptor, digest, &name)?;
        Ok((digest, self.json(&name)?.ok_or_else(|| missing(&name))?))
    }

    /// Returns the layer that a descriptor names, its digest and size checked.
    pub(super) fn layer_blob(&self, descriptor: &Descriptor) -> Result<&LayerRecord, Error> {
        let (digest, name) = blob_name(descriptor)?;
        self.check(descriptor, digest, &name)?;
        self.layer(&name)
    }

    /// Returns a layer by its name.
    pub(super) fn layer(&self, name: &str) -> Result<&LayerRecord, Error> {
        match self.find(name) {
            Some(Member {
                content: Content::Layer(record),
                ..
            }) => Ok(record),
            Some(_) => Err(Error::InvalidArchive(format!("{name} is no layer"))),
            None => Err(missing(name)),
        }
    }

    /// Takes the layers out, for the store.
    pub(super) fn take_layers(&mut self) -> Vec<UnpackedLayer> {
        std::mem::take(&mut self.layers)
    }

    fn check(&self, descriptor: &Descriptor, digest: Digest, name: &str) -> Result<(), Error> {
        let member = self.members.get(name).ok_or_else(|| missing(name))?;
        let damaged = |expected: String, found: String| Error::DigestMismatch {
            what: format!("the blob {digest}"),
            expected,
            found,
        };
        if member.digest != digest {
            return Err(damaged(digest.to_string(), member.digest.to_string()));
        }
        if member.size != descriptor.size {
            return Err(damaged(
                format!("{} bytes", descriptor.size),
                format!("{} bytes", member.size),
            ));
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Member> {
        let mut name = normalise(name);
        // A chain longer than this is a cycle.
        for _ in 0..8 {
            if let Some(member) = self.members.get(&name) {
                return Some(member);
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }
}

/// Checks a configuration's diff ids against the layers as they were unpacked.
pub(in crate::image) fn check_diff_ids(
    configuration: &Configuration,
    layers: &[LayerRecord],
) -> Result<(), Error> {
    let diff_ids = &configuration.rootfs.diff_ids;
    if diff_ids.len() != layers.len() {
        return Err(Error::InvalidArchive(format!(
            "the configuration has {} layers, the manifest {}",
            diff_ids.len(),
            layers.len()
        )));
    }
    for (index, (expected, layer)) in diff_ids.iter().zip(layers).enumerate() {
        if *expected != layer.diff_id.to_string() {
            return Err(Error::DigestMismatch {
                what: format!("layer {} (unpacked)", index + 1),
                expected: expected.clone(),
                found: layer.diff_id.to_string(),
            });
        }
    }
    Ok(())
}

/// Reads a configuration.
pub(super) fn configuration(bytes: &[u8]) -> Result<Configuration, Error> {
    parse("the image's configuration", bytes)
}

/// A member below `blobs/sha256/` is named by its digest.
fn check_name(name: &str, member: &Member) -> Result<(), Error> {
    let Some(expected) = name
        .strip_prefix("blobs/sha256/")
        .and_then(Digest::from_hex)
    else {
        return Ok(());
    };
    if matches!(member.content, Content::Other) || member.digest == expected {
        return Ok(());
    }
    Err(Error::DigestMismatch {
        what: format!("the blob {expected}"),
        expected: expected.to_string(),
        found: member.digest.to_string(),
    })
}

fn blob_name(descriptor: &Descriptor) -> Result<(Digest, String), Error> {
    let digest: Digest = descriptor.digest.parse().map_err(Error::InvalidArchive)?;
    Ok((digest, format!("blobs/sha256/{}", digest.hex())))
}

fn missing(name: &str) -> Error {
    Error::InvalidArchive(format!("{name} is missing from it"))
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Names are keys, never paths of ours: `./a//b/../c` is `a/c`.
fn normalise(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A layer's name for messages: the beginning of its digest where it has one.
fn short(name: &str) -> String {
    let digits = name
        .rsplit('/')
        .find(|part| part.len() >= 64)
        .unwrap_or(name);
    digits.get(..12).unwrap_or(digits).to_owned()
}

/// Tells how far a member is read.
struct Reporting<'a, R> {
    source: &'a mut TarReader<R>,
    progress: &'a mut dyn FnMut(Progress),
    name: &'a str,
    read: u64,
    reported: u64,
    total: u64,
}

impl<R: BufRead> Read for Reporting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.read += length as u64;
        let done =
            self.read == self.total && self.total > PROGRESS_STEP && self.reported < self.total;
        if self.read - self.reported >= PROGRESS_STEP || done {
            self.reported = self.read;
            (self.progress)(Progress {
                stage: "unpacking".to_owned(),
                subject: short(self.name),
                current: self.read,
                total: self.total,
            });
        }
        Ok(length)
    }
}
