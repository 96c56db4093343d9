//! Starting the stage: a fresh process, born inside the unit's cgroup.
//!
//! One clone3(2) with `CLONE_VM | CLONE_VFORK`: nothing of the daemon is copied, so the cost does
//! not grow with it. The child runs on a stack of its own and does three things: descriptor 0,
//! execve, or `_exit`. What the kernel lacks is found out by its errno, once, and remembered.
//! Read next: [`super::process`].

#![expect(
    unsafe_code,
    reason = "clone3 with a shared address space has no safe wrapper"
)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::process::{open_pidfd, wait_blocking};

/// The name by which the stage knows what it is.
pub const STAGE_NAME: &CStr = c"aether-stage";

/// Bytes of the child's stack; it calls five functions deep at most.
const STACK: usize = 32 * 1024;

/// `CLONE_INTO_CGROUP`, which does not fit the type that libc gives it.
const INTO_CGROUP: u64 = 1 << 33;

/// What this kernel was found to have: everything, no `CLONE_INTO_CGROUP`, or no clone3 at all.
static LEVEL: AtomicU8 = AtomicU8::new(FULL);
const FULL: u8 = 0;
const NO_CGROUP: u8 = 1;
const NO_CLONE3: u8 = 2;

/// The binary that becomes the stage, pinned: an upgrade on disk cannot mix two versions.
#[derive(Debug)]
pub struct StageImage {
    file: OwnedFd,
    path: CString,
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
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Ok(Self { file, path })
    }

    fn as_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
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

/// Starts `image` as the stage with `socket` as its descriptor 0.
///
/// # Errors
/// As clone3(2) and execve(2); a missing kernel feature is no error but a fallback.
pub fn spawn(
    image: &StageImage,
    socket: BorrowedFd<'_>,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Spawned> {
    if LEVEL.load(Ordering::Relaxed) == FULL
        && let Some(cgroup) = cgroup
    {
        match clone3(image, socket, Some(cgroup)) {
            // An old kernel does not know the flag (EINVAL), or the field (E2BIG).
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::E2BIG)) => {
                LEVEL.fetch_max(NO_CGROUP, Ordering::Relaxed);
            }
            Err(error) if unavailable(&error) => {
                LEVEL.store(NO_CLONE3, Ordering::Relaxed);
            }
            done => {
                return done.map(|child| Spawned {
                    child,
                    inside: true,
                });
            }
        }
    }
    if LEVEL.load(Ordering::Relaxed) < NO_CLONE3 {
        match clone3(image, socket, None) {
            Err(error) if unavailable(&error) => {
                LEVEL.store(NO_CLONE3, Ordering::Relaxed);
            }
            done => {
                return done.map(|child| Spawned {
                    child,
                    inside: false,
                });
            }
        }
    }
    posix_spawn(image, socket).map(|child| Spawned {
        child,
        inside: false,
    })
}

/// clone3 does not exist here, or a seccomp filter hides it.
fn unavailable(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// The slow way: std's posix_spawn. No `pre_exec`, which would make it a full fork.
fn posix_spawn(image: &StageImage, socket: BorrowedFd<'_>) -> io::Result<Child> {
    let child = Command::new(image.as_path())
        .arg0("aether-stage")
        .env_clear()
        .stdin(Stdio::from(socket.try_clone_to_owned()?))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = child.id();
    // Nobody else reaps our children, so the number cannot have been given away.
    let pidfd = open_pidfd(pid)?;
    Ok(Child { pid, pidfd })
}

/// What the child needs; it lies in the parent's memory, which the child shares.
struct Birth {
    socket: RawFd,
    path: *const libc::c_char,
    argv: [*const libc::c_char; 2],
    envp: [*const libc::c_char; 1],
    error: AtomicI32,
}

/// A mapping that is the child's stack, with a guard page at its low end.
struct Stack {
    base: *mut libc::c_void,
    length: usize,
}

/// One page size fits all: the guard only has to be at least a page.
const GUARD: usize = 64 * 1024;

impl Stack {
    fn new() -> io::Result<Self> {
        let length = STACK + GUARD;
        // SAFETY: a fresh anonymous mapping; no existing memory is touched.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { base, length };
        // SAFETY: the range lies within the mapping made above.
        let opened = unsafe {
            libc::mprotect(
                base.cast::<u8>().add(GUARD).cast(),
                STACK,
                libc::PROT_READ | libc::PROT_WRITE,
            )
        };
        if opened != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    fn lowest(&self) -> u64 {
        self.base as usize as u64 + GUARD as u64
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; the child has left it (CLONE_VFORK).
        unsafe {
            libc::munmap(self.base, self.length);
        }
    }
}

/// All signals blocked, the C library's own included; the old mask comes back on drop.
struct Blocked(u64);

impl Blocked {
    fn new() -> io::Result<Self> {
        let mut old = 0_u64;
        let all = u64::MAX;
        // SAFETY: the kernel reads and writes eight bytes each, which is what is given.
        let done = unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                &raw const all,
                &raw mut old,
                size_of::<u64>(),
            )
        };
        if done == 0 {
            Ok(Self(old))
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: as in `new`; the old mask is not asked for.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                &raw const self.0,
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            );
        }
    }
}

fn clone3(
    image: &StageImage,
    socket: BorrowedFd<'_>,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Child> {
    let birth = Birth {
        socket: socket.as_raw_fd(),
        path: image.path.as_ptr(),
        argv: [STAGE_NAME.as_ptr(), ptr::null()],
        envp: [ptr::null()],
        error: AtomicI32::new(0),
    };
    let mut pidfd: RawFd = -1;
    let stack = Stack::new()?;
    // SAFETY: an all-zero clone_args is the kernel's "nothing asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64;
    args.pidfd = (&raw mut pidfd) as usize as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args.stack = stack.lowest();
    args.stack_size = STACK as u64;
    // A kernel before 5.7 knows only the structure without the cgroup field.
    let mut size = std::mem::offset_of!(libc::clone_args, set_tid);
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(io::Error::other)?;
        size = size_of::<libc::clone_args>();
    }
    let blocked = Blocked::new()?;
    // SAFETY: `args` is valid and names a mapped stack of the given size; `birth`, the strings it
    // points to, and the stack outlive the call, which returns only after the child has executed
    // or exited (CLONE_VFORK). No signal handler can run in the child: all are blocked.
    let result = unsafe { enter(&raw const args, size, &raw const birth) };
    drop(blocked);
    drop(stack);
    if result < 0 {
        return Err(io::Error::from_raw_os_error(
            i32::try_from(-result).unwrap_or(libc::EIO),
        ));
    }
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so the kernel stored a new descriptor there.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let error = birth.error.load(Ordering::Acquire);
    if error != 0 {
        wait_blocking(&pidfd)?;
        return Err(io::Error::from_raw_os_error(error));
    }
    let pid = u32::try_from(result).map_err(io::Error::other)?;
    Ok(Child { pid, pidfd })
}

/// The system call and the child's first instructions. Not inlined: the child must find nothing
/// of the parent's frame in its way.
///
/// # Safety
/// `args` must ask for CLONE_VM, CLONE_VFORK and a stack; `birth` must outlive the call.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
unsafe fn enter(args: *const libc::clone_args, size: usize, birth: *const Birth) -> i64 {
    let result: i64;
    // SAFETY: the child never comes back from `born`, on its own 16-byte aligned stack; the parent
    // sees an ordinary system call with its clobbers declared.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") args,
            in("rsi") size,
            in("r12") birth,
            in("r13") born as extern "C" fn(*const Birth) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
#[inline(never)]
unsafe fn enter(args: *const libc::clone_args, size: usize, birth: *const Birth) -> i64 {
    let result: i64;
    // SAFETY: as on x86_64.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            inlateout("x0") args => result,
            in("x1") size,
            in("x8") libc::SYS_clone3,
            in("x20") birth,
            in("x21") born as extern "C" fn(*const Birth) -> !,
        );
    }
    result
}

/// Elsewhere there is no clone3 with a stack; std's posix_spawn does it.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn enter(_: *const libc::clone_args, _: usize, _: *const Birth) -> i64 {
    -i64::from(libc::ENOSYS)
}

/// The child's whole life before the stage: system calls only, nothing that allocates or locks.
extern "C" fn born(birth: *const Birth) -> ! {
    // SAFETY: `birth` is in the suspended parent's frame; descriptors are the child's own copy.
    unsafe {
        let birth = &*birth;
        let moved = if birth.socket == 0 {
            libc::fcntl(0, libc::F_SETFD, 0)
        } else {
            libc::dup2(birth.socket, 0)
        };
        if moved >= 0 {
            libc::execve(birth.path, birth.argv.as_ptr(), birth.envp.as_ptr());
        }
        birth
            .error
            .store(*libc::__errno_location(), Ordering::Release);
        libc::_exit(127)
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
    use std::os::fd::AsFd;

    use super::*;

    fn image(program: &str) -> StageImage {
        StageImage::open(Path::new(program)).unwrap()
    }

    #[test]
    fn every_way_starts_a_process_with_its_socket() {
        use std::io::Read;
        for start in [
            (|image: &StageImage, fd: BorrowedFd<'_>| clone3(image, fd, None))
                as fn(&_, BorrowedFd<'_>) -> _,
            posix_spawn,
        ] {
            let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            // `cat` reads descriptor 0 to its end.
            let child = start(&image("/bin/cat"), theirs.as_fd()).unwrap();
            drop(theirs);
            ours.shutdown(std::net::Shutdown::Write).unwrap();
            let mut rest = vec![];
            ours.read_to_end(&mut rest).unwrap();
            let status = wait_blocking(&child.pidfd).unwrap();
            assert_eq!(status, crate::engine::event::ExitStatus::Exited(0));
            assert!(child.pid > 1);
        }
    }

    #[test]
    fn a_failed_exec_is_an_error_and_leaves_no_child() {
        let null = File::open("/dev/null").unwrap();
        let error = clone3(&image("/etc/passwd"), null.as_fd(), None).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    }

    #[test]
    fn a_descriptor_that_is_no_cgroup_is_an_error() {
        let null = File::open("/dev/null").unwrap();
        let error = clone3(&image("/bin/true"), null.as_fd(), Some(null.as_fd())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
