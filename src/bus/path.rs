//! Object paths: which object a path names, and the path of a unit or a job.
//!
//! Labels are escaped as systemd escapes them, so that every unit name is one path element. Only
//! this file builds or takes apart paths. Read next: [`crate::bus::contract`].

use crate::name::{JobId, UnitName};

/// The manager's path, and the root of all others.
pub const MANAGER: &str = "/org/aether1";
/// Where the hub's interface is.
pub const HUB: &str = "/org/aether1/hub";
const UNITS: &str = "/org/aether1/unit";
const JOBS: &str = "/org/aether1/job";

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// `/` or `/org`: nothing but the way to the manager; the name of the one child.
    Above(&'static str),
    /// The manager.
    Manager,
    /// The node above all units.
    Units,
    /// One unit.
    Unit(UnitName),
    /// The unit of whoever asks.
    SelfUnit,
    /// The node above all jobs.
    Jobs,
    /// One job.
    Job(JobId),
    /// The hub's object.
    Hub,
}

impl Object {
    /// What `path` names; `None`: nothing of ours.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        match path {
            "/" => return Some(Self::Above("org")),
            "/org" => return Some(Self::Above("aether1")),
            MANAGER => return Some(Self::Manager),
            HUB => return Some(Self::Hub),
            UNITS => return Some(Self::Units),
            JOBS => return Some(Self::Jobs),
            _ => {}
        }
        if let Some(label) = path.strip_prefix(UNITS).and_then(|l| l.strip_prefix('/')) {
            if label == "self" {
                return Some(Self::SelfUnit);
            }
            return unescape(label)?.parse().ok().map(Self::Unit);
        }
        let id = path.strip_prefix(JOBS)?.strip_prefix('/')?;
        // One spelling per job: no sign, no leading zero.
        let number: u32 = id.parse().ok()?;
        (number.to_string() == id).then_some(Self::Job(JobId(number)))
    }
}

/// The path of a unit.
#[must_use]
pub fn unit(name: &UnitName) -> String {
    format!("{UNITS}/{}", escape(name.as_str()))
}

/// The path of a job; `/` for none.
#[must_use]
pub fn job(id: Option<JobId>) -> String {
    id.map_or_else(|| "/".to_owned(), |id| format!("{JOBS}/{id}"))
}

/// systemd's `bus_label_escape`: letters and non-leading digits stay, other bytes become `_xx`,
/// the empty name `_`.
#[must_use]
pub fn escape(name: &str) -> String {
    if name.is_empty() {
        return "_".to_owned();
    }
    let mut label = String::with_capacity(name.len() + 8);
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            label.push(char::from(byte));
        } else {
            label.push_str(&format!("_{byte:02x}"));
        }
    }
    label
}

/// The name a label stands for; `None` when [`escape`] cannot have made it.
#[must_use]
pub fn unescape(label: &str) -> Option<String> {
    let mut name = Vec::with_capacity(label.len());
    if label != "_" {
        let mut rest = label.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            if byte == b'_' {
                let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                name.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &after[2..];
            } else {
                name.push(byte);
                rest = after;
            }
        }
    }
    let name = String::from_utf8(name).ok()?;
    (escape(&name) == label).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_systemds() {
        for (name, label) in [
            ("coder.agent", "coder_2eagent"),
            ("7zip@a-b.service", "_37zip_40a_2db_2eservice"),
            ("a_b.agent", "a_5fb_2eagent"),
            ("", "_"),
        ] {
            assert_eq!(escape(name), label);
            assert_eq!(unescape(label).as_deref(), Some(name));
        }
        for label in ["a_2", "a_zz", "a.b", "7a", "_61", "a_2E", "a__", ""] {
            assert_eq!(unescape(label), None, "{label:?} was taken");
        }
    }

    #[test]
    fn paths_name_objects() {
        let name: UnitName = "coder@1.agent".parse().unwrap();
        assert_eq!(Object::parse(&unit(&name)), Some(Object::Unit(name)));
        assert_eq!(
            Object::parse(&job(Some(JobId(7)))),
            Some(Object::Job(JobId(7)))
        );
        assert_eq!(Object::parse("/org"), Some(Object::Above("aether1")));
        assert_eq!(
            Object::parse("/org/aether1/unit/self"),
            Some(Object::SelfUnit)
        );
        for path in [
            "/org/aether1/job/07",
            "/org/aether1/job/+7",
            "/org/aether1/job/x",
            "/org/aether1/unit/coder",
            "/org/aether1/unit/coder_2eagent/x",
            "/org/aether2",
            "/org/aether1unit",
        ] {
            assert_eq!(Object::parse(path), None, "{path} was taken");
        }
    }
}
