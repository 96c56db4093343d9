//! One line of an output file, and how lines become entries.
//!
//! The form is the CRI log format: `TIME STREAM F|P TEXT`. A `P` line is continued by the next
//! line of the same stream; [`Joiner`] puts them together, within a bound.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

/// Longest entry that is put together from parts; a longer one is shown in pieces.
pub(super) const MAX_ENTRY: usize = 4 << 20;

/// Who wrote an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    /// The process, to standard output.
    Stdout,
    /// The process, to standard error.
    Stderr,
    /// The runtime, one agent event as JSON.
    Event,
    /// The supervisor itself.
    Aether,
}

impl Stream {
    fn parse(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"stdout" => Self::Stdout,
            b"stderr" => Self::Stderr,
            b"event" => Self::Event,
            b"aether" => Self::Aether,
            _ => return None,
        })
    }

    /// The word in the file and in JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Event => "event",
            Self::Aether => "aether",
        }
    }
}

/// One line as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// When it was written.
    pub(super) time: DateTime<Utc>,
    /// By whom.
    pub(super) stream: Stream,
    /// Whether the next line of the stream continues it.
    pub(super) partial: bool,
    /// The text, without the line end.
    pub(super) text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line; `None` for one that is not of the format (a torn write after a crash).
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let time = DateTime::parse_from_rfc3339(time).ok()?.to_utc();
        let stream = Stream::parse(parts.next()?)?;
        let partial = match parts.next()? {
            b"F" => false,
            b"P" => true,
            _ => return None,
        };
        let text = parts.next().unwrap_or_default();
        Some(Self {
            time,
            stream,
            partial,
            text,
        })
    }
}

/// A whole entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// When its first part was written.
    pub(super) time: DateTime<Utc>,
    /// By whom.
    pub(super) stream: Stream,
    /// The text, without the line end.
    pub(super) text: Vec<u8>,
}

/// Puts partial lines together, stream by stream.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    open: BTreeMap<Stream, Entry>,
}

impl Joiner {
    /// Takes a line; gives the entry that it completes.
    pub(super) fn push(&mut self, line: Line<'_>) -> Option<Entry> {
        let mut entry = self.open.remove(&line.stream).unwrap_or_else(|| Entry {
            time: line.time,
            stream: line.stream,
            text: vec![],
        });
        entry.text.extend_from_slice(line.text);
        if line.partial && entry.text.len() < MAX_ENTRY {
            self.open.insert(line.stream, entry);
            return None;
        }
        Some(entry)
    }

    /// What was begun and not completed, oldest first.
    pub(super) fn finish(&mut self) -> Vec<Entry> {
        let mut left: Vec<Entry> = std::mem::take(&mut self.open).into_values().collect();
        left.sort_by_key(|entry| entry.time);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line<'_> {
        Line::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn reads_the_format() {
        let read = line("2026-11-23T23:16:28.123456789Z stderr F two words");
        assert_eq!(
            (read.stream, read.partial, read.text),
            (Stream::Stderr, false, &b"two words"[..])
        );
        assert_eq!(read.time.timestamp_subsec_nanos(), 123_456_789);
        assert_eq!(line("2026-11-23T23:16:28Z stdout F ").text, b"");
        assert_eq!(line("2026-11-23T23:16:28Z stdout F").text, b"");
        for wrong in [
            "",
            "x",
            "2026-11-23T23:16:28Z stdin F x",
            "2026-11-23T23:16:28Z stdout Q x",
        ] {
            assert!(
                Line::parse(wrong.as_bytes()).is_none(),
                "{wrong:?} was taken"
            );
        }
    }

    #[test]
    fn joins_parts_of_streams_that_interleave() {
        let mut joiner = Joiner::default();
        assert_eq!(
            joiner.push(line("2026-11-23T23:16:28Z stdout P one ")),
            None
        );
        let other = joiner
            .push(line("2026-11-23T23:16:29Z stderr F err"))
            .unwrap();
        assert_eq!(other.text, b"err");
        let whole = joiner
            .push(line("2026-11-23T23:16:30Z stdout F two"))
            .unwrap();
        assert_eq!(whole.text, b"one two");
        assert_eq!(whole.time.to_rfc3339(), "2026-11-23T23:16:28+00:00");
        assert!(joiner.finish().is_empty());
        joiner.push(line("2026-11-23T23:16:31Z stdout P never ended"));
        assert_eq!(joiner.finish()[0].text, b"never ended");
    }

    #[test]
    fn an_endless_line_is_shown_in_pieces() {
        let mut joiner = Joiner::default();
        let part = format!(
            "2026-11-23T23:16:28Z stdout P {}",
            "x".repeat(MAX_ENTRY / 2)
        );
        assert!(joiner.push(line(&part)).is_none());
        assert_eq!(joiner.push(line(&part)).unwrap().text.len(), MAX_ENTRY);
    }
}
