//! `list-timers`: what elapses when, and what it starts.

use serde_json::json;

use super::ask::{connect, facts, pattern, problem};
use super::exit::{Exit, Problem};
use super::screen::{Screen, Tone, plural};
use super::table::Table;
use super::time;
use crate::name::UnitType;
use crate::place::Places;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    /// Realtime microseconds; `None`: nothing is to come.
    next: Option<u64>,
    last: Option<u64>,
    unit: String,
    activates: String,
}

/// Timers that are loaded; with `all` also those that are not active.
pub(super) async fn list(
    screen: Screen,
    places: &Places,
    patterns: &[String],
    all: bool,
) -> anyhow::Result<Exit> {
    let patterns: Vec<String> = patterns
        .iter()
        .map(|word| pattern(word).map_err(Problem::usage))
        .collect::<Result<_, _>>()?;
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let client = connect(places).await?;
    let units = client
        .list_units(&[], &patterns)
        .await
        .map_err(|error| problem(&error))?;
    let now = time::now();
    let uptime = crate::sys::clock::now().monotonic;
    let mut rows = vec![];
    for unit in units {
        if unit.name.kind() != UnitType::Timer || !(all || unit.active_state == "active") {
            continue;
        }
        // A timer that went away meanwhile is left out.
        let Ok(facts) = facts(&client, &unit.name).await else {
            continue;
        };
        // Whichever of the two comes first, on the clock that people read.
        let monotonic = facts
            .positive("NextElapseUSecMonotonic")
            .map(|at| (now + at).saturating_sub(uptime));
        let next = [facts.positive("NextElapseUSecRealtime"), monotonic];
        rows.push(Row {
            next: next.into_iter().flatten().min(),
            last: facts.positive("LastTriggerUSec"),
            unit: unit.name.to_string(),
            activates: facts.texts("Triggers").join(" "),
        });
    }
    rows.sort_by_key(|row| (row.next.is_none(), row.next, row.unit.clone()));
    if screen.json {
        let values = rows.iter().map(|row| {
            json!({
                "unit": row.unit, "activates": row.activates,
                "next": row.next, "last": row.last,
            })
        });
        screen.print_json(&values.collect())?;
    } else {
        screen.print(&render(&rows, now, screen))?;
    }
    Ok(Exit::Done)
}

fn render(rows: &[Row], now: u64, screen: Screen) -> String {
    let mut table = Table::new(&["NEXT", "LEFT", "LAST", "PASSED", "UNIT", "ACTIVATES"]);
    for row in rows {
        let stamp = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), time::stamp);
        let left = row.next.map_or_else(
            || "-".to_owned(),
            |at| match at.checked_sub(now) {
                Some(left) => time::span(left),
                None => "due".to_owned(),
            },
        );
        let passed = row.last.map_or_else(
            || "-".to_owned(),
            |at| format!("{} ago", time::span(now.saturating_sub(at))),
        );
        let cells = [
            stamp(row.next),
            left,
            stamp(row.last),
            passed,
            row.unit.clone(),
            row.activates.clone(),
        ];
        table.row(cells.map(|cell| (cell, Tone::Plain)).into());
    }
    let mut out = table.render(screen.width, screen.colour);
    out.push_str(&format!("\n{} timer{}.\n", rows.len(), plural(rows.len())));
    out
}
