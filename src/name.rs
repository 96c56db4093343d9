//! Names: units, invocations, jobs.
//!
//! A [`UnitName`] is checked once, where text enters the program, and is trusted from then on; it
//! is safe as a file name, a cgroup name and a D-Bus path component (after escaping). This file
//! reads nothing and decides nothing. Read next: [`crate::unit`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest unit name in bytes, suffix included (systemd.unit(5): 255 characters).
pub const MAX_LENGTH: usize = 255;

/// What a unit is, by the suffix of its name (systemd.unit(5); `.agent` is ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitType {
    /// An AI agent: a service with a runtime, a goal and people around it.
    Agent,
    /// A supervised process, as in systemd.service(5).
    Service,
    /// A synchronisation point, as in systemd.target(5).
    Target,
    /// A branch of the tree of cgroups, as in systemd.slice(5).
    Slice,
    /// Starts another unit when its time has come, as in systemd.timer(5).
    Timer,
    /// Starts another unit when somebody connects, as in systemd.socket(5).
    Socket,
    /// Starts another unit when something happens to a path, as in systemd.path(5).
    Path,
}

impl UnitType {
    /// Every type, in the order in which lists show them.
    pub const ALL: [Self; 7] = [
        Self::Agent,
        Self::Service,
        Self::Target,
        Self::Slice,
        Self::Timer,
        Self::Socket,
        Self::Path,
    ];

    /// The suffix without its dot.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Service => "service",
            Self::Target => "target",
            Self::Slice => "slice",
            Self::Timer => "timer",
            Self::Socket => "socket",
            Self::Path => "path",
        }
    }
}

/// A checked unit name such as `coder.agent` or `worker@3.service`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName {
    /// Shared: the same name stands in many places.
    text: Arc<str>,
    kind: UnitType,
}

/// Why a text is not a unit name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing before the suffix.
    #[error("unit name is empty")]
    Empty,
    /// Longer than [`MAX_LENGTH`].
    #[error("unit name is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// A byte outside `[A-Za-z0-9:_.\-@\\]`.
    #[error("unit name {name:?} contains {found:?}; allowed are letters, digits and :_.-@\\")]
    Character {
        /// The text as given.
        name: String,
        /// The first offending character.
        found: char,
    },
    /// No suffix, or one that is not a unit type of ours.
    #[error(
        "unit name {0:?} does not end in .agent, .service, .target, .slice, .timer, .socket or .path"
    )]
    Suffix(String),
}

impl UnitName {
    /// The whole name, suffix included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the suffix says.
    #[must_use]
    pub const fn kind(&self) -> UnitType {
        self.kind
    }

    /// The name without the suffix (`%N` is this unescaped): `coder` of `coder.agent`.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.text
            .rsplit_once('.')
            .map_or(&self.text, |(stem, _)| stem)
    }

    /// The part before `@`, or the stem where there is no instance (`%p`).
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.stem()
            .split_once('@')
            .map_or(self.stem(), |(prefix, _)| prefix)
    }

    /// The part between `@` and the suffix (`%i`); `None` for a plain unit, empty for a template.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.stem().split_once('@').map(|(_, instance)| instance)
    }

    /// `coder@.agent` of `coder@web.agent`; `None` for a plain unit.
    #[must_use]
    pub fn template(&self) -> Option<String> {
        self.instance()
            .map(|_| format!("{}@.{}", self.prefix(), self.kind.suffix()))
    }

    /// The instance of this template (or of this instance's template); `None` where that would be
    /// no name.
    #[must_use]
    pub fn with_instance(&self, instance: &str) -> Option<Self> {
        self.instance()?;
        format!("{}@{instance}.{}", self.prefix(), self.kind.suffix())
            .parse()
            .ok()
    }

    /// Whether this is a template itself, which cannot be started.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.instance() == Some("")
    }

    /// Of a slice: its own name and those of the slices around it, outermost first; nothing for
    /// other units and for the root. `a.slice`, `a-b.slice` of `a-b.slice`.
    #[must_use]
    pub fn slices(&self) -> Vec<String> {
        let stem = self.stem();
        if self.kind != UnitType::Slice || stem == "-" {
            return vec![];
        }
        let ends = stem.match_indices('-').map(|(at, _)| at);
        ends.chain([stem.len()])
            .filter_map(|end| stem.get(..end))
            .filter(|prefix| !prefix.is_empty())
            .map(|prefix| format!("{prefix}.slice"))
            .collect()
    }

    /// The slice around a slice: `a.slice` of `a-b.slice`.
    #[must_use]
    pub fn parent_slice(&self) -> Option<Self> {
        let mut around = self.slices();
        around.pop();
        around.pop()?.parse().ok()
    }

    /// Whether a slice may have this name (systemd.slice(5)): every dash in it is a step of the
    /// tree. Names of other types are never one.
    #[must_use]
    pub fn names_slice(&self) -> bool {
        let steps = self.stem() == "-" || self.stem().split('-').all(|step| !step.is_empty());
        self.kind == UnitType::Slice && steps
    }

    /// Reads a name as a person types it: without a suffix it is an agent's.
    ///
    /// # Errors
    /// As [`FromStr`].
    pub fn from_user(text: &str) -> Result<Self, NameError> {
        match text.parse() {
            Err(NameError::Suffix(_)) => format!("{text}.agent").parse(),
            other => other,
        }
    }
}

impl FromStr for UnitName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(NameError::TooLong);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":_.-@\\".contains(c);
        if let Some(found) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character {
                name: text.to_owned(),
                found,
            });
        }
        let suffix = || NameError::Suffix(text.to_owned());
        let (stem, suffix_text) = text.rsplit_once('.').ok_or_else(suffix)?;
        let kind = UnitType::ALL
            .into_iter()
            .find(|kind| kind.suffix() == suffix_text)
            .ok_or_else(suffix)?;
        // A leading dot would be a hidden file, "@x" an instance of nothing.
        if stem.is_empty() || stem.starts_with('.') || stem.starts_with('@') {
            return Err(NameError::Empty);
        }
        Ok(Self {
            text: text.into(),
            kind,
        })
    }
}

impl TryFrom<String> for UnitName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> Self {
        name.text.as_ref().into()
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// One start of a unit, numbered from 1 within one daemon state; never reused.
///
/// The 128-bit id that people and logs see is made of this and the daemon's seed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Invocation(pub u64);

/// A job's number, as in systemd: small, increasing, never reused within one daemon state.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct JobId(pub u32);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_name() {
        let name: UnitName = "coder@web.agent".parse().unwrap();
        assert_eq!(name.kind(), UnitType::Agent);
        assert_eq!(name.stem(), "coder@web");
        assert_eq!(name.prefix(), "coder");
        assert_eq!(name.instance(), Some("web"));
        assert_eq!(name.template().as_deref(), Some("coder@.agent"));
        let other = name.with_instance("shop").unwrap();
        assert_eq!(other.as_str(), "coder@shop.agent");
        assert_eq!(name.with_instance("a/b"), None);
        let plain: UnitName = "a.b.service".parse().unwrap();
        assert_eq!(plain.with_instance("x"), None);
        assert_eq!((plain.stem(), plain.instance()), ("a.b", None));
    }

    #[test]
    fn a_slice_says_where_it_stands() {
        let name = |text: &str| text.parse::<UnitName>().unwrap();
        let around = name("a-b-c.slice").slices();
        assert_eq!(around, ["a.slice", "a-b.slice", "a-b-c.slice"]);
        assert_eq!(name("a-b.slice").parent_slice(), Some(name("a.slice")));
        assert_eq!(name("a.slice").parent_slice(), None);
        assert!(name("-.slice").slices().is_empty());
        assert!(name("a-b.service").slices().is_empty());
    }

    #[test]
    fn refuses_what_is_no_file_or_cgroup_name() {
        for text in [
            "",
            ".agent",
            "a/b.agent",
            "a b.agent",
            "a",
            "a.mount",
            "..agent",
            "@x.agent",
        ] {
            assert!(text.parse::<UnitName>().is_err(), "{text:?} was taken");
        }
        assert!(
            format!("{}.agent", "x".repeat(250))
                .parse::<UnitName>()
                .is_err()
        );
    }

    #[test]
    fn a_person_may_leave_out_the_agent_suffix() {
        assert_eq!(
            UnitName::from_user("coder").unwrap().as_str(),
            "coder.agent"
        );
        assert_eq!(
            UnitName::from_user("web.service").unwrap().as_str(),
            "web.service"
        );
        assert!(UnitName::from_user("a/b").is_err());
    }
}
