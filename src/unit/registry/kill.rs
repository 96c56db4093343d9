//! `[Service]` and `[Agent]`: which signals mean what (systemd.kill(5)).

use super::{Directive, Section};
use crate::unit::KillMode;
use crate::unit::value::{ValueError, boolean, choice, signal};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Service, key, syntax, example, doc, apply)
}

pub(super) const ROWS: &[Directive] = &[
    row(
        "KillMode",
        "control-group|mixed|process|none",
        "mixed",
        "Who gets the stop signal: control-group, every process; mixed and process, the main one; none, \
         nobody. What is left after TimeoutStopSec= is killed in any case, and nothing stays behind.",
        |draft, given| {
            if given.value == "none" {
                let error = ValueError::new("with none nobody is asked to stop, and all are killed");
                given.warn(error.help("write mixed or control-group"));
            }
            draft.service.kill_mode = choice(
                given.value,
                &[
                    ("control-group", KillMode::ControlGroup),
                    ("mixed", KillMode::Mixed),
                    ("process", KillMode::Process),
                    ("none", KillMode::None),
                ],
            )?;
            Ok(())
        },
    )
    .default("control-group"),
    row(
        "KillSignal",
        "SIGNAL",
        "SIGINT",
        "The signal that asks to stop, by name or number.",
        |draft, given| {
            draft.service.kill_signal = signal(given.value)?;
            Ok(())
        },
    )
    .default("SIGTERM"),
    row(
        "RestartKillSignal",
        "SIGNAL",
        "SIGHUP",
        "The signal that asks to stop when the unit is to be started again at once; without it, \
         KillSignal=.",
        |draft, given| {
            draft.service.restart_kill_signal = if given.is_empty() {
                None
            } else {
                Some(signal(given.value)?)
            };
            Ok(())
        },
    ),
    row(
        "SendSIGHUP",
        "yes|no",
        "yes",
        "Whether SIGHUP follows the stop signal, which tells shells that their terminal is gone.",
        |draft, given| {
            draft.service.send_sighup = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "SendSIGKILL",
        "yes|no",
        "yes",
        "Understood, and not obeyed where it says no: what has not ended within TimeoutStopSec= is \
         killed in any case, because nothing of a stopped unit stays behind.",
        |_, given| {
            if !boolean(given.value)? {
                let error = ValueError::new(
                    "what does not end in time is killed all the same: nothing of a stopped unit \
                     stays behind",
                );
                given.warn(error.help("write TimeoutStopSec=infinity to wait for it"));
            }
            Ok(())
        },
    )
    .default("yes"),
    row(
        "FinalKillSignal",
        "SIGNAL",
        "SIGQUIT",
        "The signal that ends what has not ended within TimeoutStopSec=. Whatever survives it for \
         as long again is killed.",
        |draft, given| {
            draft.service.final_kill_signal = signal(given.value)?;
            Ok(())
        },
    )
    .default("SIGKILL"),
    row(
        "WatchdogSignal",
        "SIGNAL",
        "SIGTERM",
        "The signal that ends a unit that has been silent for WatchdogSec=.",
        |draft, given| {
            draft.service.watchdog_signal = signal(given.value)?;
            Ok(())
        },
    )
    .default("SIGABRT"),
    row(
        "ReloadSignal",
        "SIGNAL",
        "SIGUSR1",
        "The signal that asks a unit of Type=notify-reload to reload.",
        |draft, given| {
            draft.service.reload_signal = signal(given.value)?;
            Ok(())
        },
    )
    .default("SIGHUP"),
];
