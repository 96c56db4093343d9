//! The command, `aetherctl`.
//!
//! It reads the command line ([`cli`]), asks the daemon over its socket ([`crate::bus::client`])
//! or looks at files itself (`logs`, `cat`, `verify`, `plan` need no daemon), and renders the
//! answer. It decides nothing about units. Every view is first a value (`--json` prints it), then
//! text. Read next: [`cli`], then the file of a verb.

#![expect(
    clippy::disallowed_methods,
    reason = "the command reads files, the environment and the clock itself"
)]

mod ask;
mod cli;
mod control;
mod directives;
mod exit;
mod facts;
mod find;
mod install;
mod life;
mod list;
mod logs;
mod manager;
mod plan;
mod replay;
mod screen;
mod status;
mod table;
mod time;
mod timers;
mod transient;
mod tree;
mod verify;
mod watch;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::cli::{Cli, Common, Verb};
use self::control::Change;
use self::exit::{Exit, Problem};
use self::screen::Screen;
use crate::place::Places;

/// Runs the command as given on the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, everything else is wrong usage; clap says which word.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            let _ = error.print();
            return ExitCode::from(exit as u8);
        }
    };
    let exit = match run(&cli) {
        Ok(exit) => exit,
        Err(error) if is_broken_pipe(&error) => Exit::Done,
        Err(error) => {
            let exit = error.downcast_ref().map_or(Exit::NotSo, Problem::code);
            let _ = writeln!(io::stderr(), "aetherctl: {error:#}");
            exit
        }
    };
    ExitCode::from(exit as u8)
}

/// The definition of every verb and option, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

fn run(cli: &Cli) -> anyhow::Result<Exit> {
    let screen = Screen::find(&cli.common);
    let places = places(&cli.common)?;
    match &cli.verb {
        Verb::Logs(ask) => logs::run(screen, &places, ask),
        Verb::Cat { units } => find::cat(screen, &places, units),
        Verb::Verify { targets, name } => verify::run(screen, &places, targets, name.as_deref()),
        Verb::Plan { target } => plan::run(screen, &places, target),
        Verb::Directives { word } => directives::run(screen, word.as_deref()),
        Verb::Replay { file, show } => replay::replay_file(screen, file, *show),
        Verb::Up {
            foreground: true,
            detached,
            ..
        } => life::foreground(&places, *detached),
        _ => block_on(talk(screen, &places, cli)),
    }
}

/// The verbs that need the daemon.
async fn talk(screen: Screen, places: &Places, cli: &Cli) -> anyhow::Result<Exit> {
    let change =
        |units, block: &cli::Block, change| control::change(screen, places, units, change, *block);
    match &cli.verb {
        Verb::Up { units, block, .. } => life::up(screen, places, units, *block).await,
        Verb::Down(block) => life::down(screen, places, !block.no_block).await,
        Verb::Start {
            units,
            wait,
            follow,
            ..
        } if *wait || *follow => {
            control::start_and_watch(screen, places, &units.units, *follow).await
        }
        Verb::Start { units, block, .. } => change(&units.units, block, Change::Start).await,
        Verb::Stop {
            units,
            block,
            force,
        } => change(&units.units, block, Change::Stop { force: *force }).await,
        Verb::Restart(ask) => change(&ask.units.units, &ask.block, Change::Restart).await,
        Verb::TryRestart(ask) => change(&ask.units.units, &ask.block, Change::TryRestart).await,
        Verb::Reload(ask) => change(&ask.units.units, &ask.block, Change::Reload).await,
        Verb::ReloadOrRestart(ask) => {
            let how = Change::ReloadOrRestart {
                only_running: false,
            };
            change(&ask.units.units, &ask.block, how).await
        }
        Verb::TryReloadOrRestart(ask) => {
            let how = Change::ReloadOrRestart { only_running: true };
            change(&ask.units.units, &ask.block, how).await
        }
        Verb::Isolate(ask) => change(&ask.units.units, &ask.block, Change::Isolate).await,
        Verb::Pause {
            units,
            block,
            reason,
        } => change(&units.units, block, Change::Pause { reason }).await,
        Verb::Resume(ask) => change(&ask.units.units, &ask.block, Change::Resume).await,
        Verb::Send { words } => control::send(screen, places, words).await,
        Verb::Status { units, lines } => ask::show_status(screen, places, units, *lines).await,
        Verb::ListUnits(ask) => list::list(screen, places, ask, false).await,
        Verb::ListAgents(ask) => list::list(screen, places, ask, true).await,
        Verb::Run(ask) => transient::run(screen, places, ask).await,
        Verb::Show {
            unit,
            properties,
            value,
        } => ask::show(screen, places, unit.as_deref(), properties, *value).await,
        Verb::Kill {
            units,
            whom,
            signal,
        } => control::kill(screen, places, &units.units, *whom, signal).await,
        Verb::ResetFailed { units } => control::reset_failed(places, units).await,
        Verb::IsActive(ask) => {
            let up = ["active", "reloading"];
            ask::is_in_state(screen, places, &ask.units, "active", &up).await
        }
        Verb::IsFailed(ask) => {
            ask::is_in_state(screen, places, &ask.units, "failed", &["failed"]).await
        }
        Verb::Files(verb) => install::run(screen, places, verb).await,
        Verb::ListTimers { all, patterns } => timers::list(screen, places, patterns, *all).await,
        Verb::ListJobs => list::list_jobs(screen, places).await,
        Verb::Cancel { jobs } => control::cancel(places, jobs).await,
        Verb::DaemonReload => control::reload(screen, places).await,
        Verb::Reexec => control::reexec(screen, places).await,
        Verb::Record { what } => {
            replay::record(screen, places, *what == cli::Recording::Start).await
        }
        Verb::Logs(_)
        | Verb::Cat { .. }
        | Verb::Verify { .. }
        | Verb::Plan { .. }
        | Verb::Replay { .. }
        | Verb::Directives { .. } => {
            Err(Problem::new("this verb needs no daemon".to_owned()).into())
        }
    }
}

/// Prints a problem of one unit among several; its exit code.
fn complain(problem: &Problem) -> Exit {
    // Nobody may read standard error; the exit code says the same.
    let _ = writeln!(io::stderr().lock(), "aetherctl: {problem}");
    problem.code()
}

/// A remark beside what standard output carries.
fn note(screen: Screen, text: &str) {
    if !screen.quiet {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Where the manager that is meant has its places.
fn places(common: &Common) -> Result<Places, Problem> {
    let own = nix::unistd::geteuid().as_raw();
    let uid = if common.system { 0 } else { own };
    if common.user && own == 0 {
        return Err(Problem::usage(
            "--user: root's manager is the system's; leave --user out",
        ));
    }
    let program =
        std::env::current_exe().unwrap_or_else(|_| Path::new("/usr/bin/aetherctl").to_owned());
    Places::find_absolute(uid, &program, |name| std::env::var(name).ok()).map_err(Problem::usage)
}

/// Whether whoever read our output has gone: the quietest of ends.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Runs what has to wait for several things at once.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Hears Ctrl-C and the polite request to end, from when it is made.
#[derive(Debug)]
struct Interrupt {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupt {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Ends when one of them comes, or has come; with the exit code for that.
    async fn come(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}
