//! Arguments of calls: words of the contract as our own types.

use std::collections::HashMap;

use zbus::{OwnedVariant, Variant};

use crate::bus::failure::Failure;
use crate::engine::event::JobMode;
use crate::name::UnitName;

/// Most texts of one list argument, and most directives of a transient unit.
const MAX_ITEMS: usize = 1024;

/// The `a{sv}` at the end of a method's arguments.
pub(super) type Options = HashMap<String, OwnedVariant>;

pub(super) fn unit_name(text: &str) -> Result<UnitName, Failure> {
    text.parse()
        .map_err(|error: crate::name::NameError| Failure::invalid(error.to_string()))
}

pub(super) fn job_mode(text: &str) -> Result<JobMode, Failure> {
    let known = JobMode::WORDS.iter().find(|(word, _)| *word == text);
    known.map(|(_, mode)| *mode).ok_or_else(|| {
        let words: Vec<&str> = JobMode::WORDS.iter().map(|(word, _)| *word).collect();
        Failure::invalid(format!("mode is one of {}, not {text:?}", words.join(", ")))
    })
}

/// An option that is not known is refused rather than ignored.
pub(super) fn known(options: &Options, names: &[&str]) -> Result<(), Failure> {
    match options.keys().find(|key| !names.contains(&key.as_str())) {
        Some(key) => Err(Failure::invalid(format!("there is no option {key:?}"))),
        None => Ok(()),
    }
}

pub(super) fn limit(items: usize) -> Result<(), Failure> {
    if items <= MAX_ITEMS {
        return Ok(());
    }
    Err(Failure::new(
        "org.freedesktop.DBus.Error.LimitsExceeded",
        format!("{items} items are more than {MAX_ITEMS}"),
    ))
}

/// A directive's values as they stand in a unit file.
pub(super) fn directive_values(key: &str, value: &Variant<'_>) -> Result<Vec<String>, Failure> {
    let one = match value {
        Variant::Str(text) => text.to_string(),
        Variant::Bool(true) => "yes".to_owned(),
        Variant::Bool(false) => "no".to_owned(),
        Variant::U32(u32::MAX) | Variant::U64(u64::MAX) => "infinity".to_owned(),
        Variant::U32(number) => number.to_string(),
        Variant::U64(number) => number.to_string(),
        Variant::I32(number) => number.to_string(),
        Variant::I64(number) => number.to_string(),
        Variant::Array(array) => {
            limit(array.len())?;
            let texts = array.inner().iter().map(|item| match item {
                Variant::Str(text) => Some(text.to_string()),
                _ => None,
            });
            return texts.collect::<Option<_>>().ok_or_else(|| bad_value(key));
        }
        _ => return Err(bad_value(key)),
    };
    Ok(vec![one])
}

pub(super) fn bad_value(key: &str) -> Failure {
    Failure::invalid(format!(
        "{key} must be a text, several texts, a number or a boolean"
    ))
}
