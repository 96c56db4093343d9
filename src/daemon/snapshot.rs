//! What a new daemon must know of each unit, put into the [`Ledger`] at every change of the unit
//! and before every spawn, so that a sudden death leaves the old or the new state. Nothing here is a
//! record of the past: that is the event log's.

use serde::{Deserialize, Serialize};
use std::io;

use crate::daemon::agent::Agent;
use crate::daemon::ledger::{Key, Ledger, Records, Rewritten};
use crate::daemon::{Daemon, Occurrence};
use crate::engine::event::{ExitStatus, Role, SpawnId};
use crate::engine::{Counters, Snapshot};
use crate::name::UnitName;
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

/// What is kept for the next daemon.
#[derive(Debug)]
pub(super) struct Saved {
    ledger: Ledger,
    reserved: Option<Counters>,
    /// It could not be written the last time.
    failing: bool,
}

impl Saved {
    pub(super) const fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            reserved: None,
            failing: false,
        }
    }

    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        self.ledger.hash(bytes)
    }
}

impl Daemon {
    /// Puts down what the unit is doing, for the end of this turn of the loop.
    pub(super) fn save(&mut self, unit: &UnitName) {
        let Some(state) = self.engine.snapshot(unit) else {
            return;
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
        self.put(Key::State(unit.clone()), &kept);
    }

    /// Puts down the unit's definition, as the engine has it: what runs keeps it over a restart.
    pub(super) fn save_definition(&mut self, unit: &Unit) {
        self.put(Key::Definition(unit.name.clone()), unit);
    }

    fn put(&mut self, key: Key, value: &impl Serialize) {
        match serde_json::to_vec(value) {
            Ok(text) => self.saved.ledger.put(key, text),
            Err(error) => tracing::error!("{key:?} cannot be written: {error}"),
        }
    }

    /// Writes everything that a new daemon must know of a unit that is about to be started.
    pub(super) fn save_for_start(&mut self, unit: &UnitName) -> io::Result<()> {
        self.save(unit);
        self.saved.ledger.flush()
    }

    /// Writes what was put down. What cannot be written is said once, and tried again.
    pub(super) fn write_saved(&mut self) {
        match self.saved.ledger.flush() {
            Ok(()) => self.saved.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.saved.failing, true) {
                    let place = self.places.snapshots();
                    tracing::error!(
                        "what a restart of the supervisor needs cannot be written to {}: {error}",
                        place.display()
                    );
                }
            }
        }
        if let Some(rewrite) = self.saved.ledger.rewrite() {
            let occurrences = self.occurrences.clone();
            let thread = std::thread::Builder::new().name("ledger".to_owned());
            let started = thread.spawn(move || {
                // The daemon ends: the old file is as good.
                let _ = occurrences.blocking_send(Occurrence::Rewritten(rewrite.run()));
            });
            if let Err(error) = started {
                self.take_rewritten(Err(error));
            }
        }
    }

    pub(super) fn take_rewritten(&mut self, rewritten: io::Result<Rewritten>) {
        if let Err(error) = self.saved.ledger.replace(rewritten) {
            let place = self.places.snapshots();
            tracing::warn!("{} stays as long as it is: {error}", place.display());
        }
    }

    /// The unit is forgotten.
    pub(super) fn drop_snapshot(&mut self, unit: &UnitName) {
        self.saved.ledger.remove(Key::State(unit.clone()));
        self.saved.ledger.remove(Key::Definition(unit.clone()));
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
        self.put(Key::Counters, &reserved);
        self.saved.reserved = Some(reserved);
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

/// Everything that an earlier daemon left: counters, definitions with states.
pub(super) struct Left {
    pub(super) counters: Counters,
    pub(super) units: Vec<(Unit, Kept)>,
    /// What could not be read, as sentences.
    pub(super) problems: Vec<String>,
}

/// What the records say; none are an empty beginning.
pub(super) fn read(records: Records, problems: Vec<String>) -> Left {
    let mut left = Left {
        counters: Counters::default(),
        units: vec![],
        problems,
    };
    for (key, text) in &records {
        match key {
            Key::Counters => match serde_json::from_str(text) {
                Ok(counters) => left.counters = counters,
                Err(error) => left.problems.push(format!("counters: {error}")),
            },
            Key::State(unit) => {
                let definition = records.get(&Key::Definition(unit.clone()));
                let definition = definition.map_or("", String::as_str);
                let both = serde_json::from_str(definition)
                    .and_then(|unit| Ok((unit, serde_json::from_str(text)?)));
                match both {
                    Ok(both) => left.units.push(both),
                    Err(error) => left.problems.push(format!("{unit}: {error}")),
                }
            }
            // Of a unit that had no state yet.
            Key::Definition(_) => {}
        }
    }
    left.units
        .sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    left
}
