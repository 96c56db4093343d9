//! Unit files on disk: listing directories and reading files for [`crate::unit::search`], and what
//! specifiers stand for on this machine.
//!
//! One reader for the daemon and for `aetherctl verify`, so that both find the same files.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::name::UnitName;
use crate::place::Places;
use crate::unit::SpecifierFacts;
use crate::unit::install::{ENDINGS, Role, Tree};
use crate::unit::names::{BESIDE, Directory, Entry, Names};
use crate::unit::search::Content;
use crate::unit::syntax::MAX_FILE;

/// Where units are looked for; those that `aetherctl run` made come first.
#[must_use]
pub fn directories(places: &Places) -> Vec<PathBuf> {
    let mut all = vec![places.transient()];
    all.extend(places.units.iter().cloned());
    // Links until the next boot count wherever else units come from.
    let runtime = places.runtime_units();
    if !all.contains(&runtime) {
        all.insert(all.len().min(2), runtime);
    }
    all
}

/// Every name in these directories, aliases too.
#[must_use]
pub fn unit_names(directories: &[PathBuf]) -> Names {
    let directories: Vec<Directory> = directories
        .iter()
        .map(|path| {
            let mut directory = Directory {
                path: path.clone(),
                real: fs::canonicalize(path).unwrap_or_else(|_| path.clone()),
                entries: vec![],
                beside: vec![],
            };
            fill(&mut directory);
            directory
        })
        .collect();
    Names::new(&directories)
}

fn fill(directory: &mut Directory) {
    let Ok(entries) = fs::read_dir(&directory.path) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let Ok(file) = entry.file_name().into_string() else {
            continue;
        };
        let ending = file.rsplit_once('.').map_or("", |(_, ending)| ending);
        if BESIDE.contains(&ending) {
            directory.beside.push(file);
            continue;
        }
        let (Ok(name), Ok(kind)) = (file.parse(), entry.file_type()) else {
            continue;
        };
        if kind.is_dir() {
            continue;
        }
        let target = kind.is_symlink().then(|| lead(&entry.path())).flatten();
        let entry = match target {
            Some(to) if to != Path::new("/dev/null") => Entry::Link(to),
            _ => Entry::File,
        };
        directory.entries.push((name, entry));
    }
}

/// What directories were like when they were read, to know cheaply whether they have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stamps(Vec<Stamp>);

#[derive(Debug, PartialEq, Eq)]
enum Stamp {
    Missing,
    /// Device, inode, and time of the last change.
    Since(u64, u64, i64),
    /// It has just changed and cannot be told from what it is after the next change; or it cannot
    /// be asked.
    Unsure,
}

/// A kernel before 6.13 counts in its ticks: what changes twice within one bears the same time.
const TICK: i64 = 20_000_000;

impl Stamps {
    /// How the directories are now. Take it before reading them.
    #[must_use]
    pub fn of(directories: &[PathBuf]) -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let stamp = |path: &PathBuf| match fs::metadata(path) {
            Ok(found) => {
                let seconds = found.ctime().saturating_mul(1_000_000_000);
                let at = seconds.saturating_add(found.ctime_nsec());
                match now.saturating_sub(at) > TICK {
                    true => Stamp::Since(found.dev(), found.ino(), at),
                    false => Stamp::Unsure,
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Stamp::Missing,
            Err(_) => Stamp::Unsure,
        };
        Self(directories.iter().map(stamp).collect())
    }

    /// Whether nothing was added or removed between the two. Where links lead is not asked.
    #[must_use]
    pub fn same(&self, now: &Self) -> bool {
        self == now && !self.0.contains(&Stamp::Unsure)
    }
}

/// Where a link leads in the end; of one that leads to nothing, where it says.
fn lead(link: &Path) -> Option<PathBuf> {
    if let Ok(end) = fs::canonicalize(link) {
        return Some(end);
    }
    let target = fs::read_link(link).ok()?;
    let directory = link.parent()?;
    let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    Some(directory.join(target))
}

/// Every link in these places that makes a unit enabled, linked or masked.
#[must_use]
pub fn trees(places: &Places) -> Vec<Tree> {
    let (transient, local, runtime) = (
        places.transient(),
        places.local_units(),
        places.runtime_units(),
    );
    directories(places)
        .into_iter()
        .map(|path| Tree {
            role: if path == transient {
                Role::Transient
            } else if Some(path.as_path()) == local {
                Role::Local
            } else if path == runtime {
                Role::Runtime
            } else {
                Role::Vendor
            },
            links: links(&path),
            path,
        })
        .collect()
}

fn links(directory: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut all = links_in(directory, Path::new(""));
    for name in list(directory) {
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if ENDINGS.contains(&ending) {
            all.extend(links_in(directory, Path::new(&name)));
        }
    }
    all.sort();
    all
}

fn links_in(directory: &Path, part: &Path) -> Vec<(PathBuf, PathBuf)> {
    list(&directory.join(part))
        .into_iter()
        .filter(|name| name.parse::<UnitName>().is_ok())
        .filter_map(|name| {
            let path = part.join(name);
            let full = directory.join(&path);
            let link = fs::symlink_metadata(&full).ok()?.is_symlink();
            Some((path, lead(&full).filter(|_| link)?))
        })
        .collect()
}

/// The names in a directory; none when there is no such directory.
#[must_use]
pub fn list(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return vec![];
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

/// Reads one file.
#[must_use]
pub fn read(path: &Path) -> Content {
    if fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null")) {
        return Content::Masked;
    }
    match text(path) {
        Ok(text) => Content::Text(text),
        Err(Fault::Absent) => Content::Absent,
        Err(Fault::Other(_)) => Content::Unreadable,
    }
}

/// Why [`read`] called a file unreadable.
#[must_use]
pub fn why_unreadable(path: &Path) -> String {
    match text(path) {
        Err(Fault::Other(reason)) => reason,
        Ok(_) | Err(Fault::Absent) => "there are too many files".to_owned(),
    }
}

enum Fault {
    Absent,
    Other(String),
}

fn text(path: &Path) -> Result<String, Fault> {
    let fault = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Fault::Absent,
        _ => Fault::Other(error.to_string()),
    };
    // Opening a pipe or device may wait for ever.
    if !fs::metadata(path).map_err(fault)?.is_file() {
        return Err(Fault::Other("it is not a regular file".to_owned()));
    }
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    let mut bytes = vec![];
    let file = fs::File::open(path).map_err(fault)?;
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    if bytes.len() > MAX_FILE {
        return Err(Fault::Other(format!("it is longer than {MAX_FILE} bytes")));
    }
    utf8(bytes).map_err(Fault::Other)
}

/// The bytes as text.
///
/// # Errors
/// A sentence that names the line of the first byte that is none.
pub fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(good);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        format!("it is not UTF-8 in line {line}")
    })
}

/// What specifiers stand for in the manager that has these places.
#[must_use]
pub fn specifiers(places: &Places) -> SpecifierFacts {
    let first = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().next().unwrap_or_default().trim().to_owned()
    };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (uid, gid) = if places.system {
        (nix::unistd::Uid::from_raw(0), nix::unistd::Gid::from_raw(0))
    } else {
        (nix::unistd::geteuid(), nix::unistd::getegid())
    };
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let group = nix::unistd::Group::from_gid(gid).ok().flatten();
    let home = user
        .as_ref()
        .map_or_else(String::new, |user| user.dir.to_string_lossy().into_owned());
    let place = |system: &str, name: &str, below: &str| {
        if places.system {
            system.to_owned()
        } else {
            variable(name).unwrap_or_else(|| format!("{home}/{below}"))
        }
    };
    let state = place("/var/lib", "XDG_STATE_HOME", ".local/state");
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let of_release = |key: &str| assigned(&release, key);
    SpecifierFacts {
        host_name: first("/proc/sys/kernel/hostname"),
        machine_id: first("/etc/machine-id"),
        boot_id: first("/proc/sys/kernel/random/boot_id").replace('-', ""),
        kernel_release: first("/proc/sys/kernel/osrelease"),
        architecture: architecture(),
        user: user
            .as_ref()
            .map_or_else(String::new, |user| user.name.clone()),
        uid: uid.as_raw(),
        group: group.map_or_else(String::new, |group| group.name),
        gid: gid.as_raw(),
        shell: user.as_ref().map_or_else(String::new, |user| {
            user.shell.to_string_lossy().into_owned()
        }),
        runtime_directory: if places.system {
            "/run".to_owned()
        } else {
            variable("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{uid}"))
        },
        cache_directory: place("/var/cache", "XDG_CACHE_HOME", ".cache"),
        log_directory: if places.system {
            "/var/log".to_owned()
        } else {
            format!("{state}/log")
        },
        configuration_directory: place("/etc", "XDG_CONFIG_HOME", ".config"),
        temporary_directory: variable("TMPDIR").unwrap_or_else(|| "/tmp".to_owned()),
        persistent_temporary_directory: variable("TMPDIR").unwrap_or_else(|| "/var/tmp".to_owned()),
        os_id: of_release("ID"),
        os_version: of_release("VERSION_ID"),
        os_variant: of_release("VARIANT_ID"),
        os_build: of_release("BUILD_ID"),
        os_image: of_release("IMAGE_ID"),
        os_image_version: of_release("IMAGE_VERSION"),
        pretty_host_name: assigned(
            &fs::read_to_string("/etc/machine-info").unwrap_or_default(),
            "PRETTY_HOSTNAME",
        ),
        fragment: String::new(),
        state_directory: state,
        home,
        memory: memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        tasks: ["pid_max", "threads-max"]
            .iter()
            .filter_map(|limit| first(&format!("/proc/sys/kernel/{limit}")).parse().ok())
            .min()
            .unwrap_or_default(),
    }
}

/// What a variable is set to in a file like os-release(5): the last assignment counts.
fn assigned(text: &str, key: &str) -> String {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
        .next_back()
        .map_or_else(String::new, |value| {
            value.trim_matches(['"', '\'']).to_owned()
        })
}

/// The machine's memory in bytes, as proc_meminfo(5) tells it.
fn memory(text: &str) -> u64 {
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB"));
    let kilobytes = total.and_then(|number| number.trim().parse::<u64>().ok());
    kilobytes.map_or(0, |number| number.saturating_mul(1024))
}

/// As systemd names it.
fn architecture() -> String {
    match std::env::consts::ARCH {
        "x86_64" => "x86-64",
        "aarch64" => "arm64",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_assigned_may_be_quoted() {
        let text = "ID=debian\nVERSION_ID=\"12\"\nPRETTY_HOSTNAME='The Box'\n";
        assert_eq!(assigned(text, "ID"), "debian");
        assert_eq!(assigned(text, "VERSION_ID"), "12");
        assert_eq!(assigned(text, "PRETTY_HOSTNAME"), "The Box");
        assert_eq!(assigned(text, "BUILD_ID"), "");
    }

    #[test]
    fn the_memory_is_counted_in_bytes() {
        assert_eq!(memory("MemTotal:       16 kB\nMemFree: 1 kB\n"), 16_384);
        assert_eq!(memory(""), 0);
    }

    #[test]
    fn directories_are_the_same_until_something_comes_or_goes() {
        let place = tempfile::tempdir().unwrap();
        let old = |path: &Path| {
            // As if it had not just been made.
            let stamps = Stamps::of(&[path.to_owned()]);
            assert!(!stamps.same(&stamps), "too young to be sure");
            let mut stamps = stamps;
            while !stamps.same(&Stamps::of(&[path.to_owned()])) {
                std::thread::yield_now();
                stamps = Stamps::of(&[path.to_owned()]);
            }
            stamps
        };
        let all = [place.path().to_owned()];
        let before = old(place.path());
        assert!(before.same(&Stamps::of(&all)));
        fs::write(place.path().join("a.service"), "").unwrap();
        assert!(!before.same(&Stamps::of(&all)));
        let before = old(place.path());
        fs::remove_file(place.path().join("a.service")).unwrap();
        assert!(!before.same(&Stamps::of(&all)));
        let missing = [place.path().join("none")];
        let before = Stamps::of(&missing);
        assert!(before.same(&Stamps::of(&missing)));
        fs::create_dir(&missing[0]).unwrap();
        assert!(!before.same(&Stamps::of(&missing)));
    }

    #[test]
    fn what_is_no_text_is_named_by_its_line() {
        assert_eq!(utf8("[Agent]\nä".into()).unwrap(), "[Agent]\nä");
        let said = utf8(b"[Agent]\n\nGoal=\xff\n".to_vec()).unwrap_err();
        assert_eq!(said, "it is not UTF-8 in line 3");
    }
}
