//! The layer law of the architecture page (`src/lib.rs`), read off the `use crate::` lines.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms that everyone may use: words, not deeds.
const WORDS: &[&str] = &["name", "diagnostic", "place"];

/// Each room with the rooms it may use beside the words and itself.
const LAW: &[(&str, &[&str])] = &[
    ("name", &[]),
    ("diagnostic", &[]),
    ("place", &[]),
    ("unit", &[]),
    ("engine", &["unit", "plan", "runtime"]),
    ("plan", &["unit", "runtime", "engine"]),
    ("runtime", &["unit", "plan", "engine"]),
    ("sys", &["plan", "unit", "engine"]),
    ("stage", &["plan", "sys"]),
    ("keeper", &["sys"]),
    ("bus", &["engine", "unit", "plan", "runtime", "sys"]),
    (
        "daemon",
        &[
            "bus", "engine", "keeper", "plan", "runtime", "stage", "sys", "unit",
        ],
    ),
    ("hub", &["bus", "sys", "engine"]),
    (
        "ctl",
        &["bus", "daemon", "engine", "plan", "runtime", "sys", "unit"],
    ),
];

/// Rooms without I/O, clock, randomness or async.
const PURE: &[&str] = &["unit", "engine", "plan", "runtime"];

fn sources(room: &str) -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = vec![];
    let mut todo = vec![source.join(room)];
    let file = source.join(format!("{room}.rs"));
    if file.exists() {
        found.push(file);
    }
    while let Some(directory) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(
        !found.is_empty(),
        "the law names a room that does not exist: {room}"
    );
    found
}

/// The rooms that a text names after `crate::`, comments left out.
fn rooms_used(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for line in text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
    {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => group.split('}').next().unwrap_or(group).to_owned(),
                None => rest.to_owned(),
            };
            for name in names.split(',') {
                let room: String = name
                    .trim()
                    .chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                    .collect();
                if !room.is_empty() {
                    rooms.insert(room);
                }
            }
        }
    }
    rooms
}

#[test]
fn every_room_uses_only_what_the_law_allows() {
    let known: BTreeSet<&str> = LAW.iter().map(|(room, _)| *room).collect();
    let mut broken = vec![];
    for (room, allowed) in LAW {
        for path in sources(room) {
            let text = std::fs::read_to_string(&path).unwrap();
            for used in rooms_used(&text) {
                let fine = used == *room
                    || WORDS.contains(&used.as_str())
                    || allowed.contains(&used.as_str())
                    || !known.contains(used.as_str());
                if !fine {
                    broken.push(format!("{}: {room} may not use {used}", path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_room_has_a_law() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(source).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let room = path.file_stem().unwrap().to_string_lossy().into_owned();
        if ["lib", "bin"].contains(&room.as_str()) {
            continue;
        }
        assert!(
            LAW.iter().any(|(name, _)| *name == room),
            "{room} is in no row of the law"
        );
    }
}

#[test]
fn pure_rooms_forbid_unsafe_and_touch_nothing() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::env",
        "tokio::",
        "nix::",
        "libc::",
        "SystemTime",
        "Instant::",
        "zbus::",
        "tracing::",
    ];
    for room in PURE {
        let all = sources(room);
        let top = all
            .iter()
            .find(|path| path.ends_with(format!("{room}/mod.rs")))
            .unwrap();
        let text = std::fs::read_to_string(top).unwrap();
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "{room} does not forbid unsafe code"
        );
        for path in all {
            let text = std::fs::read_to_string(&path).unwrap();
            // What comes after the first test module is tests.
            let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
            if path
                .components()
                .any(|part| ["tests", "sim"].contains(&part.as_os_str().to_str().unwrap_or("")))
                || path
                    .file_stem()
                    .is_some_and(|stem| stem == "tests" || stem == "sim")
            {
                continue;
            }
            for line in code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
            {
                for word in forbidden {
                    assert!(
                        !line.contains(word),
                        "{}: {word} in: {line}",
                        path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn the_reader_of_imports_sees_them() {
    let text = "use crate::unit::Unit;\n// crate::daemon\nlet x = crate::sys::now();\n\
                use crate::{bus, plan::Host};";
    let rooms: Vec<String> = rooms_used(text).into_iter().collect();
    assert_eq!(rooms, ["bus", "plan", "sys", "unit"]);
}
