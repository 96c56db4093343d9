//! The engine's vocabulary: what can happen ([`Event`]) and what is to be done ([`Effect`]).
//!
//! Data only, and serialisable: a recorded stream of events is a test case. Every effect that can
//! fail is answered by an event; nothing else changes a unit's state.

use serde::{Deserialize, Serialize};

use crate::name::{Invocation, JobId, UnitName};
use crate::plan::{Enforcement, Failure};
use crate::runtime::{TurnResult, Verdict};
use crate::unit::{Action, Condition, Unit};

pub use crate::unit::JobMode;

/// The two clocks, read once per event by the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Now {
    /// `CLOCK_BOOTTIME` in microseconds: for every duration and timer.
    pub monotonic: u64,
    /// `CLOCK_REALTIME` in microseconds since 1970: for showing only.
    pub realtime: u64,
}

/// Number of one spawned process, counted by the engine; never reused within one daemon state.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct SpawnId(pub u64);

/// Number of one timer; a fired timer whose id is no longer in force is ignored by construction.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct TimerId(pub u64);

/// Number of one request, chosen by the daemon; the answer carries it back.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct RequestId(pub u64);

/// Number of one message to an agent; never reused within one daemon state.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct InputId(pub u64);

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// `ExecCondition=`, by index. Runs in `control/`.
    Condition(u16),
    /// `ExecStartPre=`, by index. In `control/`.
    StartPre(u16),
    /// The main process (`ExecStart=`, by index for oneshot; the runtime of an agent). In `agent/`.
    Main(u16),
    /// `ExecStartPost=`, by index. In `control/`.
    StartPost(u16),
    /// `ExecReload=`, by index. In `control/`.
    Reload(u16),
    /// `ExecStop=`, by index. In `control/`.
    Stop(u16),
    /// `ExecStopPost=`, by index. In `control/`.
    StopPost(u16),
}

/// How a process ended (wait(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// By exit(2), with this code.
    Exited(u8),
    /// By this signal.
    Killed(i32),
    /// By this signal, with a core dump.
    Dumped(i32),
    /// It is gone and nobody can say how (it died while neither daemon nor keeper could look).
    Unknown,
    /// It was the child of another process of the unit, which alone knows how it ended.
    Unseen,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A unit's definition became known, or was replaced by a newer one. What runs goes on.
    Defined(Box<Unit>),
    /// A unit's file is gone: forget the unit once it is inactive.
    Undefined(UnitName),
    /// [`Effect::Collect`]: everybody has been told of the unit's end; forget it, if still nobody
    /// needs it.
    Collect {
        /// Which.
        unit: UnitName,
    },
    /// Somebody asks for something; authorised already.
    Requested {
        /// Carried back by [`Effect::Answer`].
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// [`Effect::Spawn`]: the process exists, in its cgroup, not yet confined.
    Spawned {
        /// Whose.
        unit: UnitName,
        /// Which.
        spawn: SpawnId,
        /// Its process id.
        pid: u32,
    },
    /// [`Effect::Spawn`]: the program has been executed.
    Executed {
        /// Whose.
        unit: UnitName,
        /// Which.
        spawn: SpawnId,
        /// What the kernel enforces on it.
        enforcement: Enforcement,
    },
    /// [`Effect::Spawn`] failed; there is no process.
    SpawnFailed {
        /// Whose.
        unit: UnitName,
        /// Which.
        spawn: SpawnId,
        /// At which step and why.
        failure: Failure,
    },
    /// A spawned process has ended and was reaped.
    Exited {
        /// Whose.
        unit: UnitName,
        /// Which.
        spawn: SpawnId,
        /// How.
        status: ExitStatus,
        /// What its runtime makes of that; `None` for plain commands.
        verdict: Option<Verdict>,
    },
    /// The unit's cgroup holds no process any more.
    Emptied {
        /// Whose.
        unit: UnitName,
    },
    /// The kernel killed a process of the unit for memory.
    OutOfMemory {
        /// Whose.
        unit: UnitName,
    },
    /// [`Effect::Freeze`]: the kernel says that every process is frozen.
    Frozen {
        /// Whose.
        unit: UnitName,
    },
    /// [`Effect::Thaw`]: the kernel says that nothing is frozen.
    Thawed {
        /// Whose.
        unit: UnitName,
    },
    /// [`Effect::Freeze`] or [`Effect::Thaw`] is impossible here. After a failed freeze nothing is
    /// left frozen.
    FreezeFailed {
        /// Whose.
        unit: UnitName,
        /// Why.
        failure: Failure,
    },
    /// A timer set by [`Effect::SetTimer`] is due.
    TimerFired {
        /// Which.
        timer: TimerId,
    },
    /// The unit notified us (sd_notify(3)); who may has been checked.
    Notified {
        /// Whose.
        unit: UnitName,
        /// Of what.
        notice: Notice,
    },
    /// [`Effect::Check`]: the conditions and asserts of the unit were looked at.
    Checked {
        /// Whose.
        unit: UnitName,
        /// The first that stands against the start.
        unmet: Option<Condition>,
    },
    /// [`Effect::Find`]: this is the process; it is watched.
    Found {
        /// Whose.
        unit: UnitName,
        /// Which.
        spawn: SpawnId,
        /// Its process id.
        pid: u32,
    },
    /// [`Effect::Find`]: there is no such process, or not yet ([`Source::PidFile`] goes on looking).
    NotFound {
        /// Whose.
        unit: UnitName,
        /// Which.
        spawn: SpawnId,
        /// Why.
        reason: String,
    },
    /// `BusName=` of the unit has, or has no longer, an owner on the bus.
    BusName {
        /// Whose.
        unit: UnitName,
        /// Whether somebody owns it.
        owned: bool,
    },
    /// [`Effect::Open`]: sockets are listening, paths are watched, stamps are read.
    Opened {
        /// Whose.
        unit: UnitName,
        /// When a persistent timer last elapsed, in microseconds since 1970.
        stamp: Option<u64>,
    },
    /// [`Effect::Open`] failed, or what was open broke.
    OpenFailed {
        /// Whose.
        unit: UnitName,
        /// At which step and why.
        failure: Failure,
    },
    /// Something waits in a socket, or a watched path is as it should be.
    Triggered {
        /// The socket or path unit.
        unit: UnitName,
    },
    /// A connection was accepted for an instance (`Accept=yes`).
    Accepted {
        /// The socket unit.
        unit: UnitName,
        /// The instance that is to serve it; defined already.
        instance: UnitName,
    },
    /// The clock of the day jumped, or its zone was changed.
    ClockChanged {
        /// The local time zone, when it is new: its name, and its rules as in tzfile(5).
        zone: Option<(String, Vec<u8>)>,
    },
    /// The unit said `STATUS=…`.
    StatusText {
        /// Whose.
        unit: UnitName,
        /// What, cut to a bounded length.
        text: String,
    },
    /// The agent asked for an approval, or the last one that it asked for has been answered.
    Approval {
        /// Whose.
        unit: UnitName,
        /// Whether it waits now.
        waiting: bool,
    },
    /// A budget of the agent is spent.
    BudgetSpent {
        /// Whose.
        unit: UnitName,
        /// Which, in one sentence.
        what: String,
    },
    /// The agent took up a message (its runtime says so).
    InputConsumed {
        /// Whose.
        unit: UnitName,
    },
    /// [`Effect::Deliver`]: the message is in the agent's standard input, whole.
    InputDelivered {
        /// Whose.
        unit: UnitName,
        /// Which.
        input: InputId,
    },
    /// [`Effect::Deliver`] failed.
    InputFailed {
        /// Whose.
        unit: UnitName,
        /// Which.
        input: InputId,
        /// Why.
        reason: String,
    },
    /// The agent's turn ended.
    TurnEnded {
        /// Whose.
        unit: UnitName,
        /// How.
        result: TurnResult,
    },
    /// After a restart of the daemon: this process of the snapshot is still alive and watched.
    Adopted {
        /// Whose.
        unit: UnitName,
        /// Which.
        spawn: SpawnId,
    },
}

/// What a unit tells about itself (sd_notify(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// `READY=1`.
    Ready,
    /// `RELOADING=1`, at this time on the monotonic clock in microseconds; 0: not said.
    Reloading(u64),
    /// `STOPPING=1`.
    Stopping,
    /// `MAINPID=`.
    MainPid(u32),
    /// `WATCHDOG=1`.
    Watchdog,
    /// `WATCHDOG=trigger`.
    WatchdogTrigger,
    /// `WATCHDOG_USEC=`, in microseconds.
    WatchdogPeriod(u64),
    /// `EXTEND_TIMEOUT_USEC=`, in microseconds from now.
    ExtendTimeout(u64),
}

/// Where it is said which process is the main one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// In `PIDFile=`, now or when it has been written.
    PidFile,
    /// It is the only one in the unit's cgroup.
    Guess,
    /// The unit said so (`MAINPID=`).
    Told(u32),
}

/// What somebody asks for. One meaning per verb, whoever asks and by whichever door.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Start with everything it needs.
    Start {
        /// Which.
        unit: UnitName,
        /// What to do about jobs in the way.
        mode: JobMode,
    },
    /// Stop.
    Stop {
        /// Which.
        unit: UnitName,
        /// What to do about jobs in the way.
        mode: JobMode,
        /// Stop also the units that need it; without it such a stop is refused and names them.
        force: bool,
    },
    /// Stop if running, then start.
    Restart {
        /// Which.
        unit: UnitName,
        /// What to do about jobs in the way.
        mode: JobMode,
    },
    /// Stop and start if running; otherwise nothing.
    TryRestart {
        /// Which.
        unit: UnitName,
        /// What to do about jobs in the way.
        mode: JobMode,
    },
    /// Read its configuration again.
    Reload {
        /// Which.
        unit: UnitName,
        /// What to do about jobs in the way.
        mode: JobMode,
    },
    /// Reload where it can, otherwise restart.
    ReloadOrRestart {
        /// Which.
        unit: UnitName,
        /// What to do about jobs in the way.
        mode: JobMode,
        /// Nothing where it is not running.
        only_running: bool,
    },
    /// Freeze the agent's processes; the job ends when the kernel says so.
    Pause {
        /// Which.
        unit: UnitName,
        /// Why, for `status`.
        reason: String,
    },
    /// Thaw, and deliver what was said meanwhile.
    Resume {
        /// Which.
        unit: UnitName,
    },
    /// A message for the agent, delivered now, or on resume when paused.
    Send {
        /// To whom.
        unit: UnitName,
        /// What.
        text: String,
    },
    /// Send a signal to processes of the unit.
    Kill {
        /// Which.
        unit: UnitName,
        /// Main process only, or all.
        whom: Whom,
        /// The signal.
        signal: i32,
    },
    /// Forget the failure and the start limit.
    ResetFailed {
        /// Which; `None`: every unit.
        unit: Option<UnitName>,
    },
    /// Drop a job.
    Cancel {
        /// Which.
        job: JobId,
    },
}

/// Which processes a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// The main process.
    Main,
    /// The process of `ExecReload=`, `ExecStop=` and their like.
    Control,
    /// Every process of the unit.
    All,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobType {
    /// Start.
    Start,
    /// Stop.
    Stop,
    /// Stop, then start.
    Restart,
    /// Read the configuration again.
    Reload,
    /// Be active already (`Requisite=`).
    VerifyActive,
    /// Freeze.
    Pause,
    /// Thaw.
    Resume,
}

/// How a job ended (the words of systemd's `JobRemoved`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobResult {
    /// It did what it was for.
    Done,
    /// A newer job or a person took it back.
    Canceled,
    /// It took too long.
    Timeout,
    /// It could not.
    Failed,
    /// Something it requires failed.
    Dependency,
    /// There was nothing to do.
    Skipped,
    /// An `Assert…=` did not hold.
    Assert,
    /// The job cannot be for this unit.
    Invalid,
}

/// The answer to a request that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// A job was made (or an equal one was there already); [`Effect::JobEnded`] ends it.
    Job(JobId),
    /// The message was taken; it is delivered when the agent can read it.
    Input(InputId),
    /// Done.
    Done,
}

/// A request that was not taken; each becomes one D-Bus error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// No such unit is loaded.
    #[error("unit {0} is not known")]
    NoSuchUnit(UnitName),
    /// No such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// The verb makes no sense for this type of unit.
    #[error("{unit} cannot be {verb}: {reason}")]
    NotApplicable {
        /// Which.
        unit: UnitName,
        /// Past participle: "paused", "sent a message".
        verb: String,
        /// Why.
        reason: String,
    },
    /// It is not running.
    #[error("{0} is not running")]
    Inactive(UnitName),
    /// It is paused already.
    #[error("{0} is paused already")]
    AlreadyPaused(UnitName),
    /// It is not paused.
    #[error("{0} is not paused")]
    NotPaused(UnitName),
    /// Others need it.
    #[error("stopping {unit} would also stop {}", list(dependents))]
    NeededBy {
        /// Which.
        unit: UnitName,
        /// Who needs it.
        dependents: Vec<UnitName>,
    },
    /// `RefuseManualStart=`, `RefuseManualStop=` or no `AllowIsolate=`.
    #[error("{unit} may not be {verb} by hand: its unit file says {directive}")]
    ByOthersOnly {
        /// Which.
        unit: UnitName,
        /// Past participle: "started".
        verb: String,
        /// The directive as it stands there.
        directive: String,
    },
    /// A job in the way, under [`JobMode::Fail`].
    #[error("{unit} has a conflicting job {job}")]
    Conflicting {
        /// Which.
        unit: UnitName,
        /// The job.
        job: JobId,
    },
    /// The order among the units has a cycle.
    #[error("ordering cycle: {}", path(units))]
    Cycle {
        /// The path, first unit repeated at the end by the message.
        units: Vec<UnitName>,
    },
    /// A required unit cannot be loaded.
    #[error("{unit} requires {missing}, which is not known")]
    MissingRequirement {
        /// Which.
        unit: UnitName,
        /// What is missing.
        missing: UnitName,
    },
    /// The unit's file has errors.
    #[error("{unit} is not well defined: {reason}")]
    BadUnit {
        /// Which.
        unit: UnitName,
        /// The first error.
        reason: String,
    },
    /// Too many messages wait already.
    #[error("{unit} has {limit} messages waiting; try again when it has read some")]
    InputQueueFull {
        /// Which.
        unit: UnitName,
        /// How many are kept.
        limit: usize,
    },
}

fn list(units: &[UnitName]) -> String {
    units
        .iter()
        .map(UnitName::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn path(units: &[UnitName]) -> String {
    let mut names: Vec<&str> = units.iter().map(UnitName::as_str).collect();
    names.extend(units.first().map(UnitName::as_str));
    names.join(" -> ")
}

/// Something is to be done, in the order given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[must_use = "an effect that is not performed leaves the engine waiting for its event"]
pub enum Effect {
    /// Start a process: make what is missing (cgroup, directories, files, sockets), run the stage.
    /// Answered by [`Event::Spawned`] then [`Event::Executed`], or by [`Event::SpawnFailed`]; later
    /// by [`Event::Exited`].
    Spawn {
        /// Whose.
        unit: UnitName,
        /// Which.
        spawn: SpawnId,
        /// What for.
        role: Role,
        /// Which start of the unit it belongs to.
        invocation: Invocation,
        /// A restart, by policy or by hand: the runtime resumes its session.
        resume: bool,
    },
    /// Look at the unit's conditions and asserts. Answered by [`Event::Checked`].
    Check {
        /// Whose.
        unit: UnitName,
    },
    /// Find a process of the unit that we did not start, and watch it. Answered by
    /// [`Event::Found`] or [`Event::NotFound`].
    Find {
        /// Whose.
        unit: UnitName,
        /// The number it gets.
        spawn: SpawnId,
        /// Where to look.
        source: Source,
    },
    /// Tell when what the unit acquires on the bus has an owner and when it has none any more.
    /// Answered at once and at every change by [`Event::BusName`].
    WatchName {
        /// Whose.
        unit: UnitName,
    },
    /// Open what a socket unit listens on, read a timer's stamp. Answered by [`Event::Opened`] or
    /// [`Event::OpenFailed`].
    Open {
        /// Whose.
        unit: UnitName,
    },
    /// Tell once when a socket has something in it, or a path is as it should be; each time it is
    /// asked. Answered by [`Event::Triggered`] or [`Event::OpenFailed`], whenever that may be.
    Await {
        /// Whose.
        unit: UnitName,
    },
    /// Do not tell: the service serves the socket itself.
    Ignore {
        /// Whose.
        unit: UnitName,
    },
    /// Keep the time of a persistent timer's elapse. No answer.
    Stamp {
        /// Whose.
        unit: UnitName,
        /// When, in microseconds since 1970.
        at: u64,
    },
    /// Send a signal. No answer; the processes' end is.
    Signal {
        /// Whose.
        unit: UnitName,
        /// To whom.
        whom: Whom,
        /// Which.
        signal: i32,
    },
    /// Ask the runtime to end its turn (Claude Code: `interrupt`). No answer.
    Interrupt {
        /// Whose.
        unit: UnitName,
    },
    /// Close the agent's standard input: nothing more will be said. No answer.
    CloseInput {
        /// Whose.
        unit: UnitName,
    },
    /// Send a signal to whatever is left in the unit's cgroup, if anything. Answered by
    /// [`Event::Emptied`] when nothing is, at once or later.
    Sweep {
        /// Whose.
        unit: UnitName,
        /// The signals, in order; none: only wait.
        signals: Vec<i32>,
    },
    /// Kill every process of the unit's cgroup at once (`cgroup.kill`), frozen or not. Answered by
    /// [`Event::Emptied`].
    KillAll {
        /// Whose.
        unit: UnitName,
    },
    /// Freeze `agent/`. Answered by [`Event::Frozen`] or [`Event::FreezeFailed`]; a later freeze or
    /// thaw of the unit takes its place, and only the last one is answered.
    Freeze {
        /// Whose.
        unit: UnitName,
    },
    /// Thaw `agent/`. Answered by [`Event::Thawed`] or [`Event::FreezeFailed`], as a freeze is.
    Thaw {
        /// Whose.
        unit: UnitName,
    },
    /// Write a message to the agent's standard input. Answered by [`Event::InputDelivered`] or
    /// [`Event::InputFailed`].
    Deliver {
        /// To whom.
        unit: UnitName,
        /// Which.
        input: InputId,
        /// What.
        text: String,
    },
    /// Wake us at a time on the monotonic clock. Answered by [`Event::TimerFired`].
    SetTimer {
        /// Which.
        timer: TimerId,
        /// When, in microseconds.
        at: u64,
    },
    /// The timer is not needed any more.
    DropTimer {
        /// Which.
        timer: TimerId,
    },
    /// The unit has ended and nothing of it runs: remove cgroup, sockets and generated files, give
    /// its dynamic uid back. No answer. Never removes home, workspace or logs.
    Release {
        /// Whose.
        unit: UnitName,
    },
    /// Nobody needs to know the unit any more. Answered by [`Event::Collect`], when all else that
    /// happened has been told.
    Collect {
        /// Which.
        unit: UnitName,
    },
    /// The unit is not defined any more and inactive: forget it.
    Forget {
        /// Which.
        unit: UnitName,
    },
    /// Answer a request.
    Answer {
        /// Which.
        id: RequestId,
        /// With what.
        answer: Result<Answer, Refusal>,
    },
    /// A job was made.
    JobNew {
        /// Which.
        job: JobId,
        /// For whom.
        unit: UnitName,
        /// To do what.
        kind: JobType,
    },
    /// A job ended; exactly once for every [`Effect::JobNew`].
    JobEnded {
        /// Which.
        job: JobId,
        /// Of whom.
        unit: UnitName,
        /// What it was for.
        kind: JobType,
        /// How it ended.
        result: JobResult,
    },
    /// The unit's view changed: tell subscribers, keep its snapshot. At most once per unit and
    /// event, after all other effects.
    Changed {
        /// Whose.
        unit: UnitName,
    },
    /// Aether, or the machine, is to go down on the unit's account. No answer: where it cannot be done
    /// it is said.
    Act {
        /// On whose account.
        unit: UnitName,
        /// What is to be done.
        action: Action,
        /// With which exit status Aether ends.
        status: u8,
        /// What happened to the unit, as the end of a sentence.
        why: String,
    },
    /// A sentence for the unit's log and the event log ("start limit hit, giving up").
    Log {
        /// About whom.
        unit: UnitName,
        /// What, without the unit's name.
        text: String,
    },
}
