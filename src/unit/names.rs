//! Which names units have: aliases are links between unit files (systemd.unit(5)).
//!
//! Pure: what is in the directories is read by [`crate::sys::unitfile`]. A link `b.service` →
//! `a.service` within the unit directories makes `b.service` another name of `a.service`; a link
//! that leaves them is a file like any other. Read next: [`super::search`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::name::{UnitName, UnitType};

/// How far aliases of aliases are followed, as in systemd.
const MAX_STEPS: usize = 8;

/// One entry of a unit directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file, or a link to /dev/null.
    File,
    /// A link: where it leads in the end.
    Link(PathBuf),
}

/// A unit directory with the entries that have a unit's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// As it is configured.
    pub path: PathBuf,
    /// The same without links on the way.
    pub real: PathBuf,
    /// Its entries.
    pub entries: Vec<(UnitName, Entry)>,
    /// What may be directories of drop-ins and links in it: `web.service.d`, `web.service.wants`.
    pub beside: Vec<String>,
}

/// Endings of [`Directory::beside`].
pub const BESIDE: [&str; 4] = ["d", "wants", "requires", "upholds"];

/// Every name that has a file or link in the unit directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    paths: Vec<PathBuf>,
    /// Directories of drop-ins and links.
    beside: BTreeSet<PathBuf>,
    /// A name with a file of its own has no target.
    known: BTreeMap<UnitName, Option<UnitName>>,
}

impl Names {
    /// The names in these directories, highest priority first: what is in one hides what has the
    /// same name in a later one.
    #[must_use]
    pub fn new(directories: &[Directory]) -> Self {
        let mut known = BTreeMap::new();
        for (name, entry) in directories.iter().flat_map(|directory| &directory.entries) {
            let target = match entry {
                Entry::File => None,
                Entry::Link(to) => match alias_target(directories, to) {
                    // It only says where the file of that name is.
                    Some(target) if target == *name => continue,
                    Some(target) if may_alias(name, &target) => Some(target),
                    Some(_) => continue,
                    None => None,
                },
            };
            known.entry(name.clone()).or_insert(target);
        }
        let paths = directories
            .iter()
            .map(|directory| directory.path.clone())
            .collect();
        let beside = directories
            .iter()
            .flat_map(|directory| {
                directory
                    .beside
                    .iter()
                    .map(|name| directory.path.join(name))
            })
            .collect();
        Self {
            paths,
            beside,
            known,
        }
    }

    /// Whether there may be such a directory of drop-ins or links.
    #[must_use]
    pub fn is_beside(&self, directory: &Path) -> bool {
        self.beside.contains(directory)
    }

    /// The directories, highest priority first.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Every name, aliases and templates included, in order.
    pub fn all(&self) -> impl Iterator<Item = &UnitName> {
        self.known.keys()
    }

    /// The unit that a name means: the name itself unless it is an alias.
    #[must_use]
    pub fn resolve(&self, name: &UnitName) -> UnitName {
        let mut now = name.clone();
        for _ in 0..MAX_STEPS {
            match self.step(&now) {
                Some(next) if next != now => now = next,
                _ => return now,
            }
        }
        // Links in a circle mean nothing.
        name.clone()
    }

    fn step(&self, name: &UnitName) -> Option<UnitName> {
        let target = match self.known.get(name) {
            Some(target) => target.clone()?,
            None => {
                let template: UnitName = name.template()?.parse().ok()?;
                self.known.get(&template)?.clone()?
            }
        };
        match name.instance() {
            Some(instance) if target.is_template() => target.with_instance(instance),
            _ => Some(target),
        }
    }

    /// All names of a unit, its own first.
    #[must_use]
    pub fn of(&self, unit: &UnitName) -> Vec<UnitName> {
        let instance = unit.instance().filter(|instance| !instance.is_empty());
        let mut names = vec![unit.clone()];
        let links = self.known.iter().filter(|(_, target)| target.is_some());
        for (alias, _) in links {
            let name = match instance {
                Some(instance) if alias.is_template() => alias.with_instance(instance),
                _ => Some(alias.clone()),
            };
            if let Some(name) = name
                && !names.contains(&name)
                && self.resolve(&name) == *unit
            {
                names.push(name);
            }
        }
        names
    }

    /// Whether there is a file for the unit that this name means, its template's included.
    #[must_use]
    pub fn has(&self, name: &UnitName) -> bool {
        let unit = self.resolve(name);
        let template = unit.template().and_then(|name| name.parse().ok());
        [Some(unit), template]
            .into_iter()
            .flatten()
            .any(|name| self.known.contains_key(&name))
    }

    /// Whether there is a file or link of this very name.
    #[must_use]
    pub fn contains(&self, name: &UnitName) -> bool {
        self.known.contains_key(name)
    }

    /// Whether the name is another name of some unit.
    #[must_use]
    pub fn is_alias(&self, name: &UnitName) -> bool {
        self.resolve(name) != *name
    }

    /// Whether a link says that the instance is one of its own template.
    #[must_use]
    pub fn is_instance_link(&self, name: &UnitName) -> bool {
        matches!(self.known.get(name), Some(Some(target))
            if name.template().as_deref() == Some(target.as_str()))
    }
}

/// The name that a link leads to, when it stays within the directories.
fn alias_target(directories: &[Directory], to: &Path) -> Option<UnitName> {
    let parent = to.parent()?;
    directories
        .iter()
        .find(|directory| directory.real == parent || directory.path == parent)?;
    to.file_name()?.to_str()?.parse().ok()
}

/// Whether a unit may have this other name: of the same type, a plain name for a plain unit, a
/// template for a template, and an instance for the same instance or for a template.
#[must_use]
pub fn may_alias(alias: &UnitName, unit: &UnitName) -> bool {
    if alias.kind() != unit.kind() || alias.kind() == UnitType::Slice {
        return false;
    }
    match (alias.instance(), unit.instance()) {
        (None, None) => true,
        (Some(of_alias), Some(of_unit)) => of_alias == of_unit || of_unit.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UnitName {
        text.parse().unwrap()
    }

    /// `path` or `path -> target`; a target without a slash is in `/usr/u`.
    fn names(files: &[&str]) -> Names {
        let directories = ["/etc/u", "/usr/u"].map(|path| Directory {
            path: path.into(),
            real: path.into(),
            beside: vec![],
            entries: files
                .iter()
                .filter_map(|line| {
                    let (file, target) = line.split_once(" -> ").unwrap_or((line, ""));
                    let file = file.strip_prefix(path)?.strip_prefix('/')?;
                    let entry = match target {
                        "" => Entry::File,
                        to => Entry::Link(Path::new("/usr/u").join(to)),
                    };
                    Some((name(file), entry))
                })
                .collect(),
        });
        Names::new(&directories)
    }

    #[test]
    fn a_link_between_unit_files_is_another_name() {
        let names = names(&[
            "/usr/u/a.service",
            "/etc/u/b.service -> a.service",
            "/usr/u/c.service -> b.service",
        ]);
        for alias in ["a.service", "b.service", "c.service"] {
            assert_eq!(names.resolve(&name(alias)), name("a.service"));
            assert!(names.has(&name(alias)));
        }
        let all = ["a.service", "b.service", "c.service"].map(name);
        assert_eq!(names.of(&name("a.service")), all);
        assert!(names.is_alias(&name("b.service")) && !names.is_alias(&name("a.service")));
        assert_eq!(names.resolve(&name("x.service")), name("x.service"));
        assert!(!names.has(&name("x.service")));
    }

    #[test]
    fn templates_have_aliases_for_every_instance() {
        let names = names(&[
            "/usr/u/y@.service",
            "/etc/u/x@.service -> y@.service",
            "/etc/u/z@one.service -> y@.service",
            "/etc/u/y@two.service -> y@.service",
            "/etc/u/x@own.service",
        ]);
        assert_eq!(names.resolve(&name("x@one.service")), name("y@one.service"));
        assert_eq!(names.resolve(&name("z@one.service")), name("y@one.service"));
        assert_eq!(names.resolve(&name("x@own.service")), name("x@own.service"));
        assert!(names.is_instance_link(&name("y@two.service")));
        assert_eq!(names.resolve(&name("y@two.service")), name("y@two.service"));
        let all = ["y@one.service", "x@one.service", "z@one.service"].map(name);
        assert_eq!(names.of(&name("y@one.service")), all);
    }

    #[test]
    fn a_file_of_higher_priority_hides_a_link_and_the_other_way_round() {
        let hidden = names(&[
            "/etc/u/b.service",
            "/usr/u/b.service -> a.service",
            "/usr/u/a.service",
        ]);
        assert_eq!(hidden.resolve(&name("b.service")), name("b.service"));
        let hiding = names(&[
            "/etc/u/b.service -> a.service",
            "/usr/u/b.service",
            "/usr/u/a.service",
        ]);
        assert_eq!(hiding.resolve(&name("b.service")), name("a.service"));
    }

    #[test]
    fn what_is_no_alias_is_a_file_or_nothing() {
        let names = names(&[
            "/etc/u/out.service -> /srv/x.service",
            "/etc/u/same.service -> same.service",
            "/usr/u/same.service",
            "/etc/u/kind.service -> a.target",
            "/etc/u/plain.service -> t@.service",
            "/etc/u/t@one.service -> t@two.service",
            "/etc/u/s.slice -> a.slice",
            "/etc/u/loop.service -> pool.service",
            "/etc/u/pool.service -> loop.service",
        ]);
        for own in ["out.service", "same.service", "loop.service"] {
            assert_eq!(names.resolve(&name(own)), name(own));
        }
        for nothing in ["kind.service", "plain.service", "t@one.service", "s.slice"] {
            assert!(!names.has(&name(nothing)), "{nothing}");
        }
    }
}
