//! Who may do what: one pure function.
//!
//! The caller is what the kernel said when it connected. A caller inside a unit's cgroup is an
//! agent or something an agent started, whatever its uid, and may do next to nothing; that check
//! comes first. Read next: `dispatch`, which asks before anything reaches the daemon.

use crate::bus::ask::{Caller, Denial};
use crate::name::UnitName;

/// The unit that may ask for the agents' MCP sockets.
pub const HUB_UNIT: &str = "aether-hub.service";

/// What a call does, as far as permission goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look at one unit.
    ReadUnit(UnitName),
    /// Look at the manager, lists of units, agents or jobs.
    Read,
    /// Be told of every change.
    Subscribe,
    /// Start, stop, restart, kill, reset or cancel.
    ManageUnits,
    /// Pause, resume or send a message.
    ControlAgent,
    /// Reload, reexecute or shut down.
    ManageDaemon,
    /// Enable, disable, mask or link.
    ManageUnitFiles,
    /// The hub's own questions.
    ServeAgents,
}

impl Action {
    /// The action's id, as polkit would name it.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        match self {
            Self::ReadUnit(_) | Self::Read => "org.aether1.read",
            Self::Subscribe => "org.aether1.subscribe",
            Self::ManageUnits => "org.aether1.manage-units",
            Self::ControlAgent => "org.aether1.control-agent",
            Self::ManageDaemon => "org.aether1.reload-daemon",
            Self::ManageUnitFiles => "org.aether1.manage-unit-files",
            Self::ServeAgents => "org.aether1.serve-agents",
        }
    }
}

/// Whether `caller` may do `action` with the manager that runs as `manager_uid`.
///
/// # Errors
/// [`Denial::AccessDenied`], naming the action and the caller.
pub fn authorise(caller: &Caller, manager_uid: u32, action: &Action) -> Result<(), Denial> {
    let allowed = match &caller.unit {
        Some(unit) if unit.as_str() == HUB_UNIT => matches!(
            action,
            Action::ReadUnit(_) | Action::Read | Action::Subscribe | Action::ServeAgents
        ),
        Some(unit) => matches!(action, Action::ReadUnit(asked) if asked == unit),
        None if caller.uid == 0 || caller.uid == manager_uid => *action != Action::ServeAgents,
        // Others may look at the system manager; a user's manager is that user's alone.
        None => manager_uid == 0 && matches!(action, Action::ReadUnit(_) | Action::Read),
    };
    if allowed {
        return Ok(());
    }
    let who = caller
        .unit
        .as_ref()
        .map_or_else(|| format!("uid {}", caller.uid), ToString::to_string);
    Err(Denial::AccessDenied {
        action: action.id().to_owned(),
        who,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read own unit, read another, read lists, subscribe, manage units, control, daemon, unit
    /// files, hub.
    fn row(uid: u32, unit: Option<&str>, manager_uid: u32) -> String {
        let own: UnitName = unit.unwrap_or("a.agent").parse().unwrap();
        let caller = Caller {
            uid,
            pid: 1,
            unit: unit.map(|unit| unit.parse().unwrap()),
        };
        [
            Action::ReadUnit(own),
            Action::ReadUnit("other.agent".parse().unwrap()),
            Action::Read,
            Action::Subscribe,
            Action::ManageUnits,
            Action::ControlAgent,
            Action::ManageDaemon,
            Action::ManageUnitFiles,
            Action::ServeAgents,
        ]
        .iter()
        .map(|action| {
            if authorise(&caller, manager_uid, action).is_ok() {
                '+'
            } else {
                '-'
            }
        })
        .collect()
    }

    #[test]
    fn the_table() {
        let table = [
            ("root at the system manager", row(0, None, 0), "++++++++-"),
            ("root at a user's manager", row(0, None, 1000), "++++++++-"),
            (
                "the user at their manager",
                row(1000, None, 1000),
                "++++++++-",
            ),
            (
                "a user at the system manager",
                row(1000, None, 0),
                "+++------",
            ),
            ("another user", row(1001, None, 1000), "---------"),
            ("an agent", row(61001, Some("a.agent"), 0), "+--------"),
            ("an agent as root", row(0, Some("a.agent"), 0), "+--------"),
            (
                "an agent as the user",
                row(1000, Some("a.agent"), 1000),
                "+--------",
            ),
            ("the hub", row(61002, Some(HUB_UNIT), 0), "++++----+"),
            (
                "the hub as the user",
                row(1000, Some(HUB_UNIT), 1000),
                "++++----+",
            ),
            (
                "a unit named alike",
                row(0, Some("aether-hub.agent"), 0),
                "+--------",
            ),
        ];
        for (who, found, expected) in table {
            assert_eq!(found, expected, "{who}");
        }
    }

    #[test]
    fn a_denial_names_action_and_caller() {
        let caller = Caller {
            uid: 7,
            pid: 1,
            unit: None,
        };
        let denial = authorise(&caller, 0, &Action::ManageUnits).unwrap_err();
        assert_eq!(
            denial.to_string(),
            "org.aether1.manage-units is not allowed for uid 7"
        );
    }
}
