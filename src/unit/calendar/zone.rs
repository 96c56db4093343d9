//! Time zones, and mktime(3) as glibc has it.
//!
//! systemd finds its way through clock changes with mktime(3) alone, so what a calendar does there
//! is what glibc answers: [`Clock::settle`] probes as glibc does, with the offset of the last answer
//! as its first guess. Which offsets a zone has is jiff's knowledge.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::ValueError;
use crate::unit::value::quote;

/// A time zone. The default is UTC.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

impl Zone {
    /// From the bytes of a TZif file (RFC 9636) such as `/etc/localtime`; the name is what it is
    /// shown as.
    ///
    /// # Errors
    /// When the bytes are no TZif.
    pub fn from_tzif(name: &str, bytes: &[u8]) -> Result<Self, ValueError> {
        let rules = TimeZone::tzif(name, bytes).map_err(|error| {
            ValueError::new(format!(
                "cannot read the time zone {}: {error}",
                quote(name)
            ))
            .help("give a file as in /usr/share/zoneinfo")
        })?;
        let name = name.to_owned();
        Ok(Self { name, rules })
    }

    /// Its name: `UTC`, or of the IANA database, or the one given with its bytes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            name: "UTC".to_owned(),
            rules: TimeZone::UTC,
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Zone").field(&self.name).finish()
    }
}

impl FromStr for Zone {
    type Err = ValueError;

    /// `UTC` or a name of the IANA database, in its own spelling as in `/usr/share/zoneinfo`.
    fn from_str(name: &str) -> Result<Self, ValueError> {
        if name == "UTC" {
            return Ok(Self::default());
        }
        let unknown =
            |help: String| ValueError::new(format!("{} is no time zone", quote(name))).help(help);
        let example = || "write UTC, or a name such as Europe/Berlin".to_owned();
        // jiff also takes other cases, and has a name for what is not known.
        let rules = TimeZoneDatabase::bundled()
            .get(name)
            .ok()
            .filter(|rules| !rules.is_unknown())
            .ok_or_else(|| unknown(example()))?;
        match rules.iana_name() {
            Some(known) if known != name => Err(unknown(format!("did you mean {known}?"))),
            _ => Ok(Self {
                name: name.to_owned(),
                rules,
            }),
        }
    }
}

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A time of a zone in fields (`struct tm`); fields may be beyond their limits until they are
/// settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Local {
    /// Year, month, day, hour, minute, second; months and days from 1.
    pub(super) fields: [i64; 6],
    /// Daylight saving time; `None`: whichever it is (`tm_isdst`).
    pub(super) dst: Option<bool>,
}

impl Local {
    /// Seconds since 1970 if this were UTC; whatever is beyond its limits carries over.
    fn seconds(&self) -> i64 {
        let [year, month, day, hour, minute, second] = self.fields;
        let months = year * 12 + month - 1;
        let days = days(months.div_euclid(12), months.rem_euclid(12) + 1) + day - 1;
        days * DAY + hour * 3600 + minute * 60 + second
    }

    /// The day of the week, 0 for Monday.
    pub(super) fn weekday(&self) -> i64 {
        // 1970 began on a Thursday.
        (self.seconds().div_euclid(DAY) + 3).rem_euclid(7)
    }
}

/// Days from 1970 to the first of a month, in the Gregorian calendar for all time.
fn days(year: i64, month: i64) -> i64 {
    // Years from March on: the leap day is the last one.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (month * 153 + 2) / 5 - 719_468
}

/// A zone, and what mktime(3) remembers between its calls.
#[derive(Debug)]
pub(super) struct Clock<'z> {
    zone: &'z Zone,
    /// Seconds east of UTC, by the last answer.
    guess: i64,
}

/// How often a time is guessed.
const PROBES: usize = 6;
/// The shortest stretch of summer or winter time ever, in seconds.
const STRIDE: i64 = 601_200;
/// How far away a stretch of the other kind is sought, in seconds: half the longest.
const REACH: i64 = 536_454_000 / 2 + STRIDE;

impl<'z> Clock<'z> {
    /// A clock that has last answered for the given second since 1970.
    pub(super) fn new(zone: &'z Zone, at: i64) -> Self {
        let guess = 0;
        let mut clock = Self { zone, guess };
        clock.guess = clock.local(at).map_or(0, |local| local.seconds() - at);
        clock
    }

    /// localtime(3); `None` beyond the years -9999 to 9999.
    pub(super) fn local(&self, at: i64) -> Option<Local> {
        let at = Timestamp::from_second(at).ok()?;
        let info = self.zone.rules.to_offset_info(at);
        let time = info.offset().to_datetime(at);
        let fields = [
            i64::from(time.year()),
            i64::from(time.month()),
            i64::from(time.day()),
            i64::from(time.hour()),
            i64::from(time.minute()),
            i64::from(time.second()),
        ];
        let dst = Some(info.dst().is_dst());
        Some(Local { fields, dst })
    }

    /// mktime(3): brings fields within their limits and gives the seconds since 1970. `None`, and
    /// nothing is changed, where glibc finds none or it is before 1970 (which systemd takes for
    /// a failure, but keeps the fields).
    pub(super) fn settle(&mut self, local: &mut Local) -> Option<i64> {
        let second = local.fields[5];
        let mut wanted = *local;
        // As glibc, which leaves room for leap seconds: what is beyond a minute is added at last.
        wanted.fields[5] = second.clamp(0, 59);
        let (mut at, mut found) = self.probe(&wanted)?;
        self.guess = wanted.seconds() - at;
        if second != found.fields[5] {
            at += second - wanted.fields[5];
            found = self.local(at)?;
        }
        *local = found;
        (at >= 0).then_some(at)
    }

    /// The time with these fields, and how they really are then.
    fn probe(&self, wanted: &Local) -> Option<(i64, Local)> {
        let target = wanted.seconds();
        let (mut before, mut last, mut at) = {
            let first = target - self.guess;
            (first, first, first)
        };
        let mut last_dst = false;
        for _ in 0..PROBES {
            let found = self.local(at)?;
            let dst = found.dst == Some(true);
            let off = target - found.seconds();
            if off == 0 {
                return self.with_dst(wanted, at, found);
            }
            // Between two times for ever: the clock skips this one. Of the two the one is taken
            // that has the other kind of time than was asked for, or summer time.
            let taken = wanted.dst.map_or(last_dst <= dst, |asked| asked != dst);
            if at == before && at != last && taken {
                return Some((at, found));
            }
            (before, last, last_dst) = (last, at, dst);
            at += off;
        }
        None
    }

    /// A time found with the wrong kind of time is moved to the one asked for, by the offset of
    /// the nearest stretch of that kind.
    fn with_dst(&self, wanted: &Local, at: i64, found: Local) -> Option<(i64, Local)> {
        if wanted.dst.is_none() || wanted.dst == found.dst {
            return Some((at, found));
        }
        let mut away = STRIDE;
        while away < REACH {
            for near in [at - away, at + away] {
                let local = self.local(near)?;
                if local.dst == wanted.dst {
                    let at = near + wanted.seconds() - local.seconds();
                    return Some((at, self.local(at)?));
                }
            }
            away += STRIDE;
        }
        None
    }
}
