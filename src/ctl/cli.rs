//! The verbs and their options: one clap definition, from which help, completions and manual come.
//!
//! Only shapes; what a verb does is in the file of its name.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::unit::JobMode;

mod files;

pub(super) use files::{Installation, ListFiles};

/// What `--help` says below the options.
const AFTER: &str = "\
Names: `coder` means coder.agent; other types are written out (web.service, agents.target).

Exit codes:
  0  done, or so
  1  failed, or not so (is-active: none is active; verify: errors; logs: no such log)
  2  wrong usage
  3  no Aether is running here
  4  refused: not allowed, or others need it (is-enabled: there is no such unit)
  130  interrupted (Ctrl-C) while it waited, 143 by SIGTERM; what was asked for goes on

start --wait, run --wait and --follow: 0 when the unit ended well, 1 when it failed, whatever its
own exit status was; --json tells that one.";

/// What `--state` takes: the words of ACTIVE and of SUB.
const STATES: [&str; 30] = [
    "active",
    "reloading",
    "activating",
    "deactivating",
    "inactive",
    "failed",
    "dead",
    "completed",
    "condition",
    "start-pre",
    "start",
    "start-post",
    "running",
    "paused",
    "exited",
    "reload",
    "reload-signal",
    "reload-notify",
    "waiting",
    "listening",
    "elapsed",
    "stop",
    "stop-interrupt",
    "stop-watchdog",
    "stop-sigterm",
    "stop-sigkill",
    "stop-post",
    "final-sigterm",
    "final-sigkill",
    "auto-restart",
];

/// What `send --help` says below the options.
const SEND: &str = "\
Options stand before the unit: every word after it is text, also --help and -q. A -- directly
after the unit is left out.";

/// Controls AI agents and services that Aether supervises.
#[derive(Debug, Parser)]
#[command(name = "aetherctl", version, after_help = AFTER, propagate_version = false)]
#[command(arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print only errors.
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Talk to the system's manager (the default for root).
    #[arg(long, global = true, conflicts_with = "user")]
    pub(super) system: bool,
    /// Talk to your own manager (the default for everyone else).
    #[arg(long, global = true)]
    pub(super) user: bool,
    /// When to use colours; `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: When,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    Auto,
    Always,
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Start Aether here if it is not running, then the given units.
    Up {
        /// Units to start.
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
        /// Stay in the foreground: become the keeper.
        #[arg(long, conflicts_with = "units")]
        foreground: bool,
        /// The step between: leave the session, then become the keeper.
        #[arg(long, hide = true, requires = "foreground")]
        detached: bool,
        #[command(flatten)]
        block: Block,
    },
    /// Stop every unit, then Aether itself.
    Down(Block),
    /// Start units with everything they need.
    Start {
        #[command(flatten)]
        units: Units,
        #[command(flatten)]
        block: Block,
        /// Wait until the unit ends; the exit code says how it did.
        #[arg(short, long, conflicts_with = "no_block")]
        wait: bool,
        /// Show the unit's output until it ends.
        #[arg(short, long, conflicts_with = "no_block")]
        follow: bool,
    },
    /// Stop units and every process of theirs.
    Stop {
        #[command(flatten)]
        units: Units,
        #[command(flatten)]
        block: Block,
        /// Stop also the units that need them.
        #[arg(short, long)]
        force: bool,
    },
    /// Stop units if they run, then start them.
    Restart(Change),
    /// Restart those units that run.
    #[command(visible_alias = "condrestart")]
    TryRestart(Change),
    /// Make running units read their configuration again (ExecReload=).
    Reload(Change),
    /// Reload units where they can be, and restart the others.
    ReloadOrRestart(Change),
    /// Reload or restart those units that run.
    TryReloadOrRestart(Change),
    /// Start a unit and stop every other one (AllowIsolate=yes).
    Isolate(Change),
    /// Freeze agents where they are; answers when the kernel says frozen.
    Pause {
        #[command(flatten)]
        units: Units,
        #[command(flatten)]
        block: Block,
        /// Why, for `status`.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let paused agents go on, and deliver what was said meanwhile.
    Resume(Change),
    /// Say something to an agent.
    #[command(after_help = SEND, override_usage = "aetherctl send [OPTIONS] <UNIT> <TEXT>...")]
    Send {
        /// To whom, and what; `-` alone as the text reads it from standard input.
        // One list, because everything behind its first word is then taken as it stands.
        #[arg(
            required = true,
            num_args = 2..,
            trailing_var_arg = true,
            value_names = ["UNIT", "TEXT"],
        )]
        words: Vec<String>,
    },
    /// Why units are as they are; without a unit, Aether itself.
    Status {
        /// Units, or patterns such as 'worker@*'.
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
        /// Lines of log shown per unit.
        #[arg(short = 'n', long, default_value_t = 10)]
        lines: usize,
    },
    /// Units that are loaded; with --all also the idle ones.
    #[command(visible_aliases = ["ls", "list"])]
    ListUnits(List),
    /// Agents only.
    ListAgents(List),
    /// What a unit printed and did.
    Logs(Logs),
    /// Show a unit's files.
    Cat {
        /// Units.
        #[arg(required = true, value_name = "UNIT")]
        units: Vec<String>,
    },
    /// Check unit files; needs no running Aether.
    Verify {
        /// Paths of unit files, or unit names to be found; `-` reads one from standard input.
        #[arg(required = true, value_name = "FILE|UNIT")]
        targets: Vec<String>,
        /// What the unit on standard input is called; else stdin.agent.
        #[arg(long, value_name = "UNIT")]
        name: Option<String>,
    },
    /// Show what starting a unit would do, step by step; needs neither Aether nor root.
    Plan {
        /// A path of a unit file, or a unit name to be found.
        #[arg(value_name = "UNIT|FILE")]
        target: String,
    },
    /// What may stand in a unit file: every directive, or those of a section, or one.
    Directives {
        /// A directive (MemoryMax) or a section (Agent).
        word: Option<String>,
    },
    /// Make a unit on the spot and start it.
    Run(Run),
    /// Show a unit's properties, or Aether's.
    Show {
        /// Which unit; without one, Aether itself.
        unit: Option<String>,
        /// Only this property (several times for several).
        #[arg(short, long = "property", value_name = "NAME")]
        properties: Vec<String>,
        /// Values without names.
        #[arg(long)]
        value: bool,
    },
    /// Send a signal to a unit's processes.
    Kill {
        #[command(flatten)]
        units: Units,
        /// Which processes.
        #[arg(
            long,
            visible_alias = "kill-whom",
            alias = "kill-who",
            default_value = "all"
        )]
        whom: WhomArg,
        /// Name or number of the signal.
        #[arg(short, long, default_value = "SIGTERM")]
        signal: String,
    },
    /// Forget failures and start limits.
    ResetFailed {
        /// Units; none: all.
        #[arg(value_name = "UNIT")]
        units: Vec<String>,
    },
    /// Whether units are active: 0 if any is, else 1; prints their states.
    IsActive(Units),
    /// Whether units have failed: 0 if any has, else 1; prints their states.
    IsFailed(Units),
    #[command(flatten)]
    Files(Installation),
    /// Timers: what elapses when, and what it starts.
    ListTimers {
        /// Timers that are not active too.
        #[arg(short, long)]
        all: bool,
        /// Only timers whose name matches.
        #[arg(value_name = "PATTERN")]
        patterns: Vec<String>,
    },
    /// Jobs that wait or run.
    ListJobs,
    /// Drop jobs.
    Cancel {
        /// Numbers, as `list-jobs` shows them.
        #[arg(required = true, value_name = "JOB")]
        jobs: Vec<u32>,
    },
    /// Write down every event and what came of it, for `replay`.
    Record {
        /// Begin, or end.
        what: Recording,
    },
    /// Hand a recording to a fresh engine: does it decide the same?
    Replay {
        /// What `record` wrote.
        file: std::path::PathBuf,
        /// Print every event.
        #[arg(long)]
        show: bool,
    },
    /// Read all unit files again and say what changed; what runs goes on.
    DaemonReload,
    /// Replace the running supervisor by the installed program; what runs goes on.
    #[command(visible_alias = "daemon-reexec")]
    Reexec,
}

/// One or more units.
#[derive(Debug, Args)]
pub(super) struct Units {
    /// Units.
    #[arg(required = true, value_name = "UNIT")]
    pub(super) units: Vec<String>,
}

/// Of the verbs that wait for what they asked for.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Block {
    /// Do not wait until it is done.
    #[arg(long)]
    pub(super) no_block: bool,
    /// What to do about jobs that are in the way.
    #[arg(
        long,
        value_name = "MODE",
        default_value = "replace",
        value_parser = job_mode(),
        hide_default_value = true
    )]
    pub(super) job_mode: JobMode,
}

impl Block {
    /// Waits, with the usual mode.
    pub(super) const WAIT: Self = Self {
        no_block: false,
        job_mode: JobMode::Replace,
    };
}

/// Units to which the same is done, without further options.
#[derive(Debug, Args)]
pub(super) struct Change {
    #[command(flatten)]
    pub(super) units: Units,
    #[command(flatten)]
    pub(super) block: Block,
}

/// `list-units`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Idle units too, and those that only have a file.
    #[arg(short, long)]
    pub(super) all: bool,
    /// Only units in this state (active, failed, running, paused …).
    #[arg(long, value_name = "STATE", value_parser = STATES, hide_possible_values = true)]
    pub(super) state: Vec<String>,
    /// Only units whose name matches; `*` and `?` as in the shell.
    #[arg(value_name = "PATTERN")]
    pub(super) patterns: Vec<String>,
}

/// `logs`.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Whose.
    pub(super) unit: String,
    /// Go on showing what is added.
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Only the last entries; `all` for all (with -f the default is 10).
    #[arg(short = 'n', long, value_name = "N", value_parser = count)]
    pub(super) lines: Option<usize>,
    /// Only entries since then: "10 min ago", 5m, today, yesterday, "2026-11-23 20:00", RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Only entries until then.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// Exactly what the process printed: standard output to yours, standard error to yours.
    #[arg(long, conflicts_with = "json")]
    pub(super) raw: bool,
}

/// `run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Which runtime: claude-code or command (the default when a command is given).
    #[arg(long)]
    pub(super) runtime: Option<String>,
    /// What the agent shall reach.
    // A goal is a sentence, whatever it begins with.
    #[arg(long, allow_hyphen_values = true)]
    pub(super) goal: Option<String>,
    /// Name of the unit; else run-XXXXXXXX.agent.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// A directive as in a unit file, such as MemoryMax=1G or Sandbox.Policy=coding.
    #[arg(short, long = "property", value_name = "KEY=VALUE")]
    pub(super) properties: Vec<String>,
    /// Wait until it ends; the exit code says how it did.
    #[arg(short, long, conflicts_with = "no_block")]
    pub(super) wait: bool,
    /// Show its output until it ends.
    #[arg(short, long, conflicts_with = "no_block")]
    pub(super) follow: bool,
    #[command(flatten)]
    pub(super) block: Block,
    /// A command given without `--`: taken so that it can be said how it is written.
    #[arg(hide = true)]
    pub(super) stray: Vec<OsString>,
    /// Program and arguments.
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// `--whom`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum WhomArg {
    Main,
    Control,
    All,
}

/// `--job-mode`: systemctl's words.
fn job_mode() -> impl clap::builder::TypedValueParser<Value = JobMode> {
    use clap::builder::TypedValueParser as _;
    let words = JobMode::WORDS.map(|(word, _)| word);
    clap::builder::PossibleValuesParser::new(words).map(|text| {
        let known = JobMode::WORDS.iter().find(|(word, _)| *word == text);
        known.map_or(JobMode::Replace, |(_, mode)| *mode)
    })
}

/// `record`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Recording {
    Start,
    Stop,
}

/// `-n`: a number or `all`.
fn count(text: &str) -> Result<usize, String> {
    if text == "all" {
        return Ok(usize::MAX);
    }
    text.parse()
        .map_err(|_| format!("{text:?} is neither a number nor \"all\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_message_may_begin_with_a_dash() {
        for text in [
            &["-x", "--json"][..],
            &["--help"],
            &["-h"],
            &["-q", "really"],
            &["--json", "x"],
            &["--", "--"],
            &["-"],
        ] {
            let line = ["aetherctl", "send", "coder"].iter().chain(text);
            let cli = Cli::try_parse_from(line).unwrap();
            let Verb::Send { words } = cli.verb else {
                panic!("not send");
            };
            assert_eq!(words[0], "coder");
            assert_eq!(words[1..], *text);
            assert!(!cli.common.json && !cli.common.quiet);
        }
        let cli = Cli::try_parse_from(["aetherctl", "send", "--json", "coder", "-x"]).unwrap();
        assert!(cli.common.json);
    }

    #[test]
    fn send_still_helps_and_needs_a_text() {
        use clap::error::ErrorKind;
        for (line, kind) in [
            (&["send", "--help"][..], ErrorKind::DisplayHelp),
            (&["send", "-h"], ErrorKind::DisplayHelp),
            (&["send", "--jsn", "coder", "x"], ErrorKind::UnknownArgument),
        ] {
            let error = Cli::try_parse_from(["aetherctl"].iter().chain(line)).unwrap_err();
            assert_eq!(error.kind(), kind, "{line:?}");
        }
        for line in [&["send"][..], &["send", "coder"]] {
            let error = Cli::try_parse_from(["aetherctl"].iter().chain(line)).unwrap_err();
            assert!(error.use_stderr(), "{line:?}");
        }
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let line = [
            "aetherctl",
            "run",
            "--goal",
            "--help",
            "--wait",
            "--",
            "ls",
            "--json",
        ];
        let cli = Cli::try_parse_from(line).unwrap();
        let Verb::Run(run) = cli.verb else {
            panic!("not run");
        };
        assert_eq!(run.goal.as_deref(), Some("--help"));
        assert_eq!(run.command, ["ls", "--json"]);
        assert!(!cli.common.json && run.wait);
    }

    #[test]
    fn only_verbs_that_wait_can_be_told_not_to() {
        let taken = |line: &[&str]| {
            Cli::try_parse_from(["aetherctl"].iter().chain(line).chain(&["--no-block"])).is_ok()
        };
        for line in [
            &["up"][..],
            &["down"],
            &["start", "a"],
            &["stop", "a"],
            &["restart", "a"],
            &["pause", "a"],
            &["resume", "a"],
            &["run", "--goal=x"],
        ] {
            assert!(taken(line), "{line:?}");
        }
        for line in [
            &["status"][..],
            &["logs", "a"],
            &["run", "--wait", "--goal=x"],
        ] {
            assert!(!taken(line), "{line:?}");
        }
    }

    #[test]
    fn a_state_that_is_none_is_wrong_usage() {
        let line = ["aetherctl", "list-units", "--state", "nonsense"];
        let error = Cli::try_parse_from(line).unwrap_err().to_string();
        assert!(error.contains("final-sigkill, auto-restart"), "{error}");
        Cli::try_parse_from(["aetherctl", "ls", "--state", "paused"]).unwrap();
    }

    #[test]
    fn global_options_stand_anywhere() {
        let before = Cli::try_parse_from(["aetherctl", "--json", "list-units"]).unwrap();
        let after = Cli::try_parse_from(["aetherctl", "list-units", "--json"]).unwrap();
        assert!(before.common.json && after.common.json);
    }
}
