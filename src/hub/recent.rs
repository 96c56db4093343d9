//! What lies ready for a unit's next start: a few memories in a file of its own, which aetherd puts
//! on the agent's page ([`crate::runtime`]) without asking anybody.
//!
//! Written in one step after every call that changed the unit's memories; a file that cannot be written is
//! said in the log and costs the page, not the call. Read next: [`super::rows`].

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::rows::Database;
use super::words::cut;
use crate::name::UnitName;
use crate::sys::file::write_whole;

/// How many memories.
const MOST: u32 = 20;
/// Longest text of one, in bytes; the page shows no more.
const TEXT: usize = 2_000;
/// Largest file, in bytes; aetherd reads no more.
const FILE: usize = 60 * 1024;

/// Writes the files of those units whose memories have changed into `directory`.
pub(super) fn keep(database: &mut Database, directory: &Path) {
    for unit in database.take_changed() {
        let written = database
            .recent(&unit, MOST)
            .map_err(io::Error::other)
            .and_then(|memories| write(directory, &unit, &file(memories)));
        if let Err(error) = written {
            tracing::warn!("{unit}: its recent memories are not on its next page: {error}");
        }
    }
}

/// `[[layer, text], …]`, as many as fit.
fn file(memories: Vec<(String, String)>) -> Vec<u8> {
    let mut all: Vec<(String, String)> = memories
        .into_iter()
        .map(|(layer, text)| (layer, cut(&text, TEXT).to_owned()))
        .collect();
    loop {
        match serde_json::to_vec(&all) {
            Ok(bytes) if bytes.len() <= FILE || all.is_empty() => return bytes,
            // The least important are last.
            _ => drop(all.pop()),
        }
    }
}

fn write(directory: &Path, unit: &UnitName, content: &[u8]) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => write_whole(&directory.join(format!("{unit}.json")), content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::memory::{Draft, Layer};
    use crate::hub::store::open;

    #[test]
    fn the_file_has_what_is_remembered_now_the_important_first() {
        let place = tempfile::tempdir().unwrap();
        let mut database = open(&place.path().join("memory.db")).unwrap();
        let (mine, other): (UnitName, UnitName) =
            ("a.agent".parse().unwrap(), "b.agent".parse().unwrap());
        let directory = place.path().join("recent");
        let mut remember = |unit: &UnitName, text: &str, importance| {
            let draft = Draft {
                text: text.to_owned(),
                importance,
                layer: Layer::Episodic,
                ..Draft::default()
            };
            let id = database.remember(unit, draft, "agent").unwrap().id;
            keep(&mut database, &directory);
            id
        };
        remember(&mine, "an apple", 5);
        remember(&other, "not mine", 9);
        let gone = remember(&mine, "a secret", 10);
        remember(&mine, &"ü".repeat(4_000), 8);
        database.forget(&mine, &gone, "").unwrap();
        keep(&mut database, &directory);
        let text = std::fs::read_to_string(directory.join("a.agent.json")).unwrap();
        let found: Vec<(String, String)> = serde_json::from_str(&text).unwrap();
        assert_eq!(found.len(), 2, "{text}");
        assert_eq!(found[0].1, "ü".repeat(1_000));
        assert_eq!(found[1], ("episodic".to_owned(), "an apple".to_owned()));
    }

    #[test]
    fn the_file_stays_within_what_is_read() {
        let many = vec![("core".to_owned(), "\u{1}".repeat(2_000)); 20];
        let bytes = file(many);
        assert!(bytes.len() <= FILE && bytes.len() > FILE / 2);
    }
}
