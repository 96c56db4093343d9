//! The verbs that change something. Jobs are waited for; a failed one is explained.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{self, names};
use super::cli::{Block, WhomArg};
use super::exit::{Exit, Problem};
use super::screen::{Screen, clean, clean_line};
use super::status;
use super::watch::Watching;
use crate::bus::client::{Client, ClientError, JobPath};
use crate::engine::event::{JobMode, JobResult, Whom};
use crate::name::{JobId, UnitName, UnitType};
use crate::place::Places;

/// Longest message that `send -` reads.
const MAX_MESSAGE: u64 = 1 << 20;
/// How long a job may take before the person is told that it is waited for.
const SILENCE: Duration = Duration::from_secs(1);

/// A verb that makes a job.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    Start,
    Stop { force: bool },
    Restart,
    TryRestart,
    Reload,
    ReloadOrRestart { only_running: bool },
    Isolate,
    Pause { reason: &'a str },
    Resume,
}

impl Change<'_> {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop { .. } => "stop",
            Self::Restart | Self::TryRestart => "restart",
            Self::Reload => "reload",
            Self::ReloadOrRestart { .. } => "reload-or-restart",
            Self::Isolate => "isolate",
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Start => "Started",
            Self::Stop { .. } => "Stopped",
            Self::Restart | Self::TryRestart => "Restarted",
            Self::Reload | Self::ReloadOrRestart { .. } => "Reloaded",
            Self::Isolate => "Isolated",
            Self::Pause { .. } => "Paused",
            Self::Resume => "Resumed",
        }
    }

    async fn ask(
        self,
        client: &Client,
        unit: &UnitName,
        mode: JobMode,
    ) -> Result<JobPath, ClientError> {
        match self {
            Self::Start => client.start_unit(unit, mode).await,
            Self::Stop { force } => client.stop_unit(unit, mode, force).await,
            Self::Restart => client.restart_unit(unit, mode).await,
            Self::TryRestart => client.try_restart_unit(unit, mode).await,
            Self::Reload => client.reload_unit(unit, mode).await,
            Self::ReloadOrRestart { only_running } => {
                client
                    .reload_or_restart_unit(unit, mode, only_running)
                    .await
            }
            Self::Isolate => client.start_unit(unit, JobMode::Isolate).await,
            Self::Pause { reason } => client.pause(unit, reason).await,
            Self::Resume => client.resume(unit).await,
        }
    }
}

/// Asks for all, then waits for all; the worst result is the exit code.
pub(super) async fn change(
    screen: Screen,
    places: &Places,
    units: &[String],
    change: Change<'_>,
    block: Block,
) -> anyhow::Result<Exit> {
    let units = names(units)?;
    if matches!(change, Change::Pause { .. } | Change::Resume) {
        units
            .iter()
            .try_for_each(|unit| only_agents(unit, "paused"))?;
    }
    let client = ask::connect(places).await?;
    change_units(screen, &client, &units, change, block).await
}

/// Other units have no one to talk to, and nothing that knows what a pause is.
fn only_agents(unit: &UnitName, done: &str) -> Result<(), Problem> {
    if unit.kind() == UnitType::Agent {
        return Ok(());
    }
    Err(Problem::usage(format!(
        "only agents can be {done}, and {unit} is none"
    )))
}

/// Starts one unit and watches it until it ends, with its output or without.
pub(super) async fn start_and_watch(
    screen: Screen,
    places: &Places,
    units: &[String],
    follow: bool,
) -> anyhow::Result<Exit> {
    let [unit] = &names(units)?[..] else {
        return Err(Problem::usage("only one unit can be watched at a time").into());
    };
    let client = ask::connect(places).await?;
    let output = follow.then(|| super::find::is_structured(places, unit));
    let watching = Watching::begin(screen, places, &client, unit, output).await?;
    let exit = change_units(
        screen,
        &client,
        std::slice::from_ref(unit),
        Change::Start,
        Block::WAIT,
    )
    .await?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    watching.until_end(screen, places, client).await
}

/// See [`change`].
pub(super) async fn change_units(
    screen: Screen,
    client: &Client,
    units: &[UnitName],
    change: Change<'_>,
    block: Block,
) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let mut jobs = vec![];
    for unit in units {
        match change.ask(client, unit, block.job_mode).await {
            Ok(job) => jobs.push((unit, job)),
            Err(error) => {
                let problem = refusal(change, unit, &error);
                let problem = ask::or_meant(client, unit, &error, problem).await;
                exit = exit.max(super::complain(&problem));
            }
        }
    }
    let mut values = vec![];
    for (unit, job) in jobs {
        if block.no_block {
            values.push(json!({ "unit": unit, "job": number(&job) }));
            continue;
        }
        let result = wait(client, change.word(), unit, &job).await?;
        let paused = matches!(change, Change::Start)
            && unit.kind() == UnitType::Agent
            && ask::facts(client, unit)
                .await
                .is_ok_and(|facts| facts.flag("Paused"));
        let mut value = json!({ "unit": unit, "job": number(&job), "result": result });
        if paused {
            value["paused"] = true.into();
        }
        values.push(value);
        match result {
            // It was started once, and nobody would see it do anything.
            JobResult::Done | JobResult::Skipped if paused => screen.say(&format!(
                "{unit} is paused; continue it with: aetherctl resume {unit}"
            ))?,
            JobResult::Done | JobResult::Skipped => {
                screen.say(&format!("{} {unit}.", change.done()))?;
            }
            _ => {
                let problem = explain(client, change.word(), unit, result).await;
                exit = exit.max(super::complain(&problem));
            }
        }
    }
    if screen.json {
        screen.print_json(&Value::Array(values))?;
    }
    Ok(exit)
}

fn refusal(change: Change<'_>, unit: &UnitName, error: &ClientError) -> Problem {
    let problem = ask::refused(&format!("{} {unit}", change.word()), error);
    match change {
        Change::Stop { force: false } if error.is("NeededByOthers") => {
            problem.help(format!("aetherctl stop --force {unit}"))
        }
        _ => problem,
    }
}

fn number(job: &JobPath) -> Option<u32> {
    job.0.rsplit('/').next()?.parse().ok()
}

/// Waits for a job; on a terminal says so when it takes its time.
pub(super) async fn wait(
    client: &Client,
    verb: &str,
    unit: &UnitName,
    job: &JobPath,
) -> anyhow::Result<JobResult> {
    let id = number(job).map_or_else(|| job.0.clone(), |id| id.to_string());
    let ended = client.wait_for_job(job);
    let mut interrupt = super::Interrupt::new()?;
    tokio::pin!(ended);
    let told = io::stderr().is_terminal();
    let begun = tokio::time::Instant::now();
    let mut shown = false;
    let result = loop {
        let seconds = begun.elapsed().as_secs();
        tokio::select! {
            result = &mut ended => break result,
            exit = interrupt.come() => {
                let problem = Problem::new(format!("no longer waiting for job {id} ({verb} {unit}), which goes on"));
                return Err(problem.exit(exit).help(format!("aetherctl cancel {id} drops it")).into());
            }
            () = tokio::time::sleep_until(begun + SILENCE * u32::try_from(seconds + 1).unwrap_or(u32::MAX)), if told => {
                shown = true;
                let seconds = begun.elapsed().as_secs();
                let mut error = io::stderr().lock();
                write!(error, "\r\x1b[KWaiting for job {id} ({verb} {unit}) … {seconds} s")?;
                error.flush()?;
            }
        }
    };
    if shown {
        write!(io::stderr().lock(), "\r\x1b[K")?;
    }
    Ok(result.map_err(|error| {
        ask::problem(&error).help(format!("whether it was done: aetherctl status {unit}"))
    })?)
}

/// Why a job did not do what it was for.
pub(super) async fn explain(
    client: &Client,
    verb: &str,
    unit: &UnitName,
    result: JobResult,
) -> Problem {
    let mut text = match result {
        JobResult::Canceled => format!("{verb} of {unit} was taken back by a newer job"),
        JobResult::Timeout => format!("{verb} of {unit} took too long"),
        JobResult::Dependency => format!("{verb} of {unit} failed: something it requires failed"),
        _ => format!("{verb} of {unit} failed"),
    };
    let mut step = String::new();
    let mut way_out = String::new();
    // Best effort: the job's result stands even where the reason cannot be asked for.
    if let Ok(facts) = ask::facts(client, unit).await {
        step = clean_line(facts.text("FailureStep"));
        way_out = clean_line(facts.text("FailureHelp"));
        let why = clean(facts.text("Why"), false);
        if !why.is_empty() {
            text.push_str(&format!(": {why}"));
        } else if let Some(exit) = status::exit(&facts) {
            text.push_str(&format!(": {exit}"));
        }
        for diagnostic in facts.texts("LoadDiagnostics") {
            text.push_str(&format!("\n{}", clean(diagnostic, false)));
        }
    }
    if !step.is_empty() && !text.contains(&step) {
        text.push_str(&format!(" (step: {step})"));
    }
    let problem = Problem::new(text);
    let problem = if way_out.is_empty() {
        problem
    } else {
        problem.help(way_out)
    };
    problem.help(format!("aetherctl status {unit}; aetherctl logs {unit}"))
}

/// `send`.
pub(super) async fn send(
    screen: Screen,
    places: &Places,
    words: &[String],
) -> anyhow::Result<Exit> {
    let (unit, words) = match words {
        // Whoever writes `--` to be safe does not mean to say it.
        [unit, mark, words @ ..] if mark == "--" => (unit, words),
        [unit, words @ ..] => (unit, words),
        [] => return Err(Problem::usage("send needs a unit and a text").into()),
    };
    let unit = UnitName::from_user(unit).map_err(Problem::usage)?;
    only_agents(&unit, "told something")?;
    let text = if words == ["-"] {
        let mut text = String::new();
        io::stdin()
            .take(MAX_MESSAGE + 1)
            .read_to_string(&mut text)?;
        text
    } else {
        words.join(" ")
    };
    if text.trim().is_empty() {
        return Err(Problem::usage("the message is empty").into());
    }
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_MESSAGE) {
        return Err(Problem::usage("the message is longer than 1 MiB; name a file instead").into());
    }
    let client = ask::connect(places).await?;
    let id = match client.send_input(&unit, &text).await {
        Ok(id) => id,
        Err(error) => {
            let problem = ask::refused(&format!("send to {unit}"), &error);
            return Err(ask::or_meant(&client, &unit, &error, problem).await.into());
        }
    };
    let paused = ask::facts(&client, &unit)
        .await
        .is_ok_and(|facts| facts.flag("Paused"));
    if screen.json {
        screen.print_json(&json!({ "unit": unit, "input": id, "paused": paused }))?;
    } else if paused {
        screen.say(&format!(
            "{unit} is paused; it gets the message when it is resumed."
        ))?;
    } else {
        screen.say(&format!("Sent to {unit}."))?;
    }
    Ok(Exit::Done)
}

/// `kill`.
pub(super) async fn kill(
    screen: Screen,
    places: &Places,
    units: &[String],
    whom: WhomArg,
    signal: &str,
) -> anyhow::Result<Exit> {
    let signal = parse_signal(signal)?;
    let units = names(units)?;
    let whom = match whom {
        WhomArg::Main => Whom::Main,
        WhomArg::Control => Whom::Control,
        WhomArg::All => Whom::All,
    };
    let client = ask::connect(places).await?;
    let mut exit = Exit::Done;
    for unit in &units {
        match client.kill_unit(unit, whom, signal).await {
            Ok(()) => screen.say(&format!("Signalled {unit}."))?,
            Err(error) => {
                let problem = ask::refused(&format!("kill {unit}"), &error);
                let problem = ask::or_meant(&client, unit, &error, problem).await;
                exit = exit.max(super::complain(&problem));
            }
        }
    }
    Ok(exit)
}

/// A signal by name, with or without SIG, or by number.
fn parse_signal(text: &str) -> Result<i32, Problem> {
    use nix::sys::signal::Signal;
    let wrong = || {
        Problem::usage(format!("{text:?} is no signal"))
            .help("write a name such as SIGUSR1 or USR1, or a number".to_owned())
    };
    if let Ok(number) = text.parse() {
        // The real-time signals have numbers only.
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(wrong())
        };
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") {
        name
    } else {
        format!("SIG{name}")
    };
    name.parse::<Signal>()
        .map(|signal| signal as i32)
        .map_err(|_| wrong())
}

/// `reset-failed`.
pub(super) async fn reset_failed(places: &Places, units: &[String]) -> anyhow::Result<Exit> {
    let units = names(units)?;
    let client = ask::connect(places).await?;
    if units.is_empty() {
        client
            .reset_failed(None)
            .await
            .map_err(|error| ask::refused("forget failures", &error))?;
    }
    let mut exit = Exit::Done;
    for unit in &units {
        if let Err(error) = client.reset_failed(Some(unit)).await {
            let problem = ask::refused(&format!("forget failures of {unit}"), &error);
            let problem = ask::or_meant(&client, unit, &error, problem).await;
            exit = exit.max(super::complain(&problem));
        }
    }
    Ok(exit)
}

/// `cancel`.
pub(super) async fn cancel(places: &Places, jobs: &[u32]) -> anyhow::Result<Exit> {
    let client = ask::connect(places).await?;
    let mut exit = Exit::Done;
    for job in jobs {
        if let Err(error) = client.cancel_job(JobId(*job)).await {
            let problem = ask::refused(&format!("cancel job {job}"), &error);
            exit = exit.max(super::complain(&problem));
        }
    }
    Ok(exit)
}

/// `daemon-reload`.
pub(super) async fn reload(screen: Screen, places: &Places) -> anyhow::Result<Exit> {
    let client = ask::connect(places).await?;
    let rows = client
        .reload_units()
        .await
        .map_err(|error| ask::refused("have unit files read again", &error))?;
    if screen.json {
        let values = rows
            .iter()
            .map(|(unit, what, text)| json!({ "unit": unit, "what": what, "text": text }));
        screen.print_json(&Value::Array(values.collect()))?;
        return Ok(Exit::Done);
    }
    screen.say(match rows.is_empty() {
        true => "Unit files were read again; nothing has changed.",
        false => "Unit files were read again.",
    })?;
    for (unit, what, text) in &rows {
        match what.as_str() {
            "changed-running" => screen.say(&format!(
                "  {unit}: changed; what runs goes on as it was started, until: aetherctl restart {unit}"
            ))?,
            // Not a failure of the reload: the unit stays what it was.
            "error" => super::note(screen, &format!("  {}", clean(text, false))),
            other => screen.say(&format!("  {unit}: {}", clean_line(other)))?,
        }
    }
    Ok(Exit::Done)
}

/// `reexec`: asks, then waits until a new daemon answers.
pub(super) async fn reexec(screen: Screen, places: &Places) -> anyhow::Result<Exit> {
    let client = ask::connect(places).await?;
    client
        .reexecute()
        .await
        .map_err(|error| ask::refused("replace Aether", &error))?;
    client.closed().await;
    super::life::reconnect(places).await?;
    screen.say("Aether was replaced; everything went on running.")?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [("SIGTERM", 15), ("usr1", 10), ("9", 9), ("64", 64)] {
            assert_eq!(parse_signal(text).unwrap(), number);
        }
        for text in ["", "0", "65", "SIGNONSENSE", "-9"] {
            assert_eq!(parse_signal(text).unwrap_err().code(), Exit::Usage);
        }
    }

    #[test]
    fn a_job_has_the_number_in_its_path() {
        assert_eq!(number(&JobPath("/org/aether1/job/12".to_owned())), Some(12));
        assert_eq!(number(&JobPath("/".to_owned())), None);
    }
}
