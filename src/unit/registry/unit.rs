//! `[Unit]`: what a unit is called, whom it needs, how often it may be started.

use super::{Directive, Given, Section};
use crate::unit::JobMode;
use crate::unit::value::{self, Escapes, ValueError, boolean, choice, integer, quote};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Unit, key, syntax, example, doc, apply)
}

const UNITS: &str = "UNIT…";

pub(super) const ROWS: &[Directive] = &[
    row(
        "Description",
        "TEXT",
        "Keeps the tests green",
        "A short name for people, shown in lists. Without it the unit's name is shown. Text that \
         is quoted as a whole is unquoted, with C-style escapes.",
        |draft, given| {
            draft.description = match given.text()? {
                text if text.is_empty() => None,
                text if text.chars().any(char::is_control) => {
                    return Err(ValueError::new("a description is one line of plain text"));
                }
                text => Some(text),
            };
            Ok(())
        },
    ),
    row(
        "Documentation",
        "URI…",
        "man:aether(7)",
        "Where to read more: a list of addresses that begin with http://, https://, file:, info: \
         or man:.",
        |draft, given| given.each(&mut draft.documentation, Escapes::Interpret, uri),
    )
    .list(),
    row(
        "Requires",
        UNITS,
        "database.service",
        "Units that are started together with this one. When one of them cannot be started and \
         this unit is ordered after it, this unit is not started; when one is stopped, this one \
         is stopped too. Says nothing about the order: add After=.",
        |draft, given| given.dependencies(&mut draft.relations.requires),
    )
    .list(),
    row(
        "Wants",
        UNITS,
        "reviewer.agent",
        "Units that are started together with this one, however that ends. Says nothing about \
         the order.",
        |draft, given| given.dependencies(&mut draft.relations.wants),
    )
    .list(),
    row(
        "PartOf",
        UNITS,
        "agents.target",
        "Units with which this one is stopped and restarted.",
        |draft, given| given.dependencies(&mut draft.relations.part_of),
    )
    .list(),
    row(
        "Conflicts",
        UNITS,
        "maintenance.service",
        "Units that cannot run at the same time: starting one stops the other.",
        |draft, given| given.dependencies(&mut draft.relations.conflicts),
    )
    .list(),
    row(
        "Before",
        UNITS,
        "agents.target",
        "Units that wait for this one when both are started; at stop the order is reversed.",
        |draft, given| given.dependencies(&mut draft.relations.before),
    )
    .list(),
    row(
        "After",
        UNITS,
        "database.service",
        "Units that this one waits for when both are started; at stop the order is reversed. \
         Does not start them: add Wants= or Requires=.",
        |draft, given| given.dependencies(&mut draft.relations.after),
    )
    .list(),
    row(
        "Requisite",
        UNITS,
        "database.service",
        "Units that must be active already: if one is not, this unit's start fails. Add After=.",
        |draft, given| given.dependencies(&mut draft.relations.requisite),
    )
    .list(),
    row(
        "BindsTo",
        UNITS,
        "database.service",
        "As Requires=, and when one of these ends by itself, this unit is stopped as well. With \
         After= it is never active without them.",
        |draft, given| given.dependencies(&mut draft.relations.binds_to),
    )
    .list(),
    row(
        "Upholds",
        UNITS,
        "worker.agent",
        "As Wants=, and as long as this unit is up, one that is found down is started again.",
        |draft, given| given.dependencies(&mut draft.relations.upholds),
    )
    .list(),
    row(
        "OnFailure",
        UNITS,
        "mender.agent",
        "Units that are started when this one has failed (and is not restarted).",
        |draft, given| given.dependencies(&mut draft.relations.on_failure),
    )
    .list(),
    row(
        "OnSuccess",
        UNITS,
        "deploy.agent",
        "Units that are started when this one has become inactive without a failure.",
        |draft, given| given.dependencies(&mut draft.relations.on_success),
    )
    .list(),
    row(
        "PropagatesReloadTo",
        UNITS,
        "worker.service",
        "Units that are reloaded together with this one.",
        |draft, given| given.dependencies(&mut draft.relations.propagates_reload_to),
    )
    .list(),
    row(
        "ReloadPropagatedFrom",
        UNITS,
        "settings.service",
        "Units with which this one is reloaded.",
        |draft, given| given.dependencies(&mut draft.relations.reload_propagated_from),
    )
    .list(),
    row(
        "PropagatesStopTo",
        UNITS,
        "worker.service",
        "Units that are stopped together with this one.",
        |draft, given| given.dependencies(&mut draft.relations.propagates_stop_to),
    )
    .list(),
    row(
        "StopPropagatedFrom",
        UNITS,
        "settings.service",
        "Units with which this one is stopped.",
        |draft, given| given.dependencies(&mut draft.relations.stop_propagated_from),
    )
    .list(),
    row(
        "StopWhenUnneeded",
        "yes|no",
        "yes",
        "Whether the unit is stopped when no active unit requires, wants or upholds it any more.",
        |draft, given| {
            draft.settings.stop_when_unneeded = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "RefuseManualStart",
        "yes|no",
        "yes",
        "Whether only other units may start this one.",
        |draft, given| {
            draft.settings.refuse_manual_start = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "RefuseManualStop",
        "yes|no",
        "yes",
        "Whether only other units may stop this one.",
        |draft, given| {
            draft.settings.refuse_manual_stop = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "AllowIsolate",
        "yes|no",
        "yes",
        "Whether everything else may be stopped in favour of this unit (aetherctl isolate).",
        |draft, given| {
            draft.settings.allow_isolate = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "IgnoreOnIsolate",
        "yes|no",
        "yes",
        "Whether this unit stays up when another one is isolated.",
        |draft, given| {
            draft.settings.ignore_on_isolate = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "DefaultDependencies",
        "yes|no",
        "no",
        "Whether a target waits for what it wants and requires, as if After= named it.",
        |draft, given| {
            draft.settings.default_dependencies = boolean(given.value)?;
            Ok(())
        },
    )
    .default("yes"),
    row(
        "OnFailureJobMode",
        JOB_MODES,
        "isolate",
        "What the starts of OnFailure= do about jobs that are in the way (--job-mode= of aetherctl).",
        |draft, given| {
            draft.settings.on_failure_job_mode = job_mode(given)?;
            Ok(())
        },
    )
    .default("replace"),
    row(
        "OnSuccessJobMode",
        JOB_MODES,
        "isolate",
        "What the starts of OnSuccess= do about jobs that are in the way (--job-mode= of aetherctl).",
        |draft, given| {
            draft.settings.on_success_job_mode = job_mode(given)?;
            Ok(())
        },
    )
    .default("fail"),
    row(
        "JobTimeoutSec",
        "TIME",
        "5min",
        "How long a job of this unit may take, waiting included, before it is taken back.",
        |draft, given| {
            draft.settings.job_timeout = value::duration(given.value)?;
            Ok(())
        },
    )
    .default("infinity"),
    row(
        "JobRunningTimeoutSec",
        "TIME",
        "5min",
        "How long a job of this unit may run before it is taken back.",
        |draft, given| {
            draft.settings.job_running_timeout = value::duration(given.value)?;
            Ok(())
        },
    )
    .default("infinity"),
    row(
        "CollectMode",
        "inactive|inactive-or-failed",
        "inactive-or-failed",
        "When a unit is forgotten, with how its last run ended. inactive: transient units (aetherctl \
         run), instances of services and what serves one connection when they have ended without a \
         failure, and with one when somebody resets it (reset-failed); all else is kept. \
         inactive-or-failed: this unit, however it ended. None is forgotten while something that is \
         up names it; logs and state directories always stay.",
        |draft, given| {
            draft.settings.collect_failed = choice(
                given.value,
                &[("inactive", false), ("inactive-or-failed", true)],
            )?;
            Ok(())
        },
    )
    .default("inactive"),
    row(
        "StartLimitIntervalSec",
        "TIME",
        "1min",
        "The time within which StartLimitBurst= starts are allowed; 0 switches the limit off.",
        |draft, given| {
            draft.start_limit.interval = value::duration(given.value)?.unwrap_or(value::FOREVER);
            Ok(())
        },
    )
    .default("10s"),
    row(
        "StartLimitBurst",
        "NUMBER",
        "3",
        "How many starts are allowed within StartLimitIntervalSec=; one more and the unit is \
         failed (start-limit-hit); 0 switches the limit off.",
        |draft, given| {
            draft.start_limit.burst = integer(given.value, 0, 1_000_000)?;
            Ok(())
        },
    )
    .default("5"),
];

const JOB_MODES: &str = "replace|fail|isolate|ignore-dependencies|ignore-requirements";

fn job_mode(given: &mut Given<'_>) -> Result<JobMode, ValueError> {
    let later = [
        "replace-irreversibly",
        "flush",
        "restart-dependencies",
        "triggering",
    ];
    if later.contains(&given.value) {
        let message = format!("{} is not implemented, taken as replace", given.value);
        given.warn(ValueError::new(message));
        return Ok(JobMode::Replace);
    }
    choice(given.value, &JobMode::WORDS)
}

fn uri(text: &str) -> Result<String, ValueError> {
    let known = ["http://", "https://", "file:", "info:", "man:"];
    if known.iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(text.to_owned());
    }
    Err(
        ValueError::new(format!("{} is no address of documentation", quote(text)))
            .help("begin with https://, file:, info: or man:"),
    )
}
