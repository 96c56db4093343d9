//! `aetherctl verify` beside `systemd-analyze verify`: whatever line or unit systemd complains
//! about, ours names too. Ours may find more.
//!
//! The cases are the files of `tests/cases/verify-systemd`, all in one directory, each with one
//! mistake or a few. Needs Debian's package systemd (252 or later), which need not run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a complaint is about.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    /// A line of one of the unit's files.
    Line(String, u32),
    /// The unit as a whole.
    Unit,
}

/// A directory with all cases; gone in the end.
struct Cases {
    directory: PathBuf,
    /// The files that are verified.
    files: Vec<String>,
}

impl Cases {
    fn new(test: &str) -> Self {
        let own = format!("aether-verify-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(own);
        let _ = fs::remove_dir_all(&directory);
        copy(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/verify-systemd"),
            &directory,
        );
        // What a repository should not have: bytes that are no text, a name that is none.
        let drop_in = directory.join("drop-in-bytes.service.d");
        fs::create_dir_all(&drop_in).unwrap();
        let bytes = b"[Service]\nEnvironment=NAME=caf\xe9\n";
        fs::write(drop_in.join("10-latin.conf"), bytes).unwrap();
        let fine = "[Service]\nExecStart=/bin/true\n";
        fs::write(directory.join("bad name!.service"), fine).unwrap();
        let mut files: Vec<String> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        files.sort();
        Self { directory, files }
    }
}

impl Drop for Cases {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn text(output: &Output, directory: &Path) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    let directory = format!("{}/", directory.display());
    String::from_utf8_lossy(&all).replace(&directory, "")
}

fn theirs(cases: &Cases, file: &str) -> String {
    let directory = &cases.directory;
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--generators=no"])
        .arg("--recursive-errors=one")
        .arg(directory.join(file))
        .env("SYSTEMD_UNIT_PATH", format!("{}:", directory.display()))
        .env("SYSTEMD_COLORS", "0")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("systemd-analyze runs: apt-get install systemd");
    text(&output, directory)
}

fn ours(cases: &Cases, file: &str) -> String {
    let directory = &cases.directory;
    let output = Command::new(env!("CARGO_BIN_EXE_aetherctl"))
        .arg("verify")
        .arg(directory.join(file))
        .env("AETHER_UNIT_PATH", directory)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    text(&output, directory)
}

/// What systemd complains about, of this unit and its drop-ins.
fn complaints(file: &str, said: &str) -> BTreeSet<About> {
    let own = |path: &str| path == file || path.starts_with(&format!("{file}.d/"));
    said.lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (path, number) = (parts.next()?, parts.next().unwrap_or_default());
            match number.parse() {
                Ok(number) if own(path) => Some(About::Line(path.to_owned(), number)),
                // Of a neighbour.
                Ok(_) => None,
                Err(_) => Some(About::Unit),
            }
        })
        .collect()
}

/// Whether ours says something about it.
fn answers(file: &str, said: &str, about: &About) -> bool {
    match about {
        About::Line(path, number) => {
            let line = format!("{path}:{number}:");
            let unreadable = format!("{path}: it is not UTF-8 in line {number}");
            said.contains(&line) || said.contains(&unreadable)
        }
        About::Unit => said
            .lines()
            .any(|line| line.contains(file) && !line.starts_with(' ')),
    }
}

#[test]
fn whatever_systemd_complains_about_is_named() {
    let cases = Cases::new("both");
    assert!(cases.files.len() >= 40, "{}", cases.files.len());
    let mut silent = vec![];
    let mut missing = vec![];
    for file in &cases.files {
        let (theirs, ours) = (theirs(&cases, file), ours(&cases, file));
        let complaints = complaints(file, &theirs);
        if complaints.is_empty() {
            silent.push(file.as_str());
        }
        let lacking: Vec<&About> = complaints
            .iter()
            .filter(|about| !answers(file, &ours, about))
            .collect();
        if !lacking.is_empty() {
            missing.push(format!(
                "=== {file}: nothing about {lacking:?}\n--- systemd-analyze\n{theirs}--- aetherctl\n{ours}"
            ));
        }
    }
    eprintln!(
        "{} files; systemd complains about {}",
        cases.files.len(),
        cases.files.len() - silent.len()
    );
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(cases.files.len() - silent.len() >= 40, "{silent:?}");
}

/// What systemd takes without a word is no error here.
#[test]
fn whatever_systemd_takes_is_taken() {
    let cases = Cases::new("fine");
    let fine: Vec<_> = cases
        .files
        .iter()
        .filter(|file| file.starts_with("fine-"))
        .collect();
    assert!(fine.len() >= 5);
    for file in fine {
        assert_eq!(theirs(&cases, file), "", "{file}");
        let said = ours(&cases, file);
        assert!(said.contains("0 errors, "), "{file}: {said}");
    }
}

/// Where systemd says nothing and a person would want to know.
#[test]
fn what_only_ours_finds() {
    let cases = Cases::new("ours");
    for (file, expected) in [
        (
            "timer-alone.timer",
            "there is no timer-alone.service, which this timer starts",
        ),
        (
            "timer-elsewhere.timer",
            "timer-elsewhere.timer:3:6: warning: Unit=: there is no unit file for no-such-report.service",
        ),
        (
            "path-alone.path",
            "there is no path-alone.service, which this path starts",
        ),
        (
            "install-alias.service",
            "an alias has another suffix than the unit",
        ),
        (
            "value-capability.service",
            "value-capability.service:3:23: warning: CapabilityBoundingSet=",
        ),
        (
            "command-missing.service",
            "command-missing.service:2:11: warning: ExecStart=: there is no program /usr/bin/no-such-worker",
        ),
        (
            "socket-accept.socket",
            "write Accept=no to have socket-accept.service take all connections",
        ),
    ] {
        let said = ours(&cases, file);
        assert!(said.contains(expected), "{file}: {expected}\n{said}");
    }
}
