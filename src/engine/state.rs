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
use crate::name::{Invocation, JobId, UnitName, UnitType};
use crate::plan::{Enforcement, Failure};
use crate::runtime::TurnResult;
use crate::unit::Condition;

/// Where a unit is in its life.
///
/// | state | public | left when |
/// |---|---|---|
/// | `Dead` | inactive or failed | a start job runs |
/// | `Checking` | activating | conditions were looked at: the first step up, or `Dead` again |
/// | `Condition` | activating | `ExecCondition=` ends: next one, `StartPre`; on "no" the way down |
/// | `StartPre` | activating | the command ends: next one, or `Launching`; on failure the way down |
/// | `Idling` | activating | `Type=idle`: no other job runs, or five seconds are over |
/// | `Launching` | activating | `Type=` is satisfied: `StartPost`; the process fails: the way down |
/// | `Seeking` | activating | `Type=forking`: the main process is found, or known not to be: `StartPost` |
/// | `StartPost` | activating | the last command ends: `Running` (or `Exited`, or the way down) |
/// | `Running` | active | the main process ends, or somebody or a limit stops it |
/// | `Reloading` | reloading | the last `ExecReload=` ends, `READY=1` comes, or it is late: `Running` |
/// | `Exited` | active | stopped (targets, slices, `RemainAfterExit=`) |
/// | `Opening` | activating | sockets, timers, paths: everything is open: `Waiting`; or it failed: `Dead` |
/// | `Waiting` | active | its time has come, somebody connects, the path is as it should be |
/// | `Triggered` | active | what it started is down again: `Waiting` |
/// | `Elapsed` | active | a timer to which nothing is to come; stopped |
/// | `StopExec` | deactivating | the last `ExecStop=` ends or is late: the next step down |
/// | `Interrupting` | deactivating | the main process ends: `StopPost`; it is late: `Terminating` |
/// | `Terminating` | deactivating | every known process has ended (without any: the cgroup is empty): `StopPost`; or it is late: `Killing` |
/// | `Killing` | deactivating | the cgroup is empty *and* every known process is reaped |
/// | `StopPost` | deactivating | the last command ends or is late: `Sweeping` |
/// | `Sweeping` | deactivating | the cgroup is empty: `Dead` or `AutoRestart`; it is late: `Killing` once more |
/// | `AutoRestart` | activating | the delay is over: a start job made by policy |
///
/// The way down always ends with an empty cgroup, also after a clean end: children left in the
/// background are the rule. They are asked to end (`KillSignal=`) and have `TimeoutStopSec=` for
/// it; nothing of a stopped unit may stay, whatever `KillMode=` says.
///
/// **Who decides.** When two wishes conflict the order is: (1) a person's stop; it ends a start, a
/// restart delay and a pause at once, and nothing restarts the unit behind it. (2) A person's
/// start or restart: it waits for a way down that has begun and then wins over the policy; it
/// counts for `StartLimitBurst=` as any start does, and begins the restart delays anew. (3) A pause: while it lasts nothing is restarted,
/// timed out or delivered. Limits that were hit meanwhile take effect on resume. (4) A limit
/// (timeout, memory). (5) What the runtime says of an end. (6) `Restart=`.
///
/// **Why two regions.** Being frozen is independent of where the unit is in its life, so it is a
/// second, small machine beside this one: [`Freezer`]. Multiplying the two would double the table
/// for nothing.
///
/// **Why so many clocks.** A state has at most one deadline, in the state. What lasts longer than a
/// state has its own: `RuntimeMaxSec=`, the watchdog, and the limit of a job ([`Clocks`]).
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
    Checking,
    Condition {
        control: Process,
        index: u16,
        deadline: Deadline,
    },
    StartPre {
        control: Process,
        index: u16,
        deadline: Deadline,
    },
    Idling {
        /// Five seconds, then that of the start.
        deadline: Deadline,
    },
    Launching {
        main: Process,
        index: u16,
        deadline: Deadline,
    },
    Seeking {
        spawn: SpawnId,
        deadline: Deadline,
    },
    StartPost {
        main: Option<Alive>,
        control: Process,
        index: u16,
        deadline: Deadline,
    },
    Running {
        /// `None`: a forking service whose main process nobody knows; its cgroup is watched.
        main: Option<Alive>,
    },
    Reloading {
        main: Option<Alive>,
        control: Option<Process>,
        index: u16,
        phase: Reload,
        deadline: Deadline,
    },
    Exited,
    Opening,
    Waiting {
        deadline: Deadline,
    },
    Triggered,
    Elapsed,
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
        /// By the watchdog's signal.
        aborting: bool,
        /// `ExecStopPost=` has had its time.
        #[serde(default)]
        last: bool,
        deadline: Deadline,
    },
    Killing {
        main: Option<Process>,
        control: Option<Process>,
        emptied: bool,
        last: bool,
        /// `FinalKillSignal=` was sent, which may be survived.
        deadline: Deadline,
    },
    StopPost {
        control: Process,
        index: u16,
        deadline: Deadline,
    },
    Sweeping {
        /// By the watchdog's signal.
        #[serde(default)]
        aborting: bool,
        deadline: Deadline,
    },
    AutoRestart {
        deadline: Deadline,
    },
}

/// What a reload waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reload {
    /// The commands of `ExecReload=`.
    Commands,
    /// `RELOADING=1`, not older than this time on the monotonic clock.
    Answer { since: u64 },
    /// `READY=1`.
    Ready,
    /// `READY=1`, of a unit that reloads without having been asked (`Type=notify`).
    ByItself,
}

/// The clocks that outlast a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clocks {
    /// `RuntimeMaxSec=`.
    pub(super) runtime: Deadline,
    /// `WatchdogSec=`.
    pub(super) watchdog: Deadline,
    /// `JobTimeoutSec=`, `JobRunningTimeoutSec=`.
    pub(super) job: Deadline,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            runtime: Deadline::Never,
            watchdog: Deadline::Never,
            job: Deadline::Never,
        }
    }
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
    /// `RestartForceExitStatus=`: once more, whatever `Restart=` says.
    Forced,
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
    /// The condition or assert that stood against this start.
    pub(super) unmet: Option<Condition>,
    /// On whose account it was started.
    pub(super) triggered_by: Option<UnitName>,
    /// It was started too often, and not started.
    pub(super) limit_hit: bool,
    /// Some main process was known in this run.
    pub(super) main_seen: bool,
    /// A process that the unit named as its main one (`MAINPID=`) is being looked at.
    pub(super) finding: Option<SpawnId>,
    /// How the last reload failed, if it did.
    pub(super) reload_failed: Option<String>,
    /// `WATCHDOG_USEC=`, which holds for this run.
    pub(super) watchdog_period: Option<u64>,
    /// The agent waits for an approval.
    pub(super) approval: bool,
}

/// All that the engine keeps of a unit beside its definition: the unit's snapshot.
///
/// It is small, and it is the whole truth: a daemon that was killed goes on from it (see
/// [`Engine::restore`](super::Engine::restore)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub(super) state: State,
    pub(super) clocks: Clocks,
    pub(super) freezer: Freezer,
    /// Who has taken the agent over; it is frozen for as long.
    pub(super) holder: Option<String>,
    pub(super) job: Option<Job>,
    pub(super) run: Run,
    pub(super) inputs: Queue,
    pub(super) history: History,
    pub(super) invocation: Invocation,
    /// One fresh session was tried already since the last start by hand.
    pub(super) fresh_tried: bool,
    /// The next start by policy begins a fresh session.
    pub(super) fresh_next: bool,
    /// On whose account the next start is: whose end, time or connection asks for it.
    pub(super) trigger_of_next: Option<UnitName>,
    /// The definition is gone; forget the unit once it is dead.
    pub(super) undefined: bool,
    /// Since it was defined somebody has asked for its start: it has had its turn.
    #[serde(default)]
    pub(super) asked: bool,
    /// It serves one connection (`Accept=yes`), and there will be none like it.
    #[serde(default)]
    pub(super) connection: bool,
    /// What a timer, path or socket unit knows of its elapses.
    pub(super) trigger: Trigger,
    pub(super) since: Now,
    pub(super) active_enter: Option<Now>,
    pub(super) active_exit: Option<Now>,
    pub(super) inactive_enter: Option<Now>,
    pub(super) inactive_exit: Option<Now>,
}

/// What a timer, path or socket unit knows of its elapses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trigger {
    /// When it last elapsed, or when the stamp of a persistent timer says so.
    pub(super) last: Option<Now>,
    /// When it is to elapse next: on the clock of the day, and on the monotonic one.
    pub(super) next_realtime: Option<u64>,
    pub(super) next_monotonic: Option<u64>,
    /// Starts within the trigger limit's interval, on the monotonic clock.
    pub(super) starts: Vec<u64>,
    /// Elapses counted, for random delays.
    pub(super) count: u64,
    /// Connections accepted.
    pub(super) accepted: u64,
}

impl Snapshot {
    pub(super) fn new(now: Now) -> Self {
        Self {
            state: State::Dead { failed: false },
            clocks: Clocks::default(),
            freezer: Freezer::Running,
            holder: None,
            job: None,
            run: Run::default(),
            inputs: Queue::default(),
            history: History::default(),
            invocation: Invocation(0),
            fresh_tried: false,
            fresh_next: false,
            trigger_of_next: None,
            undefined: false,
            asked: false,
            connection: false,
            trigger: Trigger::default(),
            since: now,
            active_enter: None,
            active_exit: None,
            inactive_enter: None,
            inactive_exit: None,
        }
    }

    /// Notes when the public state changed.
    pub(super) fn note_move(&mut self, now: Now, from: ActiveState, to: ActiveState) {
        let up = |state| matches!(state, ActiveState::Active | ActiveState::Reloading);
        let down = |state| matches!(state, ActiveState::Inactive | ActiveState::Failed);
        if up(to) && !up(from) {
            self.active_enter = Some(now);
        }
        if up(from) && !up(to) {
            self.active_exit = Some(now);
        }
        if down(to) && !down(from) {
            self.inactive_enter = Some(now);
        }
        if down(from) && !down(to) {
            self.inactive_exit = Some(now);
        }
    }

    /// The timers now in force.
    pub(super) fn timers(&self) -> impl Iterator<Item = (TimerId, u64)> {
        let Clocks {
            runtime,
            watchdog,
            job,
        } = self.clocks;
        [self.state.deadline(), runtime, watchdog, job]
            .into_iter()
            .filter_map(|deadline| match deadline {
                Deadline::At { timer, at } => Some((timer, at)),
                Deadline::Never | Deadline::Held { .. } => None,
            })
    }

    /// The detailed state in one word: systemd's, where it has it.
    pub(super) fn sub(&self, kind: UnitType) -> &'static str {
        if self.freezer.is_paused() && self.state.active() == ActiveState::Active {
            return "paused";
        }
        let socket = kind == UnitType::Socket;
        match self.state {
            State::Dead { failed: true } => "failed",
            State::Dead { failed: false } if self.run.outcome == Outcome::Completed => "completed",
            State::Dead { failed: false } => "dead",
            State::Checking | State::Condition { .. } => "condition",
            State::StartPre { .. } => "start-pre",
            State::Opening => "start-pre",
            State::Idling { .. } | State::Launching { .. } | State::Seeking { .. } => "start",
            State::StartPost { .. } => "start-post",
            State::Running { .. } => "running",
            State::Reloading {
                phase: Reload::Commands | Reload::ByItself,
                ..
            } => "reload",
            State::Reloading {
                phase: Reload::Answer { .. },
                ..
            } => "reload-signal",
            State::Reloading {
                phase: Reload::Ready,
                ..
            } => "reload-notify",
            State::Exited if matches!(kind, UnitType::Target | UnitType::Slice) => "active",
            State::Exited => "exited",
            State::Waiting { .. } if socket => "listening",
            State::Waiting { .. } => "waiting",
            State::Triggered => "running",
            State::Elapsed => "elapsed",
            State::StopExec { .. } => "stop",
            State::Interrupting { .. } => "stop-interrupt",
            State::Terminating {
                aborting: true,
                last: false,
                ..
            } => "stop-watchdog",
            State::Terminating { last: false, .. } => "stop-sigterm",
            State::Terminating { aborting: true, .. } | State::Sweeping { aborting: true, .. } => {
                "final-watchdog"
            }
            State::Killing { last: false, .. } => "stop-sigkill",
            State::StopPost { .. } => "stop-post",
            State::Terminating { .. } | State::Sweeping { .. } => "final-sigterm",
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
            Self::Checking
            | Self::Condition { .. }
            | Self::StartPre { .. }
            | Self::Idling { .. }
            | Self::Launching { .. }
            | Self::Seeking { .. }
            | Self::StartPost { .. }
            | Self::Opening
            | Self::AutoRestart { .. } => ActiveState::Activating,
            Self::Running { .. }
            | Self::Exited
            | Self::Waiting { .. }
            | Self::Triggered
            | Self::Elapsed => ActiveState::Active,
            Self::Reloading { .. } => ActiveState::Reloading,
            Self::StopExec { .. }
            | Self::Interrupting { .. }
            | Self::Terminating { .. }
            | Self::Killing { .. }
            | Self::StopPost { .. }
            | Self::Sweeping { .. } => ActiveState::Deactivating,
        }
    }

    /// The main process, asked for or alive.
    pub(super) fn main(&self) -> Option<Process> {
        match *self {
            Self::Launching { main, .. } => Some(main),
            Self::Interrupting { main, .. } => Some(Process::Alive(main)),
            Self::StartPost { main, .. }
            | Self::Running { main }
            | Self::Reloading { main, .. }
            | Self::StopExec { main, .. }
            | Self::Terminating { main, .. } => main.map(Process::Alive),
            Self::Killing { main, .. } => main,
            Self::Dead { .. }
            | Self::Checking
            | Self::Condition { .. }
            | Self::StartPre { .. }
            | Self::Idling { .. }
            | Self::Seeking { .. }
            | Self::Exited
            | Self::Opening
            | Self::Waiting { .. }
            | Self::Triggered
            | Self::Elapsed
            | Self::StopPost { .. }
            | Self::Sweeping { .. }
            | Self::AutoRestart { .. } => None,
        }
    }

    /// Puts another process in the main one's place, where there can be one.
    pub(super) fn replace_main(&mut self, new: Alive) -> bool {
        match self {
            Self::Launching { main, .. } => *main = Process::Alive(new),
            Self::Interrupting { main, .. } => *main = new,
            Self::StartPost { main, .. }
            | Self::Running { main }
            | Self::Reloading { main, .. }
            | Self::StopExec { main, .. }
            | Self::Terminating { main, .. } => *main = Some(new),
            Self::Dead { .. }
            | Self::Checking
            | Self::Condition { .. }
            | Self::StartPre { .. }
            | Self::Idling { .. }
            | Self::Seeking { .. }
            | Self::Exited
            | Self::Opening
            | Self::Waiting { .. }
            | Self::Triggered
            | Self::Elapsed
            | Self::Killing { .. }
            | Self::StopPost { .. }
            | Self::Sweeping { .. }
            | Self::AutoRestart { .. } => return false,
        }
        true
    }

    /// The process of `ExecStartPre=` and its like.
    pub(super) fn control(&self) -> Option<Process> {
        match *self {
            Self::Condition { control, .. }
            | Self::StartPre { control, .. }
            | Self::StartPost { control, .. }
            | Self::StopExec { control, .. }
            | Self::StopPost { control, .. } => Some(control),
            Self::Terminating { control, .. } => control.map(Process::Alive),
            Self::Reloading { control, .. } | Self::Killing { control, .. } => control,
            Self::Dead { .. }
            | Self::Checking
            | Self::Idling { .. }
            | Self::Launching { .. }
            | Self::Seeking { .. }
            | Self::Running { .. }
            | Self::Exited
            | Self::Opening
            | Self::Waiting { .. }
            | Self::Triggered
            | Self::Elapsed
            | Self::Interrupting { .. }
            | Self::Sweeping { .. }
            | Self::AutoRestart { .. } => None,
        }
    }

    pub(super) const fn deadline(&self) -> Deadline {
        match self {
            Self::Condition { deadline, .. }
            | Self::StartPre { deadline, .. }
            | Self::Idling { deadline }
            | Self::Launching { deadline, .. }
            | Self::Seeking { deadline, .. }
            | Self::StartPost { deadline, .. }
            | Self::Reloading { deadline, .. }
            | Self::Waiting { deadline }
            | Self::StopExec { deadline, .. }
            | Self::Interrupting { deadline, .. }
            | Self::Terminating { deadline, .. }
            | Self::Killing { deadline, .. }
            | Self::StopPost { deadline, .. }
            | Self::Sweeping { deadline, .. }
            | Self::AutoRestart { deadline } => *deadline,
            Self::Dead { .. }
            | Self::Checking
            | Self::Running { .. }
            | Self::Exited
            | Self::Opening
            | Self::Triggered
            | Self::Elapsed => Deadline::Never,
        }
    }

    pub(super) const fn deadline_mut(&mut self) -> Option<&mut Deadline> {
        match self {
            Self::Condition { deadline, .. }
            | Self::StartPre { deadline, .. }
            | Self::Idling { deadline }
            | Self::Launching { deadline, .. }
            | Self::Seeking { deadline, .. }
            | Self::StartPost { deadline, .. }
            | Self::Reloading { deadline, .. }
            | Self::Waiting { deadline }
            | Self::StopExec { deadline, .. }
            | Self::Interrupting { deadline, .. }
            | Self::Terminating { deadline, .. }
            | Self::Killing { deadline, .. }
            | Self::StopPost { deadline, .. }
            | Self::Sweeping { deadline, .. }
            | Self::AutoRestart { deadline } => Some(deadline),
            Self::Dead { .. }
            | Self::Checking
            | Self::Running { .. }
            | Self::Exited
            | Self::Opening
            | Self::Triggered
            | Self::Elapsed => None,
        }
    }

    /// Whether a start job can begin its work here.
    pub(super) const fn is_startable(&self) -> bool {
        matches!(self, Self::Dead { .. } | Self::AutoRestart { .. })
    }

    /// Whether it is on its way down.
    pub(super) fn is_stopping(&self) -> bool {
        self.active() == ActiveState::Deactivating
    }

    /// Whether nothing of it runs, because it failed.
    pub(super) const fn is_failed(&self) -> bool {
        matches!(self, Self::Dead { failed: true })
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
