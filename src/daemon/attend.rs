//! What units wait for beside their own processes: conditions, processes that we did not start,
//! names on the bus, sockets, paths, stamps.

use crate::daemon::Daemon;
use crate::engine::event::{Event, Source, SpawnId};
use crate::name::UnitName;
use crate::plan::Failure;

impl Daemon {
    pub(super) fn check(&mut self, unit: &UnitName) {
        self.feed(Event::Checked {
            unit: unit.clone(),
            unmet: None,
        });
    }

    pub(super) fn find(&mut self, unit: &UnitName, spawn: SpawnId, _source: &Source) {
        self.feed(Event::NotFound {
            unit: unit.clone(),
            spawn,
            reason: String::new(),
        });
    }

    pub(super) fn watch_name(&mut self, _unit: &UnitName) {}

    pub(super) fn open(&mut self, unit: &UnitName) {
        let failure = Failure {
            step: "open".to_owned(),
            errno: 0,
            detail: String::new(),
            help: None,
        };
        self.feed(Event::OpenFailed {
            unit: unit.clone(),
            failure,
        });
    }

    pub(super) fn await_trigger(&mut self, _unit: &UnitName) {}

    pub(super) fn ignore_trigger(&mut self, _unit: &UnitName) {}

    pub(super) fn stamp(&mut self, _unit: &UnitName, _at: u64) {}
}
