//! What a memory is, what is accepted, and how what was found is put in order.
//!
//! Pure: no SQL and no clock. A score is relevance (bm25, normalised to the best hit of this
//! question) × importance × recency, each part shown with the hit, so that a person can see why it
//! came first. Read next: [`super::words`], [`super::store`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest text of one memory, in bytes.
pub const MAX_TEXT: usize = 16 * 1024;
/// Longest context, in bytes.
pub const MAX_CONTEXT: usize = 1024;
/// Most tags of one memory.
pub const MAX_TAGS: usize = 16;
/// Longest tag, in bytes.
pub const MAX_TAG: usize = 64;
/// Longest question, in bytes.
pub const MAX_QUERY: usize = 4 * 1024;
/// Most hits of one question.
pub const MAX_HITS: u32 = 50;
/// Longest reason for forgetting, in bytes.
pub const MAX_REASON: usize = 512;

/// The kinds of memory, which fade at different speeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Layer {
    /// What happened.
    Episodic,
    /// Facts.
    #[default]
    Semantic,
    /// How things are done.
    Procedural,
    /// About others: people and agents.
    Social,
    /// What must never fade.
    Core,
}

impl Layer {
    /// The word in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Episodic => "episodic",
            Self::Semantic => "semantic",
            Self::Procedural => "procedural",
            Self::Social => "social",
            Self::Core => "core",
        }
    }

    /// The layer of a database row; the table's CHECK admits no other word.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word {
            "episodic" => Self::Episodic,
            "procedural" => Self::Procedural,
            "social" => Self::Social,
            "core" => Self::Core,
            _ => Self::Semantic,
        }
    }

    /// Days until half of the fading part is gone; `None`: it does not fade.
    #[must_use]
    pub const fn half_life(self) -> Option<f64> {
        match self {
            Self::Episodic => Some(30.0),
            Self::Social => Some(90.0),
            Self::Semantic => Some(180.0),
            Self::Procedural => Some(365.0),
            Self::Core => None,
        }
    }
}

/// A memory about to be written.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// The memory itself.
    pub text: String,
    /// Its kind.
    pub layer: Layer,
    /// What it was about (task, file, neighbouring statement); found with a low weight.
    pub context: String,
    /// Labels; found with a high weight.
    pub tags: Vec<String>,
    /// 1 to 10.
    pub importance: u8,
    /// The id of the memory that this one replaces.
    pub supersedes: Option<String>,
}

impl Draft {
    /// Checks every limit and tidies the white space.
    ///
    /// # Errors
    /// A sentence for the agent, naming the limit.
    pub fn check(mut self) -> Result<Self, String> {
        self.text = self.text.trim().to_owned();
        self.context = self.context.trim().to_owned();
        if self.text.is_empty() {
            return Err("text is empty: there is nothing to remember".to_owned());
        }
        limit("text", self.text.len(), MAX_TEXT)?;
        limit("context", self.context.len(), MAX_CONTEXT)?;
        if self.tags.len() > MAX_TAGS {
            return Err(format!(
                "{} tags are too many: at most {MAX_TAGS}",
                self.tags.len()
            ));
        }
        for tag in &mut self.tags {
            *tag = tag.split_whitespace().collect::<Vec<_>>().join("-");
            limit("a tag", tag.len(), MAX_TAG)?;
        }
        self.tags.retain(|tag| !tag.is_empty());
        if !(1..=10).contains(&self.importance) {
            return Err(format!(
                "importance {} is not between 1 and 10",
                self.importance
            ));
        }
        Ok(self)
    }

    /// What it takes of the unit's quota, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 1).sum();
        self.text.len() + self.context.len() + tags.saturating_sub(1)
    }
}

/// A question.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Words; empty: the newest memories.
    pub text: String,
    /// How many hits, 1 to [`MAX_HITS`].
    pub limit: u32,
    /// Only this kind.
    pub layer: Option<Layer>,
    /// Only memories with all of these tags.
    pub tags: Vec<String>,
}

impl Query {
    /// Checks every limit.
    ///
    /// # Errors
    /// A sentence for the agent, naming the limit.
    pub fn check(self) -> Result<Self, String> {
        limit("query", self.text.len(), MAX_QUERY)?;
        if self.tags.len() > MAX_TAGS {
            return Err(format!(
                "{} tags are too many: at most {MAX_TAGS}",
                self.tags.len()
            ));
        }
        if !(1..=MAX_HITS).contains(&self.limit) {
            return Err(format!(
                "limit {} is not between 1 and {MAX_HITS}",
                self.limit
            ));
        }
        Ok(self)
    }
}

fn limit(what: &str, length: usize, most: usize) -> Result<(), String> {
    if length > most {
        return Err(format!(
            "{what} has {length} bytes, the limit is {most}; make it shorter"
        ));
    }
    Ok(())
}

/// What one row is ranked by.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// 0 to 1, 1 for the best match of this question.
    pub relevance: f64,
    /// 1 to 10.
    pub importance: u8,
    /// Its kind.
    pub layer: Layer,
    /// Pinned memories do not fade.
    pub pinned: bool,
    /// Days since it was written.
    pub age: f64,
}

impl Parts {
    /// What importance makes of the score: 0.6 to 1.5.
    #[must_use]
    pub fn importance_factor(&self) -> f64 {
        0.5 + f64::from(self.importance) / 10.0
    }

    /// What age makes of it. A quarter never fades: an old exact answer beats a new vague one.
    #[must_use]
    pub fn recency_factor(&self) -> f64 {
        match self.layer.half_life() {
            Some(days) if !self.pinned => 0.25 + 0.75 * (-self.age.max(0.0) / days).exp2(),
            _ => 1.0,
        }
    }

    /// The score.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.relevance * self.importance_factor() * self.recency_factor()
    }
}

/// One memory found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// Its id, for `forget` and `supersedes`.
    pub id: String,
    /// The text.
    pub text: String,
    /// Its kind.
    pub layer: Layer,
    /// Labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What it was about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub context: String,
    /// 1 to 10.
    pub importance: u8,
    /// Who said so.
    pub source: String,
    /// In words: `3 days`.
    pub age: String,
    /// The product of the parts in `why`.
    pub score: f64,
    /// `relevance 1.00 × importance 1.00 × recency 0.98`.
    pub why: String,
}

/// An existing memory that says nearly the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alike {
    /// Its id.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Shared words over all words.
    pub likeness: f64,
}

/// A memory written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Written {
    /// Its id.
    pub id: String,
    /// False: the same text was there already, and this is its id.
    pub new: bool,
    /// What it replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded: Option<String>,
    /// What looks like the same or the opposite, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<Alike>,
}

/// Seconds as a person says them.
#[must_use]
pub fn age_words(seconds: u64) -> String {
    let (count, word) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Two digits are enough to compare by.
#[must_use]
pub fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Parts = Parts {
        relevance: 1.0,
        importance: 5,
        layer: Layer::Semantic,
        pinned: false,
        age: 0.0,
    };

    #[test]
    fn importance_and_age_order_equal_matches() {
        let important = Parts {
            importance: 9,
            ..FRESH
        };
        let old = Parts {
            age: 180.0,
            ..FRESH
        };
        assert!(important.score() > FRESH.score());
        assert!(old.score() < FRESH.score());
        assert!((old.recency_factor() - 0.625).abs() < 1e-9);
        assert!(
            Parts {
                layer: Layer::Core,
                ..old
            }
            .recency_factor()
                > 0.999
        );
        assert!(
            Parts {
                pinned: true,
                ..old
            }
            .recency_factor()
                > 0.999
        );
        // A clock that was set back makes nothing more than fresh.
        assert!(Parts { age: -9.0, ..FRESH }.recency_factor() <= 1.0);
        // An old exact answer beats a new vague one.
        assert!(
            Parts {
                age: 10_000.0,
                ..FRESH
            }
            .score()
                > Parts {
                    relevance: 0.2,
                    ..FRESH
                }
                .score()
        );
    }

    #[test]
    fn every_limit_is_checked() {
        let draft = Draft {
            text: "x".into(),
            importance: 5,
            ..Draft::default()
        };
        assert!(draft.clone().check().is_ok());
        let bad = [
            Draft {
                text: " \n".into(),
                ..draft.clone()
            },
            Draft {
                text: "x".repeat(MAX_TEXT + 1),
                ..draft.clone()
            },
            Draft {
                context: "x".repeat(MAX_CONTEXT + 1),
                ..draft.clone()
            },
            Draft {
                tags: vec!["t".into(); MAX_TAGS + 1],
                ..draft.clone()
            },
            Draft {
                tags: vec!["t".repeat(MAX_TAG + 1)],
                ..draft.clone()
            },
            Draft {
                importance: 0,
                ..draft.clone()
            },
            Draft {
                importance: 11,
                ..draft.clone()
            },
        ];
        for draft in bad {
            assert!(draft.clone().check().is_err(), "{draft:?}");
        }
        assert!(
            Draft {
                text: "x".repeat(MAX_TEXT),
                ..draft
            }
            .check()
            .is_ok()
        );
        let query = Query {
            limit: 5,
            ..Query::default()
        };
        assert!(query.clone().check().is_ok());
        assert!(
            Query {
                limit: 0,
                ..query.clone()
            }
            .check()
            .is_err()
        );
        assert!(
            Query {
                limit: MAX_HITS + 1,
                ..query.clone()
            }
            .check()
            .is_err()
        );
        assert!(
            Query {
                text: "x".repeat(MAX_QUERY + 1),
                ..query.clone()
            }
            .check()
            .is_err()
        );
        assert!(
            Query {
                tags: vec!["t".into(); MAX_TAGS + 1],
                ..query
            }
            .check()
            .is_err()
        );
    }

    #[test]
    fn ages_are_words() {
        assert_eq!(age_words(5), "just now");
        assert_eq!(age_words(61), "1 minute");
        assert_eq!(age_words(7200), "2 hours");
        assert_eq!(age_words(200_000), "2 days");
    }
}
