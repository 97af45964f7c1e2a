//! `cargo xtask fuzz layer`: layers, unpacked and made again.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wherry_guest_agent_fuzz::layer(data));
