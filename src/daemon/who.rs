//! As whom a unit runs: its user, its groups, and the group of the workspace that it shares.

use std::path::Path;

use crate::daemon::hands::Workshop;
use crate::daemon::prepare::{broke, fail, ours};
use crate::daemon::users::{FIRST, LAST, Users, WORKSPACE};
use crate::name::UnitName;
use crate::plan::Failure;
use crate::sys::file::{Owner, directory_beneath};
use crate::sys::user::{account, group, own_gid, own_name, own_uid};
use crate::unit::Unit;

/// A user.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    /// Empty: the uid's digits.
    pub(super) name: String,
}

/// The user that the unit's file asks for; what cannot be had is added to `missing`.
pub(super) fn resolve_user(
    workshop: &Workshop,
    users: &mut Users,
    unit: &Unit,
    missing: &mut Vec<String>,
) -> Result<Who, Failure> {
    let Some(exec) = unit.service.as_ref().map(|service| &service.exec) else {
        return Err(fail("user", "the unit runs nothing"));
    };
    let ours = Who {
        uid: own_uid(),
        gid: own_gid(),
        groups: vec![],
        name: own_name(),
    };
    let found = match exec.user.as_deref() {
        Some(text) => {
            account(text).map_err(broke("user", format!("cannot look up User={text}")))?
        }
        None => None,
    };
    let mut who = match (found, exec.user.as_deref()) {
        (Some(found), _) => Who {
            uid: found.uid,
            gid: found.gid,
            groups: found.groups,
            name: found.name,
        },
        (None, Some(text)) if !exec.dynamic_user => {
            return Err(Failure {
                help: Some(format!(
                    "create it (useradd -r {text}), or use DynamicUser=yes"
                )),
                ..fail("user", format!("there is no user {text}"))
            });
        }
        (None, _) if exec.dynamic_user => {
            if !workshop.host.root {
                missing.push(
                    "DynamicUser=: this manager is not root, so the unit runs as its own user"
                        .to_owned(),
                );
                return Ok(ours);
            }
            let uid = users
                .uid(&unit.name, |owner| keeps_files(workshop, owner))
                .map_err(broke("user", "cannot allocate a dynamic user"))?;
            debug_assert!((FIRST..=LAST).contains(&uid));
            Who {
                uid,
                gid: uid,
                groups: vec![],
                name: String::new(),
            }
        }
        (None, _) => ours,
    };
    if let Some(text) = exec.group.as_deref() {
        who.gid = group(text)
            .map_err(broke("user", format!("cannot look up Group={text}")))?
            .ok_or_else(|| fail("user", format!("there is no group {text}")))?;
    }
    for text in &exec.supplementary_groups {
        who.groups.push(
            group(text)
                .map_err(broke(
                    "user",
                    format!("cannot look up SupplementaryGroups={text}"),
                ))?
                .ok_or_else(|| fail("user", format!("there is no group {text}")))?,
        );
    }
    if !workshop.host.root && who.uid != own_uid() {
        return Err(Failure {
            help: Some("remove User=, or run the unit in the system manager".to_owned()),
            ..fail(
                "user",
                format!("only root can run a unit as uid {}", who.uid),
            )
        });
    }
    Ok(who)
}

/// Whether the owner of a dynamic number, a unit or a shared workspace, still has files.
fn keeps_files(workshop: &Workshop, owner: &str) -> bool {
    let places = &workshop.places;
    match owner.strip_prefix(WORKSPACE) {
        Some(name) => places.shared_workspace(name).exists(),
        None => owner
            .parse()
            .is_ok_and(|name: UnitName| places.unit_state(&name).exists()),
    }
}

/// Makes the workspace that a unit shares by name, and takes the unit into its group: everyone who
/// works there has a user of its own, and reads and writes what the others made.
pub(super) fn share(
    workshop: &Workshop,
    users: &mut Users,
    unit: &Unit,
    who: &mut Who,
) -> Result<bool, Failure> {
    let agent = unit.agent.as_ref();
    let Some(name) = agent
        .and_then(|agent| agent.workspace.as_deref())
        .filter(|name| !name.starts_with('/'))
    else {
        return Ok(false);
    };
    let root = workshop.places.state.join("workspace");
    ours(&root)?;
    let (owner, mode) = if workshop.host.root {
        let gid = users
            .gid(name, |owner| keeps_files(workshop, owner))
            .map_err(broke("user", "cannot allocate a group for the workspace"))?;
        who.groups.push(gid);
        let owner = Owner {
            gid,
            ..Owner::ourselves()
        };
        // What is made in it belongs to the group too.
        (owner, 0o2770)
    } else {
        (Owner::ourselves(), 0o700)
    };
    directory_beneath(&root, Path::new(name), owner, mode).map_err(broke(
        "directory",
        format!("cannot make {}", root.join(name).display()),
    ))?;
    Ok(true)
}
