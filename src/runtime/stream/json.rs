//! Looks into a line's JSON where it is asked to, and builds no tree of the rest.
//!
//! A tree of a hostile line is a hundred times its size, and the supervisor pays for it. Here a
//! value is a piece of the line's own text, and a value of a wrong type reads as one that is not
//! there: a field that a new version writes differently costs that field, never the line.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::runtime::stream::{MAX_WORD, cut};

/// A value as it stands in its line; nothing where the field is absent or null.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Json<'a>(#[serde(borrow)] Option<&'a RawValue>);

/// A string, in the line itself where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of the object that this text is; an array would do for serde, and is none.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let object = text.starts_with('{');
    object.then(|| serde_json::from_str(text).ok()).flatten()
}

impl<'a> Json<'a> {
    fn raw(self) -> &'a str {
        self.0.map_or("null", RawValue::get)
    }

    /// Its fields; all of them absent where it is no object.
    pub(super) fn fields<T: Deserialize<'a> + Default>(self) -> T {
        object(self.raw()).unwrap_or_default()
    }

    /// Whether it is this number, truth value or null.
    pub(super) fn is(self, literal: &str) -> bool {
        self.raw() == literal
    }

    pub(super) fn is_array(self) -> bool {
        self.raw().starts_with('[')
    }

    /// The number that it is, if it is one of this type.
    pub(super) fn number<T: FromStr>(self) -> Option<T> {
        self.raw().parse().ok()
    }

    /// The string that it is, however long.
    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        let quoted = self.raw().strip_prefix('"')?.strip_suffix('"')?;
        match serde_json::from_str(self.raw()) {
            Ok(Text(text)) => Some(text),
            // A text that was cut between the halves of a surrogate pair; it is shown as written.
            Err(_) => Some(Cow::Borrowed(quoted)),
        }
    }

    /// The string that it is, cut to so many bytes; empty where it is none.
    pub(super) fn text(self, limit: usize) -> String {
        cut(&self.string().unwrap_or_default(), limit)
    }

    /// A name, a kind, an id. It goes into properties and lines, where control characters have no
    /// place: with a NUL in it the bus could not tell of the unit at all.
    pub(super) fn word(self) -> String {
        let word = self.text(MAX_WORD);
        cut(&word.replace(char::is_control, "\u{fffd}"), MAX_WORD)
    }

    /// All of it as compact JSON, cut to so many bytes.
    pub(super) fn compact(self, limit: usize) -> String {
        let (mut quoted, mut escaped) = (false, false);
        let mut all = String::new();
        for c in self.raw().chars() {
            if quoted || !c.is_ascii_whitespace() {
                all.push(c);
            }
            if all.len() > limit {
                break;
            }
            quoted ^= c == '"' && !escaped;
            escaped = quoted && c == '\\' && !escaped;
        }
        cut(&all, limit)
    }

    /// Gives the values of the array that it is, in order, until `take` has enough.
    pub(super) fn each(self, take: impl FnMut(Json<'a>) -> bool) {
        // The rest need not be read: it was found to be JSON when the line was.
        let _ = serde_json::Deserializer::from_str(self.raw()).deserialize_seq(Items(take));
    }
}

struct Items<F>(F);

impl<'a, F: FnMut(Json<'a>) -> bool> Visitor<'a> for Items<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            if !(self.0)(item) {
                break;
            }
        }
        Ok(())
    }
}
