//! How a unit relates to others, and what holds for its jobs (systemd.unit(5)).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::UnitName;
use crate::unit::Actions;

/// Dependencies (systemd.unit(5)); requirement and order are separate things.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relations {
    /// `Requires=`: started with us; we fail if they fail to start (when ordered after them) and
    /// stop when they are stopped.
    pub requires: Vec<UnitName>,
    /// `Requisite=`: must be active already.
    pub requisite: Vec<UnitName>,
    /// `Wants=`: started with us; we do not care how that ends.
    pub wants: Vec<UnitName>,
    /// `BindsTo=`: as `Requires=`, and we stop when they end by themselves.
    pub binds_to: Vec<UnitName>,
    /// `PartOf=`: stopped and restarted with them.
    pub part_of: Vec<UnitName>,
    /// `Upholds=`: as `Wants=`, and started again whenever they are found down while we are up.
    pub upholds: Vec<UnitName>,
    /// `Conflicts=`: starting one stops the other.
    pub conflicts: Vec<UnitName>,
    /// `Before=`.
    pub before: Vec<UnitName>,
    /// `After=`.
    pub after: Vec<UnitName>,
    /// `OnFailure=`: started when we have failed.
    pub on_failure: Vec<UnitName>,
    /// `OnSuccess=`: started when we have become inactive without failing.
    pub on_success: Vec<UnitName>,
    /// `PropagatesReloadTo=`: reloaded with us.
    pub propagates_reload_to: Vec<UnitName>,
    /// `ReloadPropagatedFrom=`: we are reloaded with them.
    pub reload_propagated_from: Vec<UnitName>,
    /// `PropagatesStopTo=`: stopped with us.
    pub propagates_stop_to: Vec<UnitName>,
    /// `StopPropagatedFrom=`: we are stopped with them.
    pub stop_propagated_from: Vec<UnitName>,
    /// Of a target: what it pulls in and so comes after, unless that comes after it (see
    /// [`Settings::default_dependencies`]).
    pub members: Vec<UnitName>,
    /// What a timer, socket or path unit starts.
    pub triggers: Vec<UnitName>,
}

impl Relations {
    /// Every list, for what concerns all of them.
    fn lists(&mut self) -> [&mut Vec<UnitName>; 17] {
        [
            &mut self.requires,
            &mut self.requisite,
            &mut self.wants,
            &mut self.binds_to,
            &mut self.part_of,
            &mut self.upholds,
            &mut self.conflicts,
            &mut self.before,
            &mut self.after,
            &mut self.on_failure,
            &mut self.on_success,
            &mut self.propagates_reload_to,
            &mut self.reload_propagated_from,
            &mut self.propagates_stop_to,
            &mut self.stop_propagated_from,
            &mut self.members,
            &mut self.triggers,
        ]
    }

    /// Calls every unit by the name that `of` gives it; what is then `own` itself is left out, for
    /// nothing depends on itself.
    pub fn rename(&mut self, own: &UnitName, of: impl Fn(&UnitName) -> UnitName) {
        for list in self.lists() {
            let mut renamed: Vec<UnitName> = Vec::with_capacity(list.len());
            for name in list.iter().map(&of) {
                if name != *own && !renamed.contains(&name) {
                    renamed.push(name);
                }
            }
            *list = renamed;
        }
    }
}

/// What `[Unit]` says about the unit's jobs, beside relations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `StopWhenUnneeded=`: stopped when no active unit needs it any more.
    pub stop_when_unneeded: bool,
    /// `RefuseManualStart=`: started by other units only.
    pub refuse_manual_start: bool,
    /// `RefuseManualStop=`: stopped by other units only.
    pub refuse_manual_stop: bool,
    /// `AllowIsolate=`: everything else may be stopped in favour of it.
    pub allow_isolate: bool,
    /// `IgnoreOnIsolate=`: stays up when another unit is isolated.
    pub ignore_on_isolate: bool,
    /// `DefaultDependencies=`: a target is ordered after what it pulls in.
    pub default_dependencies: bool,
    /// `OnFailureJobMode=`.
    pub on_failure_job_mode: JobMode,
    /// `OnSuccessJobMode=`.
    pub on_success_job_mode: JobMode,
    /// `JobTimeoutSec=`: from the moment a job is made.
    pub job_timeout: Option<Duration>,
    /// `JobRunningTimeoutSec=`: from the moment a job runs.
    pub job_running_timeout: Option<Duration>,
    /// `CollectMode=inactive-or-failed`: a failed unit is forgotten as an inactive one is.
    pub collect_failed: bool,
    /// `FailureAction=` and its like.
    #[serde(default)]
    pub actions: Actions,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stop_when_unneeded: false,
            refuse_manual_start: false,
            refuse_manual_stop: false,
            allow_isolate: false,
            ignore_on_isolate: false,
            default_dependencies: true,
            on_failure_job_mode: JobMode::Replace,
            on_success_job_mode: JobMode::Fail,
            job_timeout: None,
            job_running_timeout: None,
            collect_failed: false,
            actions: Actions::default(),
        }
    }
}

/// What to do about jobs that are in the way, and about units that nobody mentions
/// (systemctl(1), `--job-mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobMode {
    /// Replace conflicting jobs.
    #[default]
    Replace,
    /// Fail if a conflicting job is pending.
    Fail,
    /// Replace, and let no later job turn these round (systemd's shutdown does so).
    ReplaceIrreversibly,
    /// Replace, and stop every unit that is not part of the transaction.
    Isolate,
    /// This unit only: neither requirements nor order.
    IgnoreDependencies,
    /// The requirements are not pulled in; order holds.
    IgnoreRequirements,
}

impl JobMode {
    /// Every mode with its word.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("replace", Self::Replace),
        ("fail", Self::Fail),
        ("replace-irreversibly", Self::ReplaceIrreversibly),
        ("isolate", Self::Isolate),
        ("ignore-dependencies", Self::IgnoreDependencies),
        ("ignore-requirements", Self::IgnoreRequirements),
    ];

    /// systemd's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, mode)| *mode == self)
            .map_or("", |(word, _)| word)
    }
}

/// How many starts within how much time, before the unit is `failed (start-limit-hit)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartLimit {
    /// Zero switches the limit off.
    pub interval: Duration,
    /// Starts allowed within the interval. Starts asked for by a person do not count.
    pub burst: u32,
}

impl Default for StartLimit {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            burst: 5,
        }
    }
}
