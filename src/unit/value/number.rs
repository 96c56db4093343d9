//! Numbers and what is counted with them: time, bytes, shares, modes, resource limits.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::ValueError;

/// Units of time with their microseconds (systemd.time(7)).
const TIME_UNITS: [(&[&str], u128); 9] = [
    (&["usec", "us", "µs", "μs"], 1),
    (&["msec", "ms"], 1_000),
    (&["seconds", "second", "sec", "s"], SECOND),
    (&["minutes", "minute", "min", "m"], 60 * SECOND),
    (&["hours", "hour", "hr", "h"], 3_600 * SECOND),
    (&["days", "day", "d"], 86_400 * SECOND),
    (&["weeks", "week", "w"], 604_800 * SECOND),
    (&["months", "month", "M"], 2_629_800 * SECOND),
    (&["years", "year", "y"], 31_557_600 * SECOND),
];
const SECOND: u128 = 1_000_000;
/// What `infinity` is where something is counted from and to: as good as never.
pub const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// The longest span in microseconds: beyond it there is only `infinity`.
const LONGEST: u128 = u64::MAX as u128;

/// Between the parts of a time span.
const BLANK: [char; 4] = [' ', '\t', '\n', '\r'];

/// A time span such as `5min 20s`, `1.5h` or `500ms` (systemd.time(7), "PARSING TIME SPANS"): parts
/// are added up, and one without a unit is seconds. `None`: `infinity`.
///
/// # Errors
/// When the text is no time span or too long a one.
pub fn duration(text: &str) -> Result<Option<Duration>, ValueError> {
    let mut rest = text.trim_matches(BLANK);
    if rest == "infinity" {
        return Ok(None);
    }
    let unreadable = || {
        ValueError::unreadable(text, "a time span").help("write for example 90s, 5min 20s or 500ms")
    };
    if rest.is_empty() {
        return Err(unreadable());
    }
    let too_long = || ValueError::new("time span is too long").help("write infinity for no limit");
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let part = Span::read(rest).ok_or_else(unreadable)?;
        total += part.micros().ok_or_else(too_long)?;
        if total >= LONGEST {
            return Err(too_long());
        }
        rest = part.rest.trim_start_matches(BLANK);
    }
    let micros = u64::try_from(total).map_err(|_| too_long())?;
    Ok(Some(Duration::from_micros(micros)))
}

/// One part of a time span, as far as it is understood, and what follows it.
struct Span<'t> {
    whole: &'t str,
    fraction: &'t str,
    /// Microseconds of its unit.
    unit: u128,
    rest: &'t str,
}

impl<'t> Span<'t> {
    fn read(text: &'t str) -> Option<Self> {
        let digits = |text: &'t str| {
            let end = text.find(|c: char| !c.is_ascii_digit());
            text.split_at(end.unwrap_or(text.len()))
        };
        let (whole, after) = digits(text.strip_prefix('+').unwrap_or(text));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => Some(digits(after)).filter(|(fraction, _)| !fraction.is_empty())?,
            None => ("", after),
        };
        // `.5` is half a second, `+.5` and a unit alone are nothing.
        if whole.is_empty() && (fraction.is_empty() || text.starts_with('+')) {
            return None;
        }
        let next = after.trim_start_matches(BLANK);
        // The longest name: `min` is not `m` and something.
        let named = TIME_UNITS
            .iter()
            .flat_map(|(names, unit)| names.iter().map(move |name| (*name, *unit)))
            .filter(|(name, _)| next.starts_with(name))
            .max_by_key(|(name, _)| name.len());
        let (unit, rest) = match named {
            Some((name, unit)) => (unit, &next[name.len()..]),
            None if next.len() < after.len() || next.is_empty() => (SECOND, next),
            None => return None,
        };
        Some(Self {
            whole,
            fraction,
            unit,
            rest,
        })
    }

    /// `None`: too long.
    fn micros(&self) -> Option<u128> {
        let whole = if self.whole.is_empty() {
            "0"
        } else {
            self.whole
        };
        let whole: i64 = whole.parse().ok()?;
        let whole = u128::try_from(whole)
            .ok()
            .filter(|whole| *whole < LONGEST / self.unit)?;
        // Digit by digit and cut each time, as systemd does.
        let (fraction, _) = self
            .fraction
            .bytes()
            .fold((0, self.unit), |(sum, unit), digit| {
                let unit = unit / 10;
                (sum + u128::from(digit - b'0') * unit, unit)
            });
        Some(whole * self.unit + fraction)
    }
}

/// A size in bytes with the suffixes B, K, M, G, T, P, E to the base 1024; `u64::MAX` is
/// `infinity`.
///
/// # Errors
/// When the text is no size; percentages are none.
pub fn bytes(text: &str) -> Result<u64, ValueError> {
    if text == "infinity" {
        return Ok(u64::MAX);
    }
    if text.ends_with('%') {
        let message = format!("{} is a share, not a size", super::quote(text));
        return Err(ValueError::new(message)
            .help("shares of the machine are not supported; write for example 512M or 4G"));
    }
    let unreadable = || ValueError::unreadable(text, "a size").help("write for example 512M or 4G");
    let (number, suffix) = fraction(text).ok_or_else(unreadable)?;
    let power = match suffix.trim_start() {
        "" | "B" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return Err(unreadable()),
    };
    number
        .times(1_u128 << (10 * power))
        .and_then(|size| u64::try_from(size).ok())
        .filter(|size| *size < u64::MAX)
        .ok_or_else(|| ValueError::new("size is too large").help("write infinity for no limit"))
}

/// A percentage in thousandths: `150%` is 1500.
///
/// # Errors
/// Without a percent sign, and below a tenth of a percent.
pub fn permille(text: &str) -> Result<u32, ValueError> {
    let unreadable = || {
        ValueError::unreadable(text, "a percentage")
            .help("write for example 50%; 200% is two processors")
    };
    let number = text.strip_suffix('%').ok_or_else(unreadable)?;
    let (number, rest) = fraction(number).ok_or_else(unreadable)?;
    if !rest.is_empty() {
        return Err(unreadable());
    }
    number
        .times(10)
        .and_then(|value| u32::try_from(value).ok())
        .filter(|value| *value > 0)
        .ok_or_else(unreadable)
}

/// A whole number within limits, in decimal or, as systemd has it, with 0x, 0o, 0b or a leading 0
/// (octal).
///
/// # Errors
/// For any other text.
pub fn integer<T>(text: &str, least: T, most: T) -> Result<T, ValueError>
where
    T: FromStr + PartialOrd + Display + Copy,
{
    decimal(text)
        .and_then(|text| text.parse().ok())
        .filter(|value| *value >= least && *value <= most)
        .ok_or_else(|| {
            ValueError::unreadable(text, "a number in range")
                .help(format!("write a whole number from {least} to {most}"))
        })
}

/// The number in decimal.
fn decimal(text: &str) -> Option<Cow<'_, str>> {
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text), |digits| ("-", digits));
    let (digits, base) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o', ..] => (&digits[2..], 8),
        [b'0', b'b', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (digits, 8),
        _ => return Some(Cow::Borrowed(text)),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u64::from_str_radix(digits, base).ok().filter(|_| plain)?;
    Some(Cow::Owned(format!("{sign}{number}")))
}

/// Permission bits: up to four octal digits.
///
/// # Errors
/// For any other text.
pub fn octal(text: &str) -> Result<u32, ValueError> {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| digits && *mode <= 0o7777)
        .ok_or_else(|| {
            ValueError::unreadable(text, "an octal mode").help("write for example 0022 or 0077")
        })
}

/// A resource limit (setrlimit(2)), `soft:hard` or one value for both; `name` is what stands
/// behind `Limit` and decides how it is counted. `u64::MAX` is `infinity`.
///
/// # Errors
/// When a part cannot be read, or the soft limit is above the hard one.
pub fn limit(name: &str, text: &str) -> Result<(u64, u64), ValueError> {
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let part = |part: &str| -> Result<u64, ValueError> {
        let span = || duration(part);
        match name {
            _ if part == "infinity" => Ok(u64::MAX),
            // RLIMIT_CPU counts seconds; what is begun counts as a whole one.
            "CPU" => span().map(|time| {
                time.map_or(u64::MAX, |time| {
                    time.as_secs() + u64::from(time.subsec_nanos() > 0)
                })
            }),
            "RTTIME" if part.bytes().all(|b| b.is_ascii_digit()) => integer(part, 0, u64::MAX),
            "RTTIME" => span().map(|time| {
                time.map_or(u64::MAX, |time| {
                    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
                })
            }),
            "AS" | "CORE" | "DATA" | "FSIZE" | "MEMLOCK" | "MSGQUEUE" | "RSS" | "STACK" => {
                bytes(part)
            }
            _ => integer(part, 0, u64::MAX),
        }
    };
    let (soft, hard) = (part(soft)?, part(hard)?);
    if soft > hard {
        return Err(ValueError::new("the soft limit is above the hard limit")
            .help("write SOFT:HARD, for example 1024:65536"));
    }
    Ok((soft, hard))
}

/// A decimal number with up to nine digits behind the point.
struct Fraction {
    whole: u128,
    billionths: u128,
}

impl Fraction {
    fn times(&self, factor: u128) -> Option<u128> {
        let whole = self.whole.checked_mul(factor)?;
        whole.checked_add(self.billionths.checked_mul(factor)? / 1_000_000_000)
    }
}

/// The number at the beginning, and the rest.
fn fraction(text: &str) -> Option<(Fraction, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    let whole: u128 = whole.parse::<u64>().ok()?.into();
    let Some(after) = rest.strip_prefix('.') else {
        let billionths = 0;
        return Some((Fraction { whole, billionths }, rest));
    };
    let (part, rest) = after.split_at(digits(after));
    if part.is_empty() || part.len() > 9 {
        return None;
    }
    let billionths = format!("{part:0<9}").parse().ok()?;
    Some((Fraction { whole, billionths }, rest))
}
