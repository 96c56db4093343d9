//! The stage: what runs between the supervisor and the program, in the program's own process.
//!
//! A copy of the zygote ([`crate::sys::clone`]), a small single-threaded process from the daemon's
//! binary. It reads one plan from its socket, does the plan's steps in order, says what the kernel
//! enforces, and becomes the program; end of file on the socket is the good news. It decides nothing: [`crate::plan`] did. Read next:
//! `step`, one function per step; the other side is [`crate::sys::process`].

#![expect(
    clippy::disallowed_methods,
    reason = "the steps write the process's own files below /proc"
)]
#![forbid(unsafe_code)]

mod receive;
mod step;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use crate::plan::{Enforcement, ExecPlan, Failure, Report, Step, StepName, VERSION};
use crate::sys::landlock::Prepared;
use crate::sys::{descriptor, socket};

/// The exit code when there was no usable plan: systemd's `EXIT_EXCEPTION`.
pub const EXIT_PLAN: u8 = 255;

/// Whether a process with this `argv[0]` is the zygote, of which stages are copies.
#[must_use]
pub fn is_zygote(argv0: &str) -> bool {
    argv0 == crate::sys::clone::ZYGOTE_NAME
}

/// The zygote's life, and in its copies the stage's. A stage comes back only when the program
/// could not be started.
///
/// Must be called before any thread exists.
#[must_use]
pub fn main() -> ExitCode {
    let Ok(requests) = descriptor::above(io::stdin().as_fd()) else {
        return ExitCode::from(EXIT_PLAN);
    };
    match crate::sys::clone::serve(requests) {
        Ok(Some(socket)) => stage(&socket),
        Ok(None) => ExitCode::SUCCESS,
        Err(_nobody_to_tell) => ExitCode::FAILURE,
    }
}

fn stage(report: &OwnedFd) -> ExitCode {
    let (failure, code) = match receive::plan(report.as_fd()) {
        Err(failure) => (failure, EXIT_PLAN),
        Ok((plan, fds)) => {
            let mut stage = Stage::new(report.as_fd(), &plan, fds);
            let (failure, step) = stage.run(&plan);
            tell(stage.report(), &Report::Failed(failure));
            return ExitCode::from(step.exit_code());
        }
    };
    tell(report.as_fd(), &Report::Failed(failure));
    ExitCode::from(code)
}

/// What the steps leave for one another.
struct Stage<'a> {
    report: std::os::fd::BorrowedFd<'a>,
    /// Where the report's socket went when its number was needed.
    moved: Option<OwnedFd>,
    /// What came with the plan and is not used yet, in order.
    fds: std::collections::VecDeque<OwnedFd>,
    /// Built by the ruleset step, entered by the Landlock step.
    prepared: Option<Prepared>,
    enforcement: Enforcement,
    /// Whether the plan sets no_new_privs, which makes a full bounding set harmless.
    no_new_privileges: bool,
}

impl<'a> Stage<'a> {
    fn new(report: std::os::fd::BorrowedFd<'a>, plan: &ExecPlan, fds: Vec<OwnedFd>) -> Self {
        Self {
            report,
            moved: None,
            fds: fds.into(),
            prepared: None,
            enforcement: Enforcement::default(),
            no_new_privileges: plan.steps.contains(&Step::NoNewPrivileges),
        }
    }

    fn report(&self) -> std::os::fd::BorrowedFd<'_> {
        self.moved.as_ref().map_or(self.report, AsFd::as_fd)
    }

    /// All steps; comes back with the one that failed.
    fn run(&mut self, plan: &ExecPlan) -> (Failure, StepName) {
        for step in &plan.steps {
            if let Err(refusal) = self.perform(step, plan) {
                return (refusal.into_failure(step.name()), step.name());
            }
        }
        let refusal = Refusal::new("the plan has no exec step");
        (refusal.into_failure(StepName::Exec), StepName::Exec)
    }

    fn perform(&mut self, step: &Step, plan: &ExecPlan) -> Result<(), Refusal> {
        match step {
            Step::Descriptors => self.descriptors(),
            Step::Cgroup { join, expect } => step::cgroup(join, expect.as_deref()),
            Step::Limits {
                limits,
                nice,
                oom_score_adjust,
            } => step::limits(limits, *nice, *oom_score_adjust),
            Step::Stdio(stdio) => self.stdio(*stdio),
            Step::Ruleset(ruleset) => self.ruleset(ruleset),
            Step::Ids { uid, gid, groups } => step::ids(*uid, *gid, groups),
            Step::Capabilities { bounding, ambient } => self.capabilities(bounding, ambient),
            Step::Directory { path, umask } => step::directory(path, *umask),
            Step::NoNewPrivileges => step::no_new_privileges(),
            Step::Landlock => self.landlock(),
            Step::Exec => Err(self.exec(plan)),
        }
    }
}

/// Why a step failed; its name is added by who knows it.
struct Refusal {
    errno: i32,
    detail: String,
    help: Option<String>,
}

impl Refusal {
    fn new(detail: impl Into<String>) -> Self {
        Self {
            errno: 0,
            detail: detail.into(),
            help: None,
        }
    }

    /// `what` and the system's own words.
    fn system(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self {
            errno: error.raw_os_error().unwrap_or(0),
            detail: format!("{what}: {error}"),
            help: None,
        }
    }

    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn into_failure(self, step: StepName) -> Failure {
        Failure {
            step: step.as_str().to_owned(),
            errno: self.errno,
            detail: self.detail,
            help: self.help,
        }
    }
}

/// One line to the daemon. If it is gone there is nobody to tell, and the exit code says it too.
fn tell(report: std::os::fd::BorrowedFd<'_>, message: &Report) {
    if let Ok(mut line) = serde_json::to_vec(message) {
        line.push(b'\n');
        let _nobody_there = socket::send(report, &line, &[]);
    }
}

/// Refuses a plan that another version wrote.
fn check_version(plan: &ExecPlan) -> Result<(), Failure> {
    if plan.version == VERSION {
        return Ok(());
    }
    Err(Failure {
        step: "plan".to_owned(),
        errno: 0,
        detail: format!(
            "the plan has version {}, this stage understands version {VERSION}",
            plan.version
        ),
        help: Some("aetherd was replaced while it ran: restart it".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zygote_is_known_by_its_name_alone() {
        assert!(is_zygote("aether-zygote"));
        assert!(!is_zygote("aetherd"));
        assert!(!is_zygote("/usr/bin/aether-zygote"));
    }
}
