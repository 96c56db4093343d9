//! Claude Code as it really is: launches made by `runtime::prepare`, its output read by
//! `runtime::stream`, under a user of its own, against the scripted model.
//!
//! The daemon is not part of this: each test is the daemon's half of the conversation.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use aether::engine::event::ExitStatus;
use aether::runtime::stream::{Parser, encode_input, encode_interrupt, encode_permission_denied};
use aether::runtime::{AgentEvent, Facts, Memory, TurnResult, Verdict, prepare};
use aether::unit::{Agent, RuntimeKind, Unit};
use serde_json::json;

use crate::model::{Gate, Model, Turn, deadline};

/// Nobody's user: the program refuses root for some modes, and agents never are root.
const USER: u32 = 61234;
const DENIED: &str = "nobody may answer; allow it with AllowedTools=";

/// The pinned program; missing, the test fails and says what to do.
pub(crate) fn binary() -> &'static Path {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm/install.sh");
        let output = Command::new(script)
            .arg("--path")
            .output()
            .map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().into())
    });
    match found {
        Ok(path) => path,
        Err(error) => panic!("Claude Code is not installed; run tests/npm/install.sh: {error}"),
    }
}

/// What one unit has: directories of its own, and its definition.
struct Home {
    directory: tempfile::TempDir,
    unit: Unit,
    facts: Facts,
}

impl Home {
    fn new(goal: &str, model: &Model) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(&path).unwrap();
            own(&path);
            path
        };
        let home = place("home");
        let facts = Facts {
            workspace: place("workspace"),
            tmp: place("tmp"),
            config: place("home/.claude"),
            generated: place("generated"),
            home,
            mcp_socket: directory.path().join("mcp.sock"),
            mcp_program: directory.path().join("aether-mcp"),
            program: Some(binary().to_owned()),
            session: "3f0e4f3c-7d1a-4c8e-9a51-0d6b1c2e4f70".into(),
            resume: false,
            memories: vec![],
            environment: [
                ("ANTHROPIC_BASE_URL", model.url().as_str()),
                ("ANTHROPIC_API_KEY", "placeholder"),
                ("CLAUDE_CODE_MAX_RETRIES", "1"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        };
        let mut unit = Unit::unwritten("coder.agent".parse().unwrap());
        unit.mcp.tools = vec![];
        if let Some(agent) = &mut unit.agent {
            agent.runtime = RuntimeKind::ClaudeCode;
            agent.goal = goal.into();
        }
        Self {
            directory,
            unit,
            facts,
        }
    }

    fn agent(&mut self) -> &mut Agent {
        self.unit.agent.as_mut().unwrap()
    }

    /// Does the daemon's part: files, process, first input.
    fn start(&self) -> Running {
        let launch = prepare(&self.unit, &self.facts).unwrap();
        for file in &launch.files {
            if file.keep && file.path.exists() {
                continue;
            }
            fs::write(&file.path, &file.content).unwrap();
            // As the daemon does: what is locked is root's, and the unit's group may read it.
            let mode = if file.locked {
                file.mode | (file.mode & 0o400) >> 3
            } else {
                file.mode
            };
            fs::set_permissions(&file.path, fs::Permissions::from_mode(mode)).unwrap();
            if !file.locked {
                own(&file.path);
            } else if is_root() {
                chown(&file.path, None, Some(USER)).unwrap();
            }
        }
        let mut command = Command::new(&launch.program);
        command
            .arg0(&launch.argv[0])
            .args(&launch.argv[1..])
            .env_clear()
            .env("HOME", &self.facts.home)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .envs(launch.environment)
            .current_dir(&self.facts.workspace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if is_root() {
            command.uid(USER).gid(USER);
        }
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let (out, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let copy = sender.clone();
        thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let _ = copy.send(Line::Out(line));
            }
        });
        thread::spawn(move || {
            for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
                let _ = sender.send(Line::Error(line));
            }
        });
        let mut running = Running {
            input: child.stdin.take(),
            child,
            lines,
            parser: Parser::default(),
            events: vec![],
            complaints: String::new(),
        };
        if let Some(first) = &launch.first_input {
            running.write(&encode_input(first));
        }
        running
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn own(path: &Path) {
    if is_root() {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
}

enum Line {
    Out(Vec<u8>),
    Error(Vec<u8>),
}

/// A running program, and what it has told.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<Line>,
    parser: Parser,
    events: Vec<AgentEvent>,
    complaints: String,
}

impl Running {
    fn write(&mut self, line: &[u8]) {
        let mut input = self.input.as_ref().unwrap();
        input.write_all(line).unwrap();
    }

    /// Takes lines until an event is so; `None`: until both outputs have ended.
    fn until(&mut self, wanted: Option<&dyn Fn(&AgentEvent) -> bool>) {
        let end: Instant = deadline();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(_) if left.is_zero() => panic!("{:#?} {}", self.events, self.complaints),
                Err(_) if wanted.is_none() => return,
                Err(_) => panic!("it ended: {:#?} {}", self.events, self.complaints),
            };
            let Line::Out(line) = line else {
                if let Line::Error(line) = line {
                    self.parser.error_line(&line);
                    self.complaints.push_str(&String::from_utf8_lossy(&line));
                }
                continue;
            };
            let events = self.parser.line(&line);
            self.events.extend(events.clone());
            if wanted.is_some_and(|wanted| events.iter().any(wanted)) {
                return;
            }
        }
    }

    fn turn(&mut self) -> TurnResult {
        self.until(Some(&|event| matches!(event, AgentEvent::TurnEnded(_))));
        let turns = self.events.iter().rev();
        let mut turns = turns.filter_map(|event| match event {
            AgentEvent::TurnEnded(turn) => Some(turn.clone()),
            _ => None,
        });
        turns.next().unwrap()
    }

    fn deny(&mut self) {
        self.until(Some(&|event| {
            matches!(event, AgentEvent::PermissionAsked { .. })
        }));
        let (id, _) = self.parser.unanswered()[0].clone();
        self.write(&encode_permission_denied(&id, DENIED));
        self.parser.answered(&id);
    }

    /// Closes standard input, waits for the end, and judges it.
    fn finish(mut self) -> (Verdict, Vec<AgentEvent>) {
        drop(self.input.take());
        self.until(None);
        let status = self.child.wait().unwrap();
        let exit = match (status.code(), status.signal()) {
            (Some(code), _) => ExitStatus::Exited(u8::try_from(code).unwrap()),
            (None, Some(signal)) => ExitStatus::Killed(signal),
            (None, None) => ExitStatus::Unknown,
        };
        let verdict = self.parser.verdict(exit, false);
        (verdict, std::mem::take(&mut self.events))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn consumed(events: &[AgentEvent]) -> Vec<&str> {
    let events = events.iter();
    events
        .filter_map(|event| match event {
            AgentEvent::InputConsumed { text } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

fn says(events: &[AgentEvent], words: &str) -> bool {
    let mut events = events.iter();
    events.any(|event| matches!(event, AgentEvent::Text { text } if text == words))
}

#[test]
fn a_goal_is_words_whatever_it_looks_like() {
    for goal in [
        "--help me",
        "-p",
        "--dangerously-skip-permissions",
        "/clear",
    ] {
        let model = Model::start(vec![Turn::text("understood").expect_user(goal)]);
        let home = Home::new(goal, &model);
        let mut running = home.start();
        let turn = running.turn();
        assert!(turn.success && turn.text == "understood", "{turn:?}");
        let (verdict, events) = running.finish();
        assert_eq!(verdict, Verdict::Completed);
        assert_eq!(consumed(&events), [goal]);
        assert!(says(&events, "understood"), "{events:#?}");
        model.verify();
    }
}

#[test]
fn the_agent_knows_its_session_role_and_memories() {
    let model = Model::start(vec![Turn::text("yes").expect_lacking("mcp__other")]);
    let mut home = Home::new("begin", &model);
    home.agent().role = Some("Keeper of the blue door".into());
    home.agent().model = Some("claude-sonnet-4-5".into());
    // Nothing is there to run: the server must be named, and told as failed.
    home.unit.mcp.tools = vec!["memory".into()];
    home.facts.memories = vec![Memory {
        layer: "shared".into(),
        text: "the password is swordfish".into(),
    }];
    let mut running = home.start();
    running.turn();
    let (verdict, events) = running.finish();
    assert_eq!(verdict, Verdict::Completed);
    let session = AgentEvent::Session {
        id: home.facts.session.clone(),
        model: "claude-sonnet-4-5".into(),
        mcp_servers: vec![("aether".into(), "failed".into())],
    };
    assert!(events.contains(&session), "{events:#?}");
    let request = &model.requests()[0];
    assert_eq!(
        request.session.as_deref(),
        Some(home.facts.session.as_str())
    );
    let body = request.body.to_string();
    assert!(
        body.contains("Keeper of the blue door") && body.contains("swordfish"),
        "{body}"
    );
    model.verify();
}

#[test]
fn an_allowed_tool_runs() {
    let call = json!({"command": "echo out-$((6*7)); id -u", "description": "adds"});
    let model = Model::start(vec![
        Turn::tool("Bash", call).expect_offered("Bash"),
        Turn::text("done").expect_result("out-42", false),
    ]);
    let mut home = Home::new("add", &model);
    home.agent().allowed_tools = vec!["Read".into(), "Bash(echo:*)".into(), "Bash(id:*)".into()];
    let mut running = home.start();
    let turn = running.turn();
    assert_eq!(
        (turn.denials, turn.input_tokens, turn.output_tokens),
        (0, 2000, 400)
    );
    assert!(turn.cost_micros > 0);
    let (verdict, events) = running.finish();
    assert_eq!(verdict, Verdict::Completed);
    let called = events.iter().position(|event| {
        matches!(event, AgentEvent::ToolUse { tool, input, .. }
            if tool == "Bash" && input.contains("6*7"))
    });
    let answered = events.iter().position(|event| {
        matches!(event, AgentEvent::ToolResult { is_error: false, text, .. }
            if text.contains("out-42"))
    });
    assert!(called.is_some() && called < answered, "{events:#?}");
    model.verify();
}

#[test]
fn a_refused_tool_says_how_to_allow_it() {
    let call = json!({"command": "touch /etc/aether-was-here", "description": "x"});
    let model = Model::start(vec![
        Turn::tool("Bash", call),
        Turn::text("then not").expect_result("AllowedTools=", true),
    ]);
    let home = Home::new("touch", &model);
    let mut running = home.start();
    running.deny();
    assert_eq!(running.turn().denials, 1);
    assert_eq!(running.finish().0, Verdict::Completed);
    model.verify();
}

#[test]
fn a_message_during_a_stream_is_the_next_turn() {
    let gate = Gate::default();
    let model = Model::start(vec![
        Turn::gated("a long tale", &gate),
        Turn::text("heard").expect_user("second"),
    ]);
    let home = Home::new("first", &model);
    let mut running = home.start();
    gate.reached();
    running.write(&encode_input("second"));
    assert_eq!(model.requests().len(), 1);
    gate.open();
    running.turn();
    assert_eq!(consumed(&running.events), ["first"]);
    running.turn();
    let (verdict, events) = running.finish();
    assert_eq!(verdict, Verdict::Completed);
    assert_eq!(consumed(&events), ["first", "second"]);
    model.verify();
}

#[test]
fn a_message_during_a_tool_joins_the_same_turn() {
    let call = json!({"command": "touch /etc/aether-was-here", "description": "x"});
    let model = Model::start(vec![
        Turn::tool("Bash", call),
        Turn::slow("heard", 3, std::time::Duration::from_millis(30)).expect_user("second"),
    ]);
    let home = Home::new("first", &model);
    let mut running = home.start();
    running.until(Some(&|event| {
        matches!(event, AgentEvent::PermissionAsked { .. })
    }));
    running.write(&encode_input("second"));
    let (id, _) = running.parser.unanswered()[0].clone();
    running.write(&encode_permission_denied(&id, DENIED));
    running.parser.answered(&id);
    let turn = running.turn();
    assert_eq!(turn.text, "heard");
    let (verdict, events) = running.finish();
    assert_eq!(verdict, Verdict::Completed);
    assert_eq!(consumed(&events), ["first", "second"]);
    model.verify();
}

#[test]
fn a_session_goes_on_in_the_next_process() {
    let model = Model::start(vec![
        Turn::text("one"),
        Turn::text("two").expect_user("continue with your goal"),
    ]);
    let mut home = Home::new("remember the word heron", &model);
    let mut first = home.start();
    let before = first.turn().cost_micros;
    assert_eq!(first.finish().0, Verdict::Completed);
    home.facts.resume = true;
    let mut second = home.start();
    let after = second.turn().cost_micros;
    assert_eq!(before, after, "each process counts from zero");
    let (verdict, events) = second.finish();
    assert_eq!(verdict, Verdict::Completed);
    let same = |event: &AgentEvent| matches!(event, AgentEvent::Session { id, .. } if *id == home.facts.session);
    assert!(events.iter().any(same), "{events:#?}");
    let body = model.wait_for(2)[1].body.to_string();
    assert!(body.contains("heron"), "{body}");
    model.verify();
}

/// Waits until the program has written down what it was told: only then can it be resumed.
pub(crate) fn kept(config: &Path, session: &str, word: &str) {
    let session = format!("{session}.jsonl");
    let until = deadline();
    loop {
        let projects = fs::read_dir(config.join("projects")).into_iter();
        let texts = projects
            .flatten()
            .flatten()
            .filter_map(|project| fs::read_to_string(project.path().join(&session)).ok());
        for text in texts {
            let user = |line: &str| line.contains(r#""type":"user""#) && line.contains(word);
            if text.lines().any(user) {
                return;
            }
        }
        assert!(Instant::now() < until, "{session} was not written");
        thread::yield_now();
    }
}

#[test]
fn a_killed_process_is_resumed() {
    let gate = Gate::default();
    let model = Model::start(vec![Turn::gated("never ends", &gate), Turn::text("again")]);
    let mut home = Home::new("remember the word heron", &model);
    let mut first = home.start();
    gate.reached();
    kept(&home.facts.config, &home.facts.session, "heron");
    first.child.kill().unwrap();
    assert!(matches!(first.finish().0, Verdict::Failed { reason } if reason.contains("signal 9")));
    home.facts.resume = true;
    let mut second = home.start();
    assert_eq!(second.turn().text, "again");
    assert_eq!(second.finish().0, Verdict::Completed);
    assert!(model.requests()[1].body.to_string().contains("heron"));
}

#[test]
fn a_session_that_is_not_there_or_taken_is_lost() {
    let model = Model::start(vec![Turn::text("one")]);
    let mut home = Home::new("x", &model);
    home.facts.resume = true;
    assert_eq!(home.start().finish().0, Verdict::SessionLost);
    home.facts.resume = false;
    let mut first = home.start();
    first.turn();
    assert_eq!(first.finish().0, Verdict::Completed);
    assert_eq!(home.start().finish().0, Verdict::SessionLost);
}

#[test]
fn an_interrupt_ends_the_turn_and_not_the_session() {
    let gate = Gate::default();
    let model = Model::start(vec![
        Turn::gated("never ends", &gate),
        Turn::text("still here"),
    ]);
    let home = Home::new("x", &model);
    let mut running = home.start();
    gate.reached();
    running.write(&encode_interrupt("i1"));
    let turn = running.turn();
    assert_eq!(
        (turn.success, turn.subtype.as_str()),
        (false, "error_during_execution")
    );
    running.write(&encode_input("are you there?"));
    assert_eq!(running.turn().text, "still here");
    assert_eq!(running.finish().0, Verdict::Completed);
    model.verify();
}

#[test]
fn errors_of_the_service_are_judged() {
    // Of these only 401 is tried again by the program, once as we start it here.
    for (status, kind, requests) in [
        (400, "invalid_request_error", 1),
        (401, "authentication_error", 2),
        (403, "permission_error", 1),
    ] {
        let turns = (0..requests).map(|_| Turn::error(status, kind));
        let model = Model::start(turns.collect());
        let home = Home::new("x", &model);
        let mut running = home.start();
        let turn = running.turn();
        assert_eq!(
            (turn.success, turn.api_status),
            (false, Some(status)),
            "{turn:?}"
        );
        let word = format!("model service answered {status}");
        match (status, running.finish().0) {
            (400, Verdict::Failed { reason }) | (401 | 403, Verdict::Final { reason }) => {
                assert!(reason.starts_with(&word), "{reason}");
            }
            (_, other) => panic!("{status}: {other:?}"),
        }
        model.verify();
    }
}

#[test]
fn an_agent_without_a_key_is_told_how_to_get_one() {
    let model = Model::start(vec![]);
    let mut home = Home::new("x", &model);
    let environment = &mut home.facts.environment;
    environment.retain(|(name, _)| name != "ANTHROPIC_API_KEY");
    let mut running = home.start();
    let turn = running.turn();
    assert_eq!((turn.success, turn.api_status), (false, None), "{turn:?}");
    match running.finish().0 {
        Verdict::Final { reason } => {
            assert!(
                reason.contains("PassEnvironment=ANTHROPIC_API_KEY"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
    model.verify();
}

#[test]
fn hooks_that_a_workspace_brings_along_do_not_run() {
    let model = Model::start(vec![Turn::text("done")]);
    let home = Home::new("x", &model);
    let mark = home.facts.workspace.join("hooked");
    let hook = json!({"type": "command", "command": format!("touch {}", mark.display())});
    let hooks = json!({"hooks": {"UserPromptSubmit": [{"hooks": [hook]}]}});
    let settings = home.facts.workspace.join(".claude");
    fs::create_dir(&settings).unwrap();
    fs::write(settings.join("settings.json"), hooks.to_string()).unwrap();
    let mut running = home.start();
    running.turn();
    assert_eq!(running.finish().0, Verdict::Completed);
    assert!(!mark.exists());
    model.verify();
}

#[test]
fn an_overloaded_service_is_tried_again_and_said_to_be() {
    let model = Model::start(vec![
        Turn::error(529, "overloaded_error"),
        Turn::text("at last"),
    ]);
    let home = Home::new("x", &model);
    let mut running = home.start();
    assert_eq!(running.turn().text, "at last");
    let retried = |event: &AgentEvent| matches!(event, AgentEvent::Retry { attempt: 1, .. });
    assert!(running.events.iter().any(retried), "{:#?}", running.events);
    assert_eq!(running.finish().0, Verdict::Completed);
    assert!(
        home.directory
            .path()
            .join("home/.claude/.claude.json")
            .exists()
    );
    model.verify();
}
