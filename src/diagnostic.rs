//! What is wrong with a text a person wrote, and what to do about it.
//!
//! A [`Diagnostic`] names file, line and column, shows the line, marks the place and, where it
//! can, gives a way out. Parsers return every diagnostic together with a usable result; they never
//! print. Read next: [`crate::unit`].

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The unit works without it, but not as its author may think.
    Warning,
    /// The assignment is ignored, or the unit cannot be started.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One finding in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// The file, as the person named it or as it was found.
    pub path: PathBuf,
    /// Line, from 1; 0 when the finding is about the whole file.
    pub line: u32,
    /// Column in characters, from 1; 0 when the finding is about the whole line.
    pub column: u32,
    /// How many characters are marked.
    pub width: u32,
    /// The source line, without its line end; empty when there is none.
    pub excerpt: String,
    /// What is wrong: a lowercase fragment without a full stop.
    pub message: String,
    /// The way out, when there is one: "did you mean …", "write … instead".
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding about the whole file, at no line of it.
    #[must_use]
    pub fn of_file(
        severity: Severity,
        path: impl Into<PathBuf>,
        message: String,
        help: Option<String>,
    ) -> Self {
        Self {
            severity,
            path: path.into(),
            line: 0,
            column: 0,
            width: 0,
            excerpt: String::new(),
            message,
            help,
        }
    }
}

impl fmt::Display for Diagnostic {
    /// The form `verify` prints: `path:line:column: severity: message`, excerpt, marks, help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        write!(f, ": {}: {}", self.severity, self.message)?;
        if !self.excerpt.is_empty() {
            let gutter = self.line.to_string().len();
            write!(f, "\n {:>gutter$} | {}", self.line, self.excerpt)?;
            if self.column > 0 && self.width > 0 {
                let before = (self.column - 1) as usize;
                // Tabs stay tabs so that the marks stand below what they mark.
                let pad: String = self
                    .excerpt
                    .chars()
                    .take(before)
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                write!(
                    f,
                    "\n {:>gutter$} | {pad}{}",
                    "",
                    "^".repeat(self.width as usize)
                )?;
            }
        }
        if let Some(help) = &self.help {
            write!(f, "\n   help: {help}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_place() {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            path: "coder.agent".into(),
            line: 12,
            column: 1,
            width: 9,
            excerpt: "MemoyrMax=4G".to_owned(),
            message: "unknown directive MemoyrMax= in [Agent]".to_owned(),
            help: Some("did you mean MemoryMax=?".to_owned()),
        };
        assert_eq!(
            diagnostic.to_string(),
            "coder.agent:12:1: error: unknown directive MemoyrMax= in [Agent]\n \
             12 | MemoyrMax=4G\n    | ^^^^^^^^^\n   help: did you mean MemoryMax=?"
        );
    }
}
