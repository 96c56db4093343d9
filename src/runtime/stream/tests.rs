//! The parser against measured lines, and against anything at all.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::engine::event::ExitStatus::{Exited, Killed, Unknown};
use crate::runtime::{Verdict, render};

const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"s1","model":"m","mcp_servers":[{"name":"aether","status":"connected"}]}"#;

fn result(more: Value) -> String {
    let mut value = json!({"type": "result", "subtype": "success", "is_error": false,
        "api_error_status": null, "result": "done", "total_cost_usd": 0.01,
        "usage": {"input_tokens": 5, "cache_creation_input_tokens": 3,
                  "cache_read_input_tokens": 2, "output_tokens": 1},
        "permission_denials": [], "session_id": "s1"});
    for (key, new) in more.as_object().unwrap() {
        value[key] = new.clone();
    }
    value.to_string()
}

fn after(lines: &[&str]) -> Parser {
    let mut parser = Parser::default();
    for line in lines {
        parser.line(line.as_bytes());
    }
    parser
}

fn ended(more: Value) -> Verdict {
    after(&[INIT, &result(more)]).verdict(Exited(0), false)
}

#[test]
fn a_turn_as_events() {
    let mut parser = Parser::default();
    let mut line = |text: &str| parser.line(text.as_bytes());
    assert_eq!(
        line(INIT),
        [AgentEvent::Session {
            id: "s1".into(),
            model: "m".into(),
            mcp_servers: vec![("aether".into(), "connected".into())],
        }]
    );
    assert_eq!(
        line(
            r#"{"type":"user","isReplay":true,"message":{"content":[{"type":"text","text":" /etc"}]}}"#
        ),
        [AgentEvent::InputConsumed {
            text: "/etc".into()
        }]
    );
    assert_eq!(
        line(r#"{"type":"user","isReplay":true,"message":{"content":"plain"}}"#),
        [AgentEvent::InputConsumed {
            text: "plain".into()
        }]
    );
    assert_eq!(
        line(
            r#"{"type":"assistant","message":{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"hi"},{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"ls"}}]}}"#
        ),
        [
            AgentEvent::Thinking { text: "hm".into() },
            AgentEvent::Text { text: "hi".into() },
            AgentEvent::ToolUse {
                id: "t1".into(),
                tool: "Bash".into(),
                input: r#"{"command":"ls"}"#.into(),
            },
        ]
    );
    assert_eq!(
        line(
            r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1","is_error":true,"content":[{"type":"text","text":"no"},{"type":"image"}]}]}}"#
        ),
        [AgentEvent::ToolResult {
            id: "t1".into(),
            is_error: true,
            text: "no\n[image]".into(),
        }]
    );
    assert_eq!(
        line(
            r#"{"type":"system","subtype":"api_retry","attempt":2,"retry_delay_ms":512.5,"error_status":529,"error":"overloaded"}"#
        ),
        [AgentEvent::Retry {
            attempt: 2,
            delay_ms: 512,
            error: "529 overloaded".into(),
        }]
    );
    let done = line(&result(json!({"permission_denials": [{}]})));
    assert_eq!(
        done,
        [AgentEvent::TurnEnded(TurnResult {
            success: true,
            subtype: "success".into(),
            api_status: None,
            text: "done".into(),
            input_tokens: 10,
            output_tokens: 1,
            cost_micros: 10_000,
            denials: 1,
        })]
    );
    assert_eq!(line(INIT), [], "the same session is told once");
}

#[test]
fn the_verdict_is_the_table() {
    assert_eq!(ended(json!({})), Verdict::Completed);
    let failed = |verdict: Verdict, part: &str| match verdict {
        Verdict::Failed { reason } => assert!(reason.contains(part), "{reason}"),
        other => panic!("{other:?}, not failed with {part}"),
    };
    let last = |verdict: Verdict, part: &str| match verdict {
        Verdict::Final { reason } => assert!(reason.contains(part), "{reason}"),
        other => panic!("{other:?}, not final with {part}"),
    };
    let error = |status: Value| json!({"is_error": true, "api_error_status": status});
    last(ended(error(json!(401))), "401");
    let mut keyless = error(Value::Null);
    keyless["result"] = json!("Not logged in · Please run /login");
    last(ended(keyless), "PassEnvironment=ANTHROPIC_API_KEY");
    // Whatever the words are by then: the program also says it in one of its own.
    let says = |kind: &str| {
        let said = json!({"type": "assistant", "error": kind, "message": {"content": []}});
        let result = result(error(Value::Null));
        after(&[INIT, &said.to_string(), &result]).verdict(Exited(0), false)
    };
    last(
        says("authentication_failed"),
        "Environment=ANTHROPIC_API_KEY=",
    );
    failed(says("server_error"), "model service failed");
    failed(ended(error(json!(400))), "400");
    failed(ended(error(Value::Null)), "model service failed");
    last(
        ended(json!({"subtype": "error_max_turns", "is_error": true})),
        "error_max_turns",
    );
    last(
        ended(json!({"subtype": "error_max_budget_usd"})),
        "error_max_budget_usd",
    );
    failed(
        ended(json!({"subtype": "error_during_execution"})),
        "error_during_execution",
    );
    let no_session = json!({"subtype": "error_during_execution", "is_error": true, "result": null,
        "errors": ["No conversation found with session ID: x"]});
    assert_eq!(ended(no_session), Verdict::SessionLost);

    let good = result(json!({}));
    failed(
        Parser::default().verdict(Exited(0), false),
        "without a result",
    );
    failed(after(&[&good]).verdict(Killed(9), false), "signal 9");
    failed(after(&[&good]).verdict(Exited(143), false), "exit 143");
    failed(after(&[&good]).verdict(Unknown, false), "nobody saw");
    failed(after(&[&good]).verdict(Exited(0), true), "message");
    failed(
        after(&[&good, INIT]).verdict(Exited(0), false),
        "middle of a turn",
    );
    failed(
        after(&[&good, r#"{"type":"assis"#]).verdict(Exited(0), false),
        "middle of a line",
    );
    assert_eq!(
        after(&[&good, "bye"]).verdict(Exited(0), false),
        Verdict::Completed
    );
}

#[test]
fn a_session_id_in_use_shows_on_standard_error_only() {
    let mut parser = Parser::default();
    parser.error_line(b"Error: Session ID 1111 is already in use.");
    assert_eq!(parser.verdict(Exited(1), false), Verdict::SessionLost);
}

#[test]
fn open_questions_outlive_the_daemon() {
    let ask = r#"{"type":"control_request","request_id":"r1","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"x"}}}"#;
    let parser = after(&[INIT, ask]);
    let stored = serde_json::to_string(&parser).unwrap();
    let mut loaded: Parser = serde_json::from_str(&stored).unwrap();
    assert_eq!(loaded, parser);
    assert_eq!(loaded.unanswered(), [("r1".to_owned(), "Bash".to_owned())]);
    let mut open = loaded.clone();
    open.line(result(json!({})).as_bytes());
    assert!(matches!(
        open.verdict(Exited(0), false),
        Verdict::Failed { .. }
    ));
    loaded.answered("r1");
    assert!(loaded.unanswered().is_empty());
    let mut void = parser;
    void.line(br#"{"type":"control_cancel_request","request_id":"r1"}"#);
    assert!(void.unanswered().is_empty());
}

#[test]
fn every_request_of_the_program_is_told() {
    let mut parser = Parser::default();
    let events = parser.line(
        br#"{"type":"control_request","request_id":"q","request":{"subtype":"elicitation"}}"#,
    );
    assert!(
        matches!(&events[..], [AgentEvent::PermissionAsked { tool, .. }] if tool == "elicitation")
    );
}

#[test]
fn sizes_are_bounded() {
    let mut parser = Parser::default();
    let long = vec![b'{'; MAX_LINE + 1];
    assert!(
        matches!(&parser.line(&long)[..], [AgentEvent::Garbled { line }] if line.len() <= MAX_GARBLED)
    );
    let text = "ä".repeat(MAX_TEXT);
    let said =
        json!({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}});
    assert!(
        matches!(&parser.line(said.to_string().as_bytes())[..], [AgentEvent::Text { text }] if text.len() <= MAX_TEXT)
    );
    let many = vec![json!({"type": "text", "text": "x"}); 1000];
    let said = json!({"type": "assistant", "message": {"content": many}});
    assert_eq!(parser.line(said.to_string().as_bytes()).len(), MAX_MANY);
    for n in 0..1000 {
        let ask = json!({"type": "control_request", "request_id": n.to_string(), "request": {}});
        parser.line(ask.to_string().as_bytes());
    }
    assert_eq!(parser.unanswered().len(), MAX_MANY);
    let deep = format!("{{\"type\":{}", "[".repeat(100_000));
    assert!(matches!(
        &parser.line(deep.as_bytes())[..],
        [AgentEvent::Garbled { .. }]
    ));
}

#[test]
fn a_field_of_a_wrong_type_costs_that_field_only() {
    let wrong = json!([{"deep": [1, {}]}]);
    let mut parser = Parser::default();
    let mut line = |value: Value| parser.line(value.to_string().as_bytes());
    assert_eq!(
        line(
            json!({"type": "system", "subtype": "init", "model": wrong, "mcp_servers": "x",
                   "session_id": "s1", "error": wrong, "result": wrong, "request": 7})
        ),
        [AgentEvent::Session {
            id: "s1".into(),
            model: String::new(),
            mcp_servers: vec![],
        }]
    );
    let content = json!([7, [], {"type": wrong}, {"type": "text", "text": "hi", "id": wrong}]);
    assert_eq!(
        line(json!({"type": "assistant", "error": wrong, "message": {"content": content}})),
        [AgentEvent::Text { text: "hi".into() }]
    );
    let ended = line(
        json!({"type": "result", "subtype": "success", "is_error": false,
        "api_error_status": "x", "usage": [], "total_cost_usd": wrong, "errors": {}}),
    );
    assert!(matches!(&ended[..], [AgentEvent::TurnEnded(turn)] if turn.success));
}

#[test]
fn a_text_cut_in_the_middle_of_a_character_is_shown_as_written() {
    let mut parser = Parser::default();
    let events = parser
        .line(br#"{"type":"assistant","message":{"content":[{"type":"text","text":"a\ud83d"}]}}"#);
    assert_eq!(
        events,
        [AgentEvent::Text {
            text: r"a\ud83d".into()
        }]
    );
}

#[test]
fn arguments_are_compact_and_otherwise_as_written() {
    let mut parser = Parser::default();
    let events = parser.line(
        br#"{"type":"control_request","request_id":"r","request":{"input": {"b" : [1, "x \" y"] , "a":"\\"} }}"#,
    );
    assert!(
        matches!(&events[..], [AgentEvent::PermissionAsked { input, .. }]
            if input == r#"{"b":[1,"x \" y"],"a":"\\"}"#),
        "{events:?}"
    );
}

#[test]
fn inputs_are_one_line_and_never_a_command() {
    for text in ["--help", "two\nlines\r\n", "\u{2028}\u{0}\"}", "/clear", ""] {
        let line = encode_input(text);
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        assert_eq!(line.last(), Some(&b'\n'));
        let value: Value = serde_json::from_slice(&line).unwrap();
        let sent = value["message"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(!sent.starts_with('/'));
        // The echo of it is the text again.
        let mut echo = value;
        echo["isReplay"] = json!(true);
        let events = Parser::default().line(echo.to_string().as_bytes());
        assert_eq!(
            events,
            [AgentEvent::InputConsumed {
                text: text.to_owned()
            }]
        );
    }
}

#[test]
fn costs_add_up_over_processes() {
    let turn = |cost_micros| TurnResult {
        cost_micros,
        ..TurnResult::default()
    };
    let mut cost = Cost::default();
    cost.started();
    cost.turn(&turn(10));
    cost.turn(&turn(25));
    cost.started();
    assert_eq!(cost.total(), 25);
    cost.turn(&turn(7));
    assert_eq!(cost.total(), 32);
}

#[test]
fn numbers_that_are_none_are_zero() {
    let turn = |value: Value| {
        let line = result(json!({ "total_cost_usd": value }));
        after(&[&line]).last.unwrap().cost_micros
    };
    assert_eq!(turn(json!(-1.0)), 0);
    assert_eq!(turn(json!("x")), 0);
    assert_eq!(turn(json!(1e300)), 0);
    assert_eq!(turn(json!(0.109_680_6)), 109_681);
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "system",
        "assistant",
        "user",
        "result",
        "control_request",
        "init",
        "text",
        "tool_use",
        "tool_result",
        "api_retry",
        "success",
        "can_use_tool",
        "ä…\u{202e}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "type",
        "subtype",
        "message",
        "content",
        "text",
        "input",
        "request",
        "request_id",
        "isReplay",
        "usage",
        "total_cost_usd",
        "errors",
        "mcp_servers",
        "name",
        "is_error",
        "permission_denials",
        "input_tokens",
        "retry_delay_ms",
        "attempt",
    ]);
    leaf.prop_recursive(4, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| {
                Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail(lines in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let mut parser = Parser::default();
        for line in lines {
            for event in parser.line(&line) {
                prop_assert!(!render(&event).contains('\n'));
            }
            parser.error_line(&line);
        }
        let _ = parser.verdict(Exited(0), false);
    }

    #[test]
    fn no_shape_makes_it_fail(values in prop::collection::vec(any_json(), 0..20)) {
        let mut parser = Parser::default();
        for value in values {
            for event in parser.line(value.to_string().as_bytes()) {
                prop_assert!(!render(&event).contains('\n'));
            }
            let stored = serde_json::to_string(&parser).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Parser>(&stored).unwrap(), &parser);
        }
        let _ = parser.verdict(Exited(0), false);
    }
}
