//! The steps, one function each, in the order of [`crate::plan::StepName`].
//!
//! Each does what its step says or gives a reason; none of them tries again or goes on without.
//! What a kernel cannot enforce is noted, not skipped in silence.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Refusal, Stage, tell};
use crate::plan::{ExecPlan, Report, Ruleset, Stdio};
use crate::sys::{capability, descriptor, identity, landlock, limits, pty};

impl Stage<'_> {
    pub(super) fn descriptors(&mut self) -> Result<(), Refusal> {
        let keep: Vec<BorrowedFd<'_>> = self
            .fds
            .iter()
            .map(AsFd::as_fd)
            .chain([self.report])
            .collect();
        descriptor::close_all_but(&keep)
            .map_err(|error| Refusal::system("inherited descriptors", &error))?;
        identity::reset_signals().map_err(|error| Refusal::system("signals", &error))?;
        identity::new_session().map_err(|error| Refusal::system("session", &error))?;
        if !identity::new_keyring().map_err(|error| Refusal::system("session keyring", &error))? {
            self.enforcement.missing.push(
                "This kernel offers no session keyrings: the unit has none of its own".to_owned(),
            );
        }
        // Whatever the stdio step does, the socket and our parent's streams are not inherited.
        let null = descriptor::null().map_err(|error| Refusal::system("/dev/null", &error))?;
        (0..3)
            .try_for_each(|number| descriptor::install(&null, number))
            .map_err(|error| Refusal::system("/dev/null", &error))
    }

    fn next_descriptor(&mut self) -> Result<OwnedFd, Refusal> {
        self.fds
            .pop_front()
            .ok_or_else(|| Refusal::new("a descriptor is missing beside the plan"))
    }

    pub(super) fn stdio(&mut self, stdio: Stdio) -> Result<(), Refusal> {
        if stdio.terminal {
            let terminal = self.next_descriptor()?;
            pty::control(terminal.as_fd())
                .map_err(|error| Refusal::system("controlling terminal", &error))?;
            return (0..3)
                .try_for_each(|number| descriptor::install(&terminal, number))
                .map_err(|error| Refusal::system("terminal", &error));
        }
        let streams = [
            (stdio.input, 0, "standard input"),
            (stdio.output, 1, "standard output"),
            (stdio.error, 2, "standard error"),
        ];
        for (follows, number, name) in streams {
            if follows {
                let stream = self.next_descriptor()?;
                descriptor::install(&stream, number)
                    .map_err(|error| Refusal::system(name, &error))?;
            }
        }
        Ok(())
    }

    pub(super) fn ruleset(&mut self, ruleset: &Ruleset) -> Result<(), Refusal> {
        self.prepared = Some(landlock::prepare(ruleset).map_err(|error| {
            let help = match error {
                landlock::LandlockError::Path { .. } => {
                    Some("create the path, or write - before it where it may be missing")
                }
                landlock::LandlockError::Untrusted { .. } => {
                    Some("name the place itself instead of the link, or remove the link")
                }
                landlock::LandlockError::Kernel(_) => None,
            };
            Refusal {
                errno: error.errno(),
                detail: error.to_string(),
                help: help.map(str::to_owned),
            }
        })?);
        Ok(())
    }

    pub(super) fn capabilities(
        &mut self,
        bounding: &[String],
        ambient: &[String],
    ) -> Result<(), Refusal> {
        // Without the privilege to empty it the set is harmless under no_new_privs only.
        if !capability::may_drop_bounding() && !self.no_new_privileges {
            self.enforcement.missing.push(
                "The capability bounding set could not be reduced: set-user-ID programs keep \
                 their power"
                    .to_owned(),
            );
        }
        let root = identity::is_root();
        capability::confine(bounding, ambient, root).map_err(|error| Refusal {
            errno: error.errno(),
            detail: error.to_string(),
            help: None,
        })
    }

    pub(super) fn landlock(&mut self) -> Result<(), Refusal> {
        let prepared = self
            .prepared
            .take()
            .ok_or_else(|| Refusal::new("the plan has no ruleset step before this"))?;
        let entered = landlock::enforce(prepared).map_err(|error| Refusal {
            errno: error.errno(),
            detail: error.to_string(),
            help: None,
        })?;
        self.enforcement.landlock_abi = entered.landlock_abi;
        self.enforcement.missing.extend(entered.missing);
        Ok(())
    }

    /// Says what is in force and goes; only failure comes back.
    pub(super) fn exec(&mut self, plan: &ExecPlan) -> Refusal {
        let enforcement = std::mem::take(&mut self.enforcement);
        let mut environment = plan.environment.clone();
        let mut own = |name: &str| {
            environment.push((name.to_owned(), std::process::id().to_string()));
        };
        if plan
            .environment
            .iter()
            .any(|(name, _)| name == "WATCHDOG_USEC")
        {
            own("WATCHDOG_PID");
        }
        if plan.passed > 0 {
            if self.fds.len() != plan.passed {
                return Refusal::new("not every descriptor that is to be passed on is there");
            }
            own("LISTEN_PID");
            let fds = std::mem::take(&mut self.fds).into();
            match descriptor::pass(fds, self.report) {
                Ok(report) => self.moved = Some(report),
                Err(error) => return Refusal::system("descriptors to be passed on", &error),
            }
        }
        tell(self.report(), &Report::Confined(enforcement));
        let error = identity::execute(&plan.program, &plan.argv, &environment);
        let refusal = Refusal::system(format_args!("program {}", plan.program.display()), &error);
        match error.kind() {
            io::ErrorKind::NotFound if plan.program.exists() => {
                refusal.with_help("the program is there; the interpreter it names in itself is not")
            }
            io::ErrorKind::PermissionDenied => refusal.with_help(
                "the file must be executable for the unit's user, and the policy must allow it \
                 (ExecPaths=)",
            ),
            _ => refusal,
        }
    }
}

pub(super) fn cgroup(join: &[PathBuf], expect: Option<&str>) -> Result<(), Refusal> {
    for path in join {
        // "0" is the writer itself, in whichever pid namespace.
        std::fs::write(path, "0").map_err(|error| Refusal::system(path.display(), &error))?;
    }
    let Some(expect) = expect else {
        return Ok(());
    };
    let mut own = String::with_capacity(2048);
    std::fs::File::open("/proc/self/cgroup")
        .and_then(|file| file.take(1 << 16).read_to_string(&mut own))
        .map_err(|error| Refusal::system("/proc/self/cgroup", &error))?;
    if own.lines().any(|line| line == expect) {
        return Ok(());
    }
    Err(Refusal::new(format!(
        "the process is not in its cgroup: {expect} is missing in {:?}",
        own.trim_end()
    )))
}

pub(super) fn limits(
    table: &[(String, u64, u64)],
    nice: Option<i32>,
    oom_score_adjust: Option<i32>,
) -> Result<(), Refusal> {
    for (name, soft, hard) in table {
        limits::set(name, *soft, *hard).map_err(|error| {
            let refusal = Refusal::system(format_args!("Limit{name}="), &error);
            match (error.raw_os_error(), limits::get(name)) {
                (Some(EPERM), Ok((_, now))) => refusal.with_help(format!(
                    "the hard limit is {now} and may be raised only with CAP_SYS_RESOURCE; \
                         write Limit{name}= with {now} or less"
                )),
                _ => refusal,
            }
        })?;
    }
    if let Some(nice) = nice {
        identity::set_nice(nice).map_err(|error| {
            Refusal::system(format_args!("Nice={nice}"), &error)
                .with_help("a value below the inherited one needs CAP_SYS_NICE")
        })?;
    }
    if let Some(score) = oom_score_adjust {
        std::fs::write("/proc/self/oom_score_adj", score.to_string()).map_err(|error| {
            Refusal::system(format_args!("OOMScoreAdjust={score}"), &error)
                .with_help("a value below the inherited one needs CAP_SYS_RESOURCE")
        })?;
    }
    Ok(())
}

/// `EPERM` on every Linux.
const EPERM: i32 = 1;

pub(super) fn directory(path: &Path, umask: u32) -> Result<(), Refusal> {
    identity::change_directory(path).map_err(|error| {
        let refusal = Refusal::system(path.display(), &error);
        match error.kind() {
            io::ErrorKind::PermissionDenied => refusal
                .with_help("the unit's user must be able to enter it, and every directory above"),
            _ => refusal,
        }
    })?;
    identity::set_umask(umask);
    Ok(())
}

pub(super) fn ids(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Refusal> {
    let unchanged = identity::is(uid, gid);
    match identity::set_groups(groups) {
        Ok(()) => {}
        // A user's own manager: its groups are the user's, and nobody may change them.
        Err(error) if unchanged && error.raw_os_error() == Some(EPERM) && groups.is_empty() => {}
        Err(error) => return Err(Refusal::system("supplementary groups", &error)),
    }
    if unchanged {
        return Ok(());
    }
    identity::set_ids(uid, gid).map_err(|error| {
        Refusal::system(format_args!("user {uid}, group {gid}"), &error)
            .with_help("only a manager that runs as root can change to another user")
    })
}

pub(super) fn no_new_privileges() -> Result<(), Refusal> {
    identity::set_no_new_privileges().map_err(|error| Refusal::system("no_new_privs", &error))
}
