//! `aetherctl record` and `aetherctl replay`: what the supervisor decided, decided again.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::json;

use super::ask;
use super::exit::{Exit, Problem};
use super::screen::Screen;
use crate::engine::Engine;
use crate::engine::recording::{Beginning, Difference, Line, VERSION, replay};
use crate::place::Places;

/// Differences that are shown.
const SHOWN: usize = 5;

/// Begins or ends a recording.
pub(super) async fn record(screen: Screen, places: &Places, on: bool) -> anyhow::Result<Exit> {
    let client = ask::connect(places).await?;
    client
        .record(on)
        .await
        .map_err(|error| ask::problem(&error))?;
    let path = places.recording();
    if screen.json {
        screen.print_json(&json!({ "recording": on, "path": path }))?;
    } else if on {
        screen.say(&format!(
            "Every event is recorded in {} until: aetherctl record stop",
            path.display()
        ))?;
    } else {
        screen.say(&format!(
            "The recording has ended; see: aetherctl replay {}",
            path.display()
        ))?;
    }
    Ok(Exit::Done)
}

/// Hands a recording to a fresh engine and says where it decides otherwise.
pub(super) fn replay_file(screen: Screen, path: &Path, show: bool) -> anyhow::Result<Exit> {
    let cannot = |why: String| Problem::new(format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|error| cannot(format!("cannot open it: {error}")))?;
    let mut lines = BufReader::new(file).lines();
    let first = lines
        .next()
        .ok_or_else(|| cannot("it is empty".to_owned()))?
        .map_err(|error| cannot(error.to_string()))?;
    let beginning: Beginning = serde_json::from_str(&first)
        .map_err(|error| cannot(format!("line 1 begins no recording: {error}")))?;
    if beginning.version != VERSION {
        let why = format!(
            "it was recorded by Aether {} in form {}, and this is form {VERSION}",
            beginning.program, beginning.version
        );
        return Err(cannot(why).into());
    }
    let mut engine = Engine::of(&beginning);
    let mut events = vec![];
    let mut torn = false;
    for (number, line) in (2..).zip(lines) {
        let text = line.map_err(|error| cannot(error.to_string()))?;
        match serde_json::from_str::<Line>(&text) {
            Ok(line) => events.push(line),
            // The last line of a supervisor that was killed may not be whole.
            Err(error) if error.is_eof() => {
                torn = true;
                break;
            }
            Err(error) => return Err(cannot(format!("line {number}: {error}")).into()),
        }
    }
    if show {
        for line in &events {
            let text = format!("{} {:?}\n", line.now.monotonic, line.event);
            screen.print(&super::screen::clean(&text, false))?;
        }
    }
    let mut differences: Vec<Difference> = vec![];
    let mut total = 0_usize;
    let count = replay(&mut engine, events, |difference| {
        total += 1;
        if differences.len() < SHOWN {
            differences.push(difference);
        }
    });
    if screen.json {
        let shown: Vec<_> = differences
            .iter()
            .map(|d| json!({ "line": d.line, "event": d.event, "recorded": d.recorded, "replayed": d.replayed }))
            .collect();
        screen.print_json(&json!({
            "events": count, "units": beginning.units.len(), "differences": total,
            "shown": shown, "torn": torn,
        }))?;
    } else {
        for difference in &differences {
            let text = format!(
                "line {}: {:?}\n  recorded: {:?}\n  replayed: {:?}\n",
                difference.line, difference.event, difference.recorded, difference.replayed
            );
            screen.print(&super::screen::clean(&text, false))?;
        }
        let end = if torn {
            "; its last line is not whole"
        } else {
            ""
        };
        let how = match total {
            0 => "each with the same effects".to_owned(),
            total => format!("{total} with other effects"),
        };
        screen.say(&format!(
            "{count} events over {} units, {how}{end}.",
            beginning.units.len()
        ))?;
    }
    Ok(if total == 0 { Exit::Done } else { Exit::NotSo })
}
