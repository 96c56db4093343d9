//! Paths and names in values: absolute or relative, never with `..`, never ambiguous.

use std::path::PathBuf;

use super::Given;

use crate::unit::value::{ValueError, quote};

/// Longest path (PATH_MAX with its NUL).
const MAX_PATH: usize = 4095;

/// An absolute path without `..`; doubled slashes and `.` are taken out.
pub(super) fn absolute(text: &str) -> Result<PathBuf, ValueError> {
    if !text.starts_with('/') {
        let error = ValueError::new(format!("{} is not an absolute path", quote(text)));
        return Err(match text.strip_prefix('-') {
            Some(rest) if rest.starts_with('/') => {
                error.help("the prefix - is not implemented here")
            }
            _ => error.help("write the path from / on; %h is the manager's home"),
        });
    }
    let mut path = PathBuf::from("/");
    path.extend(parts(text)?);
    Ok(path)
}

/// A path as it is written today: /var/run is /run.
pub(super) fn modern(given: &mut Given<'_>, text: String) -> String {
    let Some(rest) = text.strip_prefix("/var/run/") else {
        return text;
    };
    let path = format!("/run/{rest}");
    let error = ValueError::new(format!("/var/run is the old name of /run, taken as {path}"));
    given.warn(error.help(format!("write {path}")));
    path
}

/// A relative path for a directory below one of ours.
pub(super) fn relative(text: &str) -> Result<PathBuf, ValueError> {
    if text.starts_with('/') || text.contains(':') {
        let message = format!("{} is not a plain relative path", quote(text));
        return Err(ValueError::new(message).help("write for example webshop or webshop/cache"));
    }
    let path: PathBuf = parts(text)?.into_iter().collect();
    if path.as_os_str().is_empty() {
        return Err(ValueError::new("the path is empty"));
    }
    Ok(path)
}

fn parts(text: &str) -> Result<Vec<&str>, ValueError> {
    if text.len() > MAX_PATH {
        return Err(ValueError::new(format!(
            "path is longer than {MAX_PATH} bytes"
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(ValueError::new(format!(
            "path {} contains control characters",
            quote(text)
        )));
    }
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        let message = format!("path {} contains ..", quote(text));
        return Err(ValueError::new(message).help("write the path that is meant"));
    }
    Ok(parts)
}

/// A user or group: a number, or a name as useradd(8) makes them.
pub(super) fn user(text: &str) -> Result<String, ValueError> {
    let number = text.bytes().all(|b| b.is_ascii_digit())
        && text
            .parse::<u32>()
            .is_ok_and(|id| id != u32::MAX && id != 0xffff)
        && (text == "0" || !text.starts_with('0'));
    // Debian has names that begin with a digit.
    let name = text.len() <= 31
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && !text.bytes().all(|b| b.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if number || name {
        return Ok(text.to_owned());
    }
    Err(ValueError::unreadable(text, "a user or group").help("write a name or a number"))
}

/// A short name of our own: letters, digits, `-`, `_`, `.`, not beginning with a sign.
pub(super) fn plain(text: &str, what: &str) -> Result<String, ValueError> {
    let good = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if good {
        return Ok(text.to_owned());
    }
    Err(ValueError::unreadable(text, what).help("write letters, digits, - _ and ."))
}

/// One argument for another program: one word that cannot be taken for an option.
pub(super) fn argument(text: &str, what: &str) -> Result<String, ValueError> {
    let good = text.len() <= 256
        && !text.starts_with('-')
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if good && !text.is_empty() {
        return Ok(text.to_owned());
    }
    Err(ValueError::unreadable(text, what).help("write one word that does not begin with -"))
}
