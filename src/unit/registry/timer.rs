//! `[Timer]` (systemd.timer(5)).

use std::time::Duration;

use super::{Directive, Draft, Given, Section};
use crate::unit::TimerBase;
use crate::unit::value::{FOREVER, ValueError, boolean, duration};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Timer, key, syntax, example, doc, apply)
}

pub(super) const ROWS: &[Directive] = &[
    row(
        "OnActiveSec",
        "TIME",
        "30s",
        "Elapses so long after the timer itself was started.",
        monotonic,
    )
    .list(),
    row(
        "OnBootSec",
        "TIME",
        "15min",
        "Elapses so long after the machine was started.",
        monotonic,
    )
    .list(),
    row(
        "OnStartupSec",
        "TIME",
        "5min",
        "Elapses so long after the manager was started.",
        monotonic,
    )
    .list(),
    row(
        "OnUnitActiveSec",
        "TIME",
        "1h",
        "Elapses so long after the unit was last started.",
        monotonic,
    )
    .list(),
    row(
        "OnUnitInactiveSec",
        "TIME",
        "1h",
        "Elapses so long after the unit last ended.",
        monotonic,
    )
    .list(),
    row(
        "OnCalendar",
        "CALENDAR",
        "Mon..Fri 06:30",
        "Elapses at these times (systemd.time(7), CALENDAR EVENTS): weekdays, date, time, time \
         zone, with * for any, lists, ranges and /n for every n-th; or daily, weekly and so on.",
        |draft, given| {
            if given.is_empty() {
                return monotonic(draft, given);
            }
            let calendar = given.expanded()?.parse()?;
            draft.timer.calendar.push(calendar);
            if draft.timer.calendar.len() > super::given::MAX_LIST {
                return Err(ValueError::new("more elapses than anybody reads"));
            }
            Ok(())
        },
    )
    .list(),
    row(
        "AccuracySec",
        "TIME",
        "1s",
        "How far an elapse may be put off, so that it falls together with others.",
        |draft, given| {
            draft.timer.accuracy = span(given)?.max(Duration::from_micros(1));
            Ok(())
        },
    )
    .default("1min"),
    row(
        "RandomizedDelaySec",
        "TIME",
        "10min",
        "Each elapse is put off by a random time between nothing and this.",
        |draft, given| {
            draft.timer.randomized_delay = span(given)?;
            Ok(())
        },
    )
    .default("0"),
    row(
        "FixedRandomDelay",
        "yes|no",
        "yes",
        "The random time of RandomizedDelaySec= is chosen once for this timer on this machine.",
        |draft, given| {
            draft.timer.fixed_random_delay = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "Persistent",
        "yes|no",
        "yes",
        "When an elapse of OnCalendar= was missed while the timer was not active, it is made up \
         for as soon as the timer is started.",
        |draft, given| {
            draft.timer.persistent = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "RemainAfterElapse",
        "yes|no",
        "no",
        "Whether the timer stays active when nothing is to come any more.",
        |draft, given| {
            draft.timer.remain_after_elapse = boolean(given.value)?;
            Ok(())
        },
    )
    .default("yes"),
    row(
        "OnClockChange",
        "yes|no",
        "yes",
        "Elapses when the clock of the day jumps.",
        |draft, given| {
            draft.timer.on_clock_change = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "OnTimezoneChange",
        "yes|no",
        "yes",
        "Elapses when the local time zone is changed.",
        |draft, given| {
            draft.timer.on_timezone_change = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "Unit",
        "UNIT",
        "nightly.agent",
        "What is started when the timer elapses; without it the agent or service of the timer's \
         own name.",
        |draft, given| super::triggered(given, &mut draft.timer_unit),
    ),
];

fn span(given: &Given<'_>) -> Result<Duration, ValueError> {
    Ok(duration(given.value)?.unwrap_or(FOREVER))
}

fn monotonic(draft: &mut Draft, given: &mut Given<'_>) -> Result<(), ValueError> {
    let base = match given.key {
        "OnActiveSec" => TimerBase::Active,
        "OnBootSec" => TimerBase::Boot,
        "OnStartupSec" => TimerBase::Startup,
        "OnUnitActiveSec" => TimerBase::UnitActive,
        _ => TimerBase::UnitInactive,
    };
    if given.is_empty() {
        // As in systemd: every kind of elapse is dropped, not this one only.
        draft.timer.monotonic.clear();
        draft.timer.calendar.clear();
        return Ok(());
    }
    let value = span(given)?;
    draft.timer.monotonic.push((base, value));
    if draft.timer.monotonic.len() > super::given::MAX_LIST {
        return Err(ValueError::new("more elapses than anybody reads"));
    }
    Ok(())
}
