//! Lock files. That somebody holds the lock of one says that its process runs: it goes
//! with the process, whatever ends that.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two tries.
const POLL: Duration = Duration::from_millis(5);

/// Opens a lock file, which is made where it is missing.
///
/// # Errors
///
/// Where it cannot be opened or made.
pub fn open(path: &Path) -> io::Result<File> {
    // LockFileEx on Windows takes no file that was opened for appending alone.
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Takes a lock; none where another one keeps it for longer than `patience`. Dropping
/// the file releases it.
///
/// # Errors
///
/// Where the file cannot be opened, made or locked.
pub fn take(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    let file = open(path)?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Tells whether somebody holds a lock. Who tries to take it at this moment finds it
/// held, so that it takes some patience.
#[must_use]
pub fn is_held(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_its_file_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!is_held(&path));
        let lock = take(&path, Duration::ZERO).unwrap().unwrap();
        assert!(is_held(&path));
        assert!(take(&path, 2 * POLL).unwrap().is_none());
        drop(lock);
        assert!(!is_held(&path));
    }

    #[test]
    fn who_asks_keeps_nobody_with_patience_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let asking = open(&path).unwrap();
        asking.lock_shared().unwrap();
        let taker = std::thread::spawn(move || take(&path, Duration::from_secs(10)));
        std::thread::sleep(4 * POLL);
        drop(asking);
        assert!(taker.join().unwrap().unwrap().is_some());
    }
}
