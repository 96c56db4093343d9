//! `[Agent]`: which runtime, to what end, with what around it. `[Service]`'s rows hold here too.

use super::given::MAX_LIST;
use super::{Directive, Given, Section, paths};
use crate::unit::RuntimeKind;
use crate::unit::value::{ValueError, boolean, choice};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Agent, key, syntax, example, doc, apply)
}

pub(super) const ROWS: &[Directive] = &[
    row(
        "Runtime",
        "claude-code|command",
        "claude-code",
        "What the agent is run by: claude-code is Claude Code, command any program given by \
         ExecStart=.",
        |draft, given| {
            if matches!(given.value, "openclaw" | "builtin") {
                let error = ValueError::new(format!("Runtime={} is not implemented", given.value));
                return Err(error.help("write claude-code or command"));
            }
            let known = [
                ("claude-code", RuntimeKind::ClaudeCode),
                ("command", RuntimeKind::Command),
            ];
            draft.agent.runtime = choice(given.value, &known)?;
            Ok(())
        },
    )
    .default("command")
    .guard(),
    row(
        "RuntimeBinary",
        "PATH",
        "/opt/claude/bin/claude",
        "The runtime's program, instead of the one found in PATH.",
        |draft, given| {
            draft.agent.runtime_binary = (!given.is_empty()).then(|| given.path()).transpose()?;
            Ok(())
        },
    )
    .guard(),
    row(
        "Goal",
        "TEXT",
        "Make the failing tests pass; commit to a branch.",
        "What the agent shall reach, in plain words: its first message. Text that is quoted as a \
         whole is unquoted, with C-style escapes (\\n for a new line); any other text is taken \
         as it stands.",
        |draft, given| {
            draft.agent.goal = given.text()?;
            Ok(())
        },
    ),
    row(
        "Model",
        "NAME",
        "claude-sonnet-4-5",
        "The model, by the runtime's own name for it; without it the runtime chooses.",
        |draft, given| {
            draft.agent.model = argument(given, "the name of a model")?;
            Ok(())
        },
    ),
    row(
        "Role",
        "TEXT",
        "Maintainer",
        "Who the agent is among the others, told to it and shown to them.",
        |draft, given| {
            draft.agent.role = Some(given.text()?).filter(|role| !role.is_empty());
            Ok(())
        },
    ),
    row(
        "Workspace",
        "NAME|PATH",
        "webshop",
        "Where the agent works: the name of a shared workspace, or an absolute path; without it \
         a workspace of its own.",
        |draft, given| {
            let text = given.text()?;
            draft.agent.workspace = match text.as_str() {
                "" => None,
                path if path.starts_with('/') => {
                    let path = paths::absolute(path)?;
                    path.to_str().map(str::to_owned)
                }
                name => Some(paths::plain(name, "the name of a workspace")?),
            };
            Ok(())
        },
    )
    .guard(),
    row(
        "Terminal",
        "yes|no",
        "yes",
        "Whether the agent runs interactively in a terminal that people can look at and take \
         over; without it, headless with structured output.",
        |draft, given| {
            draft.agent.terminal = boolean(given.value)?;
            Ok(())
        },
    )
    .default("no"),
    row(
        "AllowedTools",
        "TOOL…",
        "Read Edit Bash(git commit*)",
        "Tools of the runtime that need nobody's permission. White space inside parentheses \
         belongs to the tool.",
        |draft, given| {
            let list = &mut draft.agent.allowed_tools;
            if given.is_empty() {
                list.clear();
                return Ok(());
            }
            for tool in tools(&given.expanded()?)? {
                if list.len() >= MAX_LIST {
                    return Err(ValueError::new(format!("more than {MAX_LIST} tools")));
                }
                if !list.contains(&tool) {
                    list.push(tool);
                }
            }
            Ok(())
        },
    )
    .list()
    .guard(),
    row(
        "PermissionMode",
        "MODE",
        "acceptEdits",
        "The runtime's own permission mode, passed on as it stands.",
        |draft, given| {
            draft.agent.permission_mode = argument(given, "a permission mode")?;
            Ok(())
        },
    )
    .guard(),
];

fn argument(given: &Given<'_>, what: &str) -> Result<Option<String>, ValueError> {
    let text = given.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    paths::argument(&text, what).map(Some)
}

/// Words, where white space between parentheses does not count.
fn tools(text: &str) -> Result<Vec<String>, ValueError> {
    let mut found = vec![];
    let mut word = String::new();
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => {
                return Err(ValueError::new("there is a ) without its ("));
            }
            ')' => depth -= 1,
            c if c.is_control() && c != '\t' => {
                return Err(ValueError::new("the list contains control characters"));
            }
            _ => {}
        }
        if depth == 0 && matches!(c, ' ' | '\t') {
            found.push(std::mem::take(&mut word));
        } else {
            word.push(c);
        }
    }
    if depth > 0 {
        return Err(ValueError::new("there is a ( without its )")
            .help("write for example Bash(git commit*)"));
    }
    found.push(word);
    found.retain(|tool| !tool.is_empty());
    if let Some(tool) = found.iter().find(|tool| tool.starts_with('-')) {
        return Err(ValueError::unreadable(tool, "a tool")
            .help("write a name such as Read or Bash(git commit*)"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_in_parentheses_belongs_to_the_tool() {
        assert_eq!(
            tools("Read  Bash(git push *) Write(/etc/(a b))").unwrap(),
            ["Read", "Bash(git push *)", "Write(/etc/(a b))"]
        );
        for bad in ["Bash(", "Bash)", "--dangerous", "Read -x"] {
            assert!(tools(bad).is_err(), "{bad}");
        }
    }
}
