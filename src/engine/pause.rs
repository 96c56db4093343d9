//! The second region: freezing and thawing, and the clocks that stand still meanwhile.
//!
//! It never touches the life of the unit, except that what became due during a pause is carried
//! out at its end.
#![deny(clippy::wildcard_enum_match_arm)]

use crate::engine::event::{Effect, JobResult, JobType};
use crate::engine::state::{Freezer, Process, State};
use crate::engine::step::Step;
use crate::name::JobId;
use crate::plan::Failure;

impl Step<'_> {
    /// A pause job begins. The clocks stop now: what the kernel still lets run is our delay.
    pub(super) fn freeze(&mut self, job: JobId, reason: String) {
        self.end_freezer_job();
        self.core.freezer = Freezer::Freezing {
            job: Some(job),
            reason,
        };
        self.hold();
        self.out.push(Effect::Freeze {
            unit: self.unit.name.clone(),
        });
    }

    /// A resume job begins.
    pub(super) fn thaw(&mut self, job: JobId) {
        self.end_freezer_job();
        self.core.freezer = Freezer::Thawing { job: Some(job) };
        self.out.push(Effect::Thaw {
            unit: self.unit.name.clone(),
        });
    }

    /// [`Event::Frozen`](crate::engine::event::Event::Frozen).
    pub(super) fn frozen(&mut self) {
        if let Freezer::Freezing { job, reason } = &mut self.core.freezer {
            let (job, reason) = (job.take(), std::mem::take(reason));
            self.core.freezer = Freezer::Frozen { reason };
            if let Some(job) = job {
                self.end_job(job, JobType::Pause, JobResult::Done);
            }
        }
    }

    /// [`Event::Thawed`](crate::engine::event::Event::Thawed).
    pub(super) fn thawed(&mut self) {
        if let Freezer::Thawing { job } = self.core.freezer {
            self.core.freezer = Freezer::Running;
            if let Some(job) = job {
                self.end_job(job, JobType::Resume, JobResult::Done);
            }
            self.go_on();
        }
    }

    /// [`Event::FreezeFailed`](crate::engine::event::Event::FreezeFailed).
    pub(super) fn freeze_failed(&mut self, failure: &Failure) {
        match std::mem::take(&mut self.core.freezer) {
            Freezer::Freezing { job, .. } => {
                self.log(format!("cannot be paused: {}", failure.detail));
                if let Some(job) = job {
                    self.end_job(job, JobType::Pause, JobResult::Failed);
                }
                self.go_on();
            }
            Freezer::Thawing { job: Some(job) } => {
                // Perhaps it was the freeze before that failed: a thaw may still be told, and until
                // then the clocks stand still. A person may ask again.
                self.log(format!("cannot be resumed: {}", failure.detail));
                self.core.freezer = Freezer::Thawing { job: None };
                self.end_job(job, JobType::Resume, JobResult::Failed);
            }
            // Part of a stop, whose kill needs no thaw; or told twice.
            same @ Freezer::Thawing { job: None } => self.core.freezer = same,
            Freezer::Running => {}
            frozen @ Freezer::Frozen { .. } => self.core.freezer = frozen,
        }
    }

    /// The pause is over: clocks, limits and messages go on.
    fn go_on(&mut self) {
        if !self.core.run.approval {
            self.rearm();
        }
        if self.core.run.memory_due
            && let Some(service) = &self.unit.service
            && matches!(
                self.core.state,
                State::Launching { .. }
                    | State::Seeking { .. }
                    | State::StartPost { .. }
                    | State::Running { .. }
                    | State::Reloading { .. }
            )
        {
            self.obey_oom_policy(service);
        }
        self.deliver();
        self.close_when_idle();
    }

    /// [`Event::Approval`](crate::engine::event::Event::Approval): while it waits for a person, its
    /// time stands still as in a pause, though it is not frozen.
    pub(super) fn approval(&mut self, waiting: bool) {
        // Who waited may have become another process meanwhile; the answer counts all the same.
        if waiting && self.core.state.main().is_none() || self.core.run.approval == waiting {
            return;
        }
        self.core.run.approval = waiting;
        if waiting {
            self.hold();
        } else if !self.core.freezer.is_paused() {
            self.rearm();
        }
    }

    /// [`Event::BudgetSpent`](crate::engine::event::Event::BudgetSpent): it is paused, and a person
    /// decides whether it goes on.
    pub(super) fn budget_spent(&mut self, what: &str) {
        let main = self.core.state.main().and_then(Process::alive);
        if main.is_none() || self.core.state.is_stopping() || self.core.freezer.is_paused() {
            return;
        }
        self.log(format!("paused: {what}"));
        self.end_freezer_job();
        self.core.freezer = Freezer::Freezing {
            job: None,
            reason: what.to_owned(),
        };
        self.hold();
        self.out.push(Effect::Freeze {
            unit: self.unit.name.clone(),
        });
    }

    /// Thaws as part of a stop; the pause is over whatever the kernel answers.
    pub(super) fn unfreeze(&mut self) {
        if self.core.freezer.is_paused() {
            self.end_freezer_job();
            self.core.freezer = Freezer::Thawing { job: None };
            self.out.push(Effect::Thaw {
                unit: self.unit.name.clone(),
            });
        }
    }

    /// The process to be frozen ended before it was. A pause that was confirmed stays: it also
    /// holds the restart.
    pub(super) fn pause_ends_with_process(&mut self) {
        if matches!(self.core.freezer, Freezer::Freezing { .. }) {
            self.unfreeze();
            self.rearm();
        }
    }

    fn end_freezer_job(&mut self) {
        let (job, kind) = match &mut self.core.freezer {
            Freezer::Freezing { job, .. } => (job.take(), JobType::Pause),
            Freezer::Thawing { job } => (job.take(), JobType::Resume),
            Freezer::Running | Freezer::Frozen { .. } => return,
        };
        if let Some(job) = job {
            self.end_job(job, kind, JobResult::Canceled);
        }
    }

    /// Nothing is left that could be frozen.
    pub(super) fn end_freezer(&mut self) {
        self.end_freezer_job();
        self.core.freezer = Freezer::Running;
    }

    /// Takes a pause or resume job back; `false` when it is not ours.
    pub(super) fn cancel_freezer_job(&mut self, job: JobId) -> bool {
        if self.core.freezer.job() != Some(job) {
            return false;
        }
        if matches!(self.core.freezer, Freezer::Freezing { .. }) {
            self.unfreeze();
        } else {
            self.end_freezer_job();
        }
        true
    }
}
