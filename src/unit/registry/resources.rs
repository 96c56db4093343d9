//! `[Service]` and `[Agent]`: what a unit may use (systemd.resource-control(5)).

use super::{Directive, Given, Section};
use crate::unit::value::{ValueError, bytes, integer, permille};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    // A limit that is not there because of a typing mistake is no limit: every row is a guard.
    Directive::new(Section::Service, key, syntax, example, doc, apply).guard()
}

pub(super) const ROWS: &[Directive] = &[
    row(
        "MemoryHigh",
        "BYTES|PERCENT",
        "2G",
        "The memory of all processes together above which they are slowed down and made to give \
         some back; a percentage is a share of the machine's.",
        |draft, given| {
            draft.service.resources.memory_high = memory(given)?;
            Ok(())
        },
    )
    .default("infinity"),
    row(
        "MemoryMax",
        "BYTES|PERCENT",
        "4G",
        "The memory of all processes together that is never exceeded: beyond it the kernel kills \
         (see OOMPolicy=).",
        |draft, given| {
            let limit = memory(given)?;
            if limit == Some(0) {
                return Err(ValueError::new("nothing can run in no memory")
                    .help("write for example 512M or 4G"));
            }
            draft.service.resources.memory_max = limit;
            Ok(())
        },
    )
    .default("infinity"),
    row(
        "MemorySwapMax",
        "BYTES|PERCENT",
        "0",
        "The swap space of all processes together that is never exceeded.",
        |draft, given| {
            draft.service.resources.memory_swap_max = memory(given)?;
            Ok(())
        },
    )
    .default("infinity"),
    row(
        "CPUQuota",
        "PERCENT",
        "150%",
        "The processor time of all processes together, as a share of one processor: 200% is two. \
         Without it there is no limit.",
        |draft, given| {
            draft.service.resources.cpu_quota = match given.value {
                "" => None,
                text => Some(permille(text)?),
            };
            Ok(())
        },
    ),
    row(
        "CPUWeight",
        "NUMBER",
        "50",
        "The share of processor time when there is not enough for all, from 1 to 10000; others \
         have 100.",
        |draft, given| {
            draft.service.resources.cpu_weight = match given.value {
                "" => None,
                "idle" => {
                    given.warn(ValueError::new("idle is not implemented, taken as 1"));
                    Some(1)
                }
                text => Some(integer(text, 1, 10_000)?),
            };
            Ok(())
        },
    ),
    row(
        "TasksMax",
        "NUMBER|PERCENT",
        "512",
        "The most processes and threads at a time; infinity is no limit, a percentage a share of what \
         the kernel allows.",
        |draft, given| {
            draft.service.resources.tasks_max = match given.value {
                "infinity" => None,
                text if text.ends_with('%') => Some(share(text, given.facts.tasks)?.max(1)),
                text => Some(integer(text, 1, u64::from(u32::MAX))?),
            };
            Ok(())
        },
    )
    .default("infinity")
    .agents("1024"),
];

fn memory(given: &Given<'_>) -> Result<Option<u64>, ValueError> {
    if given.value.ends_with('%') {
        return share(given.value, given.facts.memory).map(Some);
    }
    Ok(Some(bytes(given.value)?).filter(|size| *size != u64::MAX))
}

/// A share of what the machine has.
fn share(text: &str, whole: u64) -> Result<u64, ValueError> {
    let share = permille(text)?;
    if share > 1000 {
        return Err(ValueError::new("there is no more than 100%"));
    }
    if whole == 0 {
        return Err(
            ValueError::new("how much the machine has is not known here")
                .help("write it without a percent sign"),
        );
    }
    let part = u128::from(whole) * u128::from(share) / 1000;
    u64::try_from(part).map_err(|_| ValueError::new("the share is too large"))
}
