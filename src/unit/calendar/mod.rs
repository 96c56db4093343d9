//! Calendar events, the language of `OnCalendar=` (systemd.time(7), "CALENDAR EVENTS").
//!
//! [`Calendar`] is one expression; its text is read in `parse` and `reader`, its next time is
//! sought in `search`, and [`Zone`] is the time zone it is meant in. What is taken, what is
//! refused, the normalised form and every elapse are those of systemd 252 (`tests/it/calendar.rs`
//! compares them with `systemd-analyze calendar`), down to what glibc's mktime(3) makes of the
//! hours that a clock change skips or repeats. It differs on purpose in this:
//!
//! - An abbreviation of the local zone (`daily CEST`) is no zone: a file means the same everywhere.
//! - A zone named in an expression comes from the bundled database, not from the host's; which
//!   has no `posix/` and `right/`, and in which summer time is never the standard (Europe/Dublin).
//! - A list of days from the end of the month may have any of them; systemd allows its second value
//!   three days less, the third six, by a slip.
//! - A repetition that runs beyond the end of its field (`*-1/5-1`) goes on at the next one's start;
//!   systemd misses times there, or finds none at all, when clocks are changed in between.
//! - [`Calendar::next`] never answers with a time that has passed, as systemd can where a clock
//!   repeats an hour.

mod component;
mod parse;
mod reader;
mod search;
#[cfg(test)]
mod tests;
mod zone;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::value::ValueError;
use component::{Chain, Component, Field};
pub use zone::Zone;

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;
/// The days of the week in order; bit 0 of a set of them is Monday.
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
/// One calendar event expression, normalised.
///
/// Made from text with [`FromStr`]; its `Display` is the normalised form that `systemd-analyze
/// calendar` prints, and it is serialised as that text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Calendar {
    /// Bit 0 is Monday; 0: any day.
    weekdays: u8,
    /// What matches in each field, by [`Field`].
    chains: [Chain; 6],
    /// Days are counted from the end of the month, the last being 1.
    end_of_month: bool,
    /// The zone it is meant in; `None`: the local one.
    zone: Option<Zone>,
}

impl FromStr for Calendar {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        parse::calendar(text)
    }
}

impl TryFrom<String> for Calendar {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl From<Calendar> for String {
    fn from(calendar: Calendar) -> Self {
        format!("{calendar:#}")
    }
}

impl fmt::Display for Calendar {
    /// The normalised form. systemd writes a list of seconds that has `0/1` in it as `*`, and so
    /// forgets fractions beside it; the alternate form (`{:#}`) writes such a list in full.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_weekdays(f)?;
        for field in Field::ALL {
            let chain = &self.chains[field.index()];
            f.write_str(match field {
                Field::Year => "",
                Field::Day if self.end_of_month => "~",
                Field::Month | Field::Day => "-",
                Field::Hour => " ",
                Field::Minute | Field::Second => ":",
            })?;
            let every = chain.contains(&Component::EVERY_SECOND);
            if chain.is_empty() || field == Field::Second && every && !f.alternate() {
                f.write_str("*")?;
                continue;
            }
            for (at, component) in chain.iter().enumerate() {
                f.write_str(if at > 0 { "," } else { "" })?;
                component.write(f, field)?;
            }
        }
        match &self.zone {
            Some(zone) => write!(f, " {}", zone.name()),
            None => Ok(()),
        }
    }
}

impl Calendar {
    /// `Mon..Thu,Sat,Sun `: ranges from three days on.
    fn write_weekdays(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |day: usize| self.weekdays & (1 << day) != 0;
        let short = |day: usize| &WEEKDAYS[day][..3];
        let mut comma = "";
        let mut day = 0;
        while day < WEEKDAYS.len() {
            let Some(first) = (day..WEEKDAYS.len()).find(|day| has(*day)) else {
                break;
            };
            day = (first..WEEKDAYS.len())
                .find(|day| !has(*day))
                .unwrap_or(WEEKDAYS.len());
            write!(f, "{comma}{}", short(first))?;
            comma = ",";
            match day - first {
                1 => {}
                2 => write!(f, ",{}", short(day - 1))?,
                _ => write!(f, "..{}", short(day - 1))?,
            }
        }
        f.write_str(if comma.is_empty() { "" } else { " " })
    }
}
