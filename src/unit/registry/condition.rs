//! `[Unit]`: `Condition…=` and `Assert…=`.

use super::{Directive, Draft, Given, Section};
use crate::unit::condition::{self, Condition, ConditionKind};
use crate::unit::value::{ValueError, boolean, integer, quote};

/// Both rows of one kind.
macro_rules! pair {
    ($name:literal, $syntax:literal, $example:literal, $doc:literal) => {
        [
            Directive::new(
                Section::Unit,
                concat!("Condition", $name),
                $syntax,
                $example,
                concat!(
                    $doc,
                    " Otherwise the start is passed over. ! in front turns it round; of the lines \
                     with | in front, one must hold; an empty value drops all conditions so far."
                ),
                apply,
            )
            .list(),
            Directive::new(
                Section::Unit,
                concat!("Assert", $name),
                $syntax,
                $example,
                concat!($doc, " Otherwise the start fails."),
                apply,
            )
            .list(),
        ]
    };
}

const PAIRS: [[Directive; 2]; condition::KINDS.len()] = [
    pair!(
        "Architecture",
        "NAME",
        "x86-64",
        "Holds on machines of this architecture (x86-64, arm64, native …)."
    ),
    pair!(
        "Virtualization",
        "yes|no|vm|container|NAME",
        "container",
        "Holds in a virtual machine or container, or in one of this kind (kvm, qemu, docker …)."
    ),
    pair!(
        "Host",
        "NAME",
        "builder-*",
        "Holds on the host of this name (with * and ?) or machine id."
    ),
    pair!(
        "KernelCommandLine",
        "WORD[=VALUE]",
        "quiet",
        "Holds when the kernel was started with this word, or this assignment."
    ),
    pair!(
        "KernelVersion",
        "EXPRESSION",
        ">=6.1",
        "Holds for kernels whose release matches: a pattern, or a comparison with < <= = != >= >."
    ),
    pair!(
        "Environment",
        "NAME[=VALUE]",
        "CI=true",
        "Holds when the manager's own environment has this variable, or this assignment."
    ),
    pair!(
        "Security",
        "NAME",
        "apparmor",
        "Holds where this security technology is there (apparmor, selinux, smack, ima, tomoyo, \
         audit, uefi-secureboot, tpm2, cvm)."
    ),
    pair!(
        "Capability",
        "CAPABILITY",
        "CAP_NET_ADMIN",
        "Holds when the manager's bounding set has this capability."
    ),
    pair!(
        "ACPower",
        "yes|no",
        "yes",
        "Holds while the machine is on mains (or, with no, on battery)."
    ),
    pair!(
        "NeedsUpdate",
        "/etc|/var",
        "/etc",
        "Holds when this directory is older than the system's software in /usr."
    ),
    pair!(
        "FirstBoot",
        "yes|no",
        "yes",
        "Holds on the first boot of the machine: /run/systemd/first-boot is there."
    ),
    pair!(
        "PathExists",
        "PATH",
        "/srv/webshop",
        "Holds when there is something at this path."
    ),
    pair!(
        "PathExistsGlob",
        "PATTERN",
        "/srv/*/go",
        "Holds when at least one path matches this pattern."
    ),
    pair!(
        "PathIsDirectory",
        "PATH",
        "/srv/webshop",
        "Holds when there is a directory at this path."
    ),
    pair!(
        "PathIsSymbolicLink",
        "PATH",
        "/etc/mtab",
        "Holds when there is a symbolic link at this path."
    ),
    pair!(
        "PathIsMountPoint",
        "PATH",
        "/srv",
        "Holds when something is mounted at this path."
    ),
    pair!(
        "PathIsReadWrite",
        "PATH",
        "/srv",
        "Holds when the file system at this path can be written to."
    ),
    pair!(
        "DirectoryNotEmpty",
        "PATH",
        "/srv/inbox",
        "Holds when there is a directory at this path with something in it."
    ),
    pair!(
        "FileNotEmpty",
        "PATH",
        "/etc/webshop.conf",
        "Holds when there is a regular file at this path that is not empty."
    ),
    pair!(
        "FileIsExecutable",
        "PATH",
        "/usr/bin/node",
        "Holds when there is a regular file at this path that may be executed."
    ),
    pair!(
        "User",
        "USER|@system",
        "root",
        "Holds when the manager runs as this user, or as a system user."
    ),
    pair!(
        "Group",
        "GROUP",
        "aether",
        "Holds when the manager is in this group."
    ),
    pair!(
        "ControlGroupController",
        "CONTROLLER|v1|v2",
        "memory",
        "Holds when this controller may be used, or with this version of cgroups."
    ),
    pair!(
        "Memory",
        "[COMPARISON]BYTES",
        ">=4G",
        "Holds when the machine has so much memory; without a comparison: at least so much."
    ),
    pair!(
        "CPUs",
        "[COMPARISON]NUMBER",
        ">=2",
        "Holds when the manager may use so many processors; without a comparison: at least so many."
    ),
    pair!(
        "CPUFeature",
        "NAME",
        "sse4_2",
        "Holds when the processor has this feature, as /proc/cpuinfo names it."
    ),
    pair!(
        "OSRelease",
        "KEY=VALUE…",
        "ID=debian",
        "Holds when os-release has these assignments; comparisons (VERSION_ID>=12) compare versions."
    ),
    pair!(
        "MemoryPressure",
        "[UNIT:]PERCENT[/TIME]",
        "20%",
        "Holds while the pressure on memory is at most this."
    ),
    pair!(
        "CPUPressure",
        "[UNIT:]PERCENT[/TIME]",
        "20%",
        "Holds while the pressure on the processors is at most this."
    ),
    pair!(
        "IOPressure",
        "[UNIT:]PERCENT[/TIME]",
        "20%",
        "Holds while the pressure on input and output is at most this."
    ),
];

pub(super) const ROWS: &[Directive] = PAIRS.as_flattened();

fn apply(draft: &mut Draft, given: &mut Given<'_>) -> Result<(), ValueError> {
    let (assert, name) = match given.key.strip_prefix("Condition") {
        Some(name) => (false, name),
        None => (true, given.key.trim_start_matches("Assert")),
    };
    if given.is_empty() {
        // As in systemd: the whole list, of whatever kind, is begun anew.
        draft.conditions.retain(|line| line.assert != assert);
        return Ok(());
    }
    let Some((_, kind)) = condition::KINDS.iter().find(|(known, _)| *known == name) else {
        return Err(ValueError::new("there is no such condition"));
    };
    let text = given.expanded()?;
    let mut rest = text.as_str();
    let mut take = |sign: char| {
        let found = rest.strip_prefix(sign);
        rest = found.unwrap_or(rest).trim_start();
        found.is_some()
    };
    let triggering = take('|');
    let negate = take('!');
    check(*kind, rest)?;
    draft.conditions.push(Condition {
        kind: *kind,
        argument: rest.to_owned(),
        negate,
        triggering,
        assert,
    });
    if draft.conditions.len() > super::given::MAX_LIST {
        return Err(ValueError::new("more conditions than anybody reads"));
    }
    Ok(())
}

fn check(kind: ConditionKind, argument: &str) -> Result<(), ValueError> {
    if argument.is_empty() {
        return Err(ValueError::new("there is nothing to compare with"));
    }
    if kind.takes_path() && !argument.starts_with('/') {
        return Err(
            ValueError::new(format!("{} is no absolute path", quote(argument)))
                .help("write the path from / on"),
        );
    }
    if kind.takes_path() && argument.split('/').any(|part| part == "..") {
        return Err(
            ValueError::new(format!("path {} contains ..", quote(argument)))
                .help("write the path that is meant"),
        );
    }
    match kind {
        ConditionKind::AcPower | ConditionKind::FirstBoot => boolean(argument).map(drop),
        ConditionKind::Cpus => {
            let number = argument.trim_start_matches(['<', '>', '=', '!']).trim();
            integer::<u32>(number, 0, u32::MAX).map(drop)
        }
        _ => Ok(()),
    }
}
