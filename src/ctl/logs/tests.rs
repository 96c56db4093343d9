//! The reader on real files: tail, since, rotation, following.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;

use super::*;
use tempfile::TempDir;

const VIEW: View = View {
    raw: true,
    json: false,
    structured: false,
    colour: false,
    terminal: false,
};
const ALL: Wanted = Wanted {
    lines: None,
    since: None,
    until: None,
};

fn last(count: usize) -> Wanted {
    Wanted {
        lines: Some(count),
        ..ALL
    }
}

/// A line, `second` seconds after a fixed time.
fn line(second: u32, stream: &str, tag: &str, text: &str) -> String {
    let at = DateTime::from_timestamp(1_700_000_000 + i64::from(second), 0).unwrap();
    let at = at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
    format!("{at} {stream} {tag} {text}\n")
}

fn append(directory: &TempDir, file: &str, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(directory.path().join(file))
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn rotate(directory: &TempDir) {
    let name = |number: usize| match number {
        0 => directory.path().join("output.log"),
        _ => directory.path().join(format!("output.log.{number}")),
    };
    let count = (0..).take_while(|number| name(*number).exists()).count();
    for number in (0..count).rev() {
        fs::rename(name(number), name(number + 1)).unwrap();
    }
    File::create_new(name(0)).unwrap();
}

fn texts(reader: &mut Reader) -> Vec<String> {
    let mut out = vec![];
    reader
        .each(|entry, _| {
            out.push(String::from_utf8_lossy(&entry.text).into_owned());
            Ok(())
        })
        .unwrap();
    out
}

fn read(directory: &TempDir, view: View, wanted: Wanted) -> Vec<String> {
    let mut reader = Reader::open(directory.path(), view, wanted).unwrap();
    let mut out = texts(&mut reader);
    let left = reader.joiner.finish();
    out.extend(
        left.iter()
            .map(|entry| String::from_utf8_lossy(&entry.text).into_owned()),
    );
    out
}

#[test]
fn reads_rotated_files_oldest_first() {
    let directory = TempDir::new().unwrap();
    append(&directory, "output.log.2", &line(1, "stdout", "F", "one"));
    append(&directory, "output.log.1", &line(2, "stdout", "P", "two "));
    append(
        &directory,
        "output.log",
        &line(3, "stdout", "F", "and a half"),
    );
    append(&directory, "output.log", &line(4, "stdout", "P", "three"));
    assert_eq!(
        read(&directory, VIEW, ALL),
        ["one", "two and a half", "three"]
    );
}

#[test]
fn tails_are_the_ends_of_the_whole() {
    let directory = TempDir::new().unwrap();
    let mut number = 0;
    // Three files; entries in one, two or three parts, long ones among them, streams interleaved.
    for file in ["output.log.2", "output.log.1", "output.log"] {
        let mut text = String::new();
        for _ in 0..40 {
            number += 1;
            let body = "x".repeat(if number % 13 == 0 {
                70_000
            } else {
                number as usize
            });
            match number % 4 {
                0 => text += &line(number, "stdout", "F", &format!("{number}{body}")),
                1 => {
                    text += &line(number, "stdout", "P", &format!("{number}"));
                    text += &line(number, "stderr", "F", &format!("{number} between"));
                    text += &line(number, "stdout", "F", &body);
                }
                2 => {
                    text += &line(number, "stderr", "P", &format!("{number}"));
                    text += &line(number, "stderr", "P", "…");
                    text += "a torn line\n";
                    text += &line(number, "stderr", "F", &body);
                }
                _ => text += &line(number, "aether", "F", &format!("{number} not shown")),
            }
        }
        append(&directory, file, &text);
    }
    let whole = read(&directory, VIEW, ALL);
    assert_eq!(whole.len(), 120);
    for count in [0, 1, 2, 3, 7, 40, 41, 81, 119, 120, 500] {
        let tail = read(&directory, VIEW, last(count));
        assert_eq!(
            tail,
            whole[whole.len().saturating_sub(count)..],
            "the last {count}"
        );
    }
}

#[test]
fn since_and_until_hold_for_tails_too() {
    let directory = TempDir::new().unwrap();
    for second in 1..=9 {
        append(
            &directory,
            "output.log",
            &line(second, "stdout", "F", &second.to_string()),
        );
    }
    let at = |second: i64| DateTime::from_timestamp(1_700_000_000 + second, 0);
    let wanted = Wanted {
        lines: None,
        since: at(3),
        until: at(6),
    };
    assert_eq!(read(&directory, VIEW, wanted), ["3", "4", "5", "6"]);
    let wanted = Wanted {
        lines: Some(2),
        ..wanted
    };
    assert_eq!(read(&directory, VIEW, wanted), ["5", "6"]);
}

#[test]
fn events_replace_structured_output() {
    let directory = TempDir::new().unwrap();
    append(&directory, "output.log", &line(1, "stdout", "F", "{json}"));
    append(&directory, "output.log", &line(1, "event", "F", "event"));
    append(&directory, "output.log", &line(2, "stderr", "F", "warning"));
    append(&directory, "output.log", &line(3, "aether", "F", "stopped"));
    let readable = View { raw: false, ..VIEW };
    assert_eq!(
        read(&directory, readable, ALL),
        ["event", "warning", "stopped"]
    );
    assert_eq!(read(&directory, VIEW, ALL), ["{json}", "warning"]);
    assert_eq!(read(&directory, readable, last(2)), ["warning", "stopped"]);
}

#[test]
fn reads_on_across_rotations() {
    let directory = TempDir::new().unwrap();
    append(&directory, "output.log", &line(1, "stdout", "F", "1"));
    let mut reader = Reader::open(directory.path(), VIEW, ALL).unwrap();
    assert_eq!(texts(&mut reader), ["1"]);
    // Half a line is not shown before its end is there.
    let two = line(2, "stdout", "F", "2");
    append(&directory, "output.log", &two[..20]);
    reader.cursor.refresh().unwrap();
    assert!(texts(&mut reader).is_empty());
    append(&directory, "output.log", &two[20..]);
    for number in 3..6 {
        rotate(&directory);
        append(
            &directory,
            "output.log",
            &line(number, "stdout", "F", &number.to_string()),
        );
    }
    reader.cursor.refresh().unwrap();
    assert_eq!(texts(&mut reader), ["2", "3", "4", "5"]);
    assert!(!reader.cursor.gap);
    reader.cursor.refresh().unwrap();
    assert!(texts(&mut reader).is_empty());
}

#[test]
fn says_when_files_went_away_unread() {
    let directory = TempDir::new().unwrap();
    append(&directory, "output.log", &line(1, "stdout", "F", "1"));
    let mut reader = Reader::open(directory.path(), VIEW, ALL).unwrap();
    assert_eq!(texts(&mut reader), ["1"]);
    fs::remove_file(directory.path().join("output.log")).unwrap();
    append(&directory, "output.log", &line(9, "stdout", "F", "9"));
    reader.cursor.refresh().unwrap();
    assert_eq!(texts(&mut reader), ["9"]);
    assert!(reader.cursor.gap);
}

#[tokio::test]
async fn waits_for_a_directory_that_is_not_there_yet() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("a/b.agent");
    let mut watch = Watch::new(&directory).unwrap();
    let mut reader = Reader::open(&directory, VIEW, ALL).unwrap();
    let writer = std::thread::spawn({
        let directory = directory.clone();
        move || {
            fs::create_dir_all(&directory).unwrap();
            fs::write(
                directory.join("output.log"),
                line(1, "stdout", "F", "first"),
            )
            .unwrap();
        }
    });
    let mut found = texts(&mut reader);
    while found.is_empty() {
        watch.changed().await.unwrap();
        reader.cursor.refresh().unwrap();
        found = texts(&mut reader);
    }
    assert_eq!(found, ["first"]);
    writer.join().unwrap();
}

#[test]
fn a_rotation_half_done_hides_nothing() {
    let directory = TempDir::new().unwrap();
    // Between two renames the number 2 is free, and the number 1 still to be moved.
    append(&directory, "output.log.3", &line(1, "stdout", "F", "1"));
    append(&directory, "output.log.1", &line(2, "stdout", "F", "2"));
    append(&directory, "output.log", &line(3, "stdout", "F", "3"));
    assert_eq!(read(&directory, VIEW, ALL), ["1", "2", "3"]);
    // Between the last rename and the new file there is no current one.
    fs::rename(
        directory.path().join("output.log"),
        directory.path().join("output.log.2"),
    )
    .unwrap();
    assert_eq!(read(&directory, VIEW, ALL), ["1", "3", "2"]);
}
