//! Fragment and drop-ins → [`Unit`], with every diagnostic on the way.
//!
//! As in systemd, an assignment that cannot be read is ignored and the unit is loaded without it.
//! The exception is this program's own law: **a unit never starts weaker than it is written.** It
//! is not loaded at all when a mistake sits where confinement, identity, limits or the command
//! itself are decided: anywhere in `[Sandbox]`, `[Budget]` or `[Approval]`, in a directive whose
//! row is a guard (`User=`, `DynamicUser=`, `MemoryMax=`, `ExecStart=` …), in a section header,
//! in an unknown directive that resembles a guard, or when there are too many to look at each. `verify` reports all of it alike.
//! Read next: `unknown`, for what cannot be done as written, and [`super::registry`].

mod unknown;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Severity};
use crate::name::{UnitName, UnitType};

use super::complete::complete;
use super::nearest::nearest;
use super::registry::{self, Directive, Draft, Given, Note, Section, Shape};
use super::specifier::SpecifierFacts;
use super::syntax::{self, Assignment, Document, MAX_DIAGNOSTICS, Span};
use super::value::ValueError;
use super::{Install, Unit, check};

/// One file of a unit. The first source is the fragment, the others its drop-ins in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it was found.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// What came of a unit's files.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The unit; `None` when it cannot be used safely.
    pub unit: Option<Unit>,
    /// Everything found, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// `[Install]`, which is read of a unit that cannot be used too: it must be possible to
    /// disable it.
    pub install: Install,
}

/// What the files around a unit's own say about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// Entries of its `.wants` directories.
    pub wants: Vec<UnitName>,
    /// Entries of its `.requires` directories.
    pub requires: Vec<UnitName>,
    /// Entries of its `.upholds` directories.
    pub upholds: Vec<UnitName>,
    /// Its other names.
    pub aliases: Vec<UnitName>,
    /// Of a timer or path unit: what it starts when nothing is written; `None`: the service of its
    /// own name.
    pub namesake: Option<UnitName>,
}

/// Sections of systemd's other unit types.
const FOREIGN_SECTIONS: [&str; 6] = ["Automount", "Mount", "Scope", "Swap", "Target", "Device"];
/// Sections of a later version of this program. Without the last two a unit would be weaker than
/// written.
const LATER_SECTIONS: [(&str, bool); 3] =
    [("Desktop", false), ("Budget", true), ("Approval", true)];

/// Puts a unit together.
#[must_use]
pub fn load(name: &UnitName, sources: &[Source], facts: &SpecifierFacts) -> Loaded {
    load_linked(name, sources, &Links::default(), facts)
}

/// As [`load`], with what the files around it say.
#[must_use]
pub fn load_linked(
    name: &UnitName,
    sources: &[Source],
    links: &Links,
    facts: &SpecifierFacts,
) -> Loaded {
    let fragment = sources.first().map(|source| source.path.to_string_lossy());
    let facts = &SpecifierFacts {
        fragment: fragment.unwrap_or_default().into_owned(),
        ..facts.clone()
    };
    let mut loader = Loader {
        name,
        facts,
        draft: Draft::new(name.kind()),
        diagnostics: vec![],
        usable: true,
        given: BTreeMap::new(),
        failed: BTreeSet::new(),
        warned: BTreeSet::new(),
        foreign: None,
    };
    let mut documents = vec![];
    for source in sources {
        let (document, diagnostics) = syntax::parse(&source.path, &source.text);
        let index = documents.len();
        let numbered = diagnostics
            .into_iter()
            .map(|diagnostic| (index, diagnostic));
        loader.diagnostics.extend(numbered);
        loader.document(File {
            index,
            document: &document,
        });
        documents.push(document);
    }
    check::check(&mut loader, &documents);
    loader.foreign(&documents);
    loader.finish(sources, links)
}

/// The file that is being read, and its number.
#[derive(Clone, Copy)]
struct File<'a> {
    index: usize,
    document: &'a Document,
}

pub(super) struct Loader<'a> {
    pub(super) name: &'a UnitName,
    facts: &'a SpecifierFacts,
    pub(super) draft: Draft,
    /// With the number of the document each is about.
    diagnostics: Vec<(usize, Diagnostic)>,
    usable: bool,
    /// The last assignment of each key, read or not: document and place.
    given: BTreeMap<&'static str, (usize, Span)>,
    /// Keys of which at least one assignment had an error.
    failed: BTreeSet<&'static str>,
    /// What is warned of once only.
    warned: BTreeSet<(Option<Section>, String)>,
    /// Units of types that are not implemented, and where the first of them stands.
    foreign: Option<(usize, Span, Vec<String>)>,
}

impl Loader<'_> {
    fn document(&mut self, file: File<'_>) {
        // It is not known what is missing, so it is not known that it was harmless.
        self.usable &= !file.document.damaged();
        for part in file.document.sections() {
            if part.name.is_empty() {
                self.usable = false;
            } else if let Some(section) = self.section(file, part) {
                self.usable &= !(part.broken && section == Section::Sandbox);
                for assignment in &part.assignments {
                    self.assignment(file, section, assignment);
                }
            }
        }
    }

    /// Finds out which section a header means; says why it means none.
    fn section(&mut self, file: File<'_>, part: &syntax::Section) -> Option<Section> {
        let name = part.name.as_str();
        if name.starts_with("X-") {
            return None;
        }
        let kind = self.name.kind();
        let mut help = None;
        let mut severity = Severity::Error;
        let message = match Section::ALL.into_iter().find(|s| s.name() == name) {
            Some(section) if section.belongs_to(kind) => return Some(section),
            Some(section) => {
                self.usable = false;
                if matches!(section, Section::Service | Section::Agent) {
                    help = match kind {
                        UnitType::Agent => {
                            Some("write [Agent]; it takes every directive of [Service]".to_owned())
                        }
                        UnitType::Service => {
                            Some("write [Service], or name the file .agent".to_owned())
                        }
                        _ => None,
                    };
                }
                format!("a .{} unit has no section [{name}]", kind.suffix())
            }
            None => {
                let later = LATER_SECTIONS.iter().find(|(later, _)| *later == name);
                if let Some((_, guard)) = later {
                    if !self.warned.insert((None, name.to_owned())) {
                        return None;
                    }
                    if *guard {
                        self.usable = false;
                        help = Some("remove the section to run the unit without it".to_owned());
                        format!(
                            "section [{name}] is not implemented, and the unit would be weaker without it"
                        )
                    } else {
                        severity = Severity::Warning;
                        format!("section [{name}] is not implemented, ignoring")
                    }
                } else if FOREIGN_SECTIONS.contains(&name) {
                    self.usable = false;
                    format!("a .{} unit has no section [{name}]", kind.suffix())
                } else {
                    self.usable = false;
                    let known = Section::ALL.into_iter().filter(|s| s.belongs_to(kind));
                    help = Some(nearest(name, known.clone().map(Section::name)).map_or_else(
                        || {
                            let names: Vec<_> = known.map(|s| format!("[{}]", s.name())).collect();
                            format!(
                                "known sections are {}; names that begin with X- are left alone",
                                names.join(" ")
                            )
                        },
                        |near| format!("did you mean [{near}]?"),
                    ));
                    format!("unknown section [{name}]")
                }
            }
        };
        self.diagnostics.push((
            file.index,
            file.document.diagnose(severity, part.span, message, help),
        ));
        None
    }

    fn assignment(&mut self, file: File<'_>, section: Section, assignment: &Assignment) {
        let key = assignment.key.as_str();
        if let Some(row) = registry::find(section, key) {
            self.apply(file, row, assignment, &assignment.value);
        } else if let Some(old) = registry::legacy(section, key) {
            self.legacy(file, section, old, assignment);
        } else {
            self.unknown(file, section, assignment);
        }
    }

    fn apply(
        &mut self,
        file: File<'_>,
        row: &'static Directive,
        assignment: &Assignment,
        written: &str,
    ) {
        self.given.insert(row.key, (file.index, assignment.span));
        // An empty value of a single-valued directive asks for the default.
        let reset = row.shape == Shape::Scalar && written.is_empty();
        let value = if reset {
            row.default_for(self.name.kind())
        } else {
            written
        };
        let mut given = Given::new(row.key, value, self.name, self.facts);
        let result = (row.apply)(&mut self.draft, &mut given);
        let Given { notes, foreign, .. } = given;
        for (name, range) in foreign {
            let (_, _, names) = self
                .foreign
                .get_or_insert_with(|| (file.index, assignment.locate(range), vec![]));
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for Note { severity, error } in notes {
            self.say(file, row, assignment, severity, error);
        }
        if let Err(error) = result {
            self.say(file, row, assignment, Severity::Error, error);
        }
    }

    fn say(
        &mut self,
        file: File<'_>,
        row: &Directive,
        assignment: &Assignment,
        severity: Severity,
        error: ValueError,
    ) {
        // What a template's instance completes is judged when there is one.
        if self.name.is_template() && completed_by_instance(&assignment.value) {
            self.failed.insert(row.key);
            return;
        }
        if severity == Severity::Error {
            self.failed.insert(row.key);
            self.usable &= !row.guard;
        }
        let span = match error.range {
            Some(range) => assignment.locate(range),
            None if assignment.value.is_empty() => assignment.span,
            None => assignment.value_span(),
        };
        let message = format!("{}=: {}", row.key, error.message);
        self.diagnostics.push((
            file.index,
            file.document.diagnose(severity, span, message, error.help),
        ));
    }

    /// Whether a directive was written, even if its value could not be read.
    pub(super) fn was_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// Whether a directive was written and could not be read.
    pub(super) fn failed(&self, key: &str) -> bool {
        self.failed.contains(key)
    }

    /// The unit is not loaded, for a reason that has its diagnostic.
    pub(super) const fn unusable(&mut self) {
        self.usable = false;
    }

    /// A finding about the unit as a whole, shown where `key` was last written.
    pub(super) fn find(
        &mut self,
        documents: &[Document],
        severity: Severity,
        key: &str,
        message: String,
        help: &str,
    ) {
        let (index, span) = self.given.get(key).copied().unwrap_or_default();
        if let Some(document) = documents.get(index) {
            let help = (!help.is_empty()).then(|| help.to_owned());
            self.diagnostics
                .push((index, document.diagnose(severity, span, message, help)));
        }
    }

    /// As [`Self::find`], for what makes the unit unusable.
    pub(super) fn refuse(
        &mut self,
        documents: &[Document],
        key: &str,
        message: String,
        help: &str,
    ) {
        self.usable = false;
        self.find(documents, Severity::Error, key, message, help);
    }

    /// Whether a directive that is not implemented was written and named in a warning.
    pub(super) fn was_warned_of(&self, section: Section, key: &str) -> bool {
        self.warned.contains(&(Some(section), key.to_owned()))
    }

    fn finish(mut self, sources: &[Source], links: &Links) -> Loaded {
        // In the order in which a person reads the files.
        self.diagnostics
            .sort_by_key(|(index, found)| (*index, found.line, found.column));
        let hidden = self.diagnostics.len().saturating_sub(MAX_DIAGNOSTICS);
        self.diagnostics.truncate(MAX_DIAGNOSTICS);
        let mut diagnostics: Vec<Diagnostic> = self
            .diagnostics
            .into_iter()
            .map(|(_, found)| found)
            .collect();
        if hidden > 0 {
            let path = sources.first().map(|source| source.path.clone());
            diagnostics.push(Diagnostic::of_file(
                Severity::Error,
                path.unwrap_or_default(),
                format!("{hidden} more problems are not shown"),
                None,
            ));
        }
        self.draft.timeout_start_given =
            self.given.contains_key("TimeoutStartSec") || self.given.contains_key("TimeoutSec");
        let relations = &mut self.draft.relations;
        for (linked, list) in [
            (&links.wants, &mut relations.wants),
            (&links.requires, &mut relations.requires),
            (&links.upholds, &mut relations.upholds),
        ] {
            for unit in linked {
                if !list.contains(unit) {
                    list.push(unit.clone());
                }
            }
        }
        let mut unit = complete(self.name, self.draft, sources, links.namesake.clone());
        unit.aliases.clone_from(&links.aliases);
        Loaded {
            install: unit.install.clone(),
            unit: (self.usable && !sources.is_empty()).then_some(unit),
            diagnostics,
        }
    }
}

/// Whether a value has specifiers of which a template knows half at most.
fn completed_by_instance(value: &str) -> bool {
    ["%i", "%I", "%f", "%n", "%N"]
        .iter()
        .any(|specifier| value.contains(specifier))
}

#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod tests;
