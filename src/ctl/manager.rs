//! `status` without a unit: the manager, and what this host lets it do. Pure.

use super::facts::Facts;
use super::screen::{Tone, clean_line, tint};
use super::status::Looks;
use super::time;

/// The text, line ends included.
pub(super) fn render(facts: &Facts, host: &str, jobs: &[String], looks: Looks) -> String {
    let state = facts.text("SystemState");
    let tone = match state {
        "running" => Tone::Good,
        "degraded" => Tone::Busy,
        _ => Tone::Bad,
    };
    let mut out = format!("{} {host}\n", tint(looks.colour, tone, "●"));
    let mut row = |label: &str, text: &str| {
        let colon = if label.is_empty() { ' ' } else { ':' };
        out.push_str(format!("{label:>11}{colon} {text}").trim_end());
        out.push('\n');
    };
    row("State", &tint(looks.colour, tone, state));
    row(
        "Aether",
        &format!(
            "{} ({} manager)",
            facts.text("Version"),
            facts.text("Scope")
        ),
    );
    if let Some(since) = facts.positive("StartupTimestamp") {
        let ago = time::span(looks.now.0.saturating_sub(since));
        row("Since", &format!("{}; {ago} ago", time::stamp(since)));
    }
    let mut daemon = facts
        .positive("DaemonPID")
        .map(|pid| format!("aetherd {pid}"))
        .unwrap_or_default();
    match facts.number("Generation") {
        Some(0 | 1) | None => {}
        Some(generation) => daemon.push_str(&format!(", started by the keeper {generation} times")),
    }
    row("Daemon", &daemon);
    let count = |name: &str| facts.number(name).unwrap_or(0);
    let failed = count("NFailedUnits");
    let mut units = format!("{} loaded, {} agents", count("NNames"), count("NAgents"));
    if failed > 0 {
        units.push_str(", ");
        units.push_str(&tint(looks.colour, Tone::Bad, &format!("{failed} failed")));
    }
    row("Units", &units);
    row("Jobs", &count("NJobs").to_string());
    for job in jobs {
        row("", job);
    }
    for (place, (name, value)) in facts.pairs("Host").iter().enumerate() {
        let label = if place == 0 { "Host" } else { "" };
        row(label, &format!("{name}: {}", clean_line(value)));
    }
    for (place, sentence) in facts.texts("Missing").iter().enumerate() {
        let label = if place == 0 { "Missing" } else { "" };
        row(
            label,
            &tint(looks.colour, Tone::Busy, &clean_line(sentence)),
        );
    }
    for (place, path) in facts.texts("UnitPath").iter().enumerate() {
        row(if place == 0 { "Unit path" } else { "" }, path);
    }
    row("Logs", facts.text("LogDirectory"));
    row("CGroup", facts.text("ControlGroup"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn says_what_is_missing() {
        let facts = Facts(json!({
            "Version": "0.1.0", "Scope": "system", "SystemState": "degraded", "DaemonPID": 12,
            "Generation": 2, "NNames": 5, "NAgents": 2, "NFailedUnits": 1, "NJobs": 1,
            "Host": [["cgroup", "hybrid"], ["landlock", "ABI 4"]],
            "Missing": ["limits of memory are not enforced: no memory controller"],
            "UnitPath": ["/etc/aether/units", "/usr/lib/aether/units"],
            "LogDirectory": "/var/log/aether", "ControlGroup": "/aether",
        }));
        let looks = Looks {
            colour: false,
            width: None,
            now: (0, 0),
        };
        let jobs = ["3 start coder.agent running".to_owned()];
        insta::assert_snapshot!(render(&facts, "box", &jobs, looks), @r"
        ● box
              State: degraded
             Aether: 0.1.0 (system manager)
             Daemon: aetherd 12, started by the keeper 2 times
              Units: 5 loaded, 2 agents, 1 failed
               Jobs: 1
                     3 start coder.agent running
               Host: cgroup: hybrid
                     landlock: ABI 4
            Missing: limits of memory are not enforced: no memory controller
          Unit path: /etc/aether/units
                     /usr/lib/aether/units
               Logs: /var/log/aether
             CGroup: /aether
        ");
    }
}
