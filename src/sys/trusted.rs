//! Opening a path by name when an agent may have planted a link in it.
//!
//! Root is asked to open what a unit file names, and what is named may lie where the unit writes.
//! A symbolic link is followed only where nobody but us can have put it: in a directory of root's
//! (or our own user's) that nobody else may write to, reached through such directories. All other
//! links are refused, with the reason. Read next: [`super::file`], which follows no link at all.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

/// Why a path was not opened.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A link that somebody else may have put there.
    #[error("{} is a symbolic link that is not followed: {reason}", link.display())]
    Link {
        /// Which.
        link: PathBuf,
        /// Who may have put it there.
        reason: String,
    },
    /// The system's own refusal.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<Errno> for TrustError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl From<TrustError> for io::Error {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::System(error) => error,
            TrustError::Link { .. } => Self::new(io::ErrorKind::PermissionDenied, error),
        }
    }
}

/// As the kernel's own limit.
const MAX_LINKS: u32 = 40;

/// Opens an absolute path as a place (`O_PATH`), following only links that can be trusted.
///
/// # Errors
/// [`TrustError::Link`] for any other link; those of open(2).
pub fn open_trusted(path: &Path) -> Result<OwnedFd, TrustError> {
    if !path.is_absolute() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
    }
    // Most paths have no link in them, and one call says so.
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        // Besides a link: a kernel or a container's filter without the call.
        Err(Errno::ELOOP | Errno::ENOSYS | Errno::EPERM) => Ok(walk(path)?.fd),
        other => Ok(other?),
    }
}

/// As [`open_trusted`], and whether the path goes on leading there: `false` where somebody else
/// could put another directory on the way. What is done by descriptor is right in both cases, what
/// is done by name only in the first.
///
/// # Errors
/// As [`open_trusted`].
pub fn open_steady(path: &Path) -> Result<(OwnedFd, bool), TrustError> {
    if !path.is_absolute() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput).into());
    }
    let place = walk(path)?;
    Ok((place.fd, place.steady))
}

/// The path of what [`open_trusted`] opens, without any link.
///
/// # Errors
/// As [`open_trusted`].
pub fn resolve_trusted(path: &Path) -> Result<PathBuf, TrustError> {
    use std::os::fd::AsRawFd;
    let place = open_trusted(path)?;
    let name = format!("/proc/self/fd/{}", place.as_raw_fd());
    Ok(nix::fcntl::readlink(name.as_str())?.into())
}

/// An opened directory (or, at the end, anything else) on the way.
struct Place {
    fd: OwnedFd,
    path: PathBuf,
    /// Why a link in it is not followed; `None`: it is.
    doubt: Option<String>,
    /// Others may add entries but not touch ours (the sticky bit), so what is ours can be trusted.
    sticky: bool,
    /// Nobody else can put another one in its place.
    steady: bool,
}

/// One step at a time; a place is only ever left upwards to where we came from.
fn walk(path: &Path) -> Result<Place, TrustError> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut root = Place {
        fd: open("/", flags, Mode::empty())?,
        path: PathBuf::from("/"),
        doubt: None,
        sticky: false,
        steady: true,
    };
    let found = fstat(&root.fd)?;
    root.judge(&found, None);
    let mut places = vec![];
    let mut todo = steps(path);
    let mut links = 0;
    while let Some(step) = todo.pop_front() {
        match step {
            Step::Root => places.clear(),
            Step::Up => {
                places.pop();
            }
            Step::Down(name) => {
                let here = places.last().unwrap_or(&root);
                let fd = openat(here.fd.as_fd(), name.as_os_str(), flags, Mode::empty())?;
                let found = fstat(&fd)?;
                let path = here.path.join(&name);
                if kind(&found) == SFlag::S_IFLNK {
                    if let Some(reason) = here.doubt.clone() {
                        return Err(TrustError::Link { link: path, reason });
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP.into());
                    }
                    // What was opened is read: the name may mean something else by now.
                    let target = readlinkat(fd.as_fd(), OsStr::new(""))?;
                    let mut target = steps(Path::new(&target));
                    target.append(&mut todo);
                    todo = target;
                } else {
                    let mut place = Place {
                        fd,
                        path,
                        doubt: None,
                        sticky: false,
                        steady: true,
                    };
                    place.judge(&found, Some(here));
                    places.push(place);
                }
            }
        }
    }
    Ok(places.pop().unwrap_or(root))
}

enum Step {
    Root,
    Up,
    Down(OsString),
}

fn steps(path: &Path) -> VecDeque<Step> {
    path.components()
        .filter_map(|component| match component {
            Component::RootDir => Some(Step::Root),
            Component::ParentDir => Some(Step::Up),
            Component::Normal(name) => Some(Step::Down(name.to_owned())),
            Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

impl Place {
    /// Whether a link in here can be trusted, by what this is and by the way that led here.
    fn judge(&mut self, found: &FileStat, parent: Option<&Self>) {
        let doubt = doubt(found);
        if let Some(parent) = parent
            && let Some(inherited) = &parent.doubt
            && !(parent.sticky && is_ours(found.st_uid))
        {
            // Whoever may write above could have put another directory here.
            self.doubt = Some(inherited.clone());
            self.steady = false;
            return;
        }
        let open = Mode::S_ISVTX & Mode::from_bits_truncate(found.st_mode);
        self.sticky = !open.is_empty() && is_ours(found.st_uid);
        self.doubt = doubt.map(|doubt| format!("{} {doubt}", self.path.display()));
    }
}

/// Why entries of this directory may be somebody else's.
fn doubt(found: &FileStat) -> Option<String> {
    let mode = Mode::from_bits_truncate(found.st_mode);
    if !is_ours(found.st_uid) {
        return Some(format!("belongs to user {}", found.st_uid));
    }
    if mode.contains(Mode::S_IWOTH) {
        return Some("may be written by everyone".to_owned());
    }
    // With an access control list these bits are its mask, so they cover it too.
    if mode.contains(Mode::S_IWGRP) && !is_own_group(found.st_gid) {
        return Some(format!("may be written by group {}", found.st_gid));
    }
    None
}

/// Root, and the user whose manager this is.
fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == super::user::own_uid()
}

/// A user's manager shares its user's files with that user's units anyway.
fn is_own_group(gid: u32) -> bool {
    super::user::own_uid() != 0 && gid == super::user::own_gid()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    const STRANGER: u32 = 61_235;

    fn opened(path: &Path) -> Result<u64, String> {
        let fd = open_trusted(path).map_err(|error| error.to_string())?;
        Ok(fstat(&fd).unwrap().st_ino)
    }

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    /// A directory that belongs to somebody else.
    fn foreign(path: &Path) {
        fs::create_dir(path).unwrap();
        chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    }

    #[test]
    fn the_systems_links_are_followed() {
        for path in ["/bin/sh", "/proc/self", "/proc/mounts", "/usr/../bin", "/"] {
            let path = Path::new(path);
            let Ok(data) = fs::metadata(path) else {
                continue;
            };
            // What is in /proc has another number every time.
            let found = fstat(open_trusted(path).unwrap()).unwrap();
            assert_eq!(
                (found.st_mode, found.st_dev),
                (data.mode(), data.dev()),
                "{}",
                path.display()
            );
        }
        assert_eq!(
            resolve_trusted(Path::new("/bin/sh")).unwrap(),
            fs::canonicalize("/bin/sh").unwrap()
        );
        let missing = open_trusted(Path::new("/bin/aether-nothing")).unwrap_err();
        assert_eq!(io::Error::from(missing).raw_os_error(), Some(libc::ENOENT));
        assert!(open_trusted(Path::new("relative")).is_err());
    }

    #[test]
    fn our_own_links_are_followed_the_way_the_kernel_does() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), "x").unwrap();
        symlink("a/b", root.join("down")).unwrap();
        symlink("../file", root.join("a/b/up")).unwrap();
        symlink(root.join("down"), root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let file = inode(&root.join("a/file"));
        for name in ["down/up", "absolute/up", "absolute/../file", "a/b/../file"] {
            assert_eq!(opened(&root.join(name)), Ok(file), "{name}");
        }
        let error = open_trusted(&root.join("loop")).unwrap_err();
        assert_eq!(io::Error::from(error).raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn a_link_where_somebody_else_writes_is_refused_with_the_reason() {
        if super::super::user::own_uid() != 0 {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
        let home = root.join("home");
        foreign(&home);
        symlink("/", home.join("bin")).unwrap();
        let link = home.join("bin").display().to_string();
        let refused = opened(&home.join("bin/etc")).unwrap_err();
        assert_eq!(
            refused,
            format!(
                "{link} is a symbolic link that is not followed: {} belongs to user {STRANGER}",
                home.display()
            )
        );
        // A link's own owner says nothing: only its directory does.
        chown(home.join("bin"), None, None).unwrap();
        assert!(opened(&home.join("bin")).is_err());
        // Without a link there is nothing to refuse.
        fs::write(home.join("file"), "x").unwrap();
        assert!(opened(&home.join("file")).is_ok());
        // A trusted link may lead there, and the next one is judged anew.
        symlink("home/file", root.join("good")).unwrap();
        assert!(opened(&root.join("good")).is_ok());
        symlink("home/bin", root.join("bad")).unwrap();
        assert!(opened(&root.join("bad")).is_err());

        // A directory of ours below theirs could be exchanged for another one of ours.
        fs::create_dir(home.join("ours")).unwrap();
        assert!(open_steady(&home).unwrap().1);
        assert!(!open_steady(&home.join("ours")).unwrap().1);
        symlink("/etc", home.join("ours/link")).unwrap();
        assert!(opened(&home.join("ours/link")).is_err());

        for (mode, reason) in [(0o775, "group"), (0o777, "everyone"), (0o1777, "everyone")] {
            let shared = root.join("shared");
            fs::create_dir(&shared).unwrap();
            chown(&shared, None, Some(STRANGER)).unwrap();
            fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
            symlink("/etc", shared.join("link")).unwrap();
            let refused = opened(&shared.join("link")).unwrap_err();
            assert!(refused.contains(reason), "{mode:o}: {refused}");
            // Only the sticky bit keeps a directory of ours in its place.
            fs::create_dir(shared.join("ours")).unwrap();
            symlink("/etc", shared.join("ours/link")).unwrap();
            let below = opened(&shared.join("ours/link"));
            assert_eq!(below.is_ok(), mode == 0o1777, "{mode:o}: {below:?}");
            fs::remove_dir_all(&shared).unwrap();
        }
    }
}
