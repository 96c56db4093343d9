//! Recording events for `aetherctl replay`: a thread that writes, and a queue that never waits.
//!
//! A recording holds what units are told and what agents are sent, so its file is the manager's
//! alone. When the disk is too slow the recording ends, because one with a gap proves nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::engine::recording::{Beginning, Line};

/// Events that may wait for the disk.
const QUEUE: usize = 8_192;

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
        put(&mut file, beginning)?;
        file.flush()?;
        let (queue, lines) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("recorder".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || {
                if let Err(error) = write(file, &lines) {
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

fn write(mut file: BufWriter<File>, lines: &Receiver<Line>) -> io::Result<()> {
    while let Ok(line) = lines.recv() {
        put(&mut file, &line)?;
        // Whoever is killed leaves whole lines behind, up to the last quiet moment.
        while let Ok(line) = lines.try_recv() {
            put(&mut file, &line)?;
        }
        file.flush()?;
    }
    file.flush()
}

fn put(file: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *file, value)?;
    file.write_all(b"\n")
}
