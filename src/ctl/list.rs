//! Lists of what the daemon knows: `list-units`, `list-agents`, `list-jobs`.

use serde_json::Value;

use super::ask::{connect, facts, pattern, problem};
use super::cli::List;
use super::exit::{Exit, Problem};
use super::screen::{Screen, Tone, clean_line, plural};
use super::table::Table;
use super::{status, time};
use crate::bus::client::UnitRow;
use crate::name::UnitType;
use crate::place::Places;

/// One line of `list-units`.
#[derive(Debug)]
struct Listed {
    row: UnitRow,
    /// Turns and cost of an agent.
    usage: Option<(u64, u64)>,
}

/// `list-units` and `list-agents`.
pub(super) async fn list(
    screen: Screen,
    places: &Places,
    ask: &List,
    agents: bool,
) -> anyhow::Result<Exit> {
    let patterns: Vec<String> = ask
        .patterns
        .iter()
        .map(|word| pattern(word).map_err(Problem::usage))
        .collect::<Result<_, _>>()?;
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let client = connect(places).await?;
    let mut rows = client
        .list_units(&[], &patterns)
        .await
        .map_err(|error| problem(&error))?;
    let known = rows.len();
    rows.retain(|row| {
        let named = !ask.patterns.is_empty();
        let idle = row.active_state == "inactive" && row.job.is_none();
        let state = |state: &String| *state == row.active_state || *state == row.sub_state;
        (!agents || row.name.kind() == UnitType::Agent)
            && (ask.state.is_empty() || ask.state.iter().any(state))
            && (ask.all || named || !ask.state.is_empty() || !idle)
    });
    let mut listed = vec![];
    for row in rows {
        let mut usage = None;
        if row.name.kind() == UnitType::Agent && row.load_state == "loaded" {
            // A unit that went away meanwhile is shown without.
            usage = facts(&client, &row.name).await.ok().map(|facts| {
                let number = |name: &str| facts.number(name).unwrap_or(0);
                (number("Turn"), number("CostMicros"))
            });
        }
        listed.push(Listed { row, usage });
    }
    if screen.json {
        let values = listed.iter().map(|unit| {
            let mut value = serde_json::to_value(&unit.row)?;
            if let Some((turns, cost)) = unit.usage {
                value["turns"] = turns.into();
                value["cost_micros"] = cost.into();
            }
            Ok(value)
        });
        screen.print_json(&Value::Array(values.collect::<serde_json::Result<_>>()?))?;
    } else {
        screen.print(&render(&listed, known, screen))?;
    }
    Ok(Exit::Done)
}

fn render(listed: &[Listed], known: usize, screen: Screen) -> String {
    let agents = listed.iter().any(|unit| unit.usage.is_some());
    let mut head = vec!["UNIT", "LOAD", "ACTIVE", "SUB"];
    if agents {
        head.extend(["TURNS", "COST"]);
    }
    head.push("DESCRIPTION");
    let mut table = Table::new(&head).numbers(if agents { &[4, 5] } else { &[] });
    for Listed { row, usage } in listed {
        let tone = status::tone(&row.active_state, &row.sub_state);
        let load = if row.load_state == "loaded" {
            Tone::Plain
        } else {
            Tone::Bad
        };
        let mut cells = vec![
            (row.name.to_string(), tone),
            (row.load_state.clone(), load),
            (row.active_state.clone(), tone),
            (clean_line(&row.sub_state), tone),
        ];
        if agents {
            let (turns, cost) = usage.unwrap_or_default();
            let shown = |number: u64, text: String| {
                (if number == 0 { String::new() } else { text }, Tone::Plain)
            };
            cells.push(shown(turns, turns.to_string()));
            cells.push(shown(cost, time::dollars(cost)));
        }
        let description = match &row.job {
            Some((id, kind)) => format!("{} [job {id}: {kind}]", row.description),
            None => row.description.clone(),
        };
        cells.push((clean_line(&description), Tone::Plain));
        table.row(cells);
    }
    let mut out = table.render(screen.width, screen.colour);
    let failed = listed
        .iter()
        .filter(|unit| unit.row.active_state == "failed")
        .count();
    let hidden = known.saturating_sub(listed.len());
    out.push_str(&format!("\n{} unit{}", listed.len(), plural(listed.len())));
    if failed > 0 {
        let text = format!("{failed} failed");
        out.push_str(&format!(", {}", screen.tint(Tone::Bad, &text)));
    }
    if hidden > 0 {
        out.push_str(&format!("; {hidden} more with --all"));
    }
    out.push_str(". LOAD: whether the file could be read; ACTIVE: the state; SUB: in detail.\n");
    out
}

/// `list-jobs`.
pub(super) async fn list_jobs(screen: Screen, places: &Places) -> anyhow::Result<Exit> {
    let client = connect(places).await?;
    let rows = client.list_jobs().await.map_err(|error| problem(&error))?;
    if screen.json {
        screen.print_json(&serde_json::to_value(&rows)?)?;
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        screen.say("No jobs.")?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["JOB", "UNIT", "TYPE", "STATE"]).numbers(&[0]);
    for row in &rows {
        let cell = |text: &dyn std::fmt::Display| (text.to_string(), Tone::Plain);
        table.row(vec![
            cell(&row.id),
            cell(&row.unit),
            cell(&row.kind),
            cell(&row.state),
        ]);
    }
    screen.print(&table.render(screen.width, screen.colour))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, active: &str, sub: &str, usage: Option<(u64, u64)>) -> Listed {
        Listed {
            row: UnitRow {
                name: name.parse().unwrap(),
                description: "Does \u{1b}[31mthings".to_owned(),
                load_state: "loaded".to_owned(),
                active_state: active.to_owned(),
                sub_state: sub.to_owned(),
                job: None,
            },
            usage,
        }
    }

    #[test]
    fn the_list() {
        let screen = Screen {
            colour: false,
            terminal: true,
            width: Some(72),
            json: false,
            quiet: false,
        };
        let units = [
            listed("coder.agent", "active", "paused", Some((12, 1_500_000))),
            listed(
                "a-rather-long-name@instance.service",
                "failed",
                "failed",
                None,
            ),
        ];
        let one = render(&units[..1], 1, screen);
        assert!(one.contains("\n1 unit. LOAD"), "{one}");
        insta::assert_snapshot!(render(&units, 5, screen), @r"
        UNIT                      LOAD   ACTIVE SUB    TURNS    COST DESCRIPTION
        coder.agent               loaded active paused    12 $1.5000 Does things
        a-rather-long-name@insta… loaded failed failed               Does things

        2 units, 1 failed; 3 more with --all. LOAD: whether the file could be read; ACTIVE: the state; SUB: in detail.
        ");
    }
}
