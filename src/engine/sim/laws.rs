//! The laws, and where each is held against what the engine does.

use std::fmt;

use crate::engine::event::{Effect, Event, JobResult, JobType, Role, SpawnId};
use crate::engine::job::Phase;
use crate::engine::sim::World;
use crate::engine::state::{Deadline, Process};
use crate::engine::view::{ActiveState, Outcome};
use crate::name::{Invocation, UnitName};
use crate::unit::{Action, StartType};

/// What holds whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// At most one live main process per unit.
    OneMainProcess,
    /// Nothing starts before what it is ordered after has settled.
    OrderIsKept,
    /// Every accepted job ends exactly once.
    JobsEndOnce,
    /// After a finished stop there is no process, timer or cgroup of that unit.
    StopLeavesNothing,
    /// Starts stay within the start limit.
    StartLimit,
    /// A stop during a start never leaves it running.
    StopWins,
    /// A paused agent is never restarted, stopped by a limit, written to, or charged for the time.
    PausedIsLeftAlone,
    /// Snapshot → restore → same future.
    SameFuture,
    /// The same events through a fresh engine yield the same effects.
    ReplayIsExact,
    /// No more units than `MaxConcurrent=` below a slice are up at once.
    PlacesAreKept,
    /// A start that could run does run: nothing waits for nothing.
    NothingWaitsForNothing,
    /// Every timer that the engine waits for is set, and no other.
    TimersAreExact,
    /// What is over and needed by nobody is forgotten, and nothing else is.
    GarbageGoes,
    /// Nothing is done to Aether on a unit's account but what is written there.
    ActionsAreWritten,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl World {
    /// Jobs are counted as they come and go.
    pub(super) fn check_jobs(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::JobNew { job, unit, kind } => {
                    let old = self.open.insert(*job, (unit.clone(), *kind));
                    self.hold(old.is_none(), Law::JobsEndOnce, || {
                        format!("job {job} of {unit} was made twice")
                    });
                }
                Effect::JobEnded {
                    job,
                    unit,
                    kind,
                    result,
                } => {
                    let was = self.open.remove(job);
                    let known = was == Some((unit.clone(), *kind));
                    let once = self.ended.insert(*job);
                    self.hold(known && once, Law::JobsEndOnce, || {
                        format!("job {job} of {unit} ended and was {was:?}, once: {once}")
                    });
                    if *kind == JobType::Stop && *result == JobResult::Done {
                        self.check_gone(unit, effects);
                    }
                }
                _ => {}
            }
        }
    }

    /// At the moment of a start.
    pub(super) fn check_spawn(&mut self, unit: &UnitName, role: Role, invocation: Invocation) {
        if matches!(role, Role::Main(_)) {
            let other = self.main(unit);
            self.hold(other.is_none(), Law::OneMainProcess, || {
                format!("{unit} has a main process, {other:?}, and starts another")
            });
            let frozen = self.frozen.contains(unit);
            self.hold(!frozen, Law::PausedIsLeftAlone, || {
                format!("{unit} was started while it was paused")
            });
        }
        if self.seen.insert(unit.clone(), invocation) == Some(invocation) {
            return;
        }
        let alone = self
            .engine
            .records
            .get(unit)
            .and_then(|record| record.core.job)
            .is_some_and(|job| job.alone);
        // Between the beginning of the start and this there may have been time for newer jobs.
        let late = self.engine.records.get(unit).is_some_and(|record| {
            let idle = record.unit.service.as_ref().map(|service| service.start);
            idle == Some(StartType::Idle) || !record.unit.conditions.is_empty()
        });
        let own = self
            .engine
            .records
            .get(unit)
            .and_then(|record| record.core.job)
            .map(|job| job.id);
        let busy: Option<UnitName> = self
            .engine
            .graph
            .earlier(unit)
            .find(|earlier| {
                self.open.values().any(|(other, kind)| {
                    other == *earlier
                        && matches!(kind, JobType::Start | JobType::Stop | JobType::Restart)
                }) && self
                    .engine
                    .records
                    .get(*earlier)
                    .and_then(|record| record.core.job)
                    .is_some_and(|job| !(job.alone || late && Some(job.id) > own))
            })
            .cloned();
        self.hold(busy.is_none() || alone, Law::OrderIsKept, || {
            format!("{unit} was started before {busy:?} had settled")
        });
        self.check_limit(unit);
    }

    fn check_limit(&mut self, unit: &UnitName) {
        if self.free.remove(unit) {
            return;
        }
        let Some(record) = self.engine.records.get(unit) else {
            return;
        };
        let limit = record.unit.start_limit;
        let window = u64::try_from(limit.interval.as_micros()).unwrap_or(u64::MAX);
        let starts = self.starts.entry(unit.clone()).or_default();
        starts.push(self.now);
        starts.retain(|at| self.now.saturating_sub(*at) < window);
        let count = starts.len();
        self.hold(count <= limit.burst as usize, Law::StartLimit, || {
            format!(
                "{unit} was started {count} times within {:?}",
                limit.interval
            )
        });
    }

    fn check_gone(&mut self, unit: &UnitName, batch: &[Effect]) {
        let left = self.of(unit);
        self.hold(left.is_empty(), Law::StopLeavesNothing, || {
            format!("{unit} has stopped and {left:?} are left")
        });
        let Some(record) = self.engine.records.get(unit) else {
            return;
        };
        let owns = record.unit.service.is_some();
        let core = &record.core;
        let going = core.job.is_some();
        let dead = core.state.is_dead();
        let timers = core.timers().count();
        let release = batch
            .iter()
            .any(|effect| matches!(effect, Effect::Release { unit: u } if u == unit));
        let never = !self.seen.contains_key(unit);
        let released = release || never || !owns || self.released.contains(unit);
        self.hold(released, Law::StopLeavesNothing, || {
            format!("{unit} has stopped and was not released")
        });
        self.hold(dead || going, Law::StopWins, || {
            format!("{unit} runs after its stop")
        });
        self.hold(timers == 0 || going, Law::StopLeavesNothing, || {
            format!("{unit} has stopped and left a timer")
        });
    }

    /// What holds after every event.
    pub(super) fn check(&mut self) {
        let mut found: Vec<(Law, String)> = vec![];
        let mut set = 0;
        for (name, record) in &self.engine.records {
            let core = &record.core;
            let still = core.freezer.is_paused() || core.run.approval;
            if still && !core.state.is_stopping() {
                let clocks = [
                    core.state.deadline(),
                    core.clocks.runtime,
                    core.clocks.watchdog,
                ];
                let restart =
                    core.run.approval && !core.freezer.is_paused() && core.state.main().is_none();
                if clocks
                    .iter()
                    .any(|clock| matches!(clock, Deadline::At { .. }))
                    && !restart
                {
                    found.push((
                        Law::PausedIsLeftAlone,
                        format!(
                            "a clock of {name} runs while it is paused: {:?}",
                            core.state
                        ),
                    ));
                }
            }
            for (timer, at) in core.timers() {
                set += 1;
                if self.timers.get(&timer) != Some(&at)
                    || self.engine.timers.get(&timer) != Some(name)
                {
                    found.push((
                        Law::TimersAreExact,
                        format!("{name} waits for {timer:?}, which is not set"),
                    ));
                }
            }
            if core.state.is_dead() {
                let left: Vec<SpawnId> = self.of(name);
                if !left.is_empty() {
                    found.push((
                        Law::StopLeavesNothing,
                        format!("{name} is dead and has {left:?}"),
                    ));
                }
            }
        }
        if self.timers.len() != set || self.engine.timers.len() != set {
            let text = format!(
                "{:?} are set, {set} waited for: {:?}",
                self.timers, self.engine.timers
            );
            found.push((Law::TimersAreExact, text));
        }
        for record in self.engine.records.values() {
            let Some(most) = record
                .unit
                .slice_limits
                .as_ref()
                .and_then(|limits| limits.max_concurrent)
            else {
                continue;
            };
            let up = self
                .engine
                .records
                .values()
                .filter(|other| other.unit.slice.as_ref() == Some(&record.unit.name))
                .filter(|other| !other.core.state.is_dead())
                .count();
            if up > most as usize {
                let text = format!("{up} units below {} are up, of {most}", record.unit.name);
                found.push((Law::PlacesAreKept, text));
            }
        }
        for (name, record) in &self.engine.records {
            let Some(job) = record.core.job else { continue };
            if job.phase == Phase::StartWaiting
                && job.kind == JobType::Start
                && record.core.state.is_startable()
                && !self.engine.is_blocked(name, &job)
                && self.engine.has_place(name, &job)
            {
                let text = format!("{name} waits to start, for nothing");
                found.push((Law::NothingWaitsForNothing, text));
            }
        }
        for (law, text) in found {
            self.break_law(law, text);
        }
    }

    /// Only what is written is done to Aether.
    pub(super) fn check_action(&mut self, unit: &UnitName, action: Action) {
        let written = self.units.iter().any(|known| {
            let mut all = known.settings.actions.written();
            known.name == *unit && all.any(|(_, written)| written == action)
        });
        self.hold(written, Law::ActionsAreWritten, || {
            format!("{unit} asks for {action}, which nobody wrote")
        });
    }

    /// A unit is forgotten: nothing of it may be left, and whoever has it later has a new one.
    pub(super) fn forget(&mut self, unit: &UnitName) {
        let left = self.of(unit);
        let job = self.open.values().find(|(other, _)| other == unit).cloned();
        self.hold(left.is_empty() && job.is_none(), Law::GarbageGoes, || {
            format!("{unit} was forgotten with {left:?} and {job:?}")
        });
        let known = self.engine.records.contains_key(unit);
        self.hold(!known, Law::GarbageGoes, || {
            format!("{unit} is known after it was forgotten")
        });
        self.starts.remove(unit);
        self.seen.remove(unit);
        self.free.remove(unit);
        self.awaited.remove(unit);
    }

    /// When everything has been answered, nobody waits to be forgotten.
    pub(super) fn check_forgotten(&mut self) {
        while let Some(unit) = self.pending.iter().find_map(|(unit, queue)| {
            let asked = |event: &Event| matches!(event, Event::Collect { .. });
            queue.iter().any(asked).then(|| unit.clone())
        }) {
            if let Some(queue) = self.pending.get_mut(&unit) {
                queue.retain(|event| !matches!(event, Event::Collect { .. }));
            }
            self.tell(Event::Collect { unit });
        }
        let left = self
            .engine
            .records
            .keys()
            .find(|unit| self.engine.is_garbage(unit));
        if let Some(unit) = left.cloned() {
            let text = format!("{unit} is over, and nobody forgets it");
            self.break_law(Law::GarbageGoes, text);
        }
    }

    /// A clock that rings must not end what is paused.
    pub(super) fn hold_still(&mut self, event: &Event) {
        if !matches!(event, Event::TimerFired { .. }) {
            return;
        }
        let ended = self.frozen.iter().find(|unit| {
            self.engine.records.get(*unit).is_some_and(|record| {
                record.core.freezer.is_paused()
                    && matches!(
                        record.core.run.outcome,
                        Outcome::Watchdog | Outcome::Timeout
                    )
                    && record.core.state.active() == ActiveState::Active
                    && record.core.state.main().and_then(Process::alive).is_some()
            })
        });
        if let Some(unit) = ended.cloned() {
            let text = format!("{unit} hit a limit while it was paused");
            self.break_law(Law::PausedIsLeftAlone, text);
        }
    }
}
