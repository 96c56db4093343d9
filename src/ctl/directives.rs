//! `directives`: the manual of unit files, from the rows that also parse them.

use serde_json::json;

use super::exit::{Exit, Problem};
use super::screen::{Screen, Tone};
use crate::unit::nearest::nearest;
use crate::unit::registry::{self, Directive, Section, Shape};

/// Columns where there is no terminal, and at most.
const WIDTH: usize = 80;

/// `directives`: all of them, or those that `word` names (a section or a directive).
pub(super) fn run(screen: Screen, word: Option<&str>) -> anyhow::Result<Exit> {
    let rows: Vec<&Directive> = match word {
        None => registry::directives().collect(),
        Some(word) => select(word)?,
    };
    if screen.json {
        let all: Vec<_> = rows.iter().map(|row| as_json(row)).collect();
        screen.print_json(&json!(all))?;
        return Ok(Exit::Done);
    }
    let width = screen.width.unwrap_or(WIDTH).clamp(40, WIDTH);
    let mut text = String::new();
    let mut section = None;
    for row in rows {
        if section != Some(row.section) {
            section = Some(row.section);
            let title = match row.section {
                Section::Service => "[Service] and [Agent]".to_owned(),
                other => format!("[{}]", other.name()),
            };
            text.push_str(&screen.tint(Tone::Strong, &title));
            text.push_str("\n\n");
        }
        text.push_str(&entry(screen, row, width));
    }
    screen.print(&text)?;
    Ok(Exit::Done)
}

fn select(word: &str) -> Result<Vec<&'static Directive>, Problem> {
    let bare = word
        .trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('=');
    let section = Section::ALL
        .into_iter()
        .find(|section| section.name().eq_ignore_ascii_case(bare));
    if let Some(section) = section {
        return Ok(registry::rows_of(section).collect());
    }
    let rows: Vec<_> = registry::directives()
        .filter(|row| row.key.eq_ignore_ascii_case(bare))
        .collect();
    if !rows.is_empty() {
        return Ok(rows);
    }
    let mut problem = Problem::new(format!("there is no directive {bare}="));
    if Section::ALL
        .into_iter()
        .any(|section| registry::is_unimplemented(section, bare))
    {
        problem = Problem::new(format!(
            "{bare}= is systemd's, and not implemented here: it is named in a warning"
        ));
    } else if let Some(close) = nearest(bare, registry::directives().map(|row| row.key)) {
        problem = problem.help(format!("did you mean {close}=?"));
    } else {
        problem = problem.help("all of them: aetherctl directives".to_owned());
    }
    Err(problem)
}

fn entry(screen: Screen, row: &Directive, width: usize) -> String {
    let mut text = format!(
        "{}{}\n",
        screen.tint(Tone::Good, &format!("{}=", row.key)),
        row.syntax
    );
    for line in wrap(row.doc, width - 4) {
        text.push_str(&format!("    {line}\n"));
    }
    let shown = |value: &str| {
        if value.is_empty() {
            "none".to_owned()
        } else {
            value.to_owned()
        }
    };
    let mut facts = format!("default: {}", shown(row.default));
    if let Some(agents) = row.agent_default {
        facts.push_str(&format!("; in agents: {}", shown(agents)));
    }
    if row.shape == Shape::List {
        facts.push_str("; may be given several times, an empty value resets it");
    }
    for line in wrap(&facts, width - 4) {
        text.push_str(&format!("    {}\n", screen.tint(Tone::Dim, &line)));
    }
    text.push_str(&format!(
        "    {}\n\n",
        screen.tint(Tone::Dim, &format!("example: {}={}", row.key, row.example))
    ));
    text
}

fn as_json(row: &Directive) -> serde_json::Value {
    json!({
        "section": row.section.name(), "name": row.key, "syntax": row.syntax,
        "default": row.default, "agent_default": row.agent_default, "example": row.example,
        "list": row.shape == Shape::List, "description": row.doc,
    })
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_section_or_a_directive_or_nearly_one() {
        let keys = |word: &str| -> Vec<&str> {
            select(word)
                .unwrap()
                .into_iter()
                .map(|row| row.key)
                .collect()
        };
        assert_eq!(keys("memorymax="), ["MemoryMax"]);
        assert!(keys("[mcp]").contains(&"Tools"));
        assert!(keys("Agent").contains(&"Restart"));
        let close = select("MemoryMx").unwrap_err().to_string();
        assert!(close.contains("did you mean MemoryMax=?"), "{close}");
        let later = select("PrivateTmp").unwrap_err().to_string();
        assert!(later.contains("not implemented"), "{later}");
    }

    #[test]
    fn long_texts_are_wrapped_between_words() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
    }
}
