//! What the hub wants to know from the supervisor, as a trait and plain data.
//!
//! The hub decides nothing about units and keeps no copy of them: every question goes to aetherd,
//! which answers what this unit may know. Without a supervisor ([`Alone`]) the tools say so. The
//! implementation that talks D-Bus plugs in here; nothing else of the hub changes.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::name::UnitName;

/// A boxed future, so that the supervisor can be a trait object.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unanswered>> + Send + 'a>>;

/// Where the hub's questions about units go.
pub trait Supervisor: Send + Sync + std::fmt::Debug {
    /// The agents that `asker` may know of, by name; `asker` itself included.
    fn agents<'a>(&'a self, asker: &'a UnitName) -> Asking<'a, Vec<Agent>>;
    /// What `asker` may know of `unit`.
    fn status<'a>(&'a self, asker: &'a UnitName, unit: &'a UnitName) -> Asking<'a, Status>;
}

/// Why there is no answer; the text is shown to the agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// aetherd is not there (or this hub runs without one).
    #[error("the supervisor cannot be reached: {0}")]
    Away(String),
    /// aetherd says no, or knows no such unit.
    #[error("{0}")]
    Refused(String),
}

/// One agent, as other agents see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Its unit name; how it is addressed.
    pub name: String,
    /// `Description=`.
    pub description: String,
    /// `Role=`, when it has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// `active`, `inactive`, `failed` …
    pub state: String,
    /// The detailed state: `running`, `paused`, `completed` …
    pub sub: String,
}

/// One unit's state; what is not known (or not for the asker) is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its unit name.
    pub name: String,
    /// `Description=`.
    pub description: String,
    /// `active`, `inactive`, `failed` …
    pub state: String,
    /// The detailed state.
    pub sub: String,
    /// One sentence about why it is like this.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Seconds since the state last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_seconds: Option<u64>,
    /// Restarts by policy since the last start by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// Bytes in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_current: Option<u64>,
    /// `MemoryMax=` in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<u64>,
    /// Tasks alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_current: Option<u64>,
    /// `TasksMax=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u64>,
    /// Processor time used, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_milliseconds: Option<u64>,
    /// `CPUQuota=` in percent of one processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota_percent: Option<u64>,
    /// Messages waiting for the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_messages: Option<u32>,
    /// What was asked for and could not be enforced on this machine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_enforced: Vec<String>,
}

/// No supervisor: the standalone hub.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Alone {
    fn refuse<T>() -> Result<T, Unanswered> {
        Err(Unanswered::Away("this hub runs standalone".to_owned()))
    }
}

impl Supervisor for Alone {
    fn agents<'a>(&'a self, _: &'a UnitName) -> Asking<'a, Vec<Agent>> {
        Box::pin(async { Self::refuse() })
    }

    fn status<'a>(&'a self, _: &'a UnitName, _: &'a UnitName) -> Asking<'a, Status> {
        Box::pin(async { Self::refuse() })
    }
}
