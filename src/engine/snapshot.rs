//! Going on after the daemon was killed: units and their snapshots in, the same engine out.
//!
//! Nothing is decided here. What was under way is asked for again, because nobody knows whether it
//! was done; every effect named here may be performed twice without harm. Processes are not
//! started again: the daemon tells of each whether it lives, ended, or never came to be.

use std::sync::Arc;

use crate::engine::event::{Effect, Now, Source, SpawnId};
use crate::engine::state::{Freezer, Process, Snapshot, State};
use crate::engine::{Counters, Engine, Record};
use crate::name::UnitName;
use crate::unit::{StartType, Unit};

impl Engine {
    /// What is to be kept of a unit, whenever [`Effect::Changed`] names it.
    #[must_use]
    pub fn snapshot(&self, unit: &UnitName) -> Option<Snapshot> {
        self.records.get(unit).map(|record| record.core.clone())
    }

    /// The numbers given out last; to be kept with every snapshot.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The engine as it was when the snapshots were taken.
    #[must_use]
    pub fn restore(counters: Counters, units: Vec<(Unit, Snapshot)>) -> Self {
        let mut engine = Self {
            counters,
            ..Self::default()
        };
        for (unit, core) in units {
            let name = unit.name.clone();
            let unit = Arc::new(unit);
            engine.graph.define(&name, &unit);
            engine.place(&unit);
            for (timer, _) in core.timers() {
                engine.timers.insert(timer, name.clone());
            }
            if core.job.is_some() || core.is_restart_due() {
                engine.busy.insert(name.clone());
                engine.dirty.insert(name.clone());
            }
            if matches!(core.state, State::Idling { .. }) {
                engine.idling.insert(name.clone());
            }
            engine.records.insert(name, Record::new(unit, core));
        }
        engine
    }

    /// Processes that were asked for and of which nothing was heard.
    #[must_use]
    pub fn awaited(&self, unit: &UnitName) -> Vec<SpawnId> {
        let asked = |process: Option<Process>| match process {
            Some(Process::Asked { spawn }) => Some(spawn),
            Some(Process::Alive(_)) | None => None,
        };
        self.records.get(unit).map_or_else(Vec::new, |record| {
            let state = &record.core.state;
            let (main, control) = (state.main(), state.control());
            asked(main).into_iter().chain(asked(control)).collect()
        })
    }

    /// Asks again for everything that was under way; once, right after [`Engine::restore`] and
    /// before the daemon tells what became of the processes.
    #[must_use]
    pub fn resume(&mut self, now: Now) -> Vec<Effect> {
        let units: Vec<UnitName> = self.records.keys().cloned().collect();
        for name in units {
            self.with(now, &name, |step| {
                let unit = || step.unit.name.clone();
                let mut again = Vec::new();
                for (timer, at) in step.core.timers() {
                    again.push(Effect::SetTimer { timer, at });
                }
                match step.core.freezer {
                    Freezer::Freezing { .. } => again.push(Effect::Freeze { unit: unit() }),
                    Freezer::Thawing { .. } => again.push(Effect::Thaw { unit: unit() }),
                    Freezer::Running | Freezer::Frozen { .. } => {}
                }
                match step.core.state {
                    State::Checking => again.push(Effect::Check { unit: unit() }),
                    State::Seeking { spawn, .. } => {
                        let source = match &step.unit.service {
                            Some(service) if service.pid_file.is_some() => Source::PidFile,
                            _ => Source::Guess,
                        };
                        again.push(Effect::Find {
                            unit: unit(),
                            spawn,
                            source,
                        });
                        again.push(Effect::Sweep {
                            unit: unit(),
                            signals: vec![],
                        });
                    }
                    State::Opening => again.push(Effect::Open { unit: unit() }),
                    State::Waiting { .. } if step.unit.timer.is_none() => {
                        again.push(Effect::Await { unit: unit() });
                    }
                    // Whether it is empty is told to whoever asks.
                    State::Running { main: None }
                    | State::Terminating {
                        main: None,
                        control: None,
                        ..
                    }
                    | State::Sweeping { .. } => again.push(Effect::Sweep {
                        unit: unit(),
                        signals: vec![],
                    }),
                    State::Killing { emptied: false, .. } => {
                        again.push(Effect::KillAll { unit: unit() });
                    }
                    State::Interrupting { .. } => {
                        again.push(Effect::Interrupt { unit: unit() });
                        again.push(Effect::CloseInput { unit: unit() });
                    }
                    State::Terminating { main, control, .. } => {
                        if let Some(service) = &step.unit.service {
                            step.out.append(&mut again);
                            step.ask_to_end(service, main.is_some(), control.is_some());
                        }
                    }
                    State::Running { .. } if step.core.run.input_closed => {
                        again.push(Effect::CloseInput { unit: unit() });
                    }
                    _ => {}
                }
                let dbus = step
                    .unit
                    .service
                    .as_ref()
                    .is_some_and(|service| service.start == StartType::Dbus);
                if dbus && step.core.state.main().is_some() {
                    again.push(Effect::WatchName { unit: unit() });
                }
                // Which process it meant is not known any more; it may say so again.
                step.core.run.finding = None;
                step.out.append(&mut again);
                if step.core.run.writing.is_some() {
                    // While it is paused nothing is written: then it waits for the resume.
                    step.core.run.rewrite = true;
                    step.deliver();
                }
            });
        }
        self.dirty.extend(self.busy.iter().cloned());
        self.look_for_all_garbage();
        self.follow(now);
        self.collect()
    }
}
