//! Waiting for many descriptors on a thread of one's own: epoll(7) with a way to be woken.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// The token that [`Poll::wait`] never returns: it is the waker's.
const WAKE: u64 = u64::MAX;

/// A set of descriptors, each with a token.
#[derive(Debug)]
pub struct Poll {
    epoll: Epoll,
    waker: Arc<EventFd>,
}

/// Ends one wait from another thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Wakes; several before the wait count as one.
    pub fn wake(&self) {
        // It can only fail when the counter is at its end, and then a wake-up is pending anyway.
        let _ = self.0.write(1);
    }
}

impl Poll {
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<(Self, Waker)> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let waker = Arc::new(EventFd::from_flags(
            EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
        )?);
        epoll.add(&*waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        Ok((
            Self {
                epoll,
                waker: Arc::clone(&waker),
            },
            Waker(waker),
        ))
    }

    /// Watches `fd` for input, level-triggered.
    ///
    /// # Errors
    /// EEXIST, ENOMEM, ENOSPC, EPERM for what cannot be polled.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(self
            .epoll
            .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Watches no longer.
    ///
    /// # Errors
    /// ENOENT when it was not watched.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// Waits and returns the tokens that are ready; none after a wake-up or when the time is over.
    ///
    /// # Errors
    /// Those of epoll_wait(2) but EINTR.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<Vec<u64>> {
        let timeout = limit.map_or(EpollTimeout::NONE, |limit| {
            EpollTimeout::try_from(limit).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty(); 64];
        let count = loop {
            match self.epoll.wait(&mut events, timeout) {
                Ok(count) => break count,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        let mut tokens = Vec::with_capacity(count);
        for event in &events[..count] {
            if event.data() == WAKE {
                let _ = self.waker.read();
            } else {
                tokens.push(event.data());
            }
        }
        Ok(tokens)
    }
}
