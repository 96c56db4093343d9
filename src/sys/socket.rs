//! Unix sockets that carry descriptors (`SCM_RIGHTS`).
//!
//! One message goes out whole or not at all, and nothing that comes in is inherited by accident:
//! every received descriptor is close-on-exec. Connecting, listening and identifying peers are
//! not here. Read next: [`super::process`].

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType,
    recvmsg, sendmsg, shutdown, socketpair,
};

use super::closing;

/// Most descriptors in one message; a plan needs four at most.
pub const MAX_DESCRIPTORS: usize = 16;
/// As many as a stranger can send in one message (the kernel's `SCM_MAX_FD`).
const ALL_DESCRIPTORS: usize = 253;

/// A connected pair of stream sockets, both close-on-exec.
///
/// # Errors
/// As socketpair(2).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// The same, of sockets that keep messages apart.
///
/// # Errors
/// As socketpair(2).
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// Sends bytes with descriptors, without waiting. Returns how many bytes went.
///
/// # Errors
/// As sendmsg(2); more than [`MAX_DESCRIPTORS`] are refused.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MAX_DESCRIPTORS {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    Ok(sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        flags,
        None,
    )?)
}

/// Waits until there is something to receive, at most so many milliseconds; whether there is.
///
/// # Errors
/// As poll(2).
pub fn wait_readable(socket: BorrowedFd<'_>, milliseconds: u16) -> io::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::from(milliseconds))? > 0)
}

/// Receives bytes, and adds the descriptors that came with them to `fds`. 0 is the end.
///
/// # Errors
/// As recvmsg(2); a message whose descriptors did not all arrive is an error.
pub fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    receive_into(socket, bytes, fds, &mut space, MsgFlags::empty())
}

/// Receives bytes from a stranger, without waiting. Descriptors that come along are not wanted;
/// read(2) would close them then and there, for however long that takes. 0 is the end.
///
/// # Errors
/// As recvmsg(2).
pub fn receive_bytes(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    let mut space = nix::cmsg_space!([RawFd; ALL_DESCRIPTORS]);
    let mut unwanted = vec![];
    let received = receive_into(
        socket,
        bytes,
        &mut unwanted,
        &mut space,
        MsgFlags::MSG_DONTWAIT,
    );
    closing::close(unwanted);
    received
}

/// Hears nothing more from a stranger, so that closing the connection closes no descriptor that is
/// still on its way.
pub fn hang_up(socket: BorrowedFd<'_>) {
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Read);
    let mut bytes = [0; 4096];
    while receive_bytes(socket, &mut bytes).is_ok_and(|count| count > 0) {}
}

#[expect(
    unsafe_code,
    reason = "received descriptors are plain numbers until they are owned"
)]
fn receive_into(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    space: &mut [u8],
    flags: MsgFlags,
) -> io::Result<usize> {
    let mut slices = [IoSliceMut::new(bytes)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(space),
        MsgFlags::MSG_CMSG_CLOEXEC | flags,
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for us; nobody else has them.
            fds.extend(
                raw.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    Ok(message.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_descriptor_travels_and_is_closed_on_exec() {
        let (a, b) = pair().unwrap();
        let (mut read, write) = io::pipe().unwrap();
        assert_eq!(send(a.as_fd(), b"xy", &[write.as_fd()]).unwrap(), 2);
        drop(write);
        let mut fds = vec![];
        let mut bytes = [0; 8];
        assert_eq!(receive(b.as_fd(), &mut bytes, &mut fds).unwrap(), 2);
        assert_eq!(&bytes[..2], b"xy");
        let flags = nix::fcntl::fcntl(&fds[0], nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        let mut file = std::fs::File::from(fds.remove(0));
        file.write_all(b"through").unwrap();
        drop(file);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        drop(a);
        assert_eq!(receive(b.as_fd(), &mut bytes, &mut fds).unwrap(), 0);
    }

    #[test]
    fn what_a_stranger_sends_along_is_not_waited_for() {
        let began = std::time::Instant::now();
        let (a, b) = pair().unwrap();
        let mut peers = vec![];
        for _ in 0..3 {
            let (slow, peer) = closing::slow_to_close();
            send(a.as_fd(), b"x", &[slow.as_fd()]).unwrap();
            peers.push(peer);
            closing::close([slow]);
        }
        let mut bytes = [0; 8];
        assert_eq!(receive_bytes(b.as_fd(), &mut bytes).unwrap(), 1);
        hang_up(b.as_fd());
        assert!(send(a.as_fd(), b"x", &[]).is_err());
        drop(b);
        assert!(began.elapsed() < std::time::Duration::from_secs(30));
    }

    #[test]
    fn a_full_socket_does_not_wait() {
        let (a, _b) = pair().unwrap();
        let block = vec![0; 1 << 16];
        let error = (0..1000).find_map(|_| send(a.as_fd(), &block, &[]).err());
        assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
