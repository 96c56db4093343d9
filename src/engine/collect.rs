//! Forgetting units that nobody needs to know any more ("garbage collection" in systemd).
//!
//! What has a file of its own stays known, with what its last run came to. Forgotten are, once they
//! are down: units made on the spot (`aetherctl run`), instances of services, what serves one
//! connection, and whatever says `CollectMode=inactive-or-failed`. A failure is kept until somebody
//! resets it, unless that directive says otherwise. And none is forgotten as long as something that
//! is up, or on its way, names it.
//!
//! It takes two steps, so that everybody is told of the end before the unit is gone:
//! [`Effect::Collect`], and [`Event::Collect`](crate::engine::event::Event::Collect) as its answer.

use crate::engine::event::{Effect, Now};
use crate::engine::{Engine, Record};
use crate::name::{UnitName, UnitType};

impl Engine {
    /// Looks at what has changed, and at what was only kept for others' sake.
    pub(super) fn look_for_garbage(&mut self) {
        let mut candidates = std::mem::take(&mut self.retained);
        candidates.extend(self.touched.keys().cloned());
        for unit in candidates {
            if !self.records.get(&unit).is_some_and(Record::is_over) {
                continue;
            }
            if self.is_named(&unit) {
                self.retained.insert(unit);
            } else {
                self.out.push(Effect::Collect { unit });
            }
        }
    }

    /// After a restart of the daemon: every unit may have been about to go.
    pub(super) fn look_for_all_garbage(&mut self) {
        self.retained.extend(self.records.keys().cloned());
    }

    /// [`Event::Collect`](crate::engine::event::Event::Collect): unless something has changed.
    pub(super) fn collect_garbage(&mut self, now: Now, unit: &UnitName) {
        if self.is_garbage(unit) {
            self.with(now, unit, |step| step.core.undefined = true);
        }
    }

    /// Whether it is over, and nobody needs it.
    pub(super) fn is_garbage(&self, unit: &UnitName) -> bool {
        self.records.get(unit).is_some_and(Record::is_over) && !self.is_named(unit)
    }

    /// Whether a unit that is up, or to be, names this one.
    fn is_named(&self, unit: &UnitName) -> bool {
        self.graph.named_by(unit).any(|other| {
            self.records
                .get(other)
                .is_some_and(|other| !other.core.state.is_dead() || other.core.job.is_some())
        })
    }

    /// A unit whose files are gone, and that is down, is kept for what its last run came to: it
    /// cannot be started again.
    pub(super) fn is_startable(&self, unit: &UnitName) -> bool {
        self.records
            .get(unit)
            .is_some_and(|record| !(record.core.undefined && record.core.state.is_dead()))
    }
}

impl Record {
    /// Whether it had its turn, and nothing of it need be known any more.
    fn is_over(&self) -> bool {
        let Self { unit, core } = self;
        let passing = unit.transient
            || core.connection
            || unit.settings.collect_failed
            || unit.name.kind() == UnitType::Service && unit.name.instance().is_some();
        passing && core.asked && !core.undefined && self.may_go()
    }

    /// Whether it is down, and its failure, if it is one, need not be kept.
    pub(super) fn may_go(&self) -> bool {
        let Self { unit, core } = self;
        let kept = core.state.is_failed() && !unit.settings.collect_failed;
        core.state.is_dead() && core.job.is_none() && !kept
    }
}
