//! The whole spine in one: the real Claude Code, declared in a unit file, confined, with its own
//! MCP server, against a scripted model. Needs root, and Claude Code from `tests/npm/install.sh`.

use std::os::unix::fs::PermissionsExt;

use crate::claude::{binary, kept};
use crate::live::{Aether, signal};
use crate::model::{Gate, Model, Turn};
use aether::runtime::stream::MAX_LINE;
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
        .expect_user("Note the deploy key")
        // Its page reached it: the role, and the goal as the page has it.
        .expect_told("Your role:\n\n~~~\nKeeper of the blue door\n~~~")
        .expect_told("Your goal:\n\n~~~\nNote the deploy key.\n~~~"),
        Turn::text("I have noted it.").expect_result("id", false),
    ]);
    let role = "Role=Keeper of the blue door";
    aether.unit("coder.agent", &coder(&model, "Note the deploy key.", role));
    aether.ctl(&["start", "coder"]);
    let now = aether.wait_state("coder", "inactive", "completed");
    model.verify();
    assert_eq!(now.text("Result"), "completed");
    let session = tells_session(&aether, &model);

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

    // A second start is a new session that knows it already (the hub laid it ready for the page), and finds it again.
    let model = Model::start(vec![
        Turn::tool("recall", json!({ "query": "what is the deploy key?" }))
            .expect_told("## Remembered")
            .expect_told(r#""text":"The deploy key is BLUE-42.""#),
        Turn::text("It is BLUE-42.").expect_result("BLUE-42", false),
    ]);
    aether.unit("coder.agent", &coder(&model, "What is the deploy key?", ""));
    aether.ctl(&["start", "coder"]);
    let now = aether.wait("coder", "completed again", |now| {
        now.text("SubState") == "completed" && now.text("SessionId") != session
    });
    model.verify();
    assert_eq!(now.number("Turn"), Some(1), "{}", now.json());
    assert_ne!(tells_session(&aether, &model), session);

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

/// Waits until the program has written down `word` in the session that `status` tells of.
fn session_with(aether: &Aether, word: &str) -> String {
    let session = aether.properties("coder").text("SessionId").to_owned();
    let home = aether.root.path().join("state/unit/coder.agent/home");
    kept(&home.join(".claude"), &session, word);
    session
}

/// The session that `status` tells of is the one that the program names to the model's service.
fn tells_session(aether: &Aether, model: &Model) -> String {
    let asked = model.requests().pop().unwrap().session.unwrap();
    assert_eq!(aether.properties("coder").text("SessionId"), asked);
    let status = aether.run(&["status", "coder"]);
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains(&asked), "{asked} is not in {status}");
    asked
}

fn kill_main(aether: &Aether) {
    let now = aether.properties("coder");
    signal(
        u32::try_from(now.number("MainPID").unwrap()).unwrap(),
        "KILL",
    );
}

#[test]
fn story_a_killed_agent_goes_on_with_its_session() {
    let aether = Aether::start();
    let gate = Gate::default();
    let model = Model::start(vec![
        Turn::tool("remember", json!({ "text": "so far so good" })),
        Turn::gated("never seen", &gate),
        Turn::text("I am back.")
            .expect_told("Survive the heron.")
            .expect_told("so far so good")
            .expect_user("continue with your goal"),
    ]);
    // The commands around the main process have no session of their own.
    let more = "Restart=on-failure\nRestartSec=0\nExecStartPre=/bin/true\nExecStopPost=/bin/true";
    aether.unit("coder.agent", &coder(&model, "Survive the heron.", more));
    aether.ctl(&["start", "coder"]);
    gate.reached();
    let session = session_with(&aether, "heron");
    assert_eq!(tells_session(&aether, &model), session);
    kill_main(&aether);
    gate.open();
    let now = aether.wait_state("coder", "inactive", "completed");
    model.verify();
    assert_eq!(now.number("NRestarts"), Some(1), "{}", now.json());
    assert_eq!(tells_session(&aether, &model), session);
}

#[test]
fn story_a_restart_goes_on_with_the_session_and_a_start_does_not() {
    let aether = Aether::start();
    let gate = Gate::default();
    let model = Model::start(vec![
        Turn::gated("never seen", &gate),
        Turn::text("Back at work.").expect_told("Count the herons."),
        Turn::text("Still the same.")
            .expect_told("Count the herons.")
            .expect_told("Back at work."),
        Turn::text("Who are you?").expect_user("Count the herons."),
    ]);
    aether.unit("coder.agent", &coder(&model, "Count the herons.", ""));
    aether.ctl(&["start", "coder"]);
    gate.reached();
    let session = session_with(&aether, "herons");
    aether.ctl(&["restart", "coder"]);
    gate.open();
    aether.wait_state("coder", "inactive", "completed");
    assert_eq!(tells_session(&aether, &model), session);

    // It has ended; a restart is a restart all the same.
    aether.ctl(&["restart", "coder"]);
    model.wait_for(3);
    aether.wait_state("coder", "inactive", "completed");
    assert_eq!(tells_session(&aether, &model), session);

    aether.ctl(&["start", "coder"]);
    model.wait_for(4);
    aether.wait_state("coder", "inactive", "completed");
    model.verify();
    assert_ne!(tells_session(&aether, &model), session);
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
    kill_main(&aether);
    gate.open();
    let now = aether.wait_state("coder", "inactive", "completed");
    // It may have kept its session in the instant before it was killed: then it went on with it.
    let log = aether.log("coder");
    let lost = log.contains("No conversation found");
    assert_eq!(
        lost,
        now.text("SessionId") != first.text("SessionId"),
        "{log}"
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
    aether.wait_no_group("coder");
    gate.open();
}

/// Lines of the longest kind, each nothing but small values where the supervisor looks.
fn hostile_lines() -> Vec<String> {
    let some = |one: &str, bytes: usize| vec![one; bytes / (one.len() + 1)].join(",");
    let many = |one: &str| some(one, MAX_LINE - 512);
    let objects = many(r#"{"a":0}"#);
    vec![
        format!(r#"{{"type":"assistant","message":{{"content":[{objects}]}}}}"#),
        format!(
            r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","content":[{objects}]}}]}}}}"#
        ),
        format!(
            r#"{{"type":"control_request","request_id":"r","request":{{"input":[{objects}]}}}}"#
        ),
        format!(r#"{{"type":"system","subtype":"init","mcp_servers":[{objects}]}}"#),
        format!(r#"{{"type":"nothing","message":[{}]}}"#, many("[]")),
        format!(
            r#"{{"type":"result","subtype":"success","result":"that was all","errors":[{}],"permission_denials":[{}]}}"#,
            some(r#""""#, MAX_LINE / 3),
            some("0", MAX_LINE / 3),
        ),
    ]
}

/// An agent for which something that writes these lines stands in the place of the program.
fn pretender(aether: &Aether, model: &Model, lines: &[String]) {
    let place = aether.root.path().join("pretender");
    let (program, said) = (place.join("claude"), place.join("lines"));
    std::fs::create_dir(&place).unwrap();
    std::fs::write(&said, lines.join("\n") + "\n").unwrap();
    std::fs::write(&program, "#!/bin/sh\ncat \"${0%/*}/lines\"\n").unwrap();
    for (path, mode) in [(&place, 0o755), (&said, 0o644), (&program, 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let (real, ours) = (binary().display(), program.display());
    let text = coder(model, "Pretend.", "").replace(&real.to_string(), &ours.to_string());
    aether.unit("coder.agent", &text);
}

#[test]
fn story_long_lines_of_small_values_do_not_swell_the_supervisor() {
    let aether = Aether::start();
    let model = Model::start(vec![]);
    let lines = hostile_lines();
    assert!(lines.iter().all(|line| line.len() <= MAX_LINE));
    pretender(&aether, &model, &lines);
    let daemon = aether.daemon_pid();
    let before = most_memory(daemon);
    aether.run(&["start", "coder"]);
    let now = aether.wait_state("coder", "failed", "failed");
    // The last line was understood, so none was passed over.
    let log = aether.ctl(&["logs", "coder"]);
    assert!(log.contains("that was all"), "{}", now.json());
    let grown = most_memory(daemon).saturating_sub(before);
    assert!(grown < 64 << 10, "aetherd has grown by {grown} kB");
}

#[test]
fn story_a_session_id_that_is_none_leaves_the_unit_startable() {
    let aether = Aether::start();
    let model = Model::start(vec![]);
    let init = json!({ "type": "system", "subtype": "init", "session_id": "--help\0/../x",
        "model": "a\0b", "mcp_servers": [{ "name": "\0", "status": "\0" }] });
    let result = json!({ "type": "result", "subtype": "success", "is_error": false });
    pretender(&aether, &model, &[init.to_string(), result.to_string()]);
    let mut before = Some(0);
    for verb in ["start", "restart", "restart"] {
        aether.run(&[verb, "coder"]);
        let now = aether.wait("coder", "ended again", |now| {
            now.text("SubState") == "completed"
                && now.number("InactiveEnterTimestampMonotonic") > before
        });
        assert_eq!(now.signed("ExecMainStatus"), Some(0), "{}", now.json());
        assert_eq!(now.text("SessionId").len(), 36, "{}", now.json());
        before = now.number("InactiveEnterTimestampMonotonic");
    }
}

/// The most memory that a process ever had at once, in kB.
fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let digits = line.and_then(|line| line.split_whitespace().nth(1));
    digits.unwrap().parse().unwrap()
}
