//! A unit's log file: the CRI log format, rotated by size.
//!
//! Each entry is `TIME STREAM TAG TEXT\n`, TIME in RFC 3339 with nanoseconds and `Z`, STREAM one of
//! `stdout stderr event aether`, TAG `F` for a whole line or `P` for a part that the next entry of
//! the same stream continues. `output.log` is the newest file, `output.log.1` the one before.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stream {
    /// The unit's standard output (or its terminal).
    Stdout,
    /// The unit's standard error.
    Stderr,
    /// One agent event as JSON.
    Event,
    /// The supervisor's own sentences about the unit.
    Aether,
}

impl Stream {
    /// The word in the file.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Event => "event",
            Self::Aether => "aether",
        }
    }
}

/// RFC 3339 with nanoseconds, UTC.
pub(crate) fn stamp(nanos: u128) -> String {
    let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    let fraction = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    chrono::DateTime::from_timestamp(seconds, fraction)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}

/// Appends the entries of `bytes` to `into`. `open` says whether the stream is in the middle of a
/// line, before and after.
pub(crate) fn encode(into: &mut Vec<u8>, nanos: u128, stream: Stream, bytes: &[u8]) {
    let head = stamp(nanos);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (line, tag, next) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&rest[..end], b'F', &rest[end + 1..]),
            None => (rest, b'P', &rest[rest.len()..]),
        };
        into.extend_from_slice(head.as_bytes());
        into.push(b' ');
        into.extend_from_slice(stream.as_str().as_bytes());
        into.push(b' ');
        into.push(tag);
        into.push(b' ');
        into.extend_from_slice(line);
        into.push(b'\n');
        rest = next;
    }
}

/// The files of one unit.
#[derive(Debug)]
pub(crate) struct Record {
    directory: PathBuf,
    file: Option<File>,
    size: u64,
    max_bytes: u64,
    max_files: u32,
}

/// Name of the newest file.
pub(crate) const NEWEST: &str = "output.log";

impl Record {
    pub(crate) const fn new(directory: PathBuf, max_bytes: u64, max_files: u32) -> Self {
        Self {
            directory,
            file: None,
            size: 0,
            max_bytes,
            max_files,
        }
    }

    /// Writes whole entries, all or nothing; rotates first when they do not fit.
    pub(crate) fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        let length = entries.len() as u64;
        if self.size > 0 && self.size.saturating_add(length) > self.max_bytes {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.open()?;
        }
        let Some(file) = self.file.as_mut() else {
            return Ok(());
        };
        if let Err(error) = file.write_all(entries) {
            // A full disk may have taken a part: cut it off, so that the retry repeats nothing.
            let _ = file.set_len(self.size);
            return Err(error);
        }
        self.size += length;
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&self.directory)?;
        let path = self.directory.join(NEWEST);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let name = |number: u32| self.directory.join(format!("{NEWEST}.{number}"));
        if self.max_files == 0 {
            std::fs::remove_file(self.directory.join(NEWEST))?;
        } else {
            for number in (1..self.max_files).rev() {
                ignore_missing(std::fs::rename(name(number), name(number + 1)))?;
            }
            ignore_missing(std::fs::rename(self.directory.join(NEWEST), name(1)))?;
        }
        self.file = None;
        self.size = 0;
        Ok(())
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Takes an entry apart: stream, whether the line is whole, text.
pub(crate) fn parse(entry: &[u8]) -> Option<(&str, bool, &[u8])> {
    let mut parts = entry.splitn(4, |byte| *byte == b' ');
    let _time = parts.next()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tag = parts.next()?;
    Some((stream, tag == b"F", parts.next()?))
}

/// The log files of a unit, oldest first, as far as they exist.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = (1..=1_000)
        .map(|number: u32| directory.join(format!("{NEWEST}.{number}")))
        .take_while(|path| path.exists())
        .collect();
    found.reverse();
    found.push(directory.join(NEWEST));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_rfc_3339() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            stamp(951_782_400_000_000_001),
            "2000-02-29T00:00:00.000000001Z"
        );
        assert_eq!(
            stamp(1_795_476_188_123_456_789),
            "2026-11-23T23:23:08.123456789Z"
        );
        assert_eq!(
            stamp(4_102_444_799_000_000_000),
            "2099-12-31T23:59:59.000000000Z"
        );
    }

    #[test]
    fn lines_are_whole_and_tails_are_parts() {
        let mut entries = vec![];
        encode(&mut entries, 0, Stream::Stdout, b"one\n\ntwo");
        let text = String::from_utf8(entries).unwrap();
        let time = "1970-01-01T00:00:00.000000000Z";
        assert_eq!(
            text,
            format!("{time} stdout F one\n{time} stdout F \n{time} stdout P two\n")
        );
    }

    #[test]
    fn rotation_keeps_so_many_files_and_loses_nothing_of_them() {
        let place = tempfile::tempdir().unwrap();
        let mut record = Record::new(place.path().join("u"), 20, 2);
        for number in 0..5 {
            record
                .append(format!("line {number} xxxxxxx\n").as_bytes())
                .unwrap();
        }
        let texts: Vec<String> = files(&place.path().join("u"))
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        assert_eq!(
            texts,
            ["line 2 xxxxxxx\n", "line 3 xxxxxxx\n", "line 4 xxxxxxx\n"]
        );
        drop(record);
        let mut record = Record::new(place.path().join("u"), 100, 2);
        record.append(b"more\n").unwrap();
        let newest = std::fs::read_to_string(place.path().join("u").join(NEWEST)).unwrap();
        assert_eq!(newest, "line 4 xxxxxxx\nmore\n");
    }
}
