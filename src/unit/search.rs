//! Which files make up a unit: search path, templates, aliases, drop-ins, masks, `.wants`
//! directories (systemd.unit(5)).
//!
//! Pure: the caller passes closures that list a directory and read a file, so that the daemon and
//! `aetherctl verify` find the same files by the same rules. Directories come in order of
//! priority. Read next: [`super::assemble`], which takes what is found here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::name::{UnitName, UnitType};

use super::assemble::{Links, Loaded, Source, load_linked};
use super::names::Names;
use super::specifier::SpecifierFacts;

/// Most drop-ins of one unit.
pub const MAX_DROP_INS: usize = 256;
/// Most entries of a unit's `.wants` directories, and of the others.
pub const MAX_LINKS: usize = 4096;

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The unit's files.
    Files(Files),
    /// The fragment is empty or a link to /dev/null: the unit must not be started.
    Masked(PathBuf),
    /// There is no fragment.
    Missing,
    /// A file is there and cannot be used: the reader said so, or there are too many. The unit
    /// must not be loaded from what is left.
    Unreadable(PathBuf),
}

/// The files of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The unit's own name, whichever of its names was looked for.
    pub name: UnitName,
    /// The fragment, then its drop-ins in the order in which they apply.
    pub sources: Vec<Source>,
    /// What the files around it say.
    pub links: Links,
}

impl Files {
    /// Puts the unit together; units that it names by another name are called by their own.
    #[must_use]
    pub fn load(&self, names: &Names, facts: &SpecifierFacts) -> Loaded {
        let mut loaded = load_linked(&self.name, &self.sources, &self.links, facts);
        if let Some(unit) = &mut loaded.unit {
            unit.rename(|name| names.resolve(name));
        }
        loaded
    }
}

/// What a reader makes of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The file's text.
    Text(String),
    /// A link to /dev/null.
    Masked,
    /// There is no such file.
    Absent,
    /// There is one, and it cannot be read (permission, no UTF-8, larger than
    /// [`MAX_FILE`](super::syntax::MAX_FILE)).
    Unreadable,
}

/// The names under which a unit's fragment is looked for: its own, then its template's.
#[must_use]
pub fn fragment_names(name: &UnitName) -> Vec<String> {
    let own = name.as_str().to_owned();
    let template = name.template().filter(|template| *template != own);
    std::iter::once(own).chain(template).collect()
}

/// Names of the drop-in directories, the least specific first: `agent.d`, `web-.agent.d`,
/// `web-shop-.agent.d`, `web-shop@.agent.d`, `web-shop@a.agent.d`.
#[must_use]
pub fn drop_in_names(name: &UnitName) -> Vec<String> {
    directory_names(name, "d")
}

/// Names of the directories beside a unit's files that end in `.d`, `.wants` …, as
/// [`drop_in_names`].
fn directory_names(name: &UnitName, ending: &str) -> Vec<String> {
    let suffix = name.kind().suffix();
    let mut names = vec![format!("{suffix}.{ending}")];
    let prefix = name.prefix();
    let at = if name.instance().is_some() { "@" } else { "" };
    for (end, _) in prefix.match_indices('-') {
        // A dash at the very end is the name itself: "web-.agent" has "web-.agent.d" once.
        if end + 1 < prefix.len() || !at.is_empty() {
            names.push(format!("{}{at}.{suffix}.{ending}", &prefix[..=end]));
        }
    }
    for fragment in fragment_names(name).into_iter().rev() {
        let directory = format!("{fragment}.{ending}");
        if !names.contains(&directory) {
            names.push(directory);
        }
    }
    names
}

/// The drop-ins that apply to a unit of these names, in order: by file name, whatever directory
/// they are in; of two with the same file name the one in the more specific directory, then the one
/// in the directory of higher priority.
pub fn drop_ins(
    names: &[UnitName],
    directories: &[PathBuf],
    list: impl FnMut(&Path) -> Vec<String>,
) -> Vec<PathBuf> {
    beside(names, directories, "d", list, is_drop_in)
}

/// The files in the directories beside a unit's own, as [`drop_ins`].
fn beside(
    names: &[UnitName],
    directories: &[PathBuf],
    ending: &str,
    mut list: impl FnMut(&Path) -> Vec<String>,
    counts: impl Fn(&str) -> bool,
) -> Vec<PathBuf> {
    let mut chosen: BTreeMap<String, PathBuf> = BTreeMap::new();
    // The most specific directory of each name comes first, that of the whole type last.
    let all: Vec<Vec<String>> = names
        .iter()
        .map(|name| directory_names(name, ending))
        .collect();
    let own = all.iter().flat_map(|names| names.iter().skip(1).rev());
    let of_type = all.first().and_then(|names| names.first());
    for directory_name in own.chain(of_type) {
        for directory in directories {
            let place = directory.join(directory_name);
            for file in list(&place) {
                if counts(&file) {
                    let path = place.join(&file);
                    chosen.entry(file).or_insert(path);
                }
            }
        }
    }
    chosen.into_values().collect()
}

/// Finds and reads a unit's files by any of its names. `list` gives the file names in a directory
/// (none when there is no such directory), `read` what is at a path.
pub fn find(
    name: &UnitName,
    names: &Names,
    mut list: impl FnMut(&Path) -> Vec<String>,
    mut read: impl FnMut(&Path) -> Content,
) -> Found {
    let name = names.resolve(name);
    let directories = names.paths();
    let mut sources = vec![];
    // Any directory's own file goes before every directory's template; an instance that is a link
    // to its template has none.
    let linked = usize::from(names.is_instance_link(&name));
    let candidates = fragment_names(&name).into_iter().skip(linked);
    let candidates = candidates.flat_map(|file| {
        directories
            .iter()
            .map(move |directory| directory.join(&file))
    });
    for path in candidates {
        match read(&path) {
            Content::Text(text) if text.is_empty() => return Found::Masked(path),
            Content::Text(text) => {
                sources.push(Source { path, text });
                break;
            }
            Content::Masked => return Found::Masked(path),
            Content::Unreadable => return Found::Unreadable(path),
            Content::Absent => {}
        }
    }
    if sources.is_empty() {
        return Found::Missing;
    }
    let all = names.of(&name);
    // Few of the directories that could be there are.
    let mut list = |directory: &Path| match names.is_beside(directory) {
        true => list(directory),
        false => vec![],
    };
    let drop_ins = drop_ins(&all, directories, &mut list);
    if let Some(path) = drop_ins.get(MAX_DROP_INS) {
        return Found::Unreadable(path.clone());
    }
    for path in drop_ins {
        match read(&path) {
            Content::Text(text) => sources.push(Source { path, text }),
            // A mask, or gone since it was listed: what it masked stays away.
            Content::Masked | Content::Absent => {}
            // It may hold the line that confines the unit.
            Content::Unreadable => return Found::Unreadable(path),
        }
    }
    let mut links = Links {
        namesake: namesake(&name, names),
        ..Links::default()
    };
    for (ending, units) in [
        ("wants", &mut links.wants),
        ("requires", &mut links.requires),
        ("upholds", &mut links.upholds),
    ] {
        match linked_units(&all, names, ending, &mut list, &mut read) {
            Ok(found) => *units = found,
            Err(path) => return Found::Unreadable(path),
        }
    }
    links.aliases = all;
    links.aliases.remove(0);
    Found::Files(Files {
        name,
        sources,
        links,
    })
}

/// The units that have an entry in a unit's `.wants` directories (or another ending).
fn linked_units(
    all: &[UnitName],
    names: &Names,
    ending: &str,
    list: impl FnMut(&Path) -> Vec<String>,
    mut read: impl FnMut(&Path) -> Content,
) -> Result<Vec<UnitName>, PathBuf> {
    let is_unit = |file: &str| file.parse::<UnitName>().is_ok();
    let entries = beside(all, names.paths(), ending, list, is_unit);
    if let Some(path) = entries.get(MAX_LINKS) {
        return Err(path.clone());
    }
    let mut units = vec![];
    for path in entries {
        let entry = path
            .file_name()
            .and_then(|file| file.to_str()?.parse().ok());
        let (Some(entry), Some(unit)) = (entry, all.first()) else {
            continue;
        };
        let masked = match read(&path) {
            Content::Masked => true,
            Content::Text(text) => text.is_empty(),
            // What it leads to is looked for by its name, and missed then.
            Content::Absent | Content::Unreadable => false,
        };
        if !masked && let Some(wanted) = for_instance(entry, unit) {
            let wanted = names.resolve(&wanted);
            if wanted != *unit && !units.contains(&wanted) {
                units.push(wanted);
            }
        }
    }
    Ok(units)
}

/// A template that is wanted means its instance of the same name as the wanting unit's.
fn for_instance(entry: UnitName, unit: &UnitName) -> Option<UnitName> {
    if !entry.is_template() {
        return Some(entry);
    }
    let instance = unit.instance().unwrap_or(unit.prefix());
    entry.with_instance(instance)
}

/// What a timer or path unit starts when nothing is written and there is no service of its name,
/// but an agent.
fn namesake(name: &UnitName, names: &Names) -> Option<UnitName> {
    if !matches!(name.kind(), UnitType::Timer | UnitType::Path) {
        return None;
    }
    let of_kind = |kind: UnitType| -> Option<UnitName> {
        let namesake = format!("{}.{}", name.stem(), kind.suffix()).parse().ok()?;
        names.has(&namesake).then_some(namesake)
    };
    match of_kind(UnitType::Service) {
        Some(_) => None,
        None => of_kind(UnitType::Agent),
    }
}

/// Whether a file in a drop-in directory is one.
fn is_drop_in(file: &str) -> bool {
    file.ends_with(".conf") && !file.starts_with('.') && !file.contains('/')
}

#[cfg(test)]
mod tests;
