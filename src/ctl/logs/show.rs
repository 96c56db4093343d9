//! One entry as text or JSON. Pure.

use chrono::{DateTime, Local, Utc};
use serde_json::{Value, json};

use super::entry::{Entry, Stream};
use crate::ctl::screen::{Tone, clean, tint};
use crate::runtime::{AgentEvent, render as render_event};

/// Which entries are shown, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    /// Exactly what the process printed.
    pub(super) raw: bool,
    /// One JSON object per line.
    pub(super) json: bool,
    /// The unit's standard output is structured, and its events tell the same.
    pub(super) structured: bool,
    /// Colours may be used.
    pub(super) colour: bool,
    /// The output goes to a terminal, which what an agent wrote must not steer.
    pub(super) terminal: bool,
}

impl View {
    /// Whether entries of the stream are shown.
    pub(super) const fn shows(self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.raw || !self.structured,
            Stream::Stderr => true,
            Stream::Event | Stream::Aether => !self.raw,
        }
    }
}

/// The entry, line ends included; empty when there is nothing to show of it.
pub(super) fn render(entry: &Entry, view: View) -> Vec<u8> {
    if view.raw {
        let mut text = if view.terminal {
            clean(&String::from_utf8_lossy(&entry.text), true).into_bytes()
        } else {
            entry.text.clone()
        };
        text.push(b'\n');
        return text;
    }
    if view.json {
        let mut line = to_json(entry).to_string().into_bytes();
        line.push(b'\n');
        return line;
    }
    let text = String::from_utf8_lossy(&entry.text);
    let (word, tone, text) = match entry.stream {
        Stream::Stdout => ("stdout", Tone::Plain, text.into_owned()),
        Stream::Stderr => ("stderr", Tone::Busy, text.into_owned()),
        Stream::Aether => ("aether", Tone::Strong, text.into_owned()),
        Stream::Event => match serde_json::from_slice::<AgentEvent>(&entry.text) {
            Ok(event) => ("agent", tone(&event), describe(&event)),
            // An event of a newer version is shown as it is rather than hidden.
            Err(_) => ("agent", Tone::Dim, text.into_owned()),
        },
    };
    if text.is_empty() && entry.stream == Stream::Event {
        return vec![];
    }
    let head = format!(
        "{} {word:<6}",
        entry.time.with_timezone(&Local).format("%b %d %H:%M:%S")
    );
    let mut out = String::new();
    for (place, line) in clean(&text, view.colour).split('\n').enumerate() {
        if place == 0 {
            out.push_str(&tint(view.colour, Tone::Dim, &head));
        } else {
            out.push_str(&" ".repeat(head.len()));
        }
        if !line.is_empty() {
            out.push(' ');
            out.push_str(&tint(view.colour, tone, line));
        }
        out.push('\n');
    }
    out.into_bytes()
}

/// `{time, stream, text}`, or `event` instead of `text`.
pub(super) fn to_json(entry: &Entry) -> Value {
    let time = stamp(entry.time);
    let stream = entry.stream.as_str();
    if entry.stream == Stream::Event
        && let Ok(event) = serde_json::from_slice::<Value>(&entry.text)
    {
        return json!({ "time": time, "stream": stream, "event": event });
    }
    json!({ "time": time, "stream": stream, "text": String::from_utf8_lossy(&entry.text) })
}

fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}

const fn tone(event: &AgentEvent) -> Tone {
    match event {
        AgentEvent::Text { .. } => Tone::Plain,
        AgentEvent::Session { .. } | AgentEvent::InputConsumed { .. } => Tone::Strong,
        AgentEvent::Thinking { .. }
        | AgentEvent::ToolResult {
            is_error: false, ..
        } => Tone::Dim,
        AgentEvent::ToolUse { .. } => Tone::Paused,
        AgentEvent::ToolResult { .. } | AgentEvent::Garbled { .. } => Tone::Bad,
        AgentEvent::Retry { .. } | AgentEvent::PermissionAsked { .. } => Tone::Busy,
        AgentEvent::TurnEnded(turn) => {
            if turn.success {
                Tone::Good
            } else {
                Tone::Bad
            }
        }
    }
}

/// The event in words: what was said in full and with its lines, all else in one line.
fn describe(event: &AgentEvent) -> String {
    match event {
        AgentEvent::Text { text } => text.clone(),
        AgentEvent::InputConsumed { text } => format!("> {text}"),
        AgentEvent::Thinking { text } => format!("~ {text}"),
        other => render_event(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: View = View {
        raw: false,
        json: false,
        structured: false,
        colour: false,
        terminal: false,
    };

    fn entry(stream: Stream, text: &str) -> Entry {
        Entry {
            time: DateTime::from_timestamp(1_700_000_000, 5).unwrap(),
            stream,
            text: text.into(),
        }
    }

    fn text(entry: &Entry, view: View) -> String {
        let out = String::from_utf8(render(entry, view)).unwrap();
        // The local time is not the test's matter.
        if view.raw || view.json {
            out
        } else {
            out[16..].to_owned()
        }
    }

    #[test]
    fn lines_stand_below_each_other() {
        assert_eq!(
            text(&entry(Stream::Stdout, "one\n\ntwo"), VIEW),
            "stdout one\n                      \n                       two\n"
                .replace("                      \n", &format!("{}\n", " ".repeat(22)))
        );
        assert_eq!(
            text(&entry(Stream::Stderr, "\x1b[2J"), VIEW),
            "stderr ^[[2J\n"
        );
    }

    #[test]
    fn events_are_told_in_words() {
        let use_tool = r#"{"event":"tool-use","id":"1","tool":"Bash","input":"{}"}"#;
        assert_eq!(
            text(&entry(Stream::Event, use_tool), VIEW),
            "agent  › Bash {}\n"
        );
        assert_eq!(text(&entry(Stream::Event, "{}"), VIEW), "agent  {}\n");
    }

    #[test]
    fn json_carries_the_event_itself() {
        let event = entry(Stream::Event, r#"{"event":"text","text":"hi"}"#);
        let view = View { json: true, ..VIEW };
        insta::assert_snapshot!(
            text(&event, view),
            @r#"{"event":{"event":"text","text":"hi"},"stream":"event","time":"2023-11-14T22:13:20.000000005Z"}"#
        );
    }

    #[test]
    fn raw_is_byte_for_byte_unless_a_terminal_looks() {
        let mut odd = entry(Stream::Stdout, "");
        odd.text = vec![0xff, 0x1b, b'c'];
        let raw = View { raw: true, ..VIEW };
        assert_eq!(render(&odd, raw), [0xff, 0x1b, b'c', b'\n']);
        let seen = View {
            terminal: true,
            ..raw
        };
        assert_eq!(render(&odd, seen), "\u{fffd}^[c\n".as_bytes());
    }

    #[test]
    fn structured_output_is_not_told_twice() {
        let view = View {
            structured: true,
            ..VIEW
        };
        assert!(!view.shows(Stream::Stdout) && view.shows(Stream::Stderr));
        let raw = View { raw: true, ..view };
        assert!(raw.shows(Stream::Stdout) && !raw.shows(Stream::Event));
    }
}
