//! Claude Code's stream-json: lines of output → [`AgentEvent`]s, messages → lines of input.
//!
//! A [`Parser`] belongs to one process and can be stored and loaded between two lines, so a new
//! daemon goes on where the old one stopped. No byte sequence makes it fail, and all it keeps is
//! bounded. Read next: `verdict` (what an ended process means), `encode` (the other direction).

mod encode;
mod json;
mod verdict;

use serde::{Deserialize, Serialize};

pub(super) use encode::plain;
pub use encode::{encode_input, encode_interrupt, encode_permission_denied};

use crate::runtime::stream::json::{Json, object};
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

/// The fields of a line that mean something here, whatever its type.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Json<'a>,
    #[serde(borrow)]
    subtype: Json<'a>,
    #[serde(borrow)]
    session_id: Json<'a>,
    #[serde(borrow)]
    model: Json<'a>,
    #[serde(borrow)]
    mcp_servers: Json<'a>,
    #[serde(borrow)]
    attempt: Json<'a>,
    #[serde(borrow)]
    retry_delay_ms: Json<'a>,
    #[serde(borrow)]
    error_status: Json<'a>,
    #[serde(borrow)]
    error: Json<'a>,
    #[serde(borrow)]
    message: Json<'a>,
    #[serde(borrow, rename = "isReplay")]
    is_replay: Json<'a>,
    #[serde(borrow)]
    is_error: Json<'a>,
    #[serde(borrow)]
    api_error_status: Json<'a>,
    #[serde(borrow)]
    result: Json<'a>,
    #[serde(borrow)]
    errors: Json<'a>,
    #[serde(borrow)]
    usage: Json<'a>,
    #[serde(borrow)]
    total_cost_usd: Json<'a>,
    #[serde(borrow)]
    permission_denials: Json<'a>,
    #[serde(borrow)]
    request_id: Json<'a>,
    #[serde(borrow)]
    request: Json<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Server<'a> {
    #[serde(borrow)]
    name: Json<'a>,
    #[serde(borrow)]
    status: Json<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    content: Json<'a>,
}

/// A piece of a message's content.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Json<'a>,
    #[serde(borrow)]
    text: Json<'a>,
    #[serde(borrow)]
    thinking: Json<'a>,
    #[serde(borrow)]
    id: Json<'a>,
    #[serde(borrow)]
    name: Json<'a>,
    #[serde(borrow)]
    input: Json<'a>,
    #[serde(borrow)]
    tool_use_id: Json<'a>,
    #[serde(borrow)]
    is_error: Json<'a>,
    #[serde(borrow)]
    content: Json<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage<'a> {
    #[serde(borrow)]
    input_tokens: Json<'a>,
    #[serde(borrow)]
    cache_creation_input_tokens: Json<'a>,
    #[serde(borrow)]
    cache_read_input_tokens: Json<'a>,
    #[serde(borrow)]
    output_tokens: Json<'a>,
}

/// What the program asks of us.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked<'a> {
    #[serde(borrow)]
    subtype: Json<'a>,
    #[serde(borrow)]
    tool_name: Json<'a>,
    #[serde(borrow)]
    input: Json<'a>,
}

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
        let told = (line.len() <= MAX_LINE)
            .then(|| std::str::from_utf8(line).ok())
            .flatten()
            .and_then(object::<Line<'_>>);
        let Some(told) = told else {
            self.torn = line.starts_with(b"{");
            // Cut first: only the beginning is shown, however long it is.
            let shown = line.get(..2 * MAX_GARBLED).unwrap_or(line);
            let line = cut(&String::from_utf8_lossy(shown), MAX_GARBLED);
            return vec![AgentEvent::Garbled { line }];
        };
        self.torn = false;
        match told.kind.word().as_str() {
            "system" => self.system(&told),
            "assistant" => self.assistant(&told),
            "user" => self.user(&told),
            "result" => self.result(&told),
            "control_request" => self.asked(&told),
            "control_cancel_request" => {
                self.answered(&told.request_id.string().unwrap_or_default());
                vec![]
            }
            // Answers to our own requests, partial messages, and whatever comes to exist.
            _ => vec![],
        }
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

    fn system(&mut self, line: &Line<'_>) -> Vec<AgentEvent> {
        match line.subtype.word().as_str() {
            "init" => {
                self.in_turn = true;
                self.unauthenticated = false;
                let mut mcp_servers = vec![];
                line.mcp_servers.each(|server| {
                    let server: Server<'_> = server.fields();
                    mcp_servers.push((server.name.word(), server.status.word()));
                    mcp_servers.len() < MAX_MANY
                });
                let told = AgentEvent::Session {
                    id: line.session_id.word(),
                    model: line.model.word(),
                    mcp_servers,
                };
                if self.session.as_ref() == Some(&told) {
                    return vec![];
                }
                self.session = Some(told.clone());
                vec![told]
            }
            "api_retry" => {
                let status = line.error_status.number::<u64>();
                let error = match (status, line.error.word()) {
                    (Some(status), error) => format!("{status} {error}").trim_end().to_owned(),
                    (None, error) => error,
                };
                vec![AgentEvent::Retry {
                    attempt: line
                        .attempt
                        .number::<u64>()
                        .map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)),
                    delay_ms: whole(line.retry_delay_ms, 1.0),
                    error,
                }]
            }
            _ => vec![],
        }
    }

    fn assistant(&mut self, line: &Line<'_>) -> Vec<AgentEvent> {
        self.in_turn = true;
        self.unauthenticated |= line.error.word() == "authentication_failed";
        let mut events = vec![];
        let message: Message<'_> = line.message.fields();
        message.content.each(|block| {
            let block: Block<'_> = block.fields();
            let event = match block.kind.word().as_str() {
                "text" => Some(AgentEvent::Text {
                    text: block.text.text(MAX_TEXT),
                }),
                "thinking" => Some(AgentEvent::Thinking {
                    text: block.thinking.text(MAX_TEXT),
                }),
                "tool_use" => Some(AgentEvent::ToolUse {
                    id: block.id.word(),
                    tool: block.name.word(),
                    input: block.input.compact(MAX_TEXT),
                }),
                _ => None,
            };
            let silent = matches!(&event, Some(AgentEvent::Text { text }) if text.is_empty());
            events.extend(event.filter(|_| !silent));
            events.len() < MAX_MANY
        });
        events
    }

    fn user(&mut self, line: &Line<'_>) -> Vec<AgentEvent> {
        self.in_turn = true;
        let message: Message<'_> = line.message.fields();
        if line.is_replay.is("true") {
            let text = spoken(message.content);
            // What `encode_input` put before a slash is taken away again.
            let text = match text.strip_prefix(' ') {
                Some(rest) if rest.starts_with('/') => rest.to_owned(),
                _ => text,
            };
            return vec![AgentEvent::InputConsumed { text }];
        }
        let mut events = vec![];
        message.content.each(|block| {
            let block: Block<'_> = block.fields();
            if block.kind.word() == "tool_result" {
                events.push(AgentEvent::ToolResult {
                    id: block.tool_use_id.word(),
                    is_error: block.is_error.is("true"),
                    text: spoken(block.content),
                });
            }
            events.len() < MAX_MANY
        });
        events
    }

    fn result(&mut self, line: &Line<'_>) -> Vec<AgentEvent> {
        self.in_turn = false;
        let subtype = line.subtype.word();
        let mut errors = vec![];
        line.errors.each(|error| {
            if let Some(error) = error.string() {
                self.session_lost |= lost(&error);
                errors.push(cut(&error, MAX_TEXT));
            }
            errors.len() < MAX_MANY
        });
        let said = line.result.text(MAX_TEXT);
        let usage: Usage<'_> = line.usage.fields();
        let tokens = |count: Json<'_>| count.number::<u64>().unwrap_or(0);
        let mut denials: u32 = 0;
        line.permission_denials.each(|_| {
            denials = denials.saturating_add(1);
            true
        });
        let turn = TurnResult {
            success: subtype == "success" && line.is_error.is("false"),
            subtype,
            api_status: line.api_error_status.number(),
            text: if said.is_empty() {
                cut(&errors.join("; "), MAX_TEXT)
            } else {
                said
            },
            input_tokens: tokens(usage.input_tokens)
                .saturating_add(tokens(usage.cache_creation_input_tokens))
                .saturating_add(tokens(usage.cache_read_input_tokens)),
            output_tokens: tokens(usage.output_tokens),
            cost_micros: whole(line.total_cost_usd, 1e6),
            denials,
        };
        self.last = Some(turn.clone());
        vec![AgentEvent::TurnEnded(turn)]
    }

    /// Every request of the program's waits for an answer, so none is passed over.
    fn asked(&mut self, line: &Line<'_>) -> Vec<AgentEvent> {
        self.in_turn = true;
        // Not cut: a shortened id would be answered in vain.
        let id = line.request_id.string().unwrap_or_default().into_owned();
        if id.is_empty() || id.len() > MAX_WORD {
            return vec![];
        }
        let request: Asked<'_> = line.request.fields();
        let tool = match request.tool_name.word() {
            name if name.is_empty() => request.subtype.word(),
            name => name,
        };
        if self.asked.len() < MAX_MANY {
            self.asked.push((id.clone(), tool.clone()));
        }
        vec![AgentEvent::PermissionAsked {
            id,
            tool,
            input: request.input.compact(MAX_TEXT),
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

/// A content as plain text: a string, or the texts of its blocks.
fn spoken(content: Json<'_>) -> String {
    if !content.is_array() {
        return content.text(MAX_TEXT);
    }
    let mut all = String::new();
    content.each(|block| {
        let block: Block<'_> = block.fields();
        if !all.is_empty() {
            all.push('\n');
        }
        match block.text.string() {
            Some(text) => all.push_str(&cut(&text, MAX_TEXT)),
            None => all.push_str(&format!("[{}]", block.kind.word())),
        }
        all.len() <= MAX_TEXT
    });
    cut(&all, MAX_TEXT)
}

/// A number that is not negative, times `factor`, as a whole one; zero where it is none.
fn whole(value: Json<'_>, factor: f64) -> u64 {
    let scaled = value.number::<f64>().unwrap_or(0.0) * factor;
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
