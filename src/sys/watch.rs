//! Changes in groups as one pollable descriptor: emptiness, frozenness, out of memory.
//!
//! One inotify descriptor watches every `cgroup.events` (and v2 `memory.events`); on hybrid hosts
//! an eventfd per unit tells of v1 out-of-memory kills. An event says only *look again*: the truth
//! is what [`Group`] reads afterwards. The kernel sends at most one change per file in 10 ms, so
//! after an action look once at once, then wait here. Nothing here blocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::cgroup::{Group, Part};

/// One watched group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// Tells when a v1 memory group runs out.
#[derive(Debug)]
pub struct Shortage(EventFd);

impl Shortage {
    /// Of a unit's group; `None` where v2 tells, and on kernels without it, which still count: the
    /// count is looked at when a process was killed.
    #[must_use]
    pub fn of(group: &Group) -> Option<Self> {
        let memory = group.memory_v1()?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let eventfd = EventFd::from_flags(flags).ok()?;
        let control = File::open(memory.join("memory.oom_control")).ok()?;
        let text = format!("{} {}", eventfd.as_fd().as_raw_fd(), control.as_raw_fd());
        File::options()
            .write(true)
            .open(memory.join("cgroup.event_control"))
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .ok()?;
        Some(Self(eventfd))
    }
}

/// All watched groups.
#[derive(Debug)]
pub struct Watch {
    epoll: Epoll,
    inotify: Inotify,
    files: HashMap<WatchDescriptor, WatchId>,
    oom: BTreeMap<WatchId, EventFd>,
    known: BTreeMap<WatchId, Vec<WatchDescriptor>>,
    /// Groups that ran out of memory and are to be reported again.
    again: BTreeSet<WatchId>,
    timer: TimerFd,
    /// How many of [`DELAYS`] have passed.
    round: usize,
    next: u64,
}

/// The epoll data of the inotify descriptor and of the timer; groups count from 2.
const INOTIFY: u64 = 0;
const TIMER: u64 = 1;

/// v1 tells of a lack of memory *before* it kills and counts, and never again. So such a group is
/// reported once more after each of these, in milliseconds; only then, so nothing wakes when idle.
const DELAYS: [i64; 3] = [20, 200, 2000];

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the kernel has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        epoll.add(&inotify, EpollEvent::new(EpollFlags::EPOLLIN, INOTIFY))?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self {
            epoll,
            inotify,
            files: HashMap::new(),
            oom: BTreeMap::new(),
            known: BTreeMap::new(),
            again: BTreeSet::new(),
            timer,
            round: 0,
            next: TIMER + 1,
        })
    }

    /// Watches a group that exists. Without cgroups there is nothing to watch, which is an error.
    ///
    /// # Errors
    /// When its files are not there, or the limit of watches is reached.
    pub fn add(&mut self, group: &Group, shortage: Option<Shortage>) -> io::Result<WatchId> {
        let directory = group.directory().ok_or(io::ErrorKind::Unsupported)?;
        let id = WatchId(self.next);
        let mut watched = self.add_file(&directory.join("cgroup.events"), id);
        watched = watched.and_then(|()| self.add_agent(directory, id));
        if group.memory_v1().is_none() {
            watched = watched.and_then(|()| {
                match self.add_file(&directory.join("memory.events"), id) {
                    // There is no such controller.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    other => other,
                }
            });
        }
        if let Some(Shortage(eventfd)) = shortage {
            watched = watched.and_then(|()| {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, id.0);
                self.epoll.add(&eventfd, event)?;
                self.oom.insert(id, eventfd);
                Ok(())
            });
        }
        if let Err(error) = watched {
            self.remove(id);
            return Err(error);
        }
        self.next += 1;
        Ok(id)
    }

    /// The group's `agent/` is another one now ([`Group::renew`]).
    ///
    /// # Errors
    /// When it is not there, or the limit of watches is reached.
    pub fn renew(&mut self, id: WatchId, group: &Group) -> io::Result<()> {
        let directory = group.directory().ok_or(io::ErrorKind::Unsupported)?;
        self.add_agent(directory, id)
    }

    fn add_agent(&mut self, directory: &Path, id: WatchId) -> io::Result<()> {
        let agent = directory.join(Part::Agent.as_str());
        self.add_file(&agent.join("cgroup.events"), id)
    }

    fn add_file(&mut self, path: &Path, id: WatchId) -> io::Result<()> {
        let watch = self.inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
        self.files.insert(watch, id);
        let watches = self.known.entry(id).or_default();
        // Those of a leaf that is gone are gone.
        watches.retain(|watch| self.files.contains_key(watch));
        watches.push(watch);
        Ok(())
    }

    /// Stops watching; to be called before or after the group is removed.
    pub fn remove(&mut self, id: WatchId) {
        self.again.remove(&id);
        for watch in self.known.remove(&id).into_iter().flatten() {
            // Where the group was removed, the kernel has forgotten it, and may have given its
            // number to another.
            if self.files.get(&watch) == Some(&id) {
                self.files.remove(&watch);
                let _ = self.inotify.rm_watch(watch);
            }
        }
        if let Some(eventfd) = self.oom.remove(&id) {
            let _ = self.epoll.delete(&eventfd);
        }
    }

    /// Readable when [`Watch::drain`] has something to say.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// The groups that changed since the last call; empties the descriptor.
    ///
    /// # Errors
    /// When the kernel's queue cannot be read.
    pub fn drain(&mut self) -> io::Result<Vec<WatchId>> {
        let mut changed = BTreeSet::new();
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Ok(0) => break,
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            for event in &events[..count] {
                if event.data() == INOTIFY {
                    self.drain_inotify(&mut changed)?;
                } else if event.data() == TIMER {
                    self.timer.unset()?;
                    changed.extend(&self.again);
                    self.round += 1;
                    self.set_timer()?;
                } else {
                    let id = WatchId(event.data());
                    if let Some(eventfd) = self.oom.get(&id) {
                        // Empty already: nothing to do. A removed v1 group also ends up here.
                        let _ = eventfd.read();
                        changed.insert(id);
                        self.again.insert(id);
                        self.round = 0;
                        self.set_timer()?;
                    }
                }
            }
        }
        Ok(changed.into_iter().collect())
    }

    fn set_timer(&mut self) -> io::Result<()> {
        let Some(delay) = DELAYS.get(self.round) else {
            self.again.clear();
            return Ok(());
        };
        let at = Expiration::OneShot(TimeSpec::milliseconds(*delay));
        Ok(self.timer.set(at, TimerSetTimeFlags::empty())?)
    }

    fn drain_inotify(&mut self, changed: &mut BTreeSet<WatchId>) -> io::Result<()> {
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    for event in events {
                        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                            // Something was lost: look at everything again.
                            changed.extend(self.known.keys());
                        } else if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                            self.files.remove(&event.wd);
                        } else if let Some(id) = self.files.get(&event.wd) {
                            changed.insert(*id);
                        }
                    }
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd().as_raw_fd()
    }
}
