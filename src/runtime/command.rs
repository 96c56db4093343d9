//! Plain commands: `ExecStart=` as it stands, and nothing of ours.
//!
//! No files, no environment, no parsing: what such a program needs is in its unit.

use crate::plan::Failure;
use crate::runtime::Launch;
use crate::runtime::prepare::{Facts, failure};
use crate::unit::Unit;

/// The program as the unit names it; empty where there is no `ExecStart=`.
pub(super) fn program(unit: &Unit) -> &str {
    let first = unit.service.as_ref().and_then(|s| s.exec_start.first());
    first.map_or("", |command| command.program.as_str())
}

pub(super) fn prepare(unit: &Unit, facts: &Facts) -> Result<Launch, Failure> {
    let first = unit.service.as_ref().and_then(|s| s.exec_start.first());
    let command = first.ok_or_else(|| {
        let detail = format!("{} has no ExecStart=", unit.name);
        failure("binary", detail, Some("give ExecStart= the program to run"))
    })?;
    let found = facts.program.clone().ok_or_else(|| {
        let detail = format!("program {:?} is not there", command.program);
        failure("binary", detail, Some("install it, or correct ExecStart="))
    })?;
    Ok(Launch {
        program: found,
        argv: command.argv.clone(),
        environment: facts.environment.clone(),
        ..Launch::default()
    })
}
