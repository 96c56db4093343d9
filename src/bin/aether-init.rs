//! `aether-init [--] [ARGUMENT…]`: the keeper. Starts aetherd with these arguments and keeps it
//! running; see `aether::keeper`. `AETHER_DAEMON` names another program than the one beside it.

#![expect(clippy::disallowed_methods, reason = "a program reads its environment")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aether::keeper::{Command, End, Pace, run};
use aether::place::{Places, RelativePlace};
use aether::sys::reboot;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        // Where nothing can be written (a full disk), saying so there would be a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    let command = match command() {
        Ok(command) => command,
        Err(error) => {
            tracing::error!("failed to begin: {error}");
            return ExitCode::FAILURE;
        }
    };
    match run(&command) {
        Ok(End::Exit(status)) => ExitCode::from(status),
        Ok(End::Machine(machine, pace)) => {
            let Err(error) = reboot::end(machine, pace == Pace::Orderly);
            tracing::error!("failed to end the machine: {error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<Command, RelativePlace> {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/aether-init"));
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    let program = std::env::var_os("AETHER_DAEMON").map_or_else(
        || {
            own.parent()
                .unwrap_or(Path::new("/usr/bin"))
                .join("aetherd")
        },
        PathBuf::from,
    );
    let uid = nix::unistd::geteuid().as_raw();
    let places = Places::find_absolute(uid, &own, |name| std::env::var(name).ok())?;
    Ok(Command {
        program,
        arguments,
        runtime: places.runtime,
    })
}
