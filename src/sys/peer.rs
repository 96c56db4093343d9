//! Who is at the other end of a Unix socket, by what the kernel says.
//!
//! The kernel notes pid and ids at connect; a pid may be given to somebody else later, a pidfd
//! never. [`Peer::unit`] therefore reads the process's cgroup and then asks the pidfd whether that
//! process was still alive, so the text belonged to it. A socket that was handed on still names
//! the one who connected it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};

use super::cgroup::{Tree, unified_path, unit_of_cgroup};
use super::process::open_pidfd;
use crate::name::UnitName;

/// The peer of a connected Unix stream or seqpacket socket.
#[derive(Debug)]
pub struct Peer {
    /// Effective user at connect.
    pub uid: u32,
    /// Effective group at connect.
    pub gid: u32,
    /// Process at connect.
    pub pid: u32,
    /// That very process. Kernels before 6.5 give no such thing: then it was opened by number
    /// just now, which is right unless the peer died and its number was reused since it connected.
    pub pidfd: Option<OwnedFd>,
}

impl Peer {
    /// Asks the kernel about the peer of `socket`.
    ///
    /// # Errors
    /// When it is no connected Unix socket, or its peer is dead already
    /// ([`io::ErrorKind::NotConnected`], "gone").
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
        let pid = u32::try_from(credentials.pid()).unwrap_or(0);
        if pid == 0 {
            // Another PID namespace: nothing that we could look at.
            return Err(gone());
        }
        let pidfd = match getsockopt(&socket, sockopt::PeerPidfd) {
            Ok(fd) => Some(fd),
            Err(Errno::ENOPROTOOPT) => open_pidfd(pid).ok(),
            // The peer has been reaped.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENODATA) => return Err(gone()),
            Err(errno) => return Err(errno.into()),
        };
        Ok(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid,
            pidfd,
        })
    }

    /// As [`Self::unit`], for a process that knows only where the tree is
    /// ([`Tree::path`](crate::sys::cgroup::Tree::path)).
    ///
    /// # Errors
    /// As [`Self::unit`].
    pub fn unit_below(&self, tree: &str) -> io::Result<Option<UnitName>> {
        let pidfd = self.pidfd.as_ref().ok_or_else(gone)?;
        let path = format!("/proc/{}/cgroup", self.pid);
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => gone(),
            _ if error.raw_os_error() == Some(libc::ESRCH) => gone(),
            _ => error,
        })?;
        let unit = unified_path(&text).and_then(|path| unit_of_cgroup(tree, path));
        if is_alive(pidfd)? {
            Ok(unit)
        } else {
            Err(gone())
        }
    }

    /// The unit of ours that the peer belongs to; `None` when it belongs to none.
    ///
    /// # Errors
    /// When the peer has died, so that nothing is certain about it: to be treated as refused. Also
    /// where there are no cgroups and the peer is some unit's
    /// ([`io::ErrorKind::PermissionDenied`]): whose cannot be known there.
    pub fn unit(&self, tree: &Tree) -> io::Result<Option<UnitName>> {
        let pidfd = self.pidfd.as_ref().ok_or_else(gone)?;
        let unit = match tree.unit_of_pid(self.pid) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                if tree.descends_from_us(self.pid).ok_or_else(gone)? {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(gone()),
            other => other?,
        };
        // In this order: alive now, so it was alive when its cgroup was read.
        if is_alive(pidfd)? {
            Ok(unit)
        } else {
            Err(gone())
        }
    }
}

/// Whether the process behind a pidfd still runs.
fn is_alive(pidfd: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(ready) => return Ok(ready == 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "gone: the peer has died")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn own_pair_is_own_process() {
        let (a, _b) = UnixStream::pair().unwrap();
        let peer = Peer::of(&a).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert!(is_alive(peer.pidfd.as_ref().unwrap()).unwrap());
    }
}
