//! `cargo +nightly fuzz run reference`: names of images.

#![no_main]

#[path = "../../src/image/mod.rs"]
#[allow(dead_code, unused_imports)]
mod image;

libfuzzer_sys::fuzz_target!(|data: &[u8]| image::fuzzing::fuzz_reference(data));
