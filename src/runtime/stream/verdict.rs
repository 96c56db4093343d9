//! What an ended process of Claude Code means.
//!
//! Never the exit code alone: an interrupted, refused or half-done run can end with 0. Whether a
//! stop was asked for is the engine's to know; it does not ask for a verdict then.

use crate::engine::event::ExitStatus;
use crate::runtime::stream::{Parser, cut};
use crate::runtime::{TurnResult, Verdict};

/// Longest text of the program's in a reason, in bytes.
const MAX_REASON: usize = 300;

/// What to do without a key; the program's own words send a person to its terminal.
const KEYLESS: &str = "it has no API key; put PassEnvironment=ANTHROPIC_API_KEY into [Agent] and \
                       the variable into the supervisor's environment, or \
                       Environment=ANTHROPIC_API_KEY=... into [Agent]";

impl Parser {
    /// Judges the process's end; `inputs_unanswered`: something was sent after the last turn
    /// began, and was not taken up.
    #[must_use]
    pub fn verdict(&self, exit: ExitStatus, inputs_unanswered: bool) -> Verdict {
        if self.session_lost {
            return Verdict::SessionLost;
        }
        let Some(turn) = &self.last else {
            return failed(format!("ended without a result ({})", how(exit)));
        };
        if !turn.success {
            return unsuccessful(turn, self.unauthenticated);
        }
        if self.in_turn {
            return failed(format!("ended in the middle of a turn ({})", how(exit)));
        }
        if self.torn {
            return failed("its output ended in the middle of a line".to_owned());
        }
        if exit != ExitStatus::Exited(0) {
            return failed(format!("{} after its last turn", how(exit)));
        }
        if inputs_unanswered {
            return failed("ended before it took up every message".to_owned());
        }
        if let Some((_, tool)) = self.asked.first() {
            return failed(format!("ended while permission for {tool} was open"));
        }
        Verdict::Completed
    }
}

fn unsuccessful(turn: &TurnResult, unauthenticated: bool) -> Verdict {
    let said = cut(&turn.text.replace(char::is_control, " "), MAX_REASON);
    // Without a credential the service is never asked, and so has no status.
    let keyless = turn.subtype == "success"
        && turn.api_status.is_none()
        && (unauthenticated || turn.text.starts_with("Not logged in"));
    if keyless {
        return Verdict::Final {
            reason: format!("{KEYLESS} (it says: {said})"),
        };
    }
    let reason = match (turn.subtype.as_str(), turn.api_status) {
        ("success", Some(status)) => format!("model service answered {status}: {said}"),
        ("success", None) => format!("model service failed: {said}"),
        (subtype, _) if said.is_empty() => subtype.to_owned(),
        (subtype, _) => format!("{subtype}: {said}"),
    };
    // Neither a credential nor a limit gets better by trying again.
    let refused = matches!(turn.api_status, Some(401 | 403));
    if refused || turn.subtype.starts_with("error_max_") {
        Verdict::Final { reason }
    } else {
        Verdict::Failed { reason }
    }
}

fn failed(reason: String) -> Verdict {
    Verdict::Failed { reason }
}

fn how(exit: ExitStatus) -> String {
    match exit {
        ExitStatus::Exited(code) => format!("exit {code}"),
        ExitStatus::Killed(signal) => format!("killed by signal {signal}"),
        ExitStatus::Dumped(signal) => format!("killed by signal {signal}, core dumped"),
        ExitStatus::Unknown | ExitStatus::Unseen => "nobody saw how".to_owned(),
    }
}
