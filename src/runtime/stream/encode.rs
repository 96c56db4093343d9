//! Lines for Claude Code's standard input, newline included.
//!
//! JSON escapes every control character, so no text can end its line early.

use std::borrow::Cow;

use serde_json::json;

/// A message of a person, of another agent, or the goal.
#[must_use]
pub fn encode_input(text: &str) -> Vec<u8> {
    let content = json!([{"type": "text", "text": plain(text)}]);
    line(&json!({"type": "user", "message": {"role": "user", "content": content}}))
}

/// Ends the turn; the session goes on. `id` comes back in the answer.
#[must_use]
pub fn encode_interrupt(id: &str) -> Vec<u8> {
    let request = json!({"subtype": "interrupt"});
    line(&json!({"type": "control_request", "request_id": id, "request": request}))
}

/// Refuses a permission request; the model reads the message, so it says why and what to do.
#[must_use]
pub fn encode_permission_denied(request_id: &str, message: &str) -> Vec<u8> {
    let answer = json!({"behavior": "deny", "message": message});
    line(&json!({
        "type": "control_response",
        "response": {"subtype": "success", "request_id": request_id, "response": answer},
    }))
}

/// The text such that it is read as text: one that begins with a slash is a command of the
/// program (`/clear` would empty the conversation), and a space before it makes it words again.
pub(in crate::runtime) fn plain(text: &str) -> Cow<'_, str> {
    if text.starts_with('/') {
        Cow::Owned(format!(" {text}"))
    } else {
        Cow::Borrowed(text)
    }
}

fn line(value: &serde_json::Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}
