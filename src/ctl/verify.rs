//! `verify`: every problem of unit files, without a daemon.

use serde_json::json;

use super::exit::Exit;
use super::find;
use super::screen::{Screen, Tone, clean, tint};
use crate::diagnostic::{Diagnostic, Severity};
use crate::place::Places;
use crate::sys::policyfile::{self, PolicyFault};
use crate::sys::unitfile::specifiers;
use crate::unit::{self, Source};

/// `verify`.
pub(super) fn run(screen: Screen, places: &Places, words: &[String]) -> anyhow::Result<Exit> {
    let facts = specifiers(places);
    let mut diagnostics = vec![];
    let mut exit = Exit::Done;
    let mut units = vec![];
    for word in words {
        let target = match find::target(places, word) {
            Ok(target) => target,
            Err(problem) => {
                exit = exit.max(super::complain(&problem));
                continue;
            }
        };
        let loaded = unit::load(&target.name, &target.sources, &facts);
        units.push(json!({ "unit": target.name, "usable": loaded.unit.is_some() }));
        if loaded.unit.is_none() {
            exit = exit.max(Exit::NotSo);
        }
        diagnostics.extend(loaded.diagnostics);
        if let Some(unit) = &loaded.unit {
            match policyfile::find(&places.policies, &unit.sandbox.policy) {
                Ok(_) => {}
                Err(PolicyFault::Wrong(found)) => diagnostics.extend(found),
                Err(error) => diagnostics.push(no_policy(&target.sources, &error.to_string())),
            }
        }
    }
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

/// A policy that cannot be used, shown where it was named last.
fn no_policy(sources: &[Source], message: &str) -> Diagnostic {
    let named = sources.iter().rev().find_map(|source| {
        let lines = source.text.lines().enumerate();
        let found = lines.filter(|(_, line)| line.trim_start().starts_with("Policy="));
        found.last().map(|(number, line)| (source, number, line))
    });
    let (path, line, excerpt) = match named {
        Some((source, number, line)) => (source.path.clone(), number + 1, line.to_owned()),
        None => (
            sources
                .first()
                .map(|source| source.path.clone())
                .unwrap_or_default(),
            0,
            String::new(),
        ),
    };
    Diagnostic {
        severity: Severity::Error,
        path,
        line: u32::try_from(line).unwrap_or(0),
        column: 0,
        width: 0,
        excerpt,
        message: message.to_owned(),
        help: Some("aetherctl plan lists where policies are looked for".to_owned()),
    }
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
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    format!(
        "{errors} error{}, {warnings} warning{}",
        plural(errors),
        plural(warnings)
    )
}
