//! Messages to an agent that it has not read yet.
//!
//! A queue with a limit, in the order in which the messages were sent. It decides nothing about
//! when to deliver; `talk` does.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::engine::event::InputId;

/// How many messages are kept for one agent.
pub const LIMIT: usize = 64;

/// Messages in order; the first may be on its way already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queue {
    waiting: VecDeque<(InputId, String)>,
}

impl Queue {
    /// Keeps a message; `false` when there are too many.
    pub(super) fn push(&mut self, id: InputId, text: String) -> bool {
        let room = self.waiting.len() < LIMIT;
        if room {
            self.waiting.push_back((id, text));
        }
        room
    }

    pub(super) fn first(&self) -> Option<(InputId, &str)> {
        self.waiting.front().map(|(id, text)| (*id, text.as_str()))
    }

    /// Takes a message out; `false` when it is not here.
    pub(super) fn remove(&mut self, id: InputId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(other, _)| *other != id);
        self.waiting.len() < before
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= LIMIT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    /// Drops everything and says how many there were.
    pub(super) fn clear(&mut self) -> usize {
        let count = self.waiting.len();
        self.waiting.clear();
        count
    }
}
