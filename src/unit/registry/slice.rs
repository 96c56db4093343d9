//! `[Slice]`: what the units below a slice share, and how many of them may be up at once.

use super::{Directive, Section};
use crate::unit::value::integer;

pub(super) const ROWS: &[Directive] = &[Directive::new(
    Section::Slice,
    "MaxConcurrent",
    "NUMBER|infinity",
    "4",
    "How many services and agents below this slice may be up at once. Further starts wait, in \
     the order in which they were asked for, until one has ended.",
    |draft, given| {
        draft.max_concurrent = match given.value {
            "infinity" => None,
            number => Some(integer(number, 1, 1_000_000)?),
        };
        Ok(())
    },
)
.default("infinity")
.guard()];
