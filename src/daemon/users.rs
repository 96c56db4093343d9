//! A uid for every unit with `DynamicUser=yes`, the same one at every start.
//!
//! Homes are kept, so a unit must get its old uid back: the table is a file in the state place. A
//! uid is never given to a second unit while the first one's directory exists. The range is
//! systemd's for dynamic users (61184 to 65519), which no distribution hands out.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::name::UnitName;
use crate::sys::file::write_whole;
use crate::sys::user::account;

/// First uid of the range.
pub(crate) const FIRST: u32 = 61_184;
/// Last uid of the range.
pub(crate) const LAST: u32 = 65_519;

/// Before a shared workspace's name in the table; no unit is called so.
pub(crate) const WORKSPACE: &str = "workspace/";

/// The table of dynamic users.
#[derive(Debug)]
pub(crate) struct Users {
    file: PathBuf,
    given: BTreeMap<String, u32>,
}

impl Users {
    /// Reads the table; a missing file is an empty one.
    pub(crate) fn open(file: PathBuf) -> io::Result<Self> {
        let given = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { file, given })
    }

    /// The unit's uid; a new one is written down before it is used. `kept` says whether the owner
    /// of a number (a unit, or a shared workspace) still has files.
    pub(crate) fn uid(&mut self, unit: &UnitName, kept: impl Fn(&str) -> bool) -> io::Result<u32> {
        self.number(unit.as_str(), kept)
    }

    /// The gid of a shared workspace, from the same range: whoever works there is in that group.
    pub(crate) fn gid(&mut self, workspace: &str, kept: impl Fn(&str) -> bool) -> io::Result<u32> {
        self.number(&format!("{WORKSPACE}{workspace}"), kept)
    }

    fn number(&mut self, owner: &str, kept: impl Fn(&str) -> bool) -> io::Result<u32> {
        if let Some(number) = self.given.get(owner) {
            return Ok(*number);
        }
        let span = LAST - FIRST + 1;
        // Beginning at a place that depends on the name keeps uids stable when the table is lost.
        let begin = owner.bytes().fold(2_166_136_261_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
        }) % span;
        let taken: BTreeMap<u32, String> = self
            .given
            .iter()
            .map(|(name, uid)| (*uid, name.clone()))
            .collect();
        for step in 0..span {
            let uid = FIRST + (begin + step) % span;
            if let Some(former) = taken.get(&uid) {
                if kept(former) {
                    continue;
                }
                self.given.remove(former);
            }
            // A number that some real account has is not ours to give.
            if account(&uid.to_string())?.is_some_and(|found| found.name != uid.to_string()) {
                continue;
            }
            self.given.insert(owner.to_owned(), uid);
            self.save()?;
            return Ok(uid);
        }
        Err(io::Error::other(format!(
            "every uid from {FIRST} to {LAST} is in use"
        )))
    }

    fn save(&self) -> io::Result<()> {
        write_whole(&self.file, &serde_json::to_vec_pretty(&self.given)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_gets_its_uid_back_and_nobody_elses() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("users");
        let names: Vec<UnitName> = (0..50)
            .map(|number| format!("u{number}.agent").parse().unwrap())
            .collect();
        let mut users = Users::open(file.clone()).unwrap();
        let given: Vec<u32> = names
            .iter()
            .map(|name| users.uid(name, |_| true).unwrap())
            .collect();
        let mut distinct = given.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 50);
        assert!(given.iter().all(|uid| (FIRST..=LAST).contains(uid)));
        let mut again = Users::open(file).unwrap();
        for (name, uid) in names.iter().zip(given) {
            assert_eq!(again.uid(name, |_| true).unwrap(), uid);
        }
    }

    #[test]
    fn a_damaged_table_is_not_silently_replaced() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("users");
        std::fs::write(&file, "{").unwrap();
        assert!(Users::open(file).is_err());
    }
}
