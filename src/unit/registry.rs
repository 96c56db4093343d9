//! The directives: one row each, from which parser, `verify`, completion and manual come.
//!
//! A row says where a directive stands, how its value is written, what holds without it, what it
//! does, and whether a mistake in it makes the unit unusable (it is a guard). The rows are
//! split by subject; [`UNIMPLEMENTED`] names what systemd has and this program has not.
//! Read next: [`super::assemble`], which walks a unit's text through these rows.

mod action;
mod agent;
mod capability;
mod condition;
mod draft;
mod exec;
mod given;
mod install;
mod kill;
mod legacy;
mod mcp;
mod path;
mod paths;
mod readiness;
mod resources;
mod sandbox;
mod service;
mod slice;
mod socket;
mod timer;
mod unimplemented;
mod unit;

#[cfg(test)]
mod tests;

pub(crate) use draft::Draft;
pub(crate) use given::{Given, Note};
pub use legacy::{LEGACY, Legacy, legacy};
pub use mcp::TOOL_GROUPS;
pub use unimplemented::{UNIMPLEMENTED, holds_anyway, is_confinement, is_unimplemented};

use super::value::ValueError;
use crate::name::{UnitName, UnitType};

/// A section of a unit file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// `[Unit]`.
    Unit,
    /// `[Service]`; its rows are `[Agent]`'s too.
    Service,
    /// `[Agent]`.
    Agent,
    /// `[Sandbox]`.
    Sandbox,
    /// `[MCP]`.
    Mcp,
    /// `[Timer]`.
    Timer,
    /// `[Socket]`.
    Socket,
    /// `[Path]`.
    Path,
    /// `[Slice]`.
    Slice,
    /// `[Install]`.
    Install,
}

impl Section {
    /// Every section, in the order in which units are written.
    pub const ALL: [Self; 10] = [
        Self::Unit,
        Self::Service,
        Self::Agent,
        Self::Sandbox,
        Self::Mcp,
        Self::Timer,
        Self::Socket,
        Self::Path,
        Self::Slice,
        Self::Install,
    ];

    /// The name between the brackets.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unit => "Unit",
            Self::Service => "Service",
            Self::Agent => "Agent",
            Self::Sandbox => "Sandbox",
            Self::Mcp => "MCP",
            Self::Timer => "Timer",
            Self::Socket => "Socket",
            Self::Path => "Path",
            Self::Slice => "Slice",
            Self::Install => "Install",
        }
    }

    /// Whether units of this type have such a section.
    #[must_use]
    pub const fn belongs_to(self, kind: UnitType) -> bool {
        match self {
            Self::Unit | Self::Install => true,
            Self::Service => matches!(kind, UnitType::Service),
            Self::Agent => matches!(kind, UnitType::Agent),
            Self::Sandbox | Self::Mcp => matches!(kind, UnitType::Agent | UnitType::Service),
            Self::Timer => matches!(kind, UnitType::Timer),
            Self::Socket => matches!(kind, UnitType::Socket),
            Self::Path => matches!(kind, UnitType::Path),
            Self::Slice => matches!(kind, UnitType::Slice),
        }
    }
}

/// How a row treats an empty value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value; empty means the default.
    Scalar,
    /// Several values, over several assignments; empty means none from here on.
    List,
}

/// One directive.
#[derive(Clone, Copy)]
pub struct Directive {
    /// The section it stands in.
    pub section: Section,
    /// What stands before the `=`.
    pub key: &'static str,
    /// How the value is written, for manual and completion: `TIME`, `BYTES`, `yes|no`.
    pub syntax: &'static str,
    /// What holds without it, as it would be written.
    pub default: &'static str,
    /// What holds in `.agent` units, where that differs.
    pub agent_default: Option<&'static str>,
    /// A value that is not the default.
    pub example: &'static str,
    /// One paragraph.
    pub doc: &'static str,
    /// One value or several.
    pub shape: Shape,
    /// A mistake in it would leave the unit weaker or other than written: it is then not loaded.
    pub guard: bool,
    pub(crate) apply: Apply,
}

/// How a value gets into the draft.
pub(crate) type Apply = fn(&mut Draft, &mut Given<'_>) -> Result<(), ValueError>;

impl std::fmt::Debug for Directive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {}=", self.section.name(), self.key)
    }
}

impl Directive {
    const fn new(
        section: Section,
        key: &'static str,
        syntax: &'static str,
        example: &'static str,
        doc: &'static str,
        apply: Apply,
    ) -> Self {
        Self {
            section,
            key,
            syntax,
            default: "",
            agent_default: None,
            example,
            doc,
            shape: Shape::Scalar,
            guard: false,
            apply,
        }
    }

    const fn list(mut self) -> Self {
        self.shape = Shape::List;
        self
    }

    const fn guard(mut self) -> Self {
        self.guard = true;
        self
    }

    const fn default(mut self, text: &'static str) -> Self {
        self.default = text;
        self
    }

    const fn agents(mut self, text: &'static str) -> Self {
        self.agent_default = Some(text);
        self
    }

    /// What holds without it in units of this type.
    #[must_use]
    pub fn default_for(&self, kind: UnitType) -> &'static str {
        match self.agent_default {
            Some(text) if kind == UnitType::Agent => text,
            _ => self.default,
        }
    }
}

/// All rows, section by section.
pub fn directives() -> impl Iterator<Item = &'static Directive> {
    [
        unit::ROWS,
        action::ROWS,
        condition::ROWS,
        service::ROWS,
        kill::ROWS,
        readiness::ROWS,
        exec::ROWS,
        exec::LIMITS,
        resources::ROWS,
        agent::ROWS,
        sandbox::ROWS,
        mcp::ROWS,
        timer::ROWS,
        socket::ROWS,
        path::ROWS,
        slice::ROWS,
        install::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// The rows that may stand in a section: `[Agent]` has its own and `[Service]`'s, `[Slice]` those
/// of `[Service]` that limit resources.
pub fn rows_of(section: Section) -> impl Iterator<Item = &'static Directive> {
    let limits: &[Directive] = if section == Section::Slice {
        resources::ROWS
    } else {
        &[]
    };
    directives()
        .filter(move |row| {
            row.section == section || section == Section::Agent && row.section == Section::Service
        })
        .chain(limits)
}

/// The unit that a timer or path unit starts.
fn triggered(given: &mut Given<'_>, to: &mut Option<UnitName>) -> Result<(), ValueError> {
    let mut list = vec![];
    given.units(&mut list)?;
    if list.len() > 1 {
        return Err(
            ValueError::new("it starts one unit").help("start a target that wants the others")
        );
    }
    *to = list.pop();
    Ok(())
}

/// The row for a key in a section.
#[must_use]
pub fn find(section: Section, key: &str) -> Option<&'static Directive> {
    rows_of(section).find(|row| row.key == key)
}
