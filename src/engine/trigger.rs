//! Timers, sockets and paths: when their time has come, and what follows.
//!
//! Each has one unit that it starts ([`Relations::triggers`](crate::unit::Relations)); it waits
//! again when that one is down. What is open and watched is the daemon's; the times are computed
//! here (systemd.timer(5), systemd.socket(5), systemd.path(5)).

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::event::{Effect, JobMode, JobType, Now};
use crate::engine::restart::micros;
use crate::engine::state::{Deadline, State};
use crate::engine::step::Step;
use crate::engine::view::{ActiveState, Outcome};
use crate::name::{UnitName, UnitType};
use crate::plan::Failure;
use crate::unit::{Timer, TimerBase};

const SECOND: u64 = 1_000_000;

/// What a timer has to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Elapses {
    monotonic: Option<u64>,
    realtime: Option<u64>,
    /// Something of it depends on what the unit does: it stays, though nothing is due.
    stays: bool,
}

impl Engine {
    /// [`Event::Opened`](crate::engine::event::Event::Opened).
    pub(super) fn opened(&mut self, now: Now, name: &UnitName, stamp: Option<u64>) {
        let Some(record) = self.records.get(name) else {
            return;
        };
        if record.core.state != State::Opening {
            return;
        }
        if name.kind() == UnitType::Timer {
            self.with(now, name, |step| {
                step.core.trigger = super::state::Trigger {
                    count: step.core.trigger.count,
                    ..super::state::Trigger::default()
                };
                // A stamp from the future is a clock that was wrong.
                step.core.trigger.last = stamp.filter(|at| *at <= now.realtime).map(|at| Now {
                    monotonic: 0,
                    realtime: at,
                });
            });
            return self.schedule_timer(now, name, false);
        }
        let served = self.triggered_is_up(name);
        self.with(now, name, |step| {
            if served {
                step.core.state = State::Triggered;
            } else {
                step.wait_again();
            }
        });
    }

    /// [`Event::OpenFailed`](crate::engine::event::Event::OpenFailed).
    pub(super) fn open_failed(&mut self, now: Now, name: &UnitName, failure: Failure) {
        self.with(now, name, |step| {
            if matches!(
                step.core.state,
                State::Opening | State::Waiting { .. } | State::Triggered
            ) && step.unit.service.is_none()
            {
                step.disarm();
                let why = format!("failed at step {}: {}", failure.step, failure.detail);
                step.fail(Outcome::Resources, why);
                step.core.run.failure = Some(failure);
                step.dead(true);
            }
        });
    }

    /// [`Event::Triggered`](crate::engine::event::Event::Triggered).
    pub(super) fn triggered(&mut self, now: Now, name: &UnitName) {
        let waits = self
            .records
            .get(name)
            .is_some_and(|record| matches!(record.core.state, State::Waiting { .. }));
        if waits {
            self.pull_trigger(now, name);
        }
    }

    /// [`Event::Accepted`](crate::engine::event::Event::Accepted).
    pub(super) fn accepted(&mut self, now: Now, name: &UnitName, instance: &UnitName) {
        let limited = self.is_beyond_trigger_limit(now, name);
        self.with(now, name, |step| {
            if matches!(step.core.state, State::Waiting { .. }) {
                if limited {
                    step.trigger_limit_hit();
                } else {
                    step.core.trigger.accepted += 1;
                    step.wait_again();
                }
            }
        });
        self.with(now, instance, |step| {
            step.core.connection = true;
            // A connection that came too often is hung up, and its instance is never started.
            step.core.asked |= limited;
        });
        if !limited {
            self.start_quietly(now, instance, JobMode::Replace, name);
        }
    }

    /// [`Event::ClockChanged`](crate::engine::event::Event::ClockChanged).
    pub(super) fn clock_changed(&mut self, now: Now, zone_changed: bool) {
        let timers: Vec<(UnitName, bool)> = self
            .records
            .iter()
            .filter(|(_, record)| {
                matches!(record.core.state, State::Waiting { .. } | State::Elapsed)
            })
            .filter_map(|(name, record)| {
                let timer = record.unit.timer.as_ref()?;
                let elapses = if zone_changed {
                    timer.on_timezone_change
                } else {
                    timer.on_clock_change
                };
                Some((name.clone(), elapses))
            })
            .collect();
        for (name, elapses) in timers {
            if elapses {
                self.pull_trigger(now, &name);
            } else {
                self.schedule_timer(now, &name, !zone_changed);
            }
        }
    }

    /// The deadline of a waiting timer is over.
    pub(super) fn timer_due(&mut self, now: Now, name: &UnitName) {
        let Some(record) = self.records.get(name) else {
            return;
        };
        if !matches!(record.core.state, State::Waiting { .. }) {
            return;
        }
        let trigger = &record.core.trigger;
        let due = trigger.next_monotonic.is_some_and(|at| at <= now.monotonic)
            || trigger.next_realtime.is_some_and(|at| at <= now.realtime);
        if due {
            self.pull_trigger(now, name);
        } else {
            // The clock of the day went slower than ours.
            self.with(now, name, |step| step.arm_timer());
        }
    }

    /// Starts what the unit is there for.
    fn pull_trigger(&mut self, now: Now, name: &UnitName) {
        if self.is_beyond_trigger_limit(now, name) {
            return self.with(now, name, |step| step.trigger_limit_hit());
        }
        let Some(target) = self
            .records
            .get(name)
            .and_then(|record| record.unit.relations.triggers.first().cloned())
        else {
            return;
        };
        let refusal = self
            .plan(&target, JobType::Start, JobMode::Replace, false)
            .map(|entries| {
                self.with(now, &target, |step| {
                    step.core.trigger_of_next = Some(name.clone());
                });
                self.install(now, entries, false, JobMode::Replace)
            });
        self.with(now, name, |step| {
            step.disarm();
            match refusal {
                Ok(_) => {
                    step.core.trigger.last = Some(now);
                    step.core.trigger.count += 1;
                    step.core.state = State::Triggered;
                    if step
                        .unit
                        .timer
                        .as_ref()
                        .is_some_and(|timer| timer.persistent)
                    {
                        step.out.push(Effect::Stamp {
                            unit: step.unit.name.clone(),
                            at: now.realtime,
                        });
                    }
                }
                Err(refusal) => {
                    step.fail(Outcome::Resources, refusal.to_string());
                    step.log(format!("cannot start {target}: {refusal}"));
                    step.dead(true);
                }
            }
        });
    }

    /// A start that nobody asked for by hand; what stands against it is said in the unit's log.
    pub(super) fn start_quietly(
        &mut self,
        now: Now,
        name: &UnitName,
        mode: JobMode,
        on_account_of: &UnitName,
    ) {
        if !self.is_startable(name) {
            return;
        }
        match self.plan(name, JobType::Start, mode, false) {
            Ok(entries) => {
                self.with(now, name, |step| {
                    step.core.trigger_of_next = Some(on_account_of.clone());
                });
                self.install(now, entries, false, JobMode::Replace);
            }
            Err(refusal) => self.with(now, name, |step| {
                step.core.asked = true;
                step.log(format!("cannot be started: {refusal}"));
            }),
        }
    }

    fn is_beyond_trigger_limit(&mut self, now: Now, name: &UnitName) -> bool {
        let Some(record) = self.records.get_mut(name) else {
            return false;
        };
        let (interval, burst) = match (&record.unit.socket, &record.unit.path) {
            (Some(socket), _) => {
                let usual = if socket.accept { 200 } else { 20 };
                (
                    socket.trigger_limit_interval,
                    socket.trigger_limit_burst.unwrap_or(usual),
                )
            }
            (None, Some(path)) => (path.trigger_limit_interval, path.trigger_limit_burst),
            (None, None) => return false,
        };
        if interval.is_zero() || burst == 0 {
            return false;
        }
        let starts = &mut record.core.trigger.starts;
        starts.retain(|at| now.monotonic.saturating_sub(*at) < micros(interval));
        if starts.len() >= burst as usize {
            return true;
        }
        starts.push(now.monotonic);
        false
    }

    fn triggered_is_up(&self, name: &UnitName) -> bool {
        let target = self
            .records
            .get(name)
            .and_then(|record| record.unit.relations.triggers.first());
        target
            .and_then(|target| self.records.get(target))
            .is_some_and(|record| !record.core.state.is_dead())
    }

    /// What a timer, socket or path unit starts has changed its state.
    pub(super) fn trigger_notified(&mut self, now: Now, name: &UnitName, target: &UnitName) {
        let Some((active, limit_hit)) = self
            .records
            .get(target)
            .map(|record| (record.core.state.active(), record.core.run.limit_hit))
        else {
            return;
        };
        let down = matches!(active, ActiveState::Inactive | ActiveState::Failed);
        let Some(record) = self.records.get(name) else {
            return;
        };
        let waits = matches!(record.core.state, State::Waiting { .. });
        let runs = record.core.state == State::Triggered;
        match name.kind() {
            UnitType::Timer => {
                let depends = record.unit.timer.as_ref().is_some_and(|timer| {
                    timer.monotonic.iter().any(|(base, _)| {
                        matches!(base, TimerBase::UnitActive | TimerBase::UnitInactive)
                    })
                });
                let idle = waits || record.core.state == State::Elapsed;
                if runs && down || idle && depends {
                    self.schedule_timer(now, name, false);
                }
            }
            UnitType::Socket | UnitType::Path if runs && down => {
                let limited = active == ActiveState::Failed && limit_hit;
                let socket = name.kind() == UnitType::Socket;
                self.with(now, name, |step| {
                    if limited {
                        step.fail(
                            if socket {
                                Outcome::ServiceStartLimitHit
                            } else {
                                Outcome::UnitStartLimitHit
                            },
                            format!("{target} was started too often"),
                        );
                        step.dead(true);
                    } else {
                        step.wait_again();
                    }
                });
            }
            // Somebody else started it: it has the sockets now.
            UnitType::Socket if waits && !down => self.with(now, name, |step| {
                step.core.state = State::Triggered;
                step.out.push(Effect::Ignore {
                    unit: step.unit.name.clone(),
                });
            }),
            _ => {}
        }
    }

    /// Computes when a timer elapses next, and waits for it.
    fn schedule_timer(&mut self, now: Now, name: &UnitName, time_change: bool) {
        let Some(record) = self.records.get(name) else {
            return;
        };
        let Some(timer) = &record.unit.timer else {
            return;
        };
        let elapses = self.elapses(now, name, timer, time_change);
        let (seed, count) = (self.counters.seed, record.core.trigger.count);
        let delay = random_delay(timer, name, seed, count);
        let waits_for_clock = timer.on_clock_change || timer.on_timezone_change;
        let remains = timer.remain_after_elapse || elapses.stays;
        self.with(now, name, |step| {
            step.disarm();
            let trigger = &mut step.core.trigger;
            trigger.next_monotonic = elapses.monotonic.map(|at| at.saturating_add(delay));
            trigger.next_realtime = elapses.realtime.map(|at| at.saturating_add(delay));
            if elapses.monotonic.is_some() || elapses.realtime.is_some() || waits_for_clock {
                step.arm_timer();
            } else if remains {
                step.core.state = State::Elapsed;
            } else {
                step.dead(false);
            }
        });
    }

    fn elapses(&self, now: Now, name: &UnitName, timer: &Timer, time_change: bool) -> Elapses {
        let mut found = Elapses::default();
        let Some(record) = self.records.get(name) else {
            return found;
        };
        let target = record
            .unit
            .relations
            .triggers
            .first()
            .and_then(|target| self.records.get(target));
        let last = record.core.trigger.last;
        let since = |stamp: Option<Now>| {
            // The later of when it was and when we last started it.
            let own = last.map_or(0, |last| last.monotonic);
            Some(stamp.map_or(0, |at| at.monotonic).max(own)).filter(|at| *at > 0)
        };
        for (base, value) in &timer.monotonic {
            let from = match base {
                TimerBase::Active => record
                    .core
                    .inactive_exit
                    .map_or(now.monotonic, |at| at.monotonic),
                TimerBase::Boot => 0,
                TimerBase::Startup => self.counters.startup,
                TimerBase::UnitActive => {
                    found.stays = true;
                    match since(target.and_then(|target| target.core.inactive_exit)) {
                        Some(at) => at,
                        None => continue,
                    }
                }
                TimerBase::UnitInactive => {
                    found.stays = true;
                    match since(target.and_then(|target| target.core.inactive_enter)) {
                        Some(at) => at,
                        None => continue,
                    }
                }
            };
            let at = from.saturating_add(micros(*value));
            let once = matches!(
                base,
                TimerBase::Active | TimerBase::Boot | TimerBase::Startup
            );
            // It elapsed once, and there is no second time.
            if once && last.is_some_and(|l| l.monotonic > 0) && !time_change && at < now.monotonic {
                continue;
            }
            found.monotonic = Some(found.monotonic.map_or(at, |other| other.min(at)));
        }
        for calendar in &timer.calendar {
            // What was missed since it last elapsed is due at once.
            let from = match (last, record.core.inactive_exit) {
                (Some(last), _) => last.realtime,
                (None, Some(at)) if record.core.state != State::Opening => at.realtime,
                (None, _) => now.realtime,
            };
            if let Some(at) = calendar.next(from, &self.zone) {
                found.realtime = Some(found.realtime.map_or(at, |other| other.min(at)));
            }
        }
        found
    }
}

impl Step<'_> {
    /// Watches for the next time.
    pub(super) fn wait_again(&mut self) {
        self.core.state = State::Waiting {
            deadline: Deadline::Never,
        };
        self.out.push(Effect::Await {
            unit: self.unit.name.clone(),
        });
    }

    /// Sets the timer's clock to the nearer of its two elapses, a little later where others may
    /// fall together with it.
    fn arm_timer(&mut self) {
        let Some(timer) = &self.unit.timer else {
            return;
        };
        let trigger = &self.core.trigger;
        let real = trigger.next_realtime.map(|at| {
            self.now
                .monotonic
                .saturating_add(at.saturating_sub(self.now.realtime))
        });
        let nearest = [trigger.next_monotonic, real].into_iter().flatten().min();
        self.disarm();
        let perturb = hash(self.counters.seed, "") % (60 * SECOND);
        let deadline = nearest.map_or(Deadline::Never, |at| {
            let latest = at.saturating_add(micros(timer.accuracy));
            let at = wake_between(at, latest, perturb);
            let left = at.saturating_sub(self.now.monotonic);
            self.arm_always(Some(Duration::from_micros(left)))
        });
        self.core.state = State::Waiting { deadline };
    }

    fn trigger_limit_hit(&mut self) {
        self.log("it was triggered too often, giving up");
        self.fail(
            Outcome::TriggerLimitHit,
            "it was triggered more than TriggerLimitBurst= times within TriggerLimitIntervalSec=",
        );
        self.disarm();
        self.dead(true);
    }
}

/// `RandomizedDelaySec=` in microseconds, the same for the same elapse of the same timer.
fn random_delay(timer: &Timer, name: &UnitName, seed: u64, count: u64) -> u64 {
    let most = micros(timer.randomized_delay);
    if most == 0 {
        return 0;
    }
    let count = if timer.fixed_random_delay { 0 } else { count };
    hash(
        seed ^ count.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        name.as_str(),
    ) % most
}

/// 64 bits that look random and depend on all of it (FNV-1a, then the finish of SplitMix64).
pub(super) fn hash(seed: u64, text: &str) -> u64 {
    let folded = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mixed = (folded ^ folded >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// A time between two others at which this machine likes to wake up: the full minute (moved by
/// what is this machine's own), or ten seconds, a second, a quarter of one.
fn wake_between(earliest: u64, latest: u64, perturb: u64) -> u64 {
    if latest <= earliest.saturating_add(1) {
        return earliest;
    }
    for step in [60 * SECOND, 10 * SECOND, SECOND, SECOND / 4] {
        let mut at = (latest / step * step).saturating_add(perturb % step);
        if at >= latest {
            if at < step {
                return latest;
            }
            at -= step;
        }
        if at >= earliest {
            return at;
        }
    }
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_ups_fall_together_where_they_may() {
        // Two timers within the same minute's tolerance meet at one time.
        let (a, b) = (1_000 * SECOND, 1_010 * SECOND);
        let meet = wake_between(a, a + 60 * SECOND, 7 * SECOND);
        assert_eq!(meet, wake_between(b, b + 50 * SECOND, 7 * SECOND));
        assert!((a..=a + 60 * SECOND).contains(&meet));
        // An exact one is exact.
        assert_eq!(wake_between(a, a, 7), a);
        for accuracy in [2, 1_000, SECOND, 3_600 * SECOND] {
            let at = wake_between(b, b + accuracy, 13 * SECOND + 123);
            assert!((b..=b + accuracy).contains(&at), "{accuracy}: {at}");
        }
    }
}
