//! What path units watch (systemd.path(5)), and `PIDFile=` (systemd.service(5)).
//!
//! One inotify(7) descriptor for all paths of a unit. Each component of a path is watched, the link
//! as well as what it leads to, so that nothing on the way can be exchanged unseen; where something
//! is missing, the last directory that is there tells when it comes. Nothing here blocks.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::stat::fstat;

use super::condition::{exists, has_entries};
use super::file::read_opened;
use super::glob;
use super::listen::node::make_directory;
use super::trusted::open_trusted;
use crate::unit::PathCondition;

type Flags = AddWatchFlags;

/// Of a directory on the way to something that is missing.
const AWAITS: Flags = Flags::IN_MOVE_SELF
    .union(Flags::IN_DELETE_SELF)
    .union(Flags::IN_ATTRIB)
    .union(Flags::IN_CREATE)
    .union(Flags::IN_MOVED_TO);
/// Of a directory on the way, when what follows is there and watched itself.
const PASSES: Flags = Flags::IN_MOVE_SELF;
/// Of what is watched, whatever it is watched for.
const ITSELF: Flags = Flags::IN_DELETE_SELF
    .union(Flags::IN_MOVE_SELF)
    .union(Flags::IN_ATTRIB);
/// Besides, when a change is waited for.
const CHANGES: Flags = Flags::IN_CLOSE_WRITE
    .union(Flags::IN_CREATE)
    .union(Flags::IN_DELETE)
    .union(Flags::IN_MOVED_FROM)
    .union(Flags::IN_MOVED_TO);
/// After any of these a path may mean something else than before.
const LEADS_ELSEWHERE: Flags = ITSELF.union(Flags::IN_IGNORED).union(Flags::IN_UNMOUNT);

/// Directories that the wildcards of one pattern may be watched in.
const MAX_DIRECTORIES: usize = 256;
/// How often the queue is read in one go; the rest is left for the next.
const PATIENCE: u32 = 64;

fn flags(condition: PathCondition) -> Flags {
    match condition {
        PathCondition::Exists | PathCondition::ExistsGlob => ITSELF,
        PathCondition::Changed => ITSELF | CHANGES,
        PathCondition::Modified => ITSELF | CHANGES | Flags::IN_MODIFY,
        PathCondition::DirectoryNotEmpty => ITSELF | Flags::IN_CREATE | Flags::IN_MOVED_TO,
    }
}

/// The paths of one unit.
#[derive(Debug)]
pub struct PathWatch {
    inotify: Inotify,
    paths: Vec<Watched>,
    /// What is watched now, and for what.
    watches: HashMap<WatchDescriptor, Purpose>,
}

#[derive(Debug)]
struct Watched {
    condition: PathCondition,
    path: PathBuf,
    /// Whether it was there when it was last looked at.
    there: bool,
}

/// Why something is watched; several paths may lead over it, or end in it.
#[derive(Debug, Clone, Copy)]
struct Purpose {
    flags: Flags,
    /// Of these events, each is a change that a path waits for.
    fires: Flags,
    /// Of these, each may have something appear on the way.
    awaits: Flags,
}

impl PathWatch {
    /// Watches these absolute paths from now on.
    ///
    /// # Errors
    /// Those of inotify_init1(2) and inotify_add_watch(2), such as ENOSPC when the user watches as
    /// much as it may. A path that is missing, or that may not be looked at, is no error.
    pub fn new(watches: &[(PathCondition, PathBuf)]) -> io::Result<Self> {
        let mut this = Self {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            paths: watches
                .iter()
                .map(|(condition, path)| Watched {
                    condition: *condition,
                    path: path.clone(),
                    there: false,
                })
                .collect(),
            watches: HashMap::new(),
        };
        this.establish()?;
        // After the watches are there, so that no change lies between.
        for watched in &mut this.paths {
            watched.there = exists(&watched.path);
        }
        Ok(this)
    }

    /// Readable when [`Self::drain`] has something to read. It stays the same.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Reads what has happened and watches what has come or gone. Returns whether a path of
    /// `PathChanged=` or `PathModified=` has changed, which includes that it came or went; the other
    /// kinds are then to be looked at with [`Self::holds`].
    ///
    /// # Errors
    /// As [`Self::new`], and those of read(2).
    pub fn drain(&mut self) -> io::Result<bool> {
        let (mut fired, mut again) = (false, false);
        for _ in 0..PATIENCE {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            for event in events {
                if event.mask.contains(Flags::IN_Q_OVERFLOW) {
                    // Something was lost, and it may have been a change.
                    fired |= self.paths.iter().any(Watched::waits_for_changes);
                    again = true;
                    continue;
                }
                // Of a watch that was given up the last events may still come.
                let Some(purpose) = self.watches.get(&event.wd) else {
                    continue;
                };
                let gone = LEADS_ELSEWHERE.intersects(event.mask);
                fired |= purpose.fires.intersects(event.mask);
                again |= gone || purpose.awaits.intersects(event.mask);
                if event.mask.contains(Flags::IN_IGNORED) {
                    self.watches.remove(&event.wd);
                }
            }
        }
        if again {
            self.establish()?;
            for watched in &mut self.paths {
                let there = exists(&watched.path);
                fired |= watched.waits_for_changes() && there != watched.there;
                watched.there = there;
            }
        }
        Ok(fired)
    }

    /// Whether a path of `PathExists=`, `PathExistsGlob=` or `DirectoryNotEmpty=` is as it says.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.paths.iter().any(|watched| match watched.condition {
            PathCondition::Exists => exists(&watched.path),
            PathCondition::ExistsGlob => glob::first(&watched.path).is_some(),
            PathCondition::DirectoryNotEmpty => has_entries(&watched.path),
            PathCondition::Changed | PathCondition::Modified => false,
        })
    }

    /// Watches everything anew, and gives up what no path leads over any more.
    fn establish(&mut self) -> io::Result<()> {
        let mut round = Round {
            inotify: &self.inotify,
            watches: HashMap::new(),
            passed: HashMap::new(),
        };
        for watched in &self.paths {
            round.path(&watched.path, watched.condition)?;
            if watched.condition == PathCondition::ExistsGlob {
                round.pattern(&watched.path)?;
            }
        }
        round.settle();
        let now = round.watches;
        let gone: HashSet<_> = self
            .watches
            .keys()
            .filter(|old| !now.contains_key(old))
            .collect();
        for old in gone {
            // It may be gone by itself.
            let _ = self.inotify.rm_watch(*old);
        }
        self.watches = now;
        Ok(())
    }
}

/// Makes what `MakeDirectory=` asks for: the directories that are watched for changes and entries,
/// with those above them, where they are missing. Returns what could not be made, which in systemd
/// is worth a warning: those of mkdir(2), and `PermissionDenied` for a link on the way that somebody
/// else may have planted.
#[must_use]
pub fn make_directories(
    watches: &[(PathCondition, PathBuf)],
    mode: u32,
) -> Vec<(PathBuf, io::Error)> {
    let wanted = watches.iter().filter(|(condition, _)| {
        !matches!(condition, PathCondition::Exists | PathCondition::ExistsGlob)
    });
    wanted
        .filter_map(|(_, path)| Some((path.clone(), make_directory(path, mode).err()?)))
        .collect()
}

impl AsFd for PathWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}

impl AsRawFd for PathWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.fd().as_raw_fd()
    }
}

impl Watched {
    fn waits_for_changes(&self) -> bool {
        matches!(
            self.condition,
            PathCondition::Changed | PathCondition::Modified
        )
    }
}

/// One pass over all paths.
struct Round<'a> {
    inotify: &'a Inotify,
    watches: HashMap<WatchDescriptor, Purpose>,
    /// Watched closely only until what follows was found, by the path that led there.
    passed: HashMap<WatchDescriptor, (PathBuf, Flags)>,
}

impl Round<'_> {
    /// Watches each component. The one before is watched for what comes before the next one is
    /// looked for, so nothing can come in between.
    fn path(&mut self, path: &Path, condition: PathCondition) -> io::Result<()> {
        let mut prefixes: Vec<&Path> = path.ancestors().collect();
        prefixes.reverse();
        let mut before: Vec<(WatchDescriptor, PathBuf, Flags)> = vec![];
        for prefix in prefixes {
            let last = prefix == path;
            let wanted = if last { flags(condition) } else { AWAITS };
            let mut here = vec![];
            for follow in [Flags::IN_DONT_FOLLOW, Flags::empty()] {
                match self.add(prefix, wanted, follow) {
                    Ok(watch) => here.push((watch, prefix.to_owned(), follow)),
                    Err(Errno::ENOENT | Errno::EACCES | Errno::ENOTDIR | Errno::ELOOP) => {
                        // What is missing may come to the one before, or to where this link leads.
                        self.await_at(&before);
                        self.await_at(&here);
                        return Ok(());
                    }
                    Err(errno) => return Err(errno.into()),
                }
            }
            for (watch, path, follow) in before {
                self.purpose(watch).flags |= PASSES;
                self.passed.insert(watch, (path, follow));
            }
            if last {
                self.finish(&here, condition);
            }
            before = here;
        }
        Ok(())
    }

    /// Adds to what is watched already: two paths may have a component in common.
    fn add(&self, path: &Path, wanted: Flags, follow: Flags) -> nix::Result<WatchDescriptor> {
        let flags = wanted | follow | Flags::from_bits_retain(libc::IN_MASK_ADD);
        self.inotify.add_watch(path, flags)
    }

    fn purpose(&mut self, watch: WatchDescriptor) -> &mut Purpose {
        self.watches.entry(watch).or_insert(Purpose {
            flags: Flags::empty(),
            fires: Flags::empty(),
            awaits: Flags::empty(),
        })
    }

    fn await_at(&mut self, watches: &[(WatchDescriptor, PathBuf, Flags)]) {
        for (watch, ..) in watches {
            let purpose = self.purpose(*watch);
            purpose.flags |= AWAITS;
            purpose.awaits |= AWAITS;
        }
    }

    fn finish(&mut self, here: &[(WatchDescriptor, PathBuf, Flags)], condition: PathCondition) {
        let wanted = flags(condition);
        // As in systemd, the link itself is watched only for where it leads.
        for (i, (watch, ..)) in here.iter().enumerate() {
            let purpose = self.purpose(*watch);
            purpose.flags |= wanted;
            let waits = matches!(condition, PathCondition::Changed | PathCondition::Modified);
            if waits && i + 1 == here.len() {
                purpose.fires |= wanted | Flags::IN_IGNORED | Flags::IN_UNMOUNT;
            }
        }
    }

    /// Watches the directories that the beginnings of a pattern match: what comes in them may match
    /// the rest.
    fn pattern(&mut self, pattern: &Path) -> io::Result<()> {
        let wild = |part: &&Path| {
            let bytes = part.as_os_str().as_encoded_bytes();
            bytes.iter().any(|byte| b"*?[{\\".contains(byte))
        };
        // Before its first wildcard it is a path like any other.
        for part in pattern.ancestors().skip(1).take_while(wild) {
            for directory in glob::find(part, MAX_DIRECTORIES) {
                let flags = AWAITS | Flags::IN_ONLYDIR;
                match self.add(&directory, flags, Flags::empty()) {
                    Ok(watch) => self.await_at(&[(watch, directory, Flags::empty())]),
                    Err(Errno::ENOSPC) => return Err(Errno::ENOSPC.into()),
                    // It is gone again, or no directory.
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Has busy directories that are only passed wake nobody.
    fn settle(&self) {
        for (watch, (path, follow)) in &self.passed {
            let Some(purpose) = self.watches.get(watch) else {
                continue;
            };
            // At worst there are events that nobody needs.
            let _ = self
                .inotify
                .add_watch(path.as_path(), purpose.flags | *follow);
        }
    }
}

/// Longest `PIDFile=`; a number and a line end have eleven bytes.
const MAX_PID_FILE: u64 = 4096;

/// Reads the process that a `PIDFile=` names in its first line; `None` while there is no file, or
/// nothing in it. Whether that process is the unit's own is not looked at.
///
/// # Errors
/// `PermissionDenied` for a file that belongs neither to root nor to `uid`, and for a link on the
/// way that somebody else may have planted; `InvalidInput` for anything but a regular file;
/// `FileTooLarge`; `InvalidData` for anything but a number; those of open(2) and read(2).
pub fn pid_file(path: &Path, uid: u32) -> io::Result<Option<u32>> {
    let place = match open_trusted(path).map_err(io::Error::from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let owner = fstat(&place)?.st_uid;
    if owner != 0 && owner != uid {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it belongs to user {owner}"),
        ));
    }
    let content = read_opened(place.as_fd(), MAX_PID_FILE)?;
    let line = content.split(|byte| *byte == b'\n').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default())
        .trim()
        .to_owned();
    if line.is_empty() {
        return Ok(None);
    }
    match line.parse::<i32>().map(u32::try_from) {
        Ok(Ok(pid @ 1..)) => Ok(Some(pid)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its first line is not the number of a process",
        )),
    }
}

/// Waits for a `PIDFile=` that is not there yet.
#[derive(Debug)]
pub struct PidFileWatch {
    watch: PathWatch,
    path: PathBuf,
    uid: u32,
}

impl PidFileWatch {
    /// Watches the file from now on; whatever is in it already, [`Self::drain`] tells.
    ///
    /// # Errors
    /// As [`PathWatch::new`].
    pub fn new(path: &Path, uid: u32) -> io::Result<Self> {
        // Every write: there are daemons that never close theirs.
        Ok(Self {
            watch: PathWatch::new(&[(PathCondition::Modified, path.to_owned())])?,
            path: path.to_owned(),
            uid,
        })
    }

    /// Readable when [`Self::drain`] may have another answer than before.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.watch.fd()
    }

    /// Reads what has happened, and then the file.
    ///
    /// # Errors
    /// As [`PathWatch::drain`] and [`pid_file`]; after those of the latter there may be a better
    /// file later.
    pub fn drain(&mut self) -> io::Result<Option<u32>> {
        self.watch.drain()?;
        pid_file(&self.path, self.uid)
    }
}

#[cfg(test)]
mod tests;
