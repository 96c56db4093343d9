//! The engine: `handle(now, Event) -> Vec<Effect>`.
//!
//! Pure: no clock, no randomness, no I/O. It owns all unit state; nothing else changes it. The
//! daemon waits for one event, calls [`Engine::handle`], performs each effect, and what comes of an
//! effect is the next event. Read `event` first, then `state` (whose comment is the specification);
//! `request` → `transaction` → `schedule` is the way of a wish, `start`, `stop`, `pause` and `talk`
//! are the life of one unit.
#![forbid(unsafe_code)]

pub mod event;
mod graph;
mod input;
mod job;
mod pause;
mod request;
mod restart;
mod schedule;
#[cfg(test)]
mod sim;
mod snapshot;
mod start;
mod state;
mod step;
mod stop;
mod talk;
#[cfg(test)]
mod tests;
mod transaction;
pub mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::name::{JobId, UnitName, UnitType};
use crate::unit::Unit;

use event::{Effect, Event, JobType, Now, SpawnId, TimerId};
use graph::Graph;
use job::Job;
use state::{Deadline, Process, State};
use view::{ActiveState, View};

pub use input::LIMIT as INPUT_LIMIT;
pub use start::LOST;
pub use state::Snapshot;
pub use step::Counters;
use step::Step;

/// All units and all that is to be done with them.
#[derive(Debug, Default)]
pub struct Engine {
    records: BTreeMap<UnitName, Record>,
    graph: Graph,
    counters: Counters,
    timers: BTreeMap<TimerId, UnitName>,
    /// Units with a job, or with a restart that is due.
    busy: BTreeSet<UnitName>,
    /// Units looked at during one event, as they were before; `None`: they are to be told anyway.
    touched: BTreeMap<UnitName, Option<Snapshot>>,
    out: Vec<Effect>,
}

#[derive(Debug)]
struct Record {
    unit: Arc<Unit>,
    core: Snapshot,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event; what is to be done comes back, in order: first what concerns processes,
    /// then answers and jobs, then at most one [`Effect::Changed`] per unit.
    #[must_use]
    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Effect> {
        self.dispatch(now, event);
        self.run_jobs(now);
        self.collect()
    }

    fn dispatch(&mut self, now: Now, event: Event) {
        match event {
            Event::Defined(unit) => self.define(now, *unit),
            Event::Undefined(unit) => self.with(now, &unit, |step| step.core.undefined = true),
            Event::Requested { id, request } => self.request(now, id, request),
            Event::Spawned { unit, spawn, pid } => {
                self.with(now, &unit, |step| step.spawned(spawn, pid));
            }
            Event::Executed {
                unit,
                spawn,
                enforcement,
            } => self.with(now, &unit, |step| step.executed(spawn, enforcement)),
            Event::SpawnFailed {
                unit,
                spawn,
                failure,
            } => self.with(now, &unit, |step| step.spawn_failed(spawn, failure)),
            Event::Exited {
                unit,
                spawn,
                status,
                verdict,
            } => self.with(now, &unit, |step| step.exited(spawn, status, verdict)),
            Event::Emptied { unit } => self.with(now, &unit, |step| step.emptied()),
            Event::OutOfMemory { unit } => self.with(now, &unit, |step| step.out_of_memory()),
            Event::Frozen { unit } => self.with(now, &unit, |step| step.frozen()),
            Event::Thawed { unit } => self.with(now, &unit, |step| step.thawed()),
            Event::FreezeFailed { unit, failure } => {
                self.with(now, &unit, |step| step.freeze_failed(&failure));
            }
            Event::TimerFired { timer } => {
                if let Some(unit) = self.timers.get(&timer).cloned() {
                    self.with(now, &unit, |step| step.timer_fired());
                }
            }
            Event::Ready { unit } => self.with(now, &unit, |step| step.ready()),
            Event::StatusText { unit, text } => {
                self.with(now, &unit, |step| step.core.run.status_text = text);
            }
            Event::InputConsumed { unit } => self.with(now, &unit, |step| step.input_consumed()),
            Event::InputDelivered { unit, input } => {
                self.with(now, &unit, |step| step.input_delivered(input));
            }
            Event::InputFailed {
                unit,
                input,
                reason,
            } => self.with(now, &unit, |step| step.input_failed(input, &reason)),
            Event::TurnEnded { unit, result } => {
                self.with(now, &unit, |step| step.turn_ended(result));
            }
            // It runs on as the snapshot says; there is nothing to change.
            Event::Adopted { unit, spawn } => self.with(now, &unit, |step| {
                let state = &step.core.state;
                let ours = [state.main(), state.control()].into_iter().flatten();
                if !ours.map(Process::spawn).any(|own| own == spawn) {
                    step.log("a process that it does not know was adopted");
                }
            }),
        }
    }

    fn define(&mut self, now: Now, unit: Unit) {
        let name = unit.name.clone();
        self.graph.define(&name, &unit.relations);
        let unit = Arc::new(unit);
        self.touched.insert(name.clone(), None);
        match self.records.get_mut(&name) {
            Some(record) => {
                record.unit = unit;
                record.core.undefined = false;
            }
            None => {
                let core = Snapshot::new(now);
                self.records.insert(name.clone(), Record { unit, core });
            }
        }
        // A new order may be a circle among jobs that wait already; they must not wait for ever.
        if self.busy.contains(&name) && self.graph.cycle(&self.busy).is_some() {
            self.with(now, &name, |step| {
                if let Some(job) = &mut step.core.job {
                    job.alone = true;
                }
                step.log("its new order is a cycle among the present jobs, which ignore it");
            });
        }
    }

    /// Lays one unit under the hand; an unknown one is left alone.
    fn with(&mut self, now: Now, name: &UnitName, act: impl FnOnce(&mut Step<'_>)) {
        let Some(record) = self.records.get_mut(name) else {
            return;
        };
        let core = &mut record.core;
        self.touched
            .entry(name.clone())
            .or_insert_with(|| Some(core.clone()));
        let target = record.unit.service.is_none();
        let (timer, active, sub) = (core.timer(), core.state.active(), core.sub(target));
        let unit = Arc::clone(&record.unit);
        act(&mut Step {
            now,
            unit: &unit,
            core,
            counters: &mut self.counters,
            out: &mut self.out,
        });
        if let Some((timer, _)) = timer {
            self.timers.remove(&timer);
        }
        if let Some((timer, _)) = core.timer() {
            self.timers.insert(timer, name.clone());
        }
        let active_now = core.state.active();
        if active_now != active || core.sub(target) != sub {
            core.since = now;
        }
        if active_now != active {
            match active_now {
                ActiveState::Active => core.active_enter = Some(now),
                ActiveState::Inactive | ActiveState::Failed => core.inactive_enter = Some(now),
                ActiveState::Activating | ActiveState::Deactivating => {}
            }
        }
        if core.job.is_some() || core.is_restart_due() {
            self.busy.insert(name.clone());
        } else {
            self.busy.remove(name);
        }
    }

    /// Puts the effects in order and says who changed.
    fn collect(&mut self) -> Vec<Effect> {
        let mut out = std::mem::take(&mut self.out);
        // Stable: within each group the order is that in which things were decided.
        out.sort_by_key(|effect| !is_work(effect));
        for (unit, before) in std::mem::take(&mut self.touched) {
            let Some(record) = self.records.get(&unit) else {
                continue;
            };
            let core = &record.core;
            if core.undefined && core.state.is_dead() && core.job.is_none() {
                self.records.remove(&unit);
                self.graph.forget(&unit);
                out.push(Effect::Forget { unit });
            } else if before.as_ref() != Some(core) {
                out.push(Effect::Changed { unit });
            }
        }
        out
    }

    /// One unit as seen from outside.
    #[must_use]
    pub fn view(&self, unit: &UnitName) -> Option<View> {
        self.records.get(unit).map(Record::view)
    }

    /// Every unit as seen from outside, by name.
    pub fn views(&self) -> impl Iterator<Item = View> {
        self.records.values().map(Record::view)
    }

    /// The definition of a unit.
    #[must_use]
    pub fn definition(&self, unit: &UnitName) -> Option<&Arc<Unit>> {
        self.records.get(unit).map(|record| &record.unit)
    }

    /// Every job: its number, unit and type, and whether it runs (or still waits).
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, UnitName, JobType, bool)> {
        self.records
            .iter()
            .flat_map(|(name, record)| record.jobs().map(move |job| (name, job)))
            .map(|(name, (id, kind, running))| (id, name.clone(), kind, running))
    }

    /// Who requires this unit, directly.
    pub fn required_by(&self, unit: &UnitName) -> impl Iterator<Item = &UnitName> {
        self.graph.required_by(unit)
    }

    /// The main process of a unit, asked for or alive.
    #[must_use]
    pub fn main_spawn(&self, unit: &UnitName) -> Option<SpawnId> {
        let record = self.records.get(unit)?;
        record.core.state.main().map(Process::spawn)
    }
}

impl Record {
    fn jobs(&self) -> impl Iterator<Item = (JobId, JobType, bool)> {
        let main = self
            .core
            .job
            .map(|job: Job| (job.id, job.kind, job.is_running()));
        let kind = if self.core.freezer.is_paused() {
            JobType::Pause
        } else {
            JobType::Resume
        };
        let freezer = self.core.freezer.job().map(|id| (id, kind, true));
        main.into_iter().chain(freezer)
    }

    fn view(&self) -> View {
        let Self { unit, core } = self;
        let pid = |process: Option<Process>| process.and_then(Process::alive).map(|p| p.pid);
        let run = core.run.clone();
        View {
            name: unit.name.clone(),
            description: unit.description.clone(),
            active: core.state.active(),
            sub: core.sub(unit.name.kind() == UnitType::Target).to_owned(),
            outcome: run.outcome,
            why: run.why,
            failure: run.failure,
            status_text: run.status_text,
            main_pid: pid(core.state.main()),
            control_pid: pid(core.state.control()),
            exit: run.exit,
            enforcement: run.enforcement,
            job: self.jobs().next().map(|(id, kind, _)| (id, kind)),
            restarts: core.history.restarts,
            restart_at: match core.state {
                State::AutoRestart {
                    deadline: Deadline::At { at, .. },
                } => Some(at),
                _ => None,
            },
            invocation: core.invocation,
            freezer: core.freezer.public(),
            pause_reason: core.freezer.reason().to_owned(),
            waiting_inputs: core.inputs.len(),
            turns: run.turns,
            last_turn: run.last_turn,
            since: core.since,
            active_enter: core.active_enter,
            inactive_enter: core.inactive_enter,
        }
    }
}

/// Whether an effect concerns processes, their clocks and their place.
fn is_work(effect: &Effect) -> bool {
    match effect {
        Effect::Spawn { .. }
        | Effect::Signal { .. }
        | Effect::Interrupt { .. }
        | Effect::CloseInput { .. }
        | Effect::KillAll { .. }
        | Effect::Freeze { .. }
        | Effect::Thaw { .. }
        | Effect::Deliver { .. }
        | Effect::SetTimer { .. }
        | Effect::DropTimer { .. }
        | Effect::Release { .. } => true,
        Effect::Forget { .. }
        | Effect::Answer { .. }
        | Effect::JobNew { .. }
        | Effect::JobEnded { .. }
        | Effect::Changed { .. }
        | Effect::Log { .. } => false,
    }
}
