//! `[Install]`: the links that make a unit enabled, and what links there are say about a unit
//! (systemctl(1), `enable`, `disable`, `is-enabled`).
//!
//! Pure: links are read and made by [`crate::daemon::install`]. Read next: [`super::preset`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::name::UnitName;

use super::Install;
use super::names::may_alias;

/// The endings of directories whose entries are dependencies.
pub const ENDINGS: [&str; 3] = ["wants", "requires", "upholds"];

/// One link that enabling makes: where, relative to the unit directory. It leads to the unit's
/// file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// `agents.target.wants/coder.agent`, or an alias.
    pub path: PathBuf,
    /// Whether it is an alias, which must not take the place of another link.
    pub alias: bool,
}

/// Why a unit cannot be enabled as its file says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    /// A template without an instance would be wanted by a plain unit.
    #[error(
        "{unit} is a template and {by} is none; name an instance, such as {example}, or write DefaultInstance="
    )]
    Template {
        /// The template.
        unit: UnitName,
        /// Who would want it.
        by: UnitName,
        /// An instance.
        example: String,
    },
    /// The name cannot be an alias of the unit.
    #[error("{unit} cannot have the alias {alias}: {reason}")]
    Alias {
        /// The unit.
        unit: UnitName,
        /// The alias.
        alias: UnitName,
        /// Why not.
        reason: &'static str,
    },
}

/// Whether `enable` has anything to do for a unit.
#[must_use]
pub fn has_rules(install: &Install) -> bool {
    !(install.wanted_by.is_empty()
        && install.required_by.is_empty()
        && install.upheld_by.is_empty()
        && install.alias.is_empty())
}

/// The links that enabling a unit makes.
///
/// # Errors
/// The first reason why one of them cannot be.
pub fn wishes(name: &UnitName, install: &Install) -> Result<Vec<Wish>, InstallError> {
    let mut wishes = vec![];
    for alias in &install.alias {
        wishes.push(Wish {
            path: PathBuf::from(alias_of(name, alias)?.as_str()),
            alias: true,
        });
    }
    let default = install.default_instance.as_deref();
    let instance = default.filter(|_| name.is_template());
    let unit = instance
        .and_then(|instance| name.with_instance(instance))
        .unwrap_or_else(|| name.clone());
    let lists = [&install.wanted_by, &install.required_by, &install.upheld_by];
    for (ending, list) in ENDINGS.iter().zip(lists) {
        for by in list {
            // Whoever is a template itself has an instance to hand on.
            if unit.is_template() && by.instance().is_none() {
                return Err(InstallError::Template {
                    example: format!("{}@main.{}", unit.prefix(), unit.kind().suffix()),
                    unit,
                    by: by.clone(),
                });
            }
            wishes.push(Wish {
                path: PathBuf::from(format!("{by}.{ending}/{unit}")),
                alias: false,
            });
        }
    }
    Ok(wishes)
}

/// The alias of this unit that `Alias=` means; of a template's alias the unit's own instance.
fn alias_of(unit: &UnitName, alias: &UnitName) -> Result<UnitName, InstallError> {
    let wrong = |reason| InstallError::Alias {
        unit: unit.clone(),
        alias: alias.clone(),
        reason,
    };
    let instance = unit.instance().filter(|instance| !instance.is_empty());
    let own = match instance {
        Some(instance) if alias.is_template() => alias
            .with_instance(instance)
            .ok_or_else(|| wrong("the instance makes no name of it"))?,
        _ => alias.clone(),
    };
    if own == *unit {
        return Err(wrong("it is the unit's own name"));
    }
    if may_alias(&own, unit) {
        return Ok(own);
    }
    Err(wrong(match (own.kind() == unit.kind(), alias.instance()) {
        (false, _) => "it is of another type",
        (true, None) if unit.instance().is_some() => "the unit is a template",
        (true, Some(_)) if unit.instance().is_none() => "the unit is no template",
        _ => "only the same instance can be meant",
    }))
}

/// What a unit directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Units made by `aetherctl run`.
    Transient,
    /// What the administrator decides, and keeps.
    Local,
    /// What is decided until the next boot.
    Runtime,
    /// What comes with programs.
    Vendor,
}

/// A unit directory with every link to a unit in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The directory.
    pub path: PathBuf,
    /// What it is for.
    pub role: Role,
    /// The links in it and in its `.wants` directories: where, and where they lead.
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// Whether a unit is enabled, in systemd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileState {
    /// Links of its `[Install]` are there.
    Enabled,
    /// The same until the next boot.
    EnabledRuntime,
    /// Its file is made known by a link.
    Linked,
    /// The same until the next boot.
    LinkedRuntime,
    /// The name is another name of a unit.
    Alias,
    /// It must not be started.
    Masked,
    /// The same until the next boot.
    MaskedRuntime,
    /// There is nothing to enable.
    Static,
    /// Not itself, but others in its `Also=`, or it is in use by another name.
    Indirect,
    /// It could be enabled, and is not.
    Disabled,
    /// Made by `aetherctl run`.
    Transient,
    /// Made by a generator.
    Generated,
    /// Its file cannot be read.
    Bad,
}

impl FileState {
    /// Every state with its word.
    pub const WORDS: [(&'static str, Self); 13] = [
        ("enabled", Self::Enabled),
        ("enabled-runtime", Self::EnabledRuntime),
        ("linked", Self::Linked),
        ("linked-runtime", Self::LinkedRuntime),
        ("alias", Self::Alias),
        ("masked", Self::Masked),
        ("masked-runtime", Self::MaskedRuntime),
        ("static", Self::Static),
        ("indirect", Self::Indirect),
        ("disabled", Self::Disabled),
        ("transient", Self::Transient),
        ("generated", Self::Generated),
        ("bad", Self::Bad),
    ];

    /// systemd's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, state)| *state == self)
            .map_or("", |(word, _)| word)
    }

    /// Whether `is-enabled` answers yes.
    #[must_use]
    pub fn is_enabled(word: &str) -> bool {
        [
            Self::Enabled,
            Self::EnabledRuntime,
            Self::Static,
            Self::Alias,
            Self::Indirect,
            Self::Generated,
        ]
        .iter()
        .any(|state| state.as_str() == word)
    }
}

/// What the links say about a unit whose file is at `fragment`.
#[must_use]
pub fn state(name: &UnitName, fragment: &Path, install: &Install, trees: &[Tree]) -> FileState {
    let here = |tree: &&Tree| fragment.starts_with(&tree.path);
    if trees
        .iter()
        .find(here)
        .is_some_and(|tree| tree.role == Role::Transient)
    {
        return FileState::Transient;
    }
    let known = known_names(name, install);
    if let Some(state) = enabled(name, fragment, trees, Some(&known)) {
        return state;
    }
    // In use by a name that its file does not know of.
    if enabled(name, fragment, trees, None).is_some() {
        return FileState::Indirect;
    }
    if has_rules(install) {
        FileState::Disabled
    } else if install.also.is_empty() {
        FileState::Static
    } else {
        FileState::Indirect
    }
}

/// The names by which enabling links a unit.
fn known_names(name: &UnitName, install: &Install) -> Vec<UnitName> {
    let mut known = vec![name.clone()];
    let aliases = install.alias.iter();
    known.extend(aliases.filter_map(|alias| alias_of(name, alias).ok()));
    if let Some(instance) = &install.default_instance
        && name.is_template()
    {
        known.extend(name.with_instance(instance));
    }
    known
}

/// In which way links to a unit are there; with `known`, only links of these names count.
fn enabled(
    name: &UnitName,
    fragment: &Path,
    trees: &[Tree],
    known: Option<&[UnitName]>,
) -> Option<FileState> {
    let counts = |link: &str| known.is_none_or(|known| known.iter().any(|it| it.as_str() == link));
    let (mut runtime, mut elsewhere) = (false, false);
    let mut same_name = None;
    // Below the directory of the file itself a link of its name is hidden by it.
    let mut below = false;
    for tree in trees {
        let (mut found, mut same) = (false, false);
        for (path, target) in &tree.links {
            let Some(link) = file_name(path) else {
                continue;
            };
            if path.components().count() > 1 {
                let template = || link.parse::<UnitName>().ok()?.template();
                let of_this = link == name.as_str() || template().as_deref() == Some(name.as_str());
                found |= of_this && counts(link);
                continue;
            }
            let by_name = !below && link == name.as_str();
            let by_target = target.file_name() == fragment.file_name();
            if by_name && by_target {
                same = true;
            } else {
                found |= (by_name || by_target) && counts(link);
            }
        }
        match (found, tree.role) {
            (true, Role::Local) => return Some(FileState::Enabled),
            (true, Role::Runtime) => runtime = true,
            (true, _) => elsewhere = true,
            (false, Role::Local) if same => same_name = Some(FileState::Linked),
            (false, Role::Runtime) if same && same_name.is_none() => {
                same_name = Some(FileState::LinkedRuntime);
            }
            _ => {}
        }
        below |= fragment.starts_with(&tree.path);
    }
    if runtime {
        return Some(FileState::EnabledRuntime);
    }
    // Instances are made on purpose, wherever that is said; other names are mere aliases.
    let instance = name.instance().is_some_and(|instance| !instance.is_empty());
    if elsewhere && instance {
        return Some(FileState::Static);
    }
    same_name
}

/// The links of a directory that disabling these units removes: those of their names and those that
/// lead to them, and then the links to removed links.
#[must_use]
pub fn removals(units: &BTreeSet<UnitName>, tree: &Tree) -> Vec<PathBuf> {
    let is_meant = |path: &Path| {
        let name = file_name(path).and_then(|name| name.parse().ok());
        name.is_some_and(|name| units.contains(&name))
    };
    let mut removed: Vec<PathBuf> = vec![];
    loop {
        let before = removed.len();
        for (path, target) in &tree.links {
            let leads_to_removed = removed.iter().any(|gone| tree.path.join(gone) == *target);
            if !removed.contains(path) && (is_meant(path) || is_meant(target) || leads_to_removed) {
                removed.push(path.clone());
            }
        }
        if removed.len() == before {
            removed.sort();
            return removed;
        }
    }
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

#[cfg(test)]
mod tests;
