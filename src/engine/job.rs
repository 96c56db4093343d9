//! Jobs, and their algebra: which of two can be one, which wins, which has nothing to do.
//!
//! Pure tables (systemd's `job.c` in spirit); installing and running jobs is `schedule`'s. A unit
//! has one slot for a start, stop or restart; pause and resume have the freezer's own.
#![deny(clippy::wildcard_enum_match_arm)]

use serde::{Deserialize, Serialize};

use crate::engine::event::JobType;
use crate::engine::view::ActiveState;
use crate::name::{JobId, UnitName};

/// What a unit is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) kind: JobType,
    pub(super) phase: Phase,
    /// Made by `Restart=`, not by a person: it is charged.
    pub(super) by_policy: bool,
    /// Neither waits for others nor fails with them.
    pub(super) alone: bool,
}

/// How far a job is. A restart passes through all four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    StopWaiting,
    StopRunning,
    StartWaiting,
    StartRunning,
}

impl Job {
    pub(super) const fn new(id: JobId, kind: JobType) -> Self {
        Self {
            id,
            kind,
            phase: match kind {
                JobType::Stop | JobType::Restart => Phase::StopWaiting,
                JobType::Start | JobType::Pause | JobType::Resume => Phase::StartWaiting,
            },
            by_policy: false,
            alone: false,
        }
    }

    /// Whether it is (still) about stopping.
    pub(super) const fn stops(&self) -> bool {
        matches!(self.phase, Phase::StopWaiting | Phase::StopRunning)
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self.phase, Phase::StopRunning | Phase::StartRunning)
    }

    /// Whether this job does what a new one asks for, so that the new one needs no job of its own.
    pub(super) fn absorbs(&self, new: JobType) -> bool {
        match (self.kind, new) {
            (JobType::Start, JobType::Start)
            | (JobType::Stop, JobType::Stop)
            | (JobType::Restart, JobType::Start)
            | (JobType::Pause, JobType::Pause)
            | (JobType::Resume, JobType::Resume) => true,
            // A restart that has begun its start half is too old to count as a new restart.
            (JobType::Restart, JobType::Restart) => self.stops(),
            (
                JobType::Start,
                JobType::Stop | JobType::Restart | JobType::Pause | JobType::Resume,
            )
            | (
                JobType::Stop,
                JobType::Start | JobType::Restart | JobType::Pause | JobType::Resume,
            )
            | (JobType::Restart, JobType::Stop | JobType::Pause | JobType::Resume)
            | (
                JobType::Pause,
                JobType::Start | JobType::Stop | JobType::Restart | JobType::Resume,
            )
            | (
                JobType::Resume,
                JobType::Start | JobType::Stop | JobType::Restart | JobType::Pause,
            ) => false,
        }
    }
}

/// One job that does what both would, within one transaction; `None`: they contradict each other.
pub(super) const fn merge(a: JobType, b: JobType) -> Option<JobType> {
    match (a, b) {
        (JobType::Start, JobType::Start) => Some(JobType::Start),
        (JobType::Stop, JobType::Stop) => Some(JobType::Stop),
        (JobType::Start | JobType::Restart, JobType::Restart)
        | (JobType::Restart, JobType::Start) => Some(JobType::Restart),
        (JobType::Pause, JobType::Pause) => Some(JobType::Pause),
        (JobType::Resume, JobType::Resume) => Some(JobType::Resume),
        (JobType::Start | JobType::Restart, JobType::Stop | JobType::Pause | JobType::Resume)
        | (JobType::Stop, JobType::Start | JobType::Restart | JobType::Pause | JobType::Resume)
        | (JobType::Pause, JobType::Start | JobType::Stop | JobType::Restart | JobType::Resume)
        | (JobType::Resume, JobType::Start | JobType::Stop | JobType::Restart | JobType::Pause) => {
            None
        }
    }
}

/// Whether a job has nothing to do for a unit in this state.
pub(super) const fn redundant(kind: JobType, active: ActiveState) -> bool {
    match kind {
        JobType::Start => matches!(active, ActiveState::Active),
        JobType::Stop => matches!(active, ActiveState::Inactive | ActiveState::Failed),
        JobType::Restart | JobType::Pause | JobType::Resume => false,
    }
}

/// Whether `one` has to wait for `other`, given who is ordered after whom.
///
/// What stops goes first, whatever the order says; two stops go against the order; two starts
/// along it. So a stop waits only for stops and a start never for a later start, and there is no
/// circle as long as the order has none.
pub(super) const fn waits(one: &Job, other: &Job, one_is_later: bool) -> bool {
    match (one.stops(), other.stops()) {
        (false, true) => true,
        (true, false) => false,
        (false, false) => one_is_later,
        (true, true) => !one_is_later,
    }
}

/// One entry of a transaction, before it becomes a [`Job`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) unit: UnitName,
    pub(super) kind: JobType,
    /// The person's request stands or falls with it.
    pub(super) needed: bool,
}
