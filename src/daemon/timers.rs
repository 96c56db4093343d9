//! When the engine is to be told what time it is.

use std::collections::{BTreeSet, HashMap};

use crate::engine::event::TimerId;

/// Timers that are set, the next one first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(u64, TimerId)>,
    at: HashMap<TimerId, u64>,
}

impl Timers {
    /// Sets a timer to a time on the monotonic clock, in microseconds.
    pub(super) fn set(&mut self, timer: TimerId, at: u64) {
        self.unset(timer);
        self.order.insert((at, timer));
        self.at.insert(timer, at);
    }

    pub(super) fn unset(&mut self, timer: TimerId) {
        if let Some(at) = self.at.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out the next one, if it is due.
    pub(super) fn take(&mut self, now: u64) -> Option<TimerId> {
        let (_, timer) = *self.order.first().filter(|(at, _)| *at <= now)?;
        self.unset(timer);
        Some(timer)
    }
}
