//! Closing descriptors that came from somebody else: close(2) lasts as long as they please.
//!
//! The last close of a socket with `SO_LINGER` waits for its peer, that of a Unix socket for all
//! that is on its way in it, that of a file for its file system. So it is done by threads that are
//! there only while there is something to close. Read next: [`super::notify`], [`super::socket`].

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{setsockopt, sockopt};

/// Threads that may wait at once.
const THREADS: usize = 16;
/// Descriptors that may wait for a thread.
const QUEUE: usize = 512;

static POOL: Mutex<Pool> = Mutex::new(Pool {
    waiting: VecDeque::new(),
    threads: 0,
});

struct Pool {
    waiting: VecDeque<OwnedFd>,
    threads: usize,
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes descriptors without waiting for it: pipes at once, the others soon.
pub fn close(descriptors: impl IntoIterator<Item = OwnedFd>) {
    for descriptor in descriptors {
        // Not fstat(2), which may have to ask a file system. Of a pipe's end (`BARRIER=1`) somebody
        // waits for the close.
        if fcntl(&descriptor, FcntlArg::F_GETPIPE_SZ).is_ok() {
            drop(descriptor);
        } else {
            later(descriptor);
        }
    }
}

fn later(descriptor: OwnedFd) {
    let mut pool = pool();
    if pool.waiting.len() >= QUEUE {
        drop(pool);
        return at_once(descriptor);
    }
    pool.waiting.push_back(descriptor);
    if pool.threads >= THREADS {
        return;
    }
    let started = std::thread::Builder::new()
        .name("closing".to_owned())
        .stack_size(64 * 1024)
        .spawn(work);
    if started.is_ok() {
        pool.threads += 1;
    } else if pool.threads == 0 {
        let left = std::mem::take(&mut pool.waiting);
        drop(pool);
        left.into_iter().for_each(at_once);
    }
}

fn work() {
    loop {
        let mut pool = pool();
        let Some(descriptor) = pool.waiting.pop_front() else {
            pool.threads -= 1;
            return;
        };
        drop(pool);
        drop(descriptor);
    }
}

/// Where nobody is left to wait for it: at least no peer is waited for.
fn at_once(descriptor: OwnedFd) {
    let never = libc::linger {
        l_onoff: 0,
        l_linger: 0,
    };
    let _ = setsockopt(&descriptor, sockopt::Linger, &never);
    drop(descriptor);
}

/// A socket whose last close takes a minute.
#[cfg(test)]
pub(super) fn slow_to_close() -> (OwnedFd, std::net::TcpStream) {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write(&[0; 1 << 16]).is_ok() {}
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 60,
    };
    setsockopt(&ours, sockopt::Linger, &linger).unwrap();
    (ours.into(), theirs)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn nobody_waits_for_a_close_that_waits() {
        let began = Instant::now();
        // The peers go on living, and read nothing.
        let peers: Vec<_> = (0..THREADS / 2)
            .map(|_| {
                let (slow, peer) = slow_to_close();
                close([slow]);
                peer
            })
            .collect();
        let (mut reader, writer) = std::io::pipe().unwrap();
        close([OwnedFd::from(writer)]);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        let (mut one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        close([OwnedFd::from(other)]);
        assert_eq!(one.read(&mut [0]).unwrap(), 0);
        assert!(began.elapsed() < Duration::from_secs(30));
        drop(peers);
    }
}
