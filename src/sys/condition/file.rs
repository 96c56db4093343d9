//! Conditions on paths.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};

/// Whether something is mounted exactly here, links followed.
pub(super) fn is_mount_point(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else {
        return false;
    };
    let Some(parent) = path.parent() else {
        return true;
    };
    match (mount_of(&path), mount_of(parent)) {
        (Some(here), Some(above)) => here != above,
        _ => false,
    }
}

/// The number of the mount that a path without links is in (proc_pid_fdinfo(5)).
fn mount_of(path: &Path) -> Option<u64> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let place = open(path, flags, Mode::empty()).ok()?;
    let told = super::text(format!("/proc/self/fdinfo/{}", place.as_raw_fd())).ok()?;
    let number = told.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    number.trim().parse().ok()
}

/// Whether its file system cannot be written to.
pub(super) fn is_read_only(path: &Path) -> Result<bool, Errno> {
    if statvfs(path)?.flags().contains(FsFlags::ST_RDONLY) {
        return Ok(true);
    }
    // A file system of the network may say so only when it is asked for leave.
    Ok(access(path, AccessFlags::W_OK) == Err(Errno::EROFS))
}

/// As systemd has it, a path that is there but cannot be looked at counts as writable.
pub(super) fn is_read_write(path: &Path) -> bool {
    match is_read_only(path) {
        Ok(read_only) => !read_only,
        Err(errno) => errno != Errno::ENOENT,
    }
}

/// Whether this is a directory with something in it that is neither hidden nor a backup. As
/// systemd has it, one that is there but cannot be read counts.
pub(in crate::sys) fn has_entries(path: &Path) -> bool {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            let kind = error.kind();
            return kind != io::ErrorKind::NotFound && kind != io::ErrorKind::NotADirectory;
        }
    };
    for entry in entries {
        match entry {
            Ok(entry) if is_hidden(&entry.file_name().to_string_lossy()) => {}
            _ => return true,
        }
    }
    false
}

/// Names that do not count: hidden files, and what editors and package managers leave behind.
fn is_hidden(name: &str) -> bool {
    const ENDS: [&str; 17] = [
        "rpmnew",
        "rpmsave",
        "rpmorig",
        "dpkg-old",
        "dpkg-new",
        "dpkg-tmp",
        "dpkg-dist",
        "dpkg-bak",
        "dpkg-backup",
        "dpkg-remove",
        "ucf-new",
        "ucf-old",
        "ucf-dist",
        "swp",
        "bak",
        "old",
        "new",
    ];
    name.starts_with('.')
        || matches!(name, "lost+found" | "aquota.user" | "aquota.group")
        || name.ends_with('~')
        || name
            .rsplit_once('.')
            .is_some_and(|(_, end)| ENDS.contains(&end))
}

/// A regular file with something in it.
pub(super) fn is_not_empty(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.size() > 0)
}

/// A regular file that somebody may execute.
pub(super) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_backups_are_no_entries() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        assert!(!has_entries(root));
        assert!(!has_entries(&root.join("missing")));
        for name in [".x", "x~", "x.dpkg-new", "y.swp", "lost+found"] {
            fs::write(root.join(name), "").unwrap();
        }
        assert!(!has_entries(root));
        fs::write(root.join("x"), "").unwrap();
        assert!(has_entries(root));
        assert!(!has_entries(&root.join("x")), "a file is no directory");
    }

    #[test]
    fn mounts_are_told_from_directories() {
        assert!(is_mount_point(Path::new("/")));
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(Path::new("/proc/sys/kernel")));
        assert!(!is_mount_point(Path::new("/nothing")));
    }
}
