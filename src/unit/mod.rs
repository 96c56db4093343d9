//! The unit language: text of unit files → [`Unit`].
//!
//! Pure: reading files is the daemon's (and `verify`'s) work. The way of the text: `syntax`
//! (lossless, with spans) → `registry` (one row per directive: section, key, parser, default,
//! documentation) with `value` and `specifier` → `assemble` (fragment, then drop-ins in order)
//! → [`Unit`] and every [`Diagnostic`](crate::diagnostic::Diagnostic) on the way. `names` and
//! `search` say which files those are, `install` and `preset` which links make a unit enabled,
//! `transient` writes the file of a unit made on the command line.
//!
//! Any text at all may be given to [`load`], [`syntax::parse`] and [`transient::write`]: they
//! answer in bounded time and never panic.
//!
//! A [`Unit`] is what the rest of the program believes: no strings that still need parsing, no
//! specifiers, every default filled in.

#![forbid(unsafe_code)]

pub mod action;
pub mod assemble;
pub mod calendar;
mod check;
mod complete;
pub mod condition;
pub mod glob;
pub mod install;
pub mod names;
pub(crate) mod nearest;
pub mod preset;
pub mod registry;
mod relations;
pub mod search;
pub mod specifier;
pub mod syntax;
pub mod transient;
mod trigger;
pub mod value;

pub use action::{Action, Actions, End, Haste};
pub use assemble::{Links, Loaded, Source, load, load_linked};
pub use condition::{Condition, ConditionKind};
pub use relations::{JobMode, Relations, Settings, StartLimit};
pub use specifier::SpecifierFacts;
pub use trigger::{PathCondition, PathUnit, SocketKind, SocketUnit, Timer, TimerBase};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::UnitName;

/// One loaded unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: UnitName,
    /// Its other names.
    pub aliases: Vec<UnitName>,
    /// The main file; `None` for units made by the daemon itself.
    pub fragment: Option<PathBuf>,
    /// Drop-ins, in the order in which they were applied.
    pub drop_ins: Vec<PathBuf>,
    /// Made by `aetherctl run` and gone when it ends.
    pub transient: bool,
    /// `Description=`; the name where none is given.
    pub description: String,
    /// `Documentation=`.
    pub documentation: Vec<String>,
    /// Who needs whom, and in which order.
    pub relations: Relations,
    /// What else `[Unit]` says about its jobs.
    pub settings: Settings,
    /// `Condition…=` and `Assert…=`, in the order of the file.
    pub conditions: Vec<Condition>,
    /// `Slice=`: where in the tree of cgroups it stands; `None`: directly below the root.
    pub slice: Option<UnitName>,
    /// `StartLimitIntervalSec=`, `StartLimitBurst=`.
    pub start_limit: StartLimit,
    /// What is run; `Some` for services and agents.
    pub service: Option<Service>,
    /// What makes it an agent; `Some` for `.agent` units only. What few units have is boxed: there
    /// may be thousands of the others.
    pub agent: Option<Box<Agent>>,
    /// `[Timer]`; `Some` for `.timer` units only.
    pub timer: Option<Box<Timer>>,
    /// `[Socket]`; `Some` for `.socket` units only.
    pub socket: Option<Box<SocketUnit>>,
    /// `[Path]`; `Some` for `.path` units only.
    pub path: Option<Box<PathUnit>>,
    /// `[Slice]`; `Some` for `.slice` units only.
    pub slice_limits: Option<Box<SliceLimits>>,
    /// `[Sandbox]`.
    pub sandbox: Sandbox,
    /// `[MCP]`.
    pub mcp: Mcp,
    /// `[Install]`.
    pub install: Install,
}

impl Unit {
    /// A unit of this name in which nothing is written: every default of its type.
    #[must_use]
    pub fn unwritten(name: UnitName) -> Self {
        let draft = registry::Draft::new(name.kind());
        complete::complete(&name, draft, &[], None)
    }

    /// Calls every other unit by the name that `of` gives it.
    pub fn rename(&mut self, of: impl Fn(&UnitName) -> UnitName) {
        self.relations.rename(&self.name, &of);
        if let Some(service) = &mut self.service {
            service.sockets = service.sockets.iter().map(&of).collect();
        }
        if let Some(socket) = &mut self.socket
            && let Ok(service) = socket.service.parse()
        {
            socket.service = of(&service).into();
        }
    }
}

/// What `[Service]` and `[Agent]` have in common (systemd.service, .exec, .kill,
/// .resource-control).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// `Type=`.
    pub start: StartType,
    /// `ExecCondition=`: exit codes 1 to 254 pass the start over without a failure.
    pub exec_condition: Vec<Command>,
    /// `ExecStartPre=`, in order.
    pub exec_start_pre: Vec<Command>,
    /// `ExecStart=`; several for oneshot only; none for agents whose runtime builds it.
    pub exec_start: Vec<Command>,
    /// `ExecStartPost=`.
    pub exec_start_post: Vec<Command>,
    /// `ExecReload=`.
    pub exec_reload: Vec<Command>,
    /// `ExecStop=`.
    pub exec_stop: Vec<Command>,
    /// `ExecStopPost=`.
    pub exec_stop_post: Vec<Command>,
    /// `ExitType=cgroup`: it runs until the last of its processes has ended, not the main one.
    #[serde(default)]
    pub exit_cgroup: bool,
    /// `RemainAfterExit=`.
    pub remain_after_exit: bool,
    /// `Restart=`.
    pub restart: Restart,
    /// `RestartSec=`: the first delay.
    pub restart_sec: Duration,
    /// `RestartSteps=`: from the first delay to the largest in so many steps; 0: always the first.
    pub restart_steps: u32,
    /// `RestartMaxDelaySec=`: the largest delay; `None`: always the first.
    pub restart_max_delay: Option<Duration>,
    /// `SuccessExitStatus=`, beside 0 and the four polite signals.
    pub success_exit: ExitSet,
    /// `RestartPreventExitStatus=`.
    pub restart_prevent_exit: ExitSet,
    /// `RestartForceExitStatus=`.
    pub restart_force_exit: ExitSet,
    /// `RestartMode=direct`: between two runs the unit is not seen as failed or inactive.
    pub restart_direct: bool,
    /// `TimeoutStartSec=`; `None`: no limit.
    pub timeout_start: Option<Duration>,
    /// `TimeoutStopSec=`; `None`: no limit.
    pub timeout_stop: Option<Duration>,
    /// `TimeoutAbortSec=`: as `timeout_stop`, after the watchdog's signal.
    pub timeout_abort: Option<Duration>,
    /// `TimeoutStartFailureMode=`: how what is too late with its start is ended.
    #[serde(default)]
    pub start_failure_mode: FailureMode,
    /// `TimeoutStopFailureMode=`: how what is too late with its stop is ended.
    #[serde(default)]
    pub stop_failure_mode: FailureMode,
    /// `RuntimeMaxSec=`; `None`: no limit. Time paused is not counted.
    pub runtime_max: Option<Duration>,
    /// `RuntimeRandomizedExtraSec=`: up to so much longer, another time for each run.
    #[serde(default)]
    pub runtime_extra: Duration,
    /// `WatchdogSec=`: longest time between two `WATCHDOG=1`; `None`: nobody watches.
    pub watchdog: Option<Duration>,
    /// `PIDFile=`: where a forking service writes which process is the main one.
    pub pid_file: Option<PathBuf>,
    /// `GuessMainPID=`: take the only process of a forking service as the main one.
    pub guess_main_pid: bool,
    /// `BusName=`: what a dbus service acquires on the bus.
    pub bus_name: Option<String>,
    /// `NotifyAccess=`.
    pub notify_access: NotifyAccess,
    /// `FileDescriptorStoreMax=`.
    pub fd_store_max: u32,
    /// `FileDescriptorStorePreserve=`.
    pub fd_store_preserve: Preserve,
    /// `Sockets=`: socket units whose sockets are passed, beside the one of the same name.
    pub sockets: Vec<UnitName>,
    /// `KillMode=`.
    pub kill_mode: KillMode,
    /// `KillSignal=`, a signal number.
    pub kill_signal: i32,
    /// `RestartKillSignal=`; `None`: as `kill_signal`.
    pub restart_kill_signal: Option<i32>,
    /// `FinalKillSignal=`: what ends the rest when time is up.
    pub final_kill_signal: i32,
    /// `WatchdogSignal=`.
    pub watchdog_signal: i32,
    /// `ReloadSignal=`, for `Type=notify-reload`.
    pub reload_signal: i32,
    /// `SendSIGHUP=`: behind the kill signal, for shells.
    pub send_sighup: bool,
    /// `OOMPolicy=`.
    pub oom_policy: OomPolicy,
    /// How its processes are set up.
    pub exec: Exec,
    /// What it may use.
    pub resources: Resources,
}

/// `Type=`: when a start counts as done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartType {
    /// As soon as the process exists.
    Simple,
    /// When the program has been executed (default here: the stage tells us for nothing).
    #[default]
    Exec,
    /// When the process has exited with success.
    Oneshot,
    /// When it says `READY=1` (sd_notify(3)).
    Notify,
    /// As `notify`; a reload is a signal, `RELOADING=1` and `READY=1`.
    NotifyReload,
    /// When the first process has left with success, having put another one in the background.
    Forking,
    /// When `BusName=` has been acquired on the bus.
    Dbus,
    /// As `exec`, but its program waits until no other job does (or five seconds).
    Idle,
}

/// `NotifyAccess=`: whose notifications count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyAccess {
    /// Nobody's.
    #[default]
    None,
    /// The main process's.
    Main,
    /// Those of the main process and of the processes of `Exec…=` commands.
    Exec,
    /// Those of every process of the unit.
    All,
}

/// `FileDescriptorStorePreserve=`: how long stored descriptors are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preserve {
    /// Until the unit is down.
    No,
    /// Until the unit is down and will not be restarted.
    #[default]
    Restart,
    /// Until the unit is forgotten.
    Yes,
}

/// `Restart=`: after which ends to start again (the table of systemd.service(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// After a clean end.
    OnSuccess,
    /// After an unclean exit code, signal, timeout, watchdog or out of memory.
    OnFailure,
    /// As on-failure without unclean exit codes.
    OnAbnormal,
    /// After an uncaught signal only.
    OnAbort,
    /// After the watchdog's time only.
    OnWatchdog,
    /// After any end that nobody asked for.
    Always,
}

/// `KillMode=` (systemd.kill(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillMode {
    /// The signal goes to every process of the unit (systemd's default).
    #[default]
    ControlGroup,
    /// The signal goes to the main process, the final kill to all.
    Mixed,
    /// The signal goes to the main process; the final kill still goes to all: with us nothing of a
    /// stopped unit stays behind.
    Process,
    /// No signal but the final kill.
    None,
}

/// `TimeoutStartFailureMode=`, `TimeoutStopFailureMode=`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureMode {
    /// As any stop: `KillSignal=` first, and the final kill when that does not help.
    #[default]
    Terminate,
    /// `WatchdogSignal=` first, for a core dump, with `TimeoutAbortSec=` for it.
    Abort,
    /// The final kill at once.
    Kill,
}

/// `OOMPolicy=`: what one process killed for memory means for the unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OomPolicy {
    /// Stop the unit with result `oom-kill`.
    #[default]
    Stop,
    /// Say so and go on.
    Continue,
    /// Kill the rest at once, result `oom-kill`.
    Kill,
}

/// Exit codes and signals, as in `SuccessExitStatus=`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitSet {
    /// Exit codes.
    pub codes: Vec<u8>,
    /// Signal numbers.
    pub signals: Vec<i32>,
}

/// One command line of an `Exec…=` directive, words split, specifiers expanded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program: an absolute path, or a name to be found in the unit's `PATH`.
    pub program: String,
    /// All arguments, `argv[0]` first.
    pub argv: Vec<String>,
    /// `-`: a failure is not a failure.
    pub ignore_failure: bool,
    /// `+`: without the unit's user and sandbox.
    pub privileged: bool,
    /// `!`: without the unit's user, capabilities and groups; with its sandbox.
    pub elevated: bool,
    /// `:`: `$VARIABLE` is left as it stands.
    pub no_environment: bool,
}

/// `WorkingDirectory=`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkingDirectory {
    /// `~`: the unit's home, as `$HOME` says it.
    Home,
    /// This one.
    Path(PathBuf),
}

/// Where a standard stream of the main process leads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Nowhere.
    #[default]
    Null,
    /// To the unit's log.
    Log,
    /// To the connection, or the one socket, that started it.
    Socket,
}

/// How processes are set up (systemd.exec(5)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// `User=`: a name or number.
    pub user: Option<String>,
    /// `Group=`: a name or number.
    pub group: Option<String>,
    /// `SupplementaryGroups=`.
    pub supplementary_groups: Vec<String>,
    /// `DynamicUser=`: a uid of its own from our range; the default of `.agent` units.
    pub dynamic_user: bool,
    /// `WorkingDirectory=`; `None`: the workspace of an agent, `/` of a service.
    pub working_directory: Option<WorkingDirectory>,
    /// `Environment=`, later assignments win.
    pub environment: BTreeMap<String, String>,
    /// `EnvironmentFile=`, with `-` for "may be missing".
    pub environment_files: Vec<(PathBuf, bool)>,
    /// `PassEnvironment=`: taken from the daemon's own environment.
    pub pass_environment: Vec<String>,
    /// `UMask=`.
    pub umask: u32,
    /// `Nice=`, -20 to 19.
    pub nice: Option<i32>,
    /// `OOMScoreAdjust=`, -1000 to 1000.
    pub oom_score_adjust: Option<i32>,
    /// `Limit…=` by the name after `Limit` (`NOFILE`), soft and hard; `u64::MAX` is infinity.
    pub limits: BTreeMap<String, (u64, u64)>,
    /// `StateDirectory=`: created below the state place, owned by the unit's user.
    pub state_directories: Vec<PathBuf>,
    /// `RuntimeDirectory=`.
    pub runtime_directories: Vec<PathBuf>,
    /// `NoNewPrivileges=`; agents always have it.
    pub no_new_privileges: bool,
    /// `StandardInput=`: `Socket` or `Null`.
    pub standard_input: Stream,
    /// `StandardOutput=`; `None`: the socket where that is the input, otherwise the log.
    pub standard_output: Option<Stream>,
    /// `StandardError=`; `None`: as the output where that is the socket, otherwise the log.
    pub standard_error: Option<Stream>,
    /// `CapabilityBoundingSet=`: names kept; `None`: all. Agents keep none.
    pub capability_bounding: Option<Vec<String>>,
    /// `AmbientCapabilities=`.
    pub ambient_capabilities: Vec<String>,
    /// `LogMaxBytes=`: size at which an output file is rotated.
    pub log_max_bytes: u64,
    /// `LogMaxFiles=`: how many rotated files are kept.
    pub log_max_files: u32,
}

impl Exec {
    /// Where standard output leads.
    #[must_use]
    pub fn output(&self) -> Stream {
        match self.standard_output {
            Some(stream) => stream,
            None if self.standard_input == Stream::Socket => Stream::Socket,
            None => Stream::Log,
        }
    }

    /// Where standard error leads.
    #[must_use]
    pub fn error(&self) -> Stream {
        match self.standard_error {
            Some(stream) => stream,
            None if self.output() == Stream::Socket => Stream::Socket,
            None => Stream::Log,
        }
    }
}

/// What a unit may use (systemd.resource-control(5)). `None`: no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// `MemoryHigh=` in bytes.
    pub memory_high: Option<u64>,
    /// `MemoryMax=` in bytes.
    pub memory_max: Option<u64>,
    /// `MemorySwapMax=` in bytes.
    pub memory_swap_max: Option<u64>,
    /// `CPUQuota=`: thousandths of one processor (150 % is 1500).
    pub cpu_quota: Option<u32>,
    /// `CPUWeight=`, 1 to 10000.
    pub cpu_weight: Option<u32>,
    /// `TasksMax=`.
    pub tasks_max: Option<u64>,
}

/// `[Slice]`: what the units below a slice share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SliceLimits {
    /// What they may use together.
    pub resources: Resources,
    /// `MaxConcurrent=`: how many services and agents may be up at once; the others' starts wait.
    pub max_concurrent: Option<u32>,
}

/// `[Agent]`, beyond what it shares with a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// `Runtime=`.
    pub runtime: RuntimeKind,
    /// `RuntimeBinary=`: instead of looking in `PATH`.
    pub runtime_binary: Option<PathBuf>,
    /// `Goal=`.
    pub goal: String,
    /// `Model=`.
    pub model: Option<String>,
    /// `Role=`.
    pub role: Option<String>,
    /// `Workspace=`: a shared workspace's name or an absolute path; `None`: the agent's own.
    pub workspace: Option<String>,
    /// `Terminal=`: interactive, in a PTY.
    pub terminal: bool,
    /// `AllowedTools=`: tools of the runtime that need no one's permission.
    pub allowed_tools: Vec<String>,
    /// `PermissionMode=`: the runtime's own permission mode, passed on.
    pub permission_mode: Option<String>,
}

/// `Runtime=`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// Claude Code.
    ClaudeCode,
    /// Any program, from `ExecStart=`.
    #[default]
    Command,
}

/// `[Sandbox]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sandbox {
    /// `Policy=`: the stem of a file in `policies/`; `none` for no confinement.
    pub policy: String,
    /// `ReadOnlyPaths=`: may be read beside what the policy says.
    pub read_only_paths: Vec<PathBuf>,
    /// `ReadWritePaths=`.
    pub read_write_paths: Vec<PathBuf>,
    /// `ExecPaths=`: may be read and executed.
    pub exec_paths: Vec<PathBuf>,
    /// `ConnectTCP=`: ports that may be connected to. `None`: as the policy says.
    pub connect_tcp: Option<Vec<u16>>,
    /// `BindTCP=`: ports that may be bound.
    pub bind_tcp: Option<Vec<u16>>,
    /// `Require=`: refuse to start where the kernel lacks one of these (`landlock:4`, `cgroup` …).
    pub require: Vec<String>,
}

/// `[MCP]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mcp {
    /// `Tools=`: the groups offered by Aether's own server; empty: no server.
    pub tools: Vec<String>,
    /// `Server=NAME:COMMAND`: further servers for the runtime.
    pub servers: Vec<(String, Command)>,
}

/// `[Install]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// `WantedBy=`.
    pub wanted_by: Vec<UnitName>,
    /// `RequiredBy=`.
    pub required_by: Vec<UnitName>,
    /// `UpheldBy=`.
    pub upheld_by: Vec<UnitName>,
    /// `Alias=`.
    pub alias: Vec<UnitName>,
    /// `Also=`.
    pub also: Vec<UnitName>,
    /// `DefaultInstance=`: of a template, the instance that is enabled when none is named.
    pub default_instance: Option<String>,
}
