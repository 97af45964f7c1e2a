//! `cargo xtask fuzz device`: the guest's rings, descriptors and headers.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wherry_vsock::fuzzing::fuzz_device(data));
