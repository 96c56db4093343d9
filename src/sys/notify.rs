//! The socket on which units say how they are (sd_notify(3)); the sender is who the kernel says.
//!
//! A message may be read long after it was sent, and by then its sender's number may be somebody
//! else's. Linux 6.5 therefore adds a pidfd to every message, which is asked ([`Sender::is_there`])
//! after what `/proc` says of the number has been read. Read next: [`super::peer`].

#![expect(
    unsafe_code,
    reason = "SO_PASSPIDFD and SCM_PIDFD have no safe wrapper yet"
)]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind, recvmsg,
    setsockopt, socket, sockopt,
};

use super::process::{open_pidfd, signal};

/// `SO_PASSPIDFD`, which the libc crate does not have yet.
const PASS_PIDFD: libc::c_int = 76;
/// `SCM_PIDFD`, likewise.
const PIDFD: libc::c_int = 4;

/// Longest notification; what is longer is cut.
pub const MAX_LENGTH: usize = 4_096;

/// Most descriptors that a message can carry (the kernel's `SCM_MAX_FD`).
const DESCRIPTORS_MAX: usize = 253;

/// Listens at `path`. Every unit may send there, whatever its user.
///
/// # Errors
/// When the socket cannot be made there.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    setsockopt(&socket, sockopt::PassCred, &true)?;
    pass_pidfd(socket.as_fd());
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666))?;
    Ok(socket)
}

/// Kernels before 6.5 refuse, and [`receive`] does without.
fn pass_pidfd(socket: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the kernel reads one integer, which is what is given.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            PASS_PIDFD,
            (&raw const on).cast(),
            length,
        );
    }
}

/// Who sent a notification.
#[derive(Debug)]
pub struct Sender {
    /// The process; 0 is one outside of our pid namespace: nobody of ours.
    pub pid: u32,
    /// That very process; `None` when it was gone already.
    pidfd: Option<OwnedFd>,
}

impl Sender {
    /// Whether the number is still this process's: dead it may be, but not reaped. To be asked
    /// after what was read by the number.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.pidfd.as_ref().is_some_and(|pidfd| {
            let asked = signal(pidfd.as_fd(), 0);
            !asked.is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
        })
    }
}

/// What the kernel says beside a message.
#[derive(Default)]
struct Word {
    pid: u32,
    /// Outer `None`: this kernel gives none. Inner: the sender was reaped before we read.
    pidfd: Option<Option<OwnedFd>>,
    descriptors: Vec<OwnedFd>,
}

impl Word {
    fn hear(&mut self, said: &ControlMessageOwned) {
        match said {
            ControlMessageOwned::ScmCredentials(sender) => {
                self.pid = u32::try_from(sender.pid()).unwrap_or(0);
            }
            ControlMessageOwned::Unknown(other)
                if (other.cmsg_header.cmsg_level, other.cmsg_header.cmsg_type)
                    == (libc::SOL_SOCKET, PIDFD) =>
            {
                let number = other.data_bytes.first_chunk().copied();
                self.pidfd = number.map(i32::from_ne_bytes).map(|number| {
                    // SAFETY: the kernel has just made it, or says with a negative number why not.
                    (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
                });
            }
            ControlMessageOwned::ScmRights(sent) => {
                for number in sent {
                    // SAFETY: the kernel has just made it for us, and nobody else knows it.
                    let descriptor = unsafe { OwnedFd::from_raw_fd(*number) };
                    self.descriptors.push(descriptor);
                }
            }
            _ => {}
        }
    }
}

/// One notification.
#[derive(Debug)]
pub struct Notification {
    /// What it says: `KEY=value` lines.
    pub text: Vec<u8>,
    /// Who says it.
    pub sender: Sender,
    /// What came with it (`FDSTORE=1`, `BARRIER=1`); closed when nobody takes them.
    pub descriptors: Vec<OwnedFd>,
}

/// The next notification; `None` when there is none now.
///
/// # Errors
/// When the socket is broken.
pub fn receive(fd: BorrowedFd<'_>) -> io::Result<Option<Notification>> {
    let mut text = vec![0; MAX_LENGTH];
    // Descriptors of the unit come before the kernel's: without room for all of them they would
    // take the pidfd's place.
    let mut space = nix::cmsg_space!(
        nix::sys::socket::UnixCredentials,
        libc::c_int,
        [libc::c_int; DESCRIPTORS_MAX]
    );
    let mut word = Word::default();
    let length = {
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(fd.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        for said in message.cmsgs().into_iter().flatten() {
            word.hear(&said);
        }
        message.bytes
    };
    text.truncate(length);
    let pid = word.pid;
    // Opened by number it is right unless the sender died and its number was reused meanwhile.
    let pidfd = word.pidfd.unwrap_or_else(|| open_pidfd(pid).ok());
    Ok(Some(Notification {
        text,
        sender: Sender { pid, pidfd },
        descriptors: word.descriptors,
    }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn the_kernel_names_the_sender() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let socket = listen(&path).unwrap();
        assert!(receive(socket.as_fd()).unwrap().is_none());
        UnixDatagram::unbound()
            .unwrap()
            .send_to(b"READY=1", &path)
            .unwrap();
        let told = receive(socket.as_fd()).unwrap().unwrap();
        assert_eq!(
            (
                told.text.as_slice(),
                told.sender.pid,
                told.sender.is_there()
            ),
            (&b"READY=1"[..], std::process::id(), true)
        );
    }

    #[test]
    fn descriptors_come_along_and_do_not_hide_the_sender() {
        use nix::sys::socket::{ControlMessage, sendmsg};
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let socket = listen(&path).unwrap();
        let line = UnixDatagram::unbound().unwrap();
        line.connect(&path).unwrap();
        for many in [1, DESCRIPTORS_MAX] {
            let sent = vec![line.as_raw_fd(); many];
            let beside = [ControlMessage::ScmRights(&sent)];
            let text = [io::IoSlice::new(b"READY=1")];
            sendmsg::<()>(line.as_raw_fd(), &text, &beside, MsgFlags::empty(), None).unwrap();
            let told = receive(socket.as_fd()).unwrap().unwrap();
            assert!(told.sender.is_there());
            assert_eq!(told.sender.pid, std::process::id());
            assert_eq!(told.descriptors.len(), many);
        }
    }

    #[test]
    fn a_number_is_trusted_until_its_process_is_reaped() {
        use std::os::unix::process::CommandExt;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let socket = listen(&path).unwrap();
        let line = UnixDatagram::unbound().unwrap();
        line.connect(&path).unwrap();
        let mut command = std::process::Command::new("/bin/true");
        // SAFETY: between fork and exec only one system call is made.
        unsafe { command.pre_exec(move || line.send(b"READY=1").map(drop)) };
        // Two messages: of one that is dead but not reaped, and of one that was reaped unread.
        for reaped in [false, true] {
            let mut child = command.spawn().unwrap();
            if reaped {
                child.wait().unwrap();
            } else {
                let pidfd = open_pidfd(child.id()).unwrap();
                let timeout = nix::poll::PollTimeout::from(30_000_u16);
                let ended = nix::poll::PollFd::new(pidfd.as_fd(), nix::poll::PollFlags::POLLIN);
                assert_eq!(nix::poll::poll(&mut [ended], timeout), Ok(1));
            }
            let sender = receive(socket.as_fd()).unwrap().unwrap().sender;
            assert_eq!(
                (sender.pid, sender.is_there()),
                (child.id(), !reaped),
                "{sender:?}"
            );
            let _ = child.wait();
            assert!(!sender.is_there());
        }
    }
}
