//! Reads a container's log, which its shim writes in Docker's `json-file`
//! form: one `{"log":…,"stream":…,"time":…}` a line, in a few files that are
//! put aside in turn.

use std::io::{self, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};

use crate::runtime::log_file;

/// Bytes read from the file at once.
const BLOCK: usize = 64 * 1024;

/// A longer line is no log of ours, bytes: the shim splits at 16 KiB, which
/// JSON can make six times longer.
const LONGEST_LINE: usize = 1024 * 1024;

/// One line of the log.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Entry {
    /// What was written, with its newline if there was one.
    pub(crate) log: String,
    /// `stdout` or `stderr`.
    pub(crate) stream: String,
    /// When, in RFC 3339 with nanoseconds.
    pub(crate) time: String,
}

impl Entry {
    /// Returns when it was written, nanoseconds since 1970; 0 if unreadable.
    pub(crate) fn nanoseconds(&self) -> i64 {
        nanoseconds(&self.time).unwrap_or(0)
    }
}

/// Reads a log from some place on, through its files.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: PathBuf,
    file: BufReader<File>,
    inode: u64,
    /// The beginning of a line whose rest is not written yet.
    line: Vec<u8>,
}

impl LogReader {
    /// Opens a log at its last `tail` lines, or at its beginning.
    ///
    /// # Errors
    ///
    /// Those of the files; [`io::ErrorKind::NotFound`] where there is none.
    pub(crate) async fn open(path: &Path, tail: Option<u64>) -> io::Result<Self> {
        let mut wanted = tail;
        let mut oldest: Option<(File, u64)> = None;
        // From the latest: what is put aside meanwhile comes by twice, and
        // nothing is missed.
        let mut ages = Ages::of(path);
        while let Some(mut file) = ages.next().await? {
            let inode = file.metadata().await?.ino();
            if oldest.as_ref().is_some_and(|(_, before)| *before == inode) {
                continue;
            }
            file.set_max_buf_size(BLOCK);
            if let Some(lines) = wanted {
                match tail_offset(&mut file, lines).await? {
                    Tail::Offset(start) => {
                        file.seek(SeekFrom::Start(start)).await?;
                        return Ok(Self::new(path, file, inode));
                    }
                    Tail::Missing(lines) => wanted = Some(lines),
                }
            }
            oldest = Some((file, inode));
        }
        let (mut file, inode) = oldest.ok_or(io::ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(0)).await?;
        Ok(Self::new(path, file, inode))
    }

    fn new(path: &Path, file: File, inode: u64) -> Self {
        Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(BLOCK, file),
            inode,
            line: Vec::new(),
        }
    }

    /// Returns the next line; `None` at the end of what is written so far.
    /// What is no log line (torn by a crash) is passed over.
    ///
    /// # Errors
    ///
    /// Those of the files.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.next_of_file().await? {
                return Ok(Some(entry));
            }
            let Some((file, inode)) = self.successor().await? else {
                return Ok(None);
            };
            // What was written before the file was put aside.
            if let Some(entry) = self.next_of_file().await? {
                return Ok(Some(entry));
            }
            *self = Self::new(&self.path, file, inode);
        }
    }

    async fn next_of_file(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let room = (LONGEST_LINE - self.line.len()) as u64;
            (&mut self.file)
                .take(room)
                .read_until(b'\n', &mut self.line)
                .await?;
            if self.line.last() != Some(&b'\n') && self.line.len() < LONGEST_LINE {
                return Ok(None);
            }
            let entry = serde_json::from_slice(&self.line);
            self.line.clear();
            if let Ok(entry) = entry {
                return Ok(Some(entry));
            }
        }
    }

    /// Opens the file that came after the present one, once there is one.
    async fn successor(&self) -> io::Result<Option<(File, u64)>> {
        let mut later = None;
        let mut ages = Ages::of(&self.path);
        while let Some(file) = ages.next().await? {
            let inode = file.metadata().await?.ino();
            if inode == self.inode {
                return Ok(later);
            }
            later = Some((file, inode));
        }
        // The present one is gone, and with it may be some that came after it.
        Ok(later)
    }
}

/// The files of a log, from the one that is written.
struct Ages<'a> {
    path: &'a Path,
    next: u64,
}

impl<'a> Ages<'a> {
    fn of(path: &'a Path) -> Self {
        Self { path, next: 0 }
    }

    /// Opens the next one. While files are put aside one at a time is missing,
    /// so that two are the end.
    async fn next(&mut self) -> io::Result<Option<File>> {
        for _ in 0..2 {
            self.next += 1;
            match File::open(log_file(self.path, self.next - 1)).await {
                Ok(file) => return Ok(Some(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Where the last lines of a log begin.
enum Tail {
    /// So many bytes into the file.
    Offset(u64),
    /// Before the file, so many lines.
    Missing(u64),
}

/// Finds where the last `lines` lines of a file begin.
async fn tail_offset(file: &mut File, lines: u64) -> io::Result<Tail> {
    let mut end = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(Tail::Offset(end));
    }
    // The newline at the very end ends the last line, and begins none.
    let mut wanted = lines.saturating_add(1);
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let block = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(block).await?;
        for (index, _) in block
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            wanted -= 1;
            if wanted == 0 {
                return Ok(Tail::Offset(start + index as u64 + 1));
            }
        }
        end = start;
    }
    // The line that begins the file has no newline before it.
    Ok(match wanted - 1 {
        0 => Tail::Offset(0),
        missing => Tail::Missing(missing),
    })
}

/// Tells when a log has changed, through inotify.
#[derive(Debug)]
pub(crate) struct Changes {
    inotify: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Watches the directory of a log, in which its files come and go.
    ///
    /// # Errors
    ///
    /// Those of inotify, such as too many watches.
    pub(crate) fn of(log: &Path) -> io::Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(
            &watch,
            log.parent().unwrap_or(log),
            inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::MOVED_TO
                | inotify::WatchFlags::DELETE_SELF,
        )?;
        // SAFETY: the descriptor is owned and stays the same.
        let inotify = unsafe { AsyncFd::register(watch) }?;
        Ok(Self { inotify })
    }

    /// Returns once something has changed since the last call. Cancellation-safe.
    ///
    /// # Errors
    ///
    /// Those of inotify.
    pub(crate) async fn next(&self) -> io::Result<()> {
        loop {
            let mut guard = self.inotify.readable().await?;
            let mut buffer = [0_u8; 4096];
            match guard.try_io(|inotify| Ok(rustix::io::read(inotify.get_ref(), &mut buffer)?)) {
                Ok(result) => return result.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

/// Reads `2026-01-02T03:04:05.678901234Z` as nanoseconds since 1970.
fn nanoseconds(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (
        clock.next()?.ok()?,
        clock.next()?.ok()?,
        clock.next()?.ok()?,
    );
    let plausible = (1970..=2261).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && fraction.len() <= 9
        && fraction.bytes().all(|digit| digit.is_ascii_digit());
    if !plausible {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    // Days since 1970 in the proleptic Gregorian calendar, the year beginning
    // in March (Hinnant, "chrono-compatible low-level date algorithms").
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn line(text: &str) -> String {
        format!(r#"{{"log":"{text}\n","stream":"stdout","time":"2026-11-24T01:02:03.000000004Z"}}"#)
            + "\n"
    }

    async fn texts(reader: &mut LogReader) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(entry) = reader.next().await.unwrap() {
            texts.push(entry.log);
        }
        texts
    }

    #[test]
    fn times_are_read_to_the_nanosecond() {
        assert_eq!(nanoseconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            nanoseconds("2000-03-01T00:00:00.5Z"),
            Some(951_868_800_500_000_000)
        );
        assert_eq!(
            nanoseconds("2024-02-29T23:59:59.999999999Z"),
            Some(1_709_251_199_999_999_999)
        );
        for wrong in [
            "",
            "2024-02-29",
            "2024-02-29T23:59:59",
            "x-1-1T0:0:0Z",
            "2024-13-01T00:00:00Z",
        ] {
            assert_eq!(nanoseconds(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_tail_begins_at_whole_lines() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        // Long enough for the search to cross blocks.
        let filling = "x".repeat(500);
        for number in 0..400 {
            file.write_all(line(&format!("{number} {filling}")).as_bytes())
                .unwrap();
        }
        for tail in [0, 1, 3, 399, 400, 1000] {
            let mut reader = LogReader::open(file.path(), Some(tail)).await.unwrap();
            let texts = texts(&mut reader).await;
            let expected = tail.min(400) as usize;
            assert_eq!(texts.len(), expected, "tail {tail}");
            if let Some(first) = texts.first() {
                assert!(first.starts_with(&format!("{} ", 400 - expected)));
            }
        }
    }

    #[tokio::test]
    async fn a_half_written_line_waits_for_its_rest() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let whole = line("late");
        let (first, rest) = whole.split_at(20);
        file.write_all(first.as_bytes()).unwrap();
        let mut reader = LogReader::open(file.path(), None).await.unwrap();
        let changes = Changes::of(file.path()).unwrap();
        assert_eq!(reader.next().await.unwrap(), None);
        file.write_all(rest.as_bytes()).unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(10), changes.next())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(texts(&mut reader).await, ["late\n"]);
    }

    /// Puts the files aside as a shim does, and begins a new one.
    fn rotate(log: &Path) {
        for age in (0..4).rev() {
            let _ = std::fs::rename(log_file(log, age), log_file(log, age + 1));
        }
        std::fs::write(log, "").unwrap();
    }

    fn append(log: &Path, numbers: std::ops::Range<u32>) {
        let mut file = std::fs::File::options().append(true).open(log).unwrap();
        for number in numbers {
            file.write_all(line(&number.to_string()).as_bytes())
                .unwrap();
        }
    }

    fn expected(numbers: std::ops::Range<u32>) -> Vec<String> {
        numbers.map(|number| format!("{number}\n")).collect()
    }

    #[tokio::test]
    async fn a_reader_goes_on_through_the_files_of_a_log() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("container.log");
        let none = LogReader::open(&log, None).await.unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::NotFound);
        rotate(&log);
        append(&log, 0..10);
        rotate(&log);
        append(&log, 10..20);
        let mut reader = LogReader::open(&log, None).await.unwrap();
        assert_eq!(texts(&mut reader).await, expected(0..20));
        // More in the present file, a whole one, and the next.
        append(&log, 20..25);
        rotate(&log);
        append(&log, 25..30);
        rotate(&log);
        assert_eq!(texts(&mut reader).await, expected(20..30));
        // In the moment between two renames there is no file of that name.
        std::fs::rename(&log, log_file(&log, 1)).unwrap();
        assert_eq!(reader.next().await.unwrap(), None);
        std::fs::write(&log, "").unwrap();
        append(&log, 30..40);
        assert_eq!(texts(&mut reader).await, expected(30..40));
        // Those that are gone are passed over, but for the one that is open.
        append(&log, 40..41);
        for number in 41..50 {
            rotate(&log);
            append(&log, number..number + 1);
        }
        let rest = texts(&mut reader).await;
        assert_eq!(rest[0], "40\n");
        assert_eq!(rest[1..], expected(45..50));
    }

    #[tokio::test]
    async fn the_tail_reaches_into_older_files() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("container.log");
        for file in 0..3 {
            rotate(&log);
            append(&log, file * 10..file * 10 + 10);
        }
        for (tail, first) in [(0, 30), (1, 29), (10, 20), (11, 19), (20, 10), (99, 0)] {
            let mut reader = LogReader::open(&log, Some(tail)).await.unwrap();
            assert_eq!(texts(&mut reader).await, expected(first..30), "tail {tail}");
        }
    }

    #[tokio::test]
    async fn torn_lines_are_passed_over() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{}{{\"log\":\"to\n{}", line("a"), line("b")).unwrap();
        let mut reader = LogReader::open(file.path(), None).await.unwrap();
        assert_eq!(texts(&mut reader).await, ["a\n", "b\n"]);
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in "[0-9TZ:.-]{0,30}") {
            let _ = nanoseconds(&text);
        }
    }
}
