//! Old spellings that systemd still takes: each is read as the directive that has taken its place,
//! with one warning that names it.

use super::{Directive, Section};
use crate::unit::value::{boolean, integer};

/// An old spelling.
#[derive(Clone, Copy)]
pub struct Legacy {
    section: Section,
    key: &'static str,
    modern: (Section, &'static str),
    translate: fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Legacy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (section, key) = self.modern;
        write!(f, "{}= for [{}] {key}=", self.key, section.name())
    }
}

impl Legacy {
    /// The row that has taken its place.
    #[must_use]
    pub fn modern(&self) -> Option<&'static Directive> {
        super::find(self.modern.0, self.modern.1)
    }

    /// The value as the modern row takes it; `None` when it cannot be read.
    #[must_use]
    pub fn translate(&self, value: &str) -> Option<String> {
        if value.is_empty() {
            return Some(String::new());
        }
        (self.translate)(value)
    }

    /// That it is one.
    #[must_use]
    pub fn message(&self) -> String {
        let (section, key) = self.modern;
        if key == self.key {
            return format!("{key}= has moved to [{}]", section.name());
        }
        format!("{}= is the old name of {key}=", self.key)
    }

    /// What to write instead.
    #[must_use]
    pub fn instead(&self) -> String {
        let (section, key) = self.modern;
        if section == self.section || section == Section::Service {
            format!("write {key}=")
        } else {
            format!("write {key}= in [{}]", section.name())
        }
    }
}

/// The old spelling that is meant by a key, where it is one.
#[must_use]
pub fn legacy(section: Section, key: &str) -> Option<&'static Legacy> {
    LEGACY.iter().find(|row| {
        let limits = section == Section::Slice && row.modern.0 == Section::Service;
        let same = row.section == section
            || section == Section::Agent && row.section == Section::Service
            || limits;
        same && row.key == key
    })
}

const fn old(
    section: Section,
    key: &'static str,
    modern: (Section, &'static str),
    translate: fn(&str) -> Option<String>,
) -> Legacy {
    Legacy {
        section,
        key,
        modern,
        translate,
    }
}

fn same(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// Every old spelling whose successor is implemented.
pub const LEGACY: &[Legacy] = &[
    old(Section::Unit, "BindTo", (Section::Unit, "BindsTo"), same),
    old(
        Section::Unit,
        "PropagateReloadTo",
        (Section::Unit, "PropagatesReloadTo"),
        same,
    ),
    old(
        Section::Unit,
        "PropagateReloadFrom",
        (Section::Unit, "ReloadPropagatedFrom"),
        same,
    ),
    old(
        Section::Unit,
        "OnFailureIsolate",
        (Section::Unit, "OnFailureJobMode"),
        |value| {
            let isolate = boolean(value).ok()?;
            Some(if isolate { "isolate" } else { "replace" }.to_owned())
        },
    ),
    old(
        Section::Unit,
        "StartLimitInterval",
        (Section::Unit, "StartLimitIntervalSec"),
        same,
    ),
    old(
        Section::Service,
        "StartLimitInterval",
        (Section::Unit, "StartLimitIntervalSec"),
        same,
    ),
    old(
        Section::Service,
        "StartLimitBurst",
        (Section::Unit, "StartLimitBurst"),
        same,
    ),
    old(
        Section::Service,
        "StartLimitAction",
        (Section::Unit, "StartLimitAction"),
        same,
    ),
    old(
        Section::Service,
        "FailureAction",
        (Section::Unit, "FailureAction"),
        same,
    ),
    old(
        Section::Service,
        "MemoryLimit",
        (Section::Service, "MemoryMax"),
        same,
    ),
    old(
        Section::Service,
        "CPUShares",
        (Section::Service, "CPUWeight"),
        |value| {
            // As systemd: 1024 shares were everybody's, as a weight of 100 is.
            let shares: u64 = integer(value, 2, 262_144).ok()?;
            Some((shares * 100 / 1024).clamp(1, 10_000).to_string())
        },
    ),
];
