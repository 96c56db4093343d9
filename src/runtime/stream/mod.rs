//! Claude Code's stream-json: lines of output → [`AgentEvent`]s, messages → lines of input.
//!
//! A [`Parser`] belongs to one process and can be stored and loaded between two lines, so a new
//! daemon goes on where the old one stopped. No byte sequence makes it fail, and all it keeps is
//! bounded. Read next: `verdict` (what an ended process means), `encode` (the other direction).

mod encode;
mod verdict;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use encode::plain;
pub use encode::{encode_input, encode_interrupt, encode_permission_denied};

use crate::runtime::{AgentEvent, TurnResult};

/// Longest line that is looked into, in bytes; tool results may carry images.
pub const MAX_LINE: usize = 4 << 20;
/// Longest text of an event, in bytes.
pub const MAX_TEXT: usize = 16 << 10;
/// Longest garbled line that is shown, in bytes.
const MAX_GARBLED: usize = 512;
/// Longest id, name or word, in bytes.
const MAX_WORD: usize = 256;
/// Most events of one line, and most MCP servers of one session.
const MAX_MANY: usize = 64;

/// What is known of one process's stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parser {
    /// The session as last told; it is told again at each turn.
    session: Option<AgentEvent>,
    /// The last ended turn.
    last: Option<TurnResult>,
    /// Something was said after it.
    in_turn: bool,
    /// The last line was a torn piece of JSON.
    torn: bool,
    /// The session to resume is not there, or the new one's id is taken.
    session_lost: bool,
    /// The program has said in this turn that its credential is missing or refused.
    unauthenticated: bool,
    /// Permission requests without an answer: id and tool.
    asked: Vec<(String, String)>,
}

impl Parser {
    /// Takes one line of standard output, without or with its newline.
    pub fn line(&mut self, line: &[u8]) -> Vec<AgentEvent> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return vec![];
        }
        let value = (line.len() <= MAX_LINE)
            .then(|| serde_json::from_slice::<Value>(line).ok())
            .flatten()
            .filter(Value::is_object);
        let Some(value) = value else {
            self.torn = line.starts_with(b"{");
            // Cut first: only the beginning is shown, however long it is.
            let shown = line.get(..2 * MAX_GARBLED).unwrap_or(line);
            let line = cut(&String::from_utf8_lossy(shown), MAX_GARBLED);
            return vec![AgentEvent::Garbled { line }];
        };
        self.torn = false;
        let mut events = match word(&value, "type").as_str() {
            "system" => self.system(&value),
            "assistant" => self.assistant(&value),
            "user" => self.user(&value),
            "result" => self.result(&value),
            "control_request" => self.asked(&value),
            "control_cancel_request" => {
                self.answered(&word(&value, "request_id"));
                vec![]
            }
            // Answers to our own requests, partial messages, and whatever comes to exist.
            _ => vec![],
        };
        events.truncate(MAX_MANY);
        events
    }

    /// Takes one line of standard error: two failures of a session show nowhere else.
    pub fn error_line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line.get(..MAX_GARBLED).unwrap_or(line));
        if lost(&line) {
            self.session_lost = true;
        }
    }

    /// A permission request was answered, or need not be any more.
    pub fn answered(&mut self, id: &str) {
        self.asked.retain(|(there, _)| there != id);
    }

    /// Permission requests (id and tool) that wait for an answer, oldest first. The agent stands
    /// still until each has one, so a new daemon answers those of the old.
    #[must_use]
    pub fn unanswered(&self) -> &[(String, String)] {
        &self.asked
    }

    fn system(&mut self, value: &Value) -> Vec<AgentEvent> {
        match word(value, "subtype").as_str() {
            "init" => {
                self.in_turn = true;
                self.unauthenticated = false;
                let servers = value["mcp_servers"].as_array().into_iter().flatten();
                let servers = servers
                    .take(MAX_MANY)
                    .map(|server| (word(server, "name"), word(server, "status")));
                let told = AgentEvent::Session {
                    id: word(value, "session_id"),
                    model: word(value, "model"),
                    mcp_servers: servers.collect(),
                };
                if self.session.as_ref() == Some(&told) {
                    return vec![];
                }
                self.session = Some(told.clone());
                vec![told]
            }
            "api_retry" => {
                let status = value["error_status"].as_u64();
                let error = match (status, word(value, "error")) {
                    (Some(status), error) => format!("{status} {error}").trim_end().to_owned(),
                    (None, error) => error,
                };
                vec![AgentEvent::Retry {
                    attempt: value["attempt"]
                        .as_u64()
                        .map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)),
                    delay_ms: whole(&value["retry_delay_ms"], 1.0),
                    error,
                }]
            }
            _ => vec![],
        }
    }

    fn assistant(&mut self, value: &Value) -> Vec<AgentEvent> {
        self.in_turn = true;
        self.unauthenticated |= value["error"] == "authentication_failed";
        blocks(value)
            .filter_map(|block| match word(block, "type").as_str() {
                "text" => Some(AgentEvent::Text {
                    text: text(block, "text"),
                }),
                "thinking" => Some(AgentEvent::Thinking {
                    text: text(block, "thinking"),
                }),
                "tool_use" => Some(AgentEvent::ToolUse {
                    id: word(block, "id"),
                    tool: word(block, "name"),
                    input: cut(&block["input"].to_string(), MAX_TEXT),
                }),
                _ => None,
            })
            .filter(|event| !matches!(event, AgentEvent::Text { text } if text.is_empty()))
            .take(MAX_MANY)
            .collect()
    }

    fn user(&mut self, value: &Value) -> Vec<AgentEvent> {
        self.in_turn = true;
        if value["isReplay"] == true {
            let text = spoken(&value["message"]["content"]);
            // What `encode_input` put before a slash is taken away again.
            let text = match text.strip_prefix(' ') {
                Some(rest) if rest.starts_with('/') => rest.to_owned(),
                _ => text,
            };
            return vec![AgentEvent::InputConsumed { text }];
        }
        blocks(value)
            .filter(|block| block["type"] == "tool_result")
            .take(MAX_MANY)
            .map(|block| AgentEvent::ToolResult {
                id: word(block, "tool_use_id"),
                is_error: block["is_error"] == true,
                text: spoken(&block["content"]),
            })
            .collect()
    }

    fn result(&mut self, value: &Value) -> Vec<AgentEvent> {
        self.in_turn = false;
        let subtype = word(value, "subtype");
        let errors = value["errors"].as_array().into_iter().flatten();
        let errors: Vec<&str> = errors.filter_map(Value::as_str).take(MAX_MANY).collect();
        if errors.iter().any(|error| lost(error)) {
            self.session_lost = true;
        }
        let said = text(value, "result");
        let usage = |name: &str| value["usage"][name].as_u64().unwrap_or(0);
        let denials = value["permission_denials"].as_array().map_or(0, Vec::len);
        let turn = TurnResult {
            success: subtype == "success" && value["is_error"] == false,
            subtype,
            api_status: value["api_error_status"]
                .as_u64()
                .and_then(|status| u16::try_from(status).ok()),
            text: if said.is_empty() {
                cut(&errors.join("; "), MAX_TEXT)
            } else {
                said
            },
            input_tokens: usage("input_tokens")
                .saturating_add(usage("cache_creation_input_tokens"))
                .saturating_add(usage("cache_read_input_tokens")),
            output_tokens: usage("output_tokens"),
            cost_micros: whole(&value["total_cost_usd"], 1e6),
            denials: u32::try_from(denials).unwrap_or(u32::MAX),
        };
        self.last = Some(turn.clone());
        vec![AgentEvent::TurnEnded(turn)]
    }

    /// Every request of the program's waits for an answer, so none is passed over.
    fn asked(&mut self, value: &Value) -> Vec<AgentEvent> {
        self.in_turn = true;
        // Not cut: a shortened id would be answered in vain.
        let id = value["request_id"].as_str().unwrap_or_default().to_owned();
        if id.is_empty() || id.len() > MAX_WORD {
            return vec![];
        }
        let request = &value["request"];
        let tool = match word(request, "tool_name") {
            name if name.is_empty() => word(request, "subtype"),
            name => name,
        };
        if self.asked.len() < MAX_MANY {
            self.asked.push((id.clone(), tool.clone()));
        }
        vec![AgentEvent::PermissionAsked {
            id,
            tool,
            input: cut(&request["input"].to_string(), MAX_TEXT),
        }]
    }
}

/// The cost of a session over all its processes: each process counts from zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    earlier: u64,
    process: u64,
}

impl Cost {
    /// A new process continues the session.
    pub fn started(&mut self) {
        self.earlier = self.total();
        self.process = 0;
    }

    /// A turn of the running process ended.
    pub fn turn(&mut self, turn: &TurnResult) {
        self.process = self.process.max(turn.cost_micros);
    }

    /// Everything so far, in millionths of a US dollar.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.earlier.saturating_add(self.process)
    }
}

fn lost(message: &str) -> bool {
    message.contains("No conversation found")
        || (message.contains("Session ID") && message.contains("already in use"))
}

fn blocks(value: &Value) -> impl Iterator<Item = &Value> {
    value["message"]["content"].as_array().into_iter().flatten()
}

/// A content as plain text: a string, or the texts of its blocks.
fn spoken(content: &Value) -> String {
    let Some(blocks) = content.as_array() else {
        return cut(content.as_str().unwrap_or_default(), MAX_TEXT);
    };
    let mut all = String::new();
    for block in blocks {
        if !all.is_empty() {
            all.push('\n');
        }
        match block["text"].as_str() {
            Some(text) => all.push_str(text),
            None => all.push_str(&format!("[{}]", word(block, "type"))),
        }
        if all.len() > MAX_TEXT {
            break;
        }
    }
    cut(&all, MAX_TEXT)
}

fn word(value: &Value, name: &str) -> String {
    cut(value[name].as_str().unwrap_or_default(), MAX_WORD)
}

fn text(value: &Value, name: &str) -> String {
    cut(value[name].as_str().unwrap_or_default(), MAX_TEXT)
}

/// A number that is not negative, times `factor`, as a whole one; zero where it is none.
fn whole(value: &Value, factor: f64) -> u64 {
    let scaled = value.as_f64().unwrap_or(0.0) * factor;
    // Formatting rounds, and what does not fit fails to parse: no cast can go wrong.
    format!("{scaled:.0}").parse().unwrap_or(0)
}

/// The text, or its beginning with an ellipsis, in at most `limit` bytes.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub('…'.len_utf8());
    let begin = (0..=room).rev().find_map(|end| text.get(..end));
    format!("{}…", begin.unwrap_or_default())
}

#[cfg(test)]
mod tests;
