//! What the daemon knows of an agent beyond its processes: session, parsed output, usage.
//!
//! Kept in the unit's snapshot together with the engine's state, so that both come back from the
//! same moment.

use serde::{Deserialize, Serialize};

use crate::engine::event::ExitStatus;
use crate::runtime::stream::Parser;
use crate::runtime::{AgentEvent, Verdict};

/// Whether this is a UUID as text (RFC 9562, section 4).
fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(hex)
}

/// One agent's part of the snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Agent {
    /// The runtime's session id; kept over invocations so that a restart can resume it.
    pub(crate) session: Option<String>,
    /// The runtime said that the session exists, so it can be resumed.
    pub(crate) begun: bool,
    /// The parser of this invocation's main process.
    pub(crate) parser: Option<Parser>,
    /// Lines of standard output handled in this invocation; the log has them all, so a daemon that
    /// died between reading and handling catches up from there.
    pub(crate) parsed: u64,
    /// The model in use.
    pub(crate) model: String,
    /// Tokens in, over all invocations.
    pub(crate) tokens_in: u64,
    /// Tokens out, over all invocations.
    pub(crate) tokens_out: u64,
    /// Millionths of a dollar, of processes that have ended.
    pub(crate) cost_before: u64,
    /// Millionths of a dollar, of the current process (the runtime counts per process).
    pub(crate) cost_now: u64,
    /// Realtime microseconds of the last event.
    pub(crate) last_activity: u64,
    /// Messages written and not taken up.
    pub(crate) unanswered: u32,
    /// Number for the next control request to the runtime.
    pub(crate) control: u64,
}

impl Agent {
    /// A new main process is about to run.
    pub(crate) fn begin(&mut self, structured: bool) {
        self.parser = structured.then(Parser::default);
        self.parsed = 0;
        self.unanswered = 0;
        self.cost_before += std::mem::take(&mut self.cost_now);
    }

    /// Takes in one event.
    pub(crate) fn note(&mut self, event: &AgentEvent, at: u64) {
        self.last_activity = at;
        match event {
            AgentEvent::Session { id, model, .. } => {
                // It comes back in a command line and in paths, and an agent may write anything.
                if is_uuid(id) {
                    self.session = Some(id.clone());
                    self.begun = true;
                }
                self.model.clone_from(model);
            }
            AgentEvent::TurnEnded(turn) => {
                self.tokens_in = self.tokens_in.saturating_add(turn.input_tokens);
                self.tokens_out = self.tokens_out.saturating_add(turn.output_tokens);
                self.cost_now = self.cost_now.max(turn.cost_micros);
            }
            AgentEvent::InputConsumed { .. }
            | AgentEvent::Text { .. }
            | AgentEvent::Thinking { .. }
            | AgentEvent::ToolUse { .. }
            | AgentEvent::ToolResult { .. }
            | AgentEvent::Retry { .. }
            | AgentEvent::PermissionAsked { .. }
            | AgentEvent::Garbled { .. } => {}
        }
    }

    /// What the ended process means; `None` for plain commands.
    pub(crate) fn verdict(&self, status: ExitStatus) -> Option<Verdict> {
        self.parser
            .as_ref()
            .map(|parser| parser.verdict(status, self.unanswered > 0))
    }

    /// Cost over all invocations.
    pub(crate) const fn cost(&self) -> u64 {
        self.cost_before.saturating_add(self.cost_now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_becomes_the_session() {
        let mut agent = Agent::default();
        let said = |id: &str| AgentEvent::Session {
            id: id.to_owned(),
            model: "m".to_owned(),
            mcp_servers: vec![],
        };
        for id in [
            "",
            "../../x",
            "--help",
            "a\0b",
            "3f0e4f3c-7d1a-4c8e-9a51-0d6b1c2e4f7/",
        ] {
            agent.note(&said(id), 1);
            assert_eq!(
                (agent.session.as_deref(), agent.begun),
                (None, false),
                "{id}"
            );
        }
        let id = "3f0e4f3c-7d1a-4c8e-9a51-0d6b1c2e4f70";
        agent.note(&said(id), 1);
        assert_eq!((agent.session.as_deref(), agent.begun), (Some(id), true));
    }
}
