//! What a stranger packs in a layer: for the fuzzer, and for tests that feed it
//! random archives.

use std::io::Read;
use std::path::Path;

use super::pipeline::unpack;
use super::{Assembly, Compression, SKELETON, TREE, tar_length};
use crate::image::Digest;

const CANARY: &str = "canary";

/// Unpacks a layer. Panics where it makes anything outside its directory, or
/// where the stream of one that was taken does not come back byte for byte.
///
/// Its headers' checksums are put right before, which chance would not find.
pub(crate) fn fuzz_layer(data: &[u8]) {
    let mut tar = data.to_vec();
    mend_checksums(&mut tar);
    let Ok(folder) = tempfile::Builder::new()
        .prefix("wherry-fuzz-")
        .tempdir_in(memory())
    else {
        return;
    };
    let (outside, temporary) = (folder.path().join(CANARY), folder.path().join("tmp"));
    if std::fs::write(&outside, CANARY).is_err() || std::fs::create_dir(&temporary).is_err() {
        return;
    }
    if let Ok(unpacked) = unpack(&mut &tar[..], Compression::None, &temporary, "it") {
        let tree = unpacked.layer.tree.path();
        let skeleton = tree.join(SKELETON);
        assert_eq!(unpacked.digest, Digest::of(&tar));
        assert_eq!(tar_length(&skeleton).ok(), Some(tar.len() as u64));
        let mut again = Vec::new();
        let read = Assembly::open(&tree.join(TREE), &skeleton)
            .and_then(|mut assembly| assembly.read_to_end(&mut again));
        assert!(
            read.is_ok() && again == tar,
            "it does not come back: {read:?}"
        );
        assert_eq!(names(tree), [TREE, SKELETON]);
    }
    assert_eq!(
        std::fs::read(&outside).ok().as_deref(),
        Some(CANARY.as_bytes())
    );
    assert_eq!(names(folder.path()), [CANARY, "tmp"]);
    assert!(names(&temporary).is_empty());
}

/// Where nothing is written to a disk, if there is such a place.
fn memory() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    }
}

fn mend_checksums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The fuzzer's seeds: one for each form of tar, and those that are hostile.
    fn seeds() -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/layer");
        names(&folder)
            .into_iter()
            .map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap()))
            .collect()
    }

    #[test]
    fn the_seeds_are_layers() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root makes devices");
            return;
        }
        for (name, seed) in seeds() {
            fuzz_layer(&seed);
            let temporary = tempfile::tempdir().unwrap();
            let unpacked = unpack(&mut &seed[..], Compression::None, temporary.path(), &name);
            let hostile = ["escapes", "replaces"].contains(&name.as_str());
            assert_eq!(unpacked.is_err(), hostile, "{name}: {:?}", unpacked.err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn no_layer_breaks_its_reader(
            seed in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 2]>()), 0..12),
            cut in proptest::option::of(any::<prop::sample::Index>()),
        ) {
            let seeds = seeds();
            let mut bytes = seeds[seed.index(seeds.len())].1.clone();
            for (place, change) in changes {
                let place = place.index(bytes.len() - 1);
                bytes[place..place + 2].copy_from_slice(&change);
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            fuzz_layer(&bytes);
        }
    }
}
