//! `nft` and the shared libraries it needs, as the machine has them installed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{program, run};
use crate::cpio::{Archive, Content};
use crate::error::{Error, OnPath, Result};

const NFT: &str = "/usr/sbin/nft";

/// Adds `nft`, its dynamic loader and its libraries, each at the path where the
/// loader looks for it.
pub(crate) fn add(archive: &mut Archive) -> Result<()> {
    let nft = Path::new(NFT);
    if !nft.exists() {
        return Err(Error::MissingProgram {
            program: NFT.into(),
            package: "nftables".into(),
        });
    }
    let listed = run(program("ldd").arg(nft), "lists the libraries of nft")?;
    let libraries = libraries(&String::from_utf8_lossy(&listed))?;
    for path in std::iter::once(nft.to_owned()).chain(libraries) {
        let bytes = fs::read(&path).on("read", &path)?;
        archive.add(&path.to_string_lossy(), 0o755, Content::File(bytes))?;
    }
    Ok(())
}

/// Reads `ldd`'s lines: `name => path (address)`, or `path (address)` for the
/// loader, or `linux-vdso.so.1 (address)` for what the kernel brings.
fn libraries(listed: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in listed.lines().map(str::trim) {
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        if path.starts_with("not found") {
            return Err(Error::Program {
                program: "ldd".into(),
                status: "a library is missing".into(),
                purpose: "lists the libraries of nft".into(),
                output: line.to_owned(),
            });
        }
        if path.starts_with('/') {
            let path = path.split(" (").next().unwrap_or(path);
            paths.push(PathBuf::from(path));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loader_and_libraries_are_found_and_the_kernels_is_left_out() {
        let listed = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let paths = libraries(listed).unwrap();
        assert_eq!(
            paths,
            [
                PathBuf::from("/lib/x/libc.so.6"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }

    #[test]
    fn missing_library_is_named() {
        let error = libraries("\tlibgone.so => not found\n").unwrap_err();
        assert!(error.to_string().contains("libgone.so"), "{error}");
    }
}
