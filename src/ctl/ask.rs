//! Asking the daemon: the connection, what a refusal means, and the views of single things
//! (`status`, `show`, `is-active`). Lists are in [`super::list`]; what changes something is in
//! [`super::control`].

use std::path::PathBuf;

use serde_json::{Value, json};

use super::exit::{Exit, Problem};
use super::facts::Facts;
use super::screen::Screen;
use super::status::{Looks, Status};
use super::{find, logs, manager, time};
use crate::bus::client::{Client, ClientError, ErrorClass};
use crate::name::{NameError, UnitName};
use crate::place::Places;

/// Connects, or says how there could be something to connect to.
pub(super) async fn connect(places: &Places) -> Result<Client, Problem> {
    Client::connect_to(places)
        .await
        .map_err(|error| match error {
            ClientError::NotRunning { path, .. } => {
                let problem = Problem::new(format!(
                    "no Aether is running here: nobody listens on {}",
                    path.display()
                ))
                .exit(Exit::NoDaemon)
                .help("start it with: aetherctl up".to_owned());
                // Someone else's manager may be what was meant.
                if !places.system && std::path::Path::new("/run/aether/private").exists() {
                    problem.help(
                        "the system's manager runs; ask it with: aetherctl --system …".to_owned(),
                    )
                } else {
                    problem
                }
            }
            other => problem(&other),
        })
}

/// A refused call, in the words of whoever asked: `wish` completes "you may not …".
pub(super) fn refused(wish: &str, error: &ClientError) -> Problem {
    if error.class() != ErrorClass::Denied {
        return problem(error);
    }
    let text = super::screen::clean(&error.to_string(), false);
    // The daemon says who it takes us for; its name of the action is nothing to type.
    let who = text
        .rsplit_once(" is not allowed for ")
        .map_or("you", |(_, who)| who);
    let help = if who.parse::<UnitName>().is_ok() {
        "a unit may only look at itself; ask from outside of it"
    } else {
        "try with sudo"
    };
    Problem::new(format!("{who} may not {wish}"))
        .exit(Exit::Refused)
        .help(help.to_owned())
}

/// With the name that was probably meant, where the daemon knows no unit of this one.
pub(super) async fn or_meant(
    client: &Client,
    unit: &UnitName,
    error: &ClientError,
    problem: Problem,
) -> Problem {
    if !error.is("NoSuchUnit") {
        return problem;
    }
    // Only to help; what is wrong is said already. A list of units would be read by the daemon,
    // and who mistypes a name changes nothing.
    let Ok(facts) = client.manager_properties().await else {
        return problem;
    };
    let facts = Facts(facts.json());
    let directories: Vec<PathBuf> = facts
        .texts("UnitPath")
        .into_iter()
        .map(PathBuf::from)
        .collect();
    match find::nearest_file(&directories, unit) {
        Some(near) => problem.help(format!("did you mean {near}?")),
        None => problem,
    }
}

/// A refused call with its exit code.
pub(super) fn problem(error: &ClientError) -> Problem {
    let text = super::screen::clean(&error.to_string(), false);
    if error.is("NeededByOthers") || error.is("NeededBy") {
        return Problem::new(text)
            .exit(Exit::Refused)
            .help("with --force they are stopped too".to_owned());
    }
    match error.class() {
        ErrorClass::Failed if error.is("NoSuchUnit") || error.is("NoUnitFile") => {
            Problem::new(text).help("the units there are: aetherctl list-units --all".to_owned())
        }
        ErrorClass::Failed => Problem::new(text),
        ErrorClass::NoDaemon => Problem::new(text).exit(Exit::NoDaemon),
        ErrorClass::Denied => refused("do that here", error),
    }
}

/// Unit names as typed.
pub(super) fn names(words: &[String]) -> Result<Vec<UnitName>, Problem> {
    words
        .iter()
        .map(|word| UnitName::from_user(word).map_err(Problem::usage))
        .collect()
}

/// A pattern as typed: a plain word is a name.
pub(super) fn pattern(word: &str) -> Result<String, NameError> {
    if is_pattern(word) {
        Ok(word.to_owned())
    } else {
        UnitName::from_user(word).map(String::from)
    }
}

fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// The present on both clocks, for "ago" and "in".
pub(super) fn looks(screen: Screen) -> Looks {
    let boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map(|at| at.tv_sec() * 1_000_000 + at.tv_nsec() / 1_000)
        .unwrap_or(0);
    Looks {
        colour: screen.colour,
        width: screen.width,
        now: (time::now(), u64::try_from(boot).unwrap_or(0)),
    }
}

/// Everything about one unit.
pub(super) async fn facts(client: &Client, unit: &UnitName) -> Result<Facts, ClientError> {
    Ok(Facts(client.unit_properties(unit).await?.json()))
}

/// `status`.
pub(super) async fn show_status(
    screen: Screen,
    places: &Places,
    words: &[String],
    lines: usize,
) -> anyhow::Result<Exit> {
    let client = connect(places).await?;
    if words.is_empty() {
        return show_manager(screen, &client).await;
    }
    let mut units = vec![];
    for word in words {
        if is_pattern(word) {
            let rows = client
                .list_units(&[], &[word])
                .await
                .map_err(|error| problem(&error))?;
            units.extend(rows.into_iter().map(|row| row.name));
        } else {
            units.push(UnitName::from_user(word).map_err(Problem::usage)?);
        }
    }
    let mut exit = Exit::Done;
    let mut values = vec![];
    for (place, unit) in units.iter().enumerate() {
        let facts = match facts(&client, unit).await {
            Ok(facts) => facts,
            Err(error) => {
                let problem = or_meant(&client, unit, &error, problem(&error)).await;
                exit = exit.max(super::complain(&problem));
                continue;
            }
        };
        // A unit that ended meanwhile has no processes; that is no failure of `status`.
        let processes = match facts.text("ControlGroup") {
            "" => vec![],
            _ => client.get_unit_processes(unit).await.unwrap_or_default(),
        };
        if facts.text("LoadState") == "not-found" {
            exit = exit.max(Exit::NotSo);
        }
        let directory = match facts.text("LogDirectory") {
            "" => places.unit_log(unit),
            path => path.into(),
        };
        if screen.json {
            let mut value = facts.0;
            value["Processes"] = serde_json::to_value(&processes)?;
            values.push(value);
            continue;
        }
        let log = logs::last(&directory, lines, screen).unwrap_or_else(|error| {
            format!(
                "(its log in {} cannot be read: {error})\n",
                directory.display()
            )
        });
        let status = Status {
            facts,
            processes,
            log,
        };
        if place > 0 {
            screen.print("\n")?;
        }
        screen.print(&status.render(looks(screen)))?;
    }
    if screen.json {
        screen.print_json(&Value::Array(values))?;
    }
    Ok(exit)
}

async fn show_manager(screen: Screen, client: &Client) -> anyhow::Result<Exit> {
    let facts = client
        .manager_properties()
        .await
        .map_err(|error| problem(&error))?;
    let facts = Facts(facts.json());
    let rows = client.list_jobs().await.map_err(|error| problem(&error))?;
    if screen.json {
        let mut value = facts.0;
        value["Jobs"] = serde_json::to_value(&rows)?;
        screen.print_json(&value)?;
        return Ok(Exit::Done);
    }
    let jobs: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {} {} ({})", row.id, row.kind, row.unit, row.state))
        .collect();
    let host = nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    screen.print(&manager::render(&facts, &host, &jobs, looks(screen)))?;
    Ok(Exit::Done)
}

/// `show`.
pub(super) async fn show(
    screen: Screen,
    places: &Places,
    unit: Option<&str>,
    wanted: &[String],
    bare: bool,
) -> anyhow::Result<Exit> {
    let unit = unit
        .map(UnitName::from_user)
        .transpose()
        .map_err(Problem::usage)?;
    let client = connect(places).await?;
    let found = match &unit {
        Some(unit) => client.unit_properties(unit).await,
        None => client.manager_properties().await,
    };
    let all = match (&unit, found) {
        // As in systemctl: of what cannot be loaded that is what there is to show.
        (Some(unit), Err(error)) if error.is("NoSuchUnit") || error.is("LoadFailed") => {
            unloaded(unit, error.is("NoSuchUnit"))
        }
        (_, found) => found.map_err(|error| problem(&error))?.json(),
    };
    let Value::Object(all) = all else {
        return Ok(Exit::NotSo);
    };
    let mut chosen = serde_json::Map::new();
    if wanted.is_empty() {
        chosen = all;
    } else {
        for name in wanted.iter().flat_map(|names| names.split(',')) {
            let Some(value) = all.get(name) else {
                let near = all.keys().find(|key| key.eq_ignore_ascii_case(name));
                let problem = Problem::new(format!("there is no property {name}"));
                return Err(match near {
                    Some(near) => problem.help(format!("did you mean {near}?")),
                    None => problem.help("aetherctl show lists all of them".to_owned()),
                }
                .into());
            };
            chosen.insert(name.to_owned(), value.clone());
        }
    }
    if screen.json {
        screen.print_json(&Value::Object(chosen))?;
        return Ok(Exit::Done);
    }
    let mut out = String::new();
    for (name, value) in &chosen {
        let text = super::screen::clean(&plain(value), false).replace('\n', "\\n");
        if bare {
            out.push_str(&format!("{text}\n"));
        } else {
            out.push_str(&format!("{name}={text}\n"));
        }
    }
    screen.print(&out)?;
    Ok(Exit::Done)
}

/// The properties of a unit that has no file, or an unusable one.
fn unloaded(unit: &UnitName, missing: bool) -> Value {
    json!({
        "Id": unit,
        "Names": [unit],
        "LoadState": if missing { "not-found" } else { "bad-setting" },
        "ActiveState": "inactive",
        "SubState": "dead",
        "Result": "success",
        "MainPID": 0,
        "ExecMainCode": 0,
        "ExecMainStatus": 0,
        "NRestarts": 0,
        "ConditionResult": false,
        "AssertResult": false,
        "NeedDaemonReload": false,
    })
}

/// A value as a unit file would write it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "[not set]".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| format!("{name}={}", plain(value)))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// `is-active`.
/// Whether any of the units is in one of these states; prints each one's.
pub(super) async fn is_in_state(
    screen: Screen,
    places: &Places,
    units: &[String],
    key: &str,
    wanted: &[&str],
) -> anyhow::Result<Exit> {
    let units = names(units)?;
    let client = connect(places).await?;
    let mut exit = Exit::NotSo;
    let mut values = vec![];
    for unit in &units {
        let state = match facts(&client, unit).await {
            Ok(facts) => facts.text("ActiveState").to_owned(),
            Err(error) if matches!(error.class(), ErrorClass::Failed) => "unknown".to_owned(),
            Err(error) => return Err(problem(&error).into()),
        };
        let so = wanted.contains(&state.as_str());
        if so {
            exit = Exit::Done;
        }
        if screen.json {
            values.push(json!({ "unit": unit, key: so, "state": state }));
        } else {
            screen.say(&state)?;
        }
    }
    if screen.json {
        screen.print_json(&Value::Array(values))?;
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_what_was_wished() {
        let denied = |who: &str| ClientError::Refused {
            name: "org.freedesktop.DBus.Error.AccessDenied".to_owned(),
            message: format!("org.aether1.subscribe is not allowed for {who}"),
        };
        let problem = refused("stop long.agent", &denied("uid 65534"));
        assert_eq!(problem.code(), Exit::Refused);
        assert_eq!(
            problem.to_string(),
            "uid 65534 may not stop long.agent\n  help: try with sudo"
        );
        let said = super::problem(&denied("a.agent")).to_string();
        assert!(said.starts_with("a.agent may not do that here"), "{said}");
        assert!(!said.contains("sudo") && !said.contains("org."), "{said}");
    }

    #[test]
    fn values_as_unit_files_write_them() {
        assert_eq!(plain(&json!([true, null, ["a", 1]])), "yes [not set] a 1");
        assert_eq!(plain(&json!({ "MemoryMax": 1 })), "MemoryMax=1");
        assert_eq!(pattern("coder").unwrap(), "coder.agent");
        assert_eq!(pattern("c*").unwrap(), "c*");
    }
}
