//! A simulated world for the engine: processes that exit, hang, ignore signals, leave children or
//! never come to be, a freezer, clocks that jump, sockets and paths, and a daemon that is killed.
//!
//! A [`World`] takes [`Action`]s, performs every effect as the daemon would, some time later or
//! never, and holds the engine against the laws of [`Law`]. Everything random comes from one seed,
//! so a history is its seed and its actions. `simulate` (a binary of the feature of that name) runs
//! long histories; the tests below run many short ones.

mod action;
mod laws;
mod perform;
#[cfg(test)]
mod tests;
mod units;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::engine::Engine;
use crate::engine::event::{
    Effect, Event, JobType, Now, Request, RequestId, Role, SpawnId, TimerId,
};
use crate::name::{Invocation, JobId, UnitName};
use crate::plan::Failure;
use crate::unit::Unit;

pub use action::Action;
pub use laws::Law;

/// Numbers that look random, from one seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed; equal seeds give equal numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    /// A number below `end`, which is not zero.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// True once in so many times.
    pub const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[derive(Debug)]
struct Process {
    unit: UnitName,
    /// `None`: a child that was left behind.
    role: Option<Role>,
    stubborn: bool,
}

/// The simulated world around one engine.
#[derive(Debug)]
pub struct World {
    engine: Engine,
    units: Vec<Unit>,
    now: u64,
    /// What the clock of the day is ahead of the other.
    day: u64,
    luck: Random,
    processes: BTreeMap<SpawnId, Process>,
    children: u64,
    timers: BTreeMap<TimerId, u64>,
    frozen: BTreeSet<UnitName>,
    released: BTreeSet<UnitName>,
    /// Whoever is to be told when the unit's cgroup is empty.
    sweeping: BTreeSet<UnitName>,
    /// Sockets and paths that are watched.
    awaited: BTreeSet<UnitName>,
    /// Answers on their way, by unit, in order.
    pending: BTreeMap<UnitName, VecDeque<Event>>,
    open: BTreeMap<JobId, (UnitName, JobType)>,
    ended: BTreeSet<JobId>,
    seen: BTreeMap<UnitName, Invocation>,
    free: BTreeSet<UnitName>,
    starts: BTreeMap<UnitName, Vec<u64>>,
    /// The engine before a crash, which must foresee what the restored one does.
    shadow: Option<Engine>,
    /// Every event with what was decided, when somebody wants them.
    told: Option<Vec<(Now, Event, Vec<Effect>)>>,
    /// The event handled last, and what was decided.
    last: Option<(Event, Vec<Effect>)>,
    broken: Vec<(Law, String)>,
    requests: u64,
    connections: u64,
    steps: u64,
}

impl World {
    /// A world in which nothing runs yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let units = units::units();
        let mut world = Self {
            engine: Engine::new(),
            units: units.clone(),
            now: 1_000_000,
            day: 1_700_000_000_000_000,
            luck: Random::new(seed),
            processes: BTreeMap::new(),
            children: 0,
            timers: BTreeMap::new(),
            frozen: BTreeSet::new(),
            released: BTreeSet::new(),
            sweeping: BTreeSet::new(),
            awaited: BTreeSet::new(),
            pending: BTreeMap::new(),
            open: BTreeMap::new(),
            ended: BTreeSet::new(),
            seen: BTreeMap::new(),
            free: BTreeSet::new(),
            starts: BTreeMap::new(),
            shadow: None,
            told: None,
            last: None,
            broken: Vec::new(),
            requests: 0,
            connections: 0,
            steps: 0,
        };
        for unit in units {
            world.tell(Event::Defined(Box::new(unit)));
        }
        world
    }

    /// Keeps every event from now on, with what was decided.
    pub fn record(&mut self) {
        self.told = Some(Vec::new());
    }

    /// Events that the engine has handled.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Laws that were broken, with what happened; nothing when all is well.
    #[must_use]
    pub fn broken(&self) -> &[(Law, String)] {
        &self.broken
    }

    fn break_law(&mut self, law: Law, text: impl Into<String>) {
        // The first few say it all.
        if self.broken.len() < 8 {
            let text = format!("{}\n  after {:?}", text.into(), self.last);
            self.broken.push((law, text));
        }
    }

    fn hold(&mut self, good: bool, law: Law, text: impl FnOnce() -> String) {
        if !good {
            self.break_law(law, text());
        }
    }

    const fn clock(&self) -> Now {
        Now {
            monotonic: self.now,
            realtime: self.now.saturating_add(self.day),
        }
    }

    fn later(&mut self, unit: &UnitName, event: Event) {
        self.pending
            .entry(unit.clone())
            .or_default()
            .push_back(event);
    }

    fn tell(&mut self, event: Event) {
        self.steps += 1;
        let now = self.clock();
        let effects = self.engine.handle(now, event.clone());
        if let Some(shadow) = &mut self.shadow {
            let foreseen = shadow.handle(now, event.clone());
            let same = effects == foreseen;
            self.hold(same, Law::SameFuture, || {
                format!("after {event:?}\n  restored: {effects:?}\n  before: {foreseen:?}")
            });
        }
        self.last = Some((event.clone(), effects.clone()));
        self.hold_still(&event);
        if let Some(told) = &mut self.told {
            told.push((now, event, effects.clone()));
        }
        self.perform(effects);
        self.check();
    }

    fn ask(&mut self, request: Request) {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.tell(Event::Requested { id, request });
    }

    fn of(&self, unit: &UnitName) -> Vec<SpawnId> {
        let all = self.processes.iter();
        all.filter(|(_, process)| process.unit == *unit)
            .map(|(spawn, _)| *spawn)
            .collect()
    }

    fn main(&self, unit: &UnitName) -> Option<SpawnId> {
        let main = |p: &Process| p.unit == *unit && matches!(p.role, Some(Role::Main(_)));
        self.processes
            .iter()
            .find(|(_, process)| main(process))
            .map(|(spawn, _)| *spawn)
    }
}

fn failure(step: &str) -> Failure {
    Failure {
        step: step.into(),
        errno: 0,
        detail: "no".into(),
        help: None,
    }
}
