//! Runtimes: what Claude Code and plain commands need, and what their output means.
//!
//! Pure. A runtime turns a unit into a [`Launch`] (argv, environment, files to write) and lines of
//! output into [`AgentEvent`]s; it never starts, reads or writes anything. `claude` is Claude
//! Code, `command` any program. Shapes were measured, not remembered: each is a contract test
//! against the real program. Read next: `prepare` (units to launches), then [`stream`] (output to
//! events).

#![forbid(unsafe_code)]

mod claude;
mod command;
mod instructions;
mod prepare;
mod render;
pub mod stream;

pub use prepare::{Facts, Memory, candidates, prepare};
pub use render::{dollars, render};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the daemon must do so that the runtime starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The program: an absolute path, links followed.
    pub program: PathBuf,
    /// `argv`, name first.
    pub argv: Vec<String>,
    /// Added to (and overridden by) the unit's own `Environment=`.
    pub environment: Vec<(String, String)>,
    /// Files to write before the start, owned by the unit's user.
    pub files: Vec<GeneratedFile>,
    /// Paths the program needs beside what the policy allows, with the reason.
    pub paths: Vec<crate::plan::PathRule>,
    /// Keep standard input open as a stream of lines; messages go there.
    pub input: bool,
    /// The first input: the goal.
    pub first_input: Option<String>,
    /// Standard output is structured and is parsed into events.
    pub structured: bool,
    /// The session this start begins or resumes.
    pub session: Option<String>,
}

/// A file made for the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratedFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub content: String,
    /// Leave an existing file alone.
    pub keep: bool,
    /// Owned by root and so not the agent's to change (a sticky parent is the daemon's care).
    pub locked: bool,
}

/// What happened inside the agent, as its runtime tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum AgentEvent {
    /// A session began or was resumed.
    Session {
        /// The runtime's session id.
        id: String,
        /// The model in use.
        model: String,
        /// MCP servers and their states (`connected`, `pending`, `failed`).
        mcp_servers: Vec<(String, String)>,
    },
    /// A message we sent was taken up by the model's loop.
    InputConsumed {
        /// The text.
        text: String,
    },
    /// The model said something.
    Text {
        /// What it said.
        text: String,
    },
    /// The model reasoned aloud.
    Thinking {
        /// What it thought.
        text: String,
    },
    /// A tool is called.
    ToolUse {
        /// The call's id.
        id: String,
        /// The tool.
        tool: String,
        /// Its arguments, as compact JSON.
        input: String,
    },
    /// A tool has answered.
    ToolResult {
        /// The call's id.
        id: String,
        /// Whether it failed.
        is_error: bool,
        /// What it answered, cut to a bounded length.
        text: String,
    },
    /// The model's service did not answer; the runtime tries again.
    Retry {
        /// Which attempt.
        attempt: u32,
        /// Milliseconds until it.
        delay_ms: u64,
        /// What went wrong.
        error: String,
    },
    /// A turn ended.
    TurnEnded(TurnResult),
    /// A person must decide (answered by the approvals issue; until then shown and denied).
    PermissionAsked {
        /// The request's id.
        id: String,
        /// The tool.
        tool: String,
        /// Its arguments, as compact JSON.
        input: String,
    },
    /// A line that should have been structured and was not.
    Garbled {
        /// The line, cut to a bounded length.
        line: String,
    },
}

/// How one turn ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TurnResult {
    /// The runtime calls it a success and no error.
    pub success: bool,
    /// The runtime's word: `success`, `error_during_execution`, `error_max_turns` …
    pub subtype: String,
    /// The API's status, when the turn failed for it.
    pub api_status: Option<u16>,
    /// The final words, cut to a bounded length.
    pub text: String,
    /// Input tokens of this turn, cached ones included.
    pub input_tokens: u64,
    /// Output tokens of this turn.
    pub output_tokens: u64,
    /// Cost of the whole process so far, in millionths of a US dollar.
    pub cost_micros: u64,
    /// Tool calls that were refused.
    pub denials: u32,
}

/// What a runtime makes of an ended process; the engine believes this rather than the exit code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The goal was reached.
    Completed,
    /// It failed; whether to try again is `Restart=`'s to say.
    Failed {
        /// A fragment for `status`.
        reason: String,
    },
    /// It failed and trying again cannot help (bad credential, limit reached).
    Final {
        /// A fragment for `status`.
        reason: String,
    },
    /// The session to be resumed does not exist; start a fresh one, once.
    SessionLost,
}
