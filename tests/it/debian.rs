//! The unit files of Debian's packages: each loads, and of each assignment it is known whether it
//! is acted upon or only named.
//!
//! Needs Debian 12 or 13 with its apt sources and package systemd; `tests/debian/fetch.sh`
//! downloads what `tests/debian/packages` names and keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use aether::diagnostic::{Diagnostic, Severity};
use aether::name::UnitName;
use aether::place::Places;
use aether::sys::unitfile::{list, read, specifiers, unit_names};
use aether::unit::names::Names;
use aether::unit::registry::{self, Section};
use aether::unit::search::{self, Content, Files, Found};
use aether::unit::syntax::{self, Assignment};
use aether::unit::{Loaded, Source, SpecifierFacts};

/// Where a package has unit files.
const PLACES: [&str; 4] = [
    "lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/user",
    "usr/lib/systemd/user",
];
/// Where units are named that need not be ours.
const DEPENDENCIES: [&str; 10] = [
    "After",
    "Before",
    "BindsTo",
    "Conflicts",
    "PartOf",
    "Requires",
    "Requisite",
    "WantedBy",
    "RequiredBy",
    "Wants",
];
/// What a template is loaded with.
const INSTANCE: &str = "one-two";

/// What was found in some units.
#[derive(Debug, Default)]
struct Tally {
    packages: BTreeSet<String>,
    files: usize,
    instances: usize,
    assignments: usize,
    understood: usize,
    /// Directives that are read and not acted upon, and how often they stand there.
    unimplemented: BTreeMap<String, usize>,
    /// Errors, of which systemd has to say the same: by unit, so that each is asked about once.
    errors: BTreeMap<PathBuf, Vec<(UnitName, Diagnostic)>>,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.packages.extend(other.packages);
        self.files += other.files;
        self.instances += other.instances;
        self.assignments += other.assignments;
        self.understood += other.understood;
        for (key, count) in other.unimplemented {
            *self.unimplemented.entry(key).or_default() += count;
        }
        for (path, errors) in other.errors {
            self.errors.entry(path).or_default().extend(errors);
        }
        self.failures.extend(other.failures);
    }

    /// One unit's files, loaded as the daemon does.
    fn unit(&mut self, name: &UnitName, files: &Files, names: &Names, facts: &SpecifierFacts) {
        let loaded = files.load(names, facts);
        let sources = files.sources.as_slice();
        if name.is_template() {
            let text = name.as_str().replacen('@', &format!("@{INSTANCE}"), 1);
            let instance: UnitName = text.parse().unwrap();
            self.instances += 1;
            let files = Files {
                name: instance.clone(),
                ..files.clone()
            };
            self.errors(&instance, sources, files.load(names, facts));
        }
        let mut unknown: BTreeMap<(Section, &str), usize> = BTreeMap::new();
        let documents: Vec<_> = sources
            .iter()
            .map(|source| syntax::parse(&source.path, &source.text).0)
            .collect();
        for document in &documents {
            for part in document.sections() {
                let Some(section) = section(name, &part.name) else {
                    continue;
                };
                for assignment in &part.assignments {
                    if assignment.key.starts_with("X-") {
                        continue;
                    }
                    self.assignments += 1;
                    let key = assignment.key.as_str();
                    let said = about(&loaded.diagnostics, document.path(), assignment);
                    if registry::legacy(section, key).is_some() {
                        let error = said.is_some_and(|found| found.severity == Severity::Error);
                        self.understood += usize::from(!error);
                    } else if registry::find(section, key).is_some() {
                        self.understood +=
                            usize::from(said.is_none_or(advice) && !foreign(assignment));
                    } else if registry::is_unimplemented(section, key)
                        && registry::holds_anyway(key, &assignment.value)
                    {
                        self.understood += 1;
                    } else {
                        *unknown.entry((section, key)).or_default() += 1;
                    }
                }
            }
        }
        for ((section, key), count) in unknown {
            let named = loaded.diagnostics.iter().filter(|found| {
                let rest = found.message.strip_prefix(key);
                found.severity == Severity::Warning
                    && rest.is_some_and(|rest| rest.starts_with('='))
            });
            let named = named.count();
            if named != 1 && registry::is_unimplemented(section, key) {
                self.failures.push(format!(
                    "{name}: {key}= of [{}] is named in {named} warnings",
                    section.name()
                ));
            }
            *self.unimplemented.entry(key.to_owned()).or_default() += count;
        }
        self.errors(name, sources, loaded);
    }

    /// Keeps what was said against a unit.
    fn errors(&mut self, name: &UnitName, sources: &[Source], loaded: Loaded) {
        let errors: Vec<_> = loaded
            .diagnostics
            .into_iter()
            .filter(|found| found.severity == Severity::Error)
            .map(|found| (name.clone(), found))
            .collect();
        if loaded.unit.is_none() && errors.is_empty() {
            self.failures
                .push(format!("{name} is not loaded, and nobody says why"));
        }
        if !errors.is_empty() {
            let path = sources[0].path.clone();
            self.errors.entry(path).or_default().extend(errors);
        }
    }
}

fn section(name: &UnitName, text: &str) -> Option<Section> {
    Section::ALL
        .into_iter()
        .find(|section| section.name() == text && section.belongs_to(name.kind()))
}

/// What was said about an assignment.
fn about<'d>(
    diagnostics: &'d [Diagnostic],
    path: &Path,
    assignment: &Assignment,
) -> Option<&'d Diagnostic> {
    let lines = assignment.span.line
        ..=assignment
            .locate(assignment.value.len()..assignment.value.len())
            .line;
    diagnostics
        .iter()
        .find(|found| found.path == path && lines.contains(&found.line))
}

/// What was taken with a word of advice is understood, unlike what is not implemented.
fn advice(found: &Diagnostic) -> bool {
    found.severity == Severity::Warning && !found.message.contains("not implemented")
}

/// Whether a dependency names a unit of a type that this program does not run.
fn foreign(assignment: &Assignment) -> bool {
    let types = [".mount", ".automount", ".swap", ".device", ".scope"];
    let mut words = assignment.value.split_whitespace();
    DEPENDENCIES.contains(&assignment.key.as_str())
        && words.any(|word| types.iter().any(|suffix| word.ends_with(suffix)))
}

/// Every directory with unit files, and the package it belongs to.
fn directories(tree: &Path) -> Vec<(String, PathBuf)> {
    let mut packages = list(tree);
    packages.sort();
    packages
        .into_iter()
        .flat_map(|package| PLACES.map(|place| (package.clone(), tree.join(&package).join(place))))
        .filter(|(_, directory)| directory.is_dir())
        .collect()
}

/// Everything in one directory.
fn look(package: &str, directory: &Path, all: &[PathBuf], facts: &SpecifierFacts) -> Tally {
    let mut tally = Tally::default();
    let own = [directory.to_owned()];
    let names = unit_names(&own);
    let mut files = list(directory);
    files.sort();
    for file in files {
        let path = directory.join(&file);
        if let Some(unit) = file.strip_suffix(".d")
            && let Ok(name) = unit.parse::<UnitName>()
        {
            // A drop-in for another package's unit: with that unit, wherever it is.
            if path.is_dir() && !directory.join(unit).exists() {
                let mut search = own.to_vec();
                search.extend(
                    all.iter()
                        .filter(|other| other.join(unit).exists())
                        .cloned(),
                );
                let names = unit_names(&search);
                if let Found::Files(files) = search::find(&name, &names, list, read) {
                    tally.files += files.sources.len().saturating_sub(1);
                    tally.unit(&name, &files, &names, facts);
                }
            }
            continue;
        }
        let Ok(name) = file.parse::<UnitName>() else {
            continue;
        };
        // An alias, of a unit here or of another package's, is no unit of its own.
        if path.is_dir() || read(&path) == Content::Absent || names.resolve(&name) != name {
            continue;
        }
        match search::find(&name, &names, list, read) {
            Found::Files(files) => {
                tally.packages.insert(package.to_owned());
                tally.files += files.sources.len();
                tally.unit(&name, &files, &names, facts);
            }
            Found::Masked(_) => {}
            other => tally
                .failures
                .push(format!("{}: {other:?}", path.display())),
        }
    }
    tally
}

/// What systemd says about a unit file.
fn systemd_on(path: &Path) -> String {
    let output = Command::new("systemd-analyze")
        .args([
            "verify",
            "--man=no",
            "--generators=no",
            "--recursive-errors=no",
        ])
        .arg(path)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("systemd-analyze runs: apt-get install systemd");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether it complains about that line, or does not load the unit at all.
fn says_so(said: &str, name: &UnitName, found: &Diagnostic) -> bool {
    let line = format!("{}:{}: ", found.path.display(), found.line);
    let instance = name.as_str().replacen(INSTANCE, "i", 1);
    let refused = [name.as_str(), &instance]
        .iter()
        .any(|unit| said.contains(&format!("Unit {unit} has a bad unit file setting")));
    said.contains(&line) || refused
}

#[test]
fn debians_unit_files_are_understood() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/debian/fetch.sh");
    let output = Command::new(&script).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    eprint!("{errors}");
    assert!(output.status.success(), "{} failed", script.display());
    let tree = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end());

    let facts = specifiers(&Places::find(0, Path::new("/usr/bin/aetherd"), |_| None));
    let directories = directories(&tree);
    let all: Vec<PathBuf> = directories.iter().map(|(_, path)| path.clone()).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let parts: Vec<_> = directories
            .chunks(directories.len().div_ceil(threads))
            .map(|part| {
                let (all, facts) = (&all, &facts);
                scope.spawn(move || {
                    part.iter()
                        .fold(Tally::default(), |mut tally, (package, path)| {
                            tally.add(look(package, path, all, facts));
                            tally
                        })
                })
            })
            .collect();
        for part in parts {
            tally.add(part.join().expect("no unit file makes the library panic"));
        }
    });

    for (path, errors) in std::mem::take(&mut tally.errors) {
        let said = systemd_on(&path);
        for (name, found) in errors {
            if !says_so(&said, &name, &found) {
                tally
                    .failures
                    .push(format!("{name}: systemd takes this:\n{found}"));
            }
        }
    }
    let share = tally.understood as f64 * 100.0 / tally.assignments.max(1) as f64;
    eprintln!(
        "{} packages, {} files, {} templates loaded as an instance, {} assignments, {share:.1} % \
         understood",
        tally.packages.len(),
        tally.files,
        tally.instances,
        tally.assignments
    );
    let mut frequent: Vec<_> = tally.unimplemented.iter().collect();
    frequent.sort_by_key(|(key, count)| (std::cmp::Reverse(**count), (*key).clone()));
    for (key, count) in frequent.into_iter().take(25) {
        eprintln!("{count:6} {key}=");
    }
    assert!(
        tally.failures.is_empty(),
        "{} failures:\n\n{}",
        tally.failures.len(),
        tally.failures.join("\n\n")
    );
    assert!(tally.packages.len() >= 150 && tally.files >= 500);
}

/// Every directive that systemd itself lists, for every section of ours.
#[test]
fn every_directive_of_systemd_is_known() {
    let output = Command::new("/lib/systemd/systemd")
        .arg("--dump-configuration-items")
        .output()
        .expect("systemd is there: apt-get install systemd");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut section = None;
    let mut unknown = vec![];
    let mut count = 0;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_end_matches(']');
            section = Section::ALL
                .into_iter()
                .find(|section| section.name() == name);
            continue;
        }
        let (Some(section), Some((key, _))) = (section, line.split_once('=')) else {
            continue;
        };
        count += 1;
        if registry::find(section, key).is_none()
            && registry::legacy(section, key).is_none()
            && !registry::is_unimplemented(section, key)
        {
            unknown.push(format!("[{}] {key}=", section.name()));
        }
    }
    assert!(count > 500, "{text}");
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}
