//! Starting the stage: a process of its own, born inside the unit's cgroup.
//!
//! To execute our own program for every start would cost more than the rest of the start: a large
//! program is mapped, linked and relocated each time. So there is a *zygote*: one small process
//! without threads, from the daemon's own program, which has that behind it. It is asked with a
//! socket and a cgroup and gives a copy of itself, which becomes the stage; `CLONE_PARENT` makes the
//! copy the daemon's child, its pidfd comes back over the socket. The zygote holds nothing, knows
//! nothing of units, and ends with the daemon. What the kernel lacks is found out by its errno.
//! Read next: [`super::process`].

#![expect(unsafe_code, reason = "clone3 has no safe wrapper")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::process::{open_pidfd, wait_blocking};
use super::socket;

/// The name by which the program knows that it is to be the zygote.
pub const ZYGOTE_NAME: &str = "aether-zygote";

/// What `ps` shows of a stage until it becomes the program.
const STAGE_NAME: &CStr = c"aether-stage";

/// `CLONE_INTO_CGROUP`, which does not fit the type that libc gives it.
const INTO_CGROUP: u64 = 1 << 33;

/// The binary that becomes the stage, pinned: an upgrade on disk cannot mix two versions.
#[derive(Debug)]
pub struct StageImage {
    file: OwnedFd,
    zygote: Mutex<Option<Zygote>>,
}

impl StageImage {
    /// The running program.
    ///
    /// # Errors
    /// When `/proc/self/exe` cannot be opened.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/self/exe"))
    }

    /// Any binary that calls [`crate::stage::main`].
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let zygote = Mutex::new(None);
        Ok(Self { file, zygote })
    }

    /// The process id of the zygote, once there is one.
    #[must_use]
    pub fn zygote(&self) -> Option<u32> {
        let zygote = self.zygote.lock().unwrap_or_else(PoisonError::into_inner);
        zygote.as_ref().map(|zygote| zygote.child.pid)
    }
}

/// A child process, held by its pidfd.
#[derive(Debug)]
pub struct Child {
    /// Its process id, valid until it is reaped.
    pub pid: u32,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// A child and how far the kernel went.
#[derive(Debug)]
pub struct Spawned {
    /// The process.
    pub child: Child,
    /// Whether it was born inside the cgroup asked for. If not, it must join by writing.
    pub inside: bool,
}

/// Starts a stage that hears from `socket`.
///
/// # Errors
/// As posix_spawn(3) and clone3(2); a missing kernel feature is no error but a fallback.
pub fn spawn(
    image: &StageImage,
    socket: BorrowedFd<'_>,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Spawned> {
    let mut zygote = image.zygote.lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody but the kernel ends a zygote (memory ran out); then another one is as good.
    if let Some(ready) = zygote.as_ref() {
        match ready.ask(socket, cgroup) {
            Err(Asked::Gone) => {}
            Err(Asked::Refused(error)) => return Err(error),
            Ok(spawned) => return Ok(spawned),
        }
    }
    *zygote = None;
    let fresh = Zygote::start(image)?;
    match zygote.insert(fresh).ask(socket, cgroup) {
        Ok(spawned) => Ok(spawned),
        Err(Asked::Refused(error)) => Err(error),
        Err(Asked::Gone) => Err(io::Error::other("the zygote does not live")),
    }
}

/// The daemon's end.
#[derive(Debug)]
struct Zygote {
    socket: Option<OwnedFd>,
    child: Child,
}

enum Asked {
    /// There is no zygote any more.
    Gone,
    /// The kernel did not want another process.
    Refused(io::Error),
}

impl Zygote {
    fn start(image: &StageImage) -> io::Result<Self> {
        let (ours, theirs) = socket::message_pair()?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", image.file.as_raw_fd()));
        // No `pre_exec`, which would make it a full fork of the daemon.
        let child = Command::new(path)
            .arg0(ZYGOTE_NAME)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pid = child.id();
        // Nobody else reaps our children, so the number cannot have been given away.
        let pidfd = open_pidfd(pid)?;
        Ok(Self {
            socket: Some(ours),
            child: Child { pid, pidfd },
        })
    }

    fn ask(
        &self,
        socket: BorrowedFd<'_>,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Spawned, Asked> {
        let ours = self.socket.as_ref().ok_or(Asked::Gone)?.as_fd();
        let all: Vec<BorrowedFd<'_>> = [socket].into_iter().chain(cgroup).collect();
        socket::send(ours, &[0], &all).map_err(|_| Asked::Gone)?;
        let mut answer = [0; Answer::LENGTH];
        let mut fds = vec![];
        let length = loop {
            match socket::receive(ours, &mut answer, &mut fds) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) | Ok(0) => return Err(Asked::Gone),
                Ok(length) => break length,
            }
        };
        let answer = Answer::from_bytes(answer);
        match fds.pop() {
            Some(pidfd) if length == Answer::LENGTH && answer.errno == 0 => Ok(Spawned {
                child: Child {
                    pid: answer.pid,
                    pidfd,
                },
                inside: answer.inside,
            }),
            _ => Err(Asked::Refused(io::Error::from_raw_os_error(answer.errno))),
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It ends at the socket's end, if it has not ended already.
        self.socket = None;
        let _status = wait_blocking(&self.child.pidfd);
    }
}

/// What comes back; between two processes of the same program, so in its own byte order.
#[derive(Clone, Copy)]
struct Answer {
    pid: u32,
    errno: i32,
    inside: bool,
}

impl Answer {
    const LENGTH: usize = 9;

    fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let (pid, rest) = bytes.split_at_mut(4);
        let (errno, inside) = rest.split_at_mut(4);
        pid.copy_from_slice(&self.pid.to_ne_bytes());
        errno.copy_from_slice(&self.errno.to_ne_bytes());
        inside.fill(u8::from(self.inside));
        bytes
    }

    fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let [a, b, c, d, e, f, g, h, inside] = bytes;
        Self {
            pid: u32::from_ne_bytes([a, b, c, d]),
            errno: i32::from_ne_bytes([e, f, g, h]),
            inside: inside != 0,
        }
    }
}

/// The zygote's life: a copy of this process for each request that comes on `requests`. In the
/// copy it comes back, without `requests`, with the socket that came; in the zygote, with `None`,
/// when nobody can ask any more.
///
/// # Errors
/// When there are other threads, which a copy would not have; as recvmsg(2) and sendmsg(2).
pub fn serve(requests: OwnedFd) -> io::Result<Option<OwnedFd>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a zygote with threads"));
    }
    let mut byte = [0];
    loop {
        let mut fds = vec![];
        match socket::receive(requests.as_fd(), &mut byte, &mut fds) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let mut fds = fds.into_iter();
        let Some(socket) = fds.next() else {
            return Ok(None);
        };
        let cgroup = fds.next();
        let answer = match twin(cgroup.as_ref().map(AsFd::as_fd)) {
            Ok(Twin::Copy) => {
                let _only_a_name = nix::sys::prctl::set_name(STAGE_NAME);
                return Ok(Some(socket));
            }
            Ok(Twin::Made(spawned)) => (
                Answer {
                    pid: spawned.child.pid,
                    errno: 0,
                    inside: spawned.inside,
                },
                Some(spawned.child.pidfd),
            ),
            Err(error) => (
                Answer {
                    pid: 0,
                    errno: error.raw_os_error().unwrap_or(libc::EIO),
                    inside: false,
                },
                None,
            ),
        };
        let fds: Vec<BorrowedFd<'_>> = answer.1.iter().map(AsFd::as_fd).collect();
        socket::send(requests.as_fd(), &answer.0.to_bytes(), &fds)?;
    }
}

/// Who one is after a fork.
enum Twin {
    Copy,
    Made(Spawned),
}

/// A copy of this process, which must have one thread, as a child of this process's parent; inside
/// the cgroup if the kernel can do that (since 5.7).
fn twin(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Twin> {
    if let Some(cgroup) = cgroup {
        match clone3(cgroup) {
            // An old kernel does not know the flag (EINVAL), the field (E2BIG) or the call
            // (ENOSYS); a filter may hide the call (EPERM).
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINVAL | libc::E2BIG | libc::ENOSYS | libc::EPERM)
                ) => {}
            done => return done,
        }
    }
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with no stack it is fork(2): the copy goes on here on its own
    // pages. There is one thread, so no lock is held by one that the copy lacks. The kernel writes
    // the pidfd through the third argument.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    born(result, pidfd, false)
}

fn clone3(cgroup: BorrowedFd<'_>) -> io::Result<Twin> {
    let mut pidfd: RawFd = -1;
    // SAFETY: an all-zero clone_args is the kernel's "nothing asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = INTO_CGROUP | (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;
    args.pidfd = (&raw mut pidfd) as usize as u64;
    args.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: as in `twin`; `args` is valid and of the size said. The exit signal must be 0 with
    // CLONE_PARENT: it is our own, SIGCHLD.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            size_of::<libc::clone_args>(),
        )
    };
    born(result, pidfd, true)
}

fn born(result: libc::c_long, pidfd: RawFd, inside: bool) -> io::Result<Twin> {
    match u32::try_from(result) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(0) => Ok(Twin::Copy),
        Ok(pid) => {
            // SAFETY: the call succeeded with CLONE_PIDFD, so the kernel stored a new descriptor.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let child = Child { pid, pidfd };
            Ok(Twin::Made(Spawned { child, inside }))
        }
    }
}

/// Opens a cgroup directory as [`spawn`] wants it.
///
/// # Errors
/// As open(2).
pub fn open_cgroup(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_zygote_that_cannot_live_is_an_error() {
        let null = File::open("/dev/null").unwrap();
        for program in ["/bin/true", "/etc/passwd"] {
            let image = StageImage::open(Path::new(program)).unwrap();
            spawn(&image, null.as_fd(), None).unwrap_err();
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let answer = Answer::from_bytes(
            Answer {
                pid: 77_000,
                errno: -1,
                inside: true,
            }
            .to_bytes(),
        );
        assert_eq!(
            (answer.pid, answer.errno, answer.inside),
            (77_000, -1, true)
        );
    }
}
