//! `cargo xtask fuzz request`: paths, queries, headers and bodies of the Engine API.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wherry_engine::fuzzing::fuzz_request(data));
