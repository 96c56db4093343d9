//! Conditions on the kernel and the system as a whole: release, command line, architecture, host,
//! memory, processors, os-release.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::utsname::uname;
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::{compare, exists, file, line, text, virtualization};
use crate::sys::file::read_regular;
use crate::sys::glob;

/// Of the machine, which a personality may have changed (uname(2)).
pub(super) fn architecture(wanted: &str) -> Option<bool> {
    let machine = uname().ok()?;
    let machine = machine.machine().to_str()?;
    let found = named(machine)?;
    let wanted = if wanted == "native" {
        named(std::env::consts::ARCH)?
    } else {
        wanted
    };
    Some(found == wanted)
}

/// systemd's name of an architecture, by the kernel's or the compiler's.
fn named(machine: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 31] = [
        ("x86_64", "x86-64"),
        ("i686", "x86"),
        ("i586", "x86"),
        ("i486", "x86"),
        ("i386", "x86"),
        ("x86", "x86"),
        ("aarch64", "arm64"),
        ("aarch64_be", "arm64-be"),
        ("alpha", "alpha"),
        ("arc", "arc"),
        ("arceb", "arc-be"),
        ("crisv32", "cris"),
        ("ia64", "ia64"),
        ("parisc64", "parisc64"),
        ("parisc", "parisc"),
        ("loongarch64", "loongarch64"),
        ("m68k", "m68k"),
        ("nios2", "nios2"),
        ("ppc64le", "ppc64-le"),
        ("ppc64", "ppc64"),
        ("ppcle", "ppc-le"),
        ("ppc", "ppc"),
        ("riscv64", "riscv64"),
        ("riscv32", "riscv32"),
        ("s390x", "s390x"),
        ("s390", "s390"),
        ("sh5", "sh64"),
        ("sparc64", "sparc64"),
        ("sparc", "sparc"),
        ("tilegx", "tilegx"),
        ("arm", "arm"),
    ];
    let known = NAMES.iter().find(|(kernel, _)| *kernel == machine);
    let big = cfg!(target_endian = "big");
    match (known, machine) {
        (Some((_, name)), _) => Some(name),
        (_, m) if m.starts_with("armv") => Some(if m.ends_with('b') { "arm-be" } else { "arm" }),
        (_, "mips64") => Some(if big { "mips64" } else { "mips64-le" }),
        (_, "mips") => Some(if big { "mips" } else { "mips-le" }),
        (_, "powerpc64") => Some(if big { "ppc64" } else { "ppc64-le" }),
        (_, m) if m.starts_with("sh") => Some("sh"),
        _ => None,
    }
}

/// The host's name, or the machine's id.
pub(super) fn host(wanted: &str, machine_id: Option<&str>) -> Option<bool> {
    if let Some(wanted) = id(wanted) {
        return Some(id(machine_id?)? == wanted);
    }
    let name = uname().ok()?;
    let name = match name.nodename().to_str()? {
        "" | "(none)" => "localhost",
        name => name,
    };
    Some(glob::matches(wanted.as_bytes(), name.as_bytes(), true))
}

/// 32 hexadecimal digits, or those in the groups of a UUID.
fn id(text: &str) -> Option<u128> {
    let text = text.trim_end();
    let grouped = text.len() == 36 && [8, 13, 18, 23].iter().all(|i| text.as_bytes()[*i] == b'-');
    let digits = if grouped {
        text.replace('-', "")
    } else {
        text.to_owned()
    };
    let plain = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u128::from_str_radix(&digits, 16).ok())?
}

/// What the kernel was started with; in a container, what its first process was.
fn arguments() -> Option<String> {
    if virtualization::is_container() {
        let line = text("/proc/1/cmdline").ok()?;
        let line = line.trim_end_matches('\0').replace('\0', " ");
        return (!line.is_empty()).then_some(line);
    }
    text("/proc/cmdline").ok()
}

/// A word, or an assignment letter by letter.
pub(super) fn command_line(wanted: &str) -> Option<bool> {
    Some(has_word(&arguments()?, wanted))
}

fn has_word(line: &str, wanted: &str) -> bool {
    let whole = wanted.contains('=');
    compare::words(line, true).flatten().any(|word| {
        word.strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || !whole && rest.starts_with('='))
    })
}

/// A switch of the kernel's command line, the last one counting. In names, `-` and `_` are one.
fn option(line: &str, name: &str) -> Option<bool> {
    let plain = |text: &str| text.replace('_', "-");
    let word = compare::words(line, true).flatten().filter(|word| {
        let of = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        plain(of) == plain(name)
    });
    match word.last()?.split_once('=') {
        Some((_, value)) => compare::truth(value),
        None => Some(true),
    }
}

/// The kernel's release against every one of the expressions.
pub(super) fn version(argument: &str) -> Option<bool> {
    let release = uname().ok()?;
    is_version(release.release().to_str()?, argument)
}

fn is_version(release: &str, argument: &str) -> Option<bool> {
    let mut words = compare::words(argument, false);
    let mut first = true;
    while let Some(word) = words.next() {
        let word = word?;
        let word = word.trim();
        let (operator, wanted) =
            compare::operator(word, true).unwrap_or((compare::Operator::Matches, word));
        let mut wanted = wanted.trim_start().to_owned();
        if wanted.is_empty() {
            // Only the first one may have a space behind its operator.
            wanted = first.then(|| words.next())???;
        }
        if !operator.compares(Some(release), &wanted) {
            return Some(false);
        }
        first = false;
    }
    Some(true)
}

/// Every one of the assignments and comparisons (os-release(5)).
pub(super) fn os_release(argument: &str) -> Option<bool> {
    let text = match text("/etc/os-release") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => text("/usr/lib/os-release"),
        other => other,
    };
    is_release(text.ok().as_deref(), argument)
}

fn is_release(text: Option<&str>, argument: &str) -> Option<bool> {
    for word in compare::words(argument, false) {
        let word = word?;
        let (key, rest) = word.split_at(word.find(['$', '!', '<', '=', '>'])?);
        let start = key.bytes().next()?;
        let valid =
            !start.is_ascii_digit() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let (operator, wanted) = compare::operator(rest, true)?;
        if !valid || wanted.is_empty() || wanted.starts_with([' ', '\t', '\n', '\r']) {
            return None;
        }
        if !operator.compares(assigned(text?, key).as_deref(), wanted) {
            return Some(false);
        }
    }
    Some(true)
}

/// The value of a line of a file of assignments.
fn assigned(text: &str, key: &str) -> Option<String> {
    let value = text.lines().rev().find_map(|line| {
        let (name, value) = line.trim().split_once('=')?;
        (name.trim_end() == key).then(|| value.trim())
    })?;
    if value.starts_with(['"', '\'']) {
        return compare::words(value, true).next().flatten();
    }
    Some(value.replace('\\', ""))
}

/// Bytes that the machine has, or that a container may use.
pub(super) fn memory(unified: Option<bool>) -> Option<u64> {
    let pages = u64::try_from(sysconf(SysconfVar::_PHYS_PAGES).ok()??).ok()?;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    let all = pages.checked_mul(page)?;
    let limit = unified.and_then(|unified| {
        let root = super::root_group(unified)?;
        let root = root.trim_start_matches('/');
        let groups = Path::new("/sys/fs/cgroup");
        let file = if unified {
            groups.join(root).join("memory.max")
        } else {
            groups
                .join("memory")
                .join(root)
                .join("memory.limit_in_bytes")
        };
        // "max" is no number, and no limit.
        line(file).ok()?.parse::<u64>().ok()
    });
    Some(limit.map_or(all, |limit| all.min(limit / page * page)))
}

/// Processors that we may use.
pub(super) fn processors() -> Option<u32> {
    let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let used = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false));
    u32::try_from(used.count()).ok()
}

/// Whether the system's software is newer than a directory (systemd-update-done.service(8)). In
/// doubt it is: an update too many does no harm.
pub(super) fn needs_update(argument: &str) -> bool {
    let told = arguments().and_then(|line| option(&line, "systemd.condition-needs-update"));
    if let Some(told) = told {
        return told;
    }
    // An initrd updates nothing.
    if exists("/etc/initrd-release") {
        return false;
    }
    is_older(Path::new(argument), Path::new("/usr/"))
}

fn is_older(directory: &Path, system: &Path) -> bool {
    if file::is_read_only(directory) == Ok(true) {
        return false;
    }
    let mark = directory.join(".updated");
    let (Ok(done), Ok(system)) = (fs::symlink_metadata(&mark), fs::symlink_metadata(system)) else {
        return true;
    };
    if system.mtime() != done.mtime() {
        return system.mtime() > done.mtime();
    }
    // A file system may keep no parts of seconds; then the file's content has them.
    if system.mtime_nsec() == 0 || done.mtime_nsec() > 0 {
        return system.mtime_nsec() > done.mtime_nsec();
    }
    // Whoever owns the directory could have put a pipe here, which is never read to its end.
    let told = read_regular(&mark, super::MOST).ok();
    let told = told.and_then(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        assigned(&text, "TIMESTAMP_NSEC")?.parse::<i128>().ok()
    });
    let newest = i128::from(system.mtime()) * 1_000_000_000 + i128::from(system.mtime_nsec());
    told.is_none_or(|told| newest > told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line() {
        let line = "root=/dev/sda1 quiet init=\"/bin/my init\" a.b_c=no ro";
        for (wanted, holds) in [
            ("quiet", true),
            ("qui", false),
            ("root", true),
            ("root=/dev/sda1", true),
            ("root=/dev/sda", false),
            ("init=/bin/my init", true),
            ("ro", true),
            ("ro=", false),
        ] {
            assert_eq!(has_word(line, wanted), holds, "{wanted}");
        }
        assert_eq!(option(line, "a.b-c"), Some(false));
        assert_eq!(option(line, "quiet"), Some(true));
        assert_eq!(option(line, "root"), None);
    }

    #[test]
    fn releases_are_compared_and_matched() {
        let release = "6.1.0-18-amd64";
        for (argument, holds) in [
            ("6.1.*", Some(true)),
            ("$=6.1.* >=5", Some(true)),
            ("!$=6.*", Some(false)),
            (">=6.1", Some(true)),
            (">= 6.1", Some(true)),
            (">= 6.1 < 7", None),
            (">=6.1 <7", Some(true)),
            ("\">= 6.1\" \"< 7\"", Some(true)),
            ("=6.1.0-18-amd64", Some(true)),
            ("=6.1.0-18-amd6", Some(false)),
            ("!=6.1.0-18-amd64", Some(false)),
            ("==6.1.0-18-amd64", Some(true)),
            ("<>6.1.0-18-amd64", Some(false)),
            (">", None),
            ("\"6", None),
        ] {
            assert_eq!(is_version(release, argument), holds, "{argument}");
        }
    }

    #[test]
    fn os_release_is_read_with_its_quotes() {
        let text = "# note\nID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION_ID='12.4'\nEMPTY=\n";
        for (argument, holds) in [
            ("ID=debian", Some(true)),
            ("ID!=debian", Some(false)),
            ("ID=debian VERSION_ID>=12", Some(true)),
            ("VERSION_ID<12.10", Some(true)),
            ("VERSION_ID==12.4", Some(true)),
            ("VERSION_ID<>12.4", Some(false)),
            ("\"NAME=Debian GNU/Linux\"", Some(true)),
            ("NAME$=Debian*", Some(true)),
            ("NAME!$=Debian*", Some(false)),
            ("MISSING=x", Some(false)),
            ("MISSING!=x", Some(true)),
            ("ID", None),
            ("ID=", None),
            ("1D=x", None),
            ("\"ID= debian\"", None),
        ] {
            assert_eq!(is_release(Some(text), argument), holds, "{argument}");
        }
        assert_eq!(is_release(None, "ID=debian"), None);
    }

    #[test]
    fn a_directory_is_updated_when_its_mark_is_as_new_as_the_software() {
        let place = tempfile::tempdir().unwrap();
        let (etc, usr) = (place.path().join("etc"), place.path().join("usr"));
        fs::create_dir_all(&etc).unwrap();
        fs::create_dir_all(&usr).unwrap();
        assert!(is_older(&etc, &usr));
        let stamp = |path: &Path, seconds, nanoseconds| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, nanoseconds);
            fs::File::open(path).unwrap().set_modified(time).unwrap();
        };
        let mark = etc.join(".updated");
        fs::write(&mark, "TIMESTAMP_NSEC=100000000005\n").unwrap();
        stamp(&usr, 100, 7);
        for (seconds, nanoseconds, older) in [
            (99, 0, true),
            (101, 0, false),
            (100, 7, false),
            (100, 5, true),
            // Then the content decides.
            (100, 0, true),
        ] {
            stamp(&mark, seconds, nanoseconds);
            assert_eq!(is_older(&etc, &usr), older, "{seconds} {nanoseconds}");
        }
        fs::write(&mark, "TIMESTAMP_NSEC=100000000007\n").unwrap();
        stamp(&mark, 100, 0);
        assert!(!is_older(&etc, &usr));
    }

    #[test]
    fn this_machine_has_a_name_memory_and_processors() {
        // A personality may hide it (personality(2)).
        assert!(architecture("native").is_some());
        assert_eq!(architecture("pdp11"), Some(false));
        assert!(memory(None).unwrap() > 1 << 20);
        assert!(processors().unwrap() > 0);
        let id = "0123456789abcdef0123456789ABCDEF";
        assert_eq!(host(id, Some(id)), Some(true));
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(host(uuid, Some(id)), Some(true));
        assert_eq!(host(uuid, None), None);
        assert_eq!(host("*", None), Some(true));
    }
}
