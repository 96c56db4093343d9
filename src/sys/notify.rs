//! The socket on which units say how they are (sd_notify(3)); the sender is who the kernel says.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind, recvmsg,
    setsockopt, socket, sockopt,
};

/// Longest notification; what is longer is cut.
pub const MAX_LENGTH: usize = 4_096;

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
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666))?;
    Ok(socket)
}

/// The next notification and the process that sent it; `None` when there is none now.
///
/// # Errors
/// When the socket is broken.
pub fn receive(fd: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, u32)>> {
    let mut text = vec![0; MAX_LENGTH];
    // No room for descriptors: what a unit sends of them is closed by the kernel.
    let mut space = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let (length, sender) = {
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(fd.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let sender = message.cmsgs().ok().and_then(|mut all| {
            all.find_map(|one| match one {
                ControlMessageOwned::ScmCredentials(sender) => u32::try_from(sender.pid()).ok(),
                _ => None,
            })
        });
        (message.bytes, sender)
    };
    text.truncate(length);
    // Pid 0 is a process outside of our pid namespace: nobody of ours.
    Ok(Some((text, sender.unwrap_or(0))))
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
        assert_eq!(receive(socket.as_fd()).unwrap(), None);
        UnixDatagram::unbound()
            .unwrap()
            .send_to(b"READY=1", &path)
            .unwrap();
        let (text, sender) = receive(socket.as_fd()).unwrap().unwrap();
        assert_eq!(
            (text.as_slice(), sender),
            (&b"READY=1"[..], std::process::id())
        );
    }
}
