//! `enable`, `disable`, `mask` and the like: links in the unit directories.
//!
//! A call is planned whole before anything is touched, and taken back when one of its steps fails.
//! The command does the same by itself where no daemon runs. What the links mean is decided in
//! [`crate::unit::install`].

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use crate::bus::ask::{ChangeFiles, ChangedFiles, Denial, FileChange, FileVerb, Signal, Told};
use crate::daemon::Daemon;
use crate::name::UnitName;
use crate::place::Places;
use crate::sys::unitfile::{self, list, read};
use crate::unit::install::{self, Role, Tree};
use crate::unit::names::Names;
use crate::unit::preset::Presets;
use crate::unit::search::{self, Content, Files, Found};
use crate::unit::{Install, Links, Source, SpecifierFacts};

use self::steps::{Step, Steps};

mod preset;
mod revert;
mod state;
mod steps;

/// The unit directories as they are now, and what can be done to them.
#[derive(Debug)]
pub(crate) struct Installer {
    directories: Vec<PathBuf>,
    names: Names,
    facts: SpecifierFacts,
    trees: Vec<Tree>,
    presets: Presets,
}

/// What is known of a unit that is to be enabled or disabled.
enum Known {
    /// Its file, where links to it lead, and its `[Install]`.
    File(PathBuf, Install),
    Masked(PathBuf),
    Missing,
}

impl Installer {
    /// Looks at the directories of these places.
    pub(crate) fn new(places: &Places) -> Self {
        let names = unitfile::unit_names(&unitfile::directories(places));
        Self::knowing(places, names, unitfile::specifiers(places))
    }

    /// The same for who knows the names there already, and what specifiers stand for.
    pub(super) fn knowing(places: &Places, names: Names, facts: SpecifierFacts) -> Self {
        Self {
            directories: names.paths().to_vec(),
            names,
            facts,
            trees: unitfile::trees(places),
            presets: preset::read_all(places),
        }
    }

    /// Does what is asked, or nothing.
    pub(crate) fn change(&self, ask: &ChangeFiles) -> Result<ChangedFiles, Denial> {
        let role = if ask.runtime {
            Role::Runtime
        } else {
            Role::Local
        };
        let tree = self.tree(role)?;
        let mut steps = Steps::default();
        let files = &ask.files[..];
        match ask.verb {
            FileVerb::Enable => self.enable(files, tree, ask.force, &mut steps)?,
            FileVerb::Disable => self.disable(files, tree, &mut steps)?,
            FileVerb::Reenable => {
                let names: Vec<String> = files.iter().map(|file| base(file)).collect();
                // What is not enabled yet is merely enabled.
                for name in &names {
                    self.mark_and_remove(&[unit_name(name)?], tree, &mut steps)?;
                }
                self.enable(files, tree, ask.force, &mut steps)?;
            }
            FileVerb::Preset(mode) => {
                let names: Result<Vec<_>, _> = files.iter().map(|file| unit_name(file)).collect();
                self.preset(&names?, mode, tree, ask.force, true, &mut steps)?;
            }
            FileVerb::PresetAll(mode) => {
                let all: Vec<UnitName> = self.names.all().cloned().collect();
                self.preset(&all, mode, tree, ask.force, false, &mut steps)?;
            }
            FileVerb::Mask => {
                for file in files {
                    let name = unit_name(file)?;
                    self.must_be_below(&name, tree)?;
                    let path = PathBuf::from(name.as_str());
                    steps.link(&tree.path, path, "/dev/null".into(), ask.force);
                }
            }
            FileVerb::Unmask => {
                for file in files {
                    let path = PathBuf::from(unit_name(file)?.as_str());
                    let mask = tree.links.iter().find(|(link, _)| *link == path);
                    if mask.is_some_and(|(_, target)| target == Path::new("/dev/null")) {
                        steps.push(Step::Unlink(tree.path.clone(), path));
                    }
                }
            }
            FileVerb::Link => {
                for file in files {
                    if !file.contains('/') {
                        return Err(Denial::Failed(format!("{file} is no path of a file")));
                    }
                    self.link(file, tree, ask.force, &mut steps)?;
                }
            }
            FileVerb::Revert => {
                for file in files {
                    self.revert(&unit_name(file)?, &mut steps)?;
                }
            }
        }
        steps.carry_out()
    }

    fn tree(&self, role: Role) -> Result<&Tree, Denial> {
        let found = self.trees.iter().find(|tree| tree.role == role);
        found.ok_or_else(|| {
            Denial::Failed(
                "there is no unit directory to make links in; see AETHER_UNIT_PATH".into(),
            )
        })
    }

    fn is_in(&self, path: &Path, role: Role) -> bool {
        let of_role = self.trees.iter().find(|tree| tree.role == role);
        of_role.is_some_and(|tree| path.starts_with(&tree.path))
    }

    /// Refuses a mask that would mask nothing, because the unit's file goes before it.
    fn must_be_below(&self, name: &UnitName, tree: &Tree) -> Result<(), Denial> {
        for directory in &self.directories {
            if *directory == tree.path {
                break;
            }
            let path = directory.join(name.as_str());
            if path.symlink_metadata().is_ok() {
                return Err(Denial::Failed(format!(
                    "{} goes before what is in {}, so {name} cannot be masked there; move the file away",
                    path.display(),
                    tree.path.display()
                )));
            }
        }
        Ok(())
    }

    fn missing(&self, name: &UnitName) -> Denial {
        Denial::NoUnitFile {
            name: name.clone(),
            searched: self.directories.clone(),
        }
    }

    /// Where a unit's file is and what its `[Install]` says.
    fn installed(&self, files: &Files) -> (PathBuf, Install) {
        let loaded = files.load(&self.names, &self.facts);
        let fragment = files.sources.first().map(|source| source.path.clone());
        let fragment = fragment.unwrap_or_default();
        // Of a link that only makes a file known, the file is meant.
        let linked = self.trees.iter().find_map(|tree| {
            let path = fragment.strip_prefix(&tree.path).ok()?;
            let (_, target) = tree.links.iter().find(|(link, _)| link == path)?;
            Some(target.clone())
        });
        (linked.unwrap_or(fragment), loaded.install)
    }

    fn known(&self, unit: &UnitName) -> Result<Known, Denial> {
        match search::find(unit, &self.names, list, read) {
            Found::Files(files) => {
                let (fragment, install) = self.installed(&files);
                Ok(Known::File(fragment, install))
            }
            Found::Masked(path) => Ok(Known::Masked(path)),
            Found::Missing => Ok(Known::Missing),
            Found::Unreadable(path) => Err(unreadable(&path)),
        }
    }

    fn enable(
        &self,
        files: &[String],
        tree: &Tree,
        force: bool,
        steps: &mut Steps,
    ) -> Result<(), Denial> {
        let mut todo = VecDeque::new();
        let mut seen = BTreeSet::new();
        for file in files {
            if let Some((name, install)) = self.link(file, tree, force, steps)? {
                let also = install.also.clone();
                wish(steps, tree, &name, Path::new(file), &install, force)?;
                seen.insert(name);
                todo.extend(also.into_iter().map(|name| (name, false)));
                continue;
            }
            let name = unit_name(&base(file))?;
            let unit = self.names.resolve(&name);
            let own = [Role::Local, Role::Runtime].iter().any(|role| {
                let tree = self.tree(*role).ok();
                let path = Path::new(name.as_str());
                tree.is_some_and(|tree| tree.links.iter().any(|(link, _)| link == path))
            });
            if unit != name && own && name.instance().is_none_or(str::is_empty) {
                return Err(Denial::Failed(format!(
                    "{name} is another name of {unit}; enable that one: aetherctl enable {unit}"
                )));
            }
            todo.push_back((unit, true));
        }
        while let Some((unit, asked)) = todo.pop_front() {
            if !seen.insert(unit.clone()) {
                continue;
            }
            match self.known(&unit)? {
                Known::File(fragment, install) => {
                    wish(steps, tree, &unit, &fragment, &install, force)?;
                    let also = install.also.iter().map(|name| self.names.resolve(name));
                    todo.extend(also.map(|name| (name, false)));
                    self.note_missing(steps, &install);
                }
                Known::Masked(path) if asked => {
                    return Err(Denial::Failed(format!(
                        "{unit} is masked by {}; unmask it first: aetherctl unmask {unit}",
                        path.display()
                    )));
                }
                Known::Masked(path) => steps.note("masked", path, unit.as_str()),
                Known::Missing if asked => return Err(self.missing(&unit)),
                Known::Missing => steps.note("auxiliary failed", PathBuf::new(), unit.as_str()),
            }
        }
        Ok(())
    }

    /// Units that would pull this one in, and are not there.
    fn note_missing(&self, steps: &mut Steps, install: &Install) {
        let lists = [&install.wanted_by, &install.required_by, &install.upheld_by];
        for by in lists.into_iter().flatten() {
            if !self.names.has(by) {
                steps.note("destination not present", PathBuf::new(), by.as_str());
            }
        }
    }

    fn disable(&self, files: &[String], tree: &Tree, steps: &mut Steps) -> Result<(), Denial> {
        let names: Result<Vec<_>, _> = files.iter().map(|file| unit_name(&base(file))).collect();
        let names = names?;
        self.mark_and_remove(&names, tree, steps)?;
        if steps.is_empty()
            && let Some(name) = names.iter().find(|name| !self.names.has(name))
        {
            return Err(self.missing(name));
        }
        Ok(())
    }

    /// Removes every link to these units and those of their `Also=`.
    fn mark_and_remove(
        &self,
        names: &[UnitName],
        tree: &Tree,
        steps: &mut Steps,
    ) -> Result<(), Denial> {
        let mut todo: VecDeque<UnitName> =
            names.iter().map(|name| self.names.resolve(name)).collect();
        let mut marked = BTreeSet::new();
        let mut seen = BTreeSet::new();
        while let Some(unit) = todo.pop_front() {
            if !seen.insert(unit.clone()) {
                continue;
            }
            match self.known(&unit)? {
                Known::File(_, install) => {
                    steps.carries |= carries(&install);
                    todo.extend(install.also.iter().map(|name| self.names.resolve(name)));
                    marked.insert(unit);
                }
                Known::Masked(path) => steps.note("masked", path, unit.as_str()),
                Known::Missing => {
                    marked.insert(unit);
                }
            }
        }
        for path in install::removals(&marked, tree) {
            steps.push(Step::Unlink(tree.path.clone(), path));
        }
        Ok(())
    }

    /// Makes a file outside of the unit directories known; what it is called and how it is
    /// installed. `None` for what is not a path, or is in one of them.
    fn link(
        &self,
        file: &str,
        tree: &Tree,
        force: bool,
        steps: &mut Steps,
    ) -> Result<Option<(UnitName, Install)>, Denial> {
        let path = Path::new(file);
        if !file.contains('/') {
            return Ok(None);
        }
        if !path.is_absolute() {
            return Err(Denial::Failed(format!("{file} is no absolute path")));
        }
        let name = unit_name(&base(file))?;
        let parent = path.parent().unwrap_or(path);
        if self.directories.iter().any(|directory| directory == parent) {
            return Ok(None);
        }
        let text = match read(path) {
            Content::Text(text) => text,
            Content::Masked => String::new(),
            Content::Absent => {
                return Err(Denial::Failed(format!("there is no file {file}")));
            }
            Content::Unreadable => return Err(unreadable(path)),
        };
        steps.link(&tree.path, name.as_str().into(), path.to_owned(), force);
        let files = Files {
            name: name.clone(),
            sources: vec![Source {
                path: path.to_owned(),
                text,
            }],
            links: Links::default(),
        };
        Ok(Some((name, files.load(&self.names, &self.facts).install)))
    }
}

fn carries(install: &Install) -> bool {
    install::has_rules(install) || !install.also.is_empty()
}

/// Plans the links of one unit.
fn wish(
    steps: &mut Steps,
    tree: &Tree,
    unit: &UnitName,
    fragment: &Path,
    install: &Install,
    force: bool,
) -> Result<(), Denial> {
    let wishes =
        install::wishes(unit, install).map_err(|error| Denial::Failed(error.to_string()))?;
    steps.carries |= carries(install);
    for wish in wishes {
        // Whatever a link of that name in such a directory said, it meant this unit.
        let force = force || !wish.alias;
        steps.link(&tree.path, wish.path, fragment.to_owned(), force);
    }
    Ok(())
}

fn unreadable(path: &Path) -> Denial {
    Denial::Failed(format!(
        "failed to read {}: {}",
        path.display(),
        unitfile::why_unreadable(path)
    ))
}

/// The last part of a path, which names the unit.
fn base(file: &str) -> String {
    file.rsplit('/').next().unwrap_or(file).to_owned()
}

fn unit_name(text: &str) -> Result<UnitName, Denial> {
    text.parse()
        .map_err(|error: crate::name::NameError| Denial::Failed(error.to_string()))
}

impl Daemon {
    /// The unit directories as they are now.
    pub(super) fn installer(&self) -> Installer {
        let (names, facts) = self.library.known();
        Installer::knowing(&self.places, names.clone(), facts.clone())
    }

    /// Makes and removes links, and has the units they are about read again.
    pub(super) fn change_files(&mut self, ask: &ChangeFiles) -> Result<Told, Denial> {
        let changed = self.installer().change(ask)?;
        let made = changed
            .changes
            .iter()
            .filter(|change| matches!(change.kind, "symlink" | "unlink"));
        let mut affected = BTreeSet::new();
        for FileChange { path, .. } in made {
            let directory = path.parent().and_then(Path::file_stem);
            let names = [path.file_name(), directory];
            let names = names.into_iter().flatten();
            affected.extend(names.filter_map(|name| name.to_str()?.parse::<UnitName>().ok()));
        }
        if !affected.is_empty() {
            self.library.refresh_all();
            self.library.file_states.clear();
            for name in affected {
                let unit = self.library.resolve(&name);
                for name in [name, unit] {
                    if self.engine.definition(&name).is_some() {
                        self.read_again(&name);
                    }
                }
            }
            self.publish(Signal::UnitFilesChanged);
            self.settle();
        }
        Ok(Told::UnitFiles(changed))
    }
}
