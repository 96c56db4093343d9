//! One unit under the hand: its definition, what the engine keeps of it, and where effects go.
//!
//! Only the small moves that every transition is made of; the transitions are in `start`, `stop`,
//! `pause` and `talk`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::event::{Effect, JobResult, JobType, Now, Role, SpawnId, TimerId};
use crate::engine::job::Phase;
use crate::engine::restart::micros;
use crate::engine::state::{Deadline, Process, Snapshot};
use crate::engine::view::Outcome;
use crate::name::JobId;
use crate::unit::{RuntimeKind, Unit};

/// The numbers given out last; none is ever given twice within one daemon state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Jobs.
    pub job: u32,
    /// Processes.
    pub spawn: u64,
    /// Timers.
    pub timer: u64,
    /// Messages.
    pub input: u64,
    /// Invocations.
    pub invocation: u64,
    /// Chosen once by the daemon: from it, random delays.
    #[serde(default)]
    pub seed: u64,
    /// When the manager was first started in this boot, on the monotonic clock in microseconds.
    #[serde(default)]
    pub startup: u64,
}

#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) now: Now,
    pub(super) unit: &'a Unit,
    pub(super) core: &'a mut Snapshot,
    pub(super) counters: &'a mut Counters,
    pub(super) out: &'a mut Vec<Effect>,
}

impl Step<'_> {
    /// Asks for a process.
    pub(super) fn spawn(&mut self, role: Role) -> Process {
        self.counters.spawn += 1;
        let spawn = SpawnId(self.counters.spawn);
        self.out.push(Effect::Spawn {
            unit: self.unit.name.clone(),
            spawn,
            role,
            invocation: self.core.invocation,
            resume: self.core.run.resume,
        });
        Process::Asked { spawn }
    }

    /// A timer, ticking even while paused.
    pub(super) fn arm_always(&mut self, limit: Option<Duration>) -> Deadline {
        let Some(limit) = limit else {
            return Deadline::Never;
        };
        self.counters.timer += 1;
        let timer = TimerId(self.counters.timer);
        let at = self.now.monotonic.saturating_add(micros(limit));
        self.out.push(Effect::SetTimer { timer, at });
        Deadline::At { timer, at }
    }

    /// A timer; while paused only its length is kept.
    pub(super) fn arm(&mut self, limit: Option<Duration>) -> Deadline {
        match limit {
            Some(limit) if self.core.freezer.is_paused() || self.core.run.approval => {
                Deadline::Held {
                    left: micros(limit),
                }
            }
            limit => self.arm_always(limit),
        }
    }

    /// Drops the timer of the present state.
    pub(super) fn disarm(&mut self) {
        if let Some(deadline) = self.core.state.deadline_mut() {
            if let Deadline::At { timer, .. } = *deadline {
                self.out.push(Effect::DropTimer { timer });
            }
            *deadline = Deadline::Never;
        }
    }

    /// The timer of a deadline that is no longer in force.
    pub(super) fn drop_timer(&mut self, deadline: Deadline) {
        if let Deadline::At { timer, .. } = deadline {
            self.out.push(Effect::DropTimer { timer });
        }
    }

    /// Stops the clocks of the unit; that of its job goes on.
    pub(super) fn hold(&mut self) {
        let now = self.now.monotonic;
        let clocks = &mut self.core.clocks;
        let own = self.core.state.deadline_mut();
        for deadline in [&mut clocks.runtime, &mut clocks.watchdog]
            .into_iter()
            .chain(own)
        {
            if let Deadline::At { timer, at } = *deadline {
                self.out.push(Effect::DropTimer { timer });
                *deadline = Deadline::Held {
                    left: at.saturating_sub(now),
                };
            }
        }
    }

    /// Lets the clocks of the unit go on.
    pub(super) fn rearm(&mut self) {
        let left = |deadline| match deadline {
            Deadline::Held { left } => Some(Duration::from_micros(left)),
            Deadline::Never | Deadline::At { .. } => None,
        };
        if let Some(left) = left(self.core.state.deadline()) {
            let armed = self.arm_always(Some(left));
            if let Some(deadline) = self.core.state.deadline_mut() {
                *deadline = armed;
            }
        }
        if let Some(left) = left(self.core.clocks.runtime) {
            self.core.clocks.runtime = self.arm_always(Some(left));
        }
        if let Some(left) = left(self.core.clocks.watchdog) {
            self.core.clocks.watchdog = self.arm_always(Some(left));
        }
    }

    /// Notes how it failed; the first failure is the one that is told.
    pub(super) fn fail(&mut self, outcome: Outcome, why: impl Into<String>) {
        let run = &mut self.core.run;
        if !run.outcome.is_failure() {
            run.outcome = outcome;
            run.why = why.into();
        }
    }

    pub(super) fn log(&mut self, text: impl Into<String>) {
        self.out.push(Effect::Log {
            unit: self.unit.name.clone(),
            text: text.into(),
        });
    }

    pub(super) fn end_job(&mut self, job: JobId, kind: JobType, result: JobResult) {
        self.out.push(Effect::JobEnded {
            job,
            unit: self.unit.name.clone(),
            kind,
            result,
        });
    }

    /// Headless Claude Code: it takes messages and an interrupt, and ends when its input is closed.
    pub(super) fn is_headless(&self) -> bool {
        self.unit
            .agent
            .as_ref()
            .is_some_and(|agent| agent.runtime == RuntimeKind::ClaudeCode && !agent.terminal)
    }

    /// Whether a job waits to start it again.
    pub(super) fn is_start_wanted(&self) -> bool {
        self.core.job.is_some_and(|job| {
            matches!(job.kind, JobType::Start | JobType::Restart)
                && job.phase != Phase::StartRunning
        })
    }
}
