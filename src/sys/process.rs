//! Starting a program through the stage, hearing from it, and its end.
//!
//! Nothing here waits: the plan fits the socket or is refused, reports come as the daemon reads
//! them, and a process is asked through its pidfd. Read next: [`crate::stage`], the other side.

#![expect(unsafe_code, reason = "pidfd system calls have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

pub use super::clone::{Child, StageImage, open_cgroup};
use crate::engine::event::ExitStatus;
use crate::plan::{ExecPlan, Failure, Report, Step};

/// Largest plan in bytes of JSON.
pub const MAX_PLAN: usize = 1 << 20;
/// Plans up to this size go through the socket, larger ones in a memfd: a socket's buffer is the
/// host's to choose, and we do not wait for room.
const INLINE: usize = 32 << 10;
/// Longest report line; a longer one is not a report.
const MAX_REPORT: usize = 64 << 10;
/// Most reports of one stage.
const MAX_REPORTS: usize = 8;

/// The frame before the plan: its length, and whether it is in the first descriptor instead.
pub const HEADER: usize = 8;

/// Starts the stage and hands it the plan. `fds` are what [`crate::plan::Stdio`] announces, in
/// its order. The socket gives [`Report`]s and then end of file; it is nonblocking.
///
/// Kernels that count the kills of a cgroup compare, after a clone into another group, that
/// group's count with the parent's own (seen on 6.18): whoever is born into a group that was ever
/// emptied by `cgroup.kill` is killed at once. Such a stage is started a second time, outside, and
/// joins by writing; nothing of the unit has run until then.
///
/// # Errors
/// A [`Failure`] of step `spawn`; there is then no process.
pub fn start(
    stage: &StageImage,
    plan: &ExecPlan,
    fds: &[BorrowedFd<'_>],
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<(Child, OwnedFd), Failure> {
    match attempt(stage, plan, fds, cgroup, true) {
        Err(Attempt::KilledAtBirth) => attempt(stage, plan, fds, cgroup, false),
        other => other,
    }
    .map_err(|attempt| match attempt {
        Attempt::Failed(failure) => failure,
        Attempt::KilledAtBirth => failed("stage", &io::ErrorKind::BrokenPipe.into()),
    })
}

enum Attempt {
    Failed(Failure),
    /// Killed inside its cgroup before it could read anything.
    KilledAtBirth,
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn attempt(
    stage: &StageImage,
    plan: &ExecPlan,
    fds: &[BorrowedFd<'_>],
    cgroup: Option<BorrowedFd<'_>>,
    born_inside: bool,
) -> Result<(Child, OwnedFd), Attempt> {
    let (ours, theirs) = super::socket::pair().map_err(|error| failed("socket pair", &error))?;
    super::pipe::set_nonblocking(ours.as_fd()).map_err(|error| failed("socket", &error))?;
    // Checked before there is a process; a join path found later adds little.
    let mut text = encode(plan)?;
    let spawned = super::clone::spawn(stage, theirs.as_fd(), cgroup.filter(|_| born_inside))
        .map_err(|error| failed("stage", &error))?;
    drop(theirs);
    let sent = match cgroup {
        Some(cgroup) if !spawned.inside => join_by_writing(plan, cgroup).and_then(|plan| {
            text = encode(&plan)?;
            Ok(())
        }),
        _ => Ok(()),
    }
    .and_then(|()| send_plan(ours.as_fd(), &text, fds));
    match sent {
        Ok(()) => Ok((spawned.child, ours)),
        Err(failure) => {
            // It waits for a plan and has done nothing yet: killing it loses nothing, and it
            // cannot keep us waiting.
            let _gone = signal(spawned.child.pidfd.as_fd(), libc::SIGKILL);
            let reaped = wait_blocking(&spawned.child.pidfd);
            if spawned.inside
                && matches!(failure.errno, libc::EPIPE | libc::ECONNRESET)
                && matches!(reaped, Ok(ExitStatus::Killed(libc::SIGKILL)))
            {
                return Err(Attempt::KilledAtBirth);
            }
            Err(Attempt::Failed(failure))
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure {
        step: "spawn".to_owned(),
        errno: error.raw_os_error().unwrap_or(0),
        detail: format!("{what}: {error}"),
        help: None,
    }
}

fn encode(plan: &ExecPlan) -> Result<Vec<u8>, Failure> {
    let text = serde_json::to_vec(plan).map_err(|error| failed("plan", &error.into()))?;
    if text.len() > MAX_PLAN {
        return Err(Failure {
            step: "spawn".to_owned(),
            errno: libc::E2BIG,
            detail: format!(
                "the plan is {} bytes long; {MAX_PLAN} are allowed",
                text.len()
            ),
            help: Some("shorten the command line or the environment".to_owned()),
        });
    }
    Ok(text)
}

/// The plan of a process that could not be born inside its cgroup.
fn join_by_writing(plan: &ExecPlan, cgroup: BorrowedFd<'_>) -> Result<ExecPlan, Failure> {
    let link = format!("/proc/self/fd/{}", cgroup.as_raw_fd());
    let directory = std::fs::read_link(link).map_err(|error| failed("cgroup", &error))?;
    let procs: PathBuf = directory.join("cgroup.procs");
    let mut plan = plan.clone();
    for step in &mut plan.steps {
        if let Step::Cgroup { join, .. } = step {
            if !join.contains(&procs) {
                join.insert(0, procs);
            }
            return Ok(plan);
        }
    }
    // It would run outside, unlimited and untracked.
    Err(failed(
        "cgroup",
        &io::Error::other("the plan has no cgroup step"),
    ))
}

fn send_plan(socket: BorrowedFd<'_>, text: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Failure> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let inline = text.len() <= INLINE;
    let mut message = Vec::with_capacity(HEADER + if inline { text.len() } else { 0 });
    message.extend(length);
    message.extend(u32::from(!inline).to_le_bytes());
    let memory;
    let mut all = vec![];
    if inline {
        message.extend(text);
    } else {
        memory = in_memory(text).map_err(|error| failed("plan", &error))?;
        all.push(memory.as_fd());
    }
    all.extend(fds);
    match super::socket::send(socket, &message, &all) {
        Ok(count) if count == message.len() => Ok(()),
        Ok(_) => Err(failed("plan", &io::ErrorKind::WriteZero.into())),
        Err(error) => Err(failed("plan", &error)),
    }
}

fn in_memory(text: &[u8]) -> io::Result<std::fs::File> {
    use std::io::{Seek, Write};
    // SAFETY: reads a constant string, gives a new descriptor or -1.
    let fd = unsafe { libc::memfd_create(c"plan".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it; nobody else has it.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.write_all(text)?;
    file.rewind()?;
    Ok(file)
}

/// Puts the stage's reports together from the pieces in which they arrive.
#[derive(Debug, Default)]
pub struct ReportReader {
    rest: Vec<u8>,
    count: usize,
}

impl ReportReader {
    /// Takes what was read; gives back the reports that are complete. What is no report becomes
    /// a [`Report::Failed`] that says so. End of file is the caller's to see.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Report> {
        let mut reports = vec![];
        for byte in bytes {
            if *byte != b'\n' {
                if self.rest.len() < MAX_REPORT {
                    self.rest.push(*byte);
                }
                continue;
            }
            self.count += 1;
            if self.count <= MAX_REPORTS {
                reports.push(serde_json::from_slice(&self.rest).unwrap_or_else(|error| {
                    Report::Failed(Failure {
                        step: "report".to_owned(),
                        errno: 0,
                        detail: format!("the stage's report cannot be read: {error}"),
                        help: None,
                    })
                }));
            }
            self.rest.clear();
        }
        reports
    }
}

/// Takes the exit status, when the process has ended; reaps it.
///
/// # Errors
/// As waitid(2); `ECHILD` when it is not our child or somebody else has reaped it.
pub fn wait(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    wait_with(pidfd, libc::WEXITED | libc::WNOHANG)
}

/// The same, waiting; for processes that are known to be ending.
pub(super) fn wait_blocking(pidfd: &OwnedFd) -> io::Result<ExitStatus> {
    loop {
        match wait_with(pidfd.as_fd(), libc::WEXITED) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Not nix's: a death by a real-time signal would be an error there, with the status lost.
fn wait_with(pidfd: BorrowedFd<'_>, flags: i32) -> io::Result<Option<ExitStatus>> {
    let id = libc::id_t::try_from(pidfd.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: an all-zero siginfo_t is valid, and the kernel fills one of the right size.
    let (done, info) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        (libc::waitid(libc::P_PIDFD, id, &raw mut info, flags), info)
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: waitid fills these fields, or leaves the zeroes when nothing has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some(match info.si_code {
        // The kernel gives eight bits.
        libc::CLD_EXITED => ExitStatus::Exited(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
        libc::CLD_KILLED => ExitStatus::Killed(status),
        libc::CLD_DUMPED => ExitStatus::Dumped(status),
        _ => ExitStatus::Unknown,
    }))
}

/// A raw wait(2) status, as a keeper's obituary has it.
#[must_use]
pub fn status_of(raw: i32) -> ExitStatus {
    if libc::WIFEXITED(raw) {
        ExitStatus::Exited(u8::try_from(libc::WEXITSTATUS(raw) & 0xff).unwrap_or(u8::MAX))
    } else if libc::WIFSIGNALED(raw) && libc::WCOREDUMP(raw) {
        ExitStatus::Dumped(libc::WTERMSIG(raw))
    } else if libc::WIFSIGNALED(raw) {
        ExitStatus::Killed(libc::WTERMSIG(raw))
    } else {
        ExitStatus::Unknown
    }
}

/// The signal's name (`SIGTERM`), or its number where it has none.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(
        |_| format!("signal {signal}"),
        |signal| signal.as_str().to_owned(),
    )
}

/// The command line as `/proc` shows it, arguments joined by spaces; a kernel-given name in
/// brackets where there is none. At most 4 KiB: a process may make it as long as it likes.
#[must_use]
pub fn command_line(pid: u32) -> String {
    use std::io::Read as _;
    let mut bytes = vec![];
    if let Ok(file) = std::fs::File::open(format!("/proc/{pid}/cmdline")) {
        let _ = file.take(4_096).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes)
        .replace('\0', " ")
        .trim()
        .to_owned();
    if !text.is_empty() {
        return text;
    }
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("[{}]", name.trim())
}

/// Sends a signal to exactly this process, whatever has become of its number.
///
/// # Errors
/// As pidfd_send_signal(2); `ESRCH` when it is gone.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers and a null pointer that the kernel understands as "as kill(2)".
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0_u32,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A descriptor of a running process. Compare [`start_time`] when the number comes from a record.
///
/// # Errors
/// As pidfd_open(2).
pub fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers, gives a new (close-on-exec) descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0_u32) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// When the process began, in clock ticks since boot: with the pid, a name that is never reused.
///
/// # Errors
/// When there is no such process.
pub fn start_time(pid: u32) -> io::Result<u64> {
    super::cgroup::Stat::read(pid)
        .map(|stat| stat.start)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Enforcement;

    #[test]
    fn reports_come_in_any_pieces() {
        let confined = Report::Confined(Enforcement::default());
        let mut line = serde_json::to_vec(&confined).unwrap();
        line.push(b'\n');
        let mut reader = ReportReader::default();
        let (last, first) = line.split_last().unwrap();
        assert!(first.iter().all(|byte| reader.push(&[*byte]).is_empty()));
        assert_eq!(reader.push(&[*last]), [confined]);
    }

    #[test]
    fn what_is_no_report_is_said_and_bounded() {
        let mut reader = ReportReader::default();
        let garbage = vec![b'x'; 10 * MAX_REPORT];
        assert!(reader.push(&garbage).is_empty());
        assert_eq!(reader.rest.len(), MAX_REPORT);
        assert!(
            matches!(&reader.push(b"\n")[..], [Report::Failed(failure)] if failure.step == "report")
        );
        assert!(reader.push(&[b'\n'; 100]).len() < MAX_REPORTS);
    }

    #[test]
    fn a_process_born_outside_joins_before_all_else() {
        let directory = tempfile::tempdir().unwrap();
        let fd = open_cgroup(directory.path()).unwrap();
        let first = PathBuf::from("/sys/fs/cgroup/memory/x/cgroup.procs");
        let plan = ExecPlan {
            version: crate::plan::VERSION,
            unit: String::new(),
            program: PathBuf::new(),
            argv: vec![],
            environment: vec![],
            passed: 0,
            steps: vec![Step::Cgroup {
                join: vec![first.clone()],
                expect: None,
            }],
        };
        let joining = join_by_writing(&plan, fd.as_fd()).unwrap();
        let join = vec![directory.path().join("cgroup.procs"), first];
        assert_eq!(joining.steps, [Step::Cgroup { join, expect: None }]);
        let mut without = plan;
        without.steps.clear();
        assert!(join_by_writing(&without, fd.as_fd()).is_err());
    }

    #[test]
    fn our_own_start_time_is_stable_and_another_pid_has_none() {
        let pid = std::process::id();
        assert_eq!(start_time(pid).unwrap(), start_time(pid).unwrap());
        assert!(start_time(u32::MAX).is_err());
    }
}
