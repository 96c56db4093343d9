//! Words and quotes, as systemd.syntax(7) ("Quoting") splits and unescapes them.
//!
//! What systemd 252 does was measured and is the table in the tests: quotes open anywhere in a
//! word, an unknown escape stays as it is with a warning, an open quote spoils the whole value.

use std::ops::Range;

use super::ValueError;

/// Most words of one value.
pub const MAX_WORDS: usize = 16 << 10;

/// What a backslash means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escapes {
    /// C-style escapes become the characters they name.
    Interpret,
    /// It is a character like any other (unit names contain `\x2d`).
    Keep,
}

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Without quotes and escapes.
    pub text: String,
    /// Where it stands in the value, quotes included.
    pub range: Range<usize>,
    /// Whether any of it was quoted or escaped: a quoted `;` separates nothing.
    pub quoted: bool,
}

/// The words of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// In order.
    pub words: Vec<Word>,
    /// Escapes that are not known and were left as they stand.
    pub unknown: Vec<Range<usize>>,
}

/// Splits a value at white space outside quotes.
///
/// # Errors
/// For a quote that is not closed, and for an escape that makes NUL or no character at all.
pub fn split(value: &str, escapes: Escapes) -> Result<Words, ValueError> {
    let mut found = Words::default();
    let mut rest = Cursor { value, at: 0 };
    while rest.skip_blanks() {
        let start = rest.at;
        if found.words.len() == MAX_WORDS {
            return Err(ValueError::new(format!("more than {MAX_WORDS} words")));
        }
        let mut word = Word {
            text: String::new(),
            range: start..start,
            quoted: false,
        };
        let mut quote: Option<(char, usize)> = None;
        while let Some(c) = rest.peek() {
            match (c, quote) {
                ('\\', _) if escapes == Escapes::Interpret => {
                    let begin = rest.at;
                    word.quoted = true;
                    match rest.escape()? {
                        Some(c) => word.text.push(c),
                        None => {
                            // A lone "\;" is a word of a command line, and no escape.
                            let at_word_start = begin == start;
                            let end = rest.at;
                            let text = value.get(begin..end).unwrap_or_default();
                            let ends_word = rest.peek().is_none_or(is_blank);
                            if text == "\\;" && at_word_start && ends_word {
                                word.text.push(';');
                            } else {
                                word.text.push_str(text);
                                found.unknown.push(begin..end);
                            }
                        }
                    }
                    continue;
                }
                (c, Some((open, _))) if c == open => quote = None,
                (c, Some(_)) => word.text.push(c),
                ('"' | '\'', None) => {
                    quote = Some((c, rest.at));
                    word.quoted = true;
                }
                (c, None) if is_blank(c) => break,
                (c, None) => word.text.push(c),
            }
            rest.at += c.len_utf8();
        }
        if let Some((open, at)) = quote {
            return Err(ValueError::new(format!("quote {open} is not closed"))
                .help(format!(
                    "close it, or write \\{open} for the character itself"
                ))
                .at(at..value.len()));
        }
        word.range.end = rest.at;
        found.words.push(word);
    }
    Ok(found)
}

/// The text of a value that is one quoted word (`"…"` or `'…'` as a whole), unescaped; any other
/// value is `None` and means what it says.
pub(crate) fn unquote(value: &str) -> Option<String> {
    let open = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let words = split(value, Escapes::Interpret).ok()?;
    let [word] = words.words.as_slice() else {
        return None;
    };
    // `"a"b"c"` is one word too, but nobody means that as a quoted whole.
    let inner = value.get(1..value.len().checked_sub(1)?)?;
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == open => return None,
            _ => {}
        }
    }
    (value.ends_with(open) && !escaped && words.unknown.is_empty()).then(|| word.text.clone())
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

struct Cursor<'a> {
    value: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.value.get(self.at..)?.chars().next()
    }

    /// Whether anything is left behind the blanks.
    fn skip_blanks(&mut self) -> bool {
        while let Some(c) = self.peek().filter(|c| is_blank(*c)) {
            self.at += c.len_utf8();
        }
        self.at < self.value.len()
    }

    /// Reads the escape at the cursor, which stands on the backslash, and goes behind it; `None`
    /// when it is not known (the cursor then stands behind the character after the backslash).
    fn escape(&mut self) -> Result<Option<char>, ValueError> {
        let begin = self.at;
        self.at += 1;
        let Some(c) = self.peek() else {
            return Ok(None);
        };
        self.at += c.len_utf8();
        let simple = match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            's' => ' ',
            '\\' | '"' | '\'' => c,
            'x' => return self.coded(begin, 2, 16),
            'u' => return self.coded(begin, 4, 16),
            'U' => return self.coded(begin, 8, 16),
            '0'..='7' => {
                self.at -= 1;
                return self.coded(begin, 3, 8);
            }
            _ => return Ok(None),
        };
        Ok(Some(simple))
    }

    fn coded(
        &mut self,
        begin: usize,
        digits: usize,
        radix: u32,
    ) -> Result<Option<char>, ValueError> {
        let from = self.at;
        let code = self
            .value
            .get(from..from + digits)
            .filter(|text| text.chars().all(|c| c.is_digit(radix)))
            .and_then(|text| u32::from_str_radix(text, radix).ok());
        let Some(code) = code else {
            self.at = begin + 2;
            return Ok(None);
        };
        self.at += digits;
        // Bytes from 0x80 on would make text that is no text.
        let bytes_only = digits < 4 && code > 0x7f;
        match char::from_u32(code).filter(|c| *c != '\0' && !bytes_only) {
            Some(c) => Ok(Some(c)),
            None => Err(
                ValueError::new("escape is NUL or not a character of UTF-8 text")
                    .help("write \\u00e9 for é")
                    .at(begin..self.at),
            ),
        }
    }
}
