//! `aether-mcp SOCKET`: what an agent's MCP configuration names; standard streams to the hub and
//! back. Standard library only, two threads, no copy of anything but the line in hand.
//!
//! It outlives the hub. Some clients start a bridge that ended again, most do not and would be
//! without tools for the rest of their run; so when the hub goes, the bridge connects anew, repeats
//! the client's own `initialize` and `notifications/initialized`, swallows the second answer, and
//! answers what was in flight with an error, because a call may or may not have been done and only
//! the caller knows whether to repeat it. For this it reads three top-level keys of each line
//! (`id`, `method`, and whether there is a `result` or `error`) with a scanner that needs no memory
//! of its own, and nothing else.

#![expect(
    clippy::disallowed_methods,
    reason = "it gives up on a hub by the clock"
)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the hub may be away without a socket that accepts. While aetherd holds the socket,
/// connecting succeeds at once and the hub's next life answers.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest line passed to the hub (it drops longer ones without an answer).
const MAX_UP: usize = 1024 * 1024;
/// Longest line passed to the client.
const MAX_DOWN: usize = 16 * 1024 * 1024;
/// Requests in flight that are remembered; the oldest is forgotten first.
const MAX_IN_FLIGHT: usize = 256;
/// Longest id and method that are remembered.
const MAX_TOKEN: usize = 256;
/// Both buffers.
const BUFFER: usize = 32 * 1024;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(path), None) = (arguments.next(), arguments.next()) else {
        return fail(
            2,
            "usage: aether-mcp SOCKET   (the unit's MCP socket, $AETHER_MCP_SOCKET)",
        );
    };
    let Ok(stdout) = io::stdout().as_fd().try_clone_to_owned() else {
        return fail(1, "there is no standard output");
    };
    let link = Arc::new(Link {
        path,
        state: Mutex::default(),
        changed: Condvar::new(),
        out: Mutex::new(File::from(stdout)),
    });
    let up = Arc::clone(&link);
    let reader = thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(move || up.carry_up(&mut io::stdin().lock()));
    if let Err(error) = reader {
        return fail(1, &format!("cannot start a thread: {error}"));
    }
    match link.carry_down() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format!("{}: {error}", link.path.to_string_lossy())),
    }
}

fn fail(code: u8, text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "aether-mcp: {text}");
    ExitCode::from(code)
}

/// Both directions' common knowledge.
struct Link {
    path: std::ffi::OsString,
    state: Mutex<State>,
    changed: Condvar,
    out: Mutex<File>,
}

#[derive(Default)]
struct State {
    /// Present while requests may be sent.
    socket: Option<Arc<UnixStream>>,
    /// The one on which a former session is being repeated.
    joining: Option<UnixStream>,
    /// The client is done.
    closed: bool,
    /// The client's `initialize`, as it sent it, and its id.
    initialize: Option<(Vec<u8>, Vec<u8>)>,
    /// The client's `notifications/initialized`.
    initialized: Option<Vec<u8>>,
    /// Ids of requests whose answers are awaited from the present connection.
    in_flight: VecDeque<Vec<u8>>,
}

/// How one connection ended.
enum End {
    /// The client is done, and so are we.
    Client,
    /// The hub went away; whether it was of any use before.
    Hub { useful: bool },
}

impl Link {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, bytes: &[u8]) -> io::Result<()> {
        self.out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(bytes)
    }

    /// Client to hub, line by line, until the client closes.
    fn carry_up(&self, stdin: &mut impl Read) {
        let mut lines = Lines::new(stdin, MAX_UP);
        while let Ok(Some(line)) = lines.next() {
            let (bytes, whole, seen) = (line.bytes, line.whole, line.seen);
            if !whole {
                if seen.is_request() {
                    let _ = self.refuse(&seen.id, -32600, "the message is longer than 1 MiB");
                }
                continue;
            }
            let mut state = self.state();
            while state.socket.is_none() && !state.closed {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let Some(socket) = state.socket.clone() else {
                return;
            };
            // Registered with the socket it goes to: whoever takes the socket away answers for it.
            if seen.is_request() {
                if seen.method == b"\"initialize\"" {
                    state.initialize = Some((bytes.to_vec(), seen.id.clone()));
                    state.initialized = None;
                }
                if state.in_flight.len() >= MAX_IN_FLIGHT {
                    state.in_flight.pop_front();
                }
                state.in_flight.push_back(seen.id);
            } else if seen.method == b"\"notifications/initialized\"" {
                state.initialized = Some(bytes.to_vec());
            }
            drop(state);
            // A write that fails is noticed by the reader of the same socket.
            let _ = (&*socket).write_all(bytes);
        }
        let mut state = self.state();
        state.closed = true;
        if let Some(socket) = &state.socket {
            let _ = socket.shutdown(Shutdown::Write);
        }
        if let Some(socket) = &state.joining {
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Hub to client, connection after connection.
    fn carry_down(&self) -> io::Result<()> {
        let mut deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(2);
        loop {
            let error = match self.connect() {
                Ok(mut lines) => match self.forward(&mut lines)? {
                    End::Client => return Ok(()),
                    End::Hub { useful } => {
                        if useful {
                            deadline = Instant::now() + PATIENCE;
                            pause = Duration::from_millis(2);
                        }
                        io::Error::other("the hub closes every connection")
                    }
                },
                // A hub that comes back looks like these; anything else will not mend itself.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound
                            | io::ErrorKind::ConnectionRefused
                            | io::ErrorKind::ConnectionReset
                            | io::ErrorKind::BrokenPipe
                            | io::ErrorKind::UnexpectedEof
                    ) =>
                {
                    error
                }
                Err(error) => return Err(error),
            };
            self.drop_connection()?;
            let state = self.state();
            if state.closed {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(error);
            }
            // Woken early when the client leaves.
            drop(self.changed.wait_timeout(state, pause));
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    /// Connects and puts the hub where the client left it.
    fn connect(&self) -> io::Result<Lines<UnixStream>> {
        let stream = UnixStream::connect(&self.path)?;
        let mut lines = Lines::new(stream.try_clone()?, MAX_DOWN);
        let (initialize, initialized) = {
            let mut state = self.state();
            if state.closed {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            state.joining = Some(stream.try_clone()?);
            (state.initialize.clone(), state.initialized.clone())
        };
        if let Some((line, id)) = initialize {
            (&stream).write_all(&line)?;
            loop {
                let answer = lines.next()?.ok_or(io::ErrorKind::UnexpectedEof)?;
                if answer.seen.answers && answer.seen.id == id {
                    break;
                }
            }
            if let Some(line) = initialized {
                (&stream).write_all(&line)?;
            }
        }
        let mut state = self.state();
        let stream = Arc::new(stream);
        state.joining = None;
        if state.closed {
            stream.shutdown(Shutdown::Write)?;
        }
        state.socket = Some(stream);
        drop(state);
        self.changed.notify_all();
        Ok(lines)
    }

    fn forward(&self, lines: &mut Lines<UnixStream>) -> io::Result<End> {
        let since = Instant::now();
        let mut useful = false;
        loop {
            match lines.next() {
                Ok(Some(line)) if line.whole => {
                    useful = true;
                    if line.seen.answers {
                        let mut state = self.state();
                        if let Some(at) = state.in_flight.iter().position(|id| *id == line.seen.id)
                        {
                            state.in_flight.remove(at);
                        }
                    }
                    self.print(line.bytes)?;
                }
                Ok(Some(line)) => {
                    self.refuse(&line.seen.id, -32603, "the answer is longer than 16 MiB")?;
                }
                // A reset is how a killed hub looks when it left something unread.
                Ok(None) | Err(_) => break,
            }
        }
        if self.state().closed {
            return Ok(End::Client);
        }
        Ok(End::Hub {
            useful: useful || since.elapsed() >= Duration::from_secs(1),
        })
    }

    /// Takes the socket away and answers for what was sent to it.
    fn drop_connection(&self) -> io::Result<()> {
        let mut state = self.state();
        state.socket = None;
        state.joining = None;
        let orphans = std::mem::take(&mut state.in_flight);
        // An initialize that never got its answer must not be repeated behind the client's back.
        if state
            .initialize
            .as_ref()
            .is_some_and(|(_, id)| orphans.contains(id))
        {
            state.initialize = None;
        }
        drop(state);
        for id in orphans {
            self.refuse(&id, -32000, "hub restarted, call again")?;
        }
        Ok(())
    }

    fn refuse(&self, id: &[u8], code: i32, text: &str) -> io::Result<()> {
        let mut line = br#"{"jsonrpc":"2.0","id":"#.to_vec();
        line.extend_from_slice(if id.is_empty() { b"null" } else { id });
        line.extend_from_slice(
            format!(",\"error\":{{\"code\":{code},\"message\":\"{text}\"}}}}\n").as_bytes(),
        );
        self.print(&line)
    }
}

/// One line, and what was seen in it.
struct Line<'a> {
    bytes: &'a [u8],
    /// False: it was too long, and only what was seen in it is left.
    whole: bool,
    seen: Seen,
}

/// Reads lines of bounded length.
struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    most: usize,
}

impl<R: Read> Lines<R> {
    fn new(from: R, most: usize) -> Self {
        Self {
            from: BufReader::with_capacity(BUFFER, from),
            line: Vec::new(),
            most,
        }
    }

    /// The next line with its newline; a last one without is no line.
    fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        self.line.shrink_to(BUFFER);
        let mut scan = Scan::default();
        let mut whole = true;
        loop {
            let available = match self.from.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(None);
            }
            let newline = available.iter().position(|byte| *byte == b'\n');
            let take = newline.map_or(available.len(), |at| at + 1);
            available[..take].iter().for_each(|byte| scan.push(*byte));
            if self.line.len() + take > self.most {
                whole = false;
                self.line.clear();
            }
            if whole {
                self.line.extend_from_slice(&available[..take]);
            }
            self.from.consume(take);
            if newline.is_some() {
                return Ok(Some(Line {
                    bytes: &self.line,
                    whole,
                    seen: scan.seen,
                }));
            }
        }
    }
}

/// The top-level keys that matter, as they stand in the text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    id: Vec<u8>,
    method: Vec<u8>,
    /// There is a `result` or an `error`.
    answers: bool,
}

impl Seen {
    fn is_request(&self) -> bool {
        !self.id.is_empty() && !self.method.is_empty()
    }
}

/// Finds the top-level keys of one JSON object, byte by byte.
#[derive(Debug, Default)]
struct Scan {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// At depth 1: after a colon, in a value.
    in_value: bool,
    key: Vec<u8>,
    value: Vec<u8>,
    seen: Seen,
}

impl Scan {
    fn push(&mut self, byte: u8) {
        if self.in_string {
            self.keep(byte);
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.in_string = false;
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.keep(byte);
            }
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
            }
            b'}' | b']' => {
                if self.depth == 1 {
                    self.end();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if self.depth == 1 => self.in_value = true,
            b',' if self.depth == 1 => self.end(),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 {
            let into = if self.in_value {
                &mut self.value
            } else {
                &mut self.key
            };
            if into.len() <= MAX_TOKEN {
                into.push(byte);
            }
        }
    }

    fn end(&mut self) {
        let value = std::mem::take(&mut self.value);
        let fits = value.len() <= MAX_TOKEN && value != b"null";
        match self.key.as_slice() {
            b"\"id\"" if fits => self.seen.id = value,
            b"\"method\"" if fits => self.seen.method = value,
            b"\"result\"" | b"\"error\"" => self.seen.answers = true,
            _ => {}
        }
        self.key.clear();
        self.in_value = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str) -> Seen {
        let mut scan = Scan::default();
        line.bytes().for_each(|byte| scan.push(byte));
        scan.seen
    }

    #[test]
    fn the_keys_are_found_wherever_they_stand() {
        let request = seen(
            r#"{"method":"tools/call","params":{"id":9,"method":"x","result":1},"jsonrpc":"2.0","id":7}"#,
        );
        assert_eq!(
            (
                request.id.as_slice(),
                request.method.as_slice(),
                request.answers
            ),
            (&b"7"[..], &b"\"tools/call\""[..], false)
        );
        assert!(request.is_request());
        let text = seen(r#"{ "id" : "a\"},{\"b", "result": {"x":["}"]} }"#);
        assert_eq!(
            (text.id.as_slice(), text.answers),
            (&br#""a\"},{\"b""#[..], true)
        );
        assert!(!text.is_request());
        let note = seen(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        assert!(!note.is_request() && note.method == b"\"notifications/initialized\"");
        assert!(seen(r#"{"id":null,"error":{}}"#).id.is_empty());
        assert!(
            seen(&format!(r#"{{"id":"{}","method":"x"}}"#, "i".repeat(999)))
                .id
                .is_empty()
        );
        assert_eq!(seen("]]}}\"\\"), Seen::default());
    }

    #[test]
    fn a_line_that_is_too_long_leaves_its_id_and_the_next_line() {
        let text = format!(
            "{{\"method\":\"m\",\"params\":\"{}\",\"id\":5}}\n{{\"id\":6}}\nrest",
            "x".repeat(100)
        );
        let mut lines = Lines::new(text.as_bytes(), 64);
        let long = lines.next().unwrap().unwrap();
        assert!(!long.whole && long.seen.id == b"5" && long.seen.is_request());
        let next = lines.next().unwrap().unwrap();
        assert!(next.whole && next.bytes == b"{\"id\":6}\n");
        assert!(lines.next().unwrap().is_none(), "half a line was passed on");
    }
}
