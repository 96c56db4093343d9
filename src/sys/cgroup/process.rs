//! Processes by `/proc` and signals by pidfd: what is left where there are no cgroups, and what
//! makes a signal to a listed process safe against a reused pid everywhere.
//!
//! Knowing a unit's processes by session, parent, user and environment is weak and said to be so: a
//! process that starts a session of its own, hides its environment and outlives its parents is
//! lost, unless the unit has a user of its own. Nothing else may rest on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;

use nix::sys::signal::Signal;

use crate::sys::process::open_pidfd;

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: u32,
    /// `R`, `S`, `D`, `T`, `t`, `Z`, `X` …
    pub state: u8,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// When it started, in clock ticks after boot: with the pid, an identity.
    pub start: u64,
}

impl Stat {
    /// Reads the process's entry; `None` when there is none.
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        let file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
        let mut line = Vec::with_capacity(1024);
        file.take(1 << 16).read_to_end(&mut line).ok()?;
        parse(&line)
    }

    const fn dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    const fn stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }
}

fn parse(text: &[u8]) -> Option<Stat> {
    // The name may hold anything, `) R 1` included: only the last parenthesis counts.
    let open = text.iter().position(|b| *b == b'(')?;
    let close = text.iter().rposition(|b| *b == b')')?;
    let pid = std::str::from_utf8(&text[..open]).ok()?.trim();
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        pid: pid.parse().ok()?,
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// What else tells a unit's processes where there are no cgroups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// A user that runs nothing but this unit.
    pub(super) uid: Option<u32>,
    /// `INVOCATION_ID`, which every process of the unit inherits unless it takes care not to.
    pub(super) invocation: String,
}

impl Marks {
    fn fit(&self, p: Stat) -> bool {
        self.uid.is_some_and(|uid| user_of(p.pid) == Some(uid)) || self.in_environment(p.pid)
    }

    fn in_environment(&self, pid: u32) -> bool {
        if self.invocation.is_empty() {
            return false;
        }
        let wanted = format!("INVOCATION_ID={}", self.invocation);
        // What a process did to its own memory cannot make this more than one page's worth of work.
        fs::File::open(format!("/proc/{pid}/environ"))
            .and_then(|file| {
                let mut bytes = vec![];
                file.take(ENVIRONMENT_MAX).read_to_end(&mut bytes)?;
                Ok(bytes)
            })
            .is_ok_and(|bytes| {
                bytes
                    .split(|b| *b == 0)
                    .any(|entry| entry == wanted.as_bytes())
            })
    }
}

/// Most that is read of a process's environment.
const ENVIRONMENT_MAX: u64 = 128 * 1024;

/// The effective user; from `status`, because the owner of `/proc/PID` is root's for some.
fn user_of(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether `pid` is a descendant of `ancestor`; `None`: it died, or its parents did too fast.
///
/// Sound below a subreaper: whoever loses its parent there becomes the subreaper's own child.
pub(super) fn descends(pid: u32, ancestor: u32) -> Option<bool> {
    'again: for _ in 0..8 {
        let mut at = Stat::read(pid)?;
        loop {
            if at.pid == ancestor {
                return Some(true);
            }
            if at.parent <= 1 && at.parent != ancestor {
                return Some(false);
            }
            match Stat::read(at.parent) {
                // A parent is never younger; this one has got a dead one's number.
                Some(parent) if parent.start <= at.start => at = parent,
                _ => continue 'again,
            }
        }
    }
    None
}

/// Every process there is.
fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![];
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| Stat::read(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// The processes that descend from `roots` (pid and start time), or are in a session or process
/// group that one of those leads.
fn family(
    everyone: &[Stat],
    roots: &BTreeMap<u32, u64>,
    fit: impl Fn(Stat) -> bool,
) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = everyone
        .iter()
        .filter(|p| fit(**p))
        .map(|p| p.pid)
        .collect();
    let mut led = BTreeSet::new();
    for (pid, start) in roots {
        match everyone.iter().find(|p| p.pid == *pid) {
            // Somebody else has the number now.
            Some(other) if other.start != *start => {}
            // While a session has members, its number is not given out again.
            _ => {
                led.insert(*pid);
            }
        }
    }
    loop {
        let before = (found.len(), led.len());
        for p in everyone {
            if led.contains(&p.pid)
                || led.contains(&p.session)
                || led.contains(&p.group)
                || found.contains(&p.parent)
            {
                found.insert(p.pid);
                led.insert(p.pid);
            }
        }
        if before == (found.len(), led.len()) {
            return found;
        }
    }
}

/// The living members of a family.
pub(super) fn members(roots: &BTreeMap<u32, u64>, marks: &Marks) -> Vec<Stat> {
    if roots.is_empty() {
        return vec![];
    }
    let everyone = all();
    let own = std::process::id();
    let found = family(&everyone, roots, |p| p.pid != own && marks.fit(p));
    everyone
        .into_iter()
        .filter(|p| found.contains(&p.pid) && !p.dead())
        .collect()
}

/// Stops a family: passes until none is found running. Returns whether that was reached.
pub(super) fn stop_family(roots: &BTreeMap<u32, u64>, marks: &Marks) -> io::Result<bool> {
    for _ in 0..100 {
        let running: Vec<Stat> = members(roots, marks)
            .into_iter()
            .filter(|p| !p.stopped())
            .collect();
        if running.is_empty() {
            return Ok(true);
        }
        for p in running {
            signal_if(p.pid, Signal::SIGSTOP, || same(p))?;
        }
        std::thread::yield_now();
    }
    Ok(false)
}

/// Sends a signal to every member, found again until no new one appears.
pub(super) fn signal_family(
    roots: &BTreeMap<u32, u64>,
    marks: &Marks,
    signal: Signal,
) -> io::Result<u32> {
    let mut done = BTreeSet::new();
    for _ in 0..100 {
        let new: Vec<Stat> = members(roots, marks)
            .into_iter()
            .filter(|p| !done.contains(&(p.pid, p.start)))
            .collect();
        if new.is_empty() {
            break;
        }
        for p in new {
            done.insert((p.pid, p.start));
            signal_if(p.pid, signal, || same(p))?;
        }
    }
    Ok(u32::try_from(done.len()).unwrap_or(u32::MAX))
}

/// Whether all members are stopped.
pub(super) fn family_stopped(roots: &BTreeMap<u32, u64>, marks: &Marks) -> bool {
    let members = members(roots, marks);
    !members.is_empty() && members.iter().all(Stat::stopped)
}

fn same(p: Stat) -> bool {
    Stat::read(p.pid).is_some_and(|now| now.start == p.start)
}

/// Sends `signal` to the process if `still_it` holds after it was pinned by a pidfd. A process
/// that is gone is no error.
pub(super) fn signal_if(
    pid: u32,
    signal: Signal,
    still_it: impl FnOnce() -> bool,
) -> io::Result<bool> {
    let gone = |error: &io::Error| error.raw_os_error() == Some(libc::ESRCH);
    let process = match open_pidfd(pid) {
        Err(error) if gone(&error) => return Ok(false),
        other => other?,
    };
    if !still_it() {
        return Ok(false);
    }
    match crate::sys::process::signal(process.as_fd(), signal as libc::c_int) {
        Err(error) if gone(&error) => Ok(false),
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, parent: u32, group: u32, session: u32) -> Stat {
        Stat {
            pid,
            state: b'S',
            parent,
            group,
            session,
            start: u64::from(pid),
        }
    }

    #[test]
    fn a_name_cannot_forge_the_fields() {
        let text = b"42 (x) Z 1 1 1 (y) S 7 8 9 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 12345 1 2";
        let found = parse(text).unwrap();
        assert_eq!((found.pid, found.state, found.parent), (42, b'S', 7));
        assert_eq!((found.group, found.session, found.start), (8, 9, 12345));
        assert_eq!(parse(b"42 (x"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn own_entry_is_readable() {
        assert_eq!(
            Stat::read(std::process::id()).unwrap().pid,
            std::process::id()
        );
    }

    #[test]
    fn descent_is_read_from_the_kernel() {
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        assert_eq!(descends(child.id(), std::process::id()), Some(true));
        assert_eq!(descends(std::process::id(), child.id()), Some(false));
        assert_eq!(user_of(child.id()), Some(nix::unistd::geteuid().as_raw()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(descends(child.id(), std::process::id()), None);
    }

    #[test]
    fn a_family_is_session_group_and_descent() {
        let everyone = [
            stat(1, 0, 1, 1),
            stat(10, 1, 10, 10),  // the root
            stat(11, 10, 10, 10), // its child
            stat(12, 11, 12, 12), // a session of its own, parent alive
            stat(13, 1, 10, 10),  // orphan in the root's session
            stat(14, 1, 12, 12),  // orphan in the child's session
            stat(15, 1, 15, 15),  // lost: own session, parents gone
            stat(20, 1, 20, 20),
        ];
        let found = family(&everyone, &BTreeMap::from([(10, 10)]), |_| false);
        assert_eq!(Vec::from_iter(found), [10, 11, 12, 13, 14]);
        // Lost no more when something marks it, and neither is what it starts.
        let found = family(&everyone, &BTreeMap::from([(10, 10)]), |p| p.pid == 15);
        assert_eq!(Vec::from_iter(found), [10, 11, 12, 13, 14, 15]);
        // The number was given to somebody else.
        assert!(family(&everyone, &BTreeMap::from([(10, 9)]), |_| false).is_empty());
        // The leader is dead, the session lives.
        let found = family(&everyone[2..], &BTreeMap::from([(10, 10)]), |_| false);
        assert_eq!(Vec::from_iter(found), [11, 12, 13, 14]);
    }
}
