//! How the lines of [`Condition`] are on this machine, to the letter of systemd.unit(5),
//! "CONDITIONS AND ASSERTS" (version 252).
//!
//! Looks, never changes anything, and waits for nothing but the file systems that are asked about.
//! What the daemon knows better than its surroundings is in [`Facts`]. How lines are combined is
//! [`first_unmet`](crate::unit::condition::first_unmet)'s.

mod compare;
mod cpu;
mod file;
mod kernel;
mod pressure;
mod security;
mod virtualization;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, access};

use crate::unit::condition::{Condition, ConditionKind};

use super::user;

/// What the daemon knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whether all of the machine's controllers are in the unified hierarchy (v2), and not some in
    /// hierarchies of their own (v1, hybrid). `None`: there are no cgroups, or nobody knows.
    pub unified: Option<bool>,
    /// The controllers that units may use, as systemd names them (`cpu`, `io`, `memory`, `pids`…).
    pub controllers: BTreeSet<String>,
    /// The directory of the unified hierarchy that the slices are in.
    pub slices: Option<PathBuf>,
    /// The manager's user.
    pub uid: u32,
    /// The machine's id, 32 hexadecimal digits (machine-id(5)).
    pub machine_id: Option<String>,
    /// The manager's environment, `NAME=VALUE` each.
    pub environment: Vec<OsString>,
}

/// What is so without a daemon's own arrangements: the controllers that systemd itself would find,
/// slices in the manager's own group.
#[must_use]
pub fn facts(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Facts {
    let unified = unified();
    Facts {
        unified,
        controllers: unified.map(controllers).unwrap_or_default(),
        slices: (unified == Some(true)).then(own_group).flatten(),
        uid: user::own_uid(),
        machine_id: line("/etc/machine-id").ok(),
        environment: environment
            .into_iter()
            .map(|(mut entry, value)| {
                entry.push("=");
                entry.push(value);
                entry
            })
            .collect(),
    }
}

/// Whether a line without its signs holds. What cannot be found out counts as not holding; see
/// [`look`].
#[must_use]
pub fn holds(condition: &Condition, facts: &Facts) -> bool {
    look(condition, facts).unwrap_or(false)
}

/// As [`holds`]; `None` when it cannot be found out, as for an argument that means nothing. In
/// systemd such a line is unmet with and without its `!`.
#[must_use]
pub fn look(condition: &Condition, facts: &Facts) -> Option<bool> {
    use ConditionKind as Kind;
    let argument = condition.argument.as_str();
    let path = Path::new(argument);
    match condition.kind {
        Kind::Architecture => kernel::architecture(argument),
        Kind::Virtualization => virtualization(argument),
        Kind::Host => kernel::host(argument, facts.machine_id.as_deref()),
        Kind::KernelCommandLine => kernel::command_line(argument),
        Kind::KernelVersion => kernel::version(argument),
        Kind::Environment => Some(environment(argument, &facts.environment)),
        Kind::Security => Some(security::in_use(argument)),
        Kind::Capability => capability(argument),
        Kind::AcPower => Some(security::on_mains()? == compare::truth(argument)?),
        Kind::NeedsUpdate => Some(kernel::needs_update(argument)),
        Kind::FirstBoot => Some(exists("/run/systemd/first-boot") == compare::truth(argument)?),
        Kind::PathExists => Some(exists(path)),
        Kind::PathExistsGlob => Some(super::glob::first(path).is_some()),
        Kind::PathIsDirectory => Some(path.is_dir()),
        Kind::PathIsSymbolicLink => Some(path.is_symlink()),
        Kind::PathIsMountPoint => Some(file::is_mount_point(path)),
        Kind::PathIsReadWrite => Some(file::is_read_write(path)),
        Kind::DirectoryNotEmpty => Some(has_entries(path)),
        Kind::FileNotEmpty => Some(file::is_not_empty(path)),
        Kind::FileIsExecutable => Some(file::is_executable(path)),
        Kind::User => Some(is_user(argument, facts.uid)),
        Kind::Group => Some(in_group(argument)),
        Kind::ControlGroupController => controller(argument, facts),
        Kind::Memory => {
            let (operator, wanted) = at_least(argument);
            operator.orders(kernel::memory(facts.unified)?.cmp(&compare::size(wanted)?))
        }
        Kind::Cpus => {
            let (operator, wanted) = at_least(argument);
            let wanted: u32 = wanted.trim_start().parse().ok()?;
            operator.orders(kernel::processors()?.cmp(&wanted))
        }
        Kind::CpuFeature => Some(cpu::has(argument)),
        Kind::OsRelease => kernel::os_release(argument),
        Kind::MemoryPressure => pressure::at_most("memory", argument, facts),
        Kind::CpuPressure => pressure::at_most("cpu", argument, facts),
        Kind::IoPressure => pressure::at_most("io", argument, facts),
    }
}

/// Of numbers, so many are enough when nothing else is said.
fn at_least(argument: &str) -> (compare::Operator, &str) {
    compare::operator(argument, false).unwrap_or((compare::Operator::AtLeast, argument))
}

fn virtualization(argument: &str) -> Option<bool> {
    use virtualization::Found;
    if argument == "private-users" {
        return virtualization::in_user_namespace();
    }
    let found = virtualization::detect()?;
    if let Some(wanted) = compare::truth(argument) {
        return Some(wanted == (found != Found::Nothing));
    }
    Some(match (argument, found) {
        ("vm", found) => matches!(found, Found::Machine(_)),
        ("container", found) => matches!(found, Found::Container(_)),
        (name, Found::Machine(kind) | Found::Container(kind)) => name == kind,
        (_, Found::Nothing) => false,
    })
}

fn environment(argument: &str, environment: &[OsString]) -> bool {
    let wanted = argument.as_bytes();
    let whole = argument.contains('=');
    environment.iter().any(|entry| {
        let entry = entry.as_bytes();
        if whole {
            return entry == wanted;
        }
        entry
            .strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'=')
    })
}

fn capability(argument: &str) -> Option<bool> {
    let number = match argument.parse::<u8>() {
        Ok(number) => number,
        Err(_) => {
            let name = argument.to_ascii_uppercase();
            name.parse::<caps::Capability>().ok()?.index()
        }
    };
    let last = caps::Capability::CAP_CHECKPOINT_RESTORE.index();
    if number > last {
        return None;
    }
    let status = text("/proc/self/status").ok()?;
    let bounding = status.lines().find_map(|l| l.strip_prefix("CapBnd:"))?;
    let bounding = u64::from_str_radix(bounding.trim(), 16).ok()?;
    Some(bounding >> number & 1 == 1)
}

/// The largest number of a system user, unless login.defs(5) says otherwise.
const SYSTEM_UID_MAX: u32 = 999;

fn is_user(argument: &str, uid: u32) -> bool {
    const NOBODY: u32 = 65_534;
    match argument {
        "root" => uid == 0,
        "nobody" => uid == NOBODY,
        "@system" => uid <= system_uid_max(),
        _ => match number(argument) {
            Some(number) => uid == number,
            None if argument.bytes().all(|byte| byte.is_ascii_digit()) => false,
            None => {
                user::account(argument).is_ok_and(|found| found.is_some_and(|of| of.uid == uid))
            }
        },
    }
}

fn system_uid_max() -> u32 {
    let defined = text("/etc/login.defs").ok().and_then(|text| {
        text.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some("SYS_UID_MAX")).then_some(words.next()?.parse().ok()?)
        })
    });
    defined.unwrap_or(SYSTEM_UID_MAX)
}

fn in_group(argument: &str) -> bool {
    let group = match number(argument) {
        Some(number) => Some(number),
        None if argument.bytes().all(|byte| byte.is_ascii_digit()) => None,
        None => user::group(argument).ok().flatten(),
    };
    let Some(group) = group else { return false };
    let own = [nix::unistd::getgid(), nix::unistd::getegid()];
    own.iter().any(|own| own.as_raw() == group)
        || nix::unistd::getgroups().is_ok_and(|all| all.iter().any(|own| own.as_raw() == group))
}

/// The number of a user or group, written without anything around it. Two numbers mean "nobody at
/// all".
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || text.len() > 1 && text.starts_with('0') {
        return None;
    }
    let number = text.parse().ok()?;
    (number != u32::MAX && number != 65_535).then_some(number)
}

/// The controllers that systemd knows.
const CONTROLLERS: [&str; 13] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "io",
    "blkio",
    "memory",
    "devices",
    "pids",
    "bpf-firewall",
    "bpf-devices",
    "bpf-foreign",
    "bpf-socket-bind",
    "bpf-restrict-network-interfaces",
];

fn controller(argument: &str, facts: &Facts) -> Option<bool> {
    match argument {
        "v1" => return facts.unified.map(|unified| !unified),
        "v2" => return facts.unified,
        _ => {}
    }
    facts.unified?;
    // Those that nobody knows are passed over.
    let mut wanted = argument
        .split_ascii_whitespace()
        .filter(|name| CONTROLLERS.contains(name));
    Some(wanted.all(|name| facts.controllers.contains(name)))
}

/// Whether `/sys/fs/cgroup` is the unified hierarchy, or a directory of several.
fn unified() -> Option<bool> {
    let found = statfs("/sys/fs/cgroup").ok()?.filesystem_type();
    if found == CGROUP2_SUPER_MAGIC {
        Some(true)
    } else {
        (found == TMPFS_MAGIC).then_some(false)
    }
}

/// Those that can be used below the group that the first process is in.
fn controllers(unified: bool) -> BTreeSet<String> {
    const V1: [&str; 6] = ["cpu", "cpuacct", "blkio", "memory", "devices", "pids"];
    const V2: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
    let Some(root) = root_group(unified) else {
        return BTreeSet::new();
    };
    let root = root.trim_start_matches('/');
    if unified {
        let path = Path::new("/sys/fs/cgroup").join(root);
        let all = line(path.join("cgroup.controllers")).unwrap_or_default();
        all.split_ascii_whitespace()
            .filter(|name| V2.contains(name))
            .map(str::to_owned)
            .collect()
    } else {
        V1.iter()
            .filter(|name| {
                let group = Path::new("/sys/fs/cgroup").join(name).join(root);
                access(&group.join("cgroup.procs"), AccessFlags::W_OK).is_ok()
            })
            .map(|name| (*name).to_owned())
            .collect()
    }
}

/// The group that the first process is in, without the one that systemd makes for itself.
fn root_group(unified: bool) -> Option<String> {
    let path = group_of("/proc/1/cgroup", unified)?;
    let cut = ["/init.scope", "/system.slice", "/system"]
        .iter()
        .find_map(|own| path.strip_suffix(own));
    Some(cut.unwrap_or(&path).to_owned())
}

fn group_of(file: &str, unified: bool) -> Option<String> {
    let groups = text(file).ok()?;
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let wanted = if unified { "" } else { "name=systemd" };
        (controllers == wanted).then(|| path.to_owned())
    })
}

/// The directory of our own group, without the one that a manager has for itself.
fn own_group() -> Option<PathBuf> {
    let path = group_of("/proc/self/cgroup", true)?;
    let path = path.strip_suffix("/init.scope").unwrap_or(&path);
    Some(Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')))
}

/// Links are followed.
pub(super) fn exists(path: impl AsRef<Path>) -> bool {
    access(path.as_ref(), AccessFlags::F_OK).is_ok()
}

/// Most bytes of a file that are looked at; those of the kernel are far smaller.
const MOST: u64 = 4 << 20;

/// A text file of the kernel or of the system.
fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let mut bytes = vec![];
    fs::File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Its first line.
fn line(path: impl AsRef<Path>) -> io::Result<String> {
    let text = text(path)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

pub(super) use file::has_entries;

#[cfg(test)]
mod tests;
