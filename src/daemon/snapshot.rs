//! What a new daemon must know, one small file per unit in the runtime directory.
//!
//! Written in one step (new file, rename) at every change of the unit and before every spawn, so
//! that a sudden death leaves the old or the new state. Nothing here is a record of the past: that
//! is the event log's.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::daemon::Daemon;
use crate::daemon::agent::Agent;
use crate::engine::event::{ExitStatus, Role, SpawnId};
use crate::engine::{Counters, Snapshot};
use crate::name::UnitName;
use crate::sys::file::write_whole;
use crate::unit::Unit;

/// Numbers are reserved this many at a time, so that not every job costs a write: a new daemon
/// begins at the reserved end.
const RESERVE: u32 = 1_000;

/// One unit's file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Taken out when the engine is restored.
    pub(super) state: Option<Snapshot>,
    pub(super) agent: Option<Agent>,
    pub(super) processes: Vec<KeptProcess>,
    pub(super) held: Option<KeptHeld>,
}

/// A process that was alive.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptProcess {
    pub(super) spawn: SpawnId,
    pub(super) role: Role,
    pub(super) pid: u32,
    pub(super) start_time: u64,
    pub(super) failed: bool,
    /// It has ended like this, and its end was not told to the engine yet.
    pub(super) ended: Option<ExitStatus>,
}

/// What is held for a unit, without its descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptHeld {
    pub(super) invocation_id: String,
    #[serde(default)]
    pub(super) slice: Option<UnitName>,
    pub(super) uid: Option<u32>,
    pub(super) missing: Vec<String>,
    pub(super) oom_kills: u64,
    pub(super) freezing: Option<bool>,
    pub(super) emptying: bool,
    pub(super) runtime_directories: Vec<std::path::PathBuf>,
}

/// What is on disk of the numbers.
#[derive(Debug, Default)]
pub(super) struct Saved {
    reserved: Option<Counters>,
    /// Units whose definition could not be written.
    undefined: BTreeSet<UnitName>,
    /// Of each unit's file, a hash of what is in it: what has not changed is not written again.
    written: HashMap<UnitName, u64>,
    hasher: RandomState,
}

impl Saved {
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }
}

impl Daemon {
    /// Writes the unit's file; that it cannot is said, and the old one stays.
    pub(super) fn save(&mut self, unit: &UnitName) {
        if let Err(error) = self.try_save(unit) {
            tracing::error!("{unit}: its snapshot cannot be written: {error}");
        }
    }

    /// Writes the unit's file.
    fn try_save(&mut self, unit: &UnitName) -> io::Result<()> {
        let Some(state) = self.engine.snapshot(unit) else {
            return Ok(());
        };
        let processes = self
            .processes
            .of(unit)
            .map(|(spawn, process)| KeptProcess {
                spawn,
                role: process.role,
                pid: process.pid,
                start_time: process.start_time,
                failed: process.failed,
                ended: process.ended,
            })
            .collect();
        let held = self.held.get(unit).map(|held| KeptHeld {
            invocation_id: held.invocation_id.clone(),
            slice: held.slice.clone(),
            uid: held.uid,
            missing: held.missing.clone(),
            oom_kills: held.oom_kills,
            freezing: held.freezing,
            emptying: held.emptying,
            runtime_directories: held.runtime_directories.clone(),
        });
        let kept = Kept {
            state: Some(state),
            agent: self.agents.get(unit).cloned(),
            processes,
            held,
        };
        let bytes = serde_json::to_vec(&kept)?;
        let hash = self.saved.hash(&bytes);
        if self.saved.written.get(unit) == Some(&hash) {
            return Ok(());
        }
        self.saved.written.remove(unit);
        write_whole(&self.places.snapshots().join(unit.as_str()), &bytes)?;
        self.saved.written.insert(unit.clone(), hash);
        Ok(())
    }

    /// Writes the unit's definition, as the engine has it: what runs keeps it over a restart.
    pub(super) fn save_definition(&mut self, unit: &Unit) {
        if let Err(error) = self.try_save_definition(unit) {
            tracing::error!("{}: its definition cannot be kept: {error}", unit.name);
        }
    }

    fn try_save_definition(&mut self, unit: &Unit) -> io::Result<()> {
        let place = self.places.snapshots();
        let written = write_json(&place.join(format!("{}.definition", unit.name)), unit);
        if written.is_ok() {
            self.saved.undefined.remove(&unit.name);
        } else {
            self.saved.undefined.insert(unit.name.clone());
        }
        written
    }

    /// Writes everything that a new daemon must know of a unit that is about to be started.
    pub(super) fn save_for_start(&mut self, unit: &UnitName) -> io::Result<()> {
        if self.saved.undefined.contains(unit)
            && let Some(definition) = self.engine.definition(unit).cloned()
        {
            self.try_save_definition(&definition)?;
        }
        self.try_save(unit)
    }

    /// The unit is forgotten.
    pub(super) fn drop_snapshot(&mut self, unit: &UnitName) {
        self.saved.undefined.remove(unit);
        self.saved.written.remove(unit);
        let path = self.places.snapshots();
        let _ = std::fs::remove_file(path.join(unit.as_str()));
        let _ = std::fs::remove_file(path.join(format!("{unit}.definition")));
    }

    /// Reserves numbers ahead when the last reservation is used up.
    pub(super) fn save_counters(&mut self) {
        let counters = self.engine.counters();
        if self
            .saved
            .reserved
            .as_ref()
            .is_some_and(|reserved| within(&counters, reserved))
        {
            return;
        }
        let reserved = ahead(&counters);
        match write_json(&self.places.snapshots().join("counters"), &reserved) {
            Ok(()) => self.saved.reserved = Some(reserved),
            Err(error) => tracing::error!("the counters cannot be kept: {error}"),
        }
    }
}

const fn within(counters: &Counters, reserved: &Counters) -> bool {
    counters.job <= reserved.job
        && counters.spawn <= reserved.spawn
        && counters.timer <= reserved.timer
        && counters.input <= reserved.input
        && counters.invocation <= reserved.invocation
}

const fn ahead(counters: &Counters) -> Counters {
    let more = RESERVE as u64;
    Counters {
        job: counters.job.saturating_add(RESERVE),
        spawn: counters.spawn.saturating_add(more),
        timer: counters.timer.saturating_add(more),
        input: counters.input.saturating_add(more),
        invocation: counters.invocation.saturating_add(more),
        ..*counters
    }
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write_whole(path, &serde_json::to_vec(value)?)
}

/// Everything that an earlier daemon left: counters, definitions with states.
pub(super) struct Left {
    pub(super) counters: Counters,
    pub(super) units: Vec<(Unit, Kept)>,
    /// Files that could not be read, as sentences.
    pub(super) problems: Vec<String>,
}

/// Reads the directory; nothing there is an empty beginning.
pub(super) fn read(directory: &Path) -> io::Result<Left> {
    let mut left = Left {
        counters: Counters::default(),
        units: vec![],
        problems: vec![],
    };
    match std::fs::read(directory.join("counters")) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(counters) => left.counters = counters,
            Err(error) => left.problems.push(format!("counters: {error}")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut names: Vec<UnitName> = std::fs::read_dir(directory)?
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    names.sort();
    for name in names {
        let path = directory.join(name.as_str());
        let definition = directory.join(format!("{name}.definition"));
        let read = || -> io::Result<(Unit, Kept)> {
            Ok((
                serde_json::from_slice(&std::fs::read(&definition)?)?,
                serde_json::from_slice(&std::fs::read(&path)?)?,
            ))
        };
        match read() {
            Ok(pair) => left.units.push(pair),
            Err(error) => left.problems.push(format!("{name}: {error}")),
        }
    }
    Ok(left)
}
