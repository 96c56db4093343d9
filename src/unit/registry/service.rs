//! `[Service]` and `[Agent]`: what is run, when it counts as started, how it ends and is restarted
//! (systemd.service(5), systemd.kill(5)).

use std::time::Duration;

use super::{Directive, Given, Section};
use crate::unit::value::{self, Escapes, FOREVER, ValueError, boolean, choice, duration, integer};
use crate::unit::{ExitSet, FailureMode, OomPolicy, Restart, StartType};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Service, key, syntax, example, doc, apply)
}

const COMMAND: &str = "COMMAND";
const STATUSES: &str = "STATUS…";

pub(super) const ROWS: &[Directive] = &[
    row(
        "Type",
        "simple|exec|oneshot|notify|notify-reload|forking|dbus|idle",
        "oneshot",
        "When a start counts as done: simple, as soon as the process exists; exec, when the \
         program has been executed; oneshot, when it has exited with success; notify, when it \
         says READY=1 (sd_notify(3)); notify-reload, the same, and a reload is a signal that is \
         answered so; forking, when the first process has left another one in the background; \
         dbus, when BusName= has been acquired; idle, as exec, once no other job is under way (or \
         after five seconds).",
        |draft, given| {
            draft.service.start = choice(
                given.value,
                &[
                    ("simple", StartType::Simple),
                    ("exec", StartType::Exec),
                    ("oneshot", StartType::Oneshot),
                    ("notify", StartType::Notify),
                    ("notify-reload", StartType::NotifyReload),
                    ("forking", StartType::Forking),
                    ("dbus", StartType::Dbus),
                    ("idle", StartType::Idle),
                ],
            )?;
            Ok(())
        },
    )
    .default("exec")
    .guard(),
    row(
        "ExecStart",
        COMMAND,
        "/usr/bin/worker --once",
        "The command that is the unit. Words are split at white space; quotes and C-style escapes \
         are as in systemd.service(5). Prefixes: - ignores a failure, + runs as the manager's own \
         user without the unit's sandbox (with that user's HOME, a fixed PATH and nothing of \
         EnvironmentFile=), ! runs as the manager's own user inside the unit's sandbox, : leaves \
         $VARIABLES alone, @ takes the second word as argv[0]. Several \
         commands (several lines, or a lone ; between them) only with Type=oneshot. An agent \
         whose runtime brings its own command needs none.",
        |draft, given| given.commands(&mut draft.service.exec_start),
    )
    .list()
    .guard(),
    row(
        "ExecCondition",
        COMMAND,
        "/usr/bin/test -e /srv/go",
        "Commands that decide whether to start at all, before ExecStartPre=: exit codes 1 to 254 pass \
         the start over without a failure.",
        |draft, given| given.commands(&mut draft.service.exec_condition),
    )
    .list()
    .guard(),
    row(
        "ExecStartPre",
        COMMAND,
        "/usr/bin/prepare",
        "Commands that run before ExecStart=, one after the other; the first that fails fails the \
         start.",
        |draft, given| given.commands(&mut draft.service.exec_start_pre),
    )
    .list()
    .guard(),
    row(
        "ExecStartPost",
        COMMAND,
        "/usr/bin/announce",
        "Commands that run when the start counts as done.",
        |draft, given| given.commands(&mut draft.service.exec_start_post),
    )
    .list()
    .guard(),
    row(
        "ExecReload",
        COMMAND,
        "/bin/kill -HUP $MAINPID",
        "Commands that make the running unit read its configuration again.",
        |draft, given| given.commands(&mut draft.service.exec_reload),
    )
    .list()
    .guard(),
    row(
        "ExecStop",
        COMMAND,
        "/usr/bin/say-goodbye",
        "Commands that ask the running unit to stop, before any signal is sent.",
        |draft, given| given.commands(&mut draft.service.exec_stop),
    )
    .list()
    .guard(),
    row(
        "ExecStopPost",
        COMMAND,
        "/usr/bin/clean-up",
        "Commands that run when the unit has ended, however it did.",
        |draft, given| given.commands(&mut draft.service.exec_stop_post),
    )
    .list()
    .guard(),
    row(
        "RemainAfterExit",
        "yes|no",
        "yes",
        "Whether the unit stays active when its processes have exited with success.",
        |draft, given| {
            draft.service.remain_after_exit = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "Restart",
        "no|on-success|on-failure|on-abnormal|on-abort|on-watchdog|always",
        "on-failure",
        "After which ends to start again: on-success, a clean one; on-failure, an unclean exit \
         code, signal, timeout or memory running out; on-abnormal, as on-failure without exit \
         codes; on-abort, an uncaught signal; on-watchdog, the watchdog's; always, any that \
         nobody asked for.",
        |draft, given| {
            draft.service.restart = choice(
                given.value,
                &[
                    ("no", Restart::No),
                    ("on-success", Restart::OnSuccess),
                    ("on-failure", Restart::OnFailure),
                    ("on-abnormal", Restart::OnAbnormal),
                    ("on-abort", Restart::OnAbort),
                    ("on-watchdog", Restart::OnWatchdog),
                    ("always", Restart::Always),
                ],
            )?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "RestartSec",
        "TIME",
        "2s",
        "How long to wait before starting again; with RestartSteps= the first delay.",
        |draft, given| {
            draft.service.restart_sec = duration(given.value)?.unwrap_or(FOREVER);
            Ok(())
        },
    )
    .default("100ms"),
    row(
        "RestartSteps",
        "NUMBER",
        "5",
        "In how many steps the delay grows from RestartSec= to RestartMaxDelaySec=; 0: it does \
         not grow.",
        |draft, given| {
            draft.service.restart_steps = integer(given.value, 0, 1_000)?;
            Ok(())
        },
    )
    .default("0"),
    row(
        "RestartMaxDelaySec",
        "TIME",
        "5min",
        "The longest delay before starting again; infinity: it does not grow.",
        |draft, given| {
            draft.service.restart_max_delay = duration(given.value)?;
            Ok(())
        },
    )
    .default("infinity"),
    row(
        "SuccessExitStatus",
        STATUSES,
        "75 SIGUSR1",
        "Exit codes, status names (TEMPFAIL) and signals that are a success, beside 0 and SIGHUP, \
         SIGINT, SIGTERM and SIGPIPE.",
        |draft, given| statuses(given, &mut draft.service.success_exit),
    )
    .list(),
    row(
        "RestartPreventExitStatus",
        STATUSES,
        "78",
        "Exit codes, status names and signals after which the unit is not started again, whatever \
         Restart= says.",
        |draft, given| statuses(given, &mut draft.service.restart_prevent_exit),
    )
    .list(),
    row(
        "RestartForceExitStatus",
        STATUSES,
        "75",
        "Exit codes, status names and signals after which the unit is started again, whatever \
         Restart= says.",
        |draft, given| statuses(given, &mut draft.service.restart_force_exit),
    )
    .list(),
    row(
        "RestartMode",
        "normal|direct",
        "direct",
        "direct: between two runs the unit is not seen as failed or inactive, so that what needs \
         it and OnFailure= take no notice.",
        |draft, given| {
            draft.service.restart_direct =
                choice(given.value, &[("normal", false), ("direct", true)])?;
            Ok(())
        },
    )
    .default("normal"),
    row(
        "TimeoutStartSec",
        "TIME",
        "5min",
        "How long a start may take before the unit is stopped and failed; 0 or infinity: as long \
         as it likes.",
        |draft, given| {
            draft.service.timeout_start = timeout(given)?;
            Ok(())
        },
    )
    .default("90s")
    .agents("120s"),
    row(
        "TimeoutStopSec",
        "TIME",
        "10s",
        "How long a stop may take before all that is left is killed; 0 or infinity: as long as it \
         likes.",
        |draft, given| {
            draft.service.timeout_stop = timeout(given)?;
            Ok(())
        },
    )
    .default("90s"),
    row(
        "TimeoutSec",
        "TIME",
        "30s",
        "TimeoutStartSec= and TimeoutStopSec= at once.",
        |draft, given| {
            if !given.is_empty() {
                draft.service.timeout_start = timeout(given)?;
                draft.service.timeout_stop = draft.service.timeout_start;
            }
            Ok(())
        },
    ),
    row(
        "TimeoutAbortSec",
        "TIME",
        "5s",
        "How long the unit may take to end after WatchdogSignal=; without it, TimeoutStopSec=.",
        |draft, given| {
            draft.timeout_abort = if given.is_empty() {
                None
            } else {
                Some(timeout(given)?)
            };
            Ok(())
        },
    ),
    row(
        "RuntimeMaxSec",
        "TIME",
        "8h",
        "How long the unit may run before it is stopped and failed (timeout). Time for which it \
         is paused does not count.",
        |draft, given| {
            draft.service.runtime_max = match duration(given.value)? {
                Some(Duration::ZERO) => {
                    let error = ValueError::new("the unit could never run");
                    return Err(error.help("write infinity for no limit"));
                }
                limit => limit,
            };
            Ok(())
        },
    )
    .default("infinity"),
    row(
        "RuntimeRandomizedExtraSec",
        "TIME",
        "10min",
        "Up to how much longer than RuntimeMaxSec= the unit may run; how long it is chosen at random \
         for every run, so that units that started together do not end together.",
        |draft, given| {
            draft.service.runtime_extra = duration(given.value)?.unwrap_or(FOREVER);
            Ok(())
        },
    )
    .default("0"),
    row(
        "TimeoutStartFailureMode",
        FAILURE_MODES,
        "abort",
        "How a unit is ended whose start took longer than TimeoutStartSec=: terminate, as any stop \
         is; abort, by WatchdogSignal=, which leaves a core dump; kill, by FinalKillSignal= at once.",
        |draft, given| {
            draft.service.start_failure_mode = failure_mode(given)?;
            Ok(())
        },
    )
    .default("terminate"),
    row(
        "TimeoutStopFailureMode",
        FAILURE_MODES,
        "abort",
        "What is done to a unit that has not stopped within TimeoutStopSec=: terminate, the next step \
         of any stop (KillSignal= after ExecStop=, FinalKillSignal= after that); abort, \
         WatchdogSignal= first, with TimeoutAbortSec= for it; kill, FinalKillSignal= at once.",
        |draft, given| {
            draft.service.stop_failure_mode = failure_mode(given)?;
            Ok(())
        },
    )
    .default("terminate"),
    row(
        "ExitType",
        "main|cgroup",
        "cgroup",
        "What ends the unit by itself: main, the end of its main process; cgroup, the end of the last \
         of its processes; how the main one ended is the unit's result in either case. Not for \
         Type=oneshot.",
        |draft, given| {
            draft.service.exit_cgroup = choice(given.value, &[("main", false), ("cgroup", true)])?;
            Ok(())
        },
    )
    .default("main"),
    row(
        "OOMPolicy",
        "stop|continue|kill",
        "kill",
        "What it means when the kernel kills one process of the unit for want of memory: stop the \
         unit with the result oom-kill, go on, or kill the rest at once.",
        |draft, given| {
            draft.service.oom_policy = choice(
                given.value,
                &[
                    ("stop", OomPolicy::Stop),
                    ("continue", OomPolicy::Continue),
                    ("kill", OomPolicy::Kill),
                ],
            )?;
            Ok(())
        },
    )
    .default("stop"),
];

const FAILURE_MODES: &str = "terminate|abort|kill";

fn failure_mode(given: &Given<'_>) -> Result<FailureMode, ValueError> {
    choice(
        given.value,
        &[
            ("terminate", FailureMode::Terminate),
            ("abort", FailureMode::Abort),
            ("kill", FailureMode::Kill),
        ],
    )
}

/// A timeout where 0 means none, as systemd has it for starts and stops.
fn timeout(given: &Given<'_>) -> Result<Option<Duration>, ValueError> {
    Ok(duration(given.value)?.filter(|time| !time.is_zero()))
}

fn statuses(given: &mut Given<'_>, set: &mut ExitSet) -> Result<(), ValueError> {
    if given.is_empty() {
        *set = ExitSet::default();
        return Ok(());
    }
    for word in given.words(Escapes::Keep)? {
        if let Err(error) = value::exit_status(&word.text, set) {
            given.error(error.at(word.range));
        }
    }
    Ok(())
}
