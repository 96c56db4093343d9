//! Times as people write and read them. Pure but for [`now`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Days, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};

pub(super) use crate::runtime::dollars;

/// A text that is no time.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a time; write \"10 min ago\", 5m, today, \"2026-11-23 20:00\" or RFC 3339")]
pub(super) struct TimeError(String);

/// The present, in microseconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}

/// Reads `--since` and `--until`.
pub(super) fn parse(text: &str, now: DateTime<Local>) -> Result<DateTime<Utc>, TimeError> {
    let wrong = || TimeError(text.to_owned());
    let trimmed = text.trim();
    let midnight = |date: NaiveDate| {
        Local
            .from_local_datetime(&date.and_time(NaiveTime::MIN))
            .earliest()
            .map(|at| at.to_utc())
            .ok_or_else(wrong)
    };
    let day = |back: u64| {
        now.date_naive()
            .checked_sub_days(Days::new(back))
            .ok_or_else(wrong)
    };
    match trimmed {
        "now" => return Ok(now.to_utc()),
        "today" => return midnight(day(0)?),
        "yesterday" => return midnight(day(1)?),
        _ => {}
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(trimmed) {
        return Ok(at.to_utc());
    }
    if let Some(seconds) = trimmed.strip_prefix('@').and_then(|rest| rest.parse().ok()) {
        return DateTime::from_timestamp(seconds, 0).ok_or_else(wrong);
    }
    let local = |at: NaiveDateTime| {
        Local
            .from_local_datetime(&at)
            .earliest()
            .map(|at| at.to_utc())
            .ok_or_else(wrong)
    };
    for form in [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M:%S%.f",
    ] {
        if let Ok(at) = NaiveDateTime::parse_from_str(trimmed, form) {
            return local(at);
        }
    }
    if let Ok(date) = trimmed.parse() {
        return midnight(date);
    }
    for form in ["%H:%M:%S", "%H:%M"] {
        if let Ok(time) = NaiveTime::parse_from_str(trimmed, form) {
            return local(now.date_naive().and_time(time));
        }
    }
    let span = trimmed
        .strip_suffix("ago")
        .or_else(|| trimmed.strip_prefix('-'))
        .unwrap_or(trimmed);
    let back = parse_span(span).ok_or_else(wrong)?;
    let back = chrono::Duration::from_std(back).map_err(|_| wrong())?;
    now.to_utc().checked_sub_signed(back).ok_or_else(wrong)
}

/// Reads `1h 30min`, `5m`, `90` (seconds).
pub(super) fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let tail = tail.trim_start();
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds: u64 = match unit {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hr" | "hour" | "hours" => 3_600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 604_800,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(number.checked_mul(seconds)?))?;
        rest = tail.trim_start();
    }
    Some(total)
}

/// `Mon 2026-11-23 23:16:28 UTC`, as `status` shows it. 0: `n/a`.
pub(super) fn stamp(micros: u64) -> String {
    local(micros).map_or_else(
        || "n/a".to_owned(),
        |at| at.format("%a %Y-%m-%d %H:%M:%S %Z").to_string(),
    )
}

fn local(micros: u64) -> Option<DateTime<Local>> {
    if micros == 0 {
        return None;
    }
    DateTime::from_timestamp_micros(i64::try_from(micros).ok()?).map(|at| at.with_timezone(&Local))
}

/// `3min 5s`, the two largest units; below a second `120ms`.
pub(super) fn span(micros: u64) -> String {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("min", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
    ];
    let Some(first) = UNITS.iter().position(|(_, size)| micros >= *size) else {
        return "0".to_owned();
    };
    let (name, size) = UNITS[first];
    let mut text = format!("{}{name}", micros / size);
    // Seconds and a second unit below them would only flicker.
    if let Some((name, smaller)) = UNITS.get(first + 1).filter(|(name, _)| *name != "ms") {
        let part = (micros % size) / smaller;
        if part > 0 {
            text.push_str(&format!(" {part}{name}"));
        }
    }
    text
}

/// `1.5G`, as limits are written.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [(char, u64); 4] = [
        ('T', 1 << 40),
        ('G', 1 << 30),
        ('M', 1 << 20),
        ('K', 1 << 10),
    ];
    for (unit, size) in UNITS {
        if bytes >= size {
            let tenths = bytes / (size / 10).max(1);
            return match tenths % 10 {
                0 => format!("{}{unit}", tenths / 10),
                part => format!("{}.{part}{unit}", tenths / 10),
            };
        }
    }
    format!("{bytes}B")
}

/// `1.2M`, for tokens.
pub(super) fn short(count: u64) -> String {
    match count {
        0..=9_999 => count.to_string(),
        10_000..=9_999_999 => format!("{}.{}k", count / 1_000, count % 1_000 / 100),
        _ => format!("{}.{}M", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Local> {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .with_timezone(&Local)
    }

    #[test]
    fn reads_times_as_people_write_them() {
        let now = at("2026-11-23T23:16:28Z");
        let read = |text: &str| parse(text, now).unwrap().to_rfc3339();
        assert_eq!(read("10 min ago"), "2026-11-23T23:06:28+00:00");
        assert_eq!(read("5m"), "2026-11-23T23:11:28+00:00");
        assert_eq!(read("-1h 30min"), "2026-11-23T21:46:28+00:00");
        assert_eq!(
            read("2026-11-01T00:00:00+01:00"),
            "2026-10-31T23:00:00+00:00"
        );
        assert_eq!(read("@0"), "1970-01-01T00:00:00+00:00");
        assert!(parse("today", now).unwrap() <= now);
        assert!(parse("yesterday", now).unwrap() < parse("today", now).unwrap());
        for wrong in [
            "",
            "soon",
            "5 parsecs",
            "ago",
            "99999999999999999999d",
            "9999999999999999w",
        ] {
            assert!(parse(wrong, now).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn spans_sizes_and_money() {
        assert_eq!(span(185_000_000), "3min 5s");
        assert_eq!(span(120_000), "120ms");
        assert_eq!(span(2_500_000), "2s");
        assert_eq!(span(90_000_000_000), "1d 1h");
        assert_eq!(span(3), "0");
        assert_eq!(bytes(1_610_612_736), "1.5G");
        assert_eq!(bytes(4 << 30), "4G");
        assert_eq!(bytes(100), "100B");
        assert_eq!(dollars(1_234_567), "$1.2345");
        assert_eq!(
            (short(950).as_str(), short(12_345).as_str()),
            ("950", "12.3k")
        );
    }
}
