//! The whole spine in one: the real Claude Code, declared in a unit file, confined, with its own
//! MCP server, against a scripted model. Needs root, and Claude Code from `tests/npm/install.sh`.

use crate::claude::binary;
use crate::live::{Aether, signal};
use crate::model::{Gate, Model, Turn};
use serde_json::json;

fn coder(model: &Model, goal: &str, more: &str) -> String {
    format!(
        "[Unit]\nDescription=Story\n[Agent]\nRuntime=claude-code\nRuntimeBinary={}\nGoal={goal}\n\
         Environment=ANTHROPIC_BASE_URL={} ANTHROPIC_API_KEY=placeholder CLAUDE_CODE_MAX_RETRIES=1\n\
         MemoryMax=2G\nTasksMax=256\n{more}\n[Sandbox]\nPolicy=coding\n[MCP]\nTools=memory agents\n",
        binary().display(),
        model.url()
    )
}

#[test]
fn story_an_agent_remembers_across_runs() {
    let aether = Aether::start();
    let model = Model::start(vec![
        Turn::tool(
            "remember",
            json!({ "text": "The deploy key is BLUE-42.", "tags": ["deploy"] }),
        )
        .expect_offered("mcp__aether__remember")
        .expect_user("Note the deploy key"),
        Turn::text("I have noted it.").expect_result("id", false),
    ]);
    aether.unit("coder.agent", &coder(&model, "Note the deploy key.", ""));
    aether.ctl(&["start", "coder"]);
    let now = aether.wait_state("coder", "inactive", "completed");
    model.verify();
    assert_eq!(now.text("Result"), "completed");
    let session = now.text("SessionId").to_owned();

    // The row is there, under the unit's name.
    let path = aether
        .root
        .path()
        .join("state/unit/aether-hub.service/hub/memory.db");
    let database = rusqlite::Connection::open(path).unwrap();
    let text: String = database
        .query_row(
            "SELECT text FROM memory WHERE text LIKE '%BLUE-42%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(text, "The deploy key is BLUE-42.");

    // A second start is a new session that finds it again.
    let model = Model::start(vec![
        Turn::tool("recall", json!({ "query": "what is the deploy key?" })),
        Turn::text("It is BLUE-42.").expect_result("BLUE-42", false),
    ]);
    aether.unit("coder.agent", &coder(&model, "What is the deploy key?", ""));
    aether.ctl(&["start", "coder"]);
    let now = aether.wait("coder", "completed again", |now| {
        now.text("SubState") == "completed" && now.text("SessionId") != session
    });
    model.verify();
    assert_eq!(now.number("Turn"), Some(1), "{}", now.json());

    // Output and events are in the logs.
    let readable = aether.ctl(&["logs", "coder"]);
    assert!(
        readable.contains("recall") && readable.contains("It is BLUE-42."),
        "{readable}"
    );
    let raw = aether.ctl(&["logs", "--raw", "coder"]);
    assert!(raw.contains("\"type\":\"result\""), "{raw}");
    let json = aether.ctl(&["logs", "--json", "coder"]);
    assert!(json.lines().all(|line| line.starts_with('{')), "{json}");
}

#[test]
fn story_a_message_sent_while_paused_arrives_on_resume() {
    let aether = Aether::start();
    let gate = Gate::default();
    let model = Model::start(vec![
        Turn::gated("Working on it.", &gate),
        Turn::text("The colour is changed too.").expect_user("make it green"),
    ]);
    aether.unit("coder.agent", &coder(&model, "Paint the bike shed.", ""));
    aether.ctl(&["start", "coder"]);
    gate.reached();
    aether.ctl(&["pause", "coder"]);
    let events =
        std::fs::read_to_string(aether.group("coder").join("agent/cgroup.events")).unwrap();
    assert!(events.contains("frozen 1"), "{events}");
    aether.ctl(&["send", "coder", "And make it green."]);
    let now = aether.properties("coder");
    assert_eq!(now.number("WaitingInputs"), Some(1), "{}", now.json());
    aether.ctl(&["resume", "coder"]);
    gate.open();
    let now = aether.wait_state("coder", "inactive", "completed");
    model.verify();
    assert_eq!(now.number("WaitingInputs"), Some(0), "{}", now.json());
}

#[test]
fn story_the_daemon_dies_in_mid_turn_and_the_agent_goes_on() {
    let aether = Aether::start();
    let gate = Gate::default();
    let model = Model::start(vec![
        Turn::tool("remember", json!({ "text": "halfway" })),
        Turn::gated("Done in spite of it.", &gate).expect_result("id", false),
    ]);
    aether.unit("coder.agent", &coder(&model, "Work through a storm.", ""));
    aether.ctl(&["start", "coder"]);
    gate.reached();
    let before = aether.properties("coder").number("MainPID");
    aether.kill_daemon();
    let now = aether.wait_state("coder", "active", "running");
    assert_eq!(now.number("MainPID"), before, "{}", now.json());
    gate.open();
    let now = aether.wait_state("coder", "inactive", "completed");
    model.verify();
    assert_eq!(now.signed("ExecMainStatus"), Some(0), "{}", now.json());
    assert!(
        aether
            .ctl(&["logs", "coder"])
            .contains("Done in spite of it.")
    );
}

#[test]
fn story_a_killed_agent_is_restarted_and_finishes() {
    let aether = Aether::start();
    let gate = Gate::default();
    let model = Model::start(vec![
        Turn::tool("remember", json!({ "text": "so far so good" })),
        Turn::gated("never seen", &gate),
        Turn::text("I am back."),
    ]);
    let text = coder(&model, "Survive.", "Restart=on-failure\nRestartSec=0");
    aether.unit("coder.agent", &text);
    aether.ctl(&["start", "coder"]);
    gate.reached();
    // Whether the session can be resumed is the program's: it may not have kept it yet.
    let first = aether.properties("coder");
    signal(
        u32::try_from(first.number("MainPID").unwrap()).unwrap(),
        "KILL",
    );
    gate.open();
    let now = aether.wait_state("coder", "inactive", "completed");
    assert!(now.number("NRestarts") >= Some(1), "{}", now.json());
}

#[test]
fn story_an_agent_killed_before_its_session_was_kept_begins_afresh() {
    let aether = Aether::start();
    let gate = Gate::default();
    let model = Model::start(vec![
        Turn::gated("never seen", &gate),
        Turn::text("From the top."),
    ]);
    let text = coder(&model, "Survive.", "Restart=on-failure\nRestartSec=0");
    aether.unit("coder.agent", &text);
    aether.ctl(&["start", "coder"]);
    gate.reached();
    let first = aether.properties("coder");
    signal(
        u32::try_from(first.number("MainPID").unwrap()).unwrap(),
        "KILL",
    );
    gate.open();
    let now = aether.wait_state("coder", "inactive", "completed");
    assert_ne!(now.text("SessionId"), first.text("SessionId"));
    assert!(
        aether.log("coder").contains("No conversation found"),
        "{}",
        aether.log("coder")
    );
}

#[test]
fn story_stop_leaves_nothing_of_the_agent() {
    let aether = Aether::start();
    let gate = Gate::default();
    let model = Model::start(vec![Turn::gated("never seen", &gate)]);
    aether.unit("coder.agent", &coder(&model, "Stop me.", ""));
    aether.ctl(&["start", "coder"]);
    gate.reached();
    aether.ctl(&["stop", "coder"]);
    let now = aether.wait_state("coder", "inactive", "");
    assert_ne!(now.text("SubState"), "completed");
    assert!(!aether.group("coder").exists());
    gate.open();
}
