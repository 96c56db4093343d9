//! Timers, and slices with few places: what has its turn, and when.

use std::fs::{File, FileTimes};
use std::time::{Duration, SystemTime};

use crate::live::{Aether, until};
use crate::notify::{heard, make_gate, open_gate};

fn timer(aether: &Aether, settings: &str) {
    aether.unit(
        "t.timer",
        &format!("[Timer]\nAccuracySec=1us\n{settings}\n"),
    );
    aether.unit(
        "t.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo ran $$TRIGGER_UNIT'\n",
    );
}

#[test]
fn a_persistent_timer_makes_up_for_what_it_missed() {
    let mut aether = Aether::start();
    timer(&aether, "OnCalendar=monthly\nPersistent=yes");
    aether.ctl(&["start", "t.timer"]);
    let next = aether
        .properties("t.timer")
        .number("NextElapseUSecRealtime");
    assert!(next > Some(0));
    aether.down();
    let stamp = aether.root.path().join("state/timers/stamp-t.timer");
    let long_ago = SystemTime::now() - Duration::from_secs(70 * 24 * 3_600);
    let file = File::options().write(true).open(&stamp).unwrap();
    file.set_times(FileTimes::new().set_modified(long_ago))
        .unwrap();
    aether.up();
    aether.ctl(&["start", "t.timer"]);
    assert_eq!(heard(&aether, "t.service", "ran", 1), "t.timer");
    // Made up for once, and kept: the next time is the calendar's.
    let now = aether.wait_state("t.timer", "active", "waiting");
    assert_eq!(now.number("NextElapseUSecRealtime"), next);
    let modified = || std::fs::metadata(&stamp).unwrap().modified().unwrap();
    until("the time is kept", || {
        modified() > long_ago + Duration::from_secs(3_600)
    });
    assert_eq!(aether.log("t.service").matches("F ran").count(), 1);
}

#[test]
fn a_timer_counts_from_the_end_of_what_it_starts() {
    let aether = Aether::start();
    timer(&aether, "OnActiveSec=0\nOnUnitInactiveSec=50ms");
    aether.ctl(&["start", "t.timer"]);
    heard(&aether, "t.service", "ran", 3);
    aether.ctl(&["stop", "t.timer"]);
    aether.wait_state("t.timer", "inactive", "");
}

#[test]
fn the_next_elapse_outlives_the_daemon() {
    let aether = Aether::start();
    timer(
        &aether,
        "OnActiveSec=1h\nOnCalendar=yearly\nRandomizedDelaySec=5min",
    );
    aether.ctl(&["start", "t.timer"]);
    let next = || {
        let now = aether.wait_state("t.timer", "active", "waiting");
        let number = |name| now.number(name).unwrap();
        (
            number("NextElapseUSecMonotonic"),
            number("NextElapseUSecRealtime"),
        )
    };
    let before = next();
    assert!(before.0 > 0 && before.1 > 0, "{before:?}");
    aether.kill_daemon();
    assert_eq!(next(), before);
    // And it is waited for, not only shown.
    timer(&aether, "OnActiveSec=2s");
    aether.ctl(&["daemon-reload"]);
    aether.ctl(&["restart", "t.timer"]);
    aether.kill_daemon();
    assert_eq!(heard(&aether, "t.service", "ran", 1), "t.timer");
}

#[test]
fn with_one_place_starts_have_their_turn_in_order() {
    let aether = Aether::start();
    aether.unit("one.slice", "[Slice]\nMaxConcurrent=1\n");
    let place = aether.root.path();
    for name in ["a", "b", "c"] {
        make_gate(&aether, name);
        let place = place.display();
        aether.unit(
            &format!("{name}.service"),
            &format!(
                "[Service]\nType=oneshot\nSlice=one.slice\nExecStart=/bin/sh -c \
                 'echo begin {name} >>{place}/order; read x <{place}/{name}; echo end {name} >>{place}/order'\n"
            ),
        );
    }
    let order = || std::fs::read_to_string(place.join("order")).unwrap_or_default();
    let mut starts = vec![];
    for name in ["a", "b", "c"] {
        let unit = format!("{name}.service");
        starts.push(aether.command(&["start", &unit]).spawn().unwrap());
        if name == "a" {
            until("the first has begun", || order() == "begin a\n");
        } else {
            aether.wait(&unit, "in the queue", |now| {
                now.text("Why").contains("one.slice")
            });
        }
    }
    aether.kill_daemon();
    let mut expected = String::new();
    for name in ["a", "b", "c"] {
        expected.push_str(&format!("begin {name}\n"));
        until("the next has begun", || order() == expected);
        let others = ["a", "b", "c"].iter().filter(|other| {
            let now = aether.properties(&format!("{other}.service"));
            now.text("ActiveState") == "activating"
        });
        assert_eq!(others.collect::<Vec<_>>(), [&name]);
        open_gate(&aether, name);
        expected.push_str(&format!("end {name}\n"));
    }
    until("the last has ended", || order() == expected);
    for start in &mut starts {
        start.wait().unwrap();
    }
}
