//! Links in the directories of unit files: made and removed beneath an opened directory.
//!
//! The directory itself may be a link that can be trusted; below it none is ever followed, so that
//! what is in it cannot lead us elsewhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::trusted::open_trusted;

/// What is at a place where a link is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A link, and what it says.
    Link(PathBuf),
    /// A file or directory.
    Other,
}

/// What is at `relative` below `root`.
///
/// # Errors
/// ELOOP or EXDEV where a link is in the way; those of open(2).
pub fn look(root: &Path, relative: &Path) -> io::Result<There> {
    let (directory, name) = match parent(root, relative, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        other => other?,
    };
    match fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(There::Nothing),
        Err(errno) => Err(errno.into()),
        Ok(found) if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK => {
            Ok(There::Link(readlinkat(directory.as_fd(), name)?.into()))
        }
        Ok(_) => Ok(There::Other),
    }
}

/// Makes a link at `relative` below `root`, in place of another link if there is one; a missing
/// directory is made.
///
/// # Errors
/// EEXIST where a file is; ELOOP or EXDEV where a link is in the way; those of symlink(2).
pub fn make(root: &Path, relative: &Path, target: &Path) -> io::Result<()> {
    std::fs::create_dir_all(root)?;
    let there = look(root, relative)?;
    let (directory, name) = parent(root, relative, true)?;
    match there {
        There::Nothing => Ok(symlinkat(target, &directory, name)?),
        There::Other => Err(Errno::EEXIST.into()),
        There::Link(_) => {
            let temporary = Path::new(".aether-new");
            match unlinkat(&directory, temporary, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
            symlinkat(target, &directory, temporary)?;
            Ok(renameat(&directory, temporary, &directory, name)?)
        }
    }
}

/// Removes the link at `relative` below `root`, and its directory when that is empty then.
///
/// # Errors
/// EEXIST where it is no link; ELOOP or EXDEV where a link is in the way; those of unlink(2).
pub fn remove(root: &Path, relative: &Path) -> io::Result<()> {
    match look(root, relative)? {
        There::Nothing => return Ok(()),
        There::Other => return Err(Errno::EEXIST.into()),
        There::Link(_) => {}
    }
    let (directory, name) = parent(root, relative, false)?;
    unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir)?;
    if let Some(way) = relative.parent()
        && !way.as_os_str().is_empty()
    {
        let root = open_trusted(root)?;
        match unlinkat(&root, way, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// The directory that holds `relative`, and the name there.
fn parent<'a>(root: &Path, relative: &'a Path, make: bool) -> io::Result<(OwnedFd, &'a Path)> {
    let name = relative
        .file_name()
        .map(Path::new)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut here = open_trusted(root)?;
    for part in relative.parent().into_iter().flat_map(Path::components) {
        let part = Path::new(part.as_os_str());
        here = match step(here.as_fd(), part) {
            Err(Errno::ENOENT) if make => {
                mkdirat(&here, part, Mode::from_bits_truncate(0o755))?;
                step(here.as_fd(), part)?
            }
            other => other?,
        };
    }
    Ok((here, name))
}

fn step(directory: BorrowedFd<'_>, part: &Path) -> nix::Result<OwnedFd> {
    openat2(
        directory,
        part,
        OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_come_and_go_with_their_directory() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("units");
        let link = Path::new("a.target.wants/x.agent");
        assert_eq!(look(&root, link).unwrap(), There::Nothing);
        make(&root, link, Path::new("/usr/x.agent")).unwrap();
        assert_eq!(
            look(&root, link).unwrap(),
            There::Link("/usr/x.agent".into())
        );
        make(&root, link, Path::new("/srv/x.agent")).unwrap();
        assert_eq!(
            look(&root, link).unwrap(),
            There::Link("/srv/x.agent".into())
        );
        remove(&root, link).unwrap();
        assert!(!root.join("a.target.wants").exists());
        remove(&root, link).unwrap();
    }

    #[test]
    fn files_stay_and_no_link_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::write(root.join("x.agent"), "x").unwrap();
        let file = Path::new("x.agent");
        assert_eq!(look(root, file).unwrap(), There::Other);
        assert!(make(root, file, Path::new("/dev/null")).is_err());
        assert!(remove(root, file).is_err());
        std::os::unix::fs::symlink(elsewhere.path(), root.join("a.target.wants")).unwrap();
        let link = Path::new("a.target.wants/x.agent");
        assert!(make(root, link, Path::new("/usr/x.agent")).is_err());
        assert!(look(root, link).is_err());
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
