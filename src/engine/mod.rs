//! The engine: `handle(now, Event) -> Vec<Effect>`.
//!
//! Pure: no clock, no randomness, no I/O. It owns all unit state; nothing else changes it. The
//! daemon waits for one event, calls [`Engine::handle`], performs each effect, and what comes of an
//! effect is the next event. Read `event` first, then `state` (whose comment is the specification);
//! `request` → `transaction` → `schedule` is the way of a wish, `start`, `end`, `reload`, `stop`,
//! `late`, `pause` and `talk` are the life of one unit, `trigger` that of timers, sockets and paths;
//! `react` is what one unit's change means for others, `collect` which units are forgotten.
#![forbid(unsafe_code)]

mod action;
mod collect;
mod end;
pub mod event;
mod graph;
mod input;
mod job;
mod late;
mod pause;
mod place;
mod react;
pub mod recording;
mod reload;
mod request;
mod restart;
mod schedule;
#[cfg(any(test, feature = "simulate"))]
pub mod sim;
mod snapshot;
mod start;
mod state;
mod step;
mod stop;
mod talk;
#[cfg(test)]
mod tests;
mod transaction;
mod trigger;
pub mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::name::{JobId, UnitName, UnitType};
use crate::unit::Unit;
use crate::unit::calendar::Zone;

use event::{Effect, Event, JobResult, JobType, Now, SpawnId, TimerId};
use graph::Graph;
use job::Job;
use react::Move;
use state::{Deadline, Process, State};
use view::View;

pub use end::LOST;
pub use input::LIMIT as INPUT_LIMIT;
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
    /// Those of them that are to be looked at.
    dirty: BTreeSet<UnitName>,
    /// Jobs that wait, each with one that stands before it.
    blockers: BTreeMap<UnitName, (Job, UnitName, Job)>,
    /// Those that wait for the others (`Type=idle`).
    idling: BTreeSet<UnitName>,
    /// Who stands in which slice.
    members: BTreeMap<UnitName, BTreeSet<UnitName>>,
    /// Changes of public states whose consequences have not been drawn.
    moves: Vec<Move>,
    /// What is over, and is known only because something that is up names it.
    retained: BTreeSet<UnitName>,
    /// Those of them that may have lost who names them.
    loose: BTreeSet<UnitName>,
    /// Instances for connections that failed, oldest first.
    failed_connections: VecDeque<UnitName>,
    /// The local time zone.
    zone: Zone,
    /// Units looked at during one event, as they were before; `None`: they are to be told anyway.
    touched: BTreeMap<UnitName, Option<Snapshot>>,
    /// The last of those that were forgotten, as they were: whoever was started on their account
    /// is told of them.
    gone: VecDeque<View>,
    out: Vec<Effect>,
}

/// Forgotten units that are remembered.
const GONE: usize = 16;

#[derive(Debug)]
struct Record {
    unit: Arc<Unit>,
    core: Snapshot,
    /// Nobody needs to know any more that it failed: it served a connection, and so many have
    /// failed since.
    lapsed: bool,
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
        self.follow(now);
        self.collect()
    }

    /// Jobs and consequences, until nothing moves any more.
    fn follow(&mut self, now: Now) {
        loop {
            self.run_jobs(now);
            if !self.react(now) && self.dirty.is_empty() {
                return;
            }
        }
    }

    fn dispatch(&mut self, now: Now, event: Event) {
        match event {
            Event::Defined(unit) => self.define(now, *unit),
            Event::Undefined(unit) => self.with(now, &unit, |step| step.core.undefined = true),
            Event::Collect { unit } => self.collect_garbage(now, &unit),
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
            Event::TimerFired { timer } => self.timer_fired(now, timer),
            Event::Notified { unit, notice } => {
                self.with(now, &unit, |step| step.notified(notice));
            }
            Event::Checked { unit, unmet } => self.with(now, &unit, |step| step.checked(unmet)),
            Event::Found { unit, spawn, pid } => {
                self.with(now, &unit, |step| step.found(spawn, pid));
            }
            Event::NotFound {
                unit,
                spawn,
                reason,
            } => self.with(now, &unit, |step| step.not_found(spawn, &reason)),
            Event::BusName { unit, owned } => {
                self.with(now, &unit, |step| step.bus_name(owned));
            }
            Event::Opened { unit, stamp } => self.opened(now, &unit, stamp),
            Event::OpenFailed { unit, failure } => self.open_failed(now, &unit, failure),
            Event::Triggered { unit } => self.triggered(now, &unit),
            Event::Accepted { unit, instance } => self.accepted(now, &unit, &instance),
            Event::ClockChanged { zone } => {
                let changed = zone.is_some();
                if let Some((name, rules)) = zone {
                    // Rules that nobody can read are those of UTC, as libc has it.
                    self.zone = Zone::from_tzif(&name, &rules).unwrap_or_default();
                }
                self.clock_changed(now, changed);
            }
            Event::Approval { unit, waiting } => {
                self.with(now, &unit, |step| step.approval(waiting));
            }
            Event::BudgetSpent { unit, what } => {
                self.with(now, &unit, |step| step.budget_spent(&what));
            }
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
        self.loosen(&name);
        // They hold as long as nobody's relations change.
        self.blockers.clear();
        let unit = Arc::new(unit);
        self.graph.define(&name, &unit);
        self.place(&unit);
        self.touched.insert(name.clone(), None);
        match self.records.get_mut(&name) {
            Some(record) => {
                record.unit = unit;
                record.core.undefined = false;
                record.core.asked = false;
            }
            None => {
                let core = Snapshot::new(now);
                self.records.insert(name.clone(), Record::new(unit, core));
            }
        }
        // A new order may be a circle among jobs that wait already; they must not wait for ever.
        let roots = BTreeSet::from([name.clone()]);
        if self.busy.contains(&name)
            && self
                .graph
                .cycle(|other| self.busy.contains(other), &roots)
                .is_some()
        {
            self.with(now, &name, |step| {
                if let Some(job) = &mut step.core.job {
                    job.alone = true;
                }
                step.log("its new order is a cycle among the present jobs, which ignore it");
            });
        }
    }

    /// Notes in which slice a unit stands now.
    fn place(&mut self, unit: &Unit) {
        let old = self
            .records
            .get(&unit.name)
            .and_then(|record| record.unit.slice.clone());
        if old != unit.slice {
            self.unplace(&unit.name, old.as_ref());
        }
        if let Some(slice) = &unit.slice {
            let members = self.members.entry(slice.clone()).or_default();
            members.insert(unit.name.clone());
        }
    }

    fn unplace(&mut self, name: &UnitName, slice: Option<&UnitName>) {
        if let Some(slice) = slice
            && let Some(members) = self.members.get_mut(slice)
        {
            members.remove(name);
            if members.is_empty() {
                self.members.remove(slice);
            }
        }
    }

    fn timer_fired(&mut self, now: Now, timer: TimerId) {
        let Some(name) = self.timers.get(&timer).cloned() else {
            return;
        };
        let job = self.records.get(&name).map(|record| record.core.clocks.job);
        if matches!(job, Some(Deadline::At { timer: own, .. }) if own == timer) {
            self.with(now, &name, |step| {
                step.core.clocks.job = Deadline::Never;
                step.log("its job took too long and is taken back");
            });
            self.end_job(now, &name, JobResult::Timeout, true);
            self.act_on_job_timeout(now, &name);
        } else if name.kind() == UnitType::Timer {
            self.with(now, &name, |step| {
                if let Some(deadline) = step.core.state.deadline_mut() {
                    *deadline = Deadline::Never;
                }
            });
            self.timer_due(now, &name);
        } else {
            self.with(now, &name, |step| step.timer_fired(timer));
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
        let kind = name.kind();
        let (active, sub) = (core.state.active(), core.sub(kind));
        let limit_hit = core.run.limit_hit;
        let old_timers: Vec<TimerId> = core.timers().map(|(timer, _)| timer).collect();
        let expected = core.job.is_some_and(|job| job.is_running());
        let unit = Arc::clone(&record.unit);
        act(&mut Step {
            now,
            unit: &unit,
            core,
            counters: &mut self.counters,
            out: &mut self.out,
        });
        for timer in old_timers {
            self.timers.remove(&timer);
        }
        for (timer, _) in core.timers() {
            self.timers.insert(timer, name.clone());
        }
        let active_now = core.state.active();
        if active_now != active || core.sub(kind) != sub {
            core.since = now;
        }
        if active_now != active {
            core.note_move(now, active, active_now);
            self.moves.push(Move {
                unit: name.clone(),
                from: active,
                to: active_now,
                unexpected: !expected && !core.job.is_some_and(|job| job.is_running()),
            });
        }
        if core.run.limit_hit && !limit_hit && active_now == active {
            // Nothing of it has changed, but who waits for it waits in vain.
            self.moves.push(Move {
                unit: name.clone(),
                from: active,
                to: active,
                unexpected: false,
            });
        }
        if matches!(core.state, State::Idling { .. }) {
            self.idling.insert(name.clone());
        } else {
            self.idling.remove(name);
        }
        let dead = core.state.is_dead();
        if core.job.is_some() || core.is_restart_due() {
            self.busy.insert(name.clone());
            self.dirty.insert(name.clone());
        } else {
            self.busy.remove(name);
            self.blockers.remove(name);
        }
        if dead && active_now != active && unit.slice.is_some() {
            self.wake_waiting(name);
        }
    }

    /// Puts the effects in order and says who changed.
    fn collect(&mut self) -> Vec<Effect> {
        self.look_for_garbage();
        let mut out = std::mem::take(&mut self.out);
        // Stable: within each group the order is that in which things were decided.
        out.sort_by_key(|effect| !is_work(effect));
        for (unit, before) in std::mem::take(&mut self.touched) {
            let Some(record) = self.records.get(&unit) else {
                continue;
            };
            let core = &record.core;
            if core.undefined && record.may_go() {
                self.gone.push_back(record.view());
                if self.gone.len() > GONE {
                    self.gone.pop_front();
                }
                let slice = record.unit.slice.clone();
                self.unplace(&unit, slice.as_ref());
                self.records.remove(&unit);
                self.graph.forget(&unit);
                self.blockers.clear();
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
        let mut view = self.records.get(unit).map(Record::view)?;
        if let Some((slice, most)) = self.waits_for_place(unit) {
            view.why = format!("waits for a place in {slice}, which has {most}");
        }
        Some(view)
    }

    /// As [`Self::view`]; of a unit that was forgotten just now, what it was like at its end.
    #[must_use]
    pub fn last_view(&self, unit: &UnitName) -> Option<View> {
        let gone = || self.gone.iter().rfind(|view| view.name == *unit).cloned();
        self.view(unit).or_else(gone)
    }

    /// Every unit as seen from outside, by name.
    pub fn views(&self) -> impl Iterator<Item = View> {
        self.records.keys().filter_map(|name| self.view(name))
    }

    /// The local time zone.
    #[must_use]
    pub const fn zone(&self) -> &Zone {
        &self.zone
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

    /// Timers, sockets and paths that start this unit.
    #[must_use]
    pub fn triggered_by(&self, unit: &UnitName) -> Vec<UnitName> {
        self.graph.triggered_by(unit)
    }

    /// Who requires this unit, directly.
    pub fn required_by(&self, unit: &UnitName) -> impl Iterator<Item = &UnitName> {
        self.graph.required_by(unit)
    }

    /// The number that a forking service's main process gets, while it is looked for.
    #[must_use]
    pub fn awaits_main(&self, unit: &UnitName) -> Option<SpawnId> {
        match self.records.get(unit)?.core.state {
            State::Seeking { spawn, .. } => Some(spawn),
            _ => None,
        }
    }

    /// The main process of a unit, asked for or alive.
    #[must_use]
    pub fn main_spawn(&self, unit: &UnitName) -> Option<SpawnId> {
        let record = self.records.get(unit)?;
        record.core.state.main().map(Process::spawn)
    }
}

impl Record {
    const fn new(unit: Arc<Unit>, core: Snapshot) -> Self {
        Self {
            unit,
            core,
            lapsed: false,
        }
    }

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
        let Self { unit, core, .. } = self;
        let pid = |process: Option<Process>| process.and_then(Process::alive).map(|p| p.pid);
        let run = core.run.clone();
        View {
            name: unit.name.clone(),
            description: unit.description.clone(),
            active: core.state.active(),
            sub: core.sub(unit.name.kind()).to_owned(),
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
            active_exit: core.active_exit,
            inactive_enter: core.inactive_enter,
            inactive_exit: core.inactive_exit,
            triggered_by: run.triggered_by,
            unmet_assert: run.unmet.as_ref().is_some_and(|condition| condition.assert),
            unmet: run.unmet.map(|condition| condition.to_string()),
            next_elapse: if matches!(core.state, State::Waiting { .. }) {
                (core.trigger.next_realtime, core.trigger.next_monotonic)
            } else {
                (None, None)
            },
            last_trigger: core.trigger.last,
            accepted: core.trigger.accepted,
            waits_for_approval: run.approval,
            holder: core.holder.clone(),
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
        | Effect::Check { .. }
        | Effect::Find { .. }
        | Effect::WatchName { .. }
        | Effect::Open { .. }
        | Effect::Await { .. }
        | Effect::Ignore { .. }
        | Effect::Stamp { .. }
        | Effect::Sweep { .. }
        | Effect::Release { .. } => true,
        Effect::Act { .. }
        | Effect::Collect { .. }
        | Effect::Forget { .. }
        | Effect::Answer { .. }
        | Effect::JobNew { .. }
        | Effect::JobEnded { .. }
        | Effect::Changed { .. }
        | Effect::Log { .. } => false,
    }
}
