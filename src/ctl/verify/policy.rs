//! The policy that a unit names: whether it can be used, and where it is named.

use super::place::Written;
use crate::diagnostic::{Diagnostic, Severity};
use crate::place::Places;
use crate::plan::Policy;
use crate::plan::policy::PolicyError;
use crate::sys::policyfile::{self, PolicyFault};
use crate::sys::unitfile;
use crate::unit::Unit;
use crate::unit::nearest::nearest;

/// Everything wrong with the policy of a unit, which need not be usable otherwise.
pub(super) fn check(
    places: &Places,
    written: &Written,
    unit: Option<&Unit>,
    said: &[Diagnostic],
) -> Vec<Diagnostic> {
    let place = written.last("Sandbox", "Policy");
    let name = match (unit, &place) {
        (Some(unit), _) => unit.sandbox.policy.clone(),
        // What only a usable unit could expand is not judged.
        (None, Some(place)) if !place.value.is_empty() && !place.value.contains('%') => {
            place.value.clone()
        }
        (None, _) => return vec![],
    };
    let at = |message: String, help: Option<String>| {
        written.diagnose(Severity::Error, place.as_ref(), message, help)
    };
    match policyfile::find(&places.policies, &name) {
        Ok(_) => vec![],
        Err(PolicyFault::Wrong(found)) => found,
        Err(PolicyFault::Unresolved(PolicyError::Missing(missing))) if missing == name => {
            let found = at(
                format!("policy {name:?} does not exist"),
                Some(help(places, &name)),
            );
            // A value that is no name at all has been said to be none.
            let known = said
                .iter()
                .any(|other| other.path == found.path && other.line == found.line);
            if known { vec![] } else { vec![found] }
        }
        Err(error) => vec![at(error.to_string(), None)],
    }
}

fn help(places: &Places, name: &str) -> String {
    let mut names: Vec<String> = Policy::shipped_names().map(str::to_owned).collect();
    for directory in &places.policies {
        let files = unitfile::list(directory);
        names.extend(
            files
                .iter()
                .filter_map(|file| Some(file.strip_suffix(".policy")?.to_owned())),
        );
    }
    names.sort_unstable();
    names.dedup();
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the policies there are: {}", names.join(" ")),
    }
}
