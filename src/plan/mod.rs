//! Plans: `(Unit, facts of this host) -> ExecPlan`.
//!
//! Pure. The daemon gathers [`Host`] and [`Assignment`]; `compile` turns them and a unit into an
//! [`ExecPlan`], which the stage carries out step by step and which `aetherctl plan` prints
//! without root. Policies (`policies/*.policy`) are read by `policy`. Read next:
//! [`crate::stage`], which does what is written here.

#![forbid(unsafe_code)]

pub mod compile;
mod environment;
pub mod policy;
mod render;
mod step;

pub use compile::{PlanError, command_of, compile, streams};
pub(crate) use environment::PATH;
pub use environment::search_path;
pub use policy::Policy;
pub use render::render;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Version of the plan's form; stage and daemon are the same binary, so a difference is a bug (or
/// an upgrade in the wrong moment) and is refused.
pub const VERSION: u32 = 2;

/// Everything the stage does, in order. It travels over the stage's fd 0, never in argv or the
/// environment; descriptors travel beside it (`SCM_RIGHTS`) in the order of [`Stdio`]'s fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecPlan {
    /// [`VERSION`].
    pub version: u32,
    /// The unit, for messages.
    pub unit: String,
    /// The program: an absolute path.
    pub program: PathBuf,
    /// `argv`, program name first.
    pub argv: Vec<String>,
    /// The whole environment; nothing else gets in. With `WATCHDOG_USEC` the stage sets
    /// `WATCHDOG_PID` to its own number.
    pub environment: Vec<(String, String)>,
    /// Descriptors that follow those of [`Stdio`] and become 3 and on (sd_listen_fds(3)); with any
    /// of them the stage sets `LISTEN_PID` to its own number.
    #[serde(default)]
    pub passed: usize,
    /// The steps, in the order of [`StepName`].
    pub steps: Vec<Step>,
}

/// The names of the steps, one wording in log, status, exit code and manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepName {
    /// Close every inherited descriptor, reset signal mask and handlers, new session with a new
    /// keyring.
    Descriptors,
    /// Check (v2) or join (v1) the unit's cgroups. Before anything that costs memory or time.
    Cgroup,
    /// Resource limits, nice, OOM score. Before ids: raising needs privilege.
    Limits,
    /// Standard input, output and error, or the terminal.
    Stdio,
    /// Build the Landlock ruleset from paths opened now, while they can all be opened.
    Ruleset,
    /// Group, supplementary groups, user. After everything that needs root.
    Ids,
    /// Bounding, inheritable, permitted, effective and ambient sets.
    Capabilities,
    /// Working directory and umask. After ids and capabilities: a unit may not start where it could
    /// not go.
    Directory,
    /// No gain of privilege by exec. Before Landlock, which demands it of the unprivileged.
    NoNewPrivileges,
    /// Enter the ruleset.
    Landlock,
    /// Become the program.
    Exec,
}

/// One step with what it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// See [`StepName::Descriptors`].
    Descriptors,
    /// See [`StepName::Cgroup`].
    Cgroup {
        /// Files to write our pid into (`cgroup.procs`): the v1 groups, and the v2 group where the
        /// kernel could not start us inside it.
        join: Vec<PathBuf>,
        /// The line of `/proc/self/cgroup` (`0::/…`) that must be there afterwards.
        expect: Option<String>,
    },
    /// See [`StepName::Limits`].
    Limits {
        /// Name after `RLIMIT_`, soft, hard.
        limits: Vec<(String, u64, u64)>,
        /// `nice` value.
        nice: Option<i32>,
        /// `/proc/self/oom_score_adj`.
        oom_score_adjust: Option<i32>,
    },
    /// See [`StepName::Stdio`].
    Stdio(Stdio),
    /// See [`StepName::Ruleset`].
    Ruleset(Ruleset),
    /// See [`StepName::Ids`].
    Ids {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Supplementary groups; the inherited ones are dropped.
        groups: Vec<u32>,
    },
    /// See [`StepName::Capabilities`].
    Capabilities {
        /// Names (`CAP_…`) that stay in the bounding set.
        bounding: Vec<String>,
        /// Names raised in the ambient set (and so in all others).
        ambient: Vec<String>,
    },
    /// See [`StepName::Directory`].
    Directory {
        /// Where to be.
        path: PathBuf,
        /// The umask.
        umask: u32,
    },
    /// See [`StepName::NoNewPrivileges`].
    NoNewPrivileges,
    /// See [`StepName::Landlock`].
    Landlock,
    /// See [`StepName::Exec`].
    Exec,
}

/// Where the three standard streams come from; the descriptors follow the plan in this order,
/// present ones only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdio {
    /// A descriptor for standard input follows; without it `/dev/null`.
    pub input: bool,
    /// A descriptor for standard output follows; without it `/dev/null`.
    pub output: bool,
    /// A descriptor for standard error follows; without it `/dev/null`.
    pub error: bool,
    /// One descriptor follows, a PTY's slave: it becomes all three and the controlling terminal.
    pub terminal: bool,
}

/// A Landlock ruleset (landlock(7)): what is allowed; everything handled and not listed is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Paths with what is allowed beneath them.
    pub paths: Vec<PathRule>,
    /// TCP ports that may be connected to; `None`: the network is not restricted by Landlock.
    pub connect_tcp: Option<Vec<u16>>,
    /// TCP ports that may be bound; `None`: not restricted.
    pub bind_tcp: Option<Vec<u16>>,
    /// Deny signals to, and abstract sockets of, processes outside.
    pub scoped: bool,
}

/// One allowed place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRule {
    /// File or directory.
    pub path: PathBuf,
    /// What is allowed.
    pub access: Access,
    /// A missing path is no failure (and gets no rule).
    pub optional: bool,
    /// Who asked for it: the policy file, the unit's directive, or the runtime. For `plan`.
    pub reason: String,
}

/// What a [`PathRule`] allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read files, list directories.
    Read,
    /// Read and execute.
    ReadExecute,
    /// Read, write, create, remove, rename, truncate.
    ReadWrite,
    /// All of it.
    ReadWriteExecute,
}

/// What the stage answers: one JSON line each, then end of file when the program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// A step failed; the stage exits with [`StepName::exit_code`].
    Failed(Failure),
    /// Everything but exec is done; this is what the kernel gave us. End of file after this means
    /// that the program runs.
    Confined(Enforcement),
}

/// A step that failed, in whichever process it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step's name: [`StepName`] in the stage; the daemon's own before it (`binary`, `user`,
    /// `directory`, `spawn` …).
    pub step: String,
    /// `errno`, 0 where there is none.
    pub errno: i32,
    /// What exactly, with the path or value: a fragment fit after "failed to start:".
    pub detail: String,
    /// The way out, when there is one.
    pub help: Option<String>,
}

/// What confinement the kernel really enforces on the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// The Landlock ABI in force; 0: none.
    pub landlock_abi: u32,
    /// What was asked for and could not be enforced, as sentences for `status`.
    pub missing: Vec<String>,
}

/// Facts about this machine that plans depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Highest Landlock ABI of the kernel; 0: none.
    pub landlock_abi: u32,
    /// Whether we may change to other users.
    pub root: bool,
    /// `none`, `hybrid` or `unified`, as `aetherctl status` shows it.
    pub cgroups: String,
    /// The last capability this kernel knows (`CAP_…`), by number.
    pub last_capability: u8,
    /// The manager's own user, whose privileged commands (`+`) are.
    pub user: String,
    /// Its home.
    pub home: PathBuf,
}

/// What the daemon has decided for this start of the unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The user it runs as.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Its home, which exists and belongs to it.
    pub home: PathBuf,
    /// Its workspace, likewise.
    pub workspace: PathBuf,
    /// A directory for temporary files of its own.
    pub tmp: PathBuf,
    /// `cgroup.procs` files the stage must write itself into.
    pub join: Vec<PathBuf>,
    /// See [`Step::Cgroup`].
    pub expect_cgroup: Option<String>,
    /// Its `StateDirectory=` and `RuntimeDirectory=`, absolute; they exist and belong to it.
    pub directories: Vec<PathBuf>,
    /// Its MCP socket, when the unit has one.
    pub mcp_socket: Option<PathBuf>,
    /// Directory of aether-mcp and the other programs.
    pub libexec: PathBuf,
    /// `NOTIFY_SOCKET`, when it gets one.
    pub notify_socket: Option<PathBuf>,
    /// 32 hex digits, `INVOCATION_ID`.
    pub invocation_id: String,
    /// The user's name, for `USER` and `LOGNAME`; empty: the uid's digits.
    pub user: String,
    /// The unit's runtime directory (`%r` in policies); empty: it has none.
    pub runtime: PathBuf,
    /// Where the daemon found a program that the unit names without a path.
    pub found: Option<PathBuf>,
    /// Hard limit of open files; the soft one is then 1024 where `LimitNOFILE=` says nothing.
    pub open_files: Option<u64>,
    /// `oom_score_adj` where `OOMScoreAdjust=` says nothing; `None`: as inherited.
    pub oom_score_adjust: Option<i32>,
    /// What `PassEnvironment=` took from the daemon's environment.
    pub passed_environment: Vec<(String, String)>,
    /// What stands in the files of `EnvironmentFile=`.
    pub file_environment: Vec<(String, String)>,
    /// What the supervisor tells this process (`MAINPID`, `SERVICE_RESULT` …); nothing overrides it.
    pub told: Vec<(String, String)>,
    /// Names of the descriptors that are passed on (`LISTEN_FDNAMES`), in their order.
    pub passed: Vec<String>,
}
