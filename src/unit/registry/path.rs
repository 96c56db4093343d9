//! `[Path]` (systemd.path(5)).

use super::{Directive, Draft, Given, Section};
use crate::unit::PathCondition;
use crate::unit::value::{ValueError, boolean, duration, integer, octal};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Path, key, syntax, example, doc, apply)
}

pub(super) const ROWS: &[Directive] = &[
    row(
        "PathExists",
        "PATH",
        "/srv/go",
        "Starts the unit whenever something is at this path; also when it has ended and it is \
         still there.",
        watch,
    )
    .list(),
    row(
        "PathExistsGlob",
        "PATTERN",
        "/srv/*/go",
        "Starts the unit whenever something matches this pattern.",
        watch,
    )
    .list(),
    row(
        "PathChanged",
        "PATH",
        "/srv/orders.csv",
        "Starts the unit when a file at this path has been written and closed, or something \
         came or went.",
        watch,
    )
    .list(),
    row(
        "PathModified",
        "PATH",
        "/srv/orders.log",
        "As PathChanged=, and at every single write.",
        watch,
    )
    .list(),
    row(
        "DirectoryNotEmpty",
        "PATH",
        "/srv/inbox",
        "Starts the unit whenever something is in this directory.",
        watch,
    )
    .list(),
    row(
        "Unit",
        "UNIT",
        "sorter.agent",
        "What is started; without it the agent or service of the path unit's own name.",
        |draft, given| super::triggered(given, &mut draft.path_unit),
    ),
    row(
        "MakeDirectory",
        "yes|no",
        "yes",
        "Whether directories to be watched are made first.",
        |draft, given| {
            draft.path.make_directory = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "DirectoryMode",
        "MODE",
        "0700",
        "The mode of directories that MakeDirectory= makes.",
        |draft, given| {
            draft.path.directory_mode = octal(given.value)?;
            Ok(())
        },
    )
    .default("0755"),
    row(
        "TriggerLimitIntervalSec",
        "TIME",
        "10s",
        "The time within which TriggerLimitBurst= starts are allowed; 0 switches the limit off.",
        |draft, given| {
            draft.path.trigger_limit_interval = duration(given.value)?.unwrap_or_default();
            Ok(())
        },
    )
    .default("2s"),
    row(
        "TriggerLimitBurst",
        "NUMBER",
        "20",
        "How many starts are allowed within TriggerLimitIntervalSec=; one more and the path unit \
         fails.",
        |draft, given| {
            draft.path.trigger_limit_burst = integer(given.value, 0, 1_000_000)?;
            Ok(())
        },
    )
    .default("200"),
];

fn watch(draft: &mut Draft, given: &mut Given<'_>) -> Result<(), ValueError> {
    let condition = match given.key {
        "PathExists" => PathCondition::Exists,
        "PathExistsGlob" => PathCondition::ExistsGlob,
        "PathChanged" => PathCondition::Changed,
        "PathModified" => PathCondition::Modified,
        _ => PathCondition::DirectoryNotEmpty,
    };
    if given.is_empty() {
        draft.path.watches.clear();
        return Ok(());
    }
    let path = given.path()?;
    draft.path.watches.push((condition, path));
    if draft.path.watches.len() > super::given::MAX_LIST {
        return Err(ValueError::new("more paths than anybody reads"));
    }
    Ok(())
}
