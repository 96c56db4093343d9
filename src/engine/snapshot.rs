//! Going on after the daemon was killed: units and their snapshots in, the same engine out.
//!
//! Nothing is decided here. What was under way is asked for again, because nobody knows whether it
//! was done; every effect named here may be performed twice without harm. Processes are not
//! started again: the daemon tells of each whether it lives, ended, or never came to be.

use crate::engine::event::{Effect, Now, SpawnId, Whom};
use crate::engine::state::{Alive, Freezer, Process, Snapshot, State};
use crate::engine::{Counters, Engine, Record};
use crate::name::UnitName;
use crate::unit::{KillMode, Unit};

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
            engine.graph.define(&name, &unit.relations);
            if let Some((timer, _)) = core.timer() {
                engine.timers.insert(timer, name.clone());
            }
            if core.job.is_some() || core.is_restart_due() {
                engine.busy.insert(name.clone());
            }
            let unit = unit.into();
            engine.records.insert(name, Record { unit, core });
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
            let (main, control) = processes(&record.core.state);
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
                if let Some((timer, at)) = step.core.timer() {
                    again.push(Effect::SetTimer { timer, at });
                }
                match step.core.freezer {
                    Freezer::Freezing { .. } => again.push(Effect::Freeze { unit: unit() }),
                    Freezer::Thawing { .. } => again.push(Effect::Thaw { unit: unit() }),
                    Freezer::Running | Freezer::Frozen { .. } => {}
                }
                match step.core.state {
                    State::Killing { emptied: false, .. } => {
                        again.push(Effect::KillAll { unit: unit() });
                    }
                    State::Interrupting { .. } => {
                        again.push(Effect::Interrupt { unit: unit() });
                        again.push(Effect::CloseInput { unit: unit() });
                    }
                    State::Terminating { main, .. } => {
                        if let Some(service) = &step.unit.service {
                            let all = main.is_none() || service.kill_mode == KillMode::ControlGroup;
                            let whom = if all { Whom::All } else { Whom::Main };
                            step.out.append(&mut again);
                            step.ask_to_end(service, whom);
                        }
                    }
                    State::Running { .. } if step.core.run.input_closed => {
                        again.push(Effect::CloseInput { unit: unit() });
                    }
                    _ => {}
                }
                step.out.append(&mut again);
                if step.core.run.writing.is_some() {
                    // While it is paused nothing is written: then it waits for the resume.
                    step.core.run.rewrite = true;
                    step.deliver();
                }
            });
        }
        self.run_jobs(now);
        self.collect()
    }
}

/// The processes that a state names: main and control.
const fn processes(state: &State) -> (Option<Process>, Option<Process>) {
    const fn known(alive: Option<Alive>) -> Option<Process> {
        match alive {
            Some(alive) => Some(Process::Alive(alive)),
            None => None,
        }
    }
    match *state {
        State::Dead { .. } | State::Exited | State::AutoRestart { .. } => (None, None),
        State::StartPre { control, .. } | State::StopPost { control, .. } => (None, Some(control)),
        State::Launching { main, .. } => (Some(main), None),
        State::StartPost { main, control, .. } | State::StopExec { main, control, .. } => {
            (known(main), Some(control))
        }
        State::Running { main, .. } | State::Interrupting { main, .. } => (known(Some(main)), None),
        State::Terminating { main, control, .. } => (known(main), known(control)),
        State::Killing { main, control, .. } => (main, control),
    }
}
