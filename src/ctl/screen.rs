//! Where text goes: colours, width, and what an agent's text may do to a terminal (nothing).
//!
//! Everything an agent wrote is shown through [`clean`]; colours are only put on where a person
//! looks.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::cli::{Common, When};

/// The standard output, and how it may be used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Colours may be used.
    pub(super) colour: bool,
    /// Standard output is a terminal.
    pub(super) terminal: bool,
    /// Columns; `None`: no terminal, so nothing is cut.
    pub(super) width: Option<usize>,
    /// `--json`.
    pub(super) json: bool,
    /// `--quiet`.
    pub(super) quiet: bool,
}

/// A meaning, not a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Busy,
    Paused,
    Dim,
    Strong,
    Plain,
}

impl Screen {
    /// Looks at the terminal and the environment once.
    pub(super) fn find(common: &Common) -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let width = terminal
            .then(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)))
            .flatten();
        Self {
            colour: match common.color {
                When::Always => true,
                When::Never => false,
                When::Auto => terminal && !refused,
            },
            terminal,
            width,
            json: common.json,
            quiet: common.quiet,
        }
    }

    /// Text with a tone, where colours are used.
    pub(super) fn tint(self, tone: Tone, text: &str) -> String {
        tint(self.colour, tone, text)
    }

    /// Writes to standard output.
    pub(super) fn print(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes a line about what was done, unless `--quiet` or `--json`.
    pub(super) fn say(self, text: &str) -> io::Result<()> {
        if self.quiet || self.json {
            return Ok(());
        }
        self.print(&format!("{text}\n"))
    }

    /// Writes a value as JSON.
    pub(super) fn print_json(self, value: &serde_json::Value) -> io::Result<()> {
        let text = if self.terminal {
            format!("{value:#}\n")
        } else {
            format!("{value}\n")
        };
        self.print(&text)
    }
}

/// The end of a word that is counted.
pub(super) fn plural<N: From<u8> + PartialEq>(count: N) -> &'static str {
    if count == N::from(1) { "" } else { "s" }
}

/// See [`Screen::tint`].
pub(super) fn tint(colour: bool, tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "1;31",
        Tone::Busy => "33",
        Tone::Paused => "36",
        Tone::Dim => "2",
        Tone::Strong => "1",
        Tone::Plain => return text.to_owned(),
    };
    if colour && !text.is_empty() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// The text with every character made visible that could move a cursor, forge a line or reverse
/// the reading direction. Line ends and tabs stay. With `colours`, colour sequences (`ESC [ … m`)
/// stay too, and are closed at the end; without it they are removed.
pub(super) fn clean(text: &str, colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = colour_sequence(rest) {
            if colours {
                out.push_str(&rest[..length]);
                coloured = true;
            }
            rest = &rest[length..];
            continue;
        }
        match c {
            '\n' | '\t' => out.push(c),
            '\r' if rest.starts_with("\r\n") || rest.len() == 1 => {}
            '\u{0}'..='\u{1f}' => {
                out.push('^');
                out.push(char::from(u8::try_from(u32::from(c)).unwrap_or(0) + 0x40));
            }
            '\u{7f}' => out.push_str("^?"),
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            _ => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    if coloured {
        out.push_str("\x1b[0m");
    }
    out
}

/// [`clean`] for one line of a view: line ends and tabs become spaces.
pub(super) fn clean_line(text: &str) -> String {
    clean(text, false).replace(['\n', '\t'], " ")
}

/// The length of the colour sequence that the text begins with.
fn colour_sequence(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters
        .bytes()
        .take(32)
        .position(|byte| !(byte.is_ascii_digit() || byte == b';' || byte == b':'))?;
    (parameters.as_bytes().get(end) == Some(&b'm')).then_some(end + 3)
}

/// The text cut to so many columns, with `…` where something is missing.
pub(super) fn ellipsize(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width + 1 > columns {
            break;
        }
        used += width;
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// The text padded with spaces to so many columns.
pub(super) fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_cannot_steer_the_terminal() {
        assert_eq!(
            clean("a\x1b[2Jb\x1b]0;title\x07", true),
            "a^[[2Jb^[]0;title^G"
        );
        assert_eq!(clean("over\rwritten", false), "over^Mwritten");
        assert_eq!(clean("line\r\nnext\r", false), "line\nnext");
        assert_eq!(
            clean("\u{202e}evil\u{9b}31m", false),
            "\\u{202e}evil\\u{9b}31m"
        );
    }

    #[test]
    fn colours_pass_and_end_where_they_are_wanted() {
        assert_eq!(clean("\x1b[1;31mred", true), "\x1b[1;31mred\x1b[0m");
        assert_eq!(clean("\x1b[1;31mred\x1b[0m", false), "red");
        assert_eq!(clean("\x1b[", true), "^[[");
        assert_eq!(clean("\x1b[31", true), "^[[31");
    }

    #[test]
    fn cuts_by_columns_not_bytes() {
        assert_eq!(ellipsize("日本語テキスト", 7), "日本語…");
        assert_eq!(ellipsize("short", 5), "short");
        assert_eq!(ellipsize("shorter", 5), "shor…");
        assert_eq!(pad("日本", 6), "日本  ");
    }
}
