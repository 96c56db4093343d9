//! The file that a daemon leaves to the next one: records are appended, the last of a kind and name
//! counts, and what no longer counts is left out when the file is written anew.
//!
//! A record is a line: what it is, of which unit, and JSON; with nothing there it is taken back.
//! Records of one turn of the loop are written together. After a sudden death the last line may be
//! torn: it is cut off, as what it was about had not been done yet. The file lies in memory
//! (`/run`), so nothing waits for a disk; writing it anew is a thread's work.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::name::UnitName;

/// The file is not written anew below this size.
const SMALL: u64 = 1 << 20;

/// So many records do not wait for the end of the turn.
const MANY: usize = 256;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The numbers given out.
    Counters,
    /// What a unit is.
    Definition(UnitName),
    /// What it is doing.
    State(UnitName),
}

impl Key {
    fn words(&self) -> (&str, &str) {
        match self {
            Self::Counters => ("counters", "-"),
            Self::Definition(unit) => ("definition", unit.as_str()),
            Self::State(unit) => ("state", unit.as_str()),
        }
    }

    fn read(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "counters" => Some(Self::Counters),
            "definition" => Some(Self::Definition(name.parse().ok()?)),
            "state" => Some(Self::State(name.parse().ok()?)),
            _ => None,
        }
    }
}

/// Where the last record of a key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    length: u64,
    /// Of what it says; 0 where an earlier daemon wrote it.
    hash: u64,
}

/// What a record says, and the hash of that.
#[derive(Debug)]
struct Text {
    bytes: Vec<u8>,
    hash: u64,
}

/// The file, open.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    file: Arc<File>,
    /// Bytes that are whole lines.
    length: u64,
    /// Bytes of records that count.
    live: u64,
    last: HashMap<Key, Place>,
    /// Not written yet, in order; `None`: taken back.
    pending: Vec<(Key, Option<Text>)>,
    hasher: RandomState,
    /// Something is in the way at the file's end.
    torn: bool,
    rewriting: bool,
    /// Not before it is as long as this.
    rewrite_at: u64,
}

/// What the last records of a file say.
pub(super) type Records = HashMap<Key, String>;

impl Ledger {
    /// Opens the file in `directory`, and reads what an earlier daemon left; lines that are none are
    /// told.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Records, Vec<String>)> {
        let path = directory.join("ledger");
        let file = open(&path, false)?;
        let bytes = std::fs::read(&path)?;
        // A torn last line, cut off.
        let length = bytes.iter().rposition(|byte| *byte == b'\n');
        let length = length.map_or(0, |last| last + 1);
        file.set_len(length as u64)?;
        let mut ledger = Self {
            path,
            file: Arc::new(file),
            length: 0,
            live: 0,
            last: HashMap::new(),
            pending: vec![],
            hasher: RandomState::new(),
            torn: false,
            rewriting: false,
            rewrite_at: SMALL,
        };
        let mut records = HashMap::new();
        let mut problems = vec![];
        for line in bytes
            .get(..length)
            .unwrap_or_default()
            .split_inclusive(|byte| *byte == b'\n')
        {
            let place = Place {
                offset: ledger.length,
                length: line.len() as u64,
                hash: 0,
            };
            ledger.length += place.length;
            match parse(line) {
                Some((key, Some(text))) => {
                    ledger.put_in_place(key.clone(), place);
                    records.insert(key, text.to_owned());
                }
                Some((key, None)) => {
                    ledger.take_out(&key);
                    records.remove(&key);
                }
                None if line == b"\n" => {}
                None => problems.push(format!("a line that is none, at byte {}", place.offset)),
            }
        }
        Ok((ledger, records, problems))
    }

    /// A hash of this daemon's own.
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        // 0 is nobody's.
        self.hasher.hash_one(bytes).max(1)
    }

    /// Puts down what `text` says; written by [`Self::flush`], unless it is known already.
    pub(super) fn put(&mut self, key: Key, text: Vec<u8>) {
        let hash = self.hash(&text);
        if let Some((_, waiting)) = self.pending.iter_mut().find(|(other, _)| *other == key) {
            *waiting = Some(Text { bytes: text, hash });
            return;
        }
        if self.last.get(&key).is_none_or(|place| place.hash != hash) {
            self.pending.push((key, Some(Text { bytes: text, hash })));
        }
        if self.pending.len() >= MANY {
            // If it fails, it fails the next time as well, and is said then.
            let _ = self.flush();
        }
    }

    /// Takes back what was put down.
    pub(super) fn remove(&mut self, key: Key) {
        self.pending.retain(|(other, _)| *other != key);
        if self.last.contains_key(&key) {
            self.pending.push((key, None));
        }
    }

    /// Writes what was put down.
    ///
    /// # Errors
    /// When it cannot be written; then it is kept for the next time.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut lines = vec![];
        if self.torn {
            lines.push(b'\n');
        }
        let start = lines.len() as u64;
        let mut ends = Vec::with_capacity(self.pending.len());
        for (key, text) in &self.pending {
            write_line(
                &mut lines,
                key,
                text.as_ref().map(|text| text.bytes.as_slice()),
            );
            ends.push(lines.len() as u64);
        }
        if let Err(error) = (&*self.file).write_all(&lines) {
            self.torn = self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.torn = false;
        let begin = self.length;
        self.length += lines.len() as u64;
        let mut offset = start;
        for ((key, text), end) in std::mem::take(&mut self.pending).into_iter().zip(ends) {
            match text {
                Some(Text { hash, .. }) => {
                    let place = Place {
                        offset: begin + offset,
                        length: end - offset,
                        hash,
                    };
                    self.put_in_place(key, place);
                }
                None => self.take_out(&key),
            }
            offset = end;
        }
        Ok(())
    }

    fn put_in_place(&mut self, key: Key, place: Place) {
        let old = self.last.insert(key, place);
        self.live = self.live + place.length - old.map_or(0, |old| old.length);
    }

    fn take_out(&mut self, key: &Key) {
        self.live -= self.last.remove(key).map_or(0, |old| old.length);
    }

    /// The work of writing the file anew, when it is due.
    pub(super) fn rewrite(&mut self) -> Option<Rewrite> {
        let due = self.length > self.rewrite_at && self.length > self.live.saturating_mul(2);
        if !due || self.rewriting {
            return None;
        }
        self.rewriting = true;
        let mut records: Vec<(Key, Place)> = self
            .last
            .iter()
            .map(|(key, place)| (key.clone(), *place))
            .collect();
        records.sort_by_key(|(_, place)| place.offset);
        Some(Rewrite {
            path: self.path.with_extension("new"),
            file: Arc::clone(&self.file),
            records,
            length: self.length,
        })
    }

    /// Takes the new file in place of the old one, with what has been written meanwhile.
    ///
    /// # Errors
    /// When that cannot be done; the old one goes on then.
    pub(super) fn replace(&mut self, rewritten: io::Result<Rewritten>) -> io::Result<()> {
        self.rewriting = false;
        self.rewrite_at = self.length.saturating_mul(2).max(SMALL);
        let rewritten = rewritten?;
        let mut last = HashMap::with_capacity(self.last.len());
        let mut lines = vec![];
        for (key, old, new) in rewritten.records {
            match self.last.get(&key) {
                Some(place) if *place == old => drop(last.insert(key, new)),
                Some(_) => {}
                None => write_line(&mut lines, &key, None),
            }
        }
        for (key, place) in &self.last {
            if place.offset >= rewritten.boundary {
                let offset = rewritten.length + lines.len() as u64;
                lines.append(&mut read(&self.file, *place)?);
                last.insert(key.clone(), Place { offset, ..*place });
            }
        }
        (&rewritten.file).write_all(&lines)?;
        std::fs::rename(self.path.with_extension("new"), &self.path)?;
        self.file = Arc::new(rewritten.file);
        self.length = rewritten.length + lines.len() as u64;
        self.last = last;
        self.rewrite_at = SMALL;
        self.torn = false;
        Ok(())
    }
}

/// A file that is to be written anew.
#[derive(Debug)]
pub(super) struct Rewrite {
    path: PathBuf,
    file: Arc<File>,
    records: Vec<(Key, Place)>,
    length: u64,
}

/// It is written; what came later is not in it.
#[derive(Debug)]
pub(crate) struct Rewritten {
    file: File,
    /// Where each record was, and where it is now.
    records: Vec<(Key, Place, Place)>,
    /// What of the old file was considered.
    boundary: u64,
    length: u64,
}

impl Rewrite {
    /// Copies what counts into a new file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn run(self) -> io::Result<Rewritten> {
        let file = open(&self.path, true)?;
        let mut writer = BufWriter::with_capacity(1 << 16, &file);
        let mut length = 0;
        let mut records = Vec::with_capacity(self.records.len());
        for (key, old) in self.records {
            writer.write_all(&read(&self.file, old)?)?;
            let new = Place {
                offset: length,
                ..old
            };
            length += old.length;
            records.push((key, old, new));
        }
        writer.flush()?;
        drop(writer);
        Ok(Rewritten {
            file,
            records,
            boundary: self.length,
            length,
        })
    }
}

fn open(path: &Path, empty: bool) -> io::Result<File> {
    if empty {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn read(file: &File, place: Place) -> io::Result<Vec<u8>> {
    let mut line = vec![0; usize::try_from(place.length).map_err(io::Error::other)?];
    file.read_exact_at(&mut line, place.offset)?;
    Ok(line)
}

fn write_line(lines: &mut Vec<u8>, key: &Key, text: Option<&[u8]>) {
    let (kind, name) = key.words();
    for word in [kind, " ", name, " "] {
        lines.extend_from_slice(word.as_bytes());
    }
    // JSON has no line ends but those in strings, which are escaped.
    lines.extend_from_slice(text.unwrap_or_default());
    lines.push(b'\n');
}

fn parse(line: &[u8]) -> Option<(Key, Option<&str>)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let mut words = line.splitn(3, ' ');
    let key = Key::read(words.next()?, words.next()?)?;
    let text = words.next()?;
    Some((key, Some(text).filter(|text| !text.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(unit: &str) -> Key {
        Key::State(unit.parse().unwrap())
    }

    fn text(number: usize) -> Vec<u8> {
        format!("{{\"number\":{number},\"long\":\"{}\"}}", "x".repeat(1000)).into_bytes()
    }

    fn left(directory: &Path) -> Records {
        let (_, records, problems) = Ledger::open(directory).unwrap();
        assert_eq!(problems, [] as [String; 0]);
        records
    }

    #[test]
    fn the_last_record_counts_and_what_was_taken_back_does_not() {
        let place = tempfile::tempdir().unwrap();
        let (mut ledger, records, _) = Ledger::open(place.path()).unwrap();
        assert!(records.is_empty());
        ledger.put(state("a.service"), b"1".to_vec());
        ledger.put(state("b.service"), b"2".to_vec());
        ledger.put(Key::Counters, b"3".to_vec());
        ledger.flush().unwrap();
        ledger.put(state("a.service"), b"4".to_vec());
        ledger.remove(state("b.service"));
        // Nothing new, and nothing at all.
        ledger.put(Key::Counters, b"3".to_vec());
        ledger.remove(state("c.service"));
        ledger.flush().unwrap();
        let length = ledger.length;
        ledger.put(state("a.service"), b"4".to_vec());
        ledger.flush().unwrap();
        assert_eq!(ledger.length, length);
        let records = left(place.path());
        assert_eq!(records.len(), 2);
        assert_eq!(records[&state("a.service")], "4");
        assert_eq!(records[&Key::Counters], "3");
    }

    #[test]
    fn a_torn_line_is_cut_off_and_the_next_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let (mut ledger, ..) = Ledger::open(place.path()).unwrap();
        ledger.put(state("a.service"), b"1".to_vec());
        ledger.flush().unwrap();
        let path = place.path().join("ledger");
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"state a.service {\"half").unwrap();
        let (mut ledger, records, problems) = Ledger::open(place.path()).unwrap();
        assert_eq!(problems, [] as [String; 0]);
        assert_eq!(records[&state("a.service")], "1");
        ledger.put(state("b.service"), b"2".to_vec());
        ledger.flush().unwrap();
        assert_eq!(left(place.path()).len(), 2);
    }

    #[test]
    fn a_line_that_is_none_costs_only_itself() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ledger");
        std::fs::write(&path, "state a.service 1\nnonsense\nstate b.service 2\n").unwrap();
        let (_, records, problems) = Ledger::open(place.path()).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(problems, ["a line that is none, at byte 18"]);
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let place = tempfile::tempdir().unwrap();
        let (mut ledger, ..) = Ledger::open(place.path()).unwrap();
        let good = Arc::clone(&ledger.file);
        ledger.file = Arc::new(File::options().append(true).open("/dev/full").unwrap());
        ledger.put(state("a.service"), b"1".to_vec());
        assert_eq!(
            ledger.flush().unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        ledger.put(state("a.service"), b"2".to_vec());
        ledger.file = good;
        ledger.flush().unwrap();
        assert_eq!(left(place.path())[&state("a.service")], "2");
    }

    #[test]
    fn it_is_written_anew_with_what_counts_and_what_came_meanwhile() {
        let place = tempfile::tempdir().unwrap();
        let (mut ledger, ..) = Ledger::open(place.path()).unwrap();
        let unit = |number: usize| state(&format!("u{number}.service"));
        let mut rewrites = 0;
        for round in 0..300 {
            for number in 0..20 {
                ledger.put(unit(number), text(round * 100 + number));
            }
            ledger.flush().unwrap();
            if let Some(rewrite) = ledger.rewrite() {
                assert!(ledger.rewrite().is_none());
                let rewritten = rewrite.run();
                // Meanwhile one changes, one goes and one comes.
                ledger.put(unit(3), text(7));
                ledger.remove(unit(4));
                ledger.put(unit(20 + rewrites), text(8));
                ledger.flush().unwrap();
                ledger.replace(rewritten).unwrap();
                rewrites += 1;
                assert!(ledger.length < SMALL, "{}", ledger.length);
                let lines = ledger.last.values().map(|place| place.length);
                assert_eq!(ledger.live, lines.sum::<u64>());
                let records = left(place.path());
                assert_eq!(records[&unit(3)].as_bytes(), text(7));
                assert!(!records.contains_key(&unit(4)));
                assert_eq!(records.len(), 19 + rewrites);
            }
        }
        assert!(rewrites >= 3, "{rewrites}");
        let records = left(place.path());
        for number in 0..20 {
            assert_eq!(records[&unit(number)].as_bytes(), text(29_900 + number));
        }
    }
}
