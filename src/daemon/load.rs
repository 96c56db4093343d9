//! Unit files: from a name to a definition, with everything that is wrong on the way.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use crate::bus::ask::{Denial, UnitFacts};
use crate::daemon::Daemon;
use crate::diagnostic::{Diagnostic, Severity};
use crate::engine::event::Event;
use crate::engine::view::ActiveState;
use crate::name::UnitName;
use crate::place::Places;
use crate::sys::cgroup::Kind;
use crate::sys::unitfile::{self, list, read};
use crate::unit::names::Names;
use crate::unit::search::{self, Found};
use crate::unit::{self, SpecifierFacts, Unit};

/// The unit that serves the agents' MCP sockets.
pub(super) const HUB: &str = "aether-hub.service";

/// How far a unit's requirements are followed when it is loaded.
const MAX_CLOSURE: usize = 1_000;

/// systemd's word for a unit without a file.
const MISSING: &str = "not-found";

/// What is known of unit files.
#[derive(Debug)]
pub(super) struct Library {
    directories: Vec<PathBuf>,
    transient: PathBuf,
    facts: SpecifierFacts,
    /// Which names there are, as of the last look at the directories.
    names: Names,
    /// What the last reading of each unit found.
    read: HashMap<UnitName, Reading>,
}

#[derive(Debug, Clone, Default)]
struct Reading {
    diagnostics: Vec<Diagnostic>,
    state: &'static str,
}

impl Library {
    pub(super) fn new(places: &Places) -> Self {
        let directories = unitfile::directories(places);
        Self {
            names: unitfile::unit_names(&directories),
            directories,
            transient: places.transient(),
            facts: unitfile::specifiers(places),
            read: HashMap::new(),
        }
    }

    /// Looks which names there are; once for everything that is loaded for one question.
    pub(super) fn refresh(&mut self) {
        self.names = unitfile::unit_names(&self.directories);
    }

    pub(super) fn machine_id(&self) -> &str {
        &self.facts.machine_id
    }

    pub(super) fn path(&self) -> Vec<PathBuf> {
        self.directories.clone()
    }

    /// Every unit that has a file, templates included.
    pub(super) fn names(&self) -> Vec<UnitName> {
        let all = self.names.all();
        all.filter(|name| !self.names.is_alias(name))
            .cloned()
            .collect()
    }

    pub(super) fn has_file(&self, name: &UnitName) -> bool {
        self.names.has(name)
    }

    pub(super) fn is_transient(&self, name: &UnitName) -> bool {
        self.transient.join(name.as_str()).exists()
    }

    /// systemd's word.
    pub(super) fn load_state(&self, name: &UnitName, defined: bool) -> &'static str {
        match self.read.get(name) {
            Some(reading) if !reading.state.is_empty() => reading.state,
            _ if defined => "loaded",
            _ => MISSING,
        }
    }

    pub(super) fn diagnostics(&self, name: &UnitName) -> Vec<Diagnostic> {
        self.read
            .get(name)
            .map(|reading| reading.diagnostics.clone())
            .unwrap_or_default()
    }

    pub(super) fn forget(&mut self, name: &UnitName) {
        self.read.remove(name);
    }

    /// Reads a unit's files and keeps what was found on the way. Of a unit without any there is
    /// nothing to keep: anybody may name units that do not exist.
    fn load(&mut self, name: &UnitName) -> Result<Unit, Denial> {
        let (reading, result) = self.look(name);
        if reading.state == MISSING {
            self.read.remove(name);
        } else {
            self.read.insert(name.clone(), reading);
        }
        result
    }

    /// Reads a unit's files.
    fn look(&self, name: &UnitName) -> (Reading, Result<Unit, Denial>) {
        let mut reading = Reading::default();
        let result = match search::find(name, &self.names, list, read) {
            Found::Files(files) => {
                let loaded = files.load(&self.names, &self.facts);
                reading.diagnostics = loaded.diagnostics;
                match loaded.unit {
                    Some(mut unit) => {
                        unit.transient = self.is_transient(name);
                        reading.state = "loaded";
                        Ok(unit)
                    }
                    None => {
                        reading.state = "bad-setting";
                        let mut diagnostics = reading.diagnostics.clone();
                        diagnostics.retain(|found| found.severity == Severity::Error);
                        Err(Denial::LoadFailed {
                            name: name.clone(),
                            diagnostics,
                        })
                    }
                }
            }
            Found::Masked(path) => {
                reading.state = "masked";
                Err(Denial::Failed(format!(
                    "{name} is masked by {}; remove that file to unmask it",
                    path.display()
                )))
            }
            Found::Missing => {
                reading.state = MISSING;
                Err(Denial::NoUnitFile {
                    name: name.clone(),
                    searched: self.directories.clone(),
                })
            }
            Found::Unreadable(path) => {
                reading.state = "error";
                Err(Denial::Failed(format!(
                    "failed to read {}: {}",
                    path.display(),
                    unitfile::why_unreadable(&path)
                )))
            }
        };
        (reading, result)
    }
}

/// Writes the text of a transient unit.
pub(super) fn transient_text(
    name: &UnitName,
    properties: &[(String, Vec<String>)],
) -> Result<String, Denial> {
    let (text, diagnostics) = unit::transient::write(name.kind(), properties);
    // Whatever cannot be written as it was meant must not be started as something else.
    if diagnostics.is_empty() {
        Ok(text)
    } else {
        Err(Denial::LoadFailed {
            name: name.clone(),
            diagnostics,
        })
    }
}

impl Daemon {
    /// Reads the unit and everything it needs, and tells the engine. A unit that runs keeps the
    /// definition it was started with until `daemon-reload`.
    pub(super) fn load(&mut self, name: &UnitName) -> Result<(), Denial> {
        self.load_with_needs(name, false)
    }

    /// As [`Self::load`]; and the unit itself, if it runs, is to be what its files say now.
    pub(super) fn load_anew(&mut self, name: &UnitName) -> Result<(), Denial> {
        self.load_with_needs(name, true)
    }

    fn load_with_needs(&mut self, name: &UnitName, anew: bool) -> Result<(), Denial> {
        no_template(name)?;
        self.library.refresh();
        let mut todo = vec![name.clone()];
        let mut seen = BTreeSet::new();
        while let Some(next) = todo.pop() {
            if seen.len() >= MAX_CLOSURE || !seen.insert(next.clone()) {
                continue;
            }
            if self.is_busy(&next) && !(anew && next == *name) {
                continue;
            }
            match self.define(&next) {
                Ok(unit) => {
                    let relations = &unit.relations;
                    todo.extend(relations.requires.iter().cloned());
                    todo.extend(relations.wants.iter().cloned());
                    todo.extend(relations.conflicts.iter().cloned());
                }
                Err(denial) if next == *name => return Err(denial),
                // The engine says what a missing requirement means.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// What is known of a unit; of one that the engine does not know, what its files say.
    ///
    /// Looking leaves nothing behind: a template has as many instances as one can think of names,
    /// and whoever may only look must not fill the memory with them.
    pub(super) fn look(&mut self, name: &UnitName) -> Result<UnitFacts, Denial> {
        if self.engine.definition(name).is_some() {
            self.load(name)?;
            self.settle();
            return Ok(self.unit_facts(name));
        }
        no_template(name)?;
        self.library.refresh();
        let (reading, result) = self.library.look(name);
        let mut unit = result?;
        self.imply(&mut unit);
        Ok(UnitFacts {
            load_state: reading.state,
            diagnostics: reading.diagnostics,
            unit: Some(Arc::new(unit)),
            ..self.unit_facts(name)
        })
    }

    fn is_busy(&self, name: &UnitName) -> bool {
        self.engine.view(name).is_some_and(|view| {
            view.job.is_some()
                || !matches!(view.active, ActiveState::Inactive | ActiveState::Failed)
        })
    }

    /// Reads one unit's files and tells the engine what they say, when that is new.
    pub(super) fn define(&mut self, name: &UnitName) -> Result<Arc<Unit>, Denial> {
        let mut unit = self.library.load(name)?;
        self.imply(&mut unit);
        if let Some(known) = self.engine.definition(name)
            && **known == unit
        {
            return Ok(Arc::clone(known));
        }
        let new = self.engine.definition(name).is_none();
        self.save_definition(&unit);
        self.limit_anew(&unit);
        self.feed(Event::Defined(Box::new(unit.clone())));
        if new {
            self.announce(name);
        }
        Ok(Arc::new(unit))
    }

    /// Limits hold for what runs already as soon as its new definition does (systemctl(1),
    /// daemon-reload); all else waits for the next start.
    fn limit_anew(&mut self, unit: &Unit) {
        if let Some(service) = &unit.service
            && let Some(held) = self.held.get_mut(&unit.name)
            && let Some(group) = &held.group
        {
            for sentence in group.set(&service.resources) {
                if !held.missing.contains(&sentence) {
                    held.missing.push(sentence);
                }
            }
        }
    }

    /// What every unit with an MCP server has beside what its file says: the hub is wanted, and
    /// comes first, so that the agent's first request finds its tools. Without cgroups there are no
    /// such servers.
    fn imply(&self, unit: &mut Unit) {
        let Ok(hub) = HUB.parse::<UnitName>() else {
            return;
        };
        if self.tree.kind() == Kind::None || unit.mcp.tools.is_empty() || unit.name == hub {
            return;
        }
        for list in [&mut unit.relations.wants, &mut unit.relations.after] {
            if !list.contains(&hub) {
                list.push(hub.clone());
            }
        }
    }
}

fn no_template(name: &UnitName) -> Result<(), Denial> {
    if !name.is_template() {
        return Ok(());
    }
    Err(Denial::Failed(format!(
        "{name} is a template; name an instance, such as {}@x.{}",
        name.prefix(),
        name.kind().suffix()
    )))
}
