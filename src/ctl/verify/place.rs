//! Where something was written in a unit's files: for findings that only show when the unit is
//! seen as a whole.

use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Severity};
use crate::unit::Source;
use crate::unit::syntax::{self, Assignment, Document, Span};

/// A unit's files, read for their places only.
#[derive(Debug)]
pub(super) struct Written {
    documents: Vec<Document>,
    path: PathBuf,
}

/// One assignment, or a word of it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    document: usize,
    span: Span,
    /// The whole value.
    pub(super) value: String,
    /// The word that was looked for stands there as it is.
    pub(super) literal: bool,
}

impl Written {
    /// Reads the files again; what is wrong in them has been said by whoever loaded them.
    pub(super) fn new(sources: &[Source]) -> Self {
        let parse = |source: &Source| syntax::parse(&source.path, &source.text).0;
        Self {
            documents: sources.iter().map(parse).collect(),
            path: sources
                .first()
                .map(|source| source.path.clone())
                .unwrap_or_default(),
        }
    }

    /// Every assignment of a key, the last one first.
    fn each(&self, section: &str, key: &str) -> impl Iterator<Item = (usize, &Assignment)> {
        self.documents
            .iter()
            .enumerate()
            .rev()
            .flat_map(move |(number, document)| {
                document
                    .sections()
                    .iter()
                    .rev()
                    .filter(move |part| part.name == section)
                    .flat_map(|part| part.assignments.iter().rev())
                    .filter(move |assignment| assignment.key == key)
                    .map(move |assignment| (number, assignment))
            })
    }

    /// The last value of a key.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<Place> {
        let (document, assignment) = self.each(section, key).next()?;
        Some(Place {
            document,
            span: assignment.value_span(),
            value: assignment.value.clone(),
            literal: false,
        })
    }

    /// Where a word stands among the values of a key; the last value where it is not to be seen.
    pub(super) fn word(&self, section: &str, key: &str, word: &str) -> Option<Place> {
        let found = self.each(section, key).find_map(|(document, assignment)| {
            let value = &assignment.value;
            let edge = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || c == '"');
            let (start, _) = value.match_indices(word).find(|(start, _)| {
                edge(value[..*start].chars().next_back())
                    && edge(value[start + word.len()..].chars().next())
            })?;
            Some(Place {
                document,
                span: assignment.locate(start..start + word.len()),
                value: value.clone(),
                literal: true,
            })
        });
        found.or_else(|| self.last(section, key))
    }

    /// Where a text stands within the values of a key; the last value where it is not to be seen.
    pub(super) fn part(&self, section: &str, key: &str, text: &str) -> Option<Place> {
        let found = self.each(section, key).find_map(|(document, assignment)| {
            let start = assignment.value.find(text)?;
            Some(Place {
                document,
                span: assignment.locate(start..start + text.len()),
                value: assignment.value.clone(),
                literal: true,
            })
        });
        found.or_else(|| self.last(section, key))
    }

    /// The words of every value of a key, as they stand.
    pub(super) fn words(&self, section: &str, key: &str) -> Vec<&str> {
        self.each(section, key)
            .flat_map(|(_, assignment)| assignment.value.split_whitespace())
            .collect()
    }

    /// A finding at a place, or about the unit as a whole.
    pub(super) fn diagnose(
        &self,
        severity: Severity,
        place: Option<&Place>,
        message: String,
        help: Option<String>,
    ) -> Diagnostic {
        let found = place.and_then(|place| Some((self.documents.get(place.document)?, place.span)));
        match found {
            Some((document, span)) => document.diagnose(severity, span, message, help),
            None => Diagnostic::of_file(severity, &self.path, message, help),
        }
    }
}
