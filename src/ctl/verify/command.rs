//! The programs that a unit runs: whether they are there and may be executed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::place::Written;
use crate::diagnostic::{Diagnostic, Severity};
use crate::name::UnitType;
use crate::plan::PATH;
use crate::unit::{Command, Service, Unit};

/// The directives that name programs, and the commands that they made.
type Key = (&'static str, fn(&Service) -> &Vec<Command>);
const KEYS: [Key; 7] = [
    ("ExecCondition", |service| &service.exec_condition),
    ("ExecStartPre", |service| &service.exec_start_pre),
    ("ExecStart", |service| &service.exec_start),
    ("ExecStartPost", |service| &service.exec_start_post),
    ("ExecReload", |service| &service.exec_reload),
    ("ExecStop", |service| &service.exec_stop),
    ("ExecStopPost", |service| &service.exec_stop_post),
];

/// What is wrong with the programs of a unit, each said once. One that is not there may be
/// installed later; one that is there and cannot be executed is a mistake.
pub(super) fn check(written: &Written, unit: Option<&Unit>) -> Vec<Diagnostic> {
    let Some((unit, service)) = unit.and_then(|unit| Some((unit, unit.service.as_ref()?))) else {
        return vec![];
    };
    let section = match unit.name.kind() {
        UnitType::Agent => "Agent",
        _ => "Service",
    };
    let mut said: BTreeSet<&str> = BTreeSet::new();
    let mut found = vec![];
    for (key, of) in KEYS {
        for command in of(service) {
            let program = command.program.as_str();
            // An agent's own PATH begins in directories that are made when it is started.
            let vague = !program.starts_with('/') && unit.agent.is_some();
            if command.ignore_failure || vague || said.contains(program) {
                continue;
            }
            let Some((severity, reason)) = fault(program, service) else {
                continue;
            };
            let place = written.part(section, key, program);
            // A template's instance is not known yet.
            if unit.name.is_template() && place.as_ref().is_none_or(|place| !place.literal) {
                continue;
            }
            said.insert(program);
            let message = format!("{key}=: {reason}");
            let help = help(program, severity);
            found.push(written.diagnose(severity, place.as_ref(), message, help));
        }
    }
    found
}

/// Why a program cannot be executed.
fn fault(program: &str, service: &Service) -> Option<(Severity, String)> {
    if program.starts_with('/') {
        return match fs::metadata(program) {
            Err(_) => Some((Severity::Warning, format!("there is no program {program}"))),
            Ok(file) if file.is_dir() => {
                Some((Severity::Error, format!("{program} is a directory")))
            }
            Ok(file) if file.permissions().mode() & 0o111 == 0 => {
                Some((Severity::Error, format!("{program} is not executable")))
            }
            Ok(_) => None,
        };
    }
    let path = service.exec.environment.get("PATH");
    let path = path.map_or(PATH, String::as_str);
    let there = path
        .split(':')
        .map(|directory| Path::new(directory).join(program))
        .any(|file| is_program(&file));
    let reason = || format!("there is no program {program} in {path}");
    (!there).then(|| (Severity::Warning, reason()))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn help(program: &str, severity: Severity) -> Option<String> {
    if severity == Severity::Error {
        let script = Path::new(program).is_file();
        return script.then(|| format!("chmod a+x {program}, or name what interprets it"));
    }
    let name = Path::new(program).file_name()?;
    let elsewhere: Option<PathBuf> = PATH
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|file| is_program(file));
    Some(match elsewhere {
        Some(file) => format!("did you mean {}?", file.display()),
        None => "install it before the unit is started".to_owned(),
    })
}
