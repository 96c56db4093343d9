//! The keeper's loop: wait for one thing, deal with it, never die of it.
//!
//! Order matters in one place: when the daemon has died, its last messages to the store are read
//! before its pid is reaped, because until then the pid proves who sent them.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{MsgFlags, recv, send};
use tracing::{error, info, warn};

use super::backoff::Backoff;
use super::obituaries::{self, Obituaries};
use super::store::Store;
use super::{End, LENGTH, Message, RESTART_CODE, SOCKET_NAME};
use crate::sys::cgroup::Stat;
use crate::sys::closing;
use crate::sys::fdstore::{self, Door};
use crate::sys::reaper;

/// Most messages dealt with before the other sources are looked at again.
const BATCH: usize = 256;
/// While stopping: how often a daemon that died on the way is started again to finish it.
const LAST_TRIES: u32 = 3;
/// While stopping: the longest that the next of them waits.
const LAST_DELAY: Duration = Duration::from_millis(500);
/// While stopping: how long a daemon may take to be ready before it is told to stop regardless.
const READY_LIMIT: Duration = Duration::from_secs(5);

/// What is kept alive.
#[derive(Debug, Clone)]
pub struct Command {
    /// The daemon's program.
    pub program: PathBuf,
    /// Its arguments, without the name.
    pub arguments: Vec<OsString>,
    /// Directory for the store's socket: made, and open to this user alone.
    pub runtime: PathBuf,
}

/// Why the keeper could not begin, or had to end in another way than by the daemon's own wish.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Something it cannot be without was refused at the start.
    #[error("{step}: {source}")]
    Start {
        /// What was tried.
        step: &'static str,
        /// How it ended.
        source: io::Error,
    },
    /// The daemon's path or arguments cannot be passed on.
    #[error("pass on {0:?}: it has a NUL byte")]
    Argument(OsString),
    /// It was to stop everything, and died again and again instead.
    #[error("stop in order: the daemon died {LAST_TRIES} times on the way; units may still run")]
    Unfinished,
}

/// Runs until the daemon has ended in order; answers how to end.
///
/// Descriptors that were passed to the keeper itself are kept like those of the daemon. To be
/// called in a process with one thread, before anything else opens descriptors.
///
/// # Errors
/// [`KeeperError::Start`] before anything was started; [`KeeperError::Unfinished`] at the end.
pub fn run(command: &Command) -> Result<End, KeeperError> {
    let start = |step| move |source| KeeperError::Start { step, source };
    let mut keeper = Keeper::new(command)?;
    let wanted = [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
    ];
    let signals = reaper::signals(&wanted).map_err(start("receive signals"))?;
    note_missing_mounts();
    keeper.spawn();
    loop {
        keeper.wait(&signals);
        keeper.read_signals(&signals);
        keeper.read_door();
        keeper.read_socket();
        keeper.reap();
        keeper.tell();
        keeper.act_in_time();
        if let Some(end) = keeper.end.take() {
            return end;
        }
    }
}

/// Where, as PID 1, `/proc`, `/sys`, `/dev`, `/run` and the cgroup file system will be mounted,
/// before anything reads them. Until that is written it only says that it is not done.
fn note_missing_mounts() {
    if std::process::id() == 1 {
        warn!("running as PID 1: the API file systems must be mounted already");
    }
}

/// The daemon that runs now.
#[derive(Debug)]
struct Daemon {
    pid: u32,
    since: Instant,
    /// Our end of its socket; `None` when it has closed its own.
    socket: Option<OwnedFd>,
    ready: bool,
    /// Tokens of syncs that wait for room in the socket.
    syncs: Vec<u64>,
    /// The socket is full: wait until it can be written.
    full: bool,
}

#[derive(Debug)]
struct Keeper {
    path: CString,
    argv: Vec<CString>,
    environment: Vec<CString>,
    /// Held as long as we live; `None` where there is no directory for it.
    _lock: Option<File>,
    door: Door,
    store: Store,
    obituaries: Obituaries,
    dropped: u64,
    backoff: Backoff,
    daemon: Option<Daemon>,
    spawn_at: Option<Instant>,
    /// How often we were told to stop.
    stops: u32,
    /// The stop is still to be passed on, at this time at the latest.
    stop_at: Option<Instant>,
    last_tries: u32,
    /// What the daemon wants done after its end.
    wish: End,
    end: Option<Result<End, KeeperError>>,
}

impl Keeper {
    fn new(command: &Command) -> Result<Self, KeeperError> {
        let start = |step| move |source| KeeperError::Start { step, source };
        let mut store = Store::default();
        for (name, fd) in fdstore::inherited() {
            if let Err(refusal) = store.keep(&name, vec![fd]) {
                warn!("descriptor {name:?} that was passed to us is closed: {refusal}");
            }
        }
        reaper::become_reaper().map_err(start("become the reaper of orphans"))?;
        if let Err(error) = reaper::raise_descriptor_limit() {
            warn!("failed to raise the limit of open descriptors: {error}, ignoring");
        }
        let lock = lock(&command.runtime).map_err(start("be the only keeper of this directory"))?;
        let (door, address) = open_door(&command.runtime).map_err(start("open the store"))?;
        let text = |text: &[u8]| {
            CString::new(text)
                .map_err(|_| KeeperError::Argument(std::ffi::OsStr::from_bytes(text).to_owned()))
        };
        let path = text(command.program.as_os_str().as_bytes())?;
        let mut argv = vec![path.clone()];
        for argument in &command.arguments {
            argv.push(text(argument.as_bytes())?);
        }
        // What was said to us by whoever started us is not meant for the daemon.
        let ours = [
            "NOTIFY_SOCKET",
            "LISTEN_PID",
            "LISTEN_FDS",
            "LISTEN_FDNAMES",
        ];
        let mut environment = vec![text(format!("NOTIFY_SOCKET={address}").as_bytes())?];
        for (key, value) in std::env::vars_os() {
            if ours.iter().all(|name| key.as_bytes() != name.as_bytes()) {
                environment.push(text(&[key.as_bytes(), b"=", value.as_bytes()].concat())?);
            }
        }
        Ok(Self {
            path,
            argv,
            environment,
            _lock: lock,
            door,
            store,
            obituaries: Obituaries::default(),
            dropped: 0,
            backoff: Backoff::default(),
            daemon: None,
            spawn_at: None,
            stops: 0,
            stop_at: None,
            last_tries: 0,
            wish: End::default(),
            end: None,
        })
    }

    /// Starts a daemon with everything that is kept. A failure is tried again later.
    fn spawn(&mut self) {
        self.spawn_at = None;
        match self.try_spawn() {
            Ok(daemon) => {
                info!(
                    "started {} as pid {}",
                    self.path.to_string_lossy(),
                    daemon.pid
                );
                self.obituaries.start_over();
                self.daemon = Some(daemon);
                if self.stops > 0 {
                    self.stop_at = Some(Instant::now() + READY_LIMIT);
                }
            }
            Err(error) => {
                let delay = self.backoff.after(Duration::ZERO);
                error!(
                    "failed to start {}: {error}; trying again in {delay:?}",
                    self.path.to_string_lossy()
                );
                self.again(delay);
            }
        }
    }

    fn try_spawn(&mut self) -> io::Result<Daemon> {
        let (socket, theirs) = reaper::message_pair()?;
        // One list with the daemon's end of the socket, in ascending order of number.
        let kept = self.store.sorted();
        let at = kept.partition_point(|(_, fd)| fd.as_raw_fd() < theirs.as_raw_fd());
        let mut fds: Vec<_> = kept.iter().map(|(_, fd)| fd.as_fd()).collect();
        let mut names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        fds.insert(at, theirs.as_fd());
        names.insert(at, SOCKET_NAME);
        let mut environment = self.environment.clone();
        environment.push(CString::new(format!("LISTEN_FDS={}", fds.len()))?);
        environment.push(CString::new(format!("LISTEN_FDNAMES={}", names.join(":")))?);
        let pid = reaper::spawn(&reaper::Program {
            path: self.path.clone(),
            argv: self.argv.clone(),
            environment,
            fds,
        })?;
        Ok(Daemon {
            pid,
            since: Instant::now(),
            socket: Some(socket),
            ready: false,
            syncs: vec![],
            full: false,
        })
    }

    /// Starts a daemon after a delay, unless stopping has failed too often.
    fn again(&mut self, delay: Duration) {
        if self.stops > 0 {
            self.last_tries += 1;
            if self.last_tries >= LAST_TRIES {
                self.end = Some(Err(KeeperError::Unfinished));
                return;
            }
        }
        // Whoever said stop waits for it.
        let delay = if self.stops > 0 {
            delay.min(LAST_DELAY)
        } else {
            delay
        };
        self.spawn_at = Some(Instant::now() + delay);
    }

    /// Sleeps until something happens. Without a delay pending there is no time limit.
    fn wait(&self, signals: &SignalFd) {
        let next = [self.spawn_at, self.stop_at].into_iter().flatten().min();
        let timeout = next.map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(Instant::now());
            // Rounded up: waking too early would only mean to wait again.
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.door.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(daemon) = &self.daemon
            && let Some(socket) = &daemon.socket
        {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, daemon.full);
            fds.push(PollFd::new(socket.as_fd(), flags));
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                // Nothing but a lack of kernel memory is left here; do not turn in circles.
                error!("failed to wait for events: {errno}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    fn read_signals(&mut self, signals: &SignalFd) {
        while let Ok(Some(found)) = signals.read_signal() {
            let signal = i32::try_from(found.ssi_signo)
                .ok()
                .and_then(|number| Signal::try_from(number).ok());
            match signal {
                Some(Signal::SIGTERM | Signal::SIGINT) => self.stop(),
                Some(Signal::SIGHUP) => self.signal_daemon(Signal::SIGHUP),
                _ => {}
            }
        }
    }

    /// We were told to stop. The daemon is told when it is ready to understand; every further
    /// time at once, which it takes as haste.
    fn stop(&mut self) {
        self.stops = self.stops.saturating_add(1);
        match &self.daemon {
            Some(daemon) if daemon.ready || self.stops > 1 => {
                self.stop_at = None;
                self.signal_daemon(Signal::SIGTERM);
            }
            Some(_) => self.stop_at = Some(Instant::now() + READY_LIMIT),
            // Units may be running: a daemon must come and stop them.
            None => self.spawn_at = Some(Instant::now()),
        }
    }

    fn signal_daemon(&self, signal: Signal) {
        if let Some(daemon) = &self.daemon
            && let Err(error) = reaper::signal_child(daemon.pid, signal)
        {
            warn!(
                "failed to send {signal} to aetherd ({}): {error}",
                daemon.pid
            );
        }
    }

    /// Reads what the daemon wants kept.
    fn read_door(&mut self) {
        for _ in 0..BATCH {
            match self.door.receive() {
                Ok(Some(received)) => self.take(received),
                Ok(None) => return,
                Err(error) => {
                    warn!("failed to read the store's socket: {error}");
                    return;
                }
            }
        }
    }

    fn take(&mut self, received: fdstore::Received) {
        let Some(daemon) = &mut self.daemon else {
            warn!("message from pid {} refused: no daemon runs", received.pid);
            return closing::close(received.fds);
        };
        if received.pid != daemon.pid {
            warn!(
                "message from pid {} refused: it is not aetherd",
                received.pid
            );
            return closing::close(received.fds);
        }
        if received.cut {
            error!(
                "message from aetherd dropped: it was too long, or {} descriptors are too many now",
                received.fds.len()
            );
            return closing::close(received.fds);
        }
        let message = fdstore::Message::parse(&received.text);
        if message.ready && !daemon.ready {
            daemon.ready = true;
            if self.stop_at.is_some() {
                self.stop_at = Some(Instant::now());
            }
        }
        if let Some(status) = message.status {
            info!("aetherd: {status}");
        }
        let name = message.name.as_deref();
        if message.remove {
            if let Some(name) = name {
                self.store.discard(name);
            }
        } else if message.store {
            let name = name.unwrap_or("stored");
            let count = received.fds.len();
            if let Err(refusal) = self.store.keep(name, received.fds) {
                error!("{count} descriptors named {name:?} are not kept: {refusal}");
            }
        }
    }

    /// Reads what the daemon says on its socket.
    fn read_socket(&mut self) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        for _ in 0..BATCH {
            let Some(socket) = &daemon.socket else {
                return;
            };
            let mut bytes = [0; LENGTH + 1];
            let message = match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => {
                    daemon.socket = None;
                    return;
                }
                Ok(length) => Message::decode(&bytes[..length.min(bytes.len())]),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    daemon.socket = None;
                    return;
                }
            };
            match message {
                Some(Message::Acknowledge(sequence)) => self.obituaries.acknowledge(sequence),
                Some(Message::Sync(token)) if daemon.syncs.len() < BATCH => {
                    daemon.syncs.push(token);
                }
                Some(Message::End(end)) => self.wish = end,
                Some(_) => warn!("aetherd asks too much or the wrong thing, ignoring"),
                None => warn!("message from aetherd is not one, ignoring"),
            }
        }
    }

    /// Reaps everybody who has died.
    fn reap(&mut self) {
        loop {
            let pid = match reaper::dead_child() {
                Ok(Some(pid)) => pid,
                Ok(None) => return,
                Err(error) => {
                    error!("failed to wait for children: {error}");
                    return;
                }
            };
            let ours = self.daemon.as_ref().is_some_and(|d| d.pid == pid);
            if ours {
                // Everything it ever sent is in the queue now; others cannot keep us here.
                for _ in 0..16 {
                    self.read_door();
                }
                self.read_socket();
            }
            // Only while it is a zombie can its entry be read.
            let start = Stat::read(pid).map_or(0, |stat| stat.start);
            let status = match reaper::reap(pid) {
                Ok(status) => status,
                Err(error) => {
                    error!("failed to reap {pid}: {error}");
                    return;
                }
            };
            if ours {
                self.daemon_died(status);
            } else if self.obituaries.record(pid, start, status).is_some() {
                self.dropped += 1;
                // Not a line for each: there are tens of thousands of them.
                if self.dropped.is_power_of_two() {
                    error!(
                        "{} obituaries dropped: more than {} wait for a daemon",
                        self.dropped,
                        obituaries::LIMIT
                    );
                }
            }
        }
    }

    fn daemon_died(&mut self, status: i32) {
        let Some(daemon) = self.daemon.take() else {
            return;
        };
        self.stop_at = None;
        let lived = daemon.since.elapsed();
        // The kernel's encoding: low seven bits 0 for an exit, whose code is the next byte.
        let code = (status & 0x7f == 0).then_some(status >> 8 & 0xff);
        match code {
            Some(0) => {
                info!("aetherd has ended in order");
                self.end = Some(Ok(self.wish));
            }
            Some(RESTART_CODE) => {
                info!("aetherd asks to be started again");
                self.spawn_at = Some(Instant::now());
            }
            _ => {
                let delay = self.backoff.after(lived);
                let how = code.map_or_else(
                    || format!("was killed by signal {}", status & 0x7f),
                    |code| format!("exited with {code}"),
                );
                error!("aetherd {how} after {lived:?}; starting it again in {delay:?}");
                self.again(delay);
            }
        }
    }

    /// Tells the daemon what it does not know yet, as far as there is room.
    fn tell(&mut self) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        daemon.full = false;
        loop {
            let Some(socket) = &daemon.socket else {
                return;
            };
            let obituary = self.obituaries.next();
            let message = match (obituary, daemon.syncs.first()) {
                (Some(obituary), _) => Message::Obituary(obituary),
                (None, Some(token)) => Message::Synced(*token),
                (None, None) => return,
            };
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match send(socket.as_raw_fd(), &message.encode(), flags) {
                Ok(_) => match obituary {
                    Some(obituary) => self.obituaries.told(obituary.sequence),
                    None => drop(daemon.syncs.remove(0)),
                },
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    daemon.full = true;
                    return;
                }
                Err(Errno::ENOBUFS | Errno::ENOMEM) => return,
                Err(_) => {
                    daemon.socket = None;
                    return;
                }
            }
        }
    }

    /// Does what is due.
    fn act_in_time(&mut self) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
        if self.end.is_none() && self.daemon.is_none() && due(self.spawn_at) {
            self.spawn();
        }
        if due(self.stop_at) {
            self.stop_at = None;
            self.signal_daemon(Signal::SIGTERM);
        }
    }
}

/// A second keeper with the same runtime directory would take the first one's store away from its
/// daemon, so it must not start. Without a directory there is nothing to take.
fn lock(runtime: &Path) -> io::Result<Option<File>> {
    let directory = runtime.join("keeper");
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(runtime)
        .and_then(
            |()| match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            },
        )
        .and_then(|()| {
            // Not emptied before it is ours: it names the keeper that holds it.
            let mut open = File::options();
            open.write(true).create(true).truncate(false);
            open.open(directory.join("lock"))
        });
    let Ok(mut file) = made else {
        return Ok(None);
    };
    match file.try_lock() {
        Ok(()) => {
            // For `aetherctl down`, where no daemon says who its keeper is.
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Some(file))
        }
        Err(std::fs::TryLockError::WouldBlock) => Err(io::ErrorKind::AddrInUse.into()),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Opens the store's socket in a directory for us alone, or at an abstract address where there is
/// no such directory to be had.
fn open_door(runtime: &Path) -> io::Result<(Door, String)> {
    let made = || -> io::Result<(Door, String)> {
        let path = runtime.join("keeper").join("notify");
        let address = path.to_str().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        Ok((Door::at(&path)?, address))
    };
    made().or_else(|error| {
        warn!(
            "failed to make the store's socket below {}: {error}; using an abstract one",
            runtime.display()
        );
        Door::anywhere()
    })
}
