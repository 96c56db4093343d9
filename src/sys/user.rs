//! Users and groups by name or number, and whose files are whose.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::{Gid, Group, Uid, User, chown, getgrouplist};
use std::ffi::CString;

/// A user as the passwd database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Name.
    pub name: String,
}

/// Looks a user up by name or number; a number needs no entry.
///
/// # Errors
/// Those of the database; `Ok(None)` when there is no such user.
pub fn account(text: &str) -> io::Result<Option<Account>> {
    let found = match text.parse::<u32>() {
        Ok(uid) => match User::from_uid(Uid::from_raw(uid))? {
            Some(user) => Some(user),
            None => {
                return Ok(Some(Account {
                    uid,
                    gid: uid,
                    groups: vec![],
                    name: text.to_owned(),
                }));
            }
        },
        Err(_) => User::from_name(text)?,
    };
    let Some(user) = found else { return Ok(None) };
    let name = CString::new(user.name.as_str()).map_err(io::Error::other)?;
    let groups = getgrouplist(&name, user.gid)?
        .into_iter()
        .map(Gid::as_raw)
        .collect();
    Ok(Some(Account {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups,
        name: user.name,
    }))
}

/// Looks a group up by name or number.
///
/// # Errors
/// Those of the database.
pub fn group(text: &str) -> io::Result<Option<u32>> {
    match text.parse::<u32>() {
        Ok(gid) => Ok(Some(gid)),
        Err(_) => Ok(Group::from_name(text)?.map(|group| group.gid.as_raw())),
    }
}

/// Our own effective user.
#[must_use]
pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Our own user's name, or its number where it has none.
#[must_use]
pub fn own_name() -> String {
    // Asked for with every start, and the database is read each time.
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let uid = nix::unistd::geteuid();
        User::from_uid(uid)
            .ok()
            .flatten()
            .map_or_else(|| uid.to_string(), |user| user.name)
    })
    .clone()
}

/// Our own user's home by the database, never by `HOME`, which is whoever's we were started from.
#[must_use]
pub fn own_home() -> PathBuf {
    let uid = nix::unistd::geteuid();
    User::from_uid(uid).ok().flatten().map_or_else(
        || PathBuf::from(if uid.is_root() { "/root" } else { "/" }),
        |user| user.dir,
    )
}

/// Our own effective group.
#[must_use]
pub fn own_gid() -> u32 {
    nix::unistd::getegid().as_raw()
}

/// Gives a file to a user.
///
/// # Errors
/// Those of chown(2).
pub fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    Ok(chown(
        path,
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
    )?)
}
