//! What the daemon says of one object, as the value that `--json` prints; with getters for text.
//!
//! A property that is not there reads as empty: an older daemon is shown with what it has.

use serde_json::Value;

/// Properties by their names on the bus.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts(pub(super) Value);

impl Facts {
    /// A text, empty when there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number; `None` when unset.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// A number that means nothing when it is 0.
    pub(super) fn positive(&self, name: &str) -> Option<u64> {
        self.number(name).filter(|number| *number > 0)
    }

    /// A signed number, 0 when there is none.
    pub(super) fn signed(&self, name: &str) -> i64 {
        self.0.get(name).and_then(Value::as_i64).unwrap_or(0)
    }

    /// Yes or no; no when it is not there.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Texts; none when it is not there.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        self.list(name).iter().filter_map(Value::as_str).collect()
    }

    /// Pairs of texts.
    pub(super) fn pairs(&self, name: &str) -> Vec<(&str, &str)> {
        self.list(name)
            .iter()
            .filter_map(|pair| Some((pair.get(0)?.as_str()?, pair.get(1)?.as_str()?)))
            .collect()
    }

    /// The number of the pending or running job.
    pub(super) fn job(&self) -> Option<u64> {
        self.list("Job").first()?.as_u64().filter(|id| *id > 0)
    }

    /// One of `ResourceLimits`.
    pub(super) fn limit(&self, name: &str) -> Option<u64> {
        self.0.get("ResourceLimits")?.get(name)?.as_u64()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.0
            .get(name)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }
}
