//! Agent events as lines for people, one each.
//!
//! What agents and tools print is untrusted: control characters and those that turn the direction
//! of writing are replaced, so no event can move the reader's cursor or lie about its order.

use crate::runtime::AgentEvent;
use crate::runtime::stream::cut;

/// Longest line, in bytes.
const MAX: usize = 2000;

/// One event as one line, without a newline.
#[must_use]
pub fn render(event: &AgentEvent) -> String {
    let line = match event {
        AgentEvent::Session {
            id,
            model,
            mcp_servers,
        } => {
            let servers: Vec<String> = mcp_servers
                .iter()
                .map(|(name, state)| format!("{name} {state}"))
                .collect();
            let servers = if servers.is_empty() {
                String::new()
            } else {
                format!(", MCP: {}", servers.join(", "))
            };
            format!("= session {id}, model {model}{servers}")
        }
        AgentEvent::InputConsumed { text } => format!("> {text}"),
        AgentEvent::Text { text } => text.clone(),
        AgentEvent::Thinking { text } => format!("~ {text}"),
        AgentEvent::ToolUse { tool, input, .. } => format!("› {tool} {input}"),
        AgentEvent::ToolResult { is_error, text, .. } => {
            format!("{} {text}", if *is_error { "✗" } else { "‹" })
        }
        AgentEvent::Retry {
            attempt,
            delay_ms,
            error,
        } => {
            let (seconds, tenths) = (delay_ms / 1000, delay_ms % 1000 / 100);
            format!("! model service: {error}; attempt {attempt} in {seconds}.{tenths} s")
        }
        AgentEvent::TurnEnded(turn) => {
            let mut line = format!(
                "= turn ended: {}, {} + {} tokens, {} so far",
                if turn.success { "success" } else { "failure" },
                turn.input_tokens,
                turn.output_tokens,
                dollars(turn.cost_micros),
            );
            if turn.denials > 0 {
                line.push_str(&format!(", {} tool calls refused", turn.denials));
            }
            if !turn.success {
                line.push_str(&format!(" ({}: {})", turn.subtype, turn.text));
            }
            line
        }
        AgentEvent::PermissionAsked { tool, input, .. } => {
            format!("? permission for {tool} {input}")
        }
        AgentEvent::Garbled { line } => format!("! not understood: {line}"),
    };
    cut(&line, MAX).chars().map(shown).collect()
}

fn shown(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        '\u{2028}' | '\u{2029}' => ' ',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            '\u{fffd}'
        }
        c => c,
    }
}

/// What something cost, from millionths of a US dollar: `$0.0123`, as it is shown everywhere.
#[must_use]
pub fn dollars(micros: u64) -> String {
    format!("${}.{:04}", micros / 1_000_000, micros % 1_000_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::TurnResult;

    #[test]
    fn a_tool_call_reads_as_one() {
        let call = AgentEvent::ToolUse {
            id: "t".into(),
            tool: "Bash".into(),
            input: r#"{"command":"ls"}"#.into(),
        };
        assert_eq!(render(&call), r#"› Bash {"command":"ls"}"#);
    }

    #[test]
    fn a_turn_shows_what_was_refused_and_what_it_cost() {
        let turn = TurnResult {
            success: true,
            input_tokens: 7,
            output_tokens: 2,
            cost_micros: 1_234_567,
            denials: 1,
            ..TurnResult::default()
        };
        assert_eq!(
            render(&AgentEvent::TurnEnded(turn)),
            "= turn ended: success, 7 + 2 tokens, $1.2345 so far, 1 tool calls refused"
        );
    }

    #[test]
    fn no_text_moves_the_readers_cursor() {
        let text = "a\u{1b}[2Jb\nc\u{202e}d\u{9b}e".into();
        let line = render(&AgentEvent::Text { text });
        assert_eq!(line, "a\u{fffd}[2Jb c\u{fffd}d\u{fffd}e");
    }
}
