//! `aether-agent hello`: the first agent. It says who it is and what limits it has, uses its MCP
//! server, tries what it must not do, and exits 1 when something was not refused.
//!
//! It needs no key, no network and no model, so that a new installation can be seen working. The
//! trials are in [`crate::trials`], the MCP client in [`crate::mcp`].

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::mcp::Session;
use crate::trials::{self, Outcome};

/// The words under which the memory of former runs is found again.
const TAG: &str = "hello-count";

/// The whole story; 1 when something that must be refused was not, or nothing could be remembered.
pub(crate) fn run() -> ExitCode {
    match tell() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "hello: failed to {error}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> Result<(), String> {
    // Line by line, so that a person following sees it happen.
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| format!("speak: {error}"))
}

fn tell() -> Result<usize, String> {
    let cgroup = own_cgroup();
    let name = unit_of(&cgroup);
    say(&format!(
        "Hello. I am {}, an agent under Aether.",
        name.as_deref().unwrap_or("a process of no unit")
    ))?;
    say(&format!(
        "  user     {}",
        status_line("Uid:").unwrap_or_else(|| "unknown".to_owned())
    ))?;
    say(&format!(
        "  cgroup   {}",
        if cgroup.is_empty() {
            "unknown"
        } else {
            &cgroup
        }
    ))?;
    say(&format!(
        "  home     {}",
        std::env::var("HOME").unwrap_or_else(|_| "none".to_owned())
    ))?;

    let status = match std::env::var("AETHER_MCP_SOCKET") {
        Ok(socket) => Some(converse(&socket, &cgroup)?),
        Err(_) => {
            say("I have no MCP server here; `aetherctl status` of me says why.")?;
            limits(&cgroup, None)?;
            None
        }
    };

    say("Now I try what I must not do.")?;
    let unenforced: Vec<String> = status
        .and_then(|status| serde_json::from_value(status["not_enforced"].clone()).ok())
        .unwrap_or_default();
    let (mut refused, mut open, mut told) = (0, 0, 0);
    for trial in trials::all() {
        let verdict = match trial.outcome {
            Outcome::Refused(how) => {
                refused += 1;
                format!("refused ({how})")
            }
            Outcome::Absent(how) => format!("nothing there ({how})"),
            Outcome::Done(how) => {
                // What the supervisor said beforehand that it cannot enforce here is no surprise.
                if let Some(why) = unenforced.iter().find(|why| why.contains(trial.protection)) {
                    told += 1;
                    format!("NOT refused: {how}. Aether said so: {why}")
                } else {
                    open += 1;
                    format!("NOT refused: {how}")
                }
            }
        };
        say(&format!("  {:<50} {verdict}", trial.what))?;
    }
    say(&match (open, told) {
        (0, 0) => format!("All {refused} were refused. I am done, and confined. Goodbye."),
        (0, _) => format!(
            "{refused} were refused; {told} cannot be on this machine, as `aetherctl status` says. Goodbye."
        ),
        _ => format!(
            "{refused} were refused, but {open} were NOT. This agent is not confined as its unit says."
        ),
    })?;
    Ok(open)
}

/// Uses the MCP server; what it says of this unit comes back.
fn converse(socket: &str, cgroup: &str) -> Result<Value, String> {
    let (mut session, server) = Session::open("aether-mcp", socket)
        .map_err(|error| format!("reach its MCP server: {error}"))?;
    let tools = session.request("tools/list", &json!({}))?;
    let names: Vec<&str> = tools["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    say(&format!(
        "My MCP server is {server}. It offers {}.",
        names.join(", ")
    ))?;
    let status = session.call("get_status", &json!({}));
    limits(cgroup, status.as_ref().ok())?;
    remember(&mut session)?;
    neighbours(&mut session)?;
    Ok(status.unwrap_or_default())
}

fn limits(cgroup: &str, status: Option<&Value>) -> Result<(), String> {
    say("My limits, as far as I can see them:")?;
    let told = |key: &str| status.and_then(|status| status[key].as_u64());
    let memory = told("memory_max")
        .map(|bytes| format!("{} MiB", bytes >> 20))
        .or_else(|| {
            in_cgroup(
                cgroup,
                &[("", "memory.max"), ("memory", "memory.limit_in_bytes")],
            )
            .map(|text| {
                text.parse::<u64>()
                    .map_or(text, |bytes| format!("{} MiB", bytes >> 20))
            })
        });
    let tasks = told("tasks_max")
        .map(|count| count.to_string())
        .or_else(|| in_cgroup(cgroup, &[("", "pids.max"), ("pids", "pids.max")]));
    let cpu = told("cpu_quota_percent")
        .map(|percent| format!("{percent} % of one processor"))
        .or_else(|| in_cgroup(cgroup, &[("", "cpu.max")]));
    for (what, value) in [
        ("memory", memory),
        ("tasks", tasks),
        ("cpu", cpu),
        ("files", open_files()),
    ] {
        say(&format!(
            "  {what:<8} {}",
            value.as_deref().unwrap_or("not visible from inside")
        ))?;
    }
    Ok(())
}

fn remember(session: &mut Session) -> Result<(), String> {
    let found = session
        .call(
            "recall",
            &json!({"query": "said hello", "tags": [TAG], "limit": 1}),
        )
        .map_err(|error| format!("recall: {error}"))?;
    let earlier = &found["memories"][0];
    let count = earlier["text"]
        .as_str()
        .and_then(|text| text.rsplit_once("run ")?.1.parse::<u64>().ok());
    match (count, earlier["age"].as_str()) {
        (Some(count), Some(age)) => {
            let when = if age == "just now" {
                age.to_owned()
            } else {
                format!("{age} ago")
            };
            say(&format!(
                "I remember an earlier life: I said hello in run {count}, {when}."
            ))?;
        }
        _ => say("I remember nothing: this is my first run.")?,
    }
    let text = format!(
        "I said hello in run {}",
        count.unwrap_or(0).saturating_add(1)
    );
    let mut fact =
        json!({"text": text, "layer": "core", "tags": [TAG], "context": "aether-agent hello"});
    if let Some(id) = earlier["id"].as_str() {
        fact["supersedes"] = json!(id);
    }
    let written = session
        .call("remember", &fact)
        .map_err(|error| format!("remember: {error}"))?;
    let again = session
        .call(
            "recall",
            &json!({"query": "said hello", "tags": [TAG], "limit": 1}),
        )
        .map_err(|error| format!("recall: {error}"))?;
    let back = &again["memories"][0];
    if back["id"] != written["id"] || back["text"].as_str() != Some(&text) {
        return Err("recall what it just remembered".to_owned());
    }
    say(&format!(
        "I remembered {text:?} as {} and found it again.",
        back["id"].as_str().unwrap_or("?")
    ))
}

fn neighbours(session: &mut Session) -> Result<(), String> {
    match session.call("list_agents", &json!({})) {
        Ok(list) => {
            let agents = list["agents"].as_array().cloned().unwrap_or_default();
            say(&format!(
                "I see {} agent{}:",
                agents.len(),
                if agents.len() == 1 { "" } else { "s" }
            ))?;
            for agent in agents {
                let word = |key: &str| agent[key].as_str().unwrap_or("").to_owned();
                say(&format!(
                    "  {:<24} {} ({})",
                    word("name"),
                    word("state"),
                    word("sub")
                ))?;
            }
            Ok(())
        }
        Err(error) => say(&format!("I cannot see the other agents: {error}")),
    }
}

/// The path of the v2 cgroup, or of the memory controller's on hosts that have v1 only.
fn own_cgroup() -> String {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = |prefix: &str| {
        text.lines()
            .find_map(|line| line.split_once(prefix).map(|(_, path)| path.to_owned()))
    };
    path("0::").or_else(|| path(":memory:")).unwrap_or_default()
}

fn unit_of(cgroup: &str) -> Option<String> {
    cgroup
        .rsplit('/')
        .find(|part| part.parse::<aether::name::UnitName>().is_ok())
        .map(ToOwned::to_owned)
}

/// A limit of this group or of one above it, whichever is set nearest.
fn in_cgroup(cgroup: &str, places: &[(&str, &str)]) -> Option<String> {
    for (controller, file) in places {
        let root = Path::new("/sys/fs/cgroup").join(controller);
        let mut at = root.join(cgroup.trim_start_matches('/'));
        while at.starts_with(&root) {
            if let Ok(text) = fs::read_to_string(at.join(file)) {
                let text = text.trim();
                // Without a limit v1 shows the largest number of pages.
                if !text.starts_with("max") && text.len() < 18 {
                    return Some(text.to_owned());
                }
            }
            if !at.pop() {
                break;
            }
        }
    }
    None
}

fn status_line(key: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace()
        .next()
        .map(|uid| format!("uid {uid}"))
}

fn open_files() -> Option<String> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next().map(ToOwned::to_owned)
}
