//! `run`: a unit made on the spot; optionally watched until it ends.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use serde_json::json;

use super::ask;
use super::cli::Run;
use super::control;
use super::exit::{Exit, Problem};
use super::screen::Screen;
use super::watch::Watching;
use crate::engine::event::{JobMode, JobResult};
use crate::name::{UnitName, UnitType};
use crate::place::Places;
use crate::unit::transient::{command_value, text_value};

/// `run`.
pub(super) async fn run(screen: Screen, places: &Places, ask: &Run) -> anyhow::Result<Exit> {
    let properties = properties(ask)?;
    let name = match &ask.name {
        Some(name) => UnitName::from_user(name).map_err(Problem::usage)?,
        None => generated()?,
    };
    if name.kind() == UnitType::Target {
        return Err(Problem::usage("a target runs nothing; name an .agent or a .service").into());
    }
    let client = ask::connect(places).await?;
    let watched = ask.wait || ask.follow;
    // Before the start, so that nothing is missed.
    let watching = if watched {
        let structured = ask
            .runtime
            .as_deref()
            .is_some_and(|runtime| runtime != "command");
        let output = ask.follow.then_some(structured);
        Some(Watching::begin(screen, places, &client, &name, output).await?)
    } else {
        None
    };
    let job = client
        .start_transient_unit(&name, JobMode::Fail, &properties)
        .await
        .map_err(|error| ask::refused("run units", &error))?;
    if !ask.block.no_block {
        let result = control::wait(&client, "start", &name, &job).await?;
        if !matches!(result, JobResult::Done | JobResult::Skipped) {
            return Err(control::explain(&client, "start", &name, result)
                .await
                .into());
        }
    }
    let Some(watching) = watching else {
        if screen.json {
            screen.print_json(&json!({ "unit": name }))?;
        } else {
            screen.say(&format!(
                "Running as {name}.\n  look:  aetherctl status {name}\n  \
                 read:  aetherctl logs -f {name}\n  stop:  aetherctl stop {name}"
            ))?;
        }
        return Ok(Exit::Done);
    };
    if !screen.json {
        // Standard output is the unit's, when it is followed.
        super::note(screen, &format!("Running as {name}."));
    }
    watching.until_end(screen, places, client).await
}

/// The directives, in the order given, repeated ones together.
fn properties(ask: &Run) -> Result<Vec<(String, Vec<String>)>, Problem> {
    let mut all: Vec<(String, Vec<String>)> = vec![];
    let mut set = |key: &str, value: String| match all.iter_mut().find(|(name, _)| name == key) {
        Some((_, values)) => values.push(value),
        None => all.push((key.to_owned(), vec![value])),
    };
    if !ask.stray.is_empty() {
        let words: Vec<_> = ask
            .stray
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        let words = words.join(" ");
        return Err(
            Problem::usage(format!("a command stands after --, and {words} does not"))
                .help(format!("aetherctl run -- {words}")),
        );
    }
    if ask.goal.is_none() && ask.command.is_empty() {
        return Err(
            Problem::usage("run needs a --goal, or a command after --").help(
                "aetherctl run --runtime claude-code --goal \"…\"; aetherctl run -- ls -l"
                    .to_owned(),
            ),
        );
    }
    let runtime = match (&ask.runtime, ask.command.is_empty()) {
        (Some(runtime), _) => runtime.as_str(),
        (None, true) => "claude-code",
        (None, false) => "command",
    };
    let service = ask
        .name
        .as_deref()
        .is_some_and(|name| name.ends_with(".service"));
    if !service {
        set("Runtime", runtime.to_owned());
    }
    if let Some(goal) = &ask.goal {
        set("Goal", text_value(goal));
    }
    if !ask.command.is_empty() {
        let words: Option<Vec<&str>> = ask.command.iter().map(|word| word.to_str()).collect();
        let words = words.ok_or_else(|| Problem::usage("the command is not UTF-8"))?;
        set("ExecStart", command_value(&words));
    }
    for property in &ask.properties {
        let Some((key, value)) = property.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Problem::usage(format!("-p {property}: write KEY=VALUE")));
        };
        set(key, value.to_owned());
    }
    Ok(all)
}

/// `run-` and eight hexadecimal digits.
fn generated() -> Result<UnitName, Problem> {
    // Seeded from the system's random source.
    let random = RandomState::new().build_hasher().finish() & 0xffff_ffff;
    format!("run-{random:08x}.agent")
        .parse()
        .map_err(Problem::usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &[&str]) -> Run {
        use clap::Parser as _;
        let line = ["aetherctl", "run"].iter().chain(line);
        match super::super::cli::Cli::try_parse_from(line).unwrap().verb {
            super::super::cli::Verb::Run(run) => run,
            _ => panic!("not run"),
        }
    }

    #[test]
    fn directives_of_a_run() {
        let run = asked(&[
            "--goal=100% -- done",
            "-p",
            "Sandbox.Policy=coding",
            "-p",
            "Wants=a.agent",
            "-p",
            "Wants=b.agent",
        ]);
        let expected = [
            ("Runtime", vec!["claude-code"]),
            ("Goal", vec!["100%% -- done"]),
            ("Sandbox.Policy", vec!["coding"]),
            ("Wants", vec!["a.agent", "b.agent"]),
        ];
        let found = properties(&run).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(key, values)| {
                (
                    key.as_str(),
                    values.iter().map(String::as_str).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_command_means_itself() {
        let run = asked(&["--", "sh", "-c", "echo \"$HOME\" 5%\n"]);
        let found = properties(&run).unwrap();
        assert_eq!(found[1].1, [r#"sh -c "echo \"$$HOME\" 5%%\n""#]);
    }

    #[test]
    fn nothing_to_run_is_wrong_usage() {
        assert_eq!(properties(&asked(&[])).unwrap_err().code(), Exit::Usage);
        assert_eq!(
            properties(&asked(&["--goal=x", "-p", "nonsense"]))
                .unwrap_err()
                .code(),
            Exit::Usage
        );
    }

    #[test]
    fn a_command_without_dashes_is_shown_with_them() {
        let problem = properties(&asked(&["ls", "src"])).unwrap_err();
        assert_eq!(problem.code(), Exit::Usage);
        let said = problem.to_string();
        assert!(said.contains("aetherctl run -- ls src"), "{said}");
    }

    #[test]
    fn generated_names_differ() {
        assert_ne!(generated().unwrap(), generated().unwrap());
        assert_eq!(
            generated().unwrap().as_str().len(),
            "run-00000000.agent".len()
        );
    }
}
