//! `aether-hub`: the agents' MCP servers and their memory. See [`aether::hub`].

#![expect(clippy::disallowed_methods, reason = "a program reads its environment")]

use std::io::Write as _;
use std::process::ExitCode;

use aether::hub::program::{Arguments, Failure, HELP, Post, standalone, supervised};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    for argument in &arguments {
        let text = match argument.as_str() {
            "--help" | "-h" => HELP.to_owned(),
            "--version" => format!("aether-hub {}\n", env!("CARGO_PKG_VERSION")),
            _ => continue,
        };
        let _ = std::io::stdout().write_all(text.as_bytes());
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::var("AETHER_LOG")
        .ok()
        .and_then(|text| text.parse::<Targets>().ok())
        .unwrap_or_else(|| {
            Targets::new()
                .with_default(tracing::Level::INFO)
                .with_target("rmcp", tracing::Level::ERROR)
        });
    tracing_subscriber::fmt()
        // Where nothing can be written (a full disk), saying so there would be a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::TRACE)
        .without_time()
        .finish()
        .with(wanted)
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "aether-hub: {failure}");
            ExitCode::from(if matches!(failure, Failure::Usage(_) | Failure::Name(_)) {
                2
            } else {
                1
            })
        }
    }
}

fn run(arguments: Vec<String>) -> Result<(), Failure> {
    let arguments = Arguments::parse(arguments, std::env::var("STATE_DIRECTORY").ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|source| Failure::System {
            step: "start the runtime".to_owned(),
            source,
        })?;
    if !arguments.listen.is_empty() {
        return runtime.block_on(standalone(arguments));
    }
    let variable = |name: &str| std::env::var(name).ok();
    match (
        variable("AETHER_RUNTIME_DIR"),
        variable("AETHER_CONTROL_GROUP"),
    ) {
        (Some(directory), Some(control_group)) if !control_group.is_empty() => {
            let bus = std::path::Path::new(&directory).join("private");
            runtime.block_on(supervised(arguments, Post { bus, control_group }))
        }
        _ => Err(Failure::Usage(
            "there is nothing to serve: no --listen, and not started by aetherd (which says \
             AETHER_RUNTIME_DIR and AETHER_CONTROL_GROUP)"
                .to_owned(),
        )),
    }
}
