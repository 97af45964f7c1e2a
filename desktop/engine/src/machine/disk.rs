//! The guest's data disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How much is looked at for being empty, bytes: a file system's block.
const BLOCK: usize = 4096;

/// Makes the disk at `path` out of the blank one at `template`, at least `size`
/// bytes long, if it is not there. A failure leaves nothing behind.
pub(super) fn prepare(path: &Path, template: &Path, size: u64) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    let new = path.with_extension("img.new");
    let made = copy_sparse(template, &new, size);
    match made.and_then(|()| std::fs::rename(&new, path)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = std::fs::remove_file(&new);
            Err(error)
        }
    }
}

/// Copies a file and leaves holes where it has only zeroes, which is what every
/// platform can do.
fn copy_sparse(from: &Path, to: &Path, size: u64) -> io::Result<()> {
    let mut source = File::open(from)?;
    let length = source.metadata()?.len();
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut target = options.open(to)?;
    target.set_len(length.max(size))?;
    let mut place = next_data(&source, 0, length);
    let mut buffer = vec![0; 256 * BLOCK];
    while place < length {
        source.seek(SeekFrom::Start(place))?;
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        let mut empty = true;
        for block in buffer[..count].chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                target.seek(SeekFrom::Start(place))?;
                target.write_all(block)?;
                empty = false;
            }
            place += block.len() as u64;
        }
        if empty {
            place = next_data(&source, place, length);
        }
    }
    target.sync_all()
}

/// Returns where the next data may be: past a hole, where the platform tells.
#[cfg(target_os = "linux")]
fn next_data(file: &File, place: u64, length: u64) -> u64 {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(place)) {
        Ok(data) => data,
        // Nothing but a hole up to the end, lseek(2).
        Err(rustix::io::Errno::NXIO) => length,
        Err(_) => place,
    }
}

#[cfg(not(target_os = "linux"))]
fn next_data(_file: &File, place: u64, _length: u64) -> u64 {
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_disk_is_equal_to_the_blank_one_and_as_sparse() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("blank.img");
        let mut blank = File::create(&template).unwrap();
        blank.set_len(64 << 20).unwrap();
        for place in [0u64, 5 << 20, (64 << 20) - 100] {
            blank.seek(SeekFrom::Start(place)).unwrap();
            blank.write_all(&[7; 100]).unwrap();
        }
        let path = folder.path().join("data.img");
        prepare(&path, &template, 128 << 20).unwrap();
        let copied = std::fs::read(&path).unwrap();
        assert_eq!(copied.len(), 128 << 20);
        assert!(copied[..64 << 20] == std::fs::read(&template).unwrap());
        assert!(copied[64 << 20..].iter().all(|byte| *byte == 0));
        assert!(crate::platform::allocated(&path) < 1 << 20 || cfg!(not(target_os = "linux")));
    }

    #[test]
    fn a_disk_that_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.img");
        std::fs::write(&path, "precious").unwrap();
        prepare(&path, &folder.path().join("missing"), 1 << 20).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.img");
        prepare(&path, &folder.path().join("missing"), 1 << 20).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
