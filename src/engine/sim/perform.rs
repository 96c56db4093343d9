//! Performing effects as the daemon would: some time later, or never.

use crate::engine::event::{Effect, Event, ExitStatus, Notice, Role, SpawnId};
use crate::engine::restart::SIGCONT;
use crate::engine::sim::{Law, Process, World, failure};
use crate::name::UnitName;
use crate::plan::Enforcement;
use crate::runtime::Verdict;

impl World {
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        self.check_jobs(&effects);
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
                    self.make(&unit, spawn, role);
                }
                Effect::Signal { unit, signal, .. } => self.deliver_signal(&unit, signal),
                Effect::Sweep { unit, signals } => {
                    self.sweeping.insert(unit.clone());
                    for signal in signals {
                        self.deliver_signal(&unit, signal);
                    }
                    self.tell_when_empty(&unit);
                }
                Effect::CloseInput { unit } => {
                    if self.luck.one_in(2)
                        && let Some(spawn) = self.main(&unit)
                    {
                        self.end(spawn, ExitStatus::Exited(0), Some(Verdict::Completed));
                    }
                }
                Effect::KillAll { unit } => {
                    self.sweeping.insert(unit.clone());
                    for spawn in self.of(&unit) {
                        self.end_by_force(spawn);
                    }
                    self.tell_when_empty(&unit);
                }
                Effect::Freeze { unit } => {
                    self.supersede(&unit);
                    if self.luck.one_in(8) {
                        // What could not be frozen whole is left running whole.
                        self.frozen.remove(&unit);
                        let failure = failure("freeze");
                        self.later(&unit.clone(), Event::FreezeFailed { unit, failure });
                    } else {
                        self.frozen.insert(unit.clone());
                        self.later(&unit.clone(), Event::Frozen { unit });
                    }
                }
                Effect::Thaw { unit } => {
                    self.supersede(&unit);
                    self.frozen.remove(&unit);
                    self.later(&unit.clone(), Event::Thawed { unit });
                }
                Effect::Deliver { unit, input, .. } => {
                    let frozen = self.frozen.contains(&unit);
                    self.hold(!frozen, Law::PausedIsLeftAlone, || {
                        format!("{unit} was written to while it was paused")
                    });
                    let unit = || unit.clone();
                    self.later(
                        &unit(),
                        Event::InputDelivered {
                            unit: unit(),
                            input,
                        },
                    );
                    self.later(&unit(), Event::InputConsumed { unit: unit() });
                }
                Effect::SetTimer { timer, at } => {
                    self.timers.insert(timer, at);
                }
                Effect::DropTimer { timer } => {
                    self.timers.remove(&timer);
                }
                Effect::Release { unit } => {
                    let left = self.of(&unit);
                    self.hold(left.is_empty(), Law::StopLeavesNothing, || {
                        format!("{unit} was released with {left:?} in it")
                    });
                    self.frozen.remove(&unit);
                    self.awaited.remove(&unit);
                    self.released.insert(unit);
                }
                Effect::Check { unit } => {
                    let unmet = self
                        .luck
                        .one_in(4)
                        .then(|| self.engine.definition(&unit)?.conditions.first().cloned())
                        .flatten();
                    self.later(&unit.clone(), Event::Checked { unit, unmet });
                }
                Effect::Find { unit, spawn, .. } => self.find(&unit, spawn),
                Effect::WatchName { unit } => {
                    let owned = self.luck.one_in(2);
                    self.later(&unit.clone(), Event::BusName { unit, owned });
                }
                Effect::Open { unit } => {
                    let event = if self.luck.one_in(8) {
                        Event::OpenFailed {
                            unit: unit.clone(),
                            failure: failure("listen"),
                        }
                    } else {
                        Event::Opened {
                            unit: unit.clone(),
                            stamp: None,
                        }
                    };
                    self.later(&unit, event);
                }
                Effect::Await { unit } => {
                    self.awaited.insert(unit);
                }
                Effect::Ignore { unit } => {
                    self.awaited.remove(&unit);
                }
                Effect::Changed { .. } => {
                    let last = effects[at..].iter().all(|effect| {
                        matches!(effect, Effect::Changed { .. } | Effect::Forget { .. })
                    });
                    self.hold(last, Law::ReplayIsExact, || {
                        "something comes after what has changed".to_owned()
                    });
                }
                Effect::Collect { unit } => {
                    self.later(&unit.clone(), Event::Collect { unit });
                }
                Effect::Forget { unit } => self.forget(&unit),
                Effect::Act { unit, action, .. } => self.check_action(&unit, action),
                Effect::Stamp { .. }
                | Effect::Interrupt { .. }
                | Effect::Answer { .. }
                | Effect::JobNew { .. }
                | Effect::JobEnded { .. }
                | Effect::Log { .. } => {}
            }
        }
    }

    fn make(&mut self, unit: &UnitName, spawn: SpawnId, role: Role) {
        let unit = || unit.clone();
        if self.luck.one_in(14) {
            let failure = failure("exec");
            let event = Event::SpawnFailed {
                unit: unit(),
                spawn,
                failure,
            };
            return self.later(&unit(), event);
        }
        let stubborn = self.luck.one_in(4);
        let process = Process {
            unit: unit(),
            role: Some(role),
            stubborn,
        };
        self.processes.insert(spawn, process);
        let pid = u32::try_from(spawn.0).unwrap_or(u32::MAX);
        self.later(
            &unit(),
            Event::Spawned {
                unit: unit(),
                spawn,
                pid,
            },
        );
        let enforcement = Enforcement::default();
        self.later(
            &unit(),
            Event::Executed {
                unit: unit(),
                spawn,
                enforcement,
            },
        );
        if matches!(role, Role::Main(_)) {
            if self.luck.one_in(2) {
                let notice = Notice::Ready;
                self.later(
                    &unit(),
                    Event::Notified {
                        unit: unit(),
                        notice,
                    },
                );
            }
            let short = matches!(
                unit().as_str(),
                "d.service" | "o.service" | "f.service" | "g.service"
            );
            if short && !stubborn {
                self.end(spawn, ExitStatus::Exited(0), None);
            }
        } else if !stubborn {
            let code = u8::from(self.luck.one_in(8));
            self.end(spawn, ExitStatus::Exited(code), None);
        }
    }

    pub(super) fn leave_child(&mut self, unit: &UnitName, stubborn: bool) {
        self.children += 1;
        let process = Process {
            unit: unit.clone(),
            role: None,
            stubborn,
        };
        // Numbers that the engine never gives.
        let spawn = SpawnId(u64::MAX - self.children);
        self.processes.insert(spawn, process);
    }

    /// A child becomes the main process that the engine asked for.
    fn find(&mut self, unit: &UnitName, spawn: SpawnId) {
        let child = self.of(unit).into_iter().find(|spawn| {
            self.processes
                .get(spawn)
                .is_some_and(|process| process.role.is_none())
        });
        let unit = unit.clone();
        match child.filter(|_| !self.luck.one_in(5)) {
            Some(child) => {
                if let Some(mut process) = self.processes.remove(&child) {
                    // Whoever was the main process before is a child like others now.
                    if let Some(old) = self.main(&unit)
                        && let Some(old) = self.processes.get_mut(&old)
                    {
                        old.role = None;
                    }
                    process.role = Some(Role::Main(0));
                    self.processes.insert(spawn, process);
                }
                let pid = u32::try_from(spawn.0).unwrap_or(u32::MAX);
                self.later(&unit.clone(), Event::Found { unit, spawn, pid });
            }
            None => {
                let reason = "nobody".to_owned();
                self.later(
                    &unit.clone(),
                    Event::NotFound {
                        unit,
                        spawn,
                        reason,
                    },
                );
            }
        }
    }

    fn deliver_signal(&mut self, unit: &UnitName, signal: i32) {
        if signal == SIGCONT || signal == 1 || self.frozen.contains(unit) {
            return;
        }
        for spawn in self.of(unit) {
            let stubborn = self.processes.get(&spawn).is_some_and(|p| p.stubborn);
            if !stubborn || signal == 9 {
                self.end(spawn, ExitStatus::Killed(signal), None);
            }
        }
    }

    /// Killed in the middle: nothing is left behind.
    fn end_by_force(&mut self, spawn: SpawnId) {
        self.end(spawn, ExitStatus::Killed(9), None);
    }

    /// Tells that the cgroup is empty to whoever waits for it.
    pub(super) fn tell_when_empty(&mut self, unit: &UnitName) {
        if self.of(unit).is_empty() && self.sweeping.remove(unit) {
            self.later(unit, Event::Emptied { unit: unit.clone() });
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
}
