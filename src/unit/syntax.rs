//! The text of unit and policy files: sections, assignments, and where each of them stands.
//!
//! Lossless: a [`Document`] keeps every byte, and its [`Item`]s tile the text without a gap. It
//! knows nothing of directives; a value is the text behind `=` with continuation lines joined, as
//! systemd.syntax(7) has it. Nothing here fails: what cannot be read is a diagnostic, a
//! [`ItemKind::Broken`] item and a mark on its section. Read next: [`super::registry`].

mod parser;

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Severity};

/// Largest file in bytes; a larger one is not looked into.
pub const MAX_FILE: usize = 4 << 20;
/// Longest line in bytes, continuation lines together.
pub const MAX_LINE: usize = 1 << 20;
/// Most lines in a file.
pub const MAX_LINES: usize = 1 << 16;
/// Most diagnostics one file gets; the rest is counted.
pub const MAX_DIAGNOSTICS: usize = 100;
/// Longest excerpt in characters.
const MAX_EXCERPT: usize = 200;
/// White space within a line: these two and no other character, however blank it looks.
const BLANKS: [char; 2] = [' ', '\t'];

/// A place in a file, in lines and characters from 1; column 0 means the whole line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The line, from 1; 0 means the whole file.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// How many characters.
    pub width: u32,
}

/// A parsed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    path: PathBuf,
    text: String,
    line_starts: Vec<usize>,
    items: Vec<Item>,
    sections: Vec<Section>,
    damaged: bool,
}

/// A stretch of the text: one line, or several where lines are continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its bytes, line ends included.
    pub range: Range<usize>,
    /// What it is.
    pub kind: ItemKind,
}

/// What an [`Item`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// Nothing but white space.
    Blank,
    /// A line that begins with `#` or `;`.
    Comment,
    /// `[Name]`.
    Section,
    /// `Key=value`.
    Assignment,
    /// Something with a diagnostic.
    Broken,
}

/// A section header and what stands below it. The same name may come several times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name between the brackets.
    pub name: String,
    /// The header.
    pub span: Span,
    /// Its assignments, in order.
    pub assignments: Vec<Assignment>,
    /// Whether a line in it could not be read and is missing from `assignments`.
    pub broken: bool,
}

/// `Key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub span: Span,
    /// The value: stripped, each continuation backslash replaced by a space.
    pub value: String,
    pieces: Vec<Piece>,
}

/// Where a part of a value stands: from `offset` on it is at `line`, `column`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    offset: usize,
    line: u32,
    column: u32,
}

impl Assignment {
    /// Where the bytes `range` of the value stand in the file; of a value that goes over several
    /// lines only the first of them is marked.
    #[must_use]
    pub fn locate(&self, range: Range<usize>) -> Span {
        let index = self
            .pieces
            .partition_point(|piece| piece.offset <= range.start);
        let Some(piece) = index.checked_sub(1).and_then(|i| self.pieces.get(i)) else {
            return self.span;
        };
        let line_end = self
            .pieces
            .get(index)
            .map_or(self.value.len(), |next| next.offset);
        let width = |from, to| {
            self.value
                .get(from..to)
                .map_or(0, |text| count(text.trim_end_matches(BLANKS)))
        };
        let before = self.value.get(piece.offset..range.start).map_or(0, count);
        Span {
            line: piece.line,
            column: piece.column.saturating_add(before),
            width: width(range.start, range.end.min(line_end)).max(1),
        }
    }

    /// Where the value begins, as wide as it is on its first line.
    #[must_use]
    pub fn value_span(&self) -> Span {
        self.locate(0..self.value.len())
    }
}

impl Document {
    /// The file, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every byte of the file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the text is made of; the ranges follow each other without a gap.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The sections, in order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Whether something is missing of which not even the section is known: a header that cannot
    /// be read, lines before the first header, a file that is too large.
    #[must_use]
    pub const fn damaged(&self) -> bool {
        self.damaged
    }

    /// A source line without its end (and the first without a byte order mark), from 1.
    #[must_use]
    pub fn line(&self, number: u32) -> &str {
        let index = (number as usize).wrapping_sub(1);
        let Some(start) = self.line_starts.get(index) else {
            return "";
        };
        let end = self
            .line_starts
            .get(index + 1)
            .map_or(self.text.len(), |end| *end);
        let line = self.text.get(*start..end).unwrap_or_default();
        parser::strip(line, number == 1)
    }

    /// A diagnostic about a place in this file, with its line.
    #[must_use]
    pub fn diagnose(
        &self,
        severity: Severity,
        span: Span,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Diagnostic {
        let line = self.line(span.line);
        // A terminal must not obey what a file says, and a bad line may be long.
        let mut excerpt: String = line
            .chars()
            .take(MAX_EXCERPT)
            .map(|c| match c {
                '\t' => '\t',
                c if c.is_control() => char::REPLACEMENT_CHARACTER,
                c => c,
            })
            .collect();
        let length = count(&excerpt);
        if line.chars().nth(MAX_EXCERPT).is_some() {
            excerpt.push('…');
        }
        let visible = span.column <= length;
        Diagnostic {
            severity,
            path: self.path.clone(),
            line: span.line,
            column: if visible { span.column } else { 0 },
            width: if visible {
                span.width
                    .min(length.saturating_sub(span.column).saturating_add(1))
            } else {
                0
            },
            excerpt,
            message: message.into(),
            help,
        }
    }
}

/// Reads a file's text. The document is always usable, if only as far as the text was.
#[must_use]
pub fn parse(path: &Path, text: &str) -> (Document, Vec<Diagnostic>) {
    parser::read(path, text)
}

/// Characters of a text that is at most [`MAX_LINE`] long.
fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
