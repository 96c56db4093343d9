//! What may happen next, and making it happen.

use std::collections::VecDeque;

use crate::engine::Engine;
use crate::engine::event::{Event, ExitStatus, JobMode, Notice, Request, Role, SpawnId};
use crate::engine::sim::{Law, Random, World, failure, units};
use crate::name::UnitName;
use crate::runtime::{TurnResult, Verdict};

/// One happening; numbers choose among units and kinds, whatever they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Somebody asks for a start.
    Start(u8, u8),
    /// For a stop, with or without force.
    Stop(u8, bool),
    /// For a restart, or a restart of what runs.
    Restart(u8, bool),
    /// For a reload, or what comes near it.
    Reload(u8, bool),
    /// For a pause.
    Pause(u8),
    /// For its end.
    Resume(u8),
    /// A message to an agent.
    Send(u8),
    /// A main process exits by itself.
    Exit(u8, u8),
    /// A child that was left behind exits.
    ChildExits(u8),
    /// The kernel kills for memory.
    Memory(u8),
    /// An agent's turn ends.
    Turn(u8),
    /// An agent asks for an approval, or has it.
    Approval(u8, bool),
    /// An agent's budget is spent.
    Budget(u8),
    /// A unit notifies.
    Notify(u8, u8),
    /// Somebody connects, a path is as it should be.
    Trigger(u8),
    /// A unit's file is read (again), or found to be gone.
    Read(u8, bool),
    /// A failure is forgiven.
    Forgive(u8),
    /// The next answer on its way arrives.
    Answer(u8),
    /// Time passes, in milliseconds.
    Tick(u16),
    /// The clock of the day jumps, by so many seconds.
    Jump(i16),
    /// The daemon is killed and goes on from its snapshots.
    Crash,
}

impl Action {
    /// Some action, as likely as it is interesting.
    pub fn random(luck: &mut Random) -> Self {
        let unit = (luck.bits() & 0xff) as u8;
        let more = (luck.bits() & 0xff) as u8;
        let often = more & 1 == 0;
        match luck.below(64) {
            0..=5 => Self::Start(unit, more),
            6..=7 => Self::Stop(unit, often),
            8 => Self::Restart(unit, often),
            9 => Self::Reload(unit, often),
            10..=11 => Self::Pause(unit),
            12..=13 => Self::Resume(unit),
            14 => Self::Send(unit),
            15..=17 => Self::Exit(unit, more),
            18 => Self::ChildExits(unit),
            19 => Self::Memory(unit),
            20 => Self::Turn(unit),
            21 => Self::Approval(unit, often),
            22 => Self::Budget(unit),
            23..=25 => Self::Notify(unit, more),
            26 => Self::Trigger(unit),
            27 => Self::Forgive(unit),
            34 => Self::Read(unit, more.is_multiple_of(8)),
            28..=31 => Self::Tick((luck.bits() & 0x3fff) as u16),
            32 => Self::Jump((luck.bits() & 0xfff) as i16 - 2048),
            33 => Self::Crash,
            _ => Self::Answer(unit),
        }
    }
}

impl World {
    /// Makes it happen.
    pub fn act(&mut self, action: &Action) {
        match *action {
            Action::Start(index, mode) => {
                let mode = match mode % 16 {
                    0 => JobMode::Fail,
                    1 => JobMode::IgnoreDependencies,
                    2 => JobMode::Isolate,
                    _ => JobMode::Replace,
                };
                let unit = self.unit(index);
                self.ask(Request::Start { unit, mode });
            }
            Action::Stop(index, force) => {
                let (unit, mode) = (self.unit(index), JobMode::Replace);
                self.ask(Request::Stop { unit, mode, force });
            }
            Action::Restart(index, only_running) => {
                let (unit, mode) = (self.unit(index), JobMode::Replace);
                self.ask(if only_running {
                    Request::TryRestart { unit, mode }
                } else {
                    Request::Restart { unit, mode }
                });
            }
            Action::Reload(index, plain) => {
                let (unit, mode) = (self.unit(index), JobMode::Replace);
                self.ask(if plain {
                    Request::Reload { unit, mode }
                } else {
                    Request::ReloadOrRestart {
                        unit,
                        mode,
                        only_running: true,
                    }
                });
            }
            Action::Pause(index) => {
                let unit = self.unit(index);
                let reason = "tea".to_owned();
                self.ask(Request::Pause { unit, reason });
            }
            Action::Resume(index) => {
                let unit = self.unit(index);
                self.ask(Request::Resume { unit });
            }
            Action::Send(index) => {
                let unit = self.unit(index);
                let text = "hello".to_owned();
                self.ask(Request::Send { unit, text });
            }
            Action::Forgive(index) => {
                let unit = Some(self.unit(index));
                self.ask(Request::ResetFailed { unit });
            }
            Action::Exit(index, how) => {
                if let Some(spawn) = self.main(&self.unit(index)) {
                    self.exit(spawn, how);
                }
            }
            Action::ChildExits(index) => {
                let child = self.of(&self.unit(index)).into_iter().find(|spawn| {
                    self.processes
                        .get(spawn)
                        .is_some_and(|process| process.role.is_none())
                });
                if let Some(child) = child {
                    self.end(child, ExitStatus::Exited(0), None);
                }
            }
            Action::Memory(index) => {
                let unit = self.unit(index);
                self.later(&unit.clone(), Event::OutOfMemory { unit });
            }
            Action::Turn(index) => {
                let (unit, result) = (self.unit(index), TurnResult::default());
                self.later(&unit.clone(), Event::TurnEnded { unit, result });
            }
            Action::Approval(index, waiting) => {
                let unit = self.unit(index);
                self.later(&unit.clone(), Event::Approval { unit, waiting });
            }
            Action::Budget(index) => {
                let unit = self.unit(index);
                let what = "too dear".to_owned();
                self.later(&unit.clone(), Event::BudgetSpent { unit, what });
            }
            Action::Notify(index, what) => self.notify(index, what),
            Action::Trigger(index) => {
                let unit = self.unit(index);
                if self.awaited.remove(&unit) {
                    self.pull(unit);
                }
            }
            Action::Read(index, gone) => {
                let index = usize::from(index) % self.units.len();
                let unit = self.units[index].clone();
                self.tell(if gone {
                    Event::Undefined(unit.name)
                } else {
                    Event::Defined(Box::new(unit))
                });
            }
            Action::Answer(index) => {
                self.answer(usize::from(index));
            }
            Action::Tick(millis) => self.tick(u64::from(millis) * 1000),
            Action::Jump(seconds) => {
                self.day = self
                    .day
                    .saturating_add_signed(i64::from(seconds) * 1_000_000);
                self.tell(Event::ClockChanged { zone: None });
            }
            Action::Crash => self.crash(),
        }
    }

    fn unit(&self, index: u8) -> UnitName {
        let index = usize::from(index) % self.units.len();
        self.units[index].name.clone()
    }

    /// Somebody connects, and has an instance of its own where the socket says so.
    fn pull(&mut self, unit: UnitName) {
        let accepts = self
            .engine
            .definition(&unit)
            .and_then(|unit| unit.socket.as_ref())
            .is_some_and(|socket| socket.accept);
        if !accepts {
            return self.later(&unit.clone(), Event::Triggered { unit });
        }
        self.connections += 1;
        let Some(instance) = units::connection(self.connections) else {
            return;
        };
        let name = instance.name.clone();
        self.tell(Event::Defined(Box::new(instance)));
        self.tell(Event::Accepted {
            unit,
            instance: name,
        });
    }

    fn exit(&mut self, spawn: SpawnId, how: u8) {
        let agent = self
            .processes
            .get(&spawn)
            .is_some_and(|process| process.unit.as_str().ends_with(".agent"));
        let verdict = match how % 5 {
            0 => Some(Verdict::Completed),
            1 => Some(Verdict::Failed {
                reason: "x".to_owned(),
            }),
            2 => Some(Verdict::SessionLost),
            3 => Some(Verdict::Final {
                reason: "y".to_owned(),
            }),
            _ => None,
        };
        let status = match how % 3 {
            0 => ExitStatus::Exited(0),
            1 => ExitStatus::Exited(3),
            _ => ExitStatus::Killed(9),
        };
        self.end(spawn, status, verdict.filter(|_| agent));
    }

    fn notify(&mut self, index: u8, what: u8) {
        let unit = self.unit(index);
        if self.frozen.contains(&unit) || self.main(&unit).is_none() {
            return;
        }
        let notice = match what % 9 {
            0 | 1 => Notice::Ready,
            2 => Notice::Reloading(self.now),
            3 => Notice::Stopping,
            4 => Notice::MainPid(u32::from(what) + 10),
            5 => Notice::WatchdogTrigger,
            6 => Notice::WatchdogPeriod(5_000_000),
            7 => Notice::ExtendTimeout(7_000_000),
            _ => Notice::Watchdog,
        };
        self.later(&unit.clone(), Event::Notified { unit, notice });
    }

    pub(super) fn end(&mut self, spawn: SpawnId, status: ExitStatus, verdict: Option<Verdict>) {
        let Some(process) = self.processes.remove(&spawn) else {
            return;
        };
        let unit = process.unit;
        if verdict == Some(Verdict::SessionLost) {
            self.free.insert(unit.clone());
        }
        if let Some(role) = process.role {
            // Some leave a child behind; a forking service always does.
            let forking = unit.as_str() == "f.service" || unit.as_str() == "g.service";
            let main = matches!(role, Role::Main(_));
            if main && status == ExitStatus::Exited(0) && (forking || self.luck.one_in(6)) {
                let stubborn = self.luck.one_in(4);
                self.leave_child(&unit, stubborn);
            }
            self.later(
                &unit.clone(),
                Event::Exited {
                    unit: unit.clone(),
                    spawn,
                    status,
                    verdict,
                },
            );
        }
        self.tell_when_empty(&unit);
    }

    fn answer(&mut self, choice: usize) -> bool {
        self.pending.retain(|_, queue| !queue.is_empty());
        let count = self.pending.len().max(1);
        let Some(unit) = self.pending.keys().nth(choice % count).cloned() else {
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
        let units: Vec<UnitName> = self.pending.keys().cloned().collect();
        for unit in units {
            let Some(queue) = self.pending.get_mut(&unit) else {
                continue;
            };
            let lost: Vec<SpawnId> = queue
                .iter()
                .filter_map(|event| match event {
                    Event::Spawned { spawn, .. } => Some(*spawn),
                    _ => None,
                })
                .collect();
            // Questions that were on their way are asked again.
            queue.retain(|event| {
                !matches!(
                    event,
                    Event::Checked { .. }
                        | Event::Opened { .. }
                        | Event::OpenFailed { .. }
                        | Event::Found { .. }
                        | Event::NotFound { .. }
                        | Event::BusName { .. }
                        | Event::Emptied { .. }
                        | Event::Triggered { .. }
                        | Event::Collect { .. }
                )
            });
            for spawn in lost {
                queue.retain(|event| {
                    !matches!(event, Event::Spawned { spawn: s, .. }
                        | Event::Executed { spawn: s, .. }
                        | Event::Exited { spawn: s, .. } if *s == spawn)
                });
                let event = Event::SpawnFailed {
                    unit: unit.clone(),
                    spawn,
                    failure: failure("lost"),
                };
                queue.push_front(event);
                self.processes.remove(&spawn);
                self.free.insert(unit.clone());
            }
        }
        // A process that was found and not told of is nobody's main process.
        let known: Vec<Option<SpawnId>> = self
            .engine
            .records
            .values()
            .map(|record| {
                record
                    .core
                    .state
                    .main()
                    .map(crate::engine::state::Process::spawn)
            })
            .collect();
        for (spawn, process) in &mut self.processes {
            let main = matches!(process.role, Some(Role::Main(_)));
            if main && !known.contains(&Some(*spawn)) {
                process.role = None;
            }
        }
        self.sweeping.clear();
        self.awaited.clear();
        let kept = self
            .engine
            .records
            .values()
            .filter_map(|record| {
                // What is kept goes through text, as it does on disk.
                let text = serde_json::to_string(&record.core).ok()?;
                Some(((*record.unit).clone(), serde_json::from_str(&text).ok()?))
            })
            .collect();
        let restored = Engine::restore(self.engine.counters(), kept);
        let now = self.clock();
        let mut shadow = std::mem::replace(&mut self.engine, restored);
        let effects = self.engine.resume(now);
        // What is asked for again is no decision of the restored one alone.
        let foreseen = shadow.resume(now);
        self.hold(foreseen == effects, Law::SameFuture, || {
            format!("asked again\n  restored: {effects:?}\n  before: {foreseen:?}")
        });
        self.shadow = Some(shadow);
        self.told = None;
        self.perform(effects);
        self.check();
    }

    /// The world answers everything; then every job that was open must have ended.
    pub fn settle(&mut self) {
        let waiting: Vec<_> = self.open.keys().copied().collect();
        self.resume_all();
        for round in 0..20_000_u32 {
            let ended = waiting.iter().all(|job| {
                // For a place somebody else has to make room.
                self.open
                    .get(job)
                    .is_none_or(|(unit, _)| self.engine.waits_for_place(unit).is_some())
            });
            if ended || !self.broken.is_empty() {
                self.check_forgotten();
                return;
            }
            if round % 64 == 0 || !self.answer(0) {
                self.resume_all();
                self.tick(1_000_000);
            }
        }
        let left: Vec<_> = waiting
            .iter()
            .filter_map(|job| self.open.get(job))
            .collect();
        let text = format!("jobs that never end: {left:?}");
        self.break_law(Law::JobsEndOnce, text);
    }

    fn resume_all(&mut self) {
        for unit in 0..u8::try_from(self.units.len()).unwrap_or(u8::MAX) {
            let name = self.unit(unit);
            if self
                .engine
                .view(&name)
                .is_some_and(|view| view.freezer != crate::engine::view::FreezerState::Running)
            {
                self.act(&Action::Resume(unit));
            }
            if self
                .engine
                .view(&name)
                .is_some_and(|view| view.waits_for_approval)
            {
                self.tell(Event::Approval {
                    unit: name,
                    waiting: false,
                });
            }
        }
    }
}
