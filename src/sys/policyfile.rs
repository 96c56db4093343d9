//! Policies by name: the first `NAME.policy` along the search path, else the one that ships.
//!
//! One finder for the daemon and for `aetherctl plan` and `verify`, so that both use, and refuse,
//! the same. It does not judge what a policy allows: see [`crate::plan::policy`].

use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Severity};
use crate::plan::Policy;
use crate::plan::policy::{self, PolicyError};
use crate::sys::unitfile;
use crate::unit::search::Content;

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFault {
    /// A file is there and cannot be read.
    #[error("{}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file holds errors; at least one. A rule that was not understood might be the one that
    /// matters, so nothing of it is used.
    #[error("{}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Wrong(Vec<Diagnostic>),
    /// There is none, or its ancestry has no end.
    #[error(transparent)]
    Unresolved(#[from] PolicyError),
}

/// Finds a policy and everything it builds on.
///
/// # Errors
/// See [`PolicyFault`].
pub fn find(directories: &[PathBuf], name: &str) -> Result<Policy, PolicyFault> {
    let mut fault = None;
    let found = Policy::resolve(name, |name| match read(directories, name) {
        Ok(policy) => policy.or_else(|| Policy::shipped(name)),
        Err(wrong) => {
            fault.get_or_insert(wrong);
            None
        }
    });
    match fault {
        Some(fault) => Err(fault),
        None => Ok(found?),
    }
}

fn read(directories: &[PathBuf], name: &str) -> Result<Option<Policy>, PolicyFault> {
    // A name with a slash would leave the directories.
    if name.contains('/') {
        return Ok(None);
    }
    for directory in directories {
        let path = directory.join(format!("{name}.policy"));
        match unitfile::read(&path) {
            Content::Text(text) => return parse(&path, &text).map(Some),
            Content::Absent => {}
            Content::Masked => {
                let reason = "it is masked".to_owned();
                return Err(PolicyFault::Unreadable { path, reason });
            }
            Content::Unreadable => {
                let reason = unitfile::why_unreadable(&path);
                return Err(PolicyFault::Unreadable { path, reason });
            }
        }
    }
    Ok(None)
}

fn parse(path: &Path, text: &str) -> Result<Policy, PolicyFault> {
    let (policy, mut diagnostics) = policy::parse(path, text);
    diagnostics.retain(|found| found.severity == Severity::Error);
    if diagnostics.is_empty() {
        Ok(policy)
    } else {
        Err(PolicyFault::Wrong(diagnostics))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_counts_and_an_error_in_it_refuses_it() {
        let first = tempfile::tempdir().unwrap();
        let second = tempfile::tempdir().unwrap();
        let path = [first.path().to_owned(), second.path().to_owned()];
        let shipped = find(&path, "coding").unwrap();
        let own = "[Policy]\nDescription=own\nExtends=none\n";
        std::fs::write(second.path().join("coding.policy"), own).unwrap();
        assert_ne!(find(&path, "coding").unwrap(), shipped);
        std::fs::write(first.path().join("coding.policy"), "no policy\n").unwrap();
        assert!(matches!(find(&path, "coding"), Err(PolicyFault::Wrong(all)) if !all.is_empty()));
        std::fs::remove_file(first.path().join("coding.policy")).unwrap();
        std::fs::create_dir(first.path().join("coding.policy")).unwrap();
        let said = find(&path, "coding").unwrap_err().to_string();
        assert!(said.ends_with("not a regular file"), "{said}");
    }

    #[test]
    fn a_name_cannot_leave_the_directories() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("inner")).unwrap();
        std::fs::write(place.path().join("x.policy"), "[Policy]\n").unwrap();
        let inner = [place.path().join("inner")];
        let said = find(&inner, "../x").unwrap_err();
        assert!(matches!(said, PolicyFault::Unresolved(_)), "{said}");
    }
}
