//! What follows from a unit's change of state for other units, without anybody's asking:
//! `OnFailure=`, `OnSuccess=`, `BindsTo=`, `Upholds=`, `StopWhenUnneeded=`, and whoever waits for
//! the unit to be down again.
//!
//! Runs after the jobs have; what it makes are jobs again. It comes to an end because every start
//! is charged to the unit's start limit.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::engine::event::{JobMode, JobType, Now};
use crate::engine::view::{ActiveState, Outcome};
use crate::name::UnitName;

/// A change of a unit's public state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) unit: UnitName,
    pub(super) from: ActiveState,
    pub(super) to: ActiveState,
    /// Nobody had asked for it.
    pub(super) unexpected: bool,
}

const fn is_down(state: ActiveState) -> bool {
    matches!(state, ActiveState::Inactive | ActiveState::Failed)
}

impl Engine {
    /// Draws the consequences of what has changed; `false` when there was nothing.
    pub(super) fn react(&mut self, now: Now) -> bool {
        let moves = std::mem::take(&mut self.moves);
        if moves.is_empty() {
            return false;
        }
        let mut unneeded: BTreeSet<UnitName> = BTreeSet::new();
        for change in moves {
            self.act_on_end(now, &change);
            let Move {
                unit,
                from,
                to,
                unexpected,
            } = change;
            // A state that was left again at once has no consequences but these.
            for trigger in self.graph.triggered_by(&unit) {
                self.trigger_notified(now, &trigger, &unit);
            }
            if unexpected && from.is_up() && !to.is_up() {
                for other in self.graph.stopped_with(&unit) {
                    self.stop_quietly(now, &other, &format!("{unit} ended"));
                }
            }
            if is_down(to) && !is_down(from) {
                self.follow_end(now, &unit, to);
                unneeded.extend(self.graph.needs_of(&unit));
                for other in self.graph.upheld_by(&unit) {
                    self.uphold(now, &other, &unit);
                }
            }
            if to == ActiveState::Active && from != ActiveState::Reloading {
                unneeded.insert(unit.clone());
                self.stop_if_bound(now, &unit);
                for other in self.graph.upholds(&unit) {
                    self.uphold(now, &unit, &other);
                }
            }
        }
        for unit in unneeded {
            self.stop_if_unneeded(now, &unit);
        }
        true
    }

    /// `OnFailure=` and `OnSuccess=`; a unit that will be restarted has not come so far.
    fn follow_end(&mut self, now: Now, unit: &UnitName, to: ActiveState) {
        let Some(record) = self.records.get(unit) else {
            return;
        };
        let relations = &record.unit.relations;
        let settings = &record.unit.settings;
        let skipped =
            record.core.run.outcome == Outcome::ExecCondition || record.core.run.unmet.is_some();
        let (targets, mode) = if to == ActiveState::Failed {
            (relations.on_failure.clone(), settings.on_failure_job_mode)
        } else if skipped {
            return;
        } else {
            (relations.on_success.clone(), settings.on_success_job_mode)
        };
        for target in targets {
            self.start_quietly(now, &target, mode, unit);
        }
    }

    /// A job of the unit ended in a way that is a failure though the unit's own state is none.
    pub(super) fn follow_failed_job(&mut self, now: Now, unit: &UnitName) {
        let Some(record) = self.records.get(unit) else {
            return;
        };
        let mode = record.unit.settings.on_failure_job_mode;
        for target in record.unit.relations.on_failure.clone() {
            self.start_quietly(now, &target, mode, unit);
        }
    }

    fn stop_quietly(&mut self, now: Now, unit: &UnitName, why: &str) {
        let Some(record) = self.records.get(unit) else {
            return;
        };
        let stopped = record.core.state.is_dead() && record.core.job.is_none();
        let stopping = record.core.job.is_some_and(|job| job.kind == JobType::Stop);
        if stopped || stopping {
            return;
        }
        self.with(now, unit, |step| step.log(format!("stopped: {why}")));
        if let Ok(entries) = self.plan(unit, JobType::Stop, JobMode::Replace, true) {
            self.install(now, entries, false, JobMode::Replace);
        }
    }

    /// `BindsTo=` with `After=`: it cannot be active without them.
    fn stop_if_bound(&mut self, now: Now, unit: &UnitName) {
        let Some(record) = self.records.get(unit) else {
            return;
        };
        if record.core.job.is_some() {
            return;
        }
        let missing = record.unit.relations.binds_to.iter().find(|other| {
            self.records
                .get(*other)
                .is_none_or(|other| other.core.job.is_none() && !other.core.state.active().is_up())
        });
        if let Some(missing) = missing.cloned() {
            self.stop_quietly(
                now,
                unit,
                &format!("{missing}, which it is bound to, is down"),
            );
        }
    }

    /// `Upholds=`: the one is up, so the other has to be.
    fn uphold(&mut self, now: Now, upholder: &UnitName, upheld: &UnitName) {
        let up = self.records.get(upholder).is_some_and(|record| {
            record.core.state.active() == ActiveState::Active
                && record.core.job.is_none_or(|job| job.kind != JobType::Stop)
        });
        let down = self.records.get(upheld).is_some_and(|record| {
            record.core.state.is_dead()
                && record.core.job.is_none()
                // Trying once more would end the same way.
                && !record.core.run.limit_hit
                && record.core.run.unmet.is_none()
        });
        if up && down {
            self.start_quietly(now, upheld, JobMode::Fail, upholder);
        }
    }

    /// `StopWhenUnneeded=`.
    fn stop_if_unneeded(&mut self, now: Now, unit: &UnitName) {
        let Some(record) = self.records.get(unit) else {
            return;
        };
        if !record.unit.settings.stop_when_unneeded
            || record.core.job.is_some()
            || record.core.state.active() != ActiveState::Active
        {
            return;
        }
        let needed = self.graph.needed_by(unit).any(|other| {
            self.records.get(other).is_some_and(|other| {
                other.core.state.active().is_up()
                    || other.core.job.is_some_and(|job| job.kind != JobType::Stop)
            })
        });
        if !needed {
            self.stop_quietly(now, unit, "nothing that is up needs it");
        }
    }
}
