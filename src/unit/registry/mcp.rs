//! `[MCP]`: what the unit's MCP server offers, and which further servers its runtime gets.

use super::{Directive, Given, Section, paths};
use crate::unit::Command;
use crate::unit::value::{Escapes, ValueError, choice};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Mcp, key, syntax, example, doc, apply).list()
}

/// The groups of tools that Aether's own server has.
pub const TOOL_GROUPS: [&str; 6] = [
    "memory",
    "agents",
    "skills",
    "messages",
    "tasks",
    "approvals",
];
/// Most further servers.
const MAX_SERVERS: usize = 64;

pub(super) const ROWS: &[Directive] = &[
    row(
        "Tools",
        "GROUP…",
        "memory messages",
        "The groups of tools that Aether's own MCP server offers to the unit: memory, agents, \
         skills, messages, tasks, approvals. The first assignment replaces the default; an empty \
         value means no server.",
        |draft, given| {
            if !std::mem::replace(&mut draft.tools_given, true) {
                draft.mcp.tools.clear();
            }
            let known = TOOL_GROUPS.map(|name| (name, name));
            given.each(&mut draft.mcp.tools, Escapes::Keep, |text| {
                choice(text, &known).map(str::to_owned)
            })
        },
    )
    .agents("memory agents"),
    row(
        "Server",
        "NAME:COMMAND",
        "github:/usr/bin/github-mcp-server stdio",
        "A further MCP server that the runtime starts inside the unit's sandbox. Several lines, \
         several servers.",
        server,
    )
    .guard(),
];

fn server(draft: &mut super::Draft, given: &mut Given<'_>) -> Result<(), ValueError> {
    if given.is_empty() {
        draft.mcp.servers.clear();
        return Ok(());
    }
    let help = "write NAME:/path/to/program ARGUMENT…";
    let Some((name, _)) = given.value.split_once(':') else {
        return Err(ValueError::new("there is no name before the command").help(help));
    };
    let name = name.trim_end().to_owned();
    let offset = given.value.find(':').map_or(0, |at| at + 1);
    let name =
        paths::plain(&name, "the name of a server").map_err(|error| error.at(0..name.len()))?;
    if name == "aether" || draft.mcp.servers.iter().any(|(known, _)| *known == name) {
        return Err(
            ValueError::new(format!("there is already a server named {name}")).at(0..name.len()),
        );
    }
    if draft.mcp.servers.len() >= MAX_SERVERS {
        return Err(ValueError::new(format!("more than {MAX_SERVERS} servers")));
    }
    let mut commands: Vec<Command> = vec![];
    // The places in the command are places behind the name.
    let value = given.value;
    given.value = value.get(offset..).unwrap_or_default();
    let noted = given.notes.len();
    let result = given.commands(&mut commands);
    given.value = value;
    let shift = |error: &mut ValueError| {
        if let Some(range) = &mut error.range {
            *range = range.start + offset..range.end + offset;
        }
    };
    for note in given.notes.iter_mut().skip(noted) {
        shift(&mut note.error);
    }
    result.map_err(|mut error| {
        shift(&mut error);
        error
    })?;
    let mut commands = commands.into_iter();
    let (Some(command), None) = (commands.next(), commands.next()) else {
        return Err(ValueError::new("a server is one command").help(help));
    };
    if command.privileged || command.ignore_failure || command.no_environment {
        return Err(ValueError::new("a server's command takes no prefixes").help(help));
    }
    draft.mcp.servers.push((name, command));
    Ok(())
}
