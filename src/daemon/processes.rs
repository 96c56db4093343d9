//! The processes that are alive, or dead and not told of; by number and by unit.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::daemon::Process;
use crate::engine::event::SpawnId;
use crate::name::UnitName;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Processes {
    all: BTreeMap<SpawnId, Process>,
    of: HashMap<UnitName, BTreeSet<SpawnId>>,
}

impl Processes {
    pub(super) fn insert(&mut self, spawn: SpawnId, process: Process) {
        let spawns = self.of.entry(process.unit.clone()).or_default();
        spawns.insert(spawn);
        self.all.insert(spawn, process);
    }

    pub(super) fn remove(&mut self, spawn: SpawnId) {
        if let Some(process) = self.all.remove(&spawn)
            && let Some(spawns) = self.of.get_mut(&process.unit)
        {
            spawns.remove(&spawn);
            if spawns.is_empty() {
                self.of.remove(&process.unit);
            }
        }
    }

    pub(super) fn get(&self, spawn: SpawnId) -> Option<&Process> {
        self.all.get(&spawn)
    }

    /// Its unit stays the same.
    pub(super) fn get_mut(&mut self, spawn: SpawnId) -> Option<&mut Process> {
        self.all.get_mut(&spawn)
    }

    /// Those of a unit, the oldest first.
    pub(super) fn of(&self, unit: &UnitName) -> impl Iterator<Item = (SpawnId, &Process)> {
        let spawns = self.of.get(unit).into_iter().flatten();
        spawns.filter_map(|spawn| Some((*spawn, self.all.get(spawn)?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SpawnId, &Process)> {
        self.all.iter().map(|(spawn, process)| (*spawn, process))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
