//! A simulated world for the engine: processes that exit, hang, ignore signals or never come to
//! be, a freezer, clocks, and a daemon that is killed. Every effect is checked as it is performed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use crate::engine::Engine;
use crate::engine::event::*;
use crate::engine::restart::SIGCONT;
use crate::engine::state::Deadline;
use crate::engine::tests::{agent, command, name, service};
use crate::name::{Invocation, JobId, UnitName};
use crate::plan::{Enforcement, Failure};
use crate::runtime::{TurnResult, Verdict};
use crate::unit::{KillMode, Restart, StartType, Unit};

#[derive(Debug, Clone)]
enum Action {
    Start(usize),
    Stop(usize, bool),
    Restart(usize),
    Pause(usize),
    Resume(usize),
    Send(usize),
    Exit(usize, u8),
    Memory(usize),
    Turn(usize),
    Answer(usize),
    Tick(u16),
    Crash,
}

#[derive(Debug)]
struct Process {
    unit: UnitName,
    role: Role,
    stubborn: bool,
}

struct World {
    engine: Engine,
    units: Vec<Unit>,
    now: u64,
    luck: u64,
    processes: BTreeMap<SpawnId, Process>,
    timers: BTreeMap<TimerId, u64>,
    frozen: BTreeSet<UnitName>,
    released: BTreeSet<UnitName>,
    pending: BTreeMap<UnitName, VecDeque<Event>>,
    open: BTreeMap<JobId, (UnitName, JobType)>,
    ended: BTreeSet<JobId>,
    seen: BTreeMap<UnitName, Invocation>,
    free: BTreeSet<UnitName>,
    policy_starts: BTreeMap<UnitName, Vec<u64>>,
    told: Vec<(Now, Event, Vec<Effect>)>,
    /// The engine before a crash, which must foresee what the restored one does.
    shadow: Option<Engine>,
    requests: u64,
}

fn units() -> Vec<Unit> {
    let mut a = service("a.service");
    let s = a.service.as_mut().unwrap();
    s.start = StartType::Simple;
    s.restart = Restart::Always;
    s.runtime_max = Some(Duration::from_secs(40));
    let mut b = agent("b.agent");
    b.relations.requires = vec![name("a.service")];
    b.relations.after = vec![name("a.service")];
    let mut c = service("c.service");
    c.relations.wants = vec![name("b.agent")];
    c.relations.after = vec![name("b.agent")];
    let s = c.service.as_mut().unwrap();
    s.start = StartType::Notify;
    s.kill_mode = KillMode::Mixed;
    s.exec_start_pre = vec![command("pre")];
    s.exec_stop = vec![command("stop")];
    s.exec_stop_post = vec![command("post")];
    s.restart = Restart::OnFailure;
    s.restart_sec = Duration::ZERO;
    let mut d = service("d.service");
    d.relations.conflicts = vec![name("c.service")];
    d.relations.part_of = vec![name("a.service")];
    let s = d.service.as_mut().unwrap();
    s.start = StartType::Oneshot;
    s.exec_start_post = vec![command("after")];
    let mut t = service("t.target");
    t.service = None;
    t.relations.requires = vec![name("c.service")];
    t.relations.after = vec![name("c.service")];
    vec![a, b, c, d, t]
}

impl World {
    fn new(seed: u64) -> Self {
        let units = units();
        let mut world = Self {
            engine: Engine::new(),
            units: units.clone(),
            now: 1_000_000,
            luck: seed | 1,
            processes: BTreeMap::new(),
            timers: BTreeMap::new(),
            frozen: BTreeSet::new(),
            released: BTreeSet::new(),
            pending: BTreeMap::new(),
            open: BTreeMap::new(),
            ended: BTreeSet::new(),
            seen: BTreeMap::new(),
            free: BTreeSet::new(),
            policy_starts: BTreeMap::new(),
            told: Vec::new(),
            shadow: None,
            requests: 0,
        };
        for unit in units {
            world.tell(Event::Defined(Box::new(unit)));
        }
        world
    }

    fn chance(&mut self, of: u64) -> bool {
        self.luck ^= self.luck << 13;
        self.luck ^= self.luck >> 7;
        self.luck ^= self.luck << 17;
        self.luck.is_multiple_of(of)
    }

    fn clock(&self) -> Now {
        Now {
            monotonic: self.now,
            realtime: self.now,
        }
    }

    fn later(&mut self, unit: &UnitName, event: Event) {
        self.pending
            .entry(unit.clone())
            .or_default()
            .push_back(event);
    }

    fn tell(&mut self, event: Event) {
        let now = self.clock();
        let effects = self.engine.handle(now, event.clone());
        if let Some(shadow) = &mut self.shadow {
            let foreseen = shadow.handle(now, event.clone());
            assert_eq!(effects, foreseen, "a restored engine goes another way");
        }
        self.told.push((now, event, effects.clone()));
        self.perform(effects);
        self.check();
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in &effects {
            match effect {
                Effect::JobNew { job, unit, kind } => {
                    assert!(self.open.insert(*job, (unit.clone(), *kind)).is_none());
                }
                Effect::JobEnded {
                    job,
                    unit,
                    kind,
                    result,
                } => {
                    let was = self.open.remove(job);
                    assert_eq!(
                        was,
                        Some((unit.clone(), *kind)),
                        "a job ended that was not open"
                    );
                    assert!(self.ended.insert(*job), "a job ended twice");
                    if *kind == JobType::Stop && *result == JobResult::Done {
                        self.check_gone(unit, &effects);
                    }
                }
                _ => {}
            }
        }
        for (at, effect) in effects.iter().enumerate() {
            match effect.clone() {
                Effect::Spawn {
                    unit,
                    spawn,
                    role,
                    invocation,
                    ..
                } => {
                    self.check_spawn(&unit, role, invocation);
                    self.released.remove(&unit);
                    if self.chance(12) {
                        let failure = failure("exec");
                        self.later(
                            &unit,
                            Event::SpawnFailed {
                                unit: unit.clone(),
                                spawn,
                                failure,
                            },
                        );
                        continue;
                    }
                    let stubborn = self.chance(4);
                    let process = Process {
                        unit: unit.clone(),
                        role,
                        stubborn,
                    };
                    self.processes.insert(spawn, process);
                    let pid = u32::try_from(spawn.0).unwrap();
                    self.later(
                        &unit,
                        Event::Spawned {
                            unit: unit.clone(),
                            spawn,
                            pid,
                        },
                    );
                    let enforcement = Enforcement::default();
                    self.later(
                        &unit,
                        Event::Executed {
                            unit: unit.clone(),
                            spawn,
                            enforcement,
                        },
                    );
                    if matches!(role, Role::Main(_)) {
                        if self.chance(2) {
                            self.later(&unit, Event::Ready { unit: unit.clone() });
                        }
                    } else if !stubborn {
                        let code = u8::from(self.chance(8));
                        self.end(spawn, ExitStatus::Exited(code), None);
                    }
                    if unit.as_str() == "d.service" && !stubborn && matches!(role, Role::Main(_)) {
                        self.end(spawn, ExitStatus::Exited(0), None);
                    }
                }
                Effect::Signal { unit, signal, .. } => {
                    if signal != SIGCONT && !self.frozen.contains(&unit) {
                        for spawn in self.of(&unit) {
                            if !self.processes[&spawn].stubborn {
                                self.end(spawn, ExitStatus::Killed(signal), None);
                            }
                        }
                    }
                }
                Effect::CloseInput { unit } => {
                    if self.chance(2)
                        && let Some(spawn) = self.main(&unit)
                    {
                        self.end(spawn, ExitStatus::Exited(0), Some(Verdict::Completed));
                    }
                }
                Effect::KillAll { unit } => {
                    for spawn in self.of(&unit) {
                        self.end(spawn, ExitStatus::Killed(9), None);
                    }
                    self.later(&unit, Event::Emptied { unit: unit.clone() });
                }
                Effect::Freeze { unit } => {
                    self.supersede(&unit);
                    if self.chance(8) {
                        // What could not be frozen whole is left running whole.
                        self.frozen.remove(&unit);
                        let failure = failure("freeze");
                        self.later(
                            &unit,
                            Event::FreezeFailed {
                                unit: unit.clone(),
                                failure,
                            },
                        );
                    } else {
                        self.frozen.insert(unit.clone());
                        self.later(&unit, Event::Frozen { unit: unit.clone() });
                    }
                }
                Effect::Thaw { unit } => {
                    self.supersede(&unit);
                    self.frozen.remove(&unit);
                    self.later(&unit, Event::Thawed { unit: unit.clone() });
                }
                Effect::Deliver { unit, input, .. } => {
                    assert!(
                        !self.frozen.contains(&unit),
                        "a paused agent was written to"
                    );
                    self.later(
                        &unit,
                        Event::InputDelivered {
                            unit: unit.clone(),
                            input,
                        },
                    );
                    self.later(&unit, Event::InputConsumed { unit: unit.clone() });
                }
                Effect::SetTimer { timer, at } => {
                    self.timers.insert(timer, at);
                }
                Effect::DropTimer { timer } => {
                    self.timers.remove(&timer);
                }
                Effect::Release { unit } => {
                    assert!(self.of(&unit).is_empty(), "released with a process in it");
                    self.frozen.remove(&unit);
                    self.released.insert(unit);
                }
                Effect::Changed { .. } => {
                    let rest = &effects[at..];
                    assert!(rest.iter().all(|e| matches!(e, Effect::Changed { .. })));
                }
                Effect::Interrupt { .. }
                | Effect::Forget { .. }
                | Effect::Answer { .. }
                | Effect::JobNew { .. }
                | Effect::JobEnded { .. }
                | Effect::Log { .. } => {}
            }
        }
    }

    /// Only the last freeze or thaw is answered; and none to a daemon that is dead.
    fn supersede(&mut self, unit: &UnitName) {
        if let Some(queue) = self.pending.get_mut(unit) {
            queue.retain(|event| {
                !matches!(
                    event,
                    Event::Frozen { .. } | Event::Thawed { .. } | Event::FreezeFailed { .. }
                )
            });
        }
    }

    fn of(&self, unit: &UnitName) -> Vec<SpawnId> {
        let all = self.processes.iter();
        all.filter(|(_, p)| p.unit == *unit)
            .map(|(spawn, _)| *spawn)
            .collect()
    }

    fn main(&self, unit: &UnitName) -> Option<SpawnId> {
        let main = |p: &Process| p.unit == *unit && matches!(p.role, Role::Main(_));
        self.processes
            .iter()
            .find(|(_, p)| main(p))
            .map(|(spawn, _)| *spawn)
    }

    fn end(&mut self, spawn: SpawnId, status: ExitStatus, verdict: Option<Verdict>) {
        let Some(process) = self.processes.remove(&spawn) else {
            return;
        };
        let unit = process.unit;
        if verdict == Some(Verdict::SessionLost) {
            self.free.insert(unit.clone());
        }
        self.later(
            &unit.clone(),
            Event::Exited {
                unit,
                spawn,
                status,
                verdict,
            },
        );
    }

    /// Invariants 1, 2, 5 and 7 at the moment of a start.
    fn check_spawn(&mut self, unit: &UnitName, role: Role, invocation: Invocation) {
        assert!(
            self.engine.view(unit).is_some(),
            "an effect names an unknown unit"
        );
        if matches!(role, Role::Main(_)) {
            assert_eq!(self.main(unit), None, "two main processes of {unit}");
            assert!(
                !self.frozen.contains(unit),
                "{unit} was started while paused"
            );
        }
        if self.seen.insert(unit.clone(), invocation) == Some(invocation) {
            return;
        }
        for earlier in self.engine.graph.earlier(unit) {
            let busy = self.open.values().any(|(other, kind)| {
                *other == earlier
                    && matches!(kind, JobType::Start | JobType::Stop | JobType::Restart)
            });
            assert!(!busy, "{unit} was started before {earlier} had settled");
        }
        let job = self.engine.records[unit]
            .core
            .job
            .expect("a start has a job");
        if !job.by_policy {
            self.policy_starts.remove(unit);
        } else if !self.free.remove(unit) {
            let limit = self.engine.records[unit].unit.start_limit;
            let starts = self.policy_starts.entry(unit.clone()).or_default();
            starts.push(self.now);
            let window = u64::try_from(limit.interval.as_micros()).unwrap();
            let recent = starts.iter().filter(|at| self.now - **at < window).count();
            assert!(
                recent <= limit.burst as usize,
                "{unit} was restarted beyond its limit"
            );
        }
    }

    /// Invariants 4 and 6.
    fn check_gone(&self, unit: &UnitName, batch: &[Effect]) {
        assert!(
            self.of(unit).is_empty(),
            "{unit} has stopped and a process is left"
        );
        let release = batch
            .iter()
            .any(|e| matches!(e, Effect::Release { unit: u } if u == unit));
        let never = !self.seen.contains_key(unit);
        assert!(
            release || never || self.released.contains(unit),
            "{unit} was not released"
        );
        let core = &self.engine.records[unit].core;
        assert!(
            core.state.is_dead() || core.job.is_some(),
            "{unit} runs after its stop"
        );
        assert!(
            core.timer().is_none() || core.job.is_some(),
            "{unit} left a timer"
        );
    }

    /// What holds after every event.
    fn check(&self) {
        for (name, record) in &self.engine.records {
            let core = &record.core;
            if core.freezer.is_paused() && !core.state.is_stopping() {
                let ticking = matches!(core.state.deadline(), Deadline::At { .. });
                assert!(!ticking, "a clock of {name} runs while it is paused");
            }
            if let Some((timer, at)) = core.timer() {
                assert_eq!(
                    self.timers.get(&timer),
                    Some(&at),
                    "{name} waits for no timer"
                );
                assert_eq!(self.engine.timers.get(&timer), Some(name));
            }
            if core.state.is_dead() {
                assert!(self.of(name).is_empty(), "{name} is dead and has a process");
            }
        }
        assert_eq!(
            self.timers.len(),
            self.engine.timers.len(),
            "a timer is left over"
        );
    }

    fn ask(&mut self, request: Request) {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.tell(Event::Requested { id, request });
    }

    fn answer(&mut self, choice: usize) -> bool {
        self.pending.retain(|_, queue| !queue.is_empty());
        let Some(unit) = self
            .pending
            .keys()
            .nth(choice % self.pending.len().max(1))
            .cloned()
        else {
            return false;
        };
        match self.pending.get_mut(&unit).and_then(VecDeque::pop_front) {
            Some(event) => self.tell(event),
            None => return false,
        }
        true
    }

    fn tick(&mut self, micros: u64) {
        let end = self.now + micros;
        for _ in 0..1000 {
            let due = self
                .timers
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(t, at)| (*t, *at));
            match due {
                Some((timer, at)) if at <= end => {
                    self.now = self.now.max(at);
                    self.timers.remove(&timer);
                    self.tell(Event::TimerFired { timer });
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// The daemon is killed: a start that nobody recorded is lost, all else goes on.
    fn crash(&mut self) {
        for (unit, queue) in &mut self.pending {
            let lost: Vec<SpawnId> = queue
                .iter()
                .filter_map(|event| match event {
                    Event::Spawned { spawn, .. } => Some(*spawn),
                    _ => None,
                })
                .collect();
            for spawn in lost {
                self.processes.remove(&spawn);
                self.free.insert(unit.clone());
                queue.retain(|event| {
                    !matches!(event, Event::Spawned { spawn: s, .. }
                        | Event::Executed { spawn: s, .. }
                        | Event::Exited { spawn: s, .. } if *s == spawn)
                });
                let unit = unit.clone();
                let failure = failure("lost");
                queue.push_front(Event::SpawnFailed {
                    unit,
                    spawn,
                    failure,
                });
            }
        }
        let kept = self
            .engine
            .records
            .iter()
            .map(|(name, record)| {
                let snapshot = self.engine.snapshot(name).unwrap();
                // What is kept goes through text, as it does on disk.
                let text = serde_json::to_string(&snapshot).unwrap();
                ((*record.unit).clone(), serde_json::from_str(&text).unwrap())
            })
            .collect();
        let restored = Engine::restore(self.engine.counters(), kept);
        let now = self.clock();
        let mut shadow = std::mem::replace(&mut self.engine, restored);
        let effects = self.engine.resume(now);
        // What is asked for again is no decision of the restored one alone.
        assert_eq!(
            shadow.resume(now),
            effects,
            "a restored engine asks for something else"
        );
        self.shadow = Some(shadow);
        assert!(!effects.iter().any(|e| matches!(e, Effect::Spawn { .. })));
        self.perform(effects);
        self.check();
    }

    fn act(&mut self, action: &Action) {
        let unit = |index: &usize| self.units[index % self.units.len()].name.clone();
        let mode = JobMode::Replace;
        match action {
            Action::Start(i) => self.ask(Request::Start {
                unit: unit(i),
                mode,
            }),
            Action::Stop(i, force) => {
                self.ask(Request::Stop {
                    unit: unit(i),
                    mode,
                    force: *force,
                });
            }
            Action::Restart(i) => self.ask(Request::Restart {
                unit: unit(i),
                mode,
            }),
            Action::Pause(i) => self.ask(Request::Pause {
                unit: unit(i),
                reason: "tea".into(),
            }),
            Action::Resume(i) => self.ask(Request::Resume { unit: unit(i) }),
            Action::Send(i) => self.ask(Request::Send {
                unit: unit(i),
                text: "hello".into(),
            }),
            Action::Exit(i, how) => {
                if let Some(spawn) = self.main(&unit(i)) {
                    let verdicts = [
                        Some(Verdict::Completed),
                        Some(Verdict::Failed { reason: "x".into() }),
                        Some(Verdict::SessionLost),
                        None,
                    ];
                    let agent = self.processes[&spawn].unit.as_str() == "b.agent";
                    let verdict = if agent {
                        verdicts[usize::from(how % 4)].clone()
                    } else {
                        None
                    };
                    let status = match how % 3 {
                        0 => ExitStatus::Exited(0),
                        1 => ExitStatus::Exited(3),
                        _ => ExitStatus::Killed(9),
                    };
                    self.end(spawn, status, verdict);
                }
            }
            Action::Memory(i) => {
                let unit = unit(i);
                self.later(&unit.clone(), Event::OutOfMemory { unit });
            }
            Action::Turn(i) => {
                let result = TurnResult::default();
                let unit = unit(i);
                self.later(&unit.clone(), Event::TurnEnded { unit, result });
            }
            Action::Answer(i) => {
                self.answer(*i);
            }
            Action::Tick(millis) => self.tick(u64::from(*millis) * 1000),
            Action::Crash => self.crash(),
        }
    }

    /// The world answers everything; then every job must have ended.
    fn settle(&mut self) {
        for index in 0..self.units.len() {
            self.act(&Action::Resume(index));
        }
        for _ in 0..2000 {
            if self.open.is_empty() {
                return;
            }
            if !self.answer(0) {
                for index in 0..self.units.len() {
                    self.act(&Action::Resume(index));
                }
                self.tick(10_000_000);
            }
        }
        panic!("jobs that never end: {:?}", self.open);
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

fn action() -> impl Strategy<Value = Action> {
    let unit = 0..5_usize;
    prop_oneof![
        4 => unit.clone().prop_map(Action::Start),
        2 => (unit.clone(), any::<bool>()).prop_map(|(u, f)| Action::Stop(u, f)),
        1 => unit.clone().prop_map(Action::Restart),
        2 => unit.clone().prop_map(Action::Pause),
        2 => unit.clone().prop_map(Action::Resume),
        2 => unit.clone().prop_map(Action::Send),
        3 => (unit.clone(), any::<u8>()).prop_map(|(u, h)| Action::Exit(u, h)),
        1 => unit.clone().prop_map(Action::Memory),
        2 => unit.prop_map(Action::Turn),
        24 => (0..5_usize).prop_map(Action::Answer),
        3 => (0..20_000_u16).prop_map(Action::Tick),
        1 => Just(Action::Crash),
    ]
}

fn run(seed: u64, actions: &[Action]) -> World {
    let mut world = World::new(seed);
    for action in actions {
        world.act(action);
    }
    world.settle();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every check of `World` holds, whatever happens in whatever order: one main process, order,
    /// jobs that end once, nothing left after a stop, limits, pauses, crashes, known units.
    #[test]
    fn the_invariants_hold(seed: u64, actions in prop::collection::vec(action(), 1..150)) {
        run(seed, &actions);
    }

    /// The same events through a fresh engine yield the same effects.
    #[test]
    fn replay_yields_the_same_effects(
        seed: u64,
        actions in prop::collection::vec(action(), 1..100),
    ) {
        let actions: Vec<Action> =
            actions.into_iter().filter(|a| !matches!(a, Action::Crash)).collect();
        let world = run(seed, &actions);
        let mut engine = Engine::new();
        for (now, event, effects) in world.told {
            prop_assert_eq!(engine.handle(now, event), effects);
        }
    }

    /// A stop that is asked for at any moment, and answered, leaves nothing running.
    #[test]
    fn a_stop_at_any_moment_leaves_nothing(
        seed: u64,
        actions in prop::collection::vec(action(), 1..80),
    ) {
        let mut world = run(seed, &actions);
        for index in 0..5 {
            world.act(&Action::Stop(index, true));
        }
        world.settle();
        prop_assert!(world.processes.is_empty());
        prop_assert!(world.timers.is_empty());
    }
}
