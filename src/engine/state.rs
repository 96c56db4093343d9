//! The states of a unit, each carrying its own data, and what else the engine keeps of a unit.
//!
//! Data only: how one state follows another is in `start`, `stop` and `pause`. Everything here is
//! serialisable, because it is also the snapshot from which a killed daemon goes on. Read the
//! comment of [`State`] first: it is the specification.
#![deny(clippy::wildcard_enum_match_arm)]

use serde::{Deserialize, Serialize};

use crate::engine::event::{ExitStatus, InputId, Now, SpawnId, TimerId};
use crate::engine::input::Queue;
use crate::engine::job::Job;
use crate::engine::restart::History;
use crate::engine::view::{ActiveState, FreezerState, Outcome};
use crate::name::{Invocation, JobId};
use crate::plan::{Enforcement, Failure};
use crate::runtime::TurnResult;

/// Where a unit is in its life.
///
/// | state | public | left when |
/// |---|---|---|
/// | `Dead` | inactive or failed | a start job runs |
/// | `StartPre` | activating | the command ends: next one, or `Launching`; on failure `Killing` |
/// | `Launching` | activating | `Type=` is satisfied: `StartPost`; the process fails: `Killing` |
/// | `StartPost` | activating | the last command ends: `Running` (or `Exited`, or the way down) |
/// | `Running` | active | the main process ends, or somebody or a limit stops it |
/// | `Exited` | active | stopped (targets, `RemainAfterExit=`) |
/// | `StopExec` | deactivating | the last `ExecStop=` ends or is late: the next step down |
/// | `Interrupting` | deactivating | the main process ends: `Killing`; it is late: `Terminating` |
/// | `Terminating` | deactivating | every known process has ended, or is late: `Killing` |
/// | `Killing` | deactivating | the cgroup is empty *and* every known process is reaped |
/// | `StopPost` | deactivating | the last command ends or is late: `Killing` once more |
/// | `AutoRestart` | activating | the delay is over: a start job made by policy |
///
/// The way down always passes `Killing`, also after a clean end: children left in the background
/// are the rule, and nothing of a stopped unit may stay. It is entered twice where there is an
/// `ExecStopPost=`, whose own leftovers are no better.
///
/// **Who decides.** When two wishes conflict the order is: (1) a person's stop; it ends a start, a
/// restart delay and a pause at once, and nothing restarts the unit behind it. (2) A person's
/// start or restart: it waits for a way down that has begun and then wins over the policy; it is
/// never rate-limited and clears the counters. (3) A pause: while it lasts nothing is restarted,
/// timed out or delivered. Limits that were hit meanwhile take effect on resume. (4) A limit
/// (timeout, memory). (5) What the runtime says of an end. (6) `Restart=`.
///
/// **Why two regions.** Being frozen is independent of where the unit is in its life, so it is a
/// second, small machine beside this one: [`Freezer`]. Multiplying the two would double the table
/// for nothing.
///
/// **Why `Killing` counts both.** The end of a process and the emptiness of the cgroup are told by
/// different doors and in either order; a process whose start is still on its way is told later
/// than both. Only together do they mean that nothing is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    Dead {
        failed: bool,
    },
    StartPre {
        control: Process,
        index: u16,
        deadline: Deadline,
    },
    Launching {
        main: Process,
        index: u16,
        deadline: Deadline,
    },
    StartPost {
        main: Option<Alive>,
        control: Process,
        index: u16,
        deadline: Deadline,
    },
    Running {
        main: Alive,
        runtime: Deadline,
    },
    Exited,
    StopExec {
        main: Option<Alive>,
        control: Process,
        index: u16,
        deadline: Deadline,
    },
    Interrupting {
        main: Alive,
        deadline: Deadline,
    },
    Terminating {
        main: Option<Alive>,
        control: Option<Alive>,
        deadline: Deadline,
    },
    Killing {
        main: Option<Process>,
        control: Option<Process>,
        emptied: bool,
        last: bool,
    },
    StopPost {
        control: Process,
        index: u16,
        deadline: Deadline,
    },
    AutoRestart {
        deadline: Deadline,
    },
}

/// A process that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Process {
    /// [`Effect::Spawn`](super::event::Effect::Spawn) went out; nothing came back yet.
    Asked { spawn: SpawnId },
    /// It exists.
    Alive(Alive),
}

/// A process that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Alive {
    pub(super) spawn: SpawnId,
    pub(super) pid: u32,
}

impl Process {
    pub(super) const fn spawn(self) -> SpawnId {
        match self {
            Self::Asked { spawn } | Self::Alive(Alive { spawn, .. }) => spawn,
        }
    }

    pub(super) const fn alive(self) -> Option<Alive> {
        match self {
            Self::Asked { .. } => None,
            Self::Alive(alive) => Some(alive),
        }
    }
}

/// A timer of the unit, or what is left of it while it is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Deadline {
    /// No limit.
    Never,
    /// Ticking; due at this time in microseconds.
    At { timer: TimerId, at: u64 },
    /// Paused, with so many microseconds left.
    Held { left: u64 },
}

/// The second region: frozen or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Freezer {
    #[default]
    Running,
    Freezing {
        job: Option<JobId>,
        reason: String,
    },
    Frozen {
        reason: String,
    },
    /// Without a job it is part of a stop.
    Thawing {
        job: Option<JobId>,
    },
}

/// What happens after the way down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Next {
    /// `Restart=` decides.
    #[default]
    Policy,
    /// Trying again cannot help.
    Final,
    /// The session is lost: once more with a fresh one, at once.
    Fresh,
    /// A process was lost between two daemons: `Restart=` decides, and the attempt is not charged.
    Lost,
}

/// What one invocation has seen so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) outcome: Outcome,
    pub(super) why: String,
    pub(super) failure: Option<Failure>,
    pub(super) exit: Option<ExitStatus>,
    pub(super) enforcement: Option<Enforcement>,
    pub(super) status_text: String,
    pub(super) turns: u32,
    pub(super) last_turn: Option<TurnResult>,
    /// Somebody asked for the stop; nothing restarts behind it.
    pub(super) stop_asked: bool,
    /// The way down was begun by us, so its exit codes say nothing about the goal.
    pub(super) stopping: bool,
    pub(super) out_of_memory: bool,
    /// Out of memory while paused: `OOMPolicy=` is carried out on resume.
    pub(super) memory_due: bool,
    pub(super) next: Next,
    pub(super) resume: bool,
    /// The turn ended and nothing was taken up since.
    pub(super) idle: bool,
    pub(super) input_closed: bool,
    pub(super) input_broken: bool,
    /// Delivered, not yet taken up.
    pub(super) unconsumed: u32,
    /// Written to the agent, not yet confirmed.
    pub(super) writing: Option<InputId>,
    /// The daemon that wrote it died, and nobody will confirm it: to be written again on resume.
    pub(super) rewrite: bool,
}

/// All that the engine keeps of a unit beside its definition: the unit's snapshot.
///
/// It is small, and it is the whole truth: a daemon that was killed goes on from it (see
/// [`Engine::restore`](super::Engine::restore)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub(super) state: State,
    pub(super) freezer: Freezer,
    pub(super) job: Option<Job>,
    pub(super) run: Run,
    pub(super) inputs: Queue,
    pub(super) history: History,
    pub(super) invocation: Invocation,
    /// One fresh session was tried already since the last start by hand.
    pub(super) fresh_tried: bool,
    /// The next start by policy begins a fresh session.
    pub(super) fresh_next: bool,
    /// The definition is gone; forget the unit once it is dead.
    pub(super) undefined: bool,
    pub(super) since: Now,
    pub(super) active_enter: Option<Now>,
    pub(super) inactive_enter: Option<Now>,
}

impl Snapshot {
    pub(super) fn new(now: Now) -> Self {
        Self {
            state: State::Dead { failed: false },
            freezer: Freezer::Running,
            job: None,
            run: Run::default(),
            inputs: Queue::default(),
            history: History::default(),
            invocation: Invocation(0),
            fresh_tried: false,
            fresh_next: false,
            undefined: false,
            since: now,
            active_enter: None,
            inactive_enter: None,
        }
    }

    /// The timer now in force, if any; a unit never has two.
    pub(super) const fn timer(&self) -> Option<(TimerId, u64)> {
        match self.state.deadline() {
            Deadline::At { timer, at } => Some((timer, at)),
            Deadline::Never | Deadline::Held { .. } => None,
        }
    }

    /// The detailed state in one word.
    pub(super) fn sub(&self, target: bool) -> &'static str {
        if self.freezer.is_paused() && self.state.active() == ActiveState::Active {
            return "paused";
        }
        match self.state {
            State::Dead { failed: true } => "failed",
            State::Dead { failed: false } => match self.run.outcome {
                Outcome::Completed => "completed",
                Outcome::Success
                | Outcome::Resources
                | Outcome::ExitCode
                | Outcome::Signal
                | Outcome::CoreDump
                | Outcome::Timeout
                | Outcome::OomKill
                | Outcome::StartLimitHit
                | Outcome::Agent
                | Outcome::Dependency => "dead",
            },
            State::StartPre { .. } => "start-pre",
            State::Launching { .. } => "start",
            State::StartPost { .. } => "start-post",
            State::Running { .. } => "running",
            State::Exited if target => "active",
            State::Exited => "exited",
            State::StopExec { .. } => "stop",
            State::Interrupting { .. } => "stop-interrupt",
            State::Terminating { .. } => "stop-sigterm",
            State::Killing { last: false, .. } => "stop-sigkill",
            State::StopPost { .. } => "stop-post",
            State::Killing { last: true, .. } => "final-sigkill",
            State::AutoRestart { .. } => "auto-restart",
        }
    }
}

impl State {
    /// Public state.
    pub(super) const fn active(&self) -> ActiveState {
        match self {
            Self::Dead { failed: true } => ActiveState::Failed,
            Self::Dead { failed: false } => ActiveState::Inactive,
            Self::StartPre { .. }
            | Self::Launching { .. }
            | Self::StartPost { .. }
            | Self::AutoRestart { .. } => ActiveState::Activating,
            Self::Running { .. } | Self::Exited => ActiveState::Active,
            Self::StopExec { .. }
            | Self::Interrupting { .. }
            | Self::Terminating { .. }
            | Self::Killing { .. }
            | Self::StopPost { .. } => ActiveState::Deactivating,
        }
    }

    /// The main process, asked for or alive.
    pub(super) fn main(&self) -> Option<Process> {
        match *self {
            Self::Launching { main, .. } => Some(main),
            Self::Running { main, .. } | Self::Interrupting { main, .. } => {
                Some(Process::Alive(main))
            }
            Self::StartPost { main, .. }
            | Self::StopExec { main, .. }
            | Self::Terminating { main, .. } => main.map(Process::Alive),
            Self::Killing { main, .. } => main,
            Self::Dead { .. }
            | Self::StartPre { .. }
            | Self::Exited
            | Self::StopPost { .. }
            | Self::AutoRestart { .. } => None,
        }
    }

    /// The process of `ExecStartPre=` and its like.
    pub(super) fn control(&self) -> Option<Process> {
        match *self {
            Self::StartPre { control, .. }
            | Self::StartPost { control, .. }
            | Self::StopExec { control, .. }
            | Self::StopPost { control, .. } => Some(control),
            Self::Terminating { control, .. } => control.map(Process::Alive),
            Self::Killing { control, .. } => control,
            Self::Dead { .. }
            | Self::Launching { .. }
            | Self::Running { .. }
            | Self::Exited
            | Self::Interrupting { .. }
            | Self::AutoRestart { .. } => None,
        }
    }

    pub(super) const fn deadline(&self) -> Deadline {
        match self {
            Self::StartPre { deadline, .. }
            | Self::Launching { deadline, .. }
            | Self::StartPost { deadline, .. }
            | Self::Running {
                runtime: deadline, ..
            }
            | Self::StopExec { deadline, .. }
            | Self::Interrupting { deadline, .. }
            | Self::Terminating { deadline, .. }
            | Self::StopPost { deadline, .. }
            | Self::AutoRestart { deadline } => *deadline,
            Self::Dead { .. } | Self::Exited | Self::Killing { .. } => Deadline::Never,
        }
    }

    pub(super) const fn deadline_mut(&mut self) -> Option<&mut Deadline> {
        match self {
            Self::StartPre { deadline, .. }
            | Self::Launching { deadline, .. }
            | Self::StartPost { deadline, .. }
            | Self::Running {
                runtime: deadline, ..
            }
            | Self::StopExec { deadline, .. }
            | Self::Interrupting { deadline, .. }
            | Self::Terminating { deadline, .. }
            | Self::StopPost { deadline, .. }
            | Self::AutoRestart { deadline } => Some(deadline),
            Self::Dead { .. } | Self::Exited | Self::Killing { .. } => None,
        }
    }

    /// Whether a start job can begin its work here.
    pub(super) const fn is_startable(&self) -> bool {
        match self {
            Self::Dead { .. } | Self::AutoRestart { .. } => true,
            Self::StartPre { .. }
            | Self::Launching { .. }
            | Self::StartPost { .. }
            | Self::Running { .. }
            | Self::Exited
            | Self::StopExec { .. }
            | Self::Interrupting { .. }
            | Self::Terminating { .. }
            | Self::Killing { .. }
            | Self::StopPost { .. } => false,
        }
    }

    /// Whether it is on its way down.
    pub(super) fn is_stopping(&self) -> bool {
        self.active() == ActiveState::Deactivating
    }

    /// Whether nothing of it runs.
    pub(super) const fn is_dead(&self) -> bool {
        matches!(self, Self::Dead { .. })
    }
}

impl Freezer {
    /// Asked to be frozen, or frozen: no timer runs and nothing is delivered.
    pub(super) const fn is_paused(&self) -> bool {
        matches!(self, Self::Freezing { .. } | Self::Frozen { .. })
    }

    pub(super) const fn public(&self) -> FreezerState {
        match self {
            Self::Running => FreezerState::Running,
            Self::Freezing { .. } => FreezerState::Freezing,
            Self::Frozen { .. } => FreezerState::Frozen,
            Self::Thawing { .. } => FreezerState::Thawing,
        }
    }

    /// Why it was paused; empty when it is not.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Freezing { reason, .. } | Self::Frozen { reason } => reason,
            Self::Running | Self::Thawing { .. } => "",
        }
    }

    pub(super) const fn job(&self) -> Option<JobId> {
        match self {
            Self::Freezing { job, .. } | Self::Thawing { job } => *job,
            Self::Running | Self::Frozen { .. } => None,
        }
    }
}
