//! The calendar language and time spans against the real `systemd-analyze`: what one takes the
//! other takes, in the same normalised form, and both elapse at the same times.
//!
//! Needs Debian's packages systemd (252; it need not run) and tzdata.

use std::process::Command;

use aether::unit::calendar::{Calendar, Zone};
use aether::unit::value::duration;

/// Elapses asked for with each expression.
const ITERATIONS: usize = 5;
/// Zones, with the times from which is sought: an ordinary day, and shortly before their clock
/// skips and repeats something.
const ZONES: [(&str, &[&str]); 6] = [
    (
        "UTC",
        &[
            "1970-01-01 00:00:00",
            "2026-11-25 14:06:05",
            "2199-12-31 12:00:00",
        ],
    ),
    (
        "Europe/Berlin",
        &[
            "2026-03-28 22:59:30",
            "2026-10-24 23:30:00",
            "2026-10-25 01:15:00",
        ],
    ),
    (
        "America/New_York",
        &["2027-03-14 06:00:00", "2027-11-07 05:20:00"],
    ),
    // Half an hour; and the year begins in summer time.
    (
        "Australia/Lord_Howe",
        &["2027-04-03 14:40:00", "2027-10-02 15:00:00"],
    ),
    // Winter is the exception, summer the standard.
    ("Europe/Dublin", &["2026-03-29 00:10:00"]),
    // No summer time, and an odd offset.
    ("Asia/Kathmandu", &["2028-02-28 20:00:00"]),
];

/// Every corner of the grammar.
const WRITTEN: &str = include_str!("calendar.txt");

/// What was said about one expression.
#[derive(Debug, PartialEq)]
enum Answer {
    Refused,
    /// Its normalised form, and its elapses in seconds since 1970.
    Taken(String, Vec<u64>),
    /// Taken, but systemd went round in circles, said so, and printed nothing at all.
    Lost,
}

/// Asks systemd about all expressions at once.
fn theirs(zone: &str, base: &str, expressions: &[String]) -> Vec<Answer> {
    let output = Command::new("systemd-analyze")
        .env("TZ", zone)
        .env("LC_ALL", "C.UTF-8")
        .env("SYSTEMD_COLORS", "0")
        .arg("calendar")
        .arg(format!("--base-time={base} UTC"))
        .arg(format!("--iterations={ITERATIONS}"))
        .arg("--")
        .args(expressions)
        .output()
        .expect("systemd-analyze runs: apt-get install systemd");
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let nothing = |expression: &String| {
        let refused = format!("Failed to parse calendar specification '{expression}': ");
        let lost = format!("Failed to determine next elapse for '{expression}': ");
        match (errors.contains(&refused), errors.contains(&lost)) {
            (true, _) => Answer::Refused,
            (_, true) => Answer::Lost,
            _ => panic!("no answer for {expression:?}: {errors}"),
        }
    };
    // One block for each, with an empty line between them; nothing in it where nothing was found.
    let mut blocks = text.split('\n').fold(vec![vec![]], |mut blocks, line| {
        match line {
            "" => blocks.push(vec![]),
            line => blocks.last_mut().unwrap().push(line),
        }
        blocks
    });
    blocks.resize(expressions.len(), vec![]);
    let answer = |(block, expression): (Vec<&str>, &String)| {
        let mut normalised = None;
        let mut elapses = vec![];
        for line in block {
            let (key, value) = line.split_once(": ").unwrap_or((line, ""));
            let key = key.trim_start();
            if key == "Normalized form" {
                normalised = Some(value.to_owned());
            }
            let elapse = key == "Next elapse" || key.starts_with("Iter");
            if value.ends_with(" UTC") && (key == "(in UTC)" || zone == "UTC" && elapse) {
                elapses.push(seconds(&value[4..]));
            }
        }
        match normalised {
            Some(normalised) => Answer::Taken(normalised, elapses),
            None => nothing(expression),
        }
    };
    blocks.into_iter().zip(expressions).map(answer).collect()
}

/// `2026-11-25 14:06:05 UTC` in seconds since 1970.
fn seconds(text: &str) -> u64 {
    let text = text.trim_end_matches(" UTC").replace(' ', "T") + "Z";
    let at: jiff::Timestamp = text.parse().unwrap();
    at.as_second().try_into().unwrap()
}

/// What we say; times in whole seconds, as they are printed there.
fn ours(zone: &Zone, base: u64, expression: &str) -> Answer {
    let Ok(calendar) = expression.parse::<Calendar>() else {
        return Answer::Refused;
    };
    let mut elapses = vec![];
    let mut after = base * 1_000_000;
    while elapses.len() < ITERATIONS
        && let Some(next) = calendar.next(after, zone)
    {
        assert!(next > after, "{expression}");
        elapses.push(next / 1_000_000);
        after = next;
    }
    Answer::Taken(calendar.to_string(), elapses)
}

/// Whether both say the same, as far as systemd has an answer.
fn agree(ours: &Answer, theirs: &Answer, base: u64) -> bool {
    match (ours, theirs) {
        (Answer::Taken(form, ours), Answer::Taken(same, theirs)) => {
            // Where a clock repeats an hour systemd goes back in time now and then; we never do.
            let onwards: Vec<_> = theirs.iter().filter(|at| **at >= base).collect();
            let went_back = onwards.len() < theirs.len();
            let until = if went_back {
                onwards.len().min(ours.len())
            } else {
                ours.len()
            };
            form == same && (carries(form) || onwards.into_iter().eq(&ours[..until]))
        }
        (Answer::Taken(..), Answer::Lost) => true,
        (ours, theirs) => ours == theirs,
    }
}

/// Whether months are repeated into the next year, where systemd is known to miss times.
fn carries(form: &str) -> bool {
    let date = form.split(' ').find(|word| word.contains(['-', '~']));
    let month = date.and_then(|date| date.split(['-', '~']).nth(1));
    let carries = |value: &str| value.contains('/') && !value.contains("..");
    month.is_some_and(|month| month.split(',').any(carries))
}

fn local_zone(name: &str) -> Zone {
    let bytes = std::fs::read(format!("/usr/share/zoneinfo/{name}"))
        .expect("the zone's file is there: apt-get install tzdata");
    Zone::from_tzif(name, &bytes).unwrap()
}

/// Reproducible choices (xorshift).
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % bound
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A list for one field, now and then a little beyond its limits.
    fn chain(&mut self, least: usize, most: usize, fractions: bool) -> String {
        if self.one_in(3) {
            return "*".to_owned();
        }
        let mut values = vec![];
        for _ in 0..=self.below(10) / 7 {
            let fraction = |noise: &mut Self| {
                if fractions && noise.one_in(3) {
                    noise.pick(&[".5", ".25", ".000001", ".9999995", ".1234567"])
                } else {
                    ""
                }
            };
            let start = least + self.below(most - least + 1);
            let start = if self.one_in(60) { most + 1 } else { start };
            let mut value = format!("{start}{}", fraction(self));
            let mut room = most.saturating_sub(start).max(1);
            if self.one_in(4) {
                let length = 1 + self.below(room);
                value += &format!("..{}{}", start + length, fraction(self));
                room = length;
            }
            if self.one_in(4) {
                value += &format!("/{}{}", 1 + self.below(room), fraction(self));
            }
            values.push(value);
        }
        values.join(",")
    }

    fn expression(&mut self) -> String {
        let mut text = String::new();
        if self.one_in(3) {
            text += self.pick(&[
                "Mon ",
                "sat,SUN ",
                "Tue..Thu ",
                "Mon-Fri ",
                "friday ",
                "Wed,Fri..Sun ",
                "Sun ",
            ]);
        }
        if !self.one_in(4) {
            if !self.one_in(3) {
                text += &self.chain(2026, 2030, false);
                text += "-";
            }
            text += &self.chain(1, 12, false);
            if self.one_in(4) {
                text += "~";
                // systemd allows less and less in later values of such a list.
                text += &self.chain(1, 22, false);
            } else {
                text += "-";
                text += &self.chain(1, 31, false);
            }
            text += " ";
        }
        if !self.one_in(4) {
            // Hours in which clocks are changed.
            text += &if self.one_in(2) {
                self.chain(0, 3, false)
            } else {
                self.chain(0, 23, false)
            };
            text += ":";
            text += &self.chain(0, 59, false);
            if self.one_in(2) {
                text += ":";
                text += &self.chain(0, 59, true);
            }
        }
        let text = text.trim_end();
        let text = if text.is_empty() { "daily" } else { text };
        let zone = match self.below(24) {
            0 => " UTC",
            1 => " Europe/Berlin",
            2 => " Australia/Lord_Howe",
            3 => " America/New_York",
            _ => "",
        };
        format!("{text}{zone}")
    }

    /// One letter less, more, or another.
    fn spoil(&mut self, text: &str) -> String {
        let mut text: Vec<char> = text.chars().collect();
        let at = self.below(text.len().max(1));
        let letter = self.pick(&[
            "*", "/", ".", "..", ",", "-", "~", ":", " ", "0", "1", "9", "@", "x", "Mon", "ä",
        ]);
        match self.below(3) {
            0 if at < text.len() => {
                text.remove(at);
            }
            1 if at < text.len() => {
                text.splice(at..=at, letter.chars());
            }
            _ => {
                text.splice(at..at, letter.chars());
            }
        }
        text.into_iter().collect()
    }
}

#[test]
fn calendar_events_are_those_of_systemd() {
    let mut expressions: Vec<String> = WRITTEN
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let written = expressions.len();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for _ in 0..500 {
        expressions.push(noise.expression());
    }
    for _ in 0..400 {
        let at = noise.below(written + 500);
        let spoilt = noise.spoil(&expressions[at]);
        expressions.push(spoilt);
    }
    let (mut elapses, mut refused) = (0, 0);
    let mut different = vec![];
    for (name, bases) in ZONES {
        let zone = local_zone(name);
        for base in bases {
            let at = seconds(base);
            let answers = theirs(name, base, &expressions);
            refused = answers
                .iter()
                .filter(|answer| **answer == Answer::Refused)
                .count();
            for (expression, theirs) in expressions.iter().zip(answers) {
                // systemd takes the abbreviations of the local zone, here those of winter time.
                if expression.ends_with(" GMT") && name == "Europe/Dublin" {
                    continue;
                }
                let ours = ours(&zone, at, expression);
                if let Answer::Taken(_, theirs) = &theirs {
                    elapses += theirs.len();
                }
                if !agree(&ours, &theirs, at) {
                    different.push(format!(
                        "{expression:?} in {name} after {base}:\n  ours   {ours:?}\n  theirs {theirs:?}"
                    ));
                }
            }
        }
    }
    eprintln!(
        "compared {} calendar events, {refused} of them refused, and {elapses} elapses",
        expressions.len()
    );
    assert!(
        different.is_empty(),
        "{} answers differ:\n{}",
        different.len(),
        different[..different.len().min(40)].join("\n")
    );
    assert!(refused > 100 && refused < expressions.len() / 2);
}

/// What we take and systemd does not, and the other way round; the module's page says why.
#[test]
fn the_differences_to_systemd_are_those_we_know() {
    let only_ours = ["*-*~1,28", "*-*~7,28", "*-*~1,2,24"].map(str::to_owned);
    for (expression, theirs) in only_ours
        .iter()
        .zip(theirs("UTC", "2026-01-01", &only_ours))
    {
        let ours = ours(&Zone::default(), 1_767_225_600, expression);
        assert!(matches!(ours, Answer::Taken(..)), "{expression}: {ours:?}");
        assert_eq!(theirs, Answer::Refused, "{expression}");
    }
    let only_theirs = [
        "12:00 CEST".to_owned(),
        "12:00 posix/Europe/Berlin".to_owned(),
    ];
    let theirs = theirs("Europe/Berlin", "2026-07-01", &only_theirs);
    for (expression, theirs) in only_theirs.iter().zip(theirs) {
        assert!(
            matches!(theirs, Answer::Taken(..)),
            "{expression}: {theirs:?}"
        );
        assert!(expression.parse::<Calendar>().is_err(), "{expression}");
    }
}

/// Months repeated beyond December: systemd misses the first day of a year that begins in summer
/// time, or goes round in circles.
#[test]
fn a_repetition_goes_on_in_the_next_year() {
    for (expression, name, base, first, systemd) in [
        (
            "1/8-*",
            "Australia/Sydney",
            "2026-10-03 14:30:00",
            "2026-12-31 13:00:00",
            Some("2027-01-01 13:00:00"),
        ),
        (
            "Mon..Fri *-1/10-1",
            "Europe/Berlin",
            "2026-11-03 00:00:00",
            "2026-12-31 23:00:00",
            None,
        ),
    ] {
        let ours = ours(&local_zone(name), seconds(base), expression);
        let theirs = theirs(name, base, &[expression.to_owned()]).remove(0);
        assert!(
            matches!(&ours, Answer::Taken(_, elapses) if elapses[0] == seconds(first)),
            "{expression}: {ours:?}"
        );
        let theirs = match theirs {
            Answer::Taken(_, elapses) => Some(elapses[0]),
            Answer::Refused | Answer::Lost => None,
        };
        assert_eq!(theirs, systemd.map(seconds), "{expression}");
    }
}

/// Time spans in every spelling, and such as are none.
const SPANS: &str = include_str!("timespans.txt");

#[test]
fn time_spans_are_those_of_systemd() {
    let mut spans: Vec<String> = SPANS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let written = spans.len();
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    for _ in 0..60 {
        let at = noise.below(written);
        let spoilt = noise.spoil(&spans[at]);
        spans.push(spoilt);
    }
    let output = |spans: &[String]| {
        Command::new("systemd-analyze")
            .env("LC_ALL", "C.UTF-8")
            .args(["timespan", "--"])
            .args(spans)
            .output()
            .expect("systemd-analyze runs: apt-get install systemd")
    };
    let mut taken = 0;
    for span in &spans {
        let output = output(std::slice::from_ref(span));
        let text = String::from_utf8(output.stdout).unwrap();
        let theirs = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix("μs: "))
            .map(|micros| micros.parse::<u64>().unwrap());
        assert_eq!(
            theirs.is_some(),
            output.status.success(),
            "{span:?}: {text}"
        );
        let ours = duration(span)
            .ok()
            .map(|span| span.map_or(u64::MAX, |span| span.as_micros().try_into().unwrap()));
        assert_eq!(ours, theirs, "{span:?}");
        taken += usize::from(theirs.is_some());
    }
    eprintln!("compared {} time spans, {taken} of them taken", spans.len());
    assert!(spans.len() >= 150 && taken > 60);
}
