//! The system calls of the keeper: being the reaper of orphans, waiting, and starting the daemon
//! with its descriptors in place.
//!
//! For a small single-threaded process only: [`spawn`] forks. Read next: [`crate::keeper`].
#![allow(
    unsafe_code,
    reason = "fork, waitid with WNOWAIT and the raw wait status have no safe wrapper"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use super::fdstore::FIRST;

/// Makes this process the one to which orphaned descendants are given.
///
/// # Errors
/// When the kernel refuses.
pub fn become_reaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Raises the soft limit of open descriptors to the hard one; returns it.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Blocks the signals and gives them as a descriptor.
///
/// # Errors
/// When the kernel refuses.
pub fn signals(wanted: &[Signal]) -> io::Result<SignalFd> {
    let mask: SigSet = wanted.iter().copied().collect();
    mask.thread_block()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalFd::with_flags(&mask, flags)?)
}

/// A pair of connected sockets that keep messages apart; both non-blocking.
///
/// # Errors
/// When there are no descriptors left.
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        flags,
    )?)
}

/// A child that has died and is not reaped yet; `None` when there is none.
///
/// # Errors
/// When the kernel refuses.
pub fn dead_child() -> io::Result<Option<u32>> {
    // SAFETY: a siginfo of zeros is valid; the call fills it and keeps no reference.
    let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    loop {
        // SAFETY: as above.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut found, flags) };
        match Errno::result(result) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
    // SAFETY: after waitid the child's fields are the valid ones.
    let pid = unsafe { found.si_pid() };
    Ok(u32::try_from(pid).ok().filter(|pid| *pid != 0))
}

/// Reaps a child that [`dead_child`] named; returns its status as wait(2) gives it.
///
/// # Errors
/// When there is no such dead child.
pub fn reap(pid: u32) -> io::Result<i32> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from(Errno::ECHILD))?;
    let mut status = 0;
    loop {
        // SAFETY: writes one integer that outlives the call.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) }) {
            Ok(0) => return Err(Errno::ECHILD.into()),
            Ok(_) => return Ok(status),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Sends a signal to our own child, which we have not reaped: its number is still its own.
///
/// # Errors
/// When there is no such process.
pub fn signal_child(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(|_| io::Error::from(Errno::ESRCH))?;
    Ok(kill(Pid::from_raw(pid), signal)?)
}

/// A program to be started with descriptors from [`FIRST`] on.
#[derive(Debug)]
pub struct Program<'a> {
    /// An absolute path.
    pub path: CString,
    /// `argv`, name first.
    pub argv: Vec<CString>,
    /// `KEY=value`; `LISTEN_PID` is added.
    pub environment: Vec<CString>,
    /// In ascending order of number, none below [`FIRST`]: so none is overwritten before it is
    /// moved, since the i-th is never below `FIRST + i`.
    pub fds: Vec<BorrowedFd<'a>>,
}

/// Forks and executes the program with no signal blocked or ignored. Everything but the given
/// descriptors is closed by its close-on-exec flag.
///
/// A fork, because only the child knows the pid that must be in `LISTEN_PID`; the caller is small
/// and has one thread, so a fork costs little and the child may do anything.
///
/// # Errors
/// When there is no process to be had, the descriptors are not in order, or the program cannot be
/// executed.
pub fn spawn(program: &Program<'_>) -> io::Result<u32> {
    let raw: Vec<RawFd> = program.fds.iter().map(AsRawFd::as_raw_fd).collect();
    if raw.first().is_some_and(|fd| *fd < FIRST) || !raw.is_sorted_by(|a, b| a < b) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let end = RawFd::try_from(raw.len())
        .ok()
        .and_then(|count| count.checked_add(FIRST))
        .ok_or(Errno::EMFILE)?;
    let (failure, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // Out of the way of the numbers that the child fills.
    let high = fcntl(&tell, FcntlArg::F_DUPFD_CLOEXEC(end))?;
    drop(tell);
    // SAFETY: the kernel has just made this descriptor and nobody else knows it.
    let tell = unsafe { OwnedFd::from_raw_fd(high) };
    // SAFETY: the caller has one thread, so the child is a complete copy and may use everything.
    match Errno::result(unsafe { libc::fork() })? {
        0 => {
            let errno = execute(program, &raw);
            let _ = nix::unistd::write(&tell, &(errno as i32).to_le_bytes());
            // SAFETY: ends the child at once, without running the parent's exit code.
            unsafe { libc::_exit(127) }
        }
        pid => {
            drop(tell);
            let mut errno = [0_u8; 4];
            // End of file: the program runs. The pipe is local to parent and child.
            let told = loop {
                match nix::unistd::read(&failure, &mut errno) {
                    Err(Errno::EINTR) => {}
                    other => break other,
                }
            };
            if told == Ok(errno.len()) {
                // SAFETY: waits for our own child, which is ending; no status is wanted.
                unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
                return Err(io::Error::from_raw_os_error(i32::from_le_bytes(errno)));
            }
            u32::try_from(pid).map_err(|_| Errno::ESRCH.into())
        }
    }
}

/// In the child: returns only when it failed.
fn execute(program: &Program<'_>, raw: &[RawFd]) -> Errno {
    let prepare = || -> nix::Result<()> {
        for (target, fd) in (FIRST..).zip(raw) {
            // SAFETY: numbers only. Equal ones lose their flag, others are copied without it.
            let result = unsafe {
                if *fd == target {
                    libc::fcntl(*fd, libc::F_SETFD, 0)
                } else {
                    libc::dup2(*fd, target)
                }
            };
            Errno::result(result)?;
        }
        for signal in Signal::iterator() {
            // SAFETY: the default action is no function of ours. KILL and STOP refuse, rightly.
            unsafe { libc::signal(signal as libc::c_int, libc::SIG_DFL) };
        }
        SigSet::empty().thread_set_mask()
    };
    if let Err(errno) = prepare() {
        return errno;
    }
    let mut environment = program.environment.clone();
    if let Ok(own) = CString::new(format!("LISTEN_PID={}", std::process::id())) {
        environment.push(own);
    }
    match nix::unistd::execve(&program.path, &program.argv, &environment) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}
