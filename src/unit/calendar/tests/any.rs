//! What holds for any expression, time and zone.

use proptest::prelude::*;

use crate::unit::calendar::{Calendar, Zone};

/// Parts of which some make an expression.
fn text() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "*",
        "-",
        "~",
        ":",
        ",",
        "/",
        "..",
        ".",
        " ",
        "@",
        "Mon",
        "Fri..Sun",
        "0",
        "1",
        "2",
        "7",
        "15",
        "28",
        "59",
        "2027",
        "*-*-*",
        "*-*~",
        " 0:",
        "*:*:",
        " UTC",
        " Europe/Berlin",
        "daily",
    ]);
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
    let one = (least..=most, 0..=most / 4, 0..=most / 4).prop_map(|(start, length, step)| {
        let stop = if length > 0 {
            format!("..{}", start + length)
        } else {
            String::new()
        };
        let step = if step > 0 {
            format!("/{step}")
        } else {
            String::new()
        };
        format!("{start}{stop}{step}")
    });
    let list = prop::collection::vec(one, 1..4).prop_map(|list| list.join(","));
    prop_oneof![1 => Just("*".to_owned()), 2 => list]
}

/// Expressions of which most can be read.
fn expression() -> impl Strategy<Value = String> {
    let weekdays = prop::sample::select(vec!["", "", "Mon ", "Tue..Thu ", "Sat,Sun "]);
    let dash = prop::sample::select(vec!["-", "-", "~"]);
    let zone = prop::sample::select(vec!["", "", " UTC", " America/New_York"]);
    let date = (field(2020, 2040), field(1, 11), dash, field(1, 20));
    let time = (field(0, 18), field(0, 45), field(0, 45));
    (weekdays, date, time, zone).prop_map(|(weekdays, date, time, zone)| {
        let ((year, month, dash, day), (hour, minute, second)) = (date, time);
        format!("{weekdays}{year}-{month}{dash}{day} {hour}:{minute}:{second}{zone}")
    })
}

fn zones() -> impl Strategy<Value = Zone> {
    prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "Europe/Dublin",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Pacific/Apia",
    ])
    .prop_map(|name| name.parse().unwrap())
}

proptest! {
    #[test]
    fn any_text_at_any_time_is_answered(
        text in prop_oneof![text(), any::<String>()],
        after in any::<u64>(),
    ) {
        if let Ok(calendar) = text.parse::<Calendar>()
            && let Some(next) = calendar.next(after, &Zone::default())
        {
            prop_assert!(next > after);
        }
    }

    #[test]
    fn the_normalised_form_is_the_same_calendar(text in prop_oneof![text(), expression()]) {
        if let Ok(calendar) = text.parse::<Calendar>() {
            let form = calendar.to_string();
            prop_assert_eq!(form.parse::<Calendar>().unwrap().to_string(), form);
            prop_assert_eq!(format!("{calendar:#}").parse::<Calendar>().unwrap(), calendar);
        }
    }

    #[test]
    fn next_is_always_later(
        text in expression(),
        zone in zones(),
        // From 2010 to 2050.
        after in 1_262_304_000_000_000_u64..2_524_608_000_000_000,
    ) {
        let Ok(calendar) = text.parse::<Calendar>() else {
            return Ok(());
        };
        let mut after = after;
        for _ in 0..4 {
            let Some(next) = calendar.next(after, &zone) else {
                break;
            };
            prop_assert!(next > after, "{calendar} after {after} in {zone:?}");
            // Nothing lies between, wherever one asks from.
            prop_assert!(calendar.next(next - 1, &zone).is_none_or(|again| again >= next));
            after = next;
        }
    }

    #[test]
    fn any_bytes_are_a_zone_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let head = [b"TZif2".as_slice(), &bytes].concat();
        for bytes in [&bytes, &head] {
            if let Ok(zone) = Zone::from_tzif("x", bytes) {
                let daily: Calendar = "daily".parse().unwrap();
                prop_assert!(daily.next(0, &zone).is_none_or(|next| next > 0));
            }
        }
    }
}
