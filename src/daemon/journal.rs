//! The event log: every change, appended as one JSON line with a cursor.
//!
//! What agents say while they work (`agent`) is in a file of its own, `activity.jsonl`, with cursors
//! of the same count: however much they say, it does not push requests and states out. What else
//! happens to a unit has a share of the record, and what goes beyond that is counted too.
//!
//! Written by a thread, so that supervision never waits for the disk; the queue is bounded, and
//! what did not fit is counted and said in the next line. Clients read from a cursor and so miss
//! nothing across their own restarts.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::name::UnitName;

/// The record: states, jobs, requests.
const EVENTS: &str = "events.jsonl";
/// Agents' activity.
const ACTIVITY: &str = "activity.jsonl";
/// The kind of an entry of [`ACTIVITY`].
const AGENT: &str = "agent";
/// Entries that may wait for the disk.
const QUEUE: usize = 4_096;
/// Size at which the file is rotated.
const MAX_BYTES: u64 = 64 << 20;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Cursor: increasing by one, never reused.
    pub(crate) seq: u64,
    /// Realtime microseconds.
    pub(crate) time: u64,
    /// About whom; none for the manager itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<UnitName>,
    /// What kind of change: `state`, `job`, `agent`, `request`, `log`, `manager`.
    pub(crate) kind: String,
    /// The change.
    pub(crate) data: Value,
    /// Entries before this one that the disk was too slow for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) lost: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The loop's end of it.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Of this turn of the loop.
    entries: Vec<Entry>,
    queue: Option<Sender<Vec<Entry>>>,
    /// Handed over, and not written yet.
    waiting: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    next: u64,
    lost: u64,
    broken: Arc<AtomicU64>,
}

impl Journal {
    /// Opens the log in `directory` and finds the next cursor.
    pub(crate) fn start(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let paths = [EVENTS, ACTIVITY].map(|name| directory.join(name));
        let mut next = 1;
        for path in &paths {
            let cursor = last_cursor(path)?.or(last_cursor(&rotated(path))?);
            next = next.max(cursor.map_or(1, |cursor| cursor.saturating_add(1)));
        }
        let (queue, batches) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let broken = Arc::new(AtomicU64::new(0));
        let failures = Arc::clone(&broken);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .stack_size(128 * 1024)
            .spawn({
                let waiting = Arc::clone(&waiting);
                move || write_all(&paths, &batches, &waiting, &failures)
            })?;
        Ok(Self {
            entries: vec![],
            queue: Some(queue),
            waiting,
            thread: Some(thread),
            next,
            lost: 0,
            broken,
        })
    }

    /// Appends; never waits.
    pub(crate) fn append(&mut self, time: u64, unit: Option<&UnitName>, kind: &str, data: Value) {
        let entry = Entry {
            seq: self.next,
            time,
            unit: unit.cloned(),
            kind: kind.to_owned(),
            data,
            lost: self.lost,
        };
        self.next += 1;
        if self.waiting.load(Ordering::Relaxed) + self.entries.len() < QUEUE {
            self.entries.push(entry);
            self.lost = 0;
        } else {
            self.lost += 1;
        }
    }

    /// Has what was appended in this turn of the loop written.
    pub(crate) fn hand_over(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        if let Some(queue) = self.queue.as_ref().filter(|_| !entries.is_empty()) {
            self.waiting.fetch_add(entries.len(), Ordering::Relaxed);
            // The thread ends only with the queue.
            let _ = queue.send(entries);
        }
    }

    /// How many entries could not be written so far.
    pub(crate) fn failures(&self) -> u64 {
        self.broken
            .load(Ordering::Relaxed)
            .saturating_add(self.lost)
    }
}

/// What was appended is written.
impl Drop for Journal {
    fn drop(&mut self) {
        self.hand_over();
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It panics nowhere; there would be nothing more to write.
            let _ = thread.join();
        }
    }
}

/// Entries that a unit may have at once.
const BURST: u64 = 1_000;
/// Microseconds until it may have one more.
const PAUSE: u64 = 100_000;

/// How many entries a unit may have: many at once, few in the long run.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// When the last entry would have been due at the long run's pace, on the monotonic clock.
    due: u64,
    left_out: u64,
}

impl Share {
    /// Whether one more may be written: how many were left out before it; `None`: it may not.
    pub(crate) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.due.max(now).saturating_add(PAUSE);
        if due.saturating_sub(now) > BURST * PAUSE {
            self.left_out += 1;
            return None;
        }
        self.due = due;
        Some(std::mem::take(&mut self.left_out))
    }
}

fn rotated(path: &Path) -> PathBuf {
    path.with_extension("jsonl.1")
}

/// The cursor of the last whole line; a torn one (the machine lost power) is skipped.
fn last_cursor(path: &Path) -> io::Result<Option<u64>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(1 << 20)))?;
    let mut tail = vec![];
    file.read_to_end(&mut tail)?;
    Ok(tail
        .rsplit(|byte| *byte == b'\n')
        .find_map(|line| serde_json::from_slice::<Entry>(line).ok())
        .map(|entry| entry.seq))
}

fn write_all(
    paths: &[PathBuf; 2],
    batches: &Receiver<Vec<Entry>>,
    waiting: &AtomicUsize,
    failures: &AtomicU64,
) {
    let mut files: [Option<(File, u64)>; 2] = [None, None];
    while let Ok(entries) = batches.recv() {
        let mut lines = [vec![], vec![]];
        let mut count = [0, 0];
        for entry in &entries {
            let which = usize::from(entry.kind == AGENT);
            if let Ok(line) = serde_json::to_vec(entry) {
                lines[which].extend_from_slice(&line);
                lines[which].push(b'\n');
                count[which] += 1;
            }
        }
        for (which, path) in paths.iter().enumerate() {
            if !lines[which].is_empty()
                && write_lines(path, &mut files[which], &lines[which]).is_err()
            {
                failures.fetch_add(count[which], Ordering::Relaxed);
                files[which] = None;
            }
        }
        waiting.fetch_sub(entries.len(), Ordering::Relaxed);
    }
}

fn write_lines(path: &Path, file: &mut Option<(File, u64)>, lines: &[u8]) -> io::Result<()> {
    if file.as_ref().is_some_and(|(_, size)| *size > MAX_BYTES) {
        *file = None;
        std::fs::rename(path, rotated(path))?;
    }
    if file.is_none() {
        let mut opened = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let size = opened.metadata()?.len();
        if size > 0 {
            // A torn last line must not swallow the next one.
            opened.write_all(b"\n")?;
        }
        *file = Some((opened, size));
    }
    if let Some((file, size)) = file {
        file.write_all(lines)?;
        *size += lines.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_its_share_of_the_record() {
        let mut share = Share::default();
        let now = 5_000_000_000;
        let taken = (0..2 * BURST).filter(|_| share.take(now).is_some());
        assert_eq!(taken.count() as u64, BURST);
        assert_eq!(share.take(now + PAUSE), Some(BURST));
        assert_eq!(share.take(now + PAUSE), None);
        // Who was quiet for long may have many again, and no more than that.
        let late = now + 10 * BURST * PAUSE;
        assert_eq!(share.take(late), Some(1));
        let taken = (0..2 * BURST).filter(|_| share.take(late).is_some());
        assert_eq!(taken.count() as u64, BURST - 1);
    }

    fn lines(path: &Path) -> Vec<Entry> {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    #[test]
    fn the_cursor_goes_on_after_a_restart_and_a_torn_line() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events.jsonl");
        let old = r#"{"seq":41,"time":1,"kind":"state","data":{}}"#;
        std::fs::write(&path, format!("{old}\n{{\"seq\":42,\"ti")).unwrap();
        let mut journal = Journal::start(place.path()).unwrap();
        journal.append(
            5,
            Some(&"a.agent".parse().unwrap()),
            "job",
            serde_json::json!({"id": 1}),
        );
        drop(journal);
        let found = lines(&path);
        assert_eq!(
            found.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
            [41, 42]
        );
        assert_eq!(found[1].kind, "job");
    }
}
