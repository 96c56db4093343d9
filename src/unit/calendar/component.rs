//! One field's alternatives: what they are, whether they are in order, how they are written.

use std::fmt;

use super::{SECOND, ValueError};

/// First and last year of any elapse.
pub(super) const YEARS: (i64, i64) = (1970, 2199);

/// The fields of a time, coarse to fine; also indices of `Calendar::chains`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    /// In microseconds.
    Second,
}

impl Field {
    pub(super) const ALL: [Self; 6] = [
        Self::Year,
        Self::Month,
        Self::Day,
        Self::Hour,
        Self::Minute,
        Self::Second,
    ];

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Least and most of it.
    pub(super) const fn limits(self) -> (i64, i64) {
        match self {
            Self::Year => YEARS,
            Self::Month => (1, 12),
            Self::Day => (1, 31),
            Self::Hour => (0, 23),
            Self::Minute => (0, 59),
            Self::Second => (0, 60 * SECOND - 1),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
        }
    }
}

/// Alternatives for one field; empty: `*`.
pub(super) type Chain = Vec<Component>;

/// `START`, `START..STOP`, `START/REPEAT` or `START..STOP/REPEAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Component {
    pub(super) start: i64,
    /// The last value that may match; `None`: no range.
    pub(super) stop: Option<i64>,
    /// Distance of matching values; 0: the start alone.
    pub(super) repeat: i64,
}

impl Component {
    pub(super) const fn one(value: i64) -> Self {
        Self {
            start: value,
            stop: None,
            repeat: 0,
        }
    }

    /// `*` in the field of seconds, where an empty chain would mean every microsecond.
    pub(super) const EVERY_SECOND: Self = Self {
        start: 0,
        stop: None,
        repeat: SECOND,
    };

    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, field: Field) -> fmt::Result {
        let (unit, width) = match field {
            Field::Second => (SECOND, 2),
            Field::Year => (1, 4),
            _ => (1, 2),
        };
        let number = |f: &mut fmt::Formatter<'_>, value: i64, width: usize| {
            write!(f, "{:0width$}", value / unit)?;
            match value % unit {
                0 => Ok(()),
                part => write!(f, ".{part:06}"),
            }
        };
        number(f, self.start, width)?;
        if let Some(stop) = self.stop {
            f.write_str("..")?;
            number(f, stop, width)?;
        }
        // A step of one unit goes without saying in a range.
        if self.repeat > 0 && !(self.stop.is_some() && self.repeat == unit) {
            f.write_str("/")?;
            number(f, self.repeat, 1)?;
        }
        Ok(())
    }

    pub(super) fn normalise(&mut self) {
        let Some(stop) = self.stop.filter(|stop| *stop >= self.start) else {
            return;
        };
        // The range ends with a value that matches; one that holds its start alone is no range.
        let stop = stop - (stop - self.start).checked_rem(self.repeat).unwrap_or(0);
        self.stop = Some(stop);
        if stop == self.start {
            *self = Self::one(self.start);
        }
    }

    /// Whether it can be within the limits of its field.
    pub(super) fn check(&self, field: Field, from_end: bool) -> Result<(), ValueError> {
        let name = field.name();
        let (least, most) = field.limits();
        // What is more than 28 days from the end is missing in February.
        let most = if from_end { most - 3 } else { most };
        let shown = |value: i64| match field {
            Field::Second if value % SECOND > 0 => {
                format!("{}.{:06}", value / SECOND, value % SECOND)
            }
            Field::Second => (value / SECOND).to_string(),
            _ => value.to_string(),
        };
        let last = if field == Field::Second { 59 } else { most };
        let within = |value: i64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let message = format!("{name} {} is out of range", shown(value));
            Err(ValueError::new(message).help(format!("write {name}s from {least} to {last}")))
        };
        within(self.start)?;
        if let Some(stop) = self.stop {
            within(stop)?;
            if self.start + self.repeat > stop {
                let (start, stop) = (shown(self.start), shown(stop));
                let message = format!("the range of {name}s {start}..{stop} ends before it begins");
                return Err(ValueError::new(message).help(format!("write {stop}..{start}")));
            }
        }
        let comes_to_pass = match (self.stop, from_end) {
            (Some(_), _) => true,
            (None, true) => self.start - self.repeat >= least,
            (None, false) => self.start + self.repeat <= most,
        };
        if self.repeat > most - least || !comes_to_pass {
            let (start, repeat) = (shown(self.start), shown(self.repeat));
            return Err(
                ValueError::new(format!("{name} {start} is never repeated by /{repeat}")).help(
                    format!("write a smaller number behind the /, or {start} alone"),
                ),
            );
        }
        Ok(())
    }
}
