//! The local time zone of this machine (localtime(5)).

use std::path::Path;

/// Where its rules are.
pub const PATH: &str = "/etc/localtime";

/// Its name and its rules as in tzfile(5); UTC without rules where nobody says.
#[must_use]
pub fn local() -> (String, Vec<u8>) {
    let name = std::fs::read_link(PATH)
        .ok()
        .and_then(|target| {
            let text = target.to_string_lossy().into_owned();
            text.split_once("zoneinfo/")
                .map(|(_, name)| name.to_owned())
        })
        .unwrap_or_else(|| "UTC".to_owned());
    let rules = std::fs::read(Path::new(PATH)).unwrap_or_default();
    (name, rules)
}
