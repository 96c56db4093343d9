//! The language by itself; `tests/it/calendar.rs` compares it with systemd's.

use super::*;

mod any;

/// Seconds since 1970 of a time in UTC, in microseconds.
fn utc(text: &str) -> u64 {
    let at: jiff::Timestamp = text.parse().unwrap();
    u64::try_from(at.as_microsecond()).unwrap()
}

fn elapses(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let calendar: Calendar = expression.parse().unwrap();
    let zone = zone.parse().unwrap();
    let mut at = utc(after);
    let mut found = vec![];
    while found.len() < count
        && let Some(next) = calendar.next(at, &zone)
    {
        at = next;
        let micros = i64::try_from(at).unwrap();
        found.push(
            jiff::Timestamp::from_microsecond(micros)
                .unwrap()
                .to_string(),
        );
    }
    found
}

#[test]
fn the_normalised_form() {
    for (text, form) in [
        (
            "Sat,Thu,Mon..Wed,Sat..Sun",
            "Mon..Thu,Sat,Sun *-*-* 00:00:00",
        ),
        ("Mon,Sun 12-*-* 2,1:23", "Mon,Sun 2012-*-* 01,02:23:00"),
        (
            "Wed..Sat,Tue 12-10-15 1:2:3",
            "Tue..Sat 2012-10-15 01:02:03",
        ),
        ("mon,fri *-1/2-1,3 *:30:45", "Mon,Fri *-01/2-01,03 *:30:45"),
        (
            "05:40:23.4200004/3.1700005",
            "*-*-* 05:40:23.420000/3.170001",
        ),
        ("2003-02..04-05", "2003-02..04-05 00:00:00"),
        (
            "weekly Pacific/Auckland",
            "Mon *-*-* 00:00:00 Pacific/Auckland",
        ),
        ("Quarterly utc", "*-01,04,07,10-01 00:00:00 UTC"),
        ("*-02~3", "*-02~03 00:00:00"),
        ("1..10/20:0..5/2", "*-*-* 01:00..04/2:00"),
        ("@1395716396", "2014-03-25 02:59:56 UTC"),
        ("Mon..Sun *:*:*", "*-*-* *:*:*"),
    ] {
        let calendar: Calendar = text.parse().unwrap();
        assert_eq!(calendar.to_string(), form, "{text}");
        assert_eq!(form.parse(), Ok(calendar), "{form}");
    }
}

#[test]
fn what_is_refused_says_why_and_what_to_write() {
    for (text, message, help) in [
        (
            "25:00",
            "hour 25 is out of range",
            "write hours from 0 to 23",
        ),
        (
            "*-13-1",
            "month 13 is out of range",
            "write months from 1 to 12",
        ),
        (
            "*-*~29",
            "day 29 is out of range",
            "write days from 1 to 28",
        ),
        (
            "1969-1-1",
            "year 1969 is out of range",
            "write years from 1970 to 2199",
        ),
        (
            "*:0:60",
            "second 60 is out of range",
            "write seconds from 0 to 59",
        ),
        (
            "5..1:00",
            "the range of hours 5..1 ends before it begins",
            "write 1..5",
        ),
        (
            "*-12/1-1",
            "month 12 is never repeated by /1",
            "write a smaller number behind the /, or 12 alone",
        ),
        (
            "Sat..Mon",
            "the weekdays Sat..Mon end before they begin",
            "a week begins on Monday: write Sat,Sun,Mon for days across its end",
        ),
        (
            "Mondy 12:00",
            "cannot read \"Mondy\" as a weekday",
            "write weekdays as Mon,Wed or Mon..Fri",
        ),
        (
            "12:00 Europe/Belrin",
            "\"Europe/Belrin\" is no time zone",
            "write UTC, or a name such as Europe/Berlin",
        ),
        (
            "12:00 europe/berlin",
            "\"europe/berlin\" is no time zone",
            "did you mean Europe/Berlin?",
        ),
        (
            "12:",
            "\"12:\" ends where a number in a calendar event is expected",
            "write *, or decimal numbers as in 1..5 or 0/15",
        ),
        (
            "*:0/0",
            "a repetition by 0 never goes on",
            "write *, a number, a range such as 1..5, or a repetition such as 0/15",
        ),
        (
            "12:3x:00",
            "cannot read \"3x\" as part of a calendar event",
            "write *, a number, a range such as 1..5, or a repetition such as 0/15",
        ),
        (
            "@soon",
            "cannot read \"@soon\" as a UNIX time",
            "write @ and the seconds since 1970",
        ),
    ] {
        let error = text.parse::<Calendar>().unwrap_err();
        assert_eq!(error.message, message, "{text}");
        assert_eq!(error.help.as_deref(), Some(help), "{text}");
        if let Some(range) = error.range {
            assert!(text.get(range).is_some(), "{text}");
        }
    }
    assert!("".parse::<Calendar>().is_err());
}

#[test]
fn dates_that_come_round() {
    let utc = |expression, after| elapses(expression, "UTC", after, 3);
    assert_eq!(
        utc("Fri *-*-13", "2026-11-25T14:06:05Z"),
        [
            "2027-08-13T00:00:00Z",
            "2028-10-13T00:00:00Z",
            "2029-04-13T00:00:00Z"
        ]
    );
    assert_eq!(
        utc("*-2-29", "2027-01-01T00:00:00Z"),
        [
            "2028-02-29T00:00:00Z",
            "2032-02-29T00:00:00Z",
            "2036-02-29T00:00:00Z"
        ]
    );
    assert_eq!(
        utc("*-*~1 12:00", "2028-01-31T12:00:00Z"),
        [
            "2028-02-29T12:00:00Z",
            "2028-03-31T12:00:00Z",
            "2028-04-30T12:00:00Z"
        ]
    );
    assert_eq!(
        utc("*:*:59.5/0.25", "2026-01-01T00:00:59.5Z"),
        [
            "2026-01-01T00:00:59.75Z",
            "2026-01-01T00:01:59.5Z",
            "2026-01-01T00:01:59.75Z"
        ]
    );
    assert_eq!(utc("*-02-30", "2026-01-01T00:00:00Z"), [""; 0]);
    assert_eq!(utc("2026-01-01", "2026-01-01T00:00:00Z"), [""; 0]);
    assert_eq!(utc("2199-12-31", "2100-01-01T00:00:00Z").len(), 1);
}

#[test]
fn clocks_that_skip_and_repeat_an_hour() {
    let berlin = |expression, after| elapses(expression, "Europe/Berlin", after, 2);
    // 02:30 does not exist on the 29th.
    assert_eq!(
        berlin("02:30", "2026-03-28T00:00:00Z"),
        ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"]
    );
    // And once only, in summer time, where there are two.
    assert_eq!(
        berlin("02:30", "2026-10-24T12:00:00Z"),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // The zone of the expression counts, not the local one.
    assert_eq!(
        elapses(
            "12:00 America/New_York",
            "Europe/Berlin",
            "2026-07-01T00:00:00Z",
            1
        ),
        ["2026-07-01T16:00:00Z"]
    );
}

#[test]
fn zones_from_names_and_bytes() {
    assert_eq!(Zone::default(), "UTC".parse().unwrap());
    for name in ["", "utc", "Etc/Unknown", "Nowhere", "../UTC", "UTC\0"] {
        assert!(name.parse::<Zone>().is_err(), "{name:?}");
    }
    let error = Zone::from_tzif("/etc/localtime", b"TZif2").unwrap_err();
    assert!(error.message.contains("\"/etc/localtime\""), "{error}");
}

#[test]
fn a_list_is_limited() {
    let list = |count: usize| vec!["1"; count].join(",") + ":00";
    assert!(list(241).parse::<Calendar>().is_ok());
    assert!(list(242).parse::<Calendar>().is_err());
}

#[test]
fn kept_as_text_and_nothing_is_lost() {
    let calendar: Calendar = "*:*:0/1,0.5".parse().unwrap();
    assert_eq!(calendar.to_string(), "*-*-* *:*:*");
    let kept = serde_json::to_string(&calendar).unwrap();
    assert_eq!(kept, "\"*-*-* *:*:00/1,00.500000\"");
    assert_eq!(serde_json::from_str::<Calendar>(&kept).unwrap(), calendar);
    assert!(serde_json::from_str::<Calendar>("\"never\"").is_err());
}
