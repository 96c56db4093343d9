//! Control groups: one subtree of ours, one group per unit, on unified, hybrid and cgroup-less
//! hosts alike.
//!
//! [`Tree::find`] decides what this host offers and says in [`Tree::missing`] what it does not;
//! a [`Group`] is one unit's processes and limits. Layout, below the group we were started in:
//! `<tree>/<unit>/{agent,desktop,control}/`; processes are in the leaves, limits on `<unit>/`,
//! pause freezes `agent/` alone. On hybrid hosts the v1 controllers `memory`, `cpu` and `pids`
//! each have `<tree>/<unit>/`. Everything is owned by the manager's user; a group that is not, or
//! that others may write, is refused. Read next: `hierarchy` (pure), `group`, [`super::watch`].

mod file;
mod group;
mod hierarchy;
mod limits;
mod process;
mod slice;

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd;

pub use group::{Group, Part, Usage};
pub use hierarchy::{Hierarchies, OWN_LEAF, Place, locate, unified_path, unit_of_cgroup};
pub use process::Stat;

use crate::name::UnitName;

/// The v2 controllers that carry limits of ours.
const WANTED: [&str; 3] = ["memory", "cpu", "pids"];

/// Why something about a control group did not work.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A control file or directory did not obey.
    #[error("{step} {}: {source}", path.display())]
    Io {
        /// What was tried: a verb.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// How it ended.
        source: io::Error,
    },
    /// There are processes in it still; try again when the group is empty.
    #[error("remove {}: processes are still in it", path.display())]
    Busy {
        /// The group.
        path: PathBuf,
    },
    /// It is there already and is not ours alone.
    #[error("use {}: it belongs to another user or others may write to it", path.display())]
    Foreign {
        /// The group.
        path: PathBuf,
    },
    /// A name that cannot be a group's.
    #[error("use {0:?} as a name for the control group tree")]
    Name(String),
    /// This host has no cgroups that we may use.
    #[error("{step}: this host has no writable cgroups")]
    Unsupported {
        /// What was wanted: a verb and its object.
        step: &'static str,
    },
    /// A process could not be signalled.
    #[error("signal the processes of {unit}: {source}")]
    Signal {
        /// The unit.
        unit: String,
        /// Why.
        source: io::Error,
    },
}

impl CgroupError {
    /// Whether the thing was not there (any more).
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if source.kind() == io::ErrorKind::NotFound || matches!(source.raw_os_error(), Some(libc::ENODEV | libc::ESRCH)))
    }
}

/// What kind of host this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// v2 for everything.
    Unified,
    /// v2 for tracking, freezing and killing; v1 controllers for limits.
    Hybrid,
    /// Nothing that we may use: sessions and signals.
    None,
}

impl Kind {
    /// The word that `status` shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unified => "unified",
            Self::Hybrid => "hybrid",
            Self::None => "none",
        }
    }
}

/// Our subtree in every hierarchy that we use.
#[derive(Debug, Clone)]
pub struct Tree {
    kind: Kind,
    unified: Option<Place>,
    v1: Vec<(&'static str, PathBuf)>,
    missing: Vec<String>,
}

impl Tree {
    /// Finds out what this host offers and makes the subtree `name` below our own group.
    ///
    /// Where cgroups cannot be used this is no error: [`Tree::kind`] is then [`Kind::None`] and
    /// [`Tree::missing`] says why and what follows.
    ///
    /// # Errors
    /// When `name` cannot be a group's name.
    pub fn find(name: &str) -> Result<Self, CgroupError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if name.is_empty()
            || name.len() > 200
            || name.starts_with('.')
            || name.starts_with("cgroup.")
            || name == OWN_LEAF
            || !name.chars().all(plain)
        {
            return Err(CgroupError::Name(name.to_owned()));
        }
        let text = |path: &str| file::read(Path::new(path)).unwrap_or_default();
        let found = locate(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"));
        Ok(Self::make(found, name))
    }

    fn make(found: Hierarchies, name: &str) -> Self {
        let own = match found.unified {
            None => return Self::none("there is no cgroup2 mount that shows our own group"),
            Some(own) if !own.writable => {
                return Self::none(&format!("{} is read-only", own.directory.display()));
            }
            Some(own) => own,
        };
        let directory = own.directory.join(name);
        if let Err(error) = file::make(&directory) {
            let v1 = if found.v1.is_empty() {
                ""
            } else {
                "; v1 controllers alone cannot track processes"
            };
            return Self::none(&format!("failed to {error}{v1}"));
        }
        let path = format!("{}/{name}", own.path.trim_end_matches('/'));
        let mut missing = vec![];
        let mut v1 = vec![];
        for (controller, place) in &found.v1 {
            let directory = place.directory.join(name);
            let made = file::make(&directory);
            match made {
                Ok(_) => {
                    inherit_limits(&directory);
                    v1.push((*controller, directory));
                }
                Err(error) => missing.push(format!(
                    "limits by the v1 controller {controller} are not enforced: failed to {error}"
                )),
            }
        }
        let kind = if found.v1.is_empty() {
            Kind::Unified
        } else {
            missing.insert(0, hybrid_sentence(&v1));
            Kind::Hybrid
        };
        let unserved: Vec<&str> = WANTED
            .into_iter()
            .filter(|c| !found.v1.iter().any(|(v1, _)| v1 == c))
            .collect();
        enable(&own.directory, &directory, &unserved, &mut missing);
        if !unistd::geteuid().is_root() {
            missing.push(
                "agents run as the manager's own user and could leave their groups where neither \
                 Landlock nor a mount namespace hides /sys/fs/cgroup from them"
                    .to_owned(),
            );
        }
        let unified = Place {
            directory,
            path,
            writable: true,
        };
        Self {
            kind,
            unified: Some(unified),
            v1,
            missing,
        }
    }

    fn none(why: &str) -> Self {
        Self {
            kind: Kind::None,
            unified: None,
            v1: vec![],
            missing: vec![
                format!("there are no cgroups to use: {why}"),
                "processes are known by session, parent, user and environment only: one that hides \
                 from these and has no user of its own escapes stop, pause and kill"
                    .to_owned(),
                "nobody can tell which agent is calling, so units run without the MCP server that \
                 Tools= in [MCP] asks for, and nothing that a unit starts may speak to Aether"
                    .to_owned(),
                "MemoryHigh=, MemoryMax=, MemorySwapMax=, CPUQuota=, CPUWeight= and TasksMax= are \
                 not enforced"
                    .to_owned(),
                "pause stops processes by SIGSTOP, which they can see and which any process of \
                 the same user can undo"
                    .to_owned(),
            ],
        }
    }

    /// What kind of host this is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What is missing here and what that means, as sentences for `status`.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Our subtree as `/proc/PID/cgroup` shows it; empty where there are no cgroups.
    #[must_use]
    pub fn path(&self) -> &str {
        self.unified.as_ref().map_or("", |place| &place.path)
    }

    /// The unit's group, in this slice; nothing is made yet.
    #[must_use]
    pub fn group(&self, unit: &UnitName, slice: Option<&UnitName>) -> Group {
        let below = Self::place_of(unit, slice);
        Group::new(
            unit.clone(),
            self.unified.as_ref().map(|place| Place {
                directory: place.directory.join(&below),
                path: format!("{}/{}", place.path, below.display()),
                writable: true,
            }),
            self.v1
                .iter()
                .map(|(name, directory)| (*name, directory.join(&below)))
                .collect(),
            slice.is_some(),
        )
    }

    /// The unit of ours that a v2 path, as `/proc/PID/cgroup` shows it, belongs to.
    #[must_use]
    pub fn unit_of_cgroup(&self, path: &str) -> Option<UnitName> {
        unit_of_cgroup(&self.unified.as_ref()?.path, path)
    }

    /// The unit of ours that a process belongs to. The answer holds only as long as the process
    /// is known to be the same: see [`super::peer::Peer::unit`].
    ///
    /// # Errors
    /// When the process's group cannot be read; where there are no cgroups, always
    /// ([`io::ErrorKind::Unsupported`]): nobody can be identified there.
    pub fn unit_of_pid(&self, pid: u32) -> io::Result<Option<UnitName>> {
        if self.unified.is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let path = unified_path(&text).ok_or(io::ErrorKind::InvalidData)?;
        Ok(self.unit_of_cgroup(path))
    }

    /// Where there are no cgroups: whether the process was started by us, or by what we started;
    /// `None` when it died meanwhile. Below a keeper nobody escapes from this.
    #[must_use]
    pub fn descends_from_us(&self, pid: u32) -> Option<bool> {
        let parent = unistd::getppid().as_raw().unsigned_abs();
        let ancestor = if is_named(parent, "aether-init") {
            parent
        } else {
            std::process::id()
        };
        process::descends(pid, ancestor)
    }

    /// Removes the whole subtree, once every unit is gone.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] while there are processes in it.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let all = self
            .unified
            .iter()
            .map(|place| place.directory.as_path())
            .chain(self.v1.iter().map(|(_, directory)| directory.as_path()));
        for directory in all {
            file::remove(directory)?;
        }
        Ok(())
    }
}

/// Before 5.11 a v1 memory group does not count its children unless told to.
fn inherit_limits(directory: &Path) {
    let path = directory.join("memory.use_hierarchy");
    if file::number(&path) == Some(0) {
        // A refusal changes nothing: the limits are on groups without children.
        let _ = file::write(&path, "1");
    }
}

fn hybrid_sentence(v1: &[(&str, PathBuf)]) -> String {
    if v1.is_empty() {
        return "this is a hybrid host, and none of its v1 controllers may be used".to_owned();
    }
    let names: Vec<&str> = v1.iter().map(|(name, _)| *name).collect();
    format!(
        "this is a hybrid host: limits by the v1 controllers {}",
        names.join(", ")
    )
}

/// Makes the v2 controllers available to the children of `tree`.
fn enable(own: &Path, tree: &Path, wanted: &[&str], missing: &mut Vec<String>) {
    let available = file::read(&own.join("cgroup.controllers")).unwrap_or_default();
    let available: Vec<&str> = available.split_ascii_whitespace().collect();
    let (there, absent): (Vec<&str>, Vec<&str>) =
        wanted.iter().partition(|c| available.contains(*c));
    for controller in absent {
        missing.push(format!(
            "the controller {controller} is not available below {}; its limits are not enforced",
            own.display()
        ));
    }
    if there.is_empty() {
        return;
    }
    if let Err(sentence) = make_room(own) {
        missing.push(sentence);
    }
    for controller in there {
        let text = format!("+{controller}");
        for group in [own, tree] {
            if let Err(error) = file::write(&group.join("cgroup.subtree_control"), &text) {
                missing.push(format!(
                    "the limits of the controller {controller} are not enforced: failed to {error}"
                ));
                break;
            }
        }
    }
}

/// A v2 group other than the root may not hold processes and give controllers to children: our own
/// processes move to a leaf. Others in the same group are not ours to move.
fn make_room(own: &Path) -> Result<(), String> {
    // Only the root of the whole hierarchy has no type, and only it is free of the rule.
    if !own.join("cgroup.type").exists() {
        return Ok(());
    }
    let inside = || -> Vec<u32> {
        let text = file::read(&own.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    let present = inside();
    if present.is_empty() {
        return Ok(());
    }
    let leaf = own.join(OWN_LEAF);
    file::make(&leaf).map_err(|error| format!("failed to {error}"))?;
    for pid in own_processes(&present) {
        file::write(&leaf.join("cgroup.procs"), &pid.to_string())
            .map_err(|error| format!("failed to move process {pid}: {error}"))?;
    }
    let left = inside();
    if left.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = left.iter().take(5).map(ToString::to_string).collect();
    Err(format!(
        "{} holds {} processes that are not ours (pid {}), so it cannot give controllers to its \
         children",
        own.display(),
        left.len(),
        shown.join(", ")
    ))
}

fn is_named(pid: u32, wanted: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == wanted)
}

/// The keeper, the daemon and who waits for them, as far as they are in the group: this process,
/// its parent when that is an `aether-init`, and the parent's when that is an `aetherctl`.
fn own_processes(present: &[u32]) -> Vec<u32> {
    let mut own = vec![std::process::id()];
    let parent = unistd::getppid().as_raw().unsigned_abs();
    if is_named(parent, "aether-init") {
        own.insert(0, parent);
        // `aetherctl up` waits until the daemon answers.
        if let Some(stat) = Stat::read(parent)
            && is_named(stat.parent, "aetherctl")
        {
            own.insert(0, stat.parent);
        }
    }
    own.retain(|pid| present.contains(pid));
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_own_group_are_refused() {
        for name in ["", "a/b", "..", ".x", "init.scope", "cgroup.procs", "a b"] {
            assert!(Tree::find(name).is_err(), "{name:?} was taken");
        }
    }

    #[test]
    fn hosts_without_cgroups_say_what_that_means() {
        let tree = Tree::make(Hierarchies::default(), "x");
        assert_eq!(tree.kind(), Kind::None);
        assert!(tree.missing().len() >= 3);
        assert!(tree.units().is_empty());
        assert!(tree.unit_of_pid(std::process::id()).is_err());
        let unit: UnitName = "coder.agent".parse().unwrap();
        assert!(tree.group(&unit, None).open(Part::Agent).is_err());
    }

    #[test]
    fn read_only_and_unwritable_hierarchies_count_as_none() {
        let place = |writable| Hierarchies {
            unified: Some(Place {
                directory: "/proc/self/nothing".into(),
                path: "/".to_owned(),
                writable,
            }),
            v1: vec![],
        };
        for writable in [false, true] {
            let tree = Tree::make(place(writable), "x");
            assert_eq!(tree.kind(), Kind::None);
            assert!(tree.missing()[0].contains("/proc/self/nothing"));
        }
    }
}
