//! What a process is to the kernel: session, signals, priority, place, ids; and what it becomes.
//!
//! Thin and safe: one function per system call, used by the stage in the plan's order. None of
//! them undoes anything. Read next: [`super::capability`].

use std::ffi::CString;
use std::io;
use std::path::Path;

use nix::unistd::{Gid, Uid};

/// A session and process group of its own, without a terminal.
///
/// # Errors
/// As setsid(2).
pub fn new_session() -> io::Result<()> {
    nix::unistd::setsid()?;
    Ok(())
}

/// A session keyring of its own, new and empty: through the inherited one a process has all keys
/// in it, whatever its user. `false` where there are no keyrings, or (in a container) none for us
/// and for what we start.
///
/// # Errors
/// As keyctl(2).
#[expect(unsafe_code, reason = "keyctl has no safe wrapper here")]
pub fn new_keyring() -> io::Result<bool> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: without a name the kernel reads no memory; it gives the keyring's number.
    let keyring = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    if keyring >= 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM) => Ok(false),
        _ => Err(error),
    }
}

/// A file that may not grow is an error to be told (EFBIG), not the end of the process (SIGXFSZ of
/// setrlimit(2)). What is started has the default action again, by [`reset_signals`].
#[expect(unsafe_code, reason = "signal(2) can install code; this installs none")]
pub fn survive_file_size_limit() {
    // SAFETY: ignoring a signal runs nothing.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Every signal unblocked and with its default action.
///
/// By the bare system call: the C library keeps two signals to itself and would leave them ignored
/// where somebody above us ignored all of them.
///
/// # Errors
/// As sigprocmask(2).
#[expect(unsafe_code, reason = "sigaction can install code; here it removes it")]
pub fn reset_signals() -> io::Result<()> {
    const COUNT: i32 = 64;
    // The kernel's structure, all zero: default action, no flags, empty mask.
    let default = [0_u64; 8];
    for signal in 1..=COUNT {
        // SAFETY: the kernel reads less than the array has. KILL and STOP refuse, rightly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            );
        }
    }
    let none = 0_u64;
    // SAFETY: the kernel reads eight bytes, which is what is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The `nice` value.
///
/// # Errors
/// As setpriority(2).
#[expect(unsafe_code, reason = "setpriority has no safe wrapper here")]
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: takes numbers only; 0 is the calling process.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Working directory.
///
/// # Errors
/// As chdir(2).
pub fn change_directory(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::chdir(path)?)
}

/// The umask.
pub fn set_umask(umask: u32) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
}

/// Whether all of our ids are these already.
#[must_use]
pub fn is(uid: u32, gid: u32) -> bool {
    let uids = nix::unistd::getresuid();
    let gids = nix::unistd::getresgid();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    matches!(uids, Ok(ids) if ids.real == uid && ids.effective == uid && ids.saved == uid)
        && matches!(gids, Ok(ids) if ids.real == gid && ids.effective == gid && ids.saved == gid)
}

/// Whether we are uid 0.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Supplementary groups, all at once.
///
/// # Errors
/// As setgroups(2).
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    Ok(nix::unistd::setgroups(&groups)?)
}

/// Real, effective and saved group, then user. Permitted capabilities are kept until
/// [`super::capability`] or exec takes them.
///
/// # Errors
/// As setresgid(2), setresuid(2).
pub fn set_ids(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    caps::securebits::set_keepcaps(true).map_err(|_| io::Error::last_os_error())?;
    nix::unistd::setresgid(gid, gid, gid)?;
    Ok(nix::unistd::setresuid(uid, uid, uid)?)
}

/// No exec gives more than we have, from here on and for all descendants.
///
/// # Errors
/// As prctl(2).
#[expect(unsafe_code, reason = "prctl has no safe wrapper here")]
pub fn set_no_new_privileges() -> io::Result<()> {
    // SAFETY: takes numbers only.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Becomes the program; comes back only with the reason why not.
#[must_use]
pub fn execute(program: &Path, argv: &[String], environment: &[(String, String)]) -> io::Error {
    match strings(program, argv, environment) {
        Ok((program, argv, environment)) => {
            match nix::unistd::execve(&program, &argv, &environment) {
                Err(error) => error.into(),
            }
        }
        Err(error) => error,
    }
}

type Strings = (CString, Vec<CString>, Vec<CString>);

fn strings(
    program: &Path,
    argv: &[String],
    environment: &[(String, String)],
) -> io::Result<Strings> {
    use std::os::unix::ffi::OsStrExt;
    Ok((
        CString::new(program.as_os_str().as_bytes())?,
        argv.iter()
            .map(|word| CString::new(word.as_str()))
            .collect::<Result<_, _>>()?,
        environment
            .iter()
            .map(|(name, value)| CString::new(format!("{name}={value}")))
            .collect::<Result<_, _>>()?,
    ))
}
