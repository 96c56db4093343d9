//! The environment of a process, composed from nothing, and `$VARIABLE` in command lines.
//!
//! Nothing of the supervisor's own environment gets in unless `PassEnvironment=` names it. Read
//! next: [`super::compile`](mod@super::compile).

use std::collections::BTreeMap;

use super::compile::is_privileged;
use super::{Assignment, Host};
use crate::engine::event::Role;
use crate::runtime::Launch;
use crate::unit::Unit;

/// `PATH` where nobody says otherwise.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names and values.
pub(super) type Environment = BTreeMap<String, String>;

/// All of it, least important first: ours, `PassEnvironment=`, the runtime's, `Environment=`,
/// `EnvironmentFile=`, and again ours where a unit must not speak for us.
///
/// A `privileged` command is the manager's, and gets nothing that the unit can write
/// (`EnvironmentFile=`) or that would lead it to what the unit writes: an interpreter loads code
/// from its home. `Environment=` is an administrator's word, but its `HOME` and `PATH` are meant
/// for the unit.
pub(super) fn compose(
    unit: &Unit,
    launch: Option<&Launch>,
    assignment: &Assignment,
    terminal: bool,
    privileged: Option<&Host>,
) -> Environment {
    let mut all = Environment::new();
    let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let own = own(assignment, privileged);
    set("LANG", "C.UTF-8".to_owned());
    for (name, value) in &own {
        set(name, value.clone());
    }
    if terminal {
        set("TERM", "xterm-256color".to_owned());
    }
    all.extend(assignment.passed_environment.iter().cloned());
    if let Some(launch) = launch {
        all.extend(launch.environment.iter().cloned());
    }
    if let Some(service) = &unit.service {
        let given = &service.exec.environment;
        all.extend(
            given
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    if privileged.is_some() {
        all.extend(
            own.into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
    } else {
        all.extend(assignment.file_environment.iter().cloned());
    }
    for (name, value) in [
        ("AETHER_UNIT", Some(unit.name.to_string())),
        ("INVOCATION_ID", Some(assignment.invocation_id.clone())),
        (
            "AETHER_MCP_SOCKET",
            assignment.mcp_socket.as_deref().map(path),
        ),
        (
            "NOTIFY_SOCKET",
            assignment.notify_socket.as_deref().map(path),
        ),
    ] {
        match value.filter(|value| !value.is_empty()) {
            Some(value) => all.insert(name.to_owned(), value),
            None => all.remove(name),
        };
    }
    if !assignment.passed.is_empty() {
        let count = assignment.passed.len().to_string();
        all.insert("LISTEN_FDS".to_owned(), count);
        all.insert("LISTEN_FDNAMES".to_owned(), assignment.passed.join(":"));
    }
    all.extend(assignment.told.iter().cloned());
    all
}

/// What says who the process is and where its programs are.
fn own(assignment: &Assignment, privileged: Option<&Host>) -> Vec<(&'static str, String)> {
    let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let user = match privileged {
        Some(host) => host.user.clone(),
        None if assignment.user.is_empty() => assignment.uid.to_string(),
        None => assignment.user.clone(),
    };
    let mut own = vec![
        ("PATH", fixed_path(assignment)),
        ("SHELL", "/bin/sh".to_owned()),
        ("LOGNAME", user.clone()),
        ("USER", user),
    ];
    let places = match privileged {
        Some(host) => vec![("HOME", &host.home)],
        None => vec![("HOME", &assignment.home), ("TMPDIR", &assignment.tmp)],
    };
    for (name, place) in places {
        if !place.as_os_str().is_empty() {
            own.push((name, path(place)));
        }
    }
    own
}

/// Our own programs come last: a unit finds aether-mcp by name, and no name of the system's is
/// taken over.
fn fixed_path(assignment: &Assignment) -> String {
    let libexec = &assignment.libexec;
    if libexec.as_os_str().is_empty() {
        PATH.to_owned()
    } else {
        format!("{PATH}:{}", libexec.display())
    }
}

/// The `PATH` in which the daemon looks for a program that a unit names without a path.
#[must_use]
pub fn search_path(unit: &Unit, role: Role, assignment: &Assignment) -> String {
    if is_privileged(unit, role) {
        return fixed_path(assignment);
    }
    compose(unit, None, assignment, false, None)
        .remove("PATH")
        .unwrap_or_default()
}

/// `${NAME}` anywhere, `$NAME` as a word of its own (which is split at white space, and vanishes
/// when empty), `$$` for a dollar: systemd.service(5), "Command lines". `argv[0]` stays as it is.
pub(super) fn substitute(argv: &[String], environment: &Environment) -> Vec<String> {
    let mut words = vec![];
    for (index, word) in argv.iter().enumerate() {
        match word.strip_prefix('$') {
            _ if index == 0 => words.push(word.clone()),
            Some(name) if is_name(name) => {
                words.extend(split(environment.get(name).map_or("", String::as_str)));
            }
            _ => words.push(expand(word, environment)),
        }
    }
    words
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn expand(word: &str, environment: &Environment) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some((name, after)) = after
            .strip_prefix('{')
            .and_then(|after| after.split_once('}'))
            .filter(|(name, _)| is_name(name))
        {
            text.push_str(environment.get(name).map_or("", String::as_str));
            rest = after;
        } else {
            text.push('$');
            rest = after;
        }
    }
    text.push_str(rest);
    text
}

/// Words of a value; quotes keep white space and are dropped.
fn split(value: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in value.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_as_systemd_has_them() {
        let environment: Environment = [("ONE", "one"), ("TWO", "two 'a b'"), ("EMPTY", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let line = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            substitute(&words, &environment)
        };
        // The examples of systemd.service(5).
        assert_eq!(
            line(&["echo", "$ONE", "$TWO", "${TWO}"]),
            ["echo", "one", "two", "a b", "two 'a b'"]
        );
        assert_eq!(
            line(&["x", "${ONE}$$", "a$ONE", "$EMPTY", "${EMPTY}", "$NONE"]),
            ["x", "one$", "a$ONE", ""]
        );
        assert_eq!(
            line(&["$ONE", "${", "${9}", "$9"]),
            ["$ONE", "${", "${9}", "$9"]
        );
    }
}
