//! `[Unit]`: what a unit is called, whom it needs, how often it may be started.

use super::{Directive, Section};
use crate::unit::value::{self, Escapes, ValueError, integer, quote};

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
        |draft, given| given.units(&mut draft.relations.requires),
    )
    .list(),
    row(
        "Wants",
        UNITS,
        "reviewer.agent",
        "Units that are started together with this one, however that ends. Says nothing about \
         the order.",
        |draft, given| given.units(&mut draft.relations.wants),
    )
    .list(),
    row(
        "PartOf",
        UNITS,
        "agents.target",
        "Units with which this one is stopped and restarted.",
        |draft, given| given.units(&mut draft.relations.part_of),
    )
    .list(),
    row(
        "Conflicts",
        UNITS,
        "maintenance.service",
        "Units that cannot run at the same time: starting one stops the other.",
        |draft, given| given.units(&mut draft.relations.conflicts),
    )
    .list(),
    row(
        "Before",
        UNITS,
        "agents.target",
        "Units that wait for this one when both are started; at stop the order is reversed.",
        |draft, given| given.units(&mut draft.relations.before),
    )
    .list(),
    row(
        "After",
        UNITS,
        "database.service",
        "Units that this one waits for when both are started; at stop the order is reversed. \
         Does not start them: add Wants= or Requires=.",
        |draft, given| given.units(&mut draft.relations.after),
    )
    .list(),
    row(
        "StartLimitIntervalSec",
        "TIME",
        "1min",
        "The time within which StartLimitBurst= starts are allowed; 0 switches the limit off.",
        |draft, given| {
            draft.start_limit.interval = value::duration(given.value)?.ok_or_else(|| {
                ValueError::new("the interval cannot be infinite").help("write 0 for no limit")
            })?;
            Ok(())
        },
    )
    .default("10s"),
    row(
        "StartLimitBurst",
        "NUMBER",
        "3",
        "How many starts are allowed within StartLimitIntervalSec=; one more and the unit is \
         failed (start-limit-hit). Starts that a person asks for do not count.",
        |draft, given| {
            draft.start_limit.burst = integer(given.value, 1, 1_000_000)?;
            Ok(())
        },
    )
    .default("5"),
];

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
