//! Where the cgroup hierarchies are: the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`
//! → the directories of our own group.
//!
//! Pure functions over text, so that every kind of host can be tested on any other. Nothing is
//! assumed about mount points or group names. Read next: [`super::Tree::find`], which uses this.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::name::{UnitName, UnitType};

/// The leaf to which our own processes move where a group may not have processes and children.
pub const OWN_LEAF: &str = "init.scope";

/// The v1 controllers that carry limits of ours.
pub(super) const V1_CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// Our own group in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory, below a mount point of this process's view.
    pub directory: PathBuf,
    /// The group's path as `/proc/PID/cgroup` shows it to us; `/` for the root.
    pub path: String,
    /// The mount is not read-only. Whether we may write is another question.
    pub writable: bool,
}

/// Our own groups in the hierarchies that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// The unified (v2) hierarchy.
    pub unified: Option<Place>,
    /// v1 hierarchies by controller, in the order of [`V1_CONTROLLERS`].
    pub v1: Vec<(&'static str, Place)>,
}

struct Mount {
    root: String,
    point: PathBuf,
    unified: bool,
    writable: bool,
    controllers: Vec<String>,
}

/// Reads both texts. Lines that make no sense are passed over: the result is what can be used.
#[must_use]
pub fn locate(mountinfo: &str, cgroup: &str) -> Hierarchies {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(mount).collect();
    let place = |fits: &dyn Fn(&Mount) -> bool, path: Option<&str>| -> Option<Place> {
        let path = own_group(path?);
        let mut places = mounts.iter().filter(|m| fits(m)).filter_map(|m| {
            Some(Place {
                directory: directory(&m.point, &m.root, path)?,
                path: path.to_owned(),
                writable: m.writable,
            })
        });
        // A container may see the same hierarchy twice, read-only and writable.
        let first = places.next()?;
        if first.writable {
            return Some(first);
        }
        Some(places.find(|p| p.writable).unwrap_or(first))
    };
    let unified = place(&|m| m.unified, unified_path(cgroup));
    let v1 = V1_CONTROLLERS
        .into_iter()
        .filter_map(|name| {
            let fits = |m: &Mount| !m.unified && m.controllers.iter().any(|c| c == name);
            place(&fits, v1_path(cgroup, name)).map(|found| (name, found))
        })
        .collect();
    Hierarchies { unified, v1 }
}

/// The v2 path in a text of `/proc/PID/cgroup`: what follows `0::`.
#[must_use]
pub fn unified_path(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::"))
}

fn v1_path<'a>(cgroup: &'a str, controller: &str) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers
            .split(',')
            .any(|c| c == controller)
            .then_some(path)
    })
}

/// The group that is ours to divide: a respawned daemon finds itself in the leaf made by its
/// predecessor.
fn own_group(path: &str) -> &str {
    match path.strip_suffix(OWN_LEAF) {
        Some("/") => "/",
        Some(parent) if parent.ends_with('/') => parent.trim_end_matches('/'),
        _ => path,
    }
}

/// The directory of group `path` where a mount shows the part of the hierarchy below `root`.
fn directory(point: &Path, root: &str, path: &str) -> Option<PathBuf> {
    // Groups outside our cgroup namespace are written with `..`; where they are cannot be known.
    let outside = |p: &str| !p.starts_with('/') || p.split('/').any(|part| part == "..");
    if outside(root) || outside(path) {
        return None;
    }
    let below = Path::new(path).strip_prefix(root).ok()?;
    Some(if below.as_os_str().is_empty() {
        point.to_owned()
    } else {
        point.join(below)
    })
}

/// One line of mountinfo (proc_pid_mountinfo(5)), if it is a cgroup mount.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, point, options) = (fields.next()?, fields.next()?, fields.next()?);
    let mut fields = after.split(' ');
    let (kind, _, super_options) = (fields.next()?, fields.next()?, fields.next()?);
    let unified = match kind {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Mount {
        root: String::from_utf8(unescape(root)).ok()?,
        point: PathBuf::from(OsString::from_vec(unescape(point))),
        unified,
        writable: !read_only(options) && !read_only(super_options),
        controllers: super_options.split(',').map(str::to_owned).collect(),
    })
}

/// Undoes `\040` and its kind.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|_| bytes[at] == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    out
}

/// The unit to which the v2 group `path` belongs, for the tree whose own path is `tree`.
///
/// Anchored at the tree's path: a group named like a unit anywhere else, or deeper, says nothing.
#[must_use]
pub fn unit_of_cgroup(tree: &str, path: &str) -> Option<UnitName> {
    if path.ends_with(" (deleted)") {
        return None;
    }
    let below = path.strip_prefix(tree)?.strip_prefix('/')?;
    // Slices are groups of ours and of nobody else's; the first that is none is the unit.
    let mut names = below.split('/');
    names.find_map(|name| match name.parse::<UnitName>() {
        Ok(name) if name.kind() == UnitType::Slice => None,
        other => Some(other.ok()),
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "\
24 30 0:22 / /proc rw,nosuid shared:12 - proc proc rw
35 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn at(directory: &str, path: &str) -> Option<Place> {
        Some(Place {
            directory: directory.into(),
            path: path.to_owned(),
            writable: true,
        })
    }

    #[test]
    fn unified_service_with_delegation() {
        let found = locate(UNIFIED, "0::/system.slice/aether.service\n");
        let path = "/system.slice/aether.service";
        assert_eq!(found.unified, at(&format!("/sys/fs/cgroup{path}"), path));
        assert!(found.v1.is_empty());
    }

    #[test]
    fn unified_user_manager() {
        let path = "/user.slice/user-1000.slice/user@1000.service/app.slice/aether.service";
        let found = locate(UNIFIED, &format!("0::{path}\n"));
        assert_eq!(found.unified, at(&format!("/sys/fs/cgroup{path}"), path));
    }

    #[test]
    fn hybrid_with_joined_controllers_and_different_own_groups() {
        let found = locate(
            HYBRID,
            "9:name=systemd:/\n8:pids:/\n4:memory:/some/where\n1:cpu,cpuacct:/\n0::/\n",
        );
        assert_eq!(found.unified, at("/sys/fs/cgroup/unified", "/"));
        let v1: Vec<_> = found
            .v1
            .iter()
            .map(|(name, p)| (*name, p.directory.to_str().unwrap(), p.path.as_str()))
            .collect();
        assert_eq!(
            v1,
            [
                ("memory", "/sys/fs/cgroup/memory/some/where", "/some/where"),
                ("cpu", "/sys/fs/cgroup/cpu,cpuacct", "/"),
                ("pids", "/sys/fs/cgroup/pids", "/"),
            ]
        );
    }

    #[test]
    fn v1_only_has_no_unified_place() {
        let only: String = HYBRID
            .lines()
            .filter(|l| !l.contains("cgroup2"))
            .map(|l| format!("{l}\n"))
            .collect();
        let found = locate(&only, "8:pids:/\n4:memory:/\n1:cpu,cpuacct:/\n");
        assert_eq!(found.unified, None);
        assert_eq!(found.v1.len(), 3);
    }

    #[test]
    fn container_with_a_cgroup_namespace() {
        let found = locate(UNIFIED, "0::/\n");
        assert_eq!(found.unified, at("/sys/fs/cgroup", "/"));
    }

    #[test]
    fn container_without_a_cgroup_namespace_sees_a_part_of_the_hierarchy() {
        let info = "35 24 0:26 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n";
        let found = locate(info, "0::/docker/abc\n").unified.unwrap();
        assert_eq!(found.directory, Path::new("/sys/fs/cgroup"));
        assert!(!found.writable, "a read-only mount counts as such");
        // We are in another group than the one that is shown.
        assert_eq!(locate(info, "0::/docker/other\n").unified, None);
        assert_eq!(locate(info, "0::/docker/abcd\n").unified, None);
    }

    #[test]
    fn groups_outside_the_namespace_are_not_guessed() {
        let info = "35 24 0:26 /../../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(locate(info, "0::/\n").unified, None);
        assert_eq!(locate(UNIFIED, "0::/../other\n").unified, None);
    }

    #[test]
    fn a_writable_mount_is_preferred() {
        let info = "\
35 24 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw
36 24 0:26 / /run/my\\040cgroup rw - cgroup2 cgroup rw
";
        assert_eq!(locate(info, "0::/\n").unified, at("/run/my cgroup", "/"));
    }

    #[test]
    fn nothing_at_all() {
        assert_eq!(locate("", ""), Hierarchies::default());
        assert_eq!(
            locate("x\n\n- - -\n1 2 3 - cgroup2", "0\n::\n"),
            Hierarchies::default()
        );
    }

    #[test]
    fn a_respawned_daemon_finds_the_same_group_again() {
        for (path, own) in [
            ("/init.scope", "/"),
            ("/a/aether.service/init.scope", "/a/aether.service"),
            ("/a/myinit.scope", "/a/myinit.scope"),
        ] {
            let found = locate(UNIFIED, &format!("0::{path}\n")).unified.unwrap();
            assert_eq!(found.path, own);
        }
    }

    #[test]
    fn units_are_found_only_directly_below_the_tree() {
        let unit = |tree, path| unit_of_cgroup(tree, path).map(String::from);
        let tree = "/a.service/aether";
        let coder = Some("coder.agent".to_owned());
        assert_eq!(unit(tree, "/a.service/aether/coder.agent"), coder);
        assert_eq!(unit(tree, "/a.service/aether/coder.agent/agent"), coder);
        assert_eq!(
            unit(
                tree,
                "/a.service/aether/coder.agent/agent/aether/root.agent"
            ),
            coder
        );
        // Slices are inner groups of ours.
        assert_eq!(
            unit(
                tree,
                "/a.service/aether/x.slice/x-y.slice/coder.agent/agent"
            ),
            coder
        );
        for other in [
            "/a.service/aether",
            "/a.service/aether/x.slice",
            "/a.service/aether/x.slice/init.scope/coder.agent",
            "/a.service/aether/",
            "/a.service/aether/init.scope",
            "/a.service/aetherx/coder.agent",
            "/x/a.service/aether/coder.agent",
            "/a.service/aether/coder.agent (deleted)",
            "/a.service/aether//coder.agent",
            "/../a.service/aether/coder.agent",
            "/coder.agent",
        ] {
            assert_eq!(unit(tree, other), None, "{other}");
        }
    }
}
