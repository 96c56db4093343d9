//! How single values are written: truth, time, sizes, numbers, signals, words, commands.
//!
//! Each function takes text without specifiers and gives the value or a [`ValueError`] that says
//! what is wrong with it and what to write instead. Nothing here knows which directive asks.
//! Read next: [`words`] for quoting, [`command`] for `Exec…=` lines.

pub mod command;
pub mod number;
pub mod status;
pub mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

pub use number::{FOREVER, bytes, duration, integer, limit, octal, permille};
pub use status::{exit_status, signal};
pub use words::{Escapes, Word, Words, split};

/// Longest quotation of a value in a message, in characters.
const MAX_QUOTE: usize = 60;

/// Why a value cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValueError {
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The bytes of the value that are meant; the whole value without it.
    pub range: Option<Range<usize>>,
}

impl ValueError {
    /// About the whole value.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            range: None,
        }
    }

    /// `cannot read "x" as a size`.
    pub fn unreadable(text: &str, what: &str) -> Self {
        Self::new(format!("cannot read {} as {what}", quote(text)))
    }

    /// With a way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// About a part of the value.
    #[must_use]
    pub fn at(mut self, range: Range<usize>) -> Self {
        self.range = Some(range);
        self
    }
}

/// A value between quotes, shortened, with nothing a terminal would obey.
pub(crate) fn quote(text: &str) -> impl fmt::Display {
    let mut shown: String = text.chars().take(MAX_QUOTE).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// `yes`, `true`, `on`, `1` and their opposites (systemd.syntax(7)).
///
/// # Errors
/// For any other text.
pub fn boolean(text: &str) -> Result<bool, ValueError> {
    let is = |names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    if is(&["1", "yes", "y", "true", "t", "on"]) {
        Ok(true)
    } else if is(&["0", "no", "n", "false", "f", "off"]) {
        Ok(false)
    } else {
        Err(ValueError::unreadable(text, "yes or no").help("write yes or no"))
    }
}

/// One of a few names.
///
/// # Errors
/// When it is none of them; the help names the nearest, or all.
pub fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, ValueError> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names = choices.iter().map(|(name, _)| *name);
    let help = super::nearest::nearest(text, names.clone()).map_or_else(
        || format!("write one of: {}", names.collect::<Vec<_>>().join(", ")),
        |name| format!("did you mean {name}?"),
    );
    Err(ValueError::new(format!("{} is not known here", quote(text))).help(help))
}
