//! Unit files: from a name to a definition, with everything that is wrong on the way.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use crate::bus::ask::{Denial, Reloaded, UnitFacts};
use crate::daemon::{Daemon, action};
use crate::diagnostic::{Diagnostic, Severity};
use crate::engine::event::Event;
use crate::engine::view::ActiveState;
use crate::name::{UnitName, UnitType};
use crate::place::Places;
use crate::sys::cgroup::Kind;
use crate::sys::unitfile::{self, Stamps, list, read};
use crate::unit::install::FileState;
use crate::unit::names::Names;
use crate::unit::search::{self, Found};
use crate::unit::{self, SpecifierFacts, Unit};

/// The unit that serves the agents' MCP sockets.
pub(super) const HUB: &str = "aether-hub.service";

/// How far a unit's requirements are followed when it is loaded.
const MAX_CLOSURE: usize = 20_000;

/// systemd's word for a unit without a file.
const MISSING: &str = "not-found";
/// Its word for a unit that must not be started.
const MASKED: &str = "masked";

/// What is known of unit files.
#[derive(Debug)]
pub(super) struct Library {
    directories: Vec<PathBuf>,
    transient: PathBuf,
    runtime: PathBuf,
    facts: SpecifierFacts,
    /// Whether there is a keeper.
    kept: bool,
    /// Which names there are, as of the last look at the directories.
    names: Names,
    /// The directories at that look.
    stamps: Stamps,
    /// Which units had a file at the last reload.
    reloaded: BTreeSet<UnitName>,
    /// Whether known units are enabled, as of the last reload or change of links.
    pub(super) file_states: HashMap<UnitName, Option<EnabledAs>>,
    /// What the last reading of each unit found.
    read: HashMap<UnitName, Reading>,
}

/// Whether a unit is enabled, and what the presets say.
pub(super) type EnabledAs = (FileState, &'static str);

#[derive(Debug, Clone, Default)]
struct Reading {
    diagnostics: Vec<Diagnostic>,
    state: &'static str,
}

impl Library {
    pub(super) fn new(places: &Places, kept: bool) -> Self {
        let directories = unitfile::directories(places);
        let mut library = Self {
            stamps: Stamps::default(),
            names: unitfile::unit_names(&directories),
            reloaded: BTreeSet::new(),
            file_states: HashMap::new(),
            kept,
            directories,
            transient: places.transient(),
            runtime: places.runtime_units(),
            facts: unitfile::specifiers(places),
            read: HashMap::new(),
        };
        library.reloaded = library.names().into_iter().collect();
        library
    }

    /// Looks which names there are, where directories have changed; once for everything that is
    /// loaded for one question.
    pub(super) fn refresh(&mut self) {
        if !self.stamps.same(&Stamps::of(&self.directories)) {
            self.refresh_all();
        }
    }

    /// Looks which names there are, and where links lead.
    pub(super) fn refresh_all(&mut self) {
        self.stamps = Stamps::of(&self.directories);
        let names = unitfile::unit_names(&self.directories);
        if names != self.names {
            self.names = names;
            self.file_states.clear();
        }
    }

    /// Which names there are, and what specifiers stand for.
    pub(super) const fn known(&self) -> (&Names, &SpecifierFacts) {
        (&self.names, &self.facts)
    }

    /// The unit that a name means, by the last look at the directories.
    pub(super) fn resolve(&self, name: &UnitName) -> UnitName {
        self.names.resolve(name)
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

    /// Whether there is a file for the unit that this name means.
    pub(super) fn has_file(&self, name: &UnitName) -> bool {
        self.names.has(name)
    }

    /// Whether a file or link has this very name.
    pub(super) fn has_name(&self, name: &UnitName) -> bool {
        self.names.contains(name)
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

    /// The files of a unit that runs are gone.
    fn lose(&mut self, name: &UnitName) {
        let reading = Reading {
            state: MISSING,
            ..Reading::default()
        };
        self.read.insert(name.clone(), reading);
    }

    /// The file of a transient unit was removed; that is no news for whoever reloads.
    pub(super) fn drop_name(&mut self, name: &UnitName) {
        self.reloaded.remove(name);
        self.names = unitfile::unit_names(&self.directories);
    }

    pub(super) fn forget(&mut self, name: &UnitName) {
        self.file_states.remove(name);
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
                        reading
                            .diagnostics
                            .extend(action::refused(&unit, self.kept));
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
                reading.state = MASKED;
                Err(Denial::Failed(format!(
                    "{name} is masked by {}; unmask it with: aetherctl unmask{} {name}",
                    path.display(),
                    if path.starts_with(&self.runtime) {
                        " --runtime"
                    } else {
                        ""
                    }
                )))
            }
            // A slice is its name; a file only adds to it.
            Found::Missing if name.kind() == UnitType::Slice => {
                reading.state = "loaded";
                Ok(Unit::unwritten(name.clone()))
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

    /// A mask on what cannot be done without forbids a start, though it may still run.
    pub(super) fn refuse_masked(&mut self, name: &UnitName) -> Result<(), Denial> {
        // What was read just now is to be known.
        self.settle();
        let mut todo = vec![name.clone()];
        let mut seen = BTreeSet::new();
        while let Some(next) = todo.pop() {
            if !seen.insert(next.clone()) {
                continue;
            }
            // What does not run was read just now.
            if next != *name && self.is_busy(&next) && self.library.look(&next).0.state == MASKED {
                return Err(Denial::Failed(format!(
                    "{next}, which {name} needs, is masked; unmask it with: aetherctl unmask {next}"
                )));
            }
            if let Some(unit) = self.engine.definition(&next) {
                todo.extend(unit.relations.requires.iter().cloned());
                todo.extend(unit.relations.binds_to.iter().cloned());
            }
        }
        Ok(())
    }

    fn load_with_needs(&mut self, name: &UnitName, anew: bool) -> Result<(), Denial> {
        no_template(name)?;
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
                    for list in [
                        &relations.requires,
                        &relations.requisite,
                        &relations.wants,
                        &relations.binds_to,
                        &relations.upholds,
                        &relations.conflicts,
                        &relations.on_failure,
                        &relations.on_success,
                        &relations.propagates_reload_to,
                        &relations.propagates_stop_to,
                        &relations.triggers,
                    ] {
                        todo.extend(list.iter().cloned());
                    }
                }
                Err(denial) => {
                    self.undefine(&next);
                    if next == *name {
                        return Err(denial);
                    }
                    // The engine says what a missing requirement means.
                }
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
            let loaded = self.load(name);
            self.settle();
            if self.library.load_state(name, false) != MASKED {
                // What has failed is known until somebody resets it, though its file is gone.
                if matches!(loaded, Err(Denial::NoUnitFile { .. }))
                    && self.engine.definition(name).is_some()
                {
                    self.library.lose(name);
                } else {
                    loaded?;
                }
                return Ok(UnitFacts {
                    need_reload: self.is_outdated(name),
                    ..self.unit_facts(name)
                });
            }
        }
        no_template(name)?;
        let (reading, result) = self.library.look(name);
        if reading.state == MASKED {
            return Ok(UnitFacts {
                load_state: MASKED,
                ..self.unit_facts(name)
            });
        }
        if reading.state == MISSING
            && let Some(end) = self.last_end(name)
        {
            return Ok(UnitFacts {
                invocation_id: self.invocation_id(end.invocation),
                view: Some(end),
                ..self.unit_facts(name)
            });
        }
        let mut unit = result?;
        self.imply(&mut unit);
        Ok(UnitFacts {
            load_state: reading.state,
            diagnostics: reading.diagnostics,
            unit: Some(Arc::new(unit)),
            ..self.unit_facts(name)
        })
    }

    /// Whether what runs would be another unit if its files were read now.
    fn is_outdated(&self, name: &UnitName) -> bool {
        let Some(known) = self.engine.definition(name).filter(|_| self.is_busy(name)) else {
            return false;
        };
        match self.library.look(name).1 {
            Ok(mut unit) => {
                self.imply(&mut unit);
                **known != unit
            }
            Err(_) => self.library.load_state(name, true) == "loaded",
        }
    }

    /// A unit that was masked, or whose file is gone, must not be started from what it was. One with
    /// a mistake in its file stays what it is.
    fn undefine(&mut self, name: &UnitName) {
        let gone = matches!(self.library.load_state(name, false), MISSING | MASKED);
        if gone && self.engine.definition(name).is_some() {
            self.feed(Event::Undefined(name.clone()));
        }
    }

    /// Reads a known unit's files again. What runs goes on with what it was started with.
    pub(super) fn read_again(&mut self, name: &UnitName) -> Option<Reloaded> {
        if self.library.resolve(name) != *name {
            // What has this name now is another unit.
            self.feed(Event::Undefined(name.clone()));
            return None;
        }
        let before = self.engine.definition(name).map(Arc::clone);
        let busy = self.is_busy(name);
        let reloaded = |what, text| {
            Some(Reloaded {
                unit: name.clone(),
                what,
                text,
            })
        };
        match self.define(name) {
            Ok(unit) if before.as_ref() == Some(&unit) => None,
            Ok(_) if busy => reloaded("changed-running", String::new()),
            Ok(_) => reloaded("changed", String::new()),
            Err(denial) => {
                self.undefine(name);
                tracing::warn!("{denial}");
                match denial {
                    Denial::NoUnitFile { .. } => {
                        if self.engine.definition(name).is_some() {
                            self.library.lose(name);
                        }
                        reloaded("gone", String::new())
                    }
                    other => reloaded("error", other.to_string()),
                }
            }
        }
    }

    /// Reads every known unit's files again. What runs goes on with what it was started with.
    pub(super) fn reload(&mut self) -> Vec<Reloaded> {
        self.library.refresh_all();
        self.library.file_states.clear();
        let known: BTreeSet<UnitName> = self.engine.views().map(|view| view.name).collect();
        let mut all: Vec<Reloaded> = known
            .iter()
            .filter_map(|name| self.read_again(name))
            .collect();
        let files: BTreeSet<UnitName> = self.library.names().into_iter().collect();
        let before = std::mem::replace(&mut self.library.reloaded, files.clone());
        let come = files.difference(&before).map(|name| (name, "new"));
        let gone = before.difference(&files).map(|name| (name, "gone"));
        for (name, what) in come.chain(gone) {
            if !all.iter().any(|reloaded| reloaded.unit == *name) {
                let text = match self.library.look(name).1 {
                    Err(denial @ Denial::LoadFailed { .. }) => denial.to_string(),
                    _ => String::new(),
                };
                all.push(Reloaded {
                    unit: name.clone(),
                    what: if text.is_empty() { what } else { "error" },
                    text,
                });
            }
        }
        all.sort_by(|one, other| one.unit.cmp(&other.unit));
        self.settle();
        tracing::info!("unit files read again");
        all
    }

    /// Whether a unit is enabled, remembered of units that are known: it takes a look at every
    /// directory, and there is no end of names to ask for.
    pub(super) fn enabled_as(&mut self, name: &UnitName) -> Option<EnabledAs> {
        if let Some(known) = self.library.file_states.get(name) {
            return *known;
        }
        let installer = self.installer();
        // A unit without a file has no state.
        let state = installer.state(name).ok();
        let found = state.map(|state| (state, installer.preset_word(name, state)));
        if self.engine.definition(name).is_some() {
            self.library.file_states.insert(name.clone(), found);
        }
        found
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
        if let Some(refused) = action::refused(&unit, self.keeper.is_some()) {
            tracing::warn!("{refused}");
        }
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
        if let Some(limits) = &unit.slice_limits {
            let inside = |held: &super::Held| {
                let slices = held.slice.as_ref().map(UnitName::slices);
                slices.is_some_and(|slices| slices.iter().any(|name| name == unit.name.as_str()))
            };
            if self.held.values().map(Box::as_ref).any(inside) {
                let around = unit.name.parent_slice();
                let group = self.tree.group(&unit.name, around.as_ref());
                for sentence in group.set(&limits.resources) {
                    tracing::warn!("{}: {sentence}", unit.name);
                }
            }
        }
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
