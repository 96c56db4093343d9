//! Rows of the daemon's lists, as plain structs.
//!
//! The wire's tuples are read here and nowhere else.

use serde::Serialize;
use zbus::OwnedObjectPath;

use crate::bus::client::{ClientError, parse_name};
use crate::name::{JobId, UnitName};

/// The path of a unit's object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitPath(pub String);

/// The path of a job's object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct JobPath(pub String);

/// One unit of `ListUnits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitRow {
    /// Its name.
    pub name: UnitName,
    /// `Description=`.
    pub description: String,
    /// `loaded`, `not-found`, `bad-setting`.
    pub load_state: String,
    /// `active`, `failed` …
    pub active_state: String,
    /// `running`, `auto-restart` …
    pub sub_state: String,
    /// Its job.
    pub job: Option<(JobId, String)>,
}

/// One agent of `ListAgents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentRow {
    /// Its name.
    pub name: UnitName,
    /// `starting`, `working`, `paused`, `stopping`, `inactive`, `done`, `failed`.
    pub state: String,
    /// `claude-code`, `command`.
    pub runtime: String,
    /// The model in use, empty when there is none.
    pub model: String,
    /// The main process.
    pub main_pid: Option<u32>,
    /// Tokens in.
    pub tokens_in: u64,
    /// Tokens out.
    pub tokens_out: u64,
    /// Millionths of a US dollar.
    pub cost_micros: u64,
}

/// One job of `ListJobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobRow {
    /// Its number.
    pub id: JobId,
    /// Of whom.
    pub unit: UnitName,
    /// `start`, `stop`, `restart`, `pause`, `resume`.
    pub kind: String,
    /// `waiting` or `running`.
    pub state: String,
    /// Its object.
    pub path: JobPath,
}

/// One process of `GetUnitProcesses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessRow {
    /// Its cgroup, below the cgroup mount.
    pub cgroup: String,
    /// Its id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

pub(crate) type UnitWire = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);
pub(crate) type AgentWire = (
    String,
    OwnedObjectPath,
    String,
    String,
    String,
    u32,
    u64,
    u64,
    u64,
);
pub(crate) type JobWire = (
    u32,
    String,
    String,
    String,
    OwnedObjectPath,
    OwnedObjectPath,
);

impl UnitRow {
    pub(crate) fn read(wire: UnitWire) -> Result<Self, ClientError> {
        let (name, description, load_state, active_state, sub_state, _, _, id, kind, _) = wire;
        Ok(Self {
            name: parse_name(&name)?,
            description,
            load_state,
            active_state,
            sub_state,
            job: (id != 0).then_some((JobId(id), kind)),
        })
    }
}

impl AgentRow {
    pub(crate) fn read(wire: AgentWire) -> Result<Self, ClientError> {
        let (name, _, state, runtime, model, pid, tokens_in, tokens_out, cost_micros) = wire;
        Ok(Self {
            name: parse_name(&name)?,
            state,
            runtime,
            model,
            main_pid: (pid != 0).then_some(pid),
            tokens_in,
            tokens_out,
            cost_micros,
        })
    }
}

impl JobRow {
    pub(crate) fn read(wire: JobWire) -> Result<Self, ClientError> {
        let (id, unit, kind, state, path, _) = wire;
        Ok(Self {
            id: JobId(id),
            unit: parse_name(&unit)?,
            kind,
            state,
            path: JobPath(path.to_string()),
        })
    }
}

impl ProcessRow {
    pub(crate) fn read((cgroup, pid, command): (String, u32, String)) -> Self {
        Self {
            cgroup,
            pid,
            command,
        }
    }
}
