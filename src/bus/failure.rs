//! Errors as they go over the wire: which name a denial gets, and its sentence.
//!
//! Standard names where they fit, `org.aether1.Error.*` otherwise; clients act on the names.

use crate::bus::ask::Denial;
use crate::engine::event::Refusal;

/// An error as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) const fn new(name: &'static str, text: String) -> Self {
        Self { name, text }
    }

    /// An argument is wrong.
    pub(crate) fn invalid(text: String) -> Self {
        Self::new("org.freedesktop.DBus.Error.InvalidArgs", text)
    }

    /// There is no such property.
    pub(crate) fn unknown_property(interface: &str, property: &str) -> Self {
        Self::new(
            "org.freedesktop.DBus.Error.UnknownProperty",
            format!("there is no property {property:?} of {interface:?}"),
        )
    }

    /// The error that a denial becomes.
    pub(crate) fn of(denial: &Denial) -> Self {
        let name = match denial {
            Denial::AccessDenied { .. } => "org.freedesktop.DBus.Error.AccessDenied",
            Denial::Failed(_) => "org.freedesktop.DBus.Error.Failed",
            Denial::NoUnitFile { .. } => "org.aether1.Error.NoSuchUnit",
            Denial::LoadFailed { .. } => "org.aether1.Error.LoadFailed",
            Denial::Refused(refusal) => match refusal {
                Refusal::NoSuchUnit(_) | Refusal::MissingRequirement { .. } => {
                    "org.aether1.Error.NoSuchUnit"
                }
                Refusal::NoSuchJob(_) => "org.aether1.Error.NoSuchJob",
                Refusal::NotApplicable { .. } => "org.aether1.Error.JobTypeNotApplicable",
                Refusal::ByOthersOnly { .. } => "org.aether1.Error.OnlyByDependency",
                Refusal::Inactive(_) => "org.aether1.Error.UnitInactive",
                Refusal::AlreadyPaused(_) => "org.aether1.Error.AlreadyPaused",
                Refusal::NotPaused(_) => "org.aether1.Error.NotPaused",
                Refusal::NeededBy { .. } => "org.aether1.Error.NeededByOthers",
                Refusal::Conflicting { .. } => "org.aether1.Error.TransactionConflicting",
                Refusal::Cycle { .. } => "org.aether1.Error.TransactionCyclic",
                Refusal::BadUnit { .. } => "org.aether1.Error.BadUnitSetting",
                Refusal::InputQueueFull { .. } => "org.aether1.Error.InputQueueFull",
            },
        };
        Self::new(name, denial.to_string())
    }
}
