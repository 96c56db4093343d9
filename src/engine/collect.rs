//! Forgetting units that nobody needs to know any more ("garbage collection" in systemd).
//!
//! What has a file of its own stays known, with what its last run came to. Forgotten are, once they
//! are down: units made on the spot (`aetherctl run`), instances of services, what serves one
//! connection, and whatever says `CollectMode=inactive-or-failed`. A failure is kept until somebody
//! resets it, unless that directive says otherwise; of connections, unlike in systemd, only the last
//! few. And none is forgotten as long as something that is up, or on its way, names it.
//!
//! It takes two steps, so that everybody is told of the end before the unit is gone:
//! [`Effect::Collect`], and [`Event::Collect`](crate::engine::event::Event::Collect) as its answer.

use crate::engine::event::{Effect, Now};
use crate::engine::{Engine, Record};
use crate::name::{UnitName, UnitType};

/// How many failed instances for connections are known: whoever may connect decides how many there
/// are.
const FAILED_CONNECTIONS: usize = 16;

impl Engine {
    /// Looks at what has changed, and at what was only kept for its sake.
    pub(super) fn look_for_garbage(&mut self) {
        let touched: Vec<UnitName> = self.touched.keys().cloned().collect();
        let mut candidates = std::mem::take(&mut self.loose);
        for unit in touched {
            if !self.is_wanted(&unit) {
                self.loosen(&unit);
            }
            self.count_failed_connection(&unit);
            candidates.insert(unit);
        }
        candidates.append(&mut self.loose);
        for unit in candidates {
            self.retained.remove(&unit);
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

    /// What this one names may not be needed any more.
    pub(super) fn loosen(&mut self, unit: &UnitName) {
        if !self.retained.is_empty() {
            let named = self.graph.names(unit);
            let retained = named.filter(|other| self.retained.contains(other));
            self.loose.extend(retained.cloned());
        }
    }

    fn count_failed_connection(&mut self, unit: &UnitName) {
        let failed = self.records.get(unit).is_some_and(|record| {
            record.core.connection && record.core.state.is_failed() && !record.lapsed
        });
        if !failed || self.failed_connections.contains(unit) {
            return;
        }
        self.failed_connections.push_back(unit.clone());
        if self.failed_connections.len() > FAILED_CONNECTIONS
            && let Some(oldest) = self.failed_connections.pop_front()
            && let Some(record) = self.records.get_mut(&oldest)
        {
            record.lapsed = true;
            self.loose.insert(oldest);
        }
    }

    /// After a restart of the daemon: every unit may have been about to go.
    pub(super) fn look_for_all_garbage(&mut self) {
        self.loose.extend(self.records.keys().cloned());
        let mut connections: Vec<_> = self
            .records
            .iter()
            .filter(|(_, record)| record.core.connection)
            .map(|(unit, record)| (record.core.since.realtime, unit.clone()))
            .collect();
        connections.sort();
        for (_, unit) in connections {
            self.count_failed_connection(&unit);
        }
    }

    /// [`Event::Collect`](crate::engine::event::Event::Collect): unless something has changed.
    pub(super) fn collect_garbage(&mut self, now: Now, unit: &UnitName) {
        if self.is_garbage(unit) {
            self.with(now, unit, |step| step.core.undefined = true);
        } else {
            // Somebody may have come meanwhile who names it, and will go.
            self.loose.insert(unit.clone());
        }
    }

    /// Whether it is over, and nobody needs it.
    pub(super) fn is_garbage(&self, unit: &UnitName) -> bool {
        self.records.get(unit).is_some_and(Record::is_over) && !self.is_named(unit)
    }

    /// Whether a unit that is up, or to be, names this one.
    fn is_named(&self, unit: &UnitName) -> bool {
        self.graph.named_by(unit).any(|other| self.is_wanted(other))
    }

    /// Whether it is up, or to be.
    fn is_wanted(&self, unit: &UnitName) -> bool {
        self.records
            .get(unit)
            .is_some_and(|record| !record.core.state.is_dead() || record.core.job.is_some())
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
        let Self { unit, core, .. } = self;
        let passing = unit.transient
            || core.connection
            || unit.settings.collect_failed
            || unit.name.kind() == UnitType::Service && unit.name.instance().is_some();
        passing && core.asked && !core.undefined && self.may_go()
    }

    /// Whether it is down, and its failure, if it is one, need not be kept.
    pub(super) fn may_go(&self) -> bool {
        let Self { unit, core, lapsed } = self;
        let kept = core.state.is_failed() && !unit.settings.collect_failed && !lapsed;
        core.state.is_dead() && core.job.is_none() && !kept
    }
}
