//! The same units, commands and events on systemd and on Aether: what is seen must be equal.
//!
//! A case is a directory below `tests/cases/systemd`; the language is described at the top of
//! `run` there, the program that runs all of them on either manager. systemd runs in a virtual
//! machine (`tests/vm/image.sh`). `different` lists the cases that are known to differ, each with
//! its reason: whatever turns out equal must leave the list.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::live::Aether;

/// What was seen in a case, by the line that looked.
type Seen = BTreeMap<usize, String>;

/// Everything a manager did: cases, and lines whose stored expectation did not come true.
#[derive(Default)]
struct Outcome {
    cases: BTreeMap<String, Seen>,
    others: Vec<(String, usize)>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/systemd")
}

/// The names of all cases.
fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().join("case").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The cases that are known to differ, with the reason.
fn known() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(directory().join("different")).unwrap();
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, reason) = line.split_once(": ").expect("NAME: reason");
            (name.to_owned(), reason.to_owned())
        })
        .collect()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success(), "cp {}", from.display());
}

/// Reads what `run` printed. Lines of others (the kernel, a manager) are no outcome.
fn outcome(printed: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let mut ended = Vec::new();
    for line in printed.lines() {
        let words: Vec<&str> = line.splitn(4, '\t').collect();
        match words[..] {
            [case, line, verdict @ ("same" | "other"), observed] => {
                let line: usize = line.parse().unwrap();
                let seen = outcome.cases.entry(case.to_owned()).or_default();
                seen.insert(line, observed.to_owned());
                if verdict == "other" {
                    outcome.others.push((case.to_owned(), line));
                }
            }
            [case, "end", _] => ended.push(case),
            _ => {}
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, names(), "not every case came to its end:\n{printed}");
    outcome
}

fn on_systemd() -> Outcome {
    let place = tempfile::tempdir().unwrap();
    copy(&directory(), &place.path().join("cases"));
    let test = "exec python3 /run/payload/cases/run systemd --units /run/systemd/system \
                --scratch /run/cases 2>&1\n";
    std::fs::write(place.path().join("test.sh"), test).unwrap();
    let init = "/lib/systemd/systemd systemd.unit=vm-test.service systemd.show_status=no \
                systemd.log_target=null";
    outcome(&crate::vm::boot(place.path(), init))
}

fn on_aether() -> Outcome {
    let mut aether = Aether::prepare();
    // As in the guest, the cases' files are not those of the highest priority.
    let place = |name: &str| aether.root.path().join(name).display().to_string();
    let path = format!("{}:{}", place("local"), place("units"));
    aether.variables.push(("AETHER_UNIT_PATH".to_owned(), path));
    aether.up();
    let root = aether.root.path();
    let mut command = Command::new(directory().join("run"));
    aether.environment(&mut command);
    let path = std::env::var("PATH").unwrap();
    let output = command
        .env("PATH", format!("{}:{path}", root.join("bin").display()))
        .args(["aether", "--jobs", "8", "--patience", "10", "--units"])
        .arg(root.join("units"))
        .arg("--scratch")
        .arg(root.join("cases"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    outcome(&String::from_utf8_lossy(&output.stdout))
}

/// A line of a case, and what was seen there.
fn told(case: &str, line: usize, seen: &[(&str, Option<&String>)]) -> String {
    let text = std::fs::read_to_string(directory().join(case).join("case")).unwrap();
    let text = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let mut told = format!("  {case}/case:{line}: {text}\n");
    for (who, what) in seen {
        let what = what.map_or("(did not come so far)", String::as_str);
        writeln!(told, "      {who:8} {what}").unwrap();
    }
    told
}

#[test]
fn units_behave_as_under_systemd() {
    let systemd = on_systemd();
    let aether = on_aether();
    let known = known();
    let nothing = Seen::new();
    let mut wrong = String::new();
    for (case, line) in &systemd.others {
        let said = systemd.cases[case].get(line);
        wrong.push_str("the case expects what systemd does not do:\n");
        wrong.push_str(&told(case, *line, &[("systemd", said)]));
    }
    let mut equal = 0;
    for case in names() {
        let ours = aether.cases.get(&case).unwrap_or(&nothing);
        let theirs = systemd.cases.get(&case).unwrap_or(&nothing);
        match known.get(&case) {
            None if ours == theirs => equal += 1,
            Some(_) if ours != theirs => {}
            Some(reason) => writeln!(
                wrong,
                "{case} is equal: it must leave the list of differences ({reason})"
            )
            .unwrap(),
            None => {
                writeln!(wrong, "{case} is different:").unwrap();
                let lines = theirs.keys().chain(ours.keys());
                let lines: std::collections::BTreeSet<_> = lines.collect();
                for line in lines {
                    let (said, done) = (theirs.get(line), ours.get(line));
                    if said != done {
                        let both = [("systemd", said), ("aether", done)];
                        wrong.push_str(&told(&case, *line, &both));
                    }
                }
            }
        }
    }
    for case in known.keys() {
        assert!(
            names().contains(case),
            "{case} is listed as different, and there is no such case"
        );
    }
    assert!(wrong.is_empty(), "{equal} cases are equal\n{wrong}");
}
