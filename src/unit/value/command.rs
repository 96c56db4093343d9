//! Command lines of `Exec…=` directives (systemd.service(5), "COMMAND LINES").

use super::{Escapes, ValueError, Word, Words, split};
use crate::unit::Command;

/// Reads the command lines of one assignment: prefixes, words, `;` between commands. `expand`
/// replaces specifiers in one word, after splitting, so that no specifier's value makes words.
///
/// # Errors
/// For anything that is no command; `unknown` escapes are given back beside the result.
pub fn commands(
    value: &str,
    mut expand: impl FnMut(&Word) -> Result<String, ValueError>,
) -> Result<(Vec<Command>, Words), ValueError> {
    let words = split(value, Escapes::Interpret)?;
    let mut commands = vec![];
    for line in words.words.split(|word| word.text == ";" && !word.quoted) {
        // Nothing between two separators is nothing to run.
        if let Some((first, arguments)) = line.split_first() {
            commands.push(command(first, arguments, &mut expand)?);
        }
    }
    if commands.is_empty() {
        return Err(ValueError::new("there is no command in it"));
    }
    Ok((commands, words))
}

fn command(
    first: &Word,
    arguments: &[Word],
    expand: &mut impl FnMut(&Word) -> Result<String, ValueError>,
) -> Result<Command, ValueError> {
    let mut command = Command::default();
    let mut own_name = false;
    let mut rest = first.text.as_str();
    while let Some(prefix) = rest.chars().next() {
        let seen = match prefix {
            '-' => &mut command.ignore_failure,
            '+' => &mut command.privileged,
            ':' => &mut command.no_environment,
            '@' => &mut own_name,
            '!' => {
                // "!!" is "!" where the kernel has no ambient capabilities; all of ours have.
                let ambient = rest.starts_with("!!");
                if command.elevated || command.privileged {
                    break;
                }
                rest = rest
                    .get(if ambient { 2.. } else { 1.. })
                    .unwrap_or_default();
                command.elevated = !ambient;
                continue;
            }
            '|' => {
                return Err(ValueError::new("the prefix | is not implemented")
                    .help("known prefixes are - + ! : @")
                    .at(first.range.clone()));
            }
            _ => break,
        };
        if std::mem::replace(seen, true) {
            break;
        }
        rest = &rest[1..];
    }
    let program = expand(&Word {
        text: rest.to_owned(),
        ..first.clone()
    })?;
    check_program(&program).map_err(|error| error.at(first.range.clone()))?;
    let mut argv = arguments
        .iter()
        .map(&mut *expand)
        .collect::<Result<Vec<_>, _>>()?;
    if !own_name {
        argv.insert(0, program.clone());
    } else if argv.is_empty() {
        return Err(ValueError::new("@ needs a name behind the program")
            .help("write @/path/to/program NAME ARGUMENT…")
            .at(first.range.clone()));
    }
    command.program = program;
    command.argv = argv;
    Ok(command)
}

fn check_program(program: &str) -> Result<(), ValueError> {
    if program.is_empty() {
        return Err(ValueError::new("the program's name is empty"));
    }
    if program.chars().any(char::is_control) {
        return Err(ValueError::new(
            "the program's name contains control characters",
        ));
    }
    if program.ends_with('/') {
        let message = format!("the program {} is a directory", super::quote(program));
        return Err(ValueError::new(message));
    }
    let absolute = program.starts_with('/');
    let plain = !program.contains('/')
        && (program == "[" || program.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    if absolute || plain {
        return Ok(());
    }
    let message = format!(
        "{} is neither an absolute path nor a name",
        super::quote(program)
    );
    Err(ValueError::new(message)
        .help("write /usr/bin/program, or program to have it found in PATH"))
}
