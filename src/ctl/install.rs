//! `enable`, `disable`, `mask` and the like. Where no Aether runs, the links are made by the same
//! code without it.

use std::path::Path;

use serde_json::{Value, json};

use super::ask::{self, pattern};
use super::cli::{Installation, ListFiles, Units};
use super::control::{Change, change_units};
use super::exit::{Exit, Problem};
use super::screen::{Screen, Tone, clean, clean_line, plural};
use super::table::Table;
use crate::bus::ask::{ChangeFiles, Denial, FileVerb};
use crate::bus::client::{ChangeRow, Client, ClientError};
use crate::daemon::install::Installer;
use crate::name::{UnitName, UnitType};
use crate::place::Places;
use crate::unit::glob;
use crate::unit::install::FileState;

/// What is said of a unit that has nothing in `[Install]`, after systemctl.
const NO_INSTALL: &str = "\
The unit files have no installation config (WantedBy=, RequiredBy=, UpheldBy=, Also=,
Alias= settings in the [Install] section, and DefaultInstance= for template units).
This means they are not meant to be enabled using aetherctl.

Possible reasons for having this kind of units are:
• A unit may be statically enabled by being symlinked from another unit's
  .wants/, .requires/, or .upholds/ directory.
• A unit's purpose may be to act as a helper for some other unit which has
  a requirement dependency on it.
• A unit may be started when needed via activation (socket, path, timer).
• In case of template units, the unit is meant to be enabled with some
  instance name specified.";

/// Does one of the verbs.
pub(super) async fn run(
    screen: Screen,
    places: &Places,
    verb: &Installation,
) -> anyhow::Result<Exit> {
    let ask = |verb, units: &[String], runtime, force| -> Result<ChangeFiles, Problem> {
        Ok(ChangeFiles {
            verb,
            files: files(units)?,
            runtime,
            force,
        })
    };
    let (ask, then) = match verb {
        Installation::IsEnabled(units) => return is_enabled(screen, places, &units.units).await,
        Installation::ListUnitFiles(list) => return list_files(screen, places, list).await,
        Installation::Enable { units, how, now } => {
            let ask = ask(
                FileVerb::Enable,
                &units.units,
                how.runtime.runtime,
                how.force,
            );
            (ask?, now.then_some(Change::Start))
        }
        Installation::Reenable { units, how, now } => {
            let ask = ask(
                FileVerb::Reenable,
                &units.units,
                how.runtime.runtime,
                how.force,
            );
            (ask?, now.then_some(Change::Start))
        }
        Installation::Disable {
            units,
            runtime,
            now,
        } => {
            let ask = ask(FileVerb::Disable, &units.units, runtime.runtime, false);
            (ask?, now.then_some(Change::Stop { force: false }))
        }
        Installation::Mask { units, how, now } => {
            let ask = ask(FileVerb::Mask, &units.units, how.runtime.runtime, how.force);
            (ask?, now.then_some(Change::Stop { force: false }))
        }
        Installation::Preset { units, how, mode } => {
            let verb = FileVerb::Preset((*mode).into());
            (
                ask(verb, &units.units, how.runtime.runtime, how.force)?,
                None,
            )
        }
        Installation::PresetAll { how, mode } => {
            let verb = FileVerb::PresetAll((*mode).into());
            (ask(verb, &[], how.runtime.runtime, how.force)?, None)
        }
        Installation::Unmask { units, runtime } => (
            ask(FileVerb::Unmask, &units.units, runtime.runtime, false)?,
            None,
        ),
        Installation::Link { files, how } => (
            ask(FileVerb::Link, files, how.runtime.runtime, how.force)?,
            None,
        ),
        Installation::Revert(Units { units }) => {
            (ask(FileVerb::Revert, units, false, false)?, None)
        }
    };
    change(screen, places, &ask, then).await
}

/// Units as they are named on the wire: names whole, paths absolute.
fn files(words: &[String]) -> Result<Vec<String>, Problem> {
    let file = |word: &String| {
        if !word.contains('/') {
            return UnitName::from_user(word)
                .map(String::from)
                .map_err(Problem::usage);
        }
        let path =
            std::path::absolute(word).map_err(|error| Problem::new(format!("{word}: {error}")))?;
        let plain: std::path::PathBuf = path.components().collect();
        plain
            .into_os_string()
            .into_string()
            .map_err(|path| Problem::usage(format!("{} is no text", path.display())))
    };
    words.iter().map(file).collect()
}

/// The running Aether, if there is one.
async fn running(places: &Places) -> Result<Option<Client>, Problem> {
    match Client::connect_to(places).await {
        Ok(client) => Ok(Some(client)),
        Err(ClientError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(ask::problem(&error)),
    }
}

fn denied(denial: &Denial) -> Problem {
    Problem::new(clean(&denial.to_string(), false))
}

async fn change(
    screen: Screen,
    places: &Places,
    asked: &ChangeFiles,
    then: Option<Change<'_>>,
) -> anyhow::Result<Exit> {
    let client = running(places).await?;
    let (info, changes): (Option<bool>, Vec<ChangeRow>) = match &client {
        Some(client) => match client.change_files(asked).await {
            Ok(changed) => changed,
            Err(error) => {
                let problem = ask::refused("change which units are enabled", &error);
                let named = asked.files.first().and_then(|file| file.parse().ok());
                return Err(match named {
                    Some(unit) => ask::or_meant(client, &unit, &error, problem).await,
                    None => problem,
                }
                .into());
            }
        },
        None => {
            let changed = Installer::new(places)
                .change(asked)
                .map_err(|denial| denied(&denial))?;
            let rows = changed.changes.into_iter().map(|change| {
                let path = change.path.display().to_string();
                (change.kind.to_owned(), path, change.source)
            });
            let tells = matches!(
                asked.verb,
                FileVerb::Enable | FileVerb::Reenable | FileVerb::Preset(_)
            );
            (
                tells.then_some(changed.carries_install_info),
                rows.collect(),
            )
        }
    };
    let quiet = then.is_some() && screen.json;
    if screen.json && !quiet {
        let values: Vec<Value> = changes
            .iter()
            .map(|(kind, path, source)| json!({ "type": kind, "path": path, "source": source }))
            .collect();
        screen.print_json(&json!({ "carries_install_info": info, "changes": values }))?;
    } else {
        for (kind, path, source) in &changes {
            tell(screen, kind, path, source)?;
        }
        let enables = matches!(asked.verb, FileVerb::Enable | FileVerb::Reenable);
        if enables && info == Some(false) && !asked.files.is_empty() {
            super::note(screen, NO_INSTALL);
        }
    }
    let Some(then) = then else {
        return Ok(Exit::Done);
    };
    let client = match client {
        Some(client) => client,
        None => ask::connect(places).await?,
    };
    let mut units = vec![];
    for file in &asked.files {
        let name = file.rsplit('/').next().unwrap_or(file);
        let name: UnitName = name.parse().map_err(Problem::usage)?;
        if name.is_template() {
            units.extend(instances(&name, &changes));
        } else {
            units.push(name);
        }
    }
    if matches!(then, Change::Stop { .. }) {
        let mut up = vec![];
        for unit in units {
            // Who has no state is not up: it is masked, or has no file any more.
            let state = ask::facts(&client, &unit).await;
            if state
                .is_ok_and(|facts| !matches!(facts.text("ActiveState"), "inactive" | "failed" | ""))
            {
                up.push(unit);
            }
        }
        units = up;
    }
    change_units(screen, &client, &units, then, super::cli::Block::WAIT).await
}

/// The instances of a template that were enabled or disabled just now.
fn instances(template: &UnitName, changes: &[ChangeRow]) -> Vec<UnitName> {
    let of_template = |name: &UnitName| {
        !name.is_template() && name.template().as_deref() == Some(template.as_str())
    };
    let mut found: Vec<UnitName> = changes
        .iter()
        .filter_map(|(_, path, _)| Path::new(path).file_name()?.to_str()?.parse().ok())
        .filter(of_template)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// One change, in systemctl's words.
fn tell(screen: Screen, kind: &str, path: &str, source: &str) -> anyhow::Result<()> {
    let (path, source) = (clean_line(path), clean_line(source));
    match kind {
        "symlink" => screen.say(&format!("Created symlink {path} → {source}."))?,
        "unlink" => screen.say(&format!("Removed \"{path}\"."))?,
        "masked" => super::note(screen, &format!("Unit {path} is masked, ignoring.")),
        "destination not present" => super::note(
            screen,
            &format!("The unit is added as a dependency to a non-existent unit {source}."),
        ),
        "auxiliary failed" => super::note(
            screen,
            &format!("{source}, which is to be enabled too (Also=), does not exist, ignoring."),
        ),
        other => super::note(screen, &format!("{other}: {path} {source}")),
    }
    Ok(())
}

/// `is-enabled`.
async fn is_enabled(screen: Screen, places: &Places, words: &[String]) -> anyhow::Result<Exit> {
    let units = ask::names(words)?;
    let client = running(places).await?;
    let (mut enabled, mut missing) = (false, false);
    let mut values = vec![];
    for unit in &units {
        let state = match &client {
            Some(client) => match client.unit_file_state(unit).await {
                Ok(state) => Some(state),
                Err(error) if error.is("NoSuchUnit") => None,
                Err(error) => return Err(ask::refused(&format!("look at {unit}"), &error).into()),
            },
            None => match Installer::new(places).state(unit) {
                Ok(state) => Some(state.as_str().to_owned()),
                Err(Denial::NoUnitFile { .. }) => None,
                Err(denial) => return Err(denied(&denial).into()),
            },
        };
        enabled |= state.as_deref().is_some_and(FileState::is_enabled);
        missing |= state.is_none();
        let state = state.unwrap_or_else(|| "not-found".to_owned());
        if screen.json {
            values.push(json!({ "unit": unit, "state": state }));
        } else {
            screen.say(&clean_line(&state))?;
        }
    }
    if screen.json {
        screen.print_json(&Value::Array(values))?;
    }
    Ok(match (enabled, missing) {
        (true, _) => Exit::Done,
        // systemctl's own code for that, the same number as of a refusal.
        (false, true) => Exit::Refused,
        (false, false) => Exit::NotSo,
    })
}

/// `list-unit-files`.
async fn list_files(screen: Screen, places: &Places, list: &ListFiles) -> anyhow::Result<Exit> {
    for state in &list.state {
        if !FileState::WORDS.iter().any(|(word, _)| word == state) {
            let words: Vec<&str> = FileState::WORDS.iter().map(|(word, _)| *word).collect();
            return Err(
                Problem::usage(format!("{state:?} is no state of a unit file"))
                    .help(words.join(", "))
                    .into(),
            );
        }
    }
    for kind in &list.types {
        if !UnitType::ALL.iter().any(|known| known.suffix() == kind) {
            let words: Vec<&str> = UnitType::ALL.iter().map(|kind| kind.suffix()).collect();
            return Err(Problem::usage(format!("{kind:?} is no type of units"))
                .help(words.join(", "))
                .into());
        }
    }
    let patterns: Vec<String> = list
        .patterns
        .iter()
        .map(|word| pattern(word).map_err(Problem::usage))
        .collect::<Result<_, _>>()?;
    let installer = Installer::new(places);
    let rows = match running(places).await? {
        Some(client) => client
            .list_unit_files()
            .await
            .map_err(|error| ask::refused("list unit files", &error))?,
        None => installer
            .states()
            .into_iter()
            .map(|(path, state)| (path.display().to_string(), state.as_str().to_owned()))
            .collect(),
    };
    let mut listed: Vec<(UnitName, String, String, &str)> = vec![];
    for (path, state) in rows {
        let name = Path::new(&path).file_name().and_then(|name| name.to_str());
        let Some(unit) = name.and_then(|name| name.parse::<UnitName>().ok()) else {
            continue;
        };
        let shown = (list.state.is_empty() || list.state.contains(&state))
            && (list.types.is_empty() || list.types.iter().any(|it| it == unit.kind().suffix()))
            && (patterns.is_empty() || patterns.iter().any(|it| glob::matches(it, unit.as_str())));
        if shown {
            let word = FileState::WORDS.iter().find(|(word, _)| *word == state);
            let preset = word.map_or("", |(_, state)| installer.preset_word(&unit, *state));
            listed.push((unit, path, state, preset));
        }
    }
    listed.sort_by(|one, other| (one.0.kind(), &one.0).cmp(&(other.0.kind(), &other.0)));
    if screen.json {
        let values = listed.iter().map(|(unit, path, state, preset)| {
            json!({ "unit_file": unit, "path": path, "state": state, "preset": preset })
        });
        screen.print_json(&Value::Array(values.collect()))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["UNIT FILE", "STATE", "PRESET"]);
    for (unit, _, state, preset) in &listed {
        let tone = match state.as_str() {
            "enabled" | "enabled-runtime" => Tone::Good,
            "masked" | "masked-runtime" | "bad" => Tone::Bad,
            _ => Tone::Plain,
        };
        let preset = if preset.is_empty() { "-" } else { preset };
        table.row(vec![
            (unit.to_string(), Tone::Plain),
            (clean_line(state), tone),
            (preset.to_owned(), Tone::Plain),
        ]);
    }
    screen.print(&table.render(screen.width, screen.colour))?;
    screen.say(&format!(
        "\n{} unit file{} listed.",
        listed.len(),
        plural(listed.len())
    ))?;
    Ok(Exit::Done)
}
