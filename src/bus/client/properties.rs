//! The properties of one object, with typed getters and a JSON view.
//!
//! A property that the daemon does not send reads as unset; nothing here fails.

use std::collections::HashMap;

use zbus::{OwnedVariant, Variant};

/// Properties by name. Unset numbers (all bits set on the wire) read as `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties(pub HashMap<String, OwnedVariant>);

impl Properties {
    fn get(&self, name: &str) -> Option<&Variant<'static>> {
        self.0.get(name).map(|value| &**value)
    }

    /// A text; empty when it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Variant::Str(text)) => text.as_str(),
            Some(Variant::ObjectPath(path)) => path.as_str(),
            _ => "",
        }
    }

    /// A list of texts; empty when it is not there.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<&str> {
        match self.get(name) {
            Some(Variant::Array(array)) => array
                .inner()
                .iter()
                .filter_map(|item| match item {
                    Variant::Str(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Pairs of texts (the manager's `Host`); empty when it is not there.
    #[must_use]
    pub fn pairs(&self, name: &str) -> Vec<(&str, &str)> {
        fn pair<'a>(item: &'a Variant<'static>) -> Option<(&'a str, &'a str)> {
            match item {
                Variant::Structure(fields) => match fields.fields() {
                    [Variant::Str(key), Variant::Str(value)] => {
                        Some((key.as_str(), value.as_str()))
                    }
                    _ => None,
                },
                _ => None,
            }
        }
        match self.get(name) {
            Some(Variant::Array(array)) => array.inner().iter().filter_map(pair).collect(),
            _ => Vec::new(),
        }
    }

    /// An unsigned number of either size; `None` when it is unset.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Variant::U32(number) if *number != u32::MAX => Some(u64::from(*number)),
            Variant::U64(number) if *number != u64::MAX => Some(*number),
            _ => None,
        }
    }

    /// A signed number.
    #[must_use]
    pub fn signed(&self, name: &str) -> Option<i32> {
        match self.get(name)? {
            Variant::I32(number) => Some(*number),
            _ => None,
        }
    }

    /// Yes or no; no when it is not there.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Variant::Bool(true)))
    }

    /// Bytes as hex digits (`InvocationID`); empty when there are none.
    #[must_use]
    pub fn hex(&self, name: &str) -> String {
        match self.get(name) {
            Some(Variant::Array(array)) => bytes_as_hex(array.inner()).unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// Everything as JSON: names as keys in order, unset numbers as null, bytes as hex digits.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let mut names: Vec<&String> = self.0.keys().collect();
        names.sort();
        let entries = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), json(self.get(name)?))));
        serde_json::Value::Object(entries.collect())
    }
}

fn bytes_as_hex(items: &[Variant<'_>]) -> Option<String> {
    items
        .iter()
        .map(|item| match item {
            Variant::U8(byte) => Some(format!("{byte:02x}")),
            _ => None,
        })
        .collect()
}

fn json(value: &Variant<'_>) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Variant::U8(number) => (*number).into(),
        Variant::Bool(yes) => (*yes).into(),
        Variant::I16(number) => (*number).into(),
        Variant::U16(number) => (*number).into(),
        Variant::I32(number) => (*number).into(),
        Variant::U32(u32::MAX) | Variant::U64(u64::MAX) => Json::Null,
        Variant::U32(number) => (*number).into(),
        Variant::I64(number) => (*number).into(),
        Variant::U64(number) => (*number).into(),
        Variant::F64(number) => (*number).into(),
        Variant::Str(text) => text.as_str().into(),
        Variant::Signature(signature) => signature.to_string().into(),
        Variant::ObjectPath(path) => path.as_str().into(),
        Variant::Variant(inner) => json(inner),
        Variant::Array(array) if array.element_signature() == &zbus::Signature::U8 => {
            bytes_as_hex(array.inner()).unwrap_or_default().into()
        }
        Variant::Array(array) => array.inner().iter().map(json).collect(),
        Variant::Structure(fields) => fields.fields().iter().map(json).collect(),
        Variant::Dict(dict) => Json::Object(
            dict.iter()
                .filter_map(|(key, value)| match key {
                    Variant::Str(key) => Some((key.as_str().to_owned(), json(value))),
                    _ => None,
                })
                .collect(),
        ),
        Variant::Fd(_) => Json::Null,
    }
}
