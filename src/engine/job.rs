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
    /// No later job turns it round.
    #[serde(default)]
    pub(super) irreversible: bool,
}

/// How far a job is. A restart passes through all four; what is no stop has the last two.
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
                JobType::Start
                | JobType::Reload
                | JobType::VerifyActive
                | JobType::Pause
                | JobType::Resume => Phase::StartWaiting,
            },
            by_policy: false,
            alone: false,
            irreversible: false,
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
    pub(super) const fn absorbs(&self, new: JobType) -> bool {
        match new {
            JobType::Start => matches!(self.kind, JobType::Start | JobType::Restart),
            JobType::Stop => matches!(self.kind, JobType::Stop),
            // A restart that has begun its start half is too old to count as a new restart.
            JobType::Restart => matches!(self.kind, JobType::Restart) && self.stops(),
            // What is being started reads its configuration anyway; a reload that has begun may
            // have read it too early.
            JobType::Reload => match self.kind {
                JobType::Start | JobType::Restart => true,
                JobType::Reload => !self.is_running(),
                JobType::Stop | JobType::VerifyActive | JobType::Pause | JobType::Resume => false,
            },
            JobType::VerifyActive => !matches!(self.kind, JobType::Stop),
            JobType::Pause => matches!(self.kind, JobType::Pause),
            JobType::Resume => matches!(self.kind, JobType::Resume),
        }
    }
}

/// One job that does what both would, within one transaction; `None`: they contradict each other.
pub(super) const fn merge(a: JobType, b: JobType) -> Option<JobType> {
    match (a, b) {
        (JobType::Stop, JobType::Stop) => Some(JobType::Stop),
        (JobType::Pause, JobType::Pause) => Some(JobType::Pause),
        (JobType::Resume, JobType::Resume) => Some(JobType::Resume),
        (JobType::Stop | JobType::Pause | JobType::Resume, _)
        | (_, JobType::Stop | JobType::Pause | JobType::Resume) => None,
        (JobType::Restart, _) | (_, JobType::Restart) => Some(JobType::Restart),
        // Whoever asks for both wants it up and fresh; what starts is fresh.
        (JobType::Start, _) | (_, JobType::Start) => Some(JobType::Start),
        (JobType::Reload, _) | (_, JobType::Reload) => Some(JobType::Reload),
        (JobType::VerifyActive, JobType::VerifyActive) => Some(JobType::VerifyActive),
    }
}

/// Whether a job has nothing to do for a unit in this state.
pub(super) const fn redundant(kind: JobType, active: ActiveState) -> bool {
    match kind {
        JobType::Start | JobType::VerifyActive => {
            matches!(active, ActiveState::Active | ActiveState::Reloading)
        }
        JobType::Stop => matches!(active, ActiveState::Inactive | ActiveState::Failed),
        JobType::Restart | JobType::Reload | JobType::Pause | JobType::Resume => false,
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
