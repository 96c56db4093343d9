//! placeholder
use super::value::ValueError;
use serde::{Deserialize, Serialize};
/// `OnCalendar=`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calendar(String);
impl std::str::FromStr for Calendar {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        Ok(Self(text.to_owned()))
    }
}

/// A time zone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Zone(String);
impl Calendar {
    /// next
    pub fn next(&self, _after: u64, _local: &Zone) -> Option<u64> {
        None
    }
}
