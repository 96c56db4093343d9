//! Talking with an agent: one message at a time, and closing its input when all is said.
//!
//! A headless runtime ends only when its input is closed. So after a turn, when nothing waits to
//! be delivered and nothing delivered waits to be taken up, the input is closed and the runtime
//! is judged by how it ends. A message that comes after that is kept: if the verdict is that the
//! goal was reached, the agent is started again, resuming its session, to read it.

use crate::engine::event::{Effect, InputId};
use crate::engine::state::{Freezer, State};
use crate::engine::step::Step;
use crate::runtime::TurnResult;

impl Step<'_> {
    /// Writes the next message, if it can be written now.
    pub(super) fn deliver(&mut self) {
        let run = &self.core.run;
        let open = matches!(self.core.state, State::Running { .. })
            && self.core.freezer == Freezer::Running
            && !run.input_closed
            && !run.input_broken
            && (run.writing.is_none() || run.rewrite);
        if open && let Some((input, text)) = self.core.inputs.first() {
            self.out.push(Effect::Deliver {
                unit: self.unit.name.clone(),
                input,
                text: text.to_owned(),
            });
            self.core.run.writing = Some(input);
            self.core.run.rewrite = false;
        }
    }

    /// [`Event::InputDelivered`](crate::engine::event::Event::InputDelivered).
    pub(super) fn input_delivered(&mut self, input: InputId) {
        let here = self.core.inputs.remove(input);
        if self.core.run.writing == Some(input) {
            self.core.run.writing = None;
            self.core.run.rewrite = false;
            if here {
                self.core.run.unconsumed = self.core.run.unconsumed.saturating_add(1);
            }
            self.deliver();
        }
    }

    /// [`Event::InputFailed`](crate::engine::event::Event::InputFailed). The message stays for the
    /// next run; this one's input is not tried again.
    pub(super) fn input_failed(&mut self, input: InputId, reason: &str) {
        if self.core.run.writing == Some(input) {
            self.core.run.writing = None;
            self.core.run.rewrite = false;
            self.core.run.input_broken = true;
            self.log(format!("a message could not be delivered: {reason}"));
        }
    }

    /// [`Event::InputConsumed`](crate::engine::event::Event::InputConsumed). The goal, which we did
    /// not deliver, is told too; so the count stops at nothing.
    pub(super) fn input_consumed(&mut self) {
        self.core.run.unconsumed = self.core.run.unconsumed.saturating_sub(1);
        self.core.run.idle = false;
    }

    /// [`Event::TurnEnded`](crate::engine::event::Event::TurnEnded).
    pub(super) fn turn_ended(&mut self, result: TurnResult) {
        if self.core.state.main().is_none() {
            return;
        }
        self.core.run.turns = self.core.run.turns.saturating_add(1);
        self.core.run.last_turn = Some(result);
        self.core.run.idle = true;
        self.close_when_idle();
    }

    /// Closes the input when all is said and done.
    pub(super) fn close_when_idle(&mut self) {
        let run = &self.core.run;
        let quiet = run.idle && run.unconsumed == 0 && run.writing.is_none();
        let said = self.core.inputs.is_empty() || run.input_broken;
        if quiet
            && said
            && self.is_headless()
            && self.core.freezer == Freezer::Running
            && matches!(self.core.state, State::Running { .. })
        {
            self.close_input();
        }
    }

    pub(super) fn close_input(&mut self) {
        if !self.core.run.input_closed {
            self.core.run.input_closed = true;
            self.out.push(Effect::CloseInput {
                unit: self.unit.name.clone(),
            });
        }
    }
}
