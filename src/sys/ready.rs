//! Descriptors in the reactor.
#![expect(
    unsafe_code,
    reason = "tokio asks that the descriptor stays open, which owning it proves"
)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Puts a descriptor into the reactor of the running loop.
///
/// # Errors
/// Those of epoll_ctl(2).
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the AsyncFd owns the descriptor, so it is open and the same for as long as it lives.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(Into::into)
}
