//! Recording events for `aetherctl replay`: a thread that writes, and a queue that never waits.
//!
//! A recording holds what units are told and what agents are sent, so its file is the manager's
//! alone. When the disk is too slow the recording ends, because one with a gap proves nothing; and
//! when it has become so large that one that was forgotten would fill the disk.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::engine::recording::{Beginning, Line};

/// Events that may wait for the disk.
const QUEUE: usize = 8_192;
/// How large a recording may become, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// The loop's end of a recording.
#[derive(Debug)]
pub(super) struct Recorder(SyncSender<Line>);

impl Recorder {
    /// Begins a recording in a new file; what was there before is replaced.
    pub(super) fn start(path: &Path, beginning: &Beginning) -> io::Result<Self> {
        // Never through what somebody else may have put there.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut file = BufWriter::new(file);
        let mut left = MAX_BYTES;
        put(&mut file, beginning, &mut left)?;
        file.flush()?;
        let (queue, lines) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("recorder".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || {
                if let Err(error) = write(file, &lines, left) {
                    tracing::error!("the recording ends here: {error}");
                }
            })?;
        Ok(Self(queue))
    }

    /// Takes an event with what came of it; `false` when the recording has ended.
    pub(super) fn take(&self, line: Line) -> bool {
        self.0.try_send(line).is_ok()
    }
}

fn write(mut file: impl Write, lines: &Receiver<Line>, most: u64) -> io::Result<()> {
    let mut left = most;
    while let Ok(line) = lines.recv() {
        put(&mut file, &line, &mut left)?;
        // Whoever is killed leaves whole lines behind, up to the last quiet moment.
        while let Ok(line) = lines.try_recv() {
            put(&mut file, &line, &mut left)?;
        }
        file.flush()?;
    }
    file.flush()
}

fn put(file: &mut impl Write, value: &impl serde::Serialize, left: &mut u64) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    *left = left
        .checked_sub(line.len() as u64)
        .ok_or(io::ErrorKind::FileTooLarge)?;
    file.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::{Event, Now};

    #[test]
    fn a_recording_ends_when_it_is_large_and_with_a_whole_line() {
        let line = Line {
            now: Now::default(),
            event: Event::ClockChanged { zone: None },
            effects: vec![],
        };
        let one = serde_json::to_vec(&line).unwrap().len() as u64 + 1;
        let (queue, lines) = sync_channel(9);
        for _ in 0..9 {
            queue.send(line.clone()).unwrap();
        }
        let mut file = vec![];
        let error = write(&mut file, &lines, 4 * one + 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(file.len() as u64, 4 * one);
        // Without a reader the next line is one too many.
        drop(lines);
        assert!(!Recorder(queue).take(line));
    }
}
