//! What everyone outside sees of a unit: D-Bus properties, `status`, the page, MCP.
//!
//! Data only; made by the engine from its state. The detailed state stays inside: callers see the
//! few public states (systemd's two levels).

use serde::{Deserialize, Serialize};

use crate::engine::event::{ExitStatus, JobType, Now};
use crate::name::{Invocation, JobId, UnitName};
use crate::plan::{Enforcement, Failure};
use crate::runtime::TurnResult;

/// Public state (systemd's `ActiveState`).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ActiveState {
    /// Running, or done and remaining.
    Active,
    /// Active, and reading its configuration again.
    Reloading,
    /// On its way up (waiting out a restart delay included).
    Activating,
    /// On its way down.
    Deactivating,
    /// Not running.
    #[default]
    Inactive,
    /// Not running, because it failed.
    Failed,
}

impl ActiveState {
    /// Whether it is active or about to be.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Active | Self::Reloading | Self::Activating)
    }

    /// systemd's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Reloading => "reloading",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
        }
    }
}

/// How the last run ended (systemd's `Result`, and ours).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing went wrong (or nothing ran yet).
    #[default]
    Success,
    /// The agent reached its goal.
    Completed,
    /// A process could not be started.
    Resources,
    /// An exit code that means failure.
    ExitCode,
    /// A signal nobody of us sent.
    Signal,
    /// The same, with a core dump.
    CoreDump,
    /// A timeout.
    Timeout,
    /// Killed for memory.
    OomKill,
    /// Too many starts.
    StartLimitHit,
    /// The runtime says it failed.
    Agent,
    /// Something it requires failed.
    Dependency,
    /// It did not do what its `Type=` promises.
    Protocol,
    /// It gave no sign of life for `WatchdogSec=`.
    Watchdog,
    /// `ExecCondition=` said no: not a failure.
    ExecCondition,
    /// A socket unit: the service was started too often.
    TriggerLimitHit,
    /// A socket unit: its service hit its own start limit.
    ServiceStartLimitHit,
    /// A path unit: the unit that it starts hit its own start limit.
    UnitStartLimitHit,
}

impl Outcome {
    /// Whether a unit that ended so is `failed`.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Success | Self::Completed | Self::ExecCondition)
    }

    /// The word on the bus and in `status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Completed => "completed",
            Self::Resources => "resources",
            Self::ExitCode => "exit-code",
            Self::Signal => "signal",
            Self::CoreDump => "core-dump",
            Self::Timeout => "timeout",
            Self::OomKill => "oom-kill",
            Self::StartLimitHit => "start-limit-hit",
            Self::Agent => "agent",
            Self::Dependency => "dependency",
            Self::Protocol => "protocol",
            Self::Watchdog => "watchdog",
            Self::ExecCondition => "exec-condition",
            Self::TriggerLimitHit => "trigger-limit-hit",
            Self::ServiceStartLimitHit => "service-start-limit-hit",
            Self::UnitStartLimitHit => "unit-start-limit-hit",
        }
    }
}

/// Whether the agent's processes are frozen (systemd's `FreezerState`).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum FreezerState {
    /// Not frozen.
    #[default]
    Running,
    /// Asked, not confirmed.
    Freezing,
    /// Confirmed by the kernel.
    Frozen,
    /// Asked, not confirmed.
    Thawing,
}

impl FreezerState {
    /// systemd's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Freezing => "freezing",
            Self::Frozen => "frozen",
            Self::Thawing => "thawing",
        }
    }
}

/// One unit, as seen from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Its name.
    pub name: UnitName,
    /// `Description=`.
    pub description: String,
    /// Public state.
    pub active: ActiveState,
    /// Detailed state in one word: `running`, `auto-restart`, `stop-sigterm`, `completed`, `paused` …
    pub sub: String,
    /// How the last run ended.
    pub outcome: Outcome,
    /// One sentence about why it is like this, for `status`; empty when there is nothing to say.
    pub why: String,
    /// The step that failed, when a process could not be started.
    pub failure: Option<Failure>,
    /// `STATUS=` as the unit said it.
    pub status_text: String,
    /// The main process.
    pub main_pid: Option<u32>,
    /// The process of `ExecStartPre=` and its like.
    pub control_pid: Option<u32>,
    /// How the last main process ended.
    pub exit: Option<ExitStatus>,
    /// What the kernel enforces on the main process.
    pub enforcement: Option<Enforcement>,
    /// The pending or running job.
    pub job: Option<(JobId, JobType)>,
    /// Restarts by policy since the last start by hand.
    pub restarts: u32,
    /// Monotonic time of the next restart by policy.
    pub restart_at: Option<u64>,
    /// The current or last invocation; 0: never started.
    pub invocation: Invocation,
    /// Frozen or not.
    pub freezer: FreezerState,
    /// Why it was paused.
    pub pause_reason: String,
    /// Messages not yet delivered.
    pub waiting_inputs: u32,
    /// Turns ended in this invocation.
    pub turns: u32,
    /// The last turn.
    pub last_turn: Option<TurnResult>,
    /// When `active` or `sub` last changed.
    pub since: Now,
    /// When it last became active.
    pub active_enter: Option<Now>,
    /// When it last ceased to be active.
    pub active_exit: Option<Now>,
    /// When it last became inactive or failed.
    pub inactive_enter: Option<Now>,
    /// When it last ceased to be inactive or failed.
    pub inactive_exit: Option<Now>,
    /// The condition or assert that stood against the last start, as it is written.
    pub unmet: Option<String>,
    /// A timer's next elapse: on the clock of the day, and on the monotonic one, in microseconds.
    pub next_elapse: (Option<u64>, Option<u64>),
    /// A timer's last elapse.
    pub last_trigger: Option<Now>,
    /// Connections that a socket unit has accepted.
    pub accepted: u64,
    /// The agent waits for an approval.
    pub waits_for_approval: bool,
    /// On whose account it was started: whose failure, time or connection asked for it.
    pub triggered_by: Option<UnitName>,
    /// Whether the unmet line was an assert.
    pub unmet_assert: bool,
    /// Who has taken the agent over.
    pub holder: Option<String>,
}
