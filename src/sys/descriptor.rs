//! What the stage does to descriptors: move, close, replace.
//!
//! Descriptors are inherited unless someone closes them, and whoever holds one needs no
//! permission. So nothing survives that is not named here. Read next: [`super::identity`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;

/// A second descriptor of the same thing, above the standard three and close-on-exec.
///
/// # Errors
/// As fcntl(2).
#[expect(unsafe_code, reason = "fcntl returns the new descriptor as a number")]
pub fn above(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: fcntl has just made it; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Closes every descriptor from 3 on but those in `keep`.
///
/// # Errors
/// As close_range(2); where the kernel lacks it, the descriptors in `/proc/self/fd` are closed.
#[expect(unsafe_code, reason = "closes descriptors by number")]
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok())
        .collect();
    keep.sort_unstable();
    let mut first = 3;
    for last in keep.iter().copied().chain([u32::MAX]) {
        let end = if last == u32::MAX {
            last
        } else {
            last.saturating_sub(1)
        };
        if first <= end && last >= first {
            // SAFETY: the stage owns no descriptor in this range; `keep` holds all it uses.
            let done = unsafe { libc::syscall(libc::SYS_close_range, first, end, 0) };
            if done != 0 {
                let error = io::Error::last_os_error();
                return match error.raw_os_error() {
                    Some(libc::ENOSYS | libc::EPERM) => close_listed(&keep),
                    _ => Err(error),
                };
            }
        }
        first = last.saturating_add(1).max(first);
    }
    Ok(())
}

/// The way of kernels before 5.9.
#[expect(unsafe_code, reason = "closes descriptors by number")]
fn close_listed(keep: &[u32]) -> io::Result<()> {
    let mut open = vec![];
    for entry in std::fs::read_dir("/proc/self/fd")? {
        open.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok()),
        );
    }
    for fd in open.into_iter().filter(|fd| *fd > 2 && !keep.contains(fd)) {
        // SAFETY: as in `close_all_but`. The directory's own number is closed already: EBADF.
        unsafe {
            libc::close(RawFd::try_from(fd).unwrap_or(-1));
        }
    }
    Ok(())
}

/// `/dev/null`, for reading and writing.
///
/// # Errors
/// As open(2).
pub fn null() -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    Ok(nix::fcntl::open("/dev/null", flags, Mode::empty())?)
}

/// Makes `fd` standard input (0), output (1) or error (2), inherited by the program.
///
/// # Errors
/// As dup2(2).
pub fn install(fd: impl AsFd, number: u8) -> io::Result<()> {
    match number {
        0 => nix::unistd::dup2_stdin(fd)?,
        1 => nix::unistd::dup2_stdout(fd)?,
        _ => nix::unistd::dup2_stderr(fd)?,
    }
    Ok(())
}

/// Puts descriptors at 3 and on, in order, blocking and inherited by the program
/// (sd_listen_fds(3)). Gives back `other`, which must not be at one of these numbers any more.
///
/// # Errors
/// As fcntl(2) and dup3(2).
#[expect(unsafe_code, reason = "chooses descriptors by number")]
pub fn pass(fds: Vec<OwnedFd>, other: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use std::os::fd::{FromRawFd, IntoRawFd};
    let count = RawFd::try_from(fds.len()).map_err(io::Error::other)?;
    let away = |fd: BorrowedFd<'_>| -> io::Result<OwnedFd> {
        let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3 + count))?;
        // SAFETY: fcntl has just made it; nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(raw) })
    };
    let other = away(other)?;
    let aside = fds
        .iter()
        .map(|fd| away(fd.as_fd()))
        .collect::<io::Result<Vec<OwnedFd>>>()?;
    for fd in fds {
        // Its number may be one of those that are filled now, where nobody may close it any more.
        if (3..3 + count).contains(&fd.as_raw_fd()) {
            let _ = fd.into_raw_fd();
        }
    }
    for (number, fd) in (3..).zip(&aside) {
        // SAFETY: whatever is at that number was moved away above or belongs to nobody.
        if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
        fcntl(fd, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    }
    Ok(other)
}
