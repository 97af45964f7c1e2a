//! `cargo xtask fuzz manifest`: manifests, indexes and configurations.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wherry_guest_agent_fuzz::manifest(data));
