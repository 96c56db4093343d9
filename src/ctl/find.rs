//! Unit files by name or path, found and read as the daemon does; for the verbs that need none.

use std::path::{Path, PathBuf};

use super::exit::{Exit, Problem};
use super::screen::clean;
use crate::name::UnitName;
use crate::place::Places;
use crate::sys::unitfile::{directories, list, read, specifiers, unit_names, why_unreadable};
use crate::unit::names::Names;
use crate::unit::nearest::nearest;
use crate::unit::search::{self, Content, Files, Found};
use crate::unit::{Links, RuntimeKind, Source};

/// Finds what a person named: a path when it looks like one or is a file here, else a unit.
pub(super) fn target(places: &Places, word: &str) -> Result<Files, Problem> {
    let path = Path::new(word);
    if path.is_dir() && (word.contains('/') || matches!(word, "." | "..")) {
        return Err(
            Problem::usage(format!("{word} is a directory; name the unit files in it"))
                .help(format!("{}/*.agent", word.trim_end_matches('/'))),
        );
    }
    if word.contains('/') || path.is_file() {
        return file(path);
    }
    unit(places, &UnitName::from_user(word).map_err(Problem::usage)?)
}

/// Finds a unit along the search path.
pub(super) fn unit(places: &Places, name: &UnitName) -> Result<Files, Problem> {
    match search::find(name, &names(places), list, read) {
        Found::Files(files) => Ok(files),
        Found::Masked(path) => Err(
            Problem::new(format!("{name} is masked by {}", path.display())).help(
                if path.starts_with(places.runtime_units()) {
                    format!("aetherctl unmask --runtime {name}")
                } else {
                    format!("aetherctl unmask {name}")
                },
            ),
        ),
        Found::Missing => {
            let searched: Vec<_> = places
                .units
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let problem = Problem::new(format!(
                "there is no unit file for {name}; looked in {}",
                searched.join(", ")
            ));
            let problem = match nearest_file(&directories(places), name) {
                Some(near) => problem.help(format!("did you mean {near}?")),
                None => problem,
            };
            Err(problem.help(format!(
                "a file that is not installed is named by its path: ./{name}"
            )))
        }
        Found::Unreadable(path) => Err(unreadable(&path)),
    }
}

/// Which names units have here.
pub(super) fn names(places: &Places) -> Names {
    unit_names(&directories(places))
}

/// Of these units the one that was probably meant by a name that none of them has.
pub(super) fn nearest_unit<'a>(
    meant: &UnitName,
    known: impl Iterator<Item = &'a UnitName>,
) -> Option<&'a UnitName> {
    let known: Vec<&UnitName> = known.collect();
    if known.contains(&meant) {
        return None;
    }
    // The type is rarely what is mistyped, and would make short names look alike.
    let near = nearest(meant.stem(), known.iter().map(|name| name.stem()))?;
    let mut same = known.into_iter().filter(|name| name.stem() == near);
    let first = same.next()?;
    Some(if first.kind() == meant.kind() {
        first
    } else {
        same.find(|name| name.kind() == meant.kind())
            .unwrap_or(first)
    })
}

/// [`nearest_unit`] of those that have a file in one of these directories.
pub(super) fn nearest_file(directories: &[PathBuf], meant: &UnitName) -> Option<UnitName> {
    nearest_unit(meant, unit_names(directories).all()).cloned()
}

/// Whether there is a file of the unit, of whatever kind.
pub(super) fn exists(places: &Places, name: &UnitName) -> bool {
    search::find(name, &names(places), list, read) != Found::Missing
}

/// Whether a unit's runtime reports what its agent does; no where there is no such unit.
pub(super) fn is_structured(places: &Places, name: &UnitName) -> bool {
    unit(places, name)
        .ok()
        .and_then(|found| found.load(&names(places), &specifiers(places)).unit)
        .and_then(|unit| unit.agent)
        .is_some_and(|agent| agent.runtime != RuntimeKind::Command)
}

/// A file that need not be installed, with the drop-ins beside it.
fn file(path: &Path) -> Result<Files, Problem> {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: UnitName = file_name
        .parse()
        .map_err(|error| Problem::usage(format!("{}: {error}", path.display())))?;
    let text = match read(path) {
        Content::Text(text) => text,
        Content::Masked => String::new(),
        Content::Absent => {
            return Err(Problem::new(format!("there is no file {}", path.display())));
        }
        Content::Unreadable => return Err(unreadable(path)),
    };
    let mut sources = vec![Source {
        path: path.to_owned(),
        text,
    }];
    let beside = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    for path in search::drop_ins(std::slice::from_ref(&name), &[beside], list) {
        match read(&path) {
            Content::Text(text) => sources.push(Source { path, text }),
            Content::Masked | Content::Absent => {}
            Content::Unreadable => return Err(unreadable(&path)),
        }
    }
    Ok(Files {
        name,
        sources,
        links: Links::default(),
    })
}

fn unreadable(path: &Path) -> Problem {
    Problem::new(format!(
        "failed to read {}: {}",
        path.display(),
        why_unreadable(path)
    ))
}

/// `cat`.
pub(super) fn cat(
    screen: super::screen::Screen,
    places: &Places,
    words: &[String],
) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let mut values = vec![];
    let mut first = true;
    for word in words {
        let target = match target(places, word) {
            Ok(target) => target,
            Err(problem) => {
                exit = exit.max(super::complain(&problem));
                continue;
            }
        };
        for Source { path, text } in target.sources {
            if screen.json {
                values.push(serde_json::json!({ "unit": target.name, "path": path, "text": text }));
                continue;
            }
            let gap = if std::mem::take(&mut first) { "" } else { "\n" };
            let head = screen.tint(super::screen::Tone::Dim, &format!("# {}", path.display()));
            let shown = if screen.terminal {
                clean(&text, false)
            } else {
                text
            };
            let end = if shown.is_empty() || shown.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            screen.print(&format!("{gap}{head}\n{shown}{end}"))?;
        }
    }
    if screen.json {
        screen.print_json(&serde_json::Value::Array(values))?;
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_that_was_meant() {
        let known: Vec<UnitName> = ["hello.agent", "web.service", "web.agent", "db.service"]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        for (text, expected) in [
            ("helo.agent", Some("hello.agent")),
            ("wbe.service", Some("web.service")),
            ("web.target", Some("web.service")),
            ("db.agent", Some("db.service")),
            ("abc.agent", None),
            ("web.agent", None),
        ] {
            let found = nearest_unit(&text.parse().unwrap(), known.iter());
            assert_eq!(found.map(UnitName::as_str), expected, "{text}");
        }
    }
}
