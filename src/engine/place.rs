//! `MaxConcurrent=` of a slice: how many units below it may be up at once.
//!
//! Whoever does not find a place waits in the order in which starts were asked for. A place is held
//! from the start's beginning until the unit is down for good: a paused agent, or one that waits
//! for its next restart, keeps it.

use crate::engine::Engine;
use crate::engine::event::JobType;
use crate::engine::job::{Job, Phase};
use crate::name::UnitName;

impl Engine {
    /// Whether a start finds a place in every slice above the unit.
    pub(super) fn has_place(&self, name: &UnitName, job: &Job) -> bool {
        let Some(record) = self.records.get(name) else {
            return true;
        };
        // What has its place needs no other.
        if record.unit.service.is_none() || !record.core.state.is_dead() {
            return true;
        }
        self.slices_above(name).into_iter().all(|slice| {
            let Some(most) = self.places(&slice) else {
                return true;
            };
            let (mut up, mut before) = (0_u32, 0_u32);
            for member in self.members_below(&slice) {
                let Some(other) = self.records.get(member) else {
                    continue;
                };
                if other.unit.service.is_none() || member == name {
                    continue;
                }
                if !other.core.state.is_dead() {
                    up += 1;
                } else if other.core.job.is_some_and(|other| {
                    // Who waits for something else does not keep others waiting.
                    is_waiting_start(&other)
                        && other.id < job.id
                        && !self.is_blocked(member, &other)
                }) {
                    before += 1;
                }
            }
            up.saturating_add(before) < most
        })
    }

    /// A place may have become free: those that wait for one are to be looked at.
    pub(super) fn wake_waiting(&mut self, name: &UnitName) {
        let waiting: Vec<UnitName> = self
            .slices_above(name)
            .iter()
            .filter(|slice| self.places(slice).is_some())
            .flat_map(|slice| self.members_below(slice))
            .filter(|member| self.busy.contains(*member))
            .cloned()
            .collect();
        self.dirty.extend(waiting);
    }

    /// Why a start waits, when it is for want of a place: the slice, and its limit.
    pub(super) fn waits_for_place(&self, name: &UnitName) -> Option<(UnitName, u32)> {
        let job = self.records.get(name)?.core.job?;
        if !is_waiting_start(&job) || self.has_place(name, &job) {
            return None;
        }
        let slices = self.slices_above(name);
        slices
            .into_iter()
            .find_map(|slice| self.places(&slice).map(|most| (slice, most)))
    }

    fn places(&self, slice: &UnitName) -> Option<u32> {
        let record = self.records.get(slice)?;
        record.unit.slice_limits.as_ref()?.max_concurrent
    }

    fn slices_above(&self, name: &UnitName) -> Vec<UnitName> {
        let mut all: Vec<UnitName> = vec![];
        let mut next = self.records.get(name).and_then(|r| r.unit.slice.clone());
        while let Some(slice) = next {
            next = self.records.get(&slice).and_then(|r| r.unit.slice.clone());
            // The name of a slice holds that of its parent, so there is no circle.
            all.push(slice);
        }
        all
    }

    fn members_below(&self, slice: &UnitName) -> Vec<&UnitName> {
        let mut all = vec![];
        let mut slices = vec![slice];
        while let Some(slice) = slices.pop() {
            for member in self.members.get(slice).into_iter().flatten() {
                if member.kind() == crate::name::UnitType::Slice {
                    slices.push(member);
                } else {
                    all.push(member);
                }
            }
        }
        all
    }
}

const fn is_waiting_start(job: &Job) -> bool {
    matches!(job.kind, JobType::Start | JobType::Restart)
        && matches!(job.phase, Phase::StartWaiting)
}
