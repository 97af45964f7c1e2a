//! The built-in image's only program: says what just happened, without libc.
#![no_std]
#![no_main]

include!("raw.rs");

const TEXT: &[u8] = b"
Hello from Wherry!

This line was printed by a container in a virtual machine of your own:
  1. `wherry` asked the engine, which booted a small Linux guest if none ran.
  2. The guest's agent found no image called hello and took its built-in one.
  3. It made a container of it, with its own file system, network, processes
     and limits, ran this program in it, and streamed its output back to you.

Try something bigger:
  wherry run -it --rm debian bash
  wherry run -d --name web -p 8080:80 nginx
  wherry --help

";

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    write_all(1, TEXT);
    exit(0)
}
