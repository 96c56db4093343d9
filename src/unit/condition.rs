//! `Condition…=` and `Assert…=`: what must hold on this machine before a unit is started.
//!
//! Data and the combination rule only; looking at the machine is the daemon's. The words are those
//! of systemd.unit(5), "CONDITIONS AND ASSERTS".

use serde::{Deserialize, Serialize};

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionKind {
    /// The machine's architecture.
    Architecture,
    /// A kind of virtualisation, or whether there is any.
    Virtualization,
    /// The host's name or machine id.
    Host,
    /// A word of the kernel's command line.
    KernelCommandLine,
    /// The kernel's release.
    KernelVersion,
    /// A variable of the daemon's own environment.
    Environment,
    /// A security technology.
    Security,
    /// A capability in the daemon's bounding set.
    Capability,
    /// Whether the machine is on mains.
    AcPower,
    /// Whether a directory is older than the system's software.
    NeedsUpdate,
    /// Whether this is the first boot.
    FirstBoot,
    /// Something is there.
    PathExists,
    /// Something that matches is there.
    PathExistsGlob,
    /// A directory is there.
    PathIsDirectory,
    /// A symbolic link is there.
    PathIsSymbolicLink,
    /// A mount point is there.
    PathIsMountPoint,
    /// Its file system can be written to.
    PathIsReadWrite,
    /// A directory is there and has something in it.
    DirectoryNotEmpty,
    /// A regular file is there and is not empty.
    FileNotEmpty,
    /// A regular file is there and may be executed.
    FileIsExecutable,
    /// The user that the daemon runs as.
    User,
    /// A group that the daemon is in.
    Group,
    /// A cgroup controller that may be used, or the version of cgroups.
    ControlGroupController,
    /// The machine's memory in bytes.
    Memory,
    /// How many processors there are.
    Cpus,
    /// A feature of the processor.
    CpuFeature,
    /// A field of os-release.
    OsRelease,
    /// Pressure on memory.
    MemoryPressure,
    /// Pressure on the processors.
    CpuPressure,
    /// Pressure on input and output.
    IoPressure,
}

/// The name behind `Condition` or `Assert`, for each kind.
pub const KINDS: [(&str, ConditionKind); 30] = [
    ("Architecture", ConditionKind::Architecture),
    ("Virtualization", ConditionKind::Virtualization),
    ("Host", ConditionKind::Host),
    ("KernelCommandLine", ConditionKind::KernelCommandLine),
    ("KernelVersion", ConditionKind::KernelVersion),
    ("Environment", ConditionKind::Environment),
    ("Security", ConditionKind::Security),
    ("Capability", ConditionKind::Capability),
    ("ACPower", ConditionKind::AcPower),
    ("NeedsUpdate", ConditionKind::NeedsUpdate),
    ("FirstBoot", ConditionKind::FirstBoot),
    ("PathExists", ConditionKind::PathExists),
    ("PathExistsGlob", ConditionKind::PathExistsGlob),
    ("PathIsDirectory", ConditionKind::PathIsDirectory),
    ("PathIsSymbolicLink", ConditionKind::PathIsSymbolicLink),
    ("PathIsMountPoint", ConditionKind::PathIsMountPoint),
    ("PathIsReadWrite", ConditionKind::PathIsReadWrite),
    ("DirectoryNotEmpty", ConditionKind::DirectoryNotEmpty),
    ("FileNotEmpty", ConditionKind::FileNotEmpty),
    ("FileIsExecutable", ConditionKind::FileIsExecutable),
    ("User", ConditionKind::User),
    ("Group", ConditionKind::Group),
    (
        "ControlGroupController",
        ConditionKind::ControlGroupController,
    ),
    ("Memory", ConditionKind::Memory),
    ("CPUs", ConditionKind::Cpus),
    ("CPUFeature", ConditionKind::CpuFeature),
    ("OSRelease", ConditionKind::OsRelease),
    ("MemoryPressure", ConditionKind::MemoryPressure),
    ("CPUPressure", ConditionKind::CpuPressure),
    ("IOPressure", ConditionKind::IoPressure),
];

impl ConditionKind {
    /// The name behind `Condition` or `Assert`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        KINDS
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether the argument is an absolute path.
    #[must_use]
    pub const fn takes_path(self) -> bool {
        matches!(
            self,
            Self::NeedsUpdate
                | Self::PathExists
                | Self::PathExistsGlob
                | Self::PathIsDirectory
                | Self::PathIsSymbolicLink
                | Self::PathIsMountPoint
                | Self::PathIsReadWrite
                | Self::DirectoryNotEmpty
                | Self::FileNotEmpty
                | Self::FileIsExecutable
        )
    }
}

/// One line of a unit file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What is looked at.
    pub kind: ConditionKind,
    /// What is compared with it, specifiers expanded.
    pub argument: String,
    /// `!`: it must not hold.
    pub negate: bool,
    /// `|`: of all these, one must hold.
    pub triggering: bool,
    /// `Assert…=`: the start fails; without it, the start is passed over.
    pub assert: bool,
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prefix = if self.assert { "Assert" } else { "Condition" };
        let triggering = if self.triggering { "|" } else { "" };
        let negate = if self.negate { "!" } else { "" };
        write!(
            f,
            "{prefix}{}={triggering}{negate}{}",
            self.kind.as_str(),
            self.argument
        )
    }
}

/// The first line that stands against a start, when there is one: every plain line must hold, and
/// of the triggering ones at least one. `holds` tells how the line without its `!` is.
pub fn first_unmet<'a>(
    conditions: impl IntoIterator<Item = &'a Condition>,
    mut holds: impl FnMut(&Condition) -> bool,
) -> Option<&'a Condition> {
    let mut last_triggering = None;
    let mut triggered = false;
    for condition in conditions {
        // Once one of them holds the others need not be looked at.
        if condition.triggering && triggered {
            continue;
        }
        let met = holds(condition) != condition.negate;
        if condition.triggering {
            triggered |= met;
            last_triggering = Some(condition);
        } else if !met {
            return Some(condition);
        }
    }
    last_triggering.filter(|_| !triggered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(argument: &str, triggering: bool, negate: bool) -> Condition {
        Condition {
            kind: ConditionKind::PathExists,
            argument: argument.to_owned(),
            negate,
            triggering,
            assert: false,
        }
    }

    #[test]
    fn plain_lines_must_all_hold_and_one_of_the_triggering() {
        let there = |condition: &Condition| condition.argument == "/there";
        let unmet = |lines: &[Condition]| first_unmet(lines, there).map(ToString::to_string);
        assert_eq!(unmet(&[]), None);
        assert_eq!(unmet(&[line("/there", false, false)]), None);
        assert_eq!(
            unmet(&[line("/there", false, true)]).as_deref(),
            Some("ConditionPathExists=!/there")
        );
        let either = [line("/gone", true, false), line("/there", true, false)];
        assert_eq!(unmet(&either), None);
        assert_eq!(
            unmet(&[line("/gone", true, false), line("/there", true, true)]).as_deref(),
            Some("ConditionPathExists=|!/there")
        );
        assert!(unmet(&[line("/gone", false, false), line("/there", true, false)]).is_some());
    }

    #[test]
    fn every_kind_has_its_name() {
        for (name, kind) in KINDS {
            assert_eq!(kind.as_str(), name);
        }
    }
}
