//! Operators, versions, words and numbers of conditions (systemd.unit(5), systemd-analyze(1)
//! "compare-versions").

use std::cmp::Ordering;

use crate::sys::glob;

/// What a comparison asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// `$=`
    Matches,
    /// `!$=`
    MatchesNot,
    /// `=`, where texts are compared.
    Same,
    /// `!=`, where texts are compared.
    Differs,
    /// `<>`, and `!=` where numbers are.
    Unequal,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `<`
    Less,
    /// `>`
    More,
    /// `==`, and `=` where numbers are.
    Equal,
}

/// Takes the operator that `text` begins with. `texts`: patterns are allowed, and `=` and `!=`
/// compare letter by letter.
pub(super) fn operator(text: &str, texts: bool) -> Option<(Operator, &str)> {
    let table = [
        ("$=", Operator::Matches),
        ("!$=", Operator::MatchesNot),
        ("<>", Operator::Unequal),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Less),
        (">", Operator::More),
        ("==", Operator::Equal),
        (
            "=",
            if texts {
                Operator::Same
            } else {
                Operator::Equal
            },
        ),
        (
            "!=",
            if texts {
                Operator::Differs
            } else {
                Operator::Unequal
            },
        ),
    ];
    let (sign, operator) = table.iter().find(|(sign, _)| text.starts_with(sign))?;
    let pattern = matches!(operator, Operator::Matches | Operator::MatchesNot);
    (texts || !pattern).then_some((*operator, &text[sign.len()..]))
}

impl Operator {
    /// Whether this order is what was asked for; `None` for operators on texts.
    pub(super) fn orders(self, found: Ordering) -> Option<bool> {
        Some(match self {
            Self::Unequal => found.is_ne(),
            Self::AtMost => found.is_le(),
            Self::AtLeast => found.is_ge(),
            Self::Less => found.is_lt(),
            Self::More => found.is_gt(),
            Self::Equal => found.is_eq(),
            Self::Matches | Self::MatchesNot | Self::Same | Self::Differs => return None,
        })
    }

    /// Whether `found` is as wanted; orders are those of versions. What is not there differs from
    /// everything, is older than everything and matches nothing.
    pub(super) fn compares(self, found: Option<&str>, wanted: &str) -> bool {
        let text = found.unwrap_or_default();
        let matches = || glob::matches(wanted.as_bytes(), text.as_bytes(), false);
        match self {
            Self::Same => found == Some(wanted),
            Self::Differs => found != Some(wanted),
            Self::Matches => matches(),
            Self::MatchesNot => !matches(),
            order => order.orders(versions(text, wanted)).unwrap_or(false),
        }
    }
}

/// Which of two versions is newer, by the rules of "Version Format Specification" that
/// `systemd-analyze compare-versions` follows.
pub(super) fn versions(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = meaningful(a);
        b = meaningful(b);
        // Before the ends are looked at: 123~rc1 is older than 123.
        if let Some(order) = separator(b'~', &mut a, &mut b) {
            return order;
        }
        if a.is_empty() || b.is_empty() {
            return a.len().min(1).cmp(&b.len().min(1));
        }
        for sign in *b"-^." {
            if let Some(order) = separator(sign, &mut a, &mut b) {
                return order;
            }
        }
        let digits = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let numeric = digits(a) || digits(b);
        let part = |text: &[u8]| {
            let of = |byte: &u8| match numeric {
                true => !byte.is_ascii_digit(),
                false => !byte.is_ascii_alphabetic(),
            };
            text.iter().position(of).unwrap_or(text.len())
        };
        let (one, other);
        (one, a) = a.split_at(part(a));
        (other, b) = b.split_at(part(b));
        let order = if numeric {
            let present = one.len().min(1).cmp(&other.len().min(1));
            let (one, other) = (significant(one), significant(other));
            present
                .then(one.len().cmp(&other.len()))
                .then_with(|| one.cmp(other))
        } else {
            one.cmp(other)
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Whatever is no part of a version is dropped from the front.
fn meaningful(text: &[u8]) -> &[u8] {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    let start = text.iter().position(valid).unwrap_or(text.len());
    &text[start..]
}

/// The one with the sign is older; where both have it, it is taken off.
fn separator(sign: u8, a: &mut &[u8], b: &mut &[u8]) -> Option<Ordering> {
    let (one, other) = (a.first() == Some(&sign), b.first() == Some(&sign));
    match (one, other) {
        (false, false) => None,
        (true, true) => {
            *a = &a[1..];
            *b = &b[1..];
            None
        }
        (one, _) => Some(if one {
            Ordering::Less
        } else {
            Ordering::Greater
        }),
    }
}

fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    &digits[zeros..]
}

/// Words with quotes and backslashes; a quote may begin within a word. Yields nothing more after
/// a quote that never ends, unless `relaxed`, which takes it as ended.
pub(super) fn words(text: &str, relaxed: bool) -> impl Iterator<Item = Option<String>> {
    let mut rest = text.chars();
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken {
            return None;
        }
        let mut next = rest.find(|c| !is_space(*c))?;
        let mut word = String::new();
        let mut quote = None;
        loop {
            match (next, quote) {
                ('\\', _) => match rest.next() {
                    Some(literal) => word.push(literal),
                    None if relaxed => return Some(Some(word)),
                    None => {
                        broken = true;
                        return Some(None);
                    }
                },
                (c, Some(open)) if c == open => quote = None,
                ('"' | '\'', None) => quote = Some(next),
                (c, None) if is_space(c) => return Some(Some(word)),
                (c, _) => word.push(c),
            }
            next = match rest.next() {
                Some(c) => c,
                None if quote.is_none() || relaxed => return Some(Some(word)),
                None => {
                    broken = true;
                    return Some(None);
                }
            };
        }
    })
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// A size in bytes: `4G`, `1.5G`, `1G 512M`; units to the base 1024, the larger ones first.
pub(super) fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u32); 8] = [
        ("E", 60),
        ("P", 50),
        ("T", 40),
        ("G", 30),
        ("M", 20),
        ("K", 10),
        ("B", 0),
        ("", 0),
    ];
    let mut rest = text;
    let mut total = 0_u64;
    let mut from = 0;
    loop {
        rest = rest.trim_start();
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let length = digits(rest);
        let whole: u64 = rest[..length].parse().ok()?;
        rest = &rest[length..];
        // At most so many digits that thousandths of a kilobyte are still exact.
        let mut fraction = (0_u128, 1_u128);
        if let Some(after) = rest.strip_prefix('.') {
            let length = digits(after);
            if length > 18 {
                return None;
            }
            for digit in after[..length].bytes() {
                fraction = (fraction.0 * 10 + u128::from(digit - b'0'), fraction.1 * 10);
            }
            rest = &after[length..];
        }
        rest = rest.trim_start();
        let unit = (from..UNITS.len()).find(|unit| rest.starts_with(UNITS[*unit].0))?;
        let (suffix, shift) = UNITS[unit];
        let part = (u128::from(whole) << shift) + (fraction.0 << shift) / fraction.1;
        total = total.checked_add(u64::try_from(part).ok()?)?;
        rest = &rest[suffix.len()..];
        from = unit + 1;
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// Ten thousandths: `20%` and `12.34%`, `5‰` and `5.5‰`, `50‱`; at most the whole.
pub(super) fn permyriad(text: &str) -> Option<u32> {
    let (number, places) = if let Some(number) = text.strip_suffix('%') {
        (number, 2)
    } else if let Some(number) = text.strip_suffix('‰') {
        (number, 1)
    } else {
        (text.strip_suffix('‱')?, 0)
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((_, fraction)) if fraction.is_empty() || fraction.len() > places => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (number, ""),
    };
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u32 = whole.trim_start().parse().ok()?;
    let padded: u32 = format!("{fraction:0<places$}0").parse().ok()?;
    let factor = 10_u32.pow(u32::try_from(places).ok()?);
    let value = whole.checked_mul(factor)?.checked_add(padded / 10)?;
    (value <= 10_000).then_some(value)
}

/// Yes or no, as systemd's settings have it.
pub(super) fn truth(text: &str) -> Option<bool> {
    let any = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if any(&["1", "yes", "y", "true", "t", "on"]) {
        Some(true)
    } else if any(&["0", "no", "n", "false", "f", "off"]) {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_the_specification_has_them() {
        let older_first = [
            "122.1",
            "123~rc1-1",
            "123",
            "123-a",
            "123-a.1",
            "123-1",
            "123-1.1",
            "123^post1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124-1",
        ];
        for (i, a) in older_first.iter().enumerate() {
            for (j, b) in older_first.iter().enumerate() {
                assert_eq!(versions(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b, order) in [
            ("", "", Ordering::Equal),
            ("", "1", Ordering::Less),
            ("~1", "", Ordering::Less),
            ("00123", "123", Ordering::Equal),
            ("123_a", "123a", Ordering::Equal),
            ("6.1.0", "6.10.0", Ordering::Less),
            ("1.0a", "1.0", Ordering::Greater),
            ("abc", "abcd", Ordering::Less),
            ("a", "1", Ordering::Less),
        ] {
            assert_eq!(versions(a, b), order, "{a} {b}");
            assert_eq!(versions(b, a), order.reverse(), "{b} {a}");
        }
    }

    #[test]
    fn words_have_quotes_and_backslashes() {
        let all = |text, relaxed| words(text, relaxed).collect::<Option<Vec<_>>>();
        let list = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect());
        assert_eq!(all("", false), list(&[]));
        assert_eq!(all(" a  b\t", false), list(&["a", "b"]));
        assert_eq!(all(r#"a"b c"d 'e "f'"#, false), list(&["ab cd", "e \"f"]));
        assert_eq!(all(r#"a\ b \"c"#, false), list(&["a b", "\"c"]));
        assert_eq!(all(r#""" x"#, false), list(&["", "x"]));
        assert_eq!(all(r#"x "y z"#, false), None);
        assert_eq!(all(r#"x "y z"#, true), list(&["x", "y z"]));
        assert_eq!(words(r#"x "y"#, false).next(), Some(Some("x".to_owned())));
    }

    #[test]
    fn sizes_shares_and_truths() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("1K", Some(1024)),
            ("1.5G", Some(3 << 29)),
            (" 2 M", Some(2 << 20)),
            ("1G 512M", Some((1 << 30) + (512 << 20))),
            ("512M 1G", None),
            ("16E", None),
            ("", None),
            ("K", None),
            ("-1", None),
            ("1X", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
        for (text, share) in [
            ("20%", Some(2_000)),
            ("12.34%", Some(1_234)),
            ("0.5%", Some(50)),
            ("100%", Some(10_000)),
            ("101%", None),
            ("1.234%", None),
            ("5‰", Some(50)),
            ("5.5‰", Some(55)),
            ("7‱", Some(7)),
            ("20", None),
            ("%", None),
            ("1.%", None),
        ] {
            assert_eq!(permyriad(text), share, "{text}");
        }
        assert_eq!(truth("Yes"), Some(true));
        assert_eq!(truth("off"), Some(false));
        assert_eq!(truth("maybe"), None);
    }
}
