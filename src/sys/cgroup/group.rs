//! One unit's group: its processes, its limits, freezing, killing and counting.
//!
//! A [`Group`] is a name and a few paths; everything it says is read from the kernel at that
//! moment. It never waits: freezing, and emptiness after a kill, are reported by
//! [`crate::sys::watch`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::hierarchy::{Place, unified_path};
use super::{CgroupError, file, limits, process};
use crate::name::UnitName;
use crate::unit::Resources;

/// The leaves of a unit's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The main processes; the only part that is frozen.
    Agent,
    /// X server, window manager, browser.
    Desktop,
    /// `ExecStartPre=`, hooks and the like.
    Control,
}

impl Part {
    /// The directory's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Desktop => "desktop",
            Self::Control => "control",
        }
    }
}

/// What a unit uses; `None`: not known on this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub memory: Option<u64>,
    /// Tasks (threads).
    pub tasks: Option<u64>,
    /// Nanoseconds of processor time.
    pub cpu_nsec: Option<u64>,
}

/// The v1 controller by which every unit is counted; in those of the others a unit has a group
/// where it has a limit, for making and joining them is what takes longest of a start.
const MEMORY: &str = "memory";

/// Whether a unit has a group of its own in a v1 controller.
fn needs((controller, _): &&(&'static str, PathBuf), resources: &Resources) -> bool {
    *controller == MEMORY || limits::are_wanted(controller, resources)
}

/// One unit's group.
#[derive(Debug, Clone)]
pub struct Group {
    unit: UnitName,
    unified: Option<Place>,
    v1: Vec<(&'static str, PathBuf)>,
    in_slice: bool,
    /// Where there are no cgroups: pid and start time of the processes that we started.
    roots: BTreeMap<u32, u64>,
    /// There too: what else tells them.
    marks: process::Marks,
}

impl Group {
    pub(super) fn new(
        unit: UnitName,
        unified: Option<Place>,
        v1: Vec<(&'static str, PathBuf)>,
        in_slice: bool,
    ) -> Self {
        Self {
            unit,
            unified,
            v1,
            in_slice,
            roots: BTreeMap::new(),
            marks: process::Marks::default(),
        }
    }

    /// Whose group this is.
    #[must_use]
    pub const fn unit(&self) -> &UnitName {
        &self.unit
    }

    /// The group's path as `/proc/PID/cgroup` shows it; empty where there are no cgroups.
    #[must_use]
    pub fn path(&self) -> &str {
        self.unified.as_ref().map_or("", |place| &place.path)
    }

    /// The group's directory in v2.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        Some(&self.unified.as_ref()?.directory)
    }

    fn v1(&self, controller: &str) -> Option<&Path> {
        let found = self.v1.iter().find(|(name, _)| *name == controller);
        found.map(|(_, directory)| directory.as_path())
    }

    /// Makes the groups, `agent/` of the leaves, and sets the limits. Returns the limits that could
    /// not be set, as sentences. Existing groups are taken, if they are ours.
    ///
    /// # Errors
    /// When a v2 group cannot be made or is not ours alone.
    pub fn create(&self, resources: &Resources) -> Result<Vec<String>, CgroupError> {
        let Some(unified) = &self.unified else {
            return Ok(self.set(resources));
        };
        let mut fresh = file::make(&unified.directory)?;
        file::make(&unified.directory.join(Part::Agent.as_str()))?;
        let mut missing = vec![];
        for (controller, directory) in self.v1.iter().filter(|v1| needs(v1, resources)) {
            match file::make(directory) {
                Ok(made) => fresh &= made,
                Err(error) => missing.push(self.not_held(controller, &error)),
            }
        }
        missing.extend(self.limit(resources, fresh));
        Ok(missing)
    }

    fn not_held(&self, controller: &str, error: &CgroupError) -> String {
        format!(
            "the v1 controller {controller} does not hold {}: failed to {error}",
            self.unit
        )
    }

    /// Makes one more leaf (`control/`, `desktop/`).
    ///
    /// # Errors
    /// When it cannot be made, or there are no cgroups.
    pub fn add(&self, part: Part) -> Result<(), CgroupError> {
        file::make(&self.leaf(part, "make a group")?).map(drop)
    }

    /// Sets the limits, now and for what runs already. Returns what could not be set.
    #[must_use]
    pub fn set(&self, resources: &Resources) -> Vec<String> {
        let mut missing = vec![];
        for (controller, directory) in self.v1.iter().filter(|v1| needs(v1, resources)) {
            if let Err(error) = self.move_into(directory) {
                missing.push(self.not_held(controller, &error));
            }
        }
        missing.extend(self.limit(resources, false));
        missing
    }

    /// Makes a v1 group for the unit's processes, if it is not there yet.
    fn move_into(&self, directory: &Path) -> Result<(), CgroupError> {
        if self.unified.is_none() || directory.exists() || !file::make(directory)? {
            return Ok(());
        }
        let mut moved = BTreeSet::new();
        // Whatever one of them starts before it is moved itself is found the next time.
        loop {
            let mut more = self.procs(true);
            more.retain(|pid| moved.insert(*pid));
            if more.is_empty() {
                return Ok(());
            }
            for pid in more {
                let joined = file::write(&directory.join("cgroup.procs"), &pid.to_string());
                // One that has ended needs no limit.
                match joined {
                    Err(error) if !error.is_missing() => return Err(error),
                    _ => {}
                }
            }
        }
    }

    fn limit(&self, resources: &Resources, fresh: bool) -> Vec<String> {
        let Some(unified) = &self.unified else {
            return limits::set_v1(|_| None, resources, fresh);
        };
        if self.v1.is_empty() {
            return limits::set_unified(&unified.directory, resources, fresh);
        }
        limits::set_v1(|controller| self.v1(controller), resources, fresh)
    }

    /// The leaf as a descriptor, for `CLONE_INTO_CGROUP`.
    ///
    /// # Errors
    /// When it does not exist, or there are no cgroups.
    pub fn open(&self, part: Part) -> Result<OwnedFd, CgroupError> {
        let path = self.leaf(part, "open a group")?;
        File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(&path)
            .map(OwnedFd::from)
            .map_err(file::failed("open", &path))
    }

    /// Makes an empty leaf anew, after [`Group::kill`]: kernels that close the race between
    /// `cgroup.kill` and fork(2) by a count (6.14 and later) compare the counts of two different
    /// groups where the child is born by `CLONE_INTO_CGROUP`, and so kill at birth whatever is
    /// born into a group that was ever killed. Whoever watches the leaf must watch the new one.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] while there are processes in it: join it by writing then.
    pub fn renew(&self, part: Part) -> Result<(), CgroupError> {
        let leaf = self.leaf(part, "make a group")?;
        file::remove(&leaf)?;
        file::make(&leaf).map(drop)
    }

    /// The files into which the stage must write its pid: every v1 group's, or that of the slice
    /// where the unit has none of its own, and v2's own unless it was born inside.
    ///
    /// In v1 it is `tasks`: a thread that moves itself alone takes no lock, where `cgroup.procs`
    /// waits for every processor (milliseconds for each group), and the stage has one thread.
    #[must_use]
    pub fn join_files(&self, part: Part, born_inside: bool) -> Vec<PathBuf> {
        let unified = self.unified.iter().filter(|_| !born_inside);
        unified
            .map(|place| place.directory.join(part.as_str()).join("cgroup.procs"))
            .chain(self.v1.iter().filter_map(|(controller, group)| {
                let made = *controller == MEMORY || group.exists();
                let slice = group.parent().filter(|_| self.in_slice);
                let joined = if made { Some(group.as_path()) } else { slice };
                joined.map(|group| group.join("tasks"))
            }))
            .collect()
    }

    /// The line of `/proc/self/cgroup` that a process in this leaf sees.
    #[must_use]
    pub fn expect(&self, part: Part) -> Option<String> {
        let place = self.unified.as_ref()?;
        Some(format!("0::{}/{}", place.path, part.as_str()))
    }

    /// Where there are no cgroups: remembers a process that was started for this unit, by pid and
    /// start time (proc_pid_stat(5), field 22). Elsewhere the kernel knows.
    pub fn track(&mut self, pid: u32, start: u64) {
        if self.unified.is_none() {
            self.roots.insert(pid, start);
        }
    }

    /// Where there are no cgroups: what else tells the unit's processes. `uid` is a user that runs
    /// nothing but this unit.
    pub fn mark(&mut self, uid: Option<u32>, invocation: &str) {
        self.marks = process::Marks {
            uid,
            invocation: invocation.to_owned(),
        };
    }

    /// Whether the kernel tells of changes; without cgroups one has to look.
    #[must_use]
    pub const fn tells(&self) -> bool {
        self.unified.is_some()
    }

    /// Asks the kernel to freeze `agent/`. Done when [`Group::is_frozen`] says so.
    ///
    /// # Errors
    /// When the kernel refuses, or without cgroups when processes cannot be stopped.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        if self.unified.is_some() {
            let path = self.leaf(Part::Agent, "freeze")?.join("cgroup.freeze");
            return file::write(&path, "1");
        }
        match process::stop_family(&self.roots, &self.marks) {
            Ok(true) => Ok(()),
            Ok(false) => Err(CgroupError::Unsupported {
                step: "stop processes that start new ones all the time",
            }),
            Err(source) => Err(self.signal_failed(source)),
        }
    }

    /// Asks the kernel to let `agent/` run on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        if self.unified.is_some() {
            let path = self.leaf(Part::Agent, "thaw")?.join("cgroup.freeze");
            return file::write(&path, "0");
        }
        process::signal_family(&self.roots, &self.marks, Signal::SIGCONT)
            .map(drop)
            .map_err(|source| self.signal_failed(source))
    }

    /// Whether the kernel says that everything in `agent/` is frozen.
    ///
    /// # Errors
    /// When the group's state cannot be read.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        if self.unified.is_none() {
            return Ok(process::family_stopped(&self.roots, &self.marks));
        }
        let path = self.leaf(Part::Agent, "read")?.join("cgroup.events");
        Ok(event(&file::read(&path)?, "frozen"))
    }

    /// Kills every process of the unit, frozen or not. It is empty when [`Group::populated`] says
    /// so.
    ///
    /// # Errors
    /// When the kernel refuses. A missing group has no processes and is no error.
    pub fn kill(&self) -> Result<(), CgroupError> {
        let Some(unified) = &self.unified else {
            // Stopped first: what does not run cannot start others meanwhile.
            process::stop_family(&self.roots, &self.marks)
                .and_then(|_| process::signal_family(&self.roots, &self.marks, Signal::SIGKILL))
                .map_err(|source| self.signal_failed(source))?;
            return Ok(());
        };
        if !unified.directory.exists() {
            return Ok(());
        }
        match file::write(&unified.directory.join("cgroup.kill"), "1") {
            Err(error) if error.is_missing() => self.kill_one_by_one(&unified.directory),
            other => other,
        }
    }

    /// Kernels before 5.14: nothing may run while the list is read.
    fn kill_one_by_one(&self, directory: &Path) -> Result<(), CgroupError> {
        if !directory.exists() {
            return Ok(());
        }
        file::write(&directory.join("cgroup.freeze"), "1")?;
        let signalled = self.signal_all(libc::SIGKILL);
        // Kernels since 5.2 kill frozen processes; thawing them is right in any case.
        file::write(&directory.join("cgroup.freeze"), "0")?;
        signalled.map(drop)
    }

    /// Sends a signal to every process of the unit; returns to how many.
    ///
    /// # Errors
    /// When a process may not be signalled.
    pub fn signal_all(&self, signal: i32) -> Result<u32, CgroupError> {
        let signal = Signal::try_from(signal).map_err(|errno| self.signal_failed(errno.into()))?;
        let Some(unified) = &self.unified else {
            return process::signal_family(&self.roots, &self.marks, signal)
                .map_err(|source| self.signal_failed(source));
        };
        let mut done = BTreeSet::new();
        // A process may start others while we go through the list.
        for _ in 0..100 {
            let new: Vec<u32> = self
                .procs(true)
                .into_iter()
                .filter(|pid| !done.contains(pid))
                .collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                let inside = || {
                    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| {
                        unified_path(&text)
                            .and_then(|path| path.strip_prefix(unified.path.as_str()))
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    })
                };
                process::signal_if(pid, signal, inside)
                    .map_err(|source| self.signal_failed(source))?;
                done.insert(pid);
            }
        }
        Ok(u32::try_from(done.len()).unwrap_or(u32::MAX))
    }

    /// The processes of the unit, or, not recursive, those in `agent/` itself.
    #[must_use]
    pub fn procs(&self, recursive: bool) -> Vec<u32> {
        fn collect(directory: &Path, recursive: bool, found: &mut Vec<u32>) {
            let text = file::read(&directory.join("cgroup.procs")).unwrap_or_default();
            // 0 is a process of a PID namespace that we cannot see.
            found.extend(
                text.lines()
                    .filter_map(|line| line.parse::<u32>().ok())
                    .filter(|pid| *pid != 0),
            );
            if recursive {
                for child in file::children(directory) {
                    collect(&child, true, found);
                }
            }
        }
        let Some(unified) = &self.unified else {
            let members = process::members(&self.roots, &self.marks);
            return members.into_iter().map(|p| p.pid).collect();
        };
        let mut found = vec![];
        if recursive {
            collect(&unified.directory, true, &mut found);
        } else {
            let agent = unified.directory.join(Part::Agent.as_str());
            collect(&agent, false, &mut found);
        }
        found
    }

    /// Whether there is any process in the unit's group; a missing group has none.
    ///
    /// # Errors
    /// When the group's state cannot be read.
    pub fn populated(&self) -> Result<bool, CgroupError> {
        let Some(unified) = &self.unified else {
            return Ok(!process::members(&self.roots, &self.marks).is_empty());
        };
        match file::read(&unified.directory.join("cgroup.events")) {
            Ok(text) => Ok(event(&text, "populated")),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How many processes the kernel has killed for memory since the group was made; `None`: not
    /// known here.
    #[must_use]
    pub fn oom_kills(&self) -> Option<u64> {
        if let Some(memory) = self.v1("memory") {
            return file::keyed(&memory.join("memory.oom_control"), "oom_kill");
        }
        file::keyed(&self.directory()?.join("memory.events"), "oom_kill")
    }

    /// What it uses now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let Some(directory) = self.directory() else {
            let tasks = u64::try_from(self.procs(true).len()).ok();
            return Usage {
                tasks,
                ..Usage::default()
            };
        };
        let or_v1 = |unified: &str, controller: &str, v1: &str| {
            file::number(&directory.join(unified))
                .or_else(|| file::number(&self.v1(controller)?.join(v1)))
        };
        Usage {
            memory: or_v1("memory.current", "memory", "memory.usage_in_bytes"),
            tasks: or_v1("pids.current", "pids", "pids.current").or_else(|| self.threads()),
            // v2 counts processor time in every group, whatever controllers there are.
            cpu_nsec: file::keyed(&directory.join("cpu.stat"), "usage_usec")
                .map(|micros| micros.saturating_mul(1000)),
        }
    }

    /// Without a group that counts them.
    fn threads(&self) -> Option<u64> {
        let directory = self.directory()?;
        let parts = file::children(directory).into_iter();
        let listed = parts.map(|part| file::read(&part.join("cgroup.threads")));
        listed
            .map(|text| Some(text.ok()?.lines().count() as u64))
            .sum()
    }

    /// Removes the unit's groups, children first.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] while there are processes: wait until the group is empty.
    pub fn remove(&self) -> Result<(), CgroupError> {
        if let Some(unified) = &self.unified {
            file::remove(&unified.directory)?;
        }
        for (_, directory) in &self.v1 {
            file::remove(directory)?;
        }
        Ok(())
    }

    /// The v1 memory group, for out-of-memory notification.
    pub(in crate::sys) fn memory_v1(&self) -> Option<&Path> {
        self.v1("memory")
    }

    fn leaf(&self, part: Part, step: &'static str) -> Result<PathBuf, CgroupError> {
        let unified = self.unified.as_ref();
        unified
            .map(|place| place.directory.join(part.as_str()))
            .ok_or(CgroupError::Unsupported { step })
    }

    fn signal_failed(&self, source: std::io::Error) -> CgroupError {
        CgroupError::Signal {
            unit: self.unit.to_string(),
            source,
        }
    }
}

/// Whether a flag of `cgroup.events` is 1.
fn event(text: &str, key: &str) -> bool {
    text.lines()
        .any(|line| line.strip_prefix(key) == Some(" 1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn events_are_read_by_whole_keys() {
        let text = "populated 1\nfrozen 0\n";
        assert!(event(text, "populated") && !event(text, "frozen"));
        assert!(!event("", "populated") && !event("unpopulated 1", "populated"));
    }

    #[test]
    fn without_cgroups_sessions_are_stopped_continued_and_killed() {
        let mut group = Group::new("coder.agent".parse().unwrap(), None, vec![], false);
        assert!(!group.populated().unwrap());
        let script = "setsid sleep 1000 >/dev/null & sleep 1000 >/dev/null & \
                      sleep 1000 >/dev/null & echo up; wait";
        let mut child = Command::new("/usr/bin/setsid")
            .args(["/bin/sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let start = process::Stat::read(child.id()).unwrap().start;
        group.track(child.id(), start);
        assert_eq!(group.procs(true).len(), 4);
        group.freeze().unwrap();
        assert!(group.is_frozen().unwrap());
        group.thaw().unwrap();
        group.freeze().unwrap();
        group.kill().unwrap();
        child.wait().unwrap();
        // SIGKILL is on its way to all; the dead are no members.
        while group.populated().unwrap() {
            std::thread::yield_now();
        }
        assert!(group.join_files(Part::Agent, false).is_empty());
        let wish = Resources {
            tasks_max: Some(1),
            ..Resources::default()
        };
        assert_eq!(
            group.create(&wish).unwrap().len(),
            1,
            "a limit was not missed"
        );
        group.remove().unwrap();
    }
}
