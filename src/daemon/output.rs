//! The output thread: reads what units write, writes it to their logs, passes lines on.
//!
//! It alone touches the output pipes. Bytes are looked at, written down, then taken (see
//! [`crate::sys::pipe`]), so a daemon that dies loses none; a log that cannot be written (full
//! disk) holds its unit's output in the pipe until it can. The main loop never waits for this
//! thread: what it must know comes as [`Heard`], in order.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::daemon::record::{Record, Stream, encode};
use crate::name::UnitName;
use crate::sys::clock::realtime_nanos;
use crate::sys::pipe::{CHUNK, Peek, Scratch, consume, take};
use crate::sys::poll::{Poll, Waker};

/// Longest structured line that is passed on; a longer one is cut.
const LINE_MAX: usize = (4 << 20) + 1;

/// Structured output costs the loop work, so each stream has a budget of it: one for a line, one
/// for each of these many bytes. Who uses it up waits in its own pipe.
const BYTES_PER_POINT: usize = 8 * 1024;
/// Points that a stream may have saved, and owe.
const POINTS: i64 = 4_000;
/// Points added with each [`PACE`].
const POINTS_PER_PACE: i64 = 50;
/// How often the budgets grow.
const PACE: Duration = Duration::from_millis(100);

/// How long to wait before a log that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the loop tells the thread.
#[derive(Debug)]
enum Command {
    Open {
        unit: UnitName,
        source: Source,
        log: LogFiles,
    },
    Say {
        unit: UnitName,
        stream: Stream,
        text: String,
        log: LogFiles,
    },
    Drain {
        unit: UnitName,
        token: u64,
    },
    Close {
        unit: UnitName,
    },
}

/// One stream of one unit.
#[derive(Debug)]
pub(crate) struct Source {
    /// Read end, non-blocking.
    pub(crate) pipe: OwnedFd,
    /// It is a terminal's master: bytes can only be taken, not looked at.
    pub(crate) terminal: bool,
    /// Which stream.
    pub(crate) stream: Stream,
    /// Pass whole lines on to the loop.
    pub(crate) lines: bool,
    /// The beginning of a line that was in the log but not whole when the daemon died.
    pub(crate) partial: Vec<u8>,
}

/// Where a unit's log is and how large it may become.
#[derive(Debug, Clone)]
pub(crate) struct LogFiles {
    pub(crate) directory: PathBuf,
    pub(crate) max_bytes: u64,
    pub(crate) max_files: u32,
}

/// What the thread tells the loop.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Whole lines, without line ends; they are in the log.
    Lines {
        unit: UnitName,
        stream: Stream,
        lines: Vec<Vec<u8>>,
    },
    /// Everything that was in the unit's pipes at that moment has been passed on.
    Drained { unit: UnitName, token: u64 },
    /// The log cannot be written; the unit's output waits in its pipes.
    Stuck { unit: UnitName, error: String },
    /// It can be written again.
    Unstuck { unit: UnitName },
}

/// The loop's end of it.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    commands: std_mpsc::Sender<Command>,
    waker: Waker,
    /// It was told something of which it does not know.
    asleep: Cell<bool>,
}

impl Output {
    /// Starts the thread. `heard` is called on it and may block for as long as the loop is busy.
    pub(crate) fn start(heard: mpsc::Sender<Heard>) -> io::Result<Self> {
        let (poll, waker) = Poll::new()?;
        let (commands, incoming) = std_mpsc::channel();
        let thread = Thread {
            poll,
            incoming,
            heard,
            scratch: Scratch::new()?,
            buffer: vec![0; CHUNK],
            sources: HashMap::new(),
            of_units: HashMap::new(),
            owing: BTreeSet::new(),
            records: HashMap::new(),
            stuck: BTreeSet::new(),
            unsaid: Vec::new(),
            next_token: 0,
            paced: realtime_nanos(),
            retried: realtime_nanos(),
        };
        std::thread::Builder::new()
            .name("output".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || thread.run())?;
        Ok(Self {
            commands,
            waker,
            asleep: Cell::new(false),
        })
    }

    fn send(&self, command: Command) {
        // The thread ends only with the process.
        let _ = self.commands.send(command);
        self.asleep.set(true);
    }

    /// Lets the thread do what it was told in this turn of the loop.
    pub(crate) fn wake(&self) {
        if self.asleep.take() {
            self.waker.wake();
        }
    }

    /// Reads a unit's stream from now on.
    pub(crate) fn open(&self, unit: UnitName, source: Source, log: LogFiles) {
        self.send(Command::Open { unit, source, log });
    }

    /// Writes a sentence (or an event) of our own into a unit's log.
    pub(crate) fn say(&self, unit: UnitName, stream: Stream, text: String, log: LogFiles) {
        self.send(Command::Say {
            unit,
            stream,
            text,
            log,
        });
    }

    /// Asks for [`Heard::Drained`] after everything written so far.
    pub(crate) fn drain(&self, unit: UnitName, token: u64) {
        self.send(Command::Drain { unit, token });
    }

    /// Reads what is left, then lets the unit's pipes go.
    pub(crate) fn close(&self, unit: UnitName) {
        self.send(Command::Close { unit });
    }
}

#[derive(Debug)]
struct Open {
    unit: UnitName,
    source: Source,
    /// Not polled now: the log is stuck, the budget is used up, or the last writer is gone.
    parked: bool,
    ended: bool,
    /// What is left of the budget.
    points: i64,
}

#[derive(Debug)]
struct Thread {
    poll: Poll,
    incoming: std_mpsc::Receiver<Command>,
    heard: mpsc::Sender<Heard>,
    scratch: Scratch,
    buffer: Vec<u8>,
    sources: HashMap<u64, Open>,
    /// Which are of which unit.
    of_units: HashMap<UnitName, Vec<u64>>,
    /// Those that have used up something of their budget.
    owing: BTreeSet<u64>,
    records: HashMap<UnitName, Log>,
    /// Units whose logs cannot be written.
    stuck: BTreeSet<UnitName>,
    /// Our own entries that a stuck log has not taken yet.
    unsaid: Vec<(UnitName, Vec<u8>)>,
    next_token: u64,
    /// When the budgets grew and when stuck logs were tried, in nanoseconds.
    paced: u128,
    retried: u128,
}

#[derive(Debug)]
struct Log {
    record: Record,
    /// The loop was told that it is stuck.
    told: bool,
}

/// How many of our own entries may wait for a stuck log; the oldest give way.
const UNSAID_MAX: usize = 4_096;

impl Thread {
    fn run(mut self) {
        loop {
            let stuck = !self.stuck.is_empty();
            let owing = !self.owing.is_empty();
            let pause = match (owing, stuck) {
                (true, _) => Some(PACE),
                (false, true) => Some(RETRY),
                (false, false) => None,
            };
            let Ok(ready) = self.poll.wait(pause) else {
                return;
            };
            for token in ready {
                self.read(token, 1);
                self.park_spent(token);
            }
            loop {
                match self.incoming.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(std_mpsc::TryRecvError::Empty) => break,
                    Err(std_mpsc::TryRecvError::Disconnected) => return,
                }
            }
            let now = realtime_nanos();
            if stuck && passed(self.retried, now, RETRY) {
                self.retried = now;
                self.retry();
            }
            if owing && passed(self.paced, now, PACE) {
                self.paced = now;
                self.replenish();
            }
        }
    }

    /// Gives every stream its points, and reads on where they suffice again.
    fn replenish(&mut self) {
        for token in std::mem::take(&mut self.owing) {
            let Some(open) = self.sources.get_mut(&token) else {
                continue;
            };
            let owed = open.points <= 0;
            open.points = (open.points + POINTS_PER_PACE).min(POINTS);
            if open.points < POINTS {
                self.owing.insert(token);
            }
            let stuck = self.stuck.contains(&open.unit);
            if owed && open.points > 0 && open.parked && !open.ended && !stuck {
                open.parked = self.poll.add(open.source.pipe.as_fd(), token).is_err();
            }
        }
    }

    /// A stream without points is not read until it has some again.
    fn park_spent(&mut self, token: u64) {
        if let Some(open) = self.sources.get_mut(&token)
            && open.points <= 0
            && !open.parked
        {
            let _ = self.poll.remove(&open.source.pipe);
            open.parked = true;
        }
    }

    fn tell(&self, heard: Heard) {
        let _ = self.heard.blocking_send(heard);
    }

    fn log(&mut self, unit: &UnitName, files: LogFiles) {
        self.records.entry(unit.clone()).or_insert_with(|| Log {
            record: Record::new(files.directory, files.max_bytes, files.max_files),
            told: false,
        });
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open { unit, source, log } => {
                self.log(&unit, log);
                let token = self.next_token;
                self.next_token += 1;
                let parked = self.poll.add(source.pipe.as_fd(), token).is_err();
                self.of_units.entry(unit.clone()).or_default().push(token);
                self.sources.insert(
                    token,
                    Open {
                        unit,
                        source,
                        parked,
                        ended: false,
                        points: POINTS,
                    },
                );
            }
            Command::Say {
                unit,
                stream,
                text,
                log,
            } => {
                self.log(&unit, log);
                let mut entry = vec![];
                // One entry whatever is in it: a line break in a sentence must not forge a line.
                let mut line = text.replace('\n', " ").into_bytes();
                line.push(b'\n');
                encode(&mut entry, realtime_nanos(), stream, &line);
                if !self.append(&unit, &entry) {
                    if self.unsaid.len() >= UNSAID_MAX {
                        self.unsaid.remove(0);
                    }
                    self.unsaid.push((unit, entry));
                }
            }
            Command::Drain { unit, token } => {
                self.read_all(&unit);
                self.tell(Heard::Drained { unit, token });
            }
            Command::Close { unit } => {
                self.read_all(&unit);
                for token in self.of_units.remove(&unit).unwrap_or_default() {
                    if let Some(open) = self.sources.remove(&token) {
                        let _ = self.poll.remove(&open.source.pipe);
                    }
                }
                // The file is opened again when there is more to write.
                if !self.stuck.contains(&unit) {
                    self.records.remove(&unit);
                }
            }
        }
    }

    fn tokens(&self, unit: &UnitName) -> Vec<u64> {
        self.of_units.get(unit).cloned().unwrap_or_default()
    }

    fn read_all(&mut self, unit: &UnitName) {
        for token in self.tokens(unit) {
            // A process that never stops writing must not hold us: a pipe's capacity is enough to
            // have seen everything that was there when we were asked.
            self.read(token, 32);
        }
    }

    /// Reads up to `rounds` chunks of one source.
    fn read(&mut self, token: u64, rounds: u32) {
        for _ in 0..rounds {
            let Some(open) = self.sources.get_mut(&token) else {
                return;
            };
            if open.ended {
                return;
            }
            let terminal = open.source.terminal;
            let pipe = open.source.pipe.as_fd();
            let seen = if terminal {
                take(pipe, &mut self.buffer)
            } else {
                self.scratch.peek(pipe, &mut self.buffer)
            };
            let count = match seen {
                Ok(Peek::Bytes(count)) => count,
                Ok(Peek::Empty) => return,
                Ok(Peek::End) | Err(_) => {
                    let _ = self.poll.remove(&open.source.pipe);
                    open.parked = true;
                    open.ended = true;
                    return;
                }
            };
            let unit = open.unit.clone();
            let mut entries = Vec::with_capacity(count + count / 8 + 128);
            encode(
                &mut entries,
                realtime_nanos(),
                open.source.stream,
                &self.buffer[..count],
            );
            if !self.append(&unit, &entries) {
                return;
            }
            let Some(open) = self.sources.get_mut(&token) else {
                return;
            };
            if !terminal {
                let _ = consume(open.source.pipe.as_fd(), &mut self.buffer, count);
            }
            if open.source.lines {
                let lines = split(&mut open.source.partial, &self.buffer[..count]);
                let cost = lines.len() + count / BYTES_PER_POINT;
                let cost = i64::try_from(cost).unwrap_or(POINTS);
                open.points = (open.points - cost).max(-POINTS);
                self.owing.insert(token);
                if !lines.is_empty() {
                    let stream = open.source.stream;
                    self.tell(Heard::Lines {
                        unit,
                        stream,
                        lines,
                    });
                }
            }
        }
    }

    /// Writes entries; on failure parks the unit's sources until [`Self::retry`].
    fn append(&mut self, unit: &UnitName, entries: &[u8]) -> bool {
        let Some(log) = self.records.get_mut(unit) else {
            return false;
        };
        match log.record.append(entries) {
            Ok(()) => true,
            Err(error) => {
                if self.stuck.insert(unit.clone()) {
                    for token in self.of_units.get(unit).into_iter().flatten() {
                        if let Some(open) = self.sources.get_mut(token)
                            && !open.parked
                        {
                            let _ = self.poll.remove(&open.source.pipe);
                            open.parked = true;
                        }
                    }
                    if !log.told {
                        log.told = true;
                        self.tell(Heard::Stuck {
                            unit: unit.clone(),
                            error: error.to_string(),
                        });
                    }
                }
                false
            }
        }
    }

    fn retry(&mut self) {
        for unit in self.stuck.clone() {
            let waiting = std::mem::take(&mut self.unsaid);
            for (of, entry) in waiting {
                if of != unit || !self.append(&unit, &entry) {
                    self.unsaid.push((of, entry));
                }
            }
            let waiting = self.unsaid.iter().any(|(of, _)| *of == unit);
            let Some(log) = self.records.get_mut(&unit) else {
                continue;
            };
            if waiting || log.record.append(b"").is_err() {
                continue;
            }
            self.stuck.remove(&unit);
            for token in self.of_units.get(&unit).into_iter().flatten() {
                if let Some(open) = self.sources.get_mut(token)
                    && !open.ended
                {
                    open.parked = self.poll.add(open.source.pipe.as_fd(), *token).is_err();
                }
            }
            self.read_all(&unit);
            // An empty write says little about a full disk; what waits in the pipes says it.
            if !self.stuck.contains(&unit)
                && let Some(log) = self.records.get_mut(&unit)
            {
                log.told = false;
                self.tell(Heard::Unstuck { unit });
            }
        }
    }
}

/// Whether `pause` has passed since `then`; a clock that was set back counts as passed.
fn passed(then: u128, now: u128, pause: Duration) -> bool {
    now < then || now - then >= pause.as_nanos()
}

/// Adds `bytes` to `partial` and takes the whole lines out.
pub(crate) fn split(partial: &mut Vec<u8>, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![];
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        extend(partial, &rest[..end]);
        lines.push(std::mem::take(partial));
        rest = &rest[end + 1..];
    }
    extend(partial, rest);
    lines
}

fn extend(line: &mut Vec<u8>, bytes: &[u8]) {
    let room = LINE_MAX.saturating_sub(line.len());
    line.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pipe::{pipe, write_some};

    fn unit() -> UnitName {
        "a.agent".parse().unwrap()
    }

    fn log(directory: PathBuf) -> LogFiles {
        LogFiles {
            directory,
            max_bytes: 1 << 20,
            max_files: 1,
        }
    }

    #[test]
    fn lines_over_chunks_are_joined() {
        let mut partial = vec![];
        assert!(split(&mut partial, b"ab").is_empty());
        assert_eq!(
            split(&mut partial, b"c\nd\ne"),
            [b"abc".to_vec(), b"d".to_vec()]
        );
        assert_eq!(partial, b"e");
    }

    #[test]
    fn output_is_logged_and_passed_on_in_order() {
        let place = tempfile::tempdir().unwrap();
        let (sender, mut heard) = mpsc::channel(8);
        let output = Output::start(sender).unwrap();
        let (reader, writer) = pipe().unwrap();
        let source = Source {
            pipe: reader,
            terminal: false,
            stream: Stream::Stdout,
            lines: true,
            partial: vec![],
        };
        output.open(unit(), source, log(place.path().to_owned()));
        output.wake();
        write_some(writer.as_fd(), b"one\ntwo\nthr").unwrap();
        output.drain(unit(), 7);
        output.wake();
        let mut lines = vec![];
        loop {
            match heard.blocking_recv().unwrap() {
                Heard::Lines { lines: more, .. } => lines.extend(more),
                Heard::Drained { token, .. } => {
                    assert_eq!(token, 7);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(lines, [b"one".to_vec(), b"two".to_vec()]);
        let text = std::fs::read_to_string(place.path().join("output.log")).unwrap();
        assert!(
            text.contains(" stdout F two\n") && text.ends_with(" stdout P thr\n"),
            "{text}"
        );
    }

    #[test]
    fn a_log_that_cannot_be_written_holds_the_output_back() {
        let place = tempfile::tempdir().unwrap();
        let blocked = place.path().join("file");
        std::fs::write(&blocked, "in the way").unwrap();
        let (sender, mut heard) = mpsc::channel(8);
        let output = Output::start(sender).unwrap();
        let (reader, writer) = pipe().unwrap();
        let source = Source {
            pipe: reader,
            terminal: false,
            stream: Stream::Stdout,
            lines: true,
            partial: vec![],
        };
        output.open(unit(), source, log(blocked.clone()));
        output.wake();
        write_some(writer.as_fd(), b"kept\n").unwrap();
        assert!(matches!(
            heard.blocking_recv().unwrap(),
            Heard::Stuck { .. }
        ));
        std::fs::remove_file(&blocked).unwrap();
        match heard.blocking_recv().unwrap() {
            Heard::Lines { lines, .. } => assert_eq!(lines, [b"kept".to_vec()]),
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            heard.blocking_recv().unwrap(),
            Heard::Unstuck { .. }
        ));
        let text = std::fs::read_to_string(blocked.join("output.log")).unwrap();
        assert!(text.ends_with(" stdout F kept\n"), "{text}");
    }
}
