//! The agent's modules that read what strangers wrote, for the fuzzer.

#[path = "../../src/check.rs"]
#[allow(dead_code)]
mod check;
#[path = "../../src/image/mod.rs"]
#[allow(dead_code, unused_imports)]
mod image;

/// Reads the name of an image.
pub fn reference(data: &[u8]) {
    image::fuzzing::fuzz_reference(data);
}

/// Reads a manifest, an index or a configuration.
pub fn manifest(data: &[u8]) {
    image::fuzzing::fuzz_manifest(data);
}

/// Unpacks a layer and makes its stream again.
pub fn layer(data: &[u8]) {
    image::fuzzing::fuzz_layer(data);
}
