//! What the doors ask of the daemon and what it tells them: the one request language, typed.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::diagnostic::Diagnostic;
use crate::engine::event::{Answer, JobMode, JobResult, JobType, Now, Refusal, Request};
use crate::engine::view::View;
use crate::name::{JobId, UnitName};
use crate::runtime::AgentEvent;
use crate::unit::Unit;
use crate::unit::install::FileState;

/// Who is calling, by what the kernel says (never by what the caller says).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Effective user at connect.
    pub uid: u32,
    /// Process at connect.
    pub pid: u32,
    /// The unit of ours whose cgroup that process is in; such callers may do little.
    pub unit: Option<UnitName>,
}

/// One question with the way back. Dropping `reply` answers "shutting down".
#[derive(Debug)]
pub struct Asked {
    /// Who.
    pub caller: Caller,
    /// What.
    pub ask: Ask,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Told, Denial>>,
}

/// What is asked.
#[derive(Debug)]
pub enum Ask {
    /// A verb for the engine. → [`Told::Answer`]
    Request(Request),
    /// One unit; loads it from disk when it is not known. → [`Told::Unit`]
    Unit(UnitName),
    /// Every unit that is loaded, and every one with a file. → [`Told::Units`]
    Units,
    /// Pending and running jobs. → [`Told::Jobs`]
    Jobs,
    /// The manager itself. → [`Told::Manager`]
    Manager,
    /// Make a transient unit and start it. → [`Told::Answer`]
    StartTransient {
        /// Its name.
        name: UnitName,
        /// What to do about jobs in the way.
        mode: JobMode,
        /// Directives in unit-file words (`Goal`, or `Section.Goal` where ambiguous), values as in
        /// a unit file; a repeated directive has several values.
        properties: Vec<(String, Vec<String>)>,
    },
    /// Processes of a unit. → [`Told::Processes`]
    Processes(UnitName),
    /// The unit a process belongs to. → [`Told::Unit`]
    UnitOfProcess(u32),
    /// Read all unit files again; what runs goes on. → [`Told::Done`]
    Reload,
    /// The same, and what it changed. → [`Told::Reloaded`]
    ReloadUnits,
    /// Make or remove links of unit files. → [`Told::UnitFiles`]
    UnitFiles(ChangeFiles),
    /// Whether a unit is enabled. → [`Told::FileState`]
    UnitFileState(UnitName),
    /// Every unit file and whether it is enabled. → [`Told::FileStates`]
    ListUnitFiles,
    /// Exit with everything running, and be respawned. → [`Told::Done`]
    Reexecute,
    /// Begin (or end) the recording of events. → [`Told::Done`]
    Record(bool),
    /// Stop every unit, then the manager. → [`Told::Done`]
    Shutdown,
    /// The units whose MCP socket is listening (the hub's question). → [`Told::Listeners`]
    Listeners,
    /// The listening MCP socket of one unit (the hub's question). → [`Told::Listener`]
    Listener(UnitName),
}

impl Ask {
    /// The unit it is about, where any of its names will do.
    pub fn unit_mut(&mut self) -> Option<&mut UnitName> {
        match self {
            Self::Request(request) => match request {
                Request::Start { unit, .. }
                | Request::Restart { unit, .. }
                | Request::Stop { unit, .. }
                | Request::TryRestart { unit, .. }
                | Request::Reload { unit, .. }
                | Request::ReloadOrRestart { unit, .. }
                | Request::Pause { unit, .. }
                | Request::Resume { unit }
                | Request::Send { unit, .. }
                | Request::Kill { unit, .. }
                | Request::ResetFailed { unit: Some(unit) } => Some(unit),
                Request::ResetFailed { unit: None } | Request::Cancel { .. } => None,
            },
            Self::Unit(unit) | Self::Processes(unit) => Some(unit),
            _ => None,
        }
    }
}

/// The answers.
#[derive(Debug)]
pub enum Told {
    /// To a verb.
    Answer(Answer),
    /// One unit.
    Unit(Box<UnitFacts>),
    /// All units, by name.
    Units(Vec<UnitFacts>),
    /// All jobs, by number.
    Jobs(Vec<JobFacts>),
    /// The manager.
    Manager(Box<ManagerFacts>),
    /// Cgroup path, pid, command line.
    Processes(Vec<(String, u32, String)>),
    /// Units that have an MCP socket.
    Listeners(Vec<UnitName>),
    /// The socket and what to serve on it.
    Listener {
        /// Listening, stream.
        socket: OwnedFd,
        /// Tool groups.
        tools: Vec<String>,
    },
    /// What a reload changed.
    Reloaded(Vec<Reloaded>),
    /// Links that were made or removed.
    UnitFiles(ChangedFiles),
    /// Whether a unit is enabled.
    FileState(FileState),
    /// Path and state of each unit file.
    FileStates(Vec<(PathBuf, FileState)>),
    /// Done.
    Done,
}

/// What is to happen to unit files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFiles {
    /// What.
    pub verb: FileVerb,
    /// Names of units, or absolute paths where the verb takes them.
    pub files: Vec<String>,
    /// Until the next boot only.
    pub runtime: bool,
    /// Links in the way are replaced.
    pub force: bool,
}

/// What may happen to unit files (systemctl(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileVerb {
    /// Make the links of `[Install]`.
    Enable,
    /// Remove every link to the unit.
    Disable,
    /// The one, then the other.
    Reenable,
    /// Whatever the presets say.
    Preset(PresetMode),
    /// The same for every unit.
    PresetAll(PresetMode),
    /// A link to /dev/null: nobody can start it.
    Mask,
    /// Remove that link.
    Unmask,
    /// Make a file elsewhere known.
    Link,
    /// Remove everything that changes the vendor's version.
    Revert,
}

/// Which half of the presets is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PresetMode {
    /// Both.
    #[default]
    Full,
    /// Nothing is disabled.
    EnableOnly,
    /// Nothing is enabled.
    DisableOnly,
}

impl PresetMode {
    /// Every mode with systemd's word.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("full", Self::Full),
        ("enable-only", Self::EnableOnly),
        ("disable-only", Self::DisableOnly),
    ];
}

/// What happened to unit files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedFiles {
    /// Whether any of the units has something in `[Install]`.
    pub carries_install_info: bool,
    /// Each change, in order.
    pub changes: Vec<FileChange>,
}

/// One change of a unit directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// What, in systemd's words: `symlink`, `unlink`; or why nothing happened: `masked`,
    /// `auxiliary failed`, `destination not present`.
    pub kind: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Where the link leads, or whom it is about.
    pub source: String,
}

/// What a reload changed about one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Which.
    pub unit: UnitName,
    /// `new`, `gone`, `changed`, `changed-running` (what runs goes on as it was), `error`.
    pub what: &'static str,
    /// The errors with file and line.
    pub text: String,
}

/// Why something is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The engine says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no file for that name.
    #[error("there is no unit file for {name}; looked in {}", places(searched))]
    NoUnitFile {
        /// The name.
        name: UnitName,
        /// The directories, in order.
        searched: Vec<PathBuf>,
    },
    /// The file has errors; the texts are as `verify` prints them.
    #[error("{name} cannot be loaded:\n{}", texts(diagnostics))]
    LoadFailed {
        /// The name.
        name: UnitName,
        /// All of them.
        diagnostics: Vec<Diagnostic>,
    },
    /// The caller may not.
    #[error("{action} is not allowed for {who}")]
    AccessDenied {
        /// The action, as polkit would name it (`org.aether1.manage-units`).
        action: String,
        /// The unit or uid.
        who: String,
    },
    /// Something failed in the daemon; a sentence.
    #[error("{0}")]
    Failed(String),
}

fn places(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn texts(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Everything a door shows of one unit.
#[derive(Debug, Clone)]
pub struct UnitFacts {
    /// The name.
    pub name: UnitName,
    /// `loaded`, `not-found`, `bad-setting` (systemd's words).
    pub load_state: &'static str,
    /// Timers, sockets and paths that start it.
    pub triggered_by: Vec<String>,
    /// Whether its files say something else by now than what it runs with.
    pub need_reload: bool,
    /// The definition, when it could be loaded.
    pub unit: Option<Arc<Unit>>,
    /// What was found while loading.
    pub diagnostics: Vec<Diagnostic>,
    /// The engine's view; `None` for units that were never loaded into it.
    pub view: Option<View>,
    /// Path below the cgroup mount, empty when there is none.
    pub control_group: String,
    /// 32 hex digits, empty before the first start.
    pub invocation_id: String,
    /// Bytes; `None`: not known.
    pub memory_current: Option<u64>,
    /// Tasks; `None`: not known.
    pub tasks_current: Option<u64>,
    /// Nanoseconds; `None`: not known.
    pub cpu_usage: Option<u64>,
    /// The uid it runs or ran as.
    pub uid: Option<u32>,
    /// The runtime's session.
    pub session_id: String,
    /// The model in use.
    pub model: String,
    /// Tokens in, all invocations of this daemon state.
    pub tokens_in: u64,
    /// Tokens out.
    pub tokens_out: u64,
    /// Millionths of a US dollar.
    pub cost_micros: u64,
    /// Last agent event, realtime microseconds; 0: none.
    pub last_activity: u64,
    /// Where its output is.
    pub log_directory: PathBuf,
    /// Whether it is enabled, and what the presets say; asked for single units only, because it
    /// takes a look at every directory.
    pub file_state: Option<(FileState, &'static str)>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFacts {
    /// Its number.
    pub id: JobId,
    /// Of whom.
    pub unit: UnitName,
    /// To do what.
    pub kind: JobType,
    /// `waiting` or `running`.
    pub running: bool,
}

/// What `aetherctl status` without a unit shows.
#[derive(Debug, Clone, Default)]
pub struct ManagerFacts {
    /// `CARGO_PKG_VERSION`.
    pub version: String,
    /// `system` or `user`.
    pub scope: String,
    /// `running`, `degraded` (a unit failed or something is missing), `stopping`.
    pub state: String,
    /// When this daemon started.
    pub started: Now,
    /// How often the keeper had to start one.
    pub generation: u32,
    /// What this host has: `cgroup`, `unified|hybrid|none`; `landlock`, `ABI 7` …, in order.
    pub host: Vec<(String, String)>,
    /// What is missing here and what that means, as sentences.
    pub missing: Vec<String>,
    /// Search path.
    pub unit_path: Vec<PathBuf>,
    /// Path below the cgroup mount.
    pub control_group: String,
    /// The daemon's pid.
    pub pid: u32,
    /// machine-id(5); empty where there is none.
    pub machine_id: String,
    /// Loaded units.
    pub units: u32,
    /// Failed units.
    pub failed: u32,
    /// Jobs.
    pub jobs: u32,
    /// Loaded agents.
    pub agents: u32,
    /// Where output is.
    pub log_directory: PathBuf,
}

/// What subscribers are told.
#[derive(Debug, Clone)]
pub enum Signal {
    /// A unit became known.
    UnitNew(UnitName),
    /// A unit was forgotten.
    UnitRemoved(UnitName),
    /// A job was made.
    JobNew {
        /// Which.
        id: JobId,
        /// For whom.
        unit: UnitName,
    },
    /// A job ended.
    JobRemoved {
        /// Which.
        id: JobId,
        /// Of whom.
        unit: UnitName,
        /// How.
        result: JobResult,
    },
    /// A unit changed: one PropertiesChanged per interface.
    Changed(Box<UnitFacts>),
    /// Something happened in an agent; no contents on the wire, only kind and a short summary.
    Activity {
        /// Whose.
        unit: UnitName,
        /// What.
        event: Arc<AgentEvent>,
        /// When, realtime microseconds.
        at: u64,
    },
    /// A message was taken up by the agent.
    InputConsumed {
        /// Whose.
        unit: UnitName,
    },
    /// Links of unit files were made or removed.
    UnitFilesChanged,
    /// A unit's MCP socket is there (for the hub only).
    ListenerNew(UnitName),
    /// A unit's MCP socket is gone (for the hub only).
    ListenerRemoved(UnitName),
}
