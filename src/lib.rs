//! Aether runs AI agents the way systemd runs services.
//!
//! Each agent (Claude Code, or any command) is a **unit**: declared in a small file, limited by a
//! cgroup, confined by Landlock, supervised, logged, and given its own MCP server through which it
//! reaches its memory and the other agents. This page is the architecture; from here every part
//! can be found. Public items carry their own documentation.
//!
//! # Processes
//!
//! ```text
//! aether-init                keeper: PID 1's small brother, a subreaper. Single-threaded.  [keeper]
//!  └─ aetherd                the supervisor. May die at any moment.                        [daemon]
//!      ├─ <units>            each in its own cgroup, started through the stage             [stage]
//!      │   ├─ agent/         the unit's main processes (this part alone is frozen)
//!      │   └─ control/       ExecStartPre= and its like
//!      └─ aether-hub.service the agents' MCP servers and their memory; a unit like any     [hub]
//! aetherctl                  the person's command                                          [ctl]
//! aether-mcp                 stdio ↔ the unit's MCP socket; what an agent's MCP config names
//! aether-agent               the program of hello.agent, a first agent without key or network
//! ```
//!
//! aetherd runs as root and so parses little: unit files, D-Bus messages, notifications, lines of
//! runtime output; SQLite and MCP live in the hub, under its own user and our own sandbox.
//!
//! # The way of a start
//!
//! `aetherctl start coder` → D-Bus message on the control socket → [`bus`] checks it against the
//! contract (`dbus/*.xml`) and who is calling → `daemon::door` makes it a
//! [`Request`](engine::event::Request) → [`engine`] makes a job, and when its turn has come the
//! effect [`Spawn`](engine::event::Effect::Spawn) → `daemon::prepare` makes user, directories,
//! cgroup and generated files ([`runtime`]), and has [`plan`] compile unit + policy + host into an
//! [`ExecPlan`](plan::ExecPlan) → [`sys`] clones a fresh process from the same program, inside the
//! cgroup already → [`stage`] carries the plan out step by step, reports, and becomes the program
//! → the report's end is the event [`Executed`](engine::event::Event::Executed), the job is done,
//! and everyone who subscribed is told.
//!
//! What is not a person's request comes the same way, as an event: a notification
//! (`daemon::notify`), a timer of the engine, a clock that was set or another zone (`sys::clock`), a
//! connection at a socket unit or a path that changed (`daemon::attend`). What the engine must know
//! of the world before it decides (conditions, whether a path exists, what a socket unit listens
//! on) is an effect too, and its answer the next event: the engine never looks.
//!
//! Output goes the other way: pipe → `daemon::output` (a thread that writes the log before it takes
//! the bytes) → for structured runtimes [`runtime::stream`] → agent events → engine, log, bus.
//!
//! # Rooms and their law
//!
//! | room | what lives there | may use |
//! |---|---|---|
//! | [`name`], [`diagnostic`], [`place`] | words: names, findings with their place, directories | – |
//! | [`unit`] | unit file text → [`Unit`](unit::Unit); calendars, conditions, what is enabled | words |
//! | [`engine`] | `handle(now, Event) -> Vec<Effect>`; all unit state; `engine::sim`, the world it is tried in | words, unit, the data of plan and runtime |
//! | [`plan`] | `(Unit, Host) -> ExecPlan`; policies | words, unit, runtime's and engine's data |
//! | [`runtime`] | what runtimes need, and what their output means | words, unit, plan's and engine's data |
//! | [`sys`] | the only unsafe code and the only direct system calls | words, the data of plan, unit, engine |
//! | [`stage`], [`keeper`] | the two special processes | plan, sys |
//! | [`bus`] | the D-Bus wire, the contract, who may | engine, unit, plan, runtime (data), sys (sending descriptors) |
//! | [`daemon`] | the one loop, and everything it does | all above |
//! | [`hub`] | MCP servers, memory | bus client, sys |
//! | [`ctl`] | the command | bus client, unit, plan, runtime, the daemon's hand on unit files |
//!
//! `unit`, `engine`, `plan`, `runtime` are pure: no I/O, no clock, no randomness, no async, no
//! unsafe code. `tests/it/layers.rs` reads the `use` lines and fails on a forbidden one; clippy's
//! `disallowed-methods` forbids clocks, files and processes outside the rooms that do things.
//!
//! The engine's vocabulary names plain data of `plan` ([`Failure`](plan::Failure),
//! [`Enforcement`](plan::Enforcement)) and `runtime` ([`Verdict`](runtime::Verdict),
//! [`TurnResult`](runtime::TurnResult)): an event that says why a start failed carries the stage's
//! own words instead of a copy of them.
//!
//! # systemd's semantics, and ours
//!
//! A directive that has systemd's name has systemd's meaning: `tests/cases/systemd` runs the same
//! units, commands and events on both. The way down is systemd's (`ExecStop=`, the kill signal,
//! `TimeoutStopSec=`, the final signal, `ExecStopPost=`), and so are the ten steps of a transaction
//! ([`engine`]). On purpose otherwise:
//!
//! - At the end of the way down the whole cgroup is killed and seen empty, whatever `KillMode=` and
//!   `SendSIGKILL=` say. Where an agent's process can stay behind, stop does not stop.
//! - A start during the pause before a restart starts at once.
//! - `stop` of what others need asks for `--force`, and names them.
//! - `Type=` is `exec` where none is given.
//! - What is over and named by nobody is forgotten as in systemd, but of the instances for
//!   connections that failed the last sixteen are kept: whoever may connect decides how many there
//!   are. How a unit made on the spot ended can be asked for as long as its log is there.
//! - `agents.target`, or a `default.target`, is what starts with Aether; there is no early boot, so
//!   `DefaultDependencies=` brings only the order of a target behind what it pulls in.
//! - [`inactive (completed)`](engine::event) is an agent's goal that was reached. A paused or
//!   taken-over agent is not restarted, not judged by its watchdog, and not charged for the time.
//! - `MaxConcurrent=` of a slice is the number of its agents that work at once; further starts are
//!   jobs that wait in the order they came.
//!
//! Calendars are computed by `unit::calendar` with the time zones of the jiff crate, which are a
//! value handed in: the engine is told the zone, it does not read `/etc/localtime`.
//!
//! # Proof by simulation
//!
//! `engine::sim` is a world for the engine: processes that exit, hang, fail to start or notify
//! late; clocks that jump; a daemon that dies and restores from its snapshots; and laws, held after
//! every event. Tests run it over random histories that shrink to the shortest that breaks a law;
//! the `simulate` program runs millions of steps from a seed. What the real daemon decided is
//! decided again by `aetherctl replay` from what `aetherctl record` wrote
//! ([`engine::recording`]).
//!
//! # Laws
//!
//! - **One actor owns all unit state**: [`engine::Engine`] in the daemon's one task. Nothing else
//!   changes a unit's state; a failed effect is the next event.
//! - **Crash-only**: `kill -9` of aetherd loses no agent, no written output, no exit status, no
//!   queued message. What lives is read from the cgroup tree; what is held is in the keeper's
//!   descriptor store; what was decided is appended to one file (a process is found again by number and start
//!   time, so its pidfd is not held); how a child ended while nobody
//!   looked is in the keeper's obituaries; what was read but not handled is in the log. The one
//!   thing a death may do is repeat a chunk of output: bytes are logged before they are taken.
//! - **The loop never blocks**: starts are made by one thread, output and the event log written by
//!   two. Idle means no wake-up.
//! - **Identity is the kernel's**: a caller is the cgroup of its process (SO_PEERPIDFD), then its
//!   uid; never a name it sends or a token it holds.
//! - **Nothing degrades silently**: what this kernel or user cannot enforce is a sentence in
//!   `aetherctl status`, and `Require=` refuses instead.
//! - **An agent's success is a verdict**, not an exit code: see [`runtime::Verdict`].

pub mod bus;
pub mod ctl;
pub mod daemon;
pub mod diagnostic;
pub mod engine;
pub mod hub;
pub mod keeper;
pub mod name;
pub mod place;
pub mod plan;
pub mod runtime;
pub mod stage;
pub mod sys;
pub mod unit;
