//! What is written and cannot be done as written: directives of systemd that are not implemented,
//! old spellings, units of other types, and what nobody knows. Each is said once.

use crate::diagnostic::Severity;

use super::{File, Loader};
use crate::unit::nearest::nearest;
use crate::unit::registry::{self, Legacy, Section};
use crate::unit::syntax::{Assignment, Document, MAX_DIAGNOSTICS};
use crate::unit::value::ValueError;

/// Most units named in one warning.
const MAX_NAMES: usize = 5;

impl Loader<'_> {
    /// An old spelling: as the new one, and said once.
    pub(super) fn legacy(
        &mut self,
        file: File<'_>,
        section: Section,
        old: &Legacy,
        assignment: &Assignment,
    ) {
        let Some(row) = old.modern() else {
            return;
        };
        let key = assignment.key.as_str();
        if self.warned.insert((Some(section), key.to_owned())) {
            let found = file.document.diagnose(
                Severity::Warning,
                assignment.span,
                old.message(),
                Some(old.instead()),
            );
            self.diagnostics.push((file.index, found));
        }
        match old.translate(&assignment.value) {
            Some(value) => self.apply(file, row, assignment, &value),
            None => {
                let value = &assignment.value;
                let error = ValueError::unreadable(value, &format!("a value of {key}="));
                self.say(file, row, assignment, Severity::Error, error);
            }
        }
    }

    pub(super) fn unknown(&mut self, file: File<'_>, section: Section, assignment: &Assignment) {
        let key = assignment.key.as_str();
        if key.starts_with("X-") {
            return;
        }
        let unimplemented = registry::is_unimplemented(section, key);
        if unimplemented && registry::holds_anyway(key, &assignment.value) {
            return;
        }
        let place = section.name();
        let mut severity = Severity::Error;
        let mut help = None;
        let message = if unimplemented {
            if !self.warned.insert((Some(section), key.to_owned())) {
                return;
            }
            if section == Section::Sandbox {
                self.usable = false;
                help = Some("remove the line to run the unit without it".to_owned());
                format!("{key}= is not implemented, and the unit would be weaker without it")
            } else {
                severity = Severity::Warning;
                if registry::is_confinement(key) {
                    help = Some("use [Sandbox] to confine the unit".to_owned());
                }
                format!("{key}= is not implemented, ignoring")
            }
        } else {
            // Guessing costs time, and nobody sees what comes after so many.
            if self.diagnostics.len() >= MAX_DIAGNOSTICS {
                self.usable = false;
                let message = format!("unknown directive {key}= in [{place}]");
                let found = file
                    .document
                    .diagnose(severity, assignment.span, message, None);
                self.diagnostics.push((file.index, found));
                return;
            }
            let keys = || registry::rows_of(section);
            let near = nearest(key, keys().map(|row| row.key));
            let elsewhere = || {
                Section::ALL.into_iter().find(|other| {
                    other.belongs_to(self.name.kind()) && registry::find(*other, key).is_some()
                })
            };
            let meant = near.and_then(|near| registry::find(section, near));
            let moved = elsewhere();
            let guard = meant.is_some_and(|row| row.guard)
                || moved
                    .and_then(|other| registry::find(other, key))
                    .is_some_and(|row| row.guard);
            self.usable &= section != Section::Sandbox && !guard;
            help = match (moved, near) {
                (Some(other), _) => Some(format!("it belongs into [{}]", other.name())),
                (None, Some(near)) => Some(format!("did you mean {near}=?")),
                (None, None) => None,
            };
            format!("unknown directive {key}= in [{place}]")
        };
        self.diagnostics.push((
            file.index,
            file.document
                .diagnose(severity, assignment.span, message, help),
        ));
    }

    /// Names the units that this program does not run, all in one warning.
    pub(super) fn foreign(&mut self, documents: &[Document]) {
        let Some((index, span, names)) = self.foreign.take() else {
            return;
        };
        let mut shown = names
            .iter()
            .take(MAX_NAMES)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        if let Some(more) = names.len().checked_sub(MAX_NAMES).filter(|more| *more > 0) {
            shown += &format!(" and {more} more");
        }
        let mut types: Vec<&str> = names
            .iter()
            .filter_map(|name| name.rfind('.').and_then(|dot| name.get(dot..)))
            .collect();
        types.sort_unstable();
        types.dedup();
        let types = types.join(", ");
        let message = format!("units of type {types} are not implemented, ignoring {shown}");
        if let Some(document) = documents.get(index) {
            let found = document.diagnose(Severity::Warning, span, message, None);
            self.diagnostics.push((index, found));
        }
    }
}
