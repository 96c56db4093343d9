//! Lines → items, sections, assignments. Read first: [`super`], which says what comes out.

use std::ops::Range;
use std::path::Path;

use super::{
    Assignment, BLANKS, Document, Item, ItemKind, MAX_DIAGNOSTICS, MAX_FILE, MAX_LINE, MAX_LINES,
    Piece, Section, Span, count,
};
use crate::diagnostic::{Diagnostic, Severity};

/// See [`super::parse`].
pub(super) fn read(path: &Path, text: &str) -> (Document, Vec<Diagnostic>) {
    let mut parser = Parser {
        document: Document {
            path: path.to_owned(),
            text: text.to_owned(),
            line_starts: vec![],
            items: vec![],
            sections: vec![],
            damaged: false,
        },
        diagnostics: vec![],
        suppressed: 0,
        in_section: false,
    };
    parser.run(text);
    if parser.suppressed > 0 {
        parser.diagnostics.push(parser.document.diagnose(
            Severity::Error,
            Span::default(),
            format!("{} more problems are not shown", parser.suppressed),
            None,
        ));
    }
    (parser.document, parser.diagnostics)
}

/// One physical line while it is being looked at.
struct Line<'a> {
    number: u32,
    range: Range<usize>,
    /// Without line end and byte order mark.
    text: &'a str,
}

struct Parser {
    document: Document,
    diagnostics: Vec<Diagnostic>,
    suppressed: usize,
    in_section: bool,
}

/// A logical line: physical lines joined, with the way back.
#[derive(Default)]
struct Logical {
    text: String,
    range: Range<usize>,
    /// Offset in `text` at which each physical line begins, and its number.
    starts: Vec<(usize, u32)>,
    too_long: bool,
}

impl Parser {
    fn run(&mut self, text: &str) {
        if text.len() > MAX_FILE {
            self.give_up(text, format!("file is larger than {} MiB", MAX_FILE >> 20));
            return;
        }
        if text.split_inclusive('\n').count() > MAX_LINES {
            self.give_up(text, format!("file has more than {MAX_LINES} lines"));
            return;
        }
        let mut offset = 0;
        let mut open: Option<Logical> = None;
        self.document.line_starts = text
            .split_inclusive('\n')
            .scan(0, |next, line| {
                Some(std::mem::replace(next, *next + line.len()))
            })
            .collect();
        for (index, whole) in text.split_inclusive('\n').enumerate() {
            let line = Line {
                number: u32::try_from(index + 1).unwrap_or(u32::MAX),
                range: offset..offset + whole.len(),
                text: strip(whole, index == 0),
            };
            offset += whole.len();
            open = self.line(&line, open);
        }
        if let Some(logical) = open {
            self.logical(&logical);
        }
    }

    fn give_up(&mut self, text: &str, message: String) {
        self.document.damaged = true;
        self.item(0..text.len(), ItemKind::Broken);
        self.error(Span::default(), message, None);
    }

    /// Takes one physical line; gives back the logical line that is still open.
    fn line(&mut self, line: &Line<'_>, open: Option<Logical>) -> Option<Logical> {
        let comment = line.text.trim_start_matches(BLANKS).starts_with(['#', ';']);
        let mut logical = match open {
            // A comment between continued lines belongs to none of them.
            Some(mut logical) if comment => {
                logical.range.end = line.range.end;
                return Some(logical);
            }
            Some(logical) => logical,
            None if comment => {
                self.item(line.range.clone(), ItemKind::Comment);
                return None;
            }
            None => Logical {
                range: line.range.clone(),
                ..Logical::default()
            },
        };
        logical.range.end = line.range.end;
        let continued = ends_escaped(line.text);
        if logical.text.len() + line.text.len() > MAX_LINE {
            logical.too_long = true;
        } else {
            logical.starts.push((logical.text.len(), line.number));
            logical.text.push_str(line.text);
            if continued {
                logical.text.pop();
                logical.text.push(' ');
            }
        }
        if logical.starts.is_empty() {
            logical.starts.push((0, line.number));
        }
        if continued {
            return Some(logical);
        }
        self.logical(&logical);
        None
    }

    fn logical(&mut self, logical: &Logical) {
        let text = logical.text.trim_matches(BLANKS);
        let first = logical.starts.first().map_or(0, |(_, line)| *line);
        let whole_line = Span {
            line: first,
            ..Span::default()
        };
        if logical.too_long {
            self.broken(logical, whole_line, "line is longer than 1 MiB", None);
            return;
        }
        if text.is_empty() {
            self.item(logical.range.clone(), ItemKind::Blank);
            return;
        }
        if let Some(at) = logical.text.find(['\0', '\r']) {
            let span = logical.span(at..at + 1);
            let help = "write \\n or \\t inside quotes where a directive takes escapes";
            let message = "line contains a NUL or a lone carriage return";
            self.broken(logical, span, message, Some(help.to_owned()));
            return;
        }
        let start = logical.text.len() - logical.text.trim_start_matches(BLANKS).len();
        let span = logical.span(start..start + text.len());
        if let Some(header) = text.strip_prefix('[') {
            self.header(logical, header, span);
        } else if self.in_section {
            self.assignment(logical, text, start);
        } else {
            let message = "assignment before the first section";
            let help = "put it below [Unit], [Agent], [Service] or another section";
            self.broken(logical, span, message, Some(help.to_owned()));
        }
    }

    fn header(&mut self, logical: &Logical, header: &str, span: Span) {
        let name = header.strip_suffix(']').filter(|name| {
            let allowed = |c: char| !c.is_control() && !"[]\"'\\".contains(c);
            !name.trim_matches(BLANKS).is_empty() && name.chars().all(allowed)
        });
        let Some(name) = name else {
            // What follows is not taken for the section before.
            self.in_section = false;
            let help = "write the name alone between brackets: [Service]";
            let message = "section header cannot be read";
            self.broken(logical, span, message, Some(help.to_owned()));
            // Its lines need no diagnostics of their own.
            self.document.sections.push(Section {
                name: String::new(),
                span,
                assignments: vec![],
                broken: true,
            });
            self.in_section = true;
            return;
        };
        self.in_section = true;
        self.document.sections.push(Section {
            name: name.to_owned(),
            span,
            assignments: vec![],
            broken: false,
        });
        self.item(logical.range.clone(), ItemKind::Section);
    }

    fn assignment(&mut self, logical: &Logical, text: &str, start: usize) {
        let span = logical.span(start..start + text.len());
        let Some((key, value)) = text.split_once('=') else {
            let help = "write Key=value; a line that begins with # is a comment";
            self.broken(logical, span, "line has no =", Some(help.to_owned()));
            return;
        };
        let key = key.trim_end_matches(BLANKS);
        if key.is_empty() {
            self.broken(logical, span, "nothing before the =", None);
            return;
        }
        let equals = start + text.len() - value.len();
        let value_start = equals + value.len() - value.trim_start_matches(BLANKS).len();
        // An empty value stands right behind its "=".
        let value_start = if value.trim_matches(BLANKS).is_empty() {
            equals
        } else {
            value_start
        };
        let assignment = Assignment {
            key: key.to_owned(),
            span: logical.span(start..start + key.len()),
            value: value.trim_matches(BLANKS).to_owned(),
            pieces: logical.pieces(value_start),
        };
        if let Some(section) = self.document.sections.last_mut() {
            section.assignments.push(assignment);
        }
        self.item(logical.range.clone(), ItemKind::Assignment);
    }

    fn item(&mut self, range: Range<usize>, kind: ItemKind) {
        self.document.items.push(Item { range, kind });
    }

    fn broken(&mut self, logical: &Logical, span: Span, message: &str, help: Option<String>) {
        self.item(logical.range.clone(), ItemKind::Broken);
        match self.document.sections.last_mut() {
            Some(section) if self.in_section => section.broken = true,
            _ => self.document.damaged = true,
        }
        self.error(span, message.to_owned(), help);
    }

    fn error(&mut self, span: Span, message: String, help: Option<String>) {
        if self.diagnostics.len() >= MAX_DIAGNOSTICS {
            self.suppressed += 1;
            return;
        }
        let diagnostic = self.document.diagnose(Severity::Error, span, message, help);
        self.diagnostics.push(diagnostic);
    }
}

impl Logical {
    /// Where a byte of the joined text stands.
    fn place(&self, offset: usize) -> (u32, u32) {
        let index = self.starts.partition_point(|(start, _)| *start <= offset);
        let Some((start, line)) = index.checked_sub(1).and_then(|i| self.starts.get(i)) else {
            return (0, 0);
        };
        let before = self.text.get(*start..offset).map_or(0, count);
        (*line, before + 1)
    }

    /// The place of a range, as far as it is on its first line.
    fn span(&self, range: Range<usize>) -> Span {
        let (line, column) = self.place(range.start);
        let index = self
            .starts
            .partition_point(|(start, _)| *start <= range.start);
        let end = self
            .starts
            .get(index)
            .map_or(range.end, |(next, _)| range.end.min(*next));
        let text = self.text.get(range.start..end).unwrap_or_default();
        Span {
            line,
            column,
            width: count(text.trim_end_matches(BLANKS)).max(1),
        }
    }

    fn pieces(&self, value_start: usize) -> Vec<Piece> {
        let (line, column) = self.place(value_start);
        let first = Piece {
            offset: 0,
            line,
            column,
        };
        let later = self
            .starts
            .iter()
            .filter(|(start, _)| *start > value_start)
            .map(|(start, line)| Piece {
                offset: start - value_start,
                line: *line,
                column: 1,
            });
        std::iter::once(first).chain(later).collect()
    }
}

/// The line without its end and, at the top of the file, without the byte order mark.
pub(super) fn strip(whole: &str, first: bool) -> &str {
    let line = whole.strip_suffix('\n').unwrap_or(whole);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if first {
        line.strip_prefix('\u{feff}').unwrap_or(line)
    } else {
        line
    }
}

/// Whether the line ends in a backslash that is not itself escaped.
fn ends_escaped(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
    backslashes % 2 == 1
}
