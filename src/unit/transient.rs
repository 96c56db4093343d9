//! Units made on the command line: properties → the text of a unit file.
//!
//! One property is one line per value, whatever the value contains: what would end the line, go
//! on to the next one or begin a section is escaped or refused. The text is then loaded like any
//! other. Read next: [`super::assemble`].

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Severity};
use crate::name::UnitType;

use super::nearest::nearest;
use super::registry::{self, Section};
use super::syntax::MAX_LINE;
use super::value::words;

/// Most values of all properties together.
pub const MAX_VALUES: usize = 4096;

/// Writes properties (`Key` or `Section.Key`, values as in a unit file) as a unit file. What
/// cannot be written safely is a diagnostic, and the unit must then not be started.
#[must_use]
pub fn write(kind: UnitType, properties: &[(String, Vec<String>)]) -> (String, Vec<Diagnostic>) {
    let mut sections: BTreeMap<Section, String> = BTreeMap::new();
    let mut diagnostics = vec![];
    let total: usize = properties.iter().map(|(_, values)| values.len()).sum();
    if total > MAX_VALUES {
        let message = format!("more than {MAX_VALUES} values");
        return (String::new(), vec![finding(message, None)]);
    }
    for (property, values) in properties {
        let (section, key) = match resolve(kind, property) {
            Ok(found) => found,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                continue;
            }
        };
        let lines = sections.entry(section).or_default();
        for value in values {
            match one_line(key, value) {
                Ok(value) => {
                    lines.push_str(key);
                    lines.push('=');
                    lines.push_str(&value);
                    lines.push('\n');
                }
                Err(message) => diagnostics.push(finding(format!("{key}=: {message}"), None)),
            }
        }
    }
    let text: Vec<String> = sections
        .into_iter()
        .map(|(section, lines)| format!("[{}]\n{lines}", section.name()))
        .collect();
    (text.join("\n"), diagnostics)
}

/// A literal text as the value of `Goal=`, `Role=` or `Description=`: specifiers are doubled, and
/// it is quoted where it would mean something else otherwise.
#[must_use]
pub fn text_value(literal: &str) -> String {
    let doubled = literal.replace('%', "%%");
    if is_plain_text(&doubled) {
        doubled
    } else {
        quoted(&doubled)
    }
}

/// Literal arguments as the value of an `Exec…=` directive: each stays one argument, with nothing
/// expanded in it.
#[must_use]
pub fn command_value<S: AsRef<str>>(arguments: &[S]) -> String {
    let words: Vec<String> = arguments
        .iter()
        .enumerate()
        .map(|(index, argument)| {
            let literal = argument.as_ref().replace('%', "%%");
            // The program is no variable; in arguments a dollar sign is doubled.
            let literal = if index == 0 {
                literal
            } else {
                literal.replace('$', "$$")
            };
            let simple = |c: char| c.is_ascii_alphanumeric() || "/_-.,:=+@%$".contains(c);
            if !literal.is_empty() && literal.chars().all(simple) {
                literal
            } else {
                quoted(&literal)
            }
        })
        .collect();
    words.join(" ")
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        escape(c, &mut quoted);
    }
    quoted.push('"');
    quoted
}

/// Adds a character as it is written between double quotes.
fn escape(c: char, to: &mut String) {
    match c {
        '\n' => to.push_str("\\n"),
        '\r' => to.push_str("\\r"),
        '\t' => to.push_str("\\t"),
        '"' | '\\' => to.extend(['\\', c]),
        c if c.is_control() => to.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => to.push(c),
    }
}

/// Whether a text value means exactly itself.
fn is_plain_text(text: &str) -> bool {
    let blank = |c: char| matches!(c, ' ' | '\t');
    !text.chars().any(|c| c.is_control() && c != '\t')
        && !text.starts_with(blank)
        && !text.ends_with(blank)
        && !text.ends_with('\\')
        && !text.starts_with(['"', '\''])
}

/// The value as it may stand behind `key=`.
fn one_line(key: &str, value: &str) -> Result<String, String> {
    if value.contains('\0') {
        return Err("the value contains NUL".to_owned());
    }
    if value.len() > MAX_LINE / 8 {
        return Err(format!(
            "the value is longer than {} KiB",
            MAX_LINE / 8 / 1024
        ));
    }
    let free_text = matches!(key, "Goal" | "Role" | "Description");
    if free_text && !is_plain_text(value) && words::unquote(value).is_none() {
        return Ok(quoted(value));
    }
    let mut line = String::with_capacity(value.len());
    for c in value.chars() {
        // Inside and outside quotes alike the escape is the character and no line end.
        if c.is_control() && c != '\t' {
            escape(c, &mut line);
        } else {
            line.push(c);
        }
    }
    let backslashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
    if backslashes % 2 == 1 {
        return Err("the value ends in a backslash, which would swallow the next line".to_owned());
    }
    Ok(line)
}

fn resolve(kind: UnitType, property: &str) -> Result<(Section, &'static str), Box<Diagnostic>> {
    let own = || {
        Section::ALL
            .into_iter()
            .filter(|section| section.belongs_to(kind))
    };
    let (section, key) = match property.split_once('.') {
        Some((section, key)) => {
            let Some(found) = own().find(|known| known.name() == section) else {
                let message = format!(
                    "a .{} unit has no section [{}]",
                    kind.suffix(),
                    section.escape_debug()
                );
                let help = nearest(section, own().map(Section::name))
                    .map(|near| format!("did you mean {near}?"));
                return Err(Box::new(finding(message, help)));
            };
            (Some(found), key)
        }
        None => (None, property),
    };
    let candidates: Vec<Section> = own()
        .filter(|other| section.is_none_or(|s| s == *other))
        .collect();
    for candidate in &candidates {
        if let Some(row) = registry::find(*candidate, key) {
            return Ok((*candidate, row.key));
        }
    }
    let keys = candidates
        .iter()
        .flat_map(|section| registry::rows_of(*section));
    let help = nearest(key, keys.map(|row| row.key)).map(|near| format!("did you mean {near}?"));
    let known = candidates
        .iter()
        .any(|section| registry::is_unimplemented(*section, key));
    let key = key.escape_debug();
    let message = if known {
        format!("{key}= is not implemented")
    } else {
        format!("unknown directive {key}=")
    };
    Err(Box::new(finding(message, help.filter(|_| !known))))
}

fn finding(message: String, help: Option<String>) -> Diagnostic {
    Diagnostic::of_file(Severity::Error, "(command line)", message, help)
}

#[cfg(test)]
mod tests;
