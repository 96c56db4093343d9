//! Files that root makes in places an agent may write to.
//!
//! An agent can swap any part of its home for a symbolic link while we work there, so paths are
//! walked beneath an opened directory and no link is ever followed (openat2(2),
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`).

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::trusted::open_trusted;
use super::user::{own_gid, own_uid};

/// Who owns what is made, and how it is protected.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Owner {
    /// The manager's own user.
    #[must_use]
    pub fn ourselves() -> Self {
        Self {
            uid: own_uid(),
            gid: own_gid(),
        }
    }
}

fn walk(directory: BorrowedFd<'_>, part: &Path) -> nix::Result<OwnedFd> {
    openat2(
        directory,
        part,
        OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS),
    )
}

/// Opens `relative` below `root`, making missing directories for `owner`.
///
/// # Errors
/// ELOOP or EXDEV where a link is in the way, ENOTDIR for a file; those of mkdir(2).
fn descend(root: &Path, relative: &Path, owner: Owner, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut here = open(root, flags, Mode::empty())?;
    for component in relative.components() {
        let Component::Normal(part) = component else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} is not a plain relative path", relative.display()),
            ));
        };
        let part = Path::new(part);
        let next = match walk(here.as_fd(), part) {
            Err(Errno::ENOENT) => {
                mkdirat(&here, part, Mode::from_bits_truncate(0o700))?;
                let made = walk(here.as_fd(), part)?;
                fchmod(&made, Mode::from_bits_truncate(mode))?;
                take(made.as_fd(), owner)?;
                made
            }
            other => other?,
        };
        here = next;
    }
    Ok(here)
}

fn take(fd: BorrowedFd<'_>, owner: Owner) -> io::Result<()> {
    let now = fstat(fd)?;
    if (now.st_uid, now.st_gid) == (owner.uid, owner.gid) {
        return Ok(());
    }
    Ok(fchown(
        fd,
        Some(Uid::from_raw(owner.uid)),
        Some(Gid::from_raw(owner.gid)),
    )?)
}

/// Makes the directory `relative` below `root` (and what is missing on the way) for `owner`.
///
/// # Errors
/// As [`write_beneath`].
pub fn directory_beneath(root: &Path, relative: &Path, owner: Owner, mode: u32) -> io::Result<()> {
    let made = descend(root, relative, owner, mode)?;
    take(made.as_fd(), owner)?;
    Ok(fchmod(&made, Mode::from_bits_truncate(mode))?)
}

/// Writes a whole file below `root`, replacing an older one in one step; with `keep` an existing
/// one stays as it is. Missing directories on the way are made for `parents`.
///
/// # Errors
/// ELOOP where a link is in the way; those of open(2), write(2), rename(2).
pub fn write_beneath(
    root: &Path,
    relative: &Path,
    (owner, mode): (Owner, u32),
    parents: Owner,
    content: &[u8],
    keep: bool,
) -> io::Result<()> {
    let name = relative
        .file_name()
        .map(Path::new)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let parent = relative.parent().unwrap_or_else(|| Path::new(""));
    let directory = descend(root, parent, parents, 0o700)?;
    let there: nix::Result<FileStat> = fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    if keep && there.is_ok() {
        return Ok(());
    }
    let temporary = Path::new(".aether-new");
    match unlinkat(&directory, temporary, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let file = openat2(
        &directory,
        temporary,
        OpenHow::new()
            .flags(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC)
            .mode(Mode::from_bits_truncate(0o600))
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS),
    )?;
    fchmod(&file, Mode::from_bits_truncate(mode))?;
    let mut file = std::fs::File::from(file);
    file.write_all(content)?;
    take(file.as_fd(), owner)?;
    Ok(renameat(&directory, temporary, &directory, name)?)
}

/// Writes a file of ours, which nobody else reads, in one step: a reader sees the old or the new
/// one.
///
/// # Errors
/// Those of open(2), write(2), rename(2).
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = match options.open(&new) {
        // Left by a death in the middle.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&new)?;
            options.open(&new)?
        }
        other => other?,
    };
    file.write_all(content)?;
    std::fs::rename(&new, path)
}

/// Reads a regular file of at most `most` bytes. It never waits and never reads a device, and
/// follows only links that can be trusted: whoever may write to the directory can put a FIFO there,
/// or a link to a file that only we may read.
///
/// # Errors
/// Those of [`open_trusted`] and read(2); `InvalidInput` for anything but a regular file,
/// `FileTooLarge`.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_opened(open_trusted(path)?.as_fd(), most)
}

/// As [`read_regular`], below `root` and without following links.
///
/// # Errors
/// As [`read_regular`]; ELOOP or EXDEV where a link is in the way.
pub fn read_beneath(root: &Path, relative: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let root = open(root, flags, Mode::empty())?;
    let file = openat2(
        &root,
        relative,
        OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS),
    )?;
    read_opened(file.as_fd(), most)
}

pub(super) fn read_opened(place: BorrowedFd<'_>, most: u64) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening alone can wait, or set a device going.
    if SFlag::from_bits_truncate(fstat(place)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = std::fs::File::from(open(path.as_str(), flags, Mode::empty())?);
    let mut content = vec![];
    // It may grow while it is read.
    file.take(most.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {most} bytes"),
        ));
    }
    Ok(content)
}

/// Moves what is at `relative` below `root` into the directory `to` of the same file system, where
/// it is called `new`. Neither directory is a link, and none is followed on the way.
///
/// # Errors
/// ELOOP where a link is in the way; those of renameat(2), `NotFound` where there is nothing.
pub fn move_beneath(root: &Path, relative: &Path, to: &Path, new: &Path) -> io::Result<()> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let name = relative.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut from = open(root, flags, Mode::empty())?;
    match relative.parent() {
        Some(way) if !way.as_os_str().is_empty() => from = walk(from.as_fd(), way)?,
        _ => {}
    }
    let to = open(to, flags, Mode::empty())?;
    Ok(renameat(&from, name, &to, new)?)
}

/// Directories this deep are emptied where they are; what is deeper is moved up first.
const DEPTH: u32 = 32;
/// How often a directory is begun anew that somebody fills while we empty it.
const PATIENCE: u32 = 16;

/// Removes `name` below `parent` with all that is in it; nothing there is no error. No link is
/// followed, and neither stack nor descriptors grow with the depth, which an agent chooses.
///
/// # Errors
/// Those of openat2(2), unlinkat(2) and renameat(2).
pub fn remove_beneath(parent: &Path, name: &Path) -> io::Result<()> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let parent = match open(parent, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    for _ in 0..PATIENCE {
        match unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(errno.into()),
        }
        let top = walk(parent.as_fd(), name)?;
        let mut moved = 0;
        loop {
            let before = moved;
            empty(top.as_fd(), top.as_fd(), &mut moved, 0)?;
            if moved == before {
                break;
            }
        }
        match unlinkat(&parent, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::ENOTEMPTY) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::ENOTEMPTY.into())
}

/// Removes what is in `directory`; what lies too deep becomes a child of `top`.
fn empty(
    top: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    moved: &mut u64,
    depth: u32,
) -> io::Result<()> {
    for entry in std::fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))? {
        let name = entry?.file_name();
        let name = Path::new(&name);
        match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(errno.into()),
        }
        match unlinkat(directory, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::ENOTEMPTY) => {}
            Err(errno) => return Err(errno.into()),
        }
        if depth < DEPTH {
            let child = walk(directory, name)?;
            empty(top, child.as_fd(), moved, depth + 1)?;
            match unlinkat(directory, name, UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY) => {}
                Err(errno) => return Err(errno.into()),
            }
        } else {
            hoist(top, directory, name, moved)?;
        }
    }
    Ok(())
}

fn hoist(
    top: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    name: &Path,
    moved: &mut u64,
) -> io::Result<()> {
    for _ in 0..1_000 {
        *moved += 1;
        let to = format!(".aether-{moved}");
        match renameat(directory, name, top, to.as_str()) {
            // The name was free, or an empty directory's.
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EEXIST.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_replaces_and_keeps() {
        let place = tempfile::tempdir().unwrap();
        let write = |text: &str, keep| {
            write_beneath(
                place.path(),
                Path::new("a/b/c.json"),
                (Owner::ourselves(), 0o600),
                Owner::ourselves(),
                text.as_bytes(),
                keep,
            )
        };
        write("one", false).unwrap();
        write("two", true).unwrap();
        let path = place.path().join("a/b/c.json");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        write("two", false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    }

    #[test]
    fn a_tree_deeper_than_any_stack_is_removed_and_links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("victim"), "safe").unwrap();
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut here = open(place.path(), flags, Mode::empty()).unwrap();
        for level in 0..5_000 {
            mkdirat(&here, "d", Mode::S_IRWXU).unwrap();
            if level % 1_000 == 0 {
                nix::unistd::symlinkat(outside.path(), &here, "link").unwrap();
                mkdirat(&here, ".aether-1", Mode::S_IRWXU).unwrap();
            }
            here = walk(here.as_fd(), Path::new("d")).unwrap();
        }
        // A thread with little stack, as the daemon's are.
        let root = place.path().to_owned();
        std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || remove_beneath(&root, Path::new("d")).unwrap())
            .unwrap()
            .join()
            .unwrap();
        assert!(!place.path().join("d").exists());
        assert!(outside.path().join("victim").exists());
        remove_beneath(place.path(), Path::new("link")).unwrap();
        assert!(outside.path().join("victim").exists());
        remove_beneath(place.path(), Path::new("nothing")).unwrap();
    }

    #[test]
    fn what_is_moved_is_ours_and_not_behind_a_planted_link() {
        let place = tempfile::tempdir().unwrap();
        let (root, to) = (place.path().join("root"), place.path().join("to"));
        let outside = place.path().join("outside");
        for directory in [root.join("a/b"), to.clone(), outside.join("b")] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let move_it = |new: &str| move_beneath(&root, Path::new("a/b"), &to, Path::new(new));
        move_it("1").unwrap();
        assert!(to.join("1").is_dir());
        assert_eq!(move_it("2").unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::remove_dir(root.join("a")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("a")).unwrap();
        assert!(move_it("3").is_err());
        assert!(outside.join("b").is_dir());
        // A link in its own place is moved, not followed.
        move_beneath(&root, Path::new("a"), &to, Path::new("4")).unwrap();
        assert!(outside.join("b").is_dir());
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("f");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        assert!(read_regular(&path, 4).is_err());
        let link = place.path().join("l");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert!(read_regular(&link, 4).is_err());
        let fifo = place.path().join("p");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        assert!(read_regular(&fifo, 4).is_err());
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("f", &link).unwrap();
        assert_eq!(read_regular(&link, 5).unwrap(), b"12345");
        assert!(read_beneath(place.path(), Path::new("l"), 5).is_err());
        assert!(read_beneath(place.path(), Path::new("f"), 5).is_ok());
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), place.path().join("a")).unwrap();
        let result = write_beneath(
            place.path(),
            Path::new("a/c.json"),
            (Owner::ourselves(), 0o600),
            Owner::ourselves(),
            b"x",
            false,
        );
        assert!(result.is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        let up = write_beneath(
            place.path(),
            Path::new("../c.json"),
            (Owner::ourselves(), 0o600),
            Owner::ourselves(),
            b"x",
            false,
        );
        assert!(up.is_err());
        // A link in the file's own place is replaced, not written through.
        let victim = outside.path().join("victim");
        std::fs::write(&victim, "safe").unwrap();
        std::os::unix::fs::symlink(&victim, place.path().join("c.json")).unwrap();
        write_beneath(
            place.path(),
            Path::new("c.json"),
            (Owner::ourselves(), 0o600),
            Owner::ourselves(),
            b"x",
            false,
        )
        .unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "safe");
    }
}
