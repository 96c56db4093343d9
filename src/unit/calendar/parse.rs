//! Text → [`Calendar`], with the grammar and the refusals of systemd 252.

use super::reader::Reader;
use super::{Calendar, Component, Field, SECOND, ValueError, WEEKDAYS, Zone};

/// Expressions with a name.
const SHORTHANDS: [(&str, &str); 13] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("bi-annually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    // systemd once spelt it so, and still takes it.
    ("anually", "*-01-01 00:00:00"),
];
/// What to write, where nothing nearer can be said.
const HELP: &str =
    "write for example daily, Mon..Fri 09:00, *-*-01 04:30:00 or *:0/15; see systemd.time(7)";

pub(super) fn calendar(text: &str) -> Result<Calendar, ValueError> {
    let (rest, zone) = zone(text)?;
    let name = |(name, _): &&(&str, &str)| rest.eq_ignore_ascii_case(name);
    let rest = SHORTHANDS
        .iter()
        .find(name)
        .map_or(rest, |(_, meaning)| meaning);
    if rest.is_empty() {
        return Err(ValueError::unreadable(text, "a calendar event").help(HELP));
    }
    let mut reader = Reader { text: rest, at: 0 };
    let mut calendar = Calendar {
        weekdays: reader.weekdays()?,
        chains: Default::default(),
        end_of_month: false,
        zone,
    };
    if reader.peek() == Some(b'@') {
        for (field, value) in Field::ALL.into_iter().zip(reader.unix_time()?) {
            calendar.chains[field.index()] = vec![Component::one(value)];
        }
        calendar.zone = Some(Zone::default());
    } else {
        reader.date(&mut calendar)?;
        reader.time(&mut calendar)?;
    }
    normalise(&mut calendar);
    for field in Field::ALL {
        let from_end = field == Field::Day && calendar.end_of_month;
        for component in &calendar.chains[field.index()] {
            component.check(field, from_end)?;
        }
    }
    Ok(calendar)
}

/// Cuts the time zone off the end.
fn zone(text: &str) -> Result<(&str, Option<Zone>), ValueError> {
    let Some((rest, last)) = text.rsplit_once(' ') else {
        return Ok((text, None));
    };
    if last.eq_ignore_ascii_case("UTC") {
        return Ok((rest, Some(Zone::default())));
    }
    // Behind a space no other word begins with a letter.
    if last.starts_with(|first: char| first.is_ascii_alphabetic()) {
        let found = last.parse::<Zone>();
        let at = rest.len() + 1..text.len();
        return Ok((rest, Some(found.map_err(|error| error.at(at))?)));
    }
    Ok((text, None))
}

/// Two-digit years, order, doubles, and repetitions that never come to pass.
fn normalise(calendar: &mut Calendar) {
    if calendar.weekdays == 0b111_1111 {
        calendar.weekdays = 0;
    }
    calendar.end_of_month &= !calendar.chains[Field::Day.index()].is_empty();
    let century = |year: i64| match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    };
    for year in &mut calendar.chains[Field::Year.index()] {
        year.start = century(year.start);
        year.stop = year.stop.map(century);
    }
    for chain in &mut calendar.chains {
        for component in chain.iter_mut() {
            component.normalise();
        }
        chain.sort_unstable();
        chain.dedup();
    }
}

impl Reader<'_> {
    /// Weekdays and the spaces behind them; 0 where there are none.
    fn weekdays(&mut self) -> Result<u8, ValueError> {
        const HELP: &str = "write weekdays as Mon,Wed or Mon..Fri";
        let mut set = 0;
        let mut from: Option<usize> = None;
        loop {
            let begin = self.at;
            let Some(day) = self.weekday() else {
                if set == 0 && !self.rest().starts_with(|c: char| c.is_ascii_alphabetic()) {
                    return Ok(0);
                }
                return Err(self.error(begin, "a weekday", HELP));
            };
            let first = from.unwrap_or(day);
            if first > day {
                let message = format!(
                    "the weekdays {}..{} end before they begin",
                    &WEEKDAYS[first][..3],
                    &WEEKDAYS[day][..3]
                );
                let help = "a week begins on Monday: write Sat,Sun,Mon for days across its end";
                return Err(ValueError::new(message).help(help));
            }
            for day in first..=day {
                set |= 1 << day;
            }
            let open = match self.peek() {
                None | Some(b' ') => {
                    self.spaces();
                    return Ok(set);
                }
                Some(b',') => {
                    self.at += 1;
                    false
                }
                // `-` is how ranges were once written.
                _ if from.is_none() && (self.take("..") || self.take("-")) => true,
                _ => return Err(self.error(begin, "weekdays", HELP)),
            };
            from = open.then_some(day);
            if matches!(self.peek(), None | Some(b' ')) {
                if open {
                    return Err(self.error(begin, "a range of weekdays", HELP));
                }
                self.spaces();
                return Ok(set);
            }
        }
    }

    /// One weekday in full or by its first three letters.
    fn weekday(&mut self) -> Option<usize> {
        let letters = self.rest().bytes().take_while(u8::is_ascii_alphabetic);
        let end = self.at + letters.count();
        let word = self.text.get(self.at..end)?;
        let day = WEEKDAYS.iter().position(|day| {
            word.eq_ignore_ascii_case(day) || word.eq_ignore_ascii_case(&day[..3])
        })?;
        self.at = end;
        Some(day)
    }

    /// `@SECONDS` since 1970, to the end of the text: the fields of that time in UTC.
    fn unix_time(&mut self) -> Result<[i64; 6], ValueError> {
        let from = self.at;
        let error =
            |reader: &Self| reader.error(from, "a UNIX time", "write @ and the seconds since 1970");
        // As strtoul(3): space, a sign, and a negative number counts from the end.
        let space = |c: char| c.is_ascii_whitespace() || c == '\u{b}';
        let number = self.rest()[1..].trim_start_matches(space);
        let (number, negative) = match number.strip_prefix('-') {
            Some(number) => (number, true),
            None => (number.strip_prefix('+').unwrap_or(number), false),
        };
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error(self));
        }
        let number: u64 = number.parse().map_err(|_| error(self))?;
        let seconds = if negative {
            number.wrapping_neg()
        } else {
            number
        }
        .cast_signed();
        let time = jiff::Timestamp::from_second(seconds).map_err(|_| error(self))?;
        let time = jiff::tz::Offset::UTC.to_datetime(time);
        Ok([
            i64::from(time.year()),
            i64::from(time.month()),
            i64::from(time.day()),
            i64::from(time.hour()),
            i64::from(time.minute()),
            i64::from(time.second()) * SECOND,
        ])
    }

    /// `YEAR-MONTH-DAY`, `MONTH-DAY`, each with `~` for its last `-`, or nothing where a time
    /// follows.
    fn date(&mut self, calendar: &mut Calendar) -> Result<(), ValueError> {
        const HELP: &str = "write a date as 2027-01-31, *-*-01, 12-24, or *-02~01 for the last day";
        let from = self.at;
        if self.peek().is_none() {
            return Ok(());
        }
        let mut parts = vec![self.chain(false)?];
        if matches!(self.peek(), None | Some(b':')) {
            self.at = from;
            return Ok(());
        }
        while !matches!(self.peek(), None | Some(b' ')) {
            // Nothing follows days counted from the end.
            if parts.len() == 3 || calendar.end_of_month {
                return Err(self.error(from, "a date", HELP));
            }
            calendar.end_of_month = self.take("~");
            if !calendar.end_of_month && !self.take("-") {
                return Err(self.error(self.at, "a date", HELP));
            }
            parts.push(self.chain(false)?);
        }
        if parts.len() == 1 {
            return Err(self.error(from, "a date or time", HELP));
        }
        self.spaces();
        for (field, part) in [Field::Day, Field::Month, Field::Year]
            .into_iter()
            .zip(parts.into_iter().rev())
        {
            calendar.chains[field.index()] = part;
        }
        Ok(())
    }

    /// `HOUR:MINUTE`, `HOUR:MINUTE:SECOND`, or nothing for midnight; to the end of the text.
    fn time(&mut self, calendar: &mut Calendar) -> Result<(), ValueError> {
        const HELP: &str = "write a time as 09:30, 09:30:15, *:00 or *:0/15";
        let zero = || vec![Component::one(0)];
        let mut parts = vec![];
        let from = self.at;
        while self.peek().is_some() || parts.len() == 1 {
            if !parts.is_empty() && !self.take(":") || parts.len() == 3 {
                return Err(self.error(from, "a time", HELP));
            }
            parts.push(self.chain(parts.len() == 2)?);
        }
        let fields = [Field::Hour, Field::Minute, Field::Second];
        let parts = parts.into_iter().chain(std::iter::repeat_with(zero));
        for (field, part) in fields.into_iter().zip(parts) {
            calendar.chains[field.index()] = part;
        }
        Ok(())
    }
}
