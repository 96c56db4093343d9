//! The next time an expression elapses.
//!
//! The search of systemd's `find_next`: from coarse to fine each field is moved to its next
//! matching value; one that has none left moves the next coarser field and starts over, and so does
//! one that mktime(3) moved, at the end of a month or where the clock is changed.

use super::component::YEARS;
use super::zone::{Clock, Local};
use super::{Calendar, Component, Field, SECOND, Zone};

/// After so many rounds systemd gives up.
const ROUNDS: usize = 1000;
/// The last microsecond from which systemd seeks: 9999-12-30 23:59:59.
const LATEST: u64 = 253_402_214_399_000_000;
/// A quarter of an hour in microseconds: clocks are changed by these.
const QUARTER: u64 = 900_000_000;
/// The largest step back that a clock makes, in quarters.
const LONGEST_OVERLAP: u64 = 25 * 4;

/// What mktime(3) did to the fields.
#[derive(Debug, PartialEq, Eq)]
enum Bounds {
    /// Nothing: such a time exists.
    Kept,
    /// Moved to a later time, whose finer fields have still to be sought.
    Moved,
    /// There is no such time, it would be earlier, or it is too late.
    Outside,
}

/// A time under way, and the zone it is in.
struct Search<'c> {
    calendar: &'c Calendar,
    clock: Clock<'c>,
    now: Local,
    /// Below the second.
    micros: i64,
    /// Where it began.
    start: ([i64; 6], i64),
    /// mktime(3) went behind the start: from then on it is held to the kind of time it answers.
    /// (systemd has this since 2025, its pull request 36897, and so has Debian 12's 252.38; others
    /// go round in circles where summer time is the standard, as in Dublin.)
    stuck: bool,
}

impl Calendar {
    /// The first time it elapses after the given one, both in microseconds since 1970
    /// (`CLOCK_REALTIME`); `local` is the zone of expressions that name none. `None`: never, or not
    /// before the year 2200, or not found within the rounds that systemd allows itself.
    #[must_use]
    pub fn next(&self, after: u64, local: &Zone) -> Option<u64> {
        let zone = self.zone.as_ref().unwrap_or(local);
        // The guess of mktime(3) can fall into the first of two equal hours though the second has
        // begun; there systemd would go back in time, and we go on behind them.
        (0..=LONGEST_OVERLAP)
            .map(|quarters| after.saturating_add(quarters * QUARTER))
            .map(|from| self.seek(from, zone))
            .find(|found| found.is_none_or(|found| found > after))
            .flatten()
    }

    fn seek(&self, after: u64, zone: &Zone) -> Option<u64> {
        if after > LATEST {
            return None;
        }
        let from = i64::try_from(after + 1).ok()?;
        let clock = Clock::new(zone, from / SECOND);
        let (now, micros) = (clock.local(from / SECOND)?, from % SECOND);
        let mut search = Search {
            calendar: self,
            clock,
            now,
            micros,
            start: (now.fields, micros),
            stuck: false,
        };
        for _ in 0..ROUNDS {
            match search.round() {
                Step::Found => {
                    let at = search.clock.settle(&mut search.now)?;
                    return u64::try_from(at * SECOND + search.micros).ok();
                }
                Step::Again => {}
                Step::Never => return None,
            }
        }
        None
    }
}

/// How a round ended.
enum Step {
    Found,
    Again,
    Never,
}

impl Search<'_> {
    fn round(&mut self) -> Step {
        self.clock.settle(&mut self.now);
        if !self.stuck {
            self.now.dst = None;
        }
        for field in Field::ALL {
            let moved = self.advance(field);
            if moved == Some(true) && field != Field::Second {
                self.reset(field.index() + 1);
            }
            let bounds = match moved {
                Some(_) => self.within_bounds(),
                None => Bounds::Outside,
            };
            match (bounds, field) {
                (Bounds::Kept, Field::Day) if !self.matches_weekday() => {
                    self.now.fields[Field::Day.index()] += 1;
                    self.reset(Field::Hour.index());
                    return Step::Again;
                }
                (Bounds::Kept, _) => {}
                (_, Field::Year) => return Step::Never,
                (Bounds::Moved, _) => return Step::Again,
                (Bounds::Outside, _) => {
                    self.now.fields[field.index() - 1] += 1;
                    self.reset(field.index());
                    return Step::Again;
                }
            }
        }
        if (self.now.fields, self.micros) < self.start {
            self.stuck = true;
            self.now.fields[Field::Hour.index()] += 1;
            return Step::Again;
        }
        Step::Found
    }

    /// The fields from this one on at their least.
    fn reset(&mut self, from: usize) {
        for field in &Field::ALL[from..] {
            self.now.fields[field.index()] = field.limits().0;
        }
        self.micros = 0;
    }

    /// Moves one field to its next matching value; whether it had to be moved. `None`: there is
    /// none left.
    fn advance(&mut self, field: Field) -> Option<bool> {
        let calendar = self.calendar;
        let chain = &calendar.chains[field.index()];
        if chain.is_empty() {
            return Some(false);
        }
        let value = match field {
            Field::Second => self.now.fields[field.index()] * SECOND + self.micros,
            _ => self.now.fields[field.index()],
        };
        let from_end = field == Field::Day && calendar.end_of_month;
        let next = chain
            .iter()
            .filter_map(|component| {
                if from_end {
                    self.days_from_end(component).from(value)
                } else {
                    component.from(value)
                }
            })
            .min()?;
        if field == Field::Second {
            self.now.fields[field.index()] = next / SECOND;
            self.micros = next % SECOND;
        } else {
            self.now.fields[field.index()] = next;
        }
        Some(next != value)
    }

    /// Days counted from the end of this month as days of the month; a range is turned round.
    fn days_from_end(&mut self, component: &Component) -> Component {
        let start = self.day_from_end(component.start).unwrap_or(-1);
        // systemd asks for the day before the first too, and mktime(3) remembers it.
        let stop = self.day_from_end(component.stop.unwrap_or(-1));
        let (start, stop) = match stop {
            Some(stop) => (stop, Some(start)),
            None => (start, None),
        };
        Component {
            start,
            stop: stop.filter(|stop| *stop >= 0),
            repeat: component.repeat,
        }
    }

    fn day_from_end(&mut self, day: i64) -> Option<i64> {
        let (month, at) = (Field::Month.index(), Field::Day.index());
        let mut local = self.now;
        local.fields[month] += 1;
        local.fields[at] = 1 - day;
        self.clock.settle(&mut local)?;
        (local.fields[month] == self.now.fields[month]).then_some(local.fields[at])
    }

    fn within_bounds(&mut self) -> Bounds {
        let now = self.now;
        if now.fields[Field::Year.index()] > YEARS.1 {
            return Bounds::Outside;
        }
        let mut settled = now;
        if self.clock.settle(&mut settled).is_none() {
            return Bounds::Outside;
        }
        let Some(field) = Field::ALL
            .into_iter()
            .find(|field| settled.fields[field.index()] != now.fields[field.index()])
        else {
            return Bounds::Kept;
        };
        if settled.fields[field.index()] < now.fields[field.index()] {
            return Bounds::Outside;
        }
        // Else what lies between the start of the coarser field and here would be missed.
        if let Some(finer) = Field::ALL.get(field.index() + 1) {
            settled.fields[finer.index()] = finer.limits().0;
        }
        // What kind of time is there is not known. systemd keeps the kind of the later time, and
        // so misses the first of January or never arrives there.
        settled.dst = None;
        self.now = settled;
        Bounds::Moved
    }

    fn matches_weekday(&mut self) -> bool {
        let weekdays = self.calendar.weekdays;
        let mut settled = self.now;
        weekdays == 0
            || self.clock.settle(&mut settled).is_some() && weekdays & (1 << settled.weekday()) != 0
    }
}

impl Component {
    /// The first matching value from this one on.
    fn from(&self, value: i64) -> Option<i64> {
        if self.start >= value {
            return Some(self.start);
        }
        if self.repeat == 0 {
            return None;
        }
        let steps = (value - self.start + self.repeat - 1) / self.repeat;
        let next = self.start + self.repeat * steps;
        self.stop.is_none_or(|stop| next <= stop).then_some(next)
    }
}
