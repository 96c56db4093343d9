//! `[Unit]`: what a unit's end means for the whole of Aether, or for the machine (systemd.unit(5)).

use super::{Directive, Given, Section};
use crate::unit::Action;
use crate::unit::value::{ValueError, choice, integer};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Unit, key, syntax, example, doc, apply)
}

const ACTIONS: &str = "none|exit|exit-force|reboot|reboot-force|reboot-immediate|poweroff|poweroff-force|poweroff-immediate|halt|halt-force|halt-immediate|kexec|kexec-force";

pub(super) const ROWS: &[Directive] = &[
    row(
        "FailureAction",
        ACTIONS,
        "exit",
        "What to do when the unit has failed. exit: Aether stops every unit and ends, as with \
         aetherctl down; exit-force: it kills every unit and ends. All others end the machine: after \
         every unit has been stopped, with -force after every process has been killed, with -immediate \
         at once. Only the machine's first process may do that: where Aether is not PID 1 they are \
         refused, which is said when the unit is loaded and when it would have been done.",
        |draft, given| {
            draft.settings.actions.failure = action(given)?;
            Ok(())
        },
    )
    .default("none"),
    row(
        "SuccessAction",
        ACTIONS,
        "poweroff",
        "What to do when the unit has ended without failing; as FailureAction=. A service that has \
         this may run nothing.",
        |draft, given| {
            draft.settings.actions.success = action(given)?;
            Ok(())
        },
    )
    .default("none"),
    row(
        "StartLimitAction",
        ACTIONS,
        "reboot",
        "What to do when the unit was started more than StartLimitBurst= times within \
         StartLimitIntervalSec=; as FailureAction=.",
        |draft, given| {
            draft.settings.actions.start_limit = action(given)?;
            Ok(())
        },
    )
    .default("none"),
    row(
        "JobTimeoutAction",
        ACTIONS,
        "reboot-force",
        "What to do when a job of the unit took longer than JobTimeoutSec= or JobRunningTimeoutSec=; \
         as FailureAction=.",
        |draft, given| {
            draft.settings.actions.job_timeout = action(given)?;
            Ok(())
        },
    )
    .default("none"),
    row(
        "FailureActionExitStatus",
        "NUMBER",
        "3",
        "The exit status with which Aether ends by FailureAction=exit or exit-force; without it, that of \
         the unit's main process.",
        |draft, given| {
            draft.settings.actions.failure_status = status(given)?;
            Ok(())
        },
    ),
    row(
        "SuccessActionExitStatus",
        "NUMBER",
        "4",
        "The exit status with which Aether ends by SuccessAction=exit or exit-force; without it, that of \
         the unit's main process.",
        |draft, given| {
            draft.settings.actions.success_status = status(given)?;
            Ok(())
        },
    ),
];

fn action(given: &Given<'_>) -> Result<Option<Action>, ValueError> {
    choice(given.value, &Action::WORDS)
}

fn status(given: &Given<'_>) -> Result<Option<u8>, ValueError> {
    if given.is_empty() {
        return Ok(None);
    }
    integer(given.value, 0, 255).map(Some)
}
