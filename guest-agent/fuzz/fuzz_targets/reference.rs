//! `cargo xtask fuzz reference`: names of images.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wherry_guest_agent_fuzz::reference(data));
