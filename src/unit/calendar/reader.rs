//! A place in the text of an expression, and what is read there: lists of numbers for one field.

use std::ops::Range;

use super::{Chain, Component, SECOND, ValueError};
use crate::unit::value::quote;

/// How many alternatives a field may have.
const MOST_COMPONENTS: usize = 241;
/// The largest number that is read at all.
const LARGEST: i64 = i32::MAX as i64;

/// A place in the text.
pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    /// All before it is ASCII.
    pub(super) at: usize,
}

impl Reader<'_> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn rest(&self) -> &str {
        // What was passed is ASCII.
        self.text.get(self.at..).unwrap_or("")
    }

    pub(super) fn take(&mut self, wanted: &str) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    pub(super) fn spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(' ').len();
    }

    /// The field, or whatever it is, from `from` to the next separator.
    fn word(&self, from: usize) -> Range<usize> {
        let rest = self.text.get(from..).unwrap_or("");
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(_, c)| matches!(c, ' ' | ',' | '-' | '~' | ':'))
            .map_or(rest.len(), |(at, _)| at);
        from..from + end
    }

    pub(super) fn error(&self, from: usize, what: &str, help: &str) -> ValueError {
        let word = self.word(from);
        let text = self.text.get(word.clone()).unwrap_or("");
        let error = if text.is_empty() {
            ValueError::new(format!(
                "{} ends where {what} is expected",
                quote(self.text)
            ))
        } else {
            ValueError::unreadable(text, what)
        };
        error.help(help).at(word)
    }

    /// `*` or a list for one field.
    pub(super) fn chain(&mut self, seconds: bool) -> Result<Chain, ValueError> {
        if self.take("*") {
            return Ok(if seconds {
                vec![Component::EVERY_SECOND]
            } else {
                vec![]
            });
        }
        let from = self.at;
        let mut chain = vec![];
        loop {
            if chain.len() == MOST_COMPONENTS {
                let message = "a list in a calendar event is too long";
                let help = format!("write at most {MOST_COMPONENTS} values, or a range");
                return Err(ValueError::new(message).help(help).at(from..self.at));
            }
            chain.push(self.component(seconds)?);
            if !self.take(",") {
                return Ok(chain);
            }
        }
    }

    fn component(&mut self, seconds: bool) -> Result<Component, ValueError> {
        const HELP: &str = "write *, a number, a range such as 1..5, or a repetition such as 0/15";
        let from = self.at;
        let start = self.number(from, seconds)?;
        let unit = if seconds { SECOND } else { 1 };
        let (stop, mut repeat) = if self.take("..") {
            (Some(self.number(from, seconds)?), unit)
        } else {
            (None, 0)
        };
        if self.take("/") {
            repeat = self.number(from, seconds)?;
            if repeat == 0 {
                let message = "a repetition by 0 never goes on";
                return Err(ValueError::new(message).help(HELP).at(self.word(from)));
            }
        } else if seconds && stop.is_some_and(|stop| start + repeat > stop) {
            let help = "write a repetition behind it, such as /0.1";
            return Err(self
                .error(from, "a range of a second or more", help)
                .at(self.word(from)));
        }
        if !matches!(self.peek(), None | Some(b' ' | b',' | b'-' | b'~' | b':')) {
            return Err(self.error(from, "part of a calendar event", HELP));
        }
        Ok(Component {
            start,
            stop,
            repeat,
        })
    }

    /// A number; of seconds in microseconds, rounded. `from` is where its component begins.
    fn number(&mut self, from: usize, seconds: bool) -> Result<i64, ValueError> {
        let what = "a number in a calendar event";
        let unreadable = |reader: &Self| {
            reader.error(from, what, "write *, or decimal numbers as in 1..5 or 0/15")
        };
        let whole = self.digits();
        if whole.is_empty() {
            return Err(unreadable(self));
        }
        let mut number: i64 = self.text[whole].parse().map_err(|_| unreadable(self))?;
        if seconds {
            number = number.saturating_mul(SECOND);
            if self.rest().starts_with('.') && !self.rest().starts_with("..") {
                self.at += 1;
                let part = self.digits();
                if part.is_empty() {
                    return Err(unreadable(self));
                }
                let part = &self.text[part];
                let rounded = part.as_bytes().get(6).is_some_and(|digit| *digit >= b'5');
                let micros = part.bytes().chain(std::iter::repeat(b'0')).take(6);
                let micros = micros.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
                number = number.saturating_add(micros + i64::from(rounded));
            }
        }
        if number > LARGEST {
            return Err(unreadable(self));
        }
        Ok(number)
    }

    /// Passes decimal digits.
    fn digits(&mut self) -> Range<usize> {
        let from = self.at;
        self.at += self.rest().bytes().take_while(u8::is_ascii_digit).count();
        from..self.at
    }
}
