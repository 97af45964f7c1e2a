//! What comes from a registry: layers one by one, then the image of them.

use std::io::Read;

use super::layer::{Compression, Unpacked, read_full, unpack};
use super::load::check_diff_ids;
use super::oci::Configuration;
use super::store::NewImage;
use super::{Digest, Error, ImageRecord, LayerRecord, Reference, Store};

/// A layer as it came: to be held to its descriptor before it is kept.
pub(crate) struct FetchedLayer {
    unpacked: Unpacked,
}

impl FetchedLayer {
    /// Returns the digest and the bytes of the stream as it came.
    pub(crate) fn packed(&self) -> (Digest, u64) {
        (self.unpacked.digest, self.unpacked.size)
    }

    /// Returns the digest of the stream unpacked.
    pub(crate) fn diff_id(&self) -> Digest {
        self.unpacked.layer.diff_id
    }
}

/// An image all of whose layers are in the store.
pub(crate) struct FetchedImage {
    pub(crate) manifest: Vec<u8>,
    pub(crate) configuration: Vec<u8>,
    pub(crate) layers: Vec<LayerRecord>,
    /// The name to give it; none where it was asked for by digest.
    pub(crate) name: Option<Reference>,
    /// What a registry knows it by, `docker.io/library/nginx@sha256:…`.
    pub(crate) digest: String,
}

impl Store {
    /// Unpacks a layer, packed or not. `name` is for messages.
    pub(crate) fn fetch_layer(
        &self,
        mut source: impl Read,
        name: &str,
    ) -> Result<FetchedLayer, Error> {
        let mut start = [0; 6];
        let length = read_full(&mut source, &mut start).map_err(|error| {
            Error::InvalidArchive(format!("the layer {name} cannot be read: {error}"))
        })?;
        let start = &start[..length];
        let compression = Compression::of(start);
        let mut whole = start.chain(source);
        Ok(FetchedLayer {
            unpacked: unpack(&mut whole, compression, &self.temporary(), name)?,
        })
    }

    /// Keeps a layer that is what it should be.
    pub(crate) fn keep_fetched(&self, layer: &FetchedLayer) -> Result<LayerRecord, Error> {
        self.keep_layer(&layer.unpacked.layer)
    }

    /// Makes an image visible.
    pub(crate) fn commit_fetched(&self, image: FetchedImage) -> Result<ImageRecord, Error> {
        let configuration = parse_configuration(&image.configuration)?;
        check_diff_ids(&configuration, &image.layers)?;
        let id = Digest::of(&image.configuration);
        let manifest = Digest::of(&image.manifest);
        let new = NewImage {
            record: ImageRecord::new(id, manifest, &configuration, image.layers),
            names: image.name.into_iter().collect(),
            digests: vec![image.digest],
            blobs: vec![(id, image.configuration), (manifest, image.manifest)],
        };
        self.commit(vec![new], &[])?
            .into_iter()
            .next()
            .ok_or_else(|| Error::NotFound(id.to_string()))
    }
}

/// What a pull needs to know of a configuration.
pub(crate) struct ConfigurationSummary {
    /// The digests of the layers unpacked, lowest first.
    pub(crate) diff_ids: Vec<Digest>,
    /// `linux/amd64`, or what it has of it.
    pub(crate) platform: super::Platform,
}

/// Reads the parts of a configuration that a pull needs.
pub(crate) fn summary(bytes: &[u8]) -> Result<ConfigurationSummary, Error> {
    let configuration = parse_configuration(bytes)?;
    let diff_ids = configuration
        .rootfs
        .diff_ids
        .iter()
        .map(|digest| digest.parse().map_err(Error::InvalidArchive))
        .collect::<Result<_, _>>()?;
    Ok(ConfigurationSummary {
        diff_ids,
        platform: super::Platform {
            architecture: configuration.architecture,
            os: configuration.os,
            variant: configuration.variant,
        },
    })
}

fn parse_configuration(bytes: &[u8]) -> Result<Configuration, Error> {
    super::oci::parse("the image's configuration", bytes)
}
