//! The supervisor, and, under its name, the zygote of the stages.

#![expect(clippy::disallowed_methods, reason = "a program reads its environment")]

use std::path::PathBuf;
use std::process::ExitCode;

use aether::place::Places;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    // Before any runtime or thread exists.
    if std::env::args_os()
        .next()
        .and_then(|name| name.into_string().ok())
        .is_some_and(|name| aether::stage::is_zygote(&name))
    {
        return aether::stage::main();
    }
    // Levels by target, not EnvFilter: its regular expressions would be a fifth of our memory.
    let wanted = std::env::var("AETHER_LOG")
        .ok()
        .and_then(|text| text.parse::<Targets>().ok())
        .unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO));
    tracing_subscriber::fmt()
        // Where nothing can be written (a full disk), saying so there would be a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_max_level(tracing::Level::TRACE)
        .finish()
        .with(wanted)
        .init();
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/aetherd"));
    let variable = |name: &str| std::env::var(name).ok();
    let places = match Places::find_absolute(aether::sys::user::own_uid(), &own, variable) {
        Ok(places) => places,
        Err(error) => {
            tracing::error!("failed to begin: {error}");
            return ExitCode::FAILURE;
        }
    };
    match aether::daemon::main(places) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
