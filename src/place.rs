//! Where things are: one struct of directories, filled once at start and passed on.
//!
//! The system manager uses the system's places, a user's manager the XDG ones; every place can be
//! moved by one environment variable, so that several managers (and tests) live side by side.
//! Nothing here touches the file system.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::name::UnitName;

/// The places of one manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Whether this is the system manager (uid 0 by default) or a user's.
    pub system: bool,
    /// Sockets, snapshots, transient units; gone after a reboot. `AETHER_RUNTIME_DIR`.
    pub runtime: PathBuf,
    /// Agents' homes, the hub's database; kept. `AETHER_STATE_DIR`.
    pub state: PathBuf,
    /// Units' output. `AETHER_LOG_DIR`.
    pub log: PathBuf,
    /// Where unit files are looked for, highest priority first. `AETHER_UNIT_PATH` (colons).
    pub units: Vec<PathBuf>,
    /// Where `*.policy` files are looked for, highest priority first. `AETHER_POLICY_PATH`.
    pub policies: Vec<PathBuf>,
    /// Where aether-hub, aether-mcp and the other programs are. `AETHER_LIBEXEC_DIR`.
    pub libexec: PathBuf,
    /// Name of this manager's cgroup below the one it may write to. `AETHER_CGROUP`.
    pub cgroup: String,
}

/// A place that depends on where a program happens to be started, which would be another one for
/// each of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} must be an absolute path, and {value:?} is not one")]
pub struct RelativePlace {
    /// The environment variable.
    pub variable: &'static str,
    /// What it says.
    pub value: String,
}

/// The variables that move one place each.
const SINGLE: [&str; 4] = [
    "AETHER_RUNTIME_DIR",
    "AETHER_STATE_DIR",
    "AETHER_LOG_DIR",
    "AETHER_LIBEXEC_DIR",
];
/// The variables that are lists of places.
const LISTS: [&str; 2] = ["AETHER_UNIT_PATH", "AETHER_POLICY_PATH"];

impl Places {
    /// [`Self::find`], for programs that a person may start with anything in the environment.
    ///
    /// # Errors
    /// [`RelativePlace`] for the first variable of ours that holds a relative path.
    pub fn find_absolute(
        uid: u32,
        program: &Path,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, RelativePlace> {
        let relative = |path: &&str| !path.is_empty() && !Path::new(path).is_absolute();
        for (name, list) in SINGLE
            .map(|name| (name, false))
            .into_iter()
            .chain(LISTS.map(|name| (name, true)))
        {
            let Some(value) = variable(name) else {
                continue;
            };
            let bad = if list {
                value.split(':').find(relative)
            } else {
                Some(value.as_str()).filter(relative)
            };
            if let Some(bad) = bad {
                return Err(RelativePlace {
                    variable: name,
                    value: bad.to_owned(),
                });
            }
        }
        Ok(Self::find(uid, program, variable))
    }

    /// The places for `uid`, as `variable` (normally the environment) moves them; `program` is the
    /// running program's path, whose directory holds its siblings.
    pub fn find(uid: u32, program: &Path, variable: impl Fn(&str) -> Option<String>) -> Self {
        let system = uid == 0;
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = set("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let xdg = |name: &str, fallback: &str| {
            set(name)
                .map_or_else(|| home.join(fallback), PathBuf::from)
                .join("aether")
        };
        let place = |name: &str, system_place: &str, user_place: PathBuf| {
            set(name).map_or_else(
                || {
                    if system {
                        PathBuf::from(system_place)
                    } else {
                        user_place
                    }
                },
                PathBuf::from,
            )
        };
        let runtime_home = set("XDG_RUNTIME_DIR")
            .map_or_else(|| PathBuf::from(format!("/run/user/{uid}")), PathBuf::from);
        let runtime = place(
            "AETHER_RUNTIME_DIR",
            "/run/aether",
            runtime_home.join("aether"),
        );
        let state = place(
            "AETHER_STATE_DIR",
            "/var/lib/aether",
            xdg("XDG_STATE_HOME", ".local/state"),
        );
        let log = place("AETHER_LOG_DIR", "/var/log/aether", state.join("log"));
        let libexec = set("AETHER_LIBEXEC_DIR").map_or_else(
            || {
                program
                    .parent()
                    .unwrap_or_else(|| Path::new("/usr/bin"))
                    .to_owned()
            },
            PathBuf::from,
        );
        // What is installed elsewhere (below a home, say) brings its units and policies along.
        let installed = libexec
            .parent()
            .filter(|root| libexec.ends_with("aether/bin") && root.is_absolute());
        let list = |name: &str, own: &str, vendor: &str| -> Vec<PathBuf> {
            if let Some(value) = set(name) {
                return value
                    .split(':')
                    .filter(|part| !part.is_empty())
                    .map(Into::into)
                    .collect();
            }
            let mut found = vec![];
            if !system {
                found.push(xdg("XDG_CONFIG_HOME", ".config").join(own));
            }
            found.push(Path::new("/etc/aether").join(own));
            found.push(runtime.join(own));
            let usual = ["/usr/local/lib/aether", "/usr/lib/aether"].map(Path::new);
            for root in installed
                .filter(|root| !usual.contains(root))
                .into_iter()
                .chain(usual)
            {
                found.push(root.join(vendor));
            }
            found
        };
        let units = list("AETHER_UNIT_PATH", "units", "units");
        let policies = list("AETHER_POLICY_PATH", "policies", "policies");
        let cgroup = set("AETHER_CGROUP").unwrap_or_else(|| {
            if system {
                "aether".to_owned()
            } else {
                format!("aether-{uid}")
            }
        });
        Self {
            system,
            runtime,
            state,
            log,
            units,
            policies,
            libexec,
            cgroup,
        }
    }

    /// The control socket (D-Bus, peer to peer), which everyone may connect to.
    #[must_use]
    pub fn bus_socket(&self) -> PathBuf {
        self.runtime.join("private")
    }

    /// The same for the manager's own user alone: however many crowd the other one, its owner
    /// gets in.
    #[must_use]
    pub fn owner_socket(&self) -> PathBuf {
        self.runtime.join("owner")
    }

    /// Held by the keeper as long as it lives, with its pid inside.
    #[must_use]
    pub fn keeper_lock(&self) -> PathBuf {
        self.runtime.join("keeper/lock")
    }

    /// Unit files that `aetherctl run` made; searched before all others.
    #[must_use]
    pub fn transient(&self) -> PathBuf {
        self.runtime.join("transient")
    }

    /// Where `enable` and its like make links that stay: the first of the unit directories.
    #[must_use]
    pub fn local_units(&self) -> Option<&Path> {
        self.units.first().map(PathBuf::as_path)
    }

    /// Where they make links that are gone after a reboot.
    #[must_use]
    pub fn runtime_units(&self) -> PathBuf {
        self.runtime.join("units")
    }

    /// Where preset files are looked for, highest priority first: beside each unit directory.
    #[must_use]
    pub fn presets(&self) -> Vec<PathBuf> {
        self.units
            .iter()
            .map(|path| {
                let mut beside = path.clone().into_os_string();
                beside.push("-preset");
                PathBuf::from(beside)
            })
            .collect()
    }

    /// One file per unit with what a new daemon must know.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.runtime.join("snapshot")
    }

    /// What belongs to a running unit: its MCP socket, generated files.
    #[must_use]
    pub fn unit_runtime(&self, unit: &UnitName) -> PathBuf {
        self.runtime.join("unit").join(unit.as_str())
    }

    /// A unit's MCP socket.
    #[must_use]
    pub fn mcp_socket(&self, unit: &UnitName) -> PathBuf {
        self.unit_runtime(unit).join("mcp.sock")
    }

    /// A unit's own directory, kept: home and workspace are below it.
    #[must_use]
    pub fn unit_state(&self, unit: &UnitName) -> PathBuf {
        self.state.join("unit").join(unit.as_str())
    }

    /// An agent's home directory.
    #[must_use]
    pub fn home(&self, unit: &UnitName) -> PathBuf {
        self.unit_state(unit).join("home")
    }

    /// A unit's temporary files. Kept apart from [`Self::runtime`], which it could fill: there is
    /// what the next daemon must know.
    #[must_use]
    pub fn unit_tmp(&self, unit: &UnitName) -> PathBuf {
        self.unit_state(unit).join("tmp")
    }

    /// Where the directories of `RuntimeDirectory=` are: in one of their own, because the
    /// supervisor's own files are beside it.
    #[must_use]
    pub fn runtime_directories(&self) -> PathBuf {
        self.runtime.join("directory")
    }

    /// An agent's own workspace, where its `Workspace=` names no shared one.
    #[must_use]
    pub fn workspace(&self, unit: &UnitName) -> PathBuf {
        self.unit_state(unit).join("workspace")
    }

    /// What the hub keeps ready of a unit's memories, for the start of its agent.
    #[must_use]
    pub fn recent_memories(&self, unit: &UnitName) -> PathBuf {
        self.state
            .join("unit/aether-hub.service/hub/recent")
            .join(format!("{unit}.json"))
    }

    /// A workspace shared by name.
    #[must_use]
    pub fn shared_workspace(&self, name: &str) -> PathBuf {
        self.state.join("workspace").join(name)
    }

    /// A unit's output files.
    #[must_use]
    pub fn unit_log(&self, unit: &UnitName) -> PathBuf {
        self.log.join(unit.as_str())
    }

    /// Where `aetherctl record` has every event written down.
    #[must_use]
    pub fn recording(&self) -> PathBuf {
        self.log.join("recording.jsonl")
    }

    /// The append-only record of what happened.
    #[must_use]
    pub fn event_log(&self) -> PathBuf {
        self.state.join("events")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_and_user_places() {
        let none = |_: &str| None;
        let system = Places::find(0, Path::new("/usr/bin/aetherd"), none);
        assert_eq!(system.bus_socket(), Path::new("/run/aether/private"));
        assert_eq!(system.libexec, Path::new("/usr/bin"));
        assert_eq!(system.units[0], Path::new("/etc/aether/units"));
        assert_eq!(system.local_units(), Some(Path::new("/etc/aether/units")));
        assert_eq!(system.units[1], system.runtime_units());
        assert_eq!(system.presets()[0], Path::new("/etc/aether/units-preset"));
        let user = Places::find(1000, Path::new("/usr/bin/aetherd"), |name| {
            (name == "HOME").then(|| "/home/u".to_owned())
        });
        assert_eq!(user.runtime, Path::new("/run/user/1000/aether"));
        assert_eq!(user.state, Path::new("/home/u/.local/state/aether"));
        assert_eq!(user.units[0], Path::new("/home/u/.config/aether/units"));
    }

    #[test]
    fn an_installation_brings_its_own_units() {
        let units = |program: &str| Places::find(0, Path::new(program), |_| None).units;
        let home = units("/home/u/.local/lib/aether/bin/aetherctl");
        assert_eq!(home[2], Path::new("/home/u/.local/lib/aether/units"));
        assert_eq!(home[3], Path::new("/usr/local/lib/aether/units"));
        let usual = units("/usr/local/lib/aether/bin/aetherctl");
        assert_eq!(usual, units("/usr/bin/aetherctl"));
    }

    #[test]
    fn a_relative_place_is_refused() {
        let find = |name: &'static str, value: &'static str| {
            Places::find_absolute(0, Path::new("/x/aetherd"), |asked| {
                (asked == name).then(|| value.to_owned())
            })
        };
        for (name, value) in [
            ("AETHER_RUNTIME_DIR", "run"),
            ("AETHER_STATE_DIR", "./state"),
            ("AETHER_LOG_DIR", "../log"),
            ("AETHER_LIBEXEC_DIR", "target/debug"),
            ("AETHER_UNIT_PATH", "/a::units"),
            ("AETHER_POLICY_PATH", "policies:/b"),
        ] {
            let said = find(name, value).unwrap_err().to_string();
            assert!(said.starts_with(name), "{said}");
        }
        assert!(find("AETHER_RUNTIME_DIR", "").is_ok());
        assert!(find("AETHER_UNIT_PATH", "/a::/b:").is_ok());
    }

    #[test]
    fn each_place_moves_alone() {
        let moved = Places::find(0, Path::new("/x/aetherd"), |name| match name {
            "AETHER_RUNTIME_DIR" => Some("/tmp/r".to_owned()),
            "AETHER_UNIT_PATH" => Some("/a:/b".to_owned()),
            _ => None,
        });
        assert_eq!(moved.runtime, Path::new("/tmp/r"));
        assert_eq!(moved.state, Path::new("/var/lib/aether"));
        assert_eq!(moved.units, [Path::new("/a"), Path::new("/b")]);
    }
}
