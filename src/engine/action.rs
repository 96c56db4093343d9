//! What a unit's end means for the whole of Aether: `FailureAction=`, `SuccessAction=`,
//! `StartLimitAction=`, `JobTimeoutAction=`.
//!
//! Only said here; the daemon does it, or says why not.

use crate::engine::Engine;
use crate::engine::event::{Effect, ExitStatus, Now};
use crate::engine::react::Move;
use crate::engine::step::Step;
use crate::engine::view::{ActiveState, Outcome};
use crate::name::UnitName;
use crate::unit::Action;

impl Engine {
    /// The unit is down.
    pub(super) fn act_on_end(&mut self, now: Now, change: &Move) {
        let failed = change.to == ActiveState::Failed && change.from != ActiveState::Failed;
        let ended = change.to == ActiveState::Inactive && change.from != ActiveState::Failed;
        if failed || ended {
            self.with(now, &change.unit, |step| step.act_on_end(failed));
        }
    }

    pub(super) fn act_on_job_timeout(&mut self, now: Now, unit: &UnitName) {
        self.with(now, unit, |step| {
            let action = step.unit.settings.actions.job_timeout;
            step.act(action, None, "a job of it took too long");
        });
    }
}

impl Step<'_> {
    pub(super) fn act_on_end(&mut self, failed: bool) {
        let actions = self.unit.settings.actions;
        let run = &self.core.run;
        let skipped = run.outcome == Outcome::ExecCondition || run.unmet.is_some();
        if failed {
            self.act(actions.failure, actions.failure_status, "it failed");
        } else if !skipped && self.core.asked {
            self.act(actions.success, actions.success_status, "it has ended");
        }
    }

    /// `StartLimitAction=`.
    pub(super) fn act_on_start_limit(&mut self) {
        let action = self.unit.settings.actions.start_limit;
        self.act(action, None, "it was started too often");
    }

    fn act(&mut self, action: Option<Action>, status: Option<u8>, why: &str) {
        let Some(action) = action else { return };
        let status = status.unwrap_or(match self.core.run.exit {
            Some(ExitStatus::Exited(code)) => code,
            // As in systemd.
            Some(ExitStatus::Killed(_) | ExitStatus::Dumped(_) | ExitStatus::Unknown) => 255,
            Some(ExitStatus::Unseen) | None => 0,
        });
        self.out.push(Effect::Act {
            unit: self.unit.name.clone(),
            action,
            status,
            why: why.to_owned(),
        });
    }
}
