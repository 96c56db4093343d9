//! `verify`: every problem of unit files, without a daemon.
//!
//! What one unit's text shows is found by whoever loads it ([`crate::unit`]); here is what needs
//! other files: `policy` the policy it names, `command` the programs it runs, `order` the units it
//! needs and starts, `place` where it was written.

mod command;
mod order;
mod place;
mod policy;

use std::io::{self, Read as _};

use serde_json::json;

use self::order::Neighbours;
use self::place::Written;
use super::exit::{Exit, Problem};
use super::find;
use super::screen::{Screen, Tone, clean, plural, tint};
use crate::diagnostic::{Diagnostic, Severity};
use crate::name::UnitName;
use crate::place::Places;
use crate::sys::unitfile::{specifiers, utf8};
use crate::unit::search::Files;
use crate::unit::syntax::MAX_FILE;
use crate::unit::{Links, Source};

/// The word for standard input.
const STDIN: &str = "-";

/// `verify`. `name`: what the unit on standard input is called.
pub(super) fn run(
    screen: Screen,
    places: &Places,
    words: &[String],
    name: Option<&str>,
) -> anyhow::Result<Exit> {
    if name.is_some() && !words.iter().any(|word| word == STDIN) {
        return Err(Problem::usage("--name is for the unit on standard input, which is -").into());
    }
    let facts = specifiers(places);
    let names = find::names(places);
    let mut exit = Exit::Done;
    let mut units = vec![];
    let mut loaded = vec![];
    let mut neighbours = Neighbours::new(places);
    for word in words {
        let target = match word.as_str() {
            STDIN => from_stdin(name),
            word => find::target(places, word),
        };
        let target = match target {
            Ok(target) => target,
            Err(problem) => {
                exit = exit.max(super::complain(&problem));
                continue;
            }
        };
        let found = target.load(&names, &facts);
        units.push(json!({ "unit": target.name, "usable": found.unit.is_some() }));
        if found.unit.is_none() {
            exit = exit.max(Exit::NotSo);
        }
        neighbours.add(&target, found.unit.as_ref());
        loaded.push((target, found));
    }
    let mut diagnostics = vec![];
    for (target, found) in loaded {
        let written = Written::new(&target.sources);
        let unit = found.unit.as_ref();
        let mut all = found.diagnostics;
        all.extend(policy::check(places, &written, unit, &all));
        all.extend(command::check(&written, unit));
        all.extend(neighbours.missing(&target.name, &written, unit));
        all.extend(neighbours.unstartable(&target.name, &written, unit));
        diagnostics.append(&mut all);
    }
    diagnostics.extend(neighbours.cycles());
    let count = |severity| {
        diagnostics
            .iter()
            .filter(|found| found.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if errors > 0 {
        exit = exit.max(Exit::NotSo);
    }
    if screen.json {
        screen.print_json(&json!({
            "errors": errors, "warnings": warnings, "units": units, "diagnostics": diagnostics,
        }))?;
        return Ok(exit);
    }
    let mut out = String::new();
    for diagnostic in &diagnostics {
        out.push_str(&render(diagnostic, screen.colour));
        out.push_str("\n\n");
    }
    screen.print(&out)?;
    if !units.is_empty() {
        screen.say(&summary(errors, warnings))?;
    }
    Ok(exit)
}

/// The unit that is given on standard input.
fn from_stdin(name: Option<&str>) -> Result<Files, Problem> {
    let name = UnitName::from_user(name.unwrap_or("stdin.agent")).map_err(Problem::usage)?;
    let failed = |reason: String| Problem::new(format!("failed to read standard input: {reason}"));
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    let mut bytes = vec![];
    io::stdin()
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| failed(error.to_string()))?;
    if bytes.len() > MAX_FILE {
        return Err(failed(format!("it is longer than {MAX_FILE} bytes")));
    }
    let text = utf8(bytes).map_err(failed)?;
    let source = Source {
        path: "<stdin>".into(),
        text,
    };
    Ok(Files {
        name,
        sources: vec![source],
        links: Links::default(),
    })
}

/// As the diagnostic shows itself, its first line in the colour of its severity.
pub(super) fn render(diagnostic: &Diagnostic, colour: bool) -> String {
    let text = clean(&diagnostic.to_string(), false);
    let tone = match diagnostic.severity {
        Severity::Error => Tone::Bad,
        Severity::Warning => Tone::Busy,
    };
    match text.split_once('\n') {
        Some((first, rest)) => format!("{}\n{rest}", tint(colour, tone, first)),
        None => tint(colour, tone, &text),
    }
}

fn summary(errors: usize, warnings: usize) -> String {
    format!(
        "{errors} error{}, {warnings} warning{}",
        plural(errors),
        plural(warnings)
    )
}
