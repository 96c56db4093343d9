//! What a socket unit has in the file system: sockets, pipes, devices and the links to them.
//!
//! Everything is done below an opened directory and by descriptor, because a unit may own the
//! directory: what is changed there was looked at first, and no link in the last place is followed.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::socket::{UnixAddr, bind};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, mkdirat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, mkfifoat, symlinkat, unlinkat};

use crate::sys::file::Owner;
use crate::sys::trusted::open_steady;
use crate::sys::user::own_uid;

/// Makes a directory, and those above it, with this mode where they are missing.
pub(in crate::sys) fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    if path.parent().is_none() {
        return Ok(());
    }
    Node::at(path, Some(mode))?.make_directory(mode)
}

/// A name in an opened directory.
pub(super) struct Node<'a> {
    directory: OwnedFd,
    name: &'a OsStr,
    path: &'a Path,
    /// Whether the path goes on meaning this directory.
    steady: bool,
}

impl<'a> Node<'a> {
    /// Opens the directory that `path` is in, and makes it, with this mode, when it is missing.
    pub(super) fn at(path: &'a Path, make: Option<u32>) -> io::Result<Self> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (directory, steady) = match open_steady(above).map_err(io::Error::from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(mode) = make else { return Err(error) };
                let above = Self::at(above, make)?;
                above.make_directory(mode)?;
                open_steady(&above.path()).map_err(io::Error::from)?
            }
            other => other?,
        };
        Ok(Self {
            directory,
            name,
            path,
            steady,
        })
    }

    fn path(&self) -> PathBuf {
        self.path.to_owned()
    }

    fn make_directory(&self, mode: u32) -> io::Result<()> {
        match mkdirat(&self.directory, self.name, Mode::S_IRWXU) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        // By descriptor, so that the mode is as it is written and not less our umask.
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let made = openat(&self.directory, self.name, flags, Mode::empty())?;
        if fstat(&made)?.st_uid != own_uid() {
            return Err(Errno::EEXIST.into());
        }
        Ok(fchmod(&made, Mode::from_bits_truncate(mode))?)
    }

    fn found(&self) -> nix::Result<FileStat> {
        fstatat(&self.directory, self.name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Removes what is here if it is of this kind; whether anything was removed.
    pub(super) fn remove(&self, kind: SFlag) -> io::Result<bool> {
        match self.found() {
            Ok(found) if is(&found, kind) => {}
            Ok(_) | Err(Errno::ENOENT) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        match unlinkat(&self.directory, self.name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives a socket its path. One that another process has left there is removed first.
    pub(super) fn bind(&self, socket: &OwnedFd, owner: Owner, mode: u32) -> io::Result<()> {
        self.remove(SFlag::S_IFSOCK)?;
        // The kernel makes the node with the mode of the socket itself: nobody may connect before
        // it belongs to whom it should. This is not the umask, which all threads share.
        fchmod(socket, Mode::empty())?;
        let address = if self.steady {
            UnixAddr::new(self.path)?
        } else {
            // The path may lead elsewhere by now. Whoever asks the socket for its name is told
            // this one.
            let directory = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
            UnixAddr::new(&Path::new(&directory).join(self.name))?
        };
        bind(socket.as_raw_fd(), &address)?;
        // Whoever owns the directory can have put something else here meanwhile.
        let place = self.place()?;
        let made = fstat(&place)?;
        let fresh = made.st_mode & 0o7777 == 0 && made.st_uid == own_uid() && made.st_nlink == 1;
        if !is(&made, SFlag::S_IFSOCK) || !fresh {
            return Err(Errno::EEXIST.into());
        }
        hand_over(&place, owner, mode)
    }

    /// Tells whoever waits for the path that connecting works from now on.
    pub(super) fn touch(&self) {
        let now = TimeSpec::UTIME_NOW;
        let flag = UtimensatFlags::NoFollowSymlink;
        // Only a hint.
        let _ = utimensat(&self.directory, self.name, &now, &now, flag);
    }

    /// What is here, as a place.
    fn place(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        openat(&self.directory, self.name, flags, Mode::empty())
    }

    /// Opens the named pipe here, made when there is nothing.
    pub(super) fn fifo(&self, owner: Owner, mode: u32) -> io::Result<OwnedFd> {
        match mkfifoat(&self.directory, self.name, Mode::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let place = self.place()?;
        let found = fstat(&place)?;
        let known = found.st_uid == own_uid() || found.st_uid == owner.uid;
        if !is(&found, SFlag::S_IFIFO) || !known || found.st_nlink != 1 {
            return Err(Errno::EEXIST.into());
        }
        hand_over(&place, owner, mode)?;
        // For both directions: then there is no end before the last writer's, and no wait.
        reopen(&place, OFlag::O_RDWR)
    }

    /// Opens the device or file here.
    pub(super) fn special(&self, writable: bool) -> io::Result<OwnedFd> {
        let place = self.place()?;
        // Looked at before it is opened: opening alone can set a device going.
        let found = fstat(&place)?;
        if !is(&found, SFlag::S_IFREG) && !is(&found, SFlag::S_IFCHR) {
            return Err(Errno::EEXIST.into());
        }
        let way = if writable {
            OFlag::O_RDWR
        } else {
            OFlag::O_RDONLY
        };
        reopen(&place, way)
    }

    /// Makes a link to `target` here. With `replace` another link is removed first.
    pub(super) fn link(&self, target: &Path, replace: bool) -> io::Result<()> {
        let there = || {
            let to = readlinkat(&self.directory, self.name);
            to.is_ok_and(|to| Path::new(&to) == target)
        };
        match symlinkat(target, &self.directory, self.name) {
            Err(Errno::EEXIST) if there() => Ok(()),
            Err(Errno::EEXIST) if replace && self.remove(SFlag::S_IFLNK)? => {
                Ok(symlinkat(target, &self.directory, self.name)?)
            }
            other => Ok(other?),
        }
    }
}

fn is(found: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == kind
}

/// Of a place, by its number in `/proc`: the name could mean something else by now.
fn own_name(place: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", place.as_raw_fd())
}

/// Owner first: a mode for others must not be the old owner's.
fn hand_over(place: &OwnedFd, owner: Owner, mode: u32) -> io::Result<()> {
    let found = fstat(place)?;
    if (found.st_uid, found.st_gid) != (owner.uid, owner.gid) {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        fchownat(
            place.as_fd(),
            "",
            Some(uid),
            Some(gid),
            AtFlags::AT_EMPTY_PATH,
        )?;
    }
    std::fs::set_permissions(own_name(place), Permissions::from_mode(mode & 0o7777))
}

fn reopen(place: &OwnedFd, way: OFlag) -> io::Result<OwnedFd> {
    let flags = way | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    Ok(open(own_name(place).as_str(), flags, Mode::empty())?)
}
