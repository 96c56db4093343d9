//! Signals, read from the wire.

use std::collections::HashMap;

use tokio::sync::broadcast;
use zbus::message::{Message, Type};
use zbus::{OwnedObjectPath, OwnedVariant};

use crate::bus::client::Properties;
use crate::bus::path::Object;
use crate::engine::event::JobResult;
use crate::name::{JobId, UnitName};

/// What the daemon told a subscriber.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientSignal {
    /// A unit became known.
    UnitNew(UnitName),
    /// A unit was forgotten.
    UnitRemoved(UnitName),
    /// A job was made.
    JobNew {
        /// Which.
        id: JobId,
        /// For whom.
        unit: UnitName,
    },
    /// A job ended.
    JobRemoved {
        /// Which.
        id: JobId,
        /// Of whom.
        unit: UnitName,
        /// How.
        result: JobResult,
    },
    /// Links of unit files were made or removed.
    UnitFilesChanged,
    /// Properties of a unit changed.
    Changed {
        /// Whose.
        unit: UnitName,
        /// Those that changed, with their new values.
        properties: Properties,
    },
    /// Something happened in an agent.
    Activity {
        /// Whose.
        unit: UnitName,
        /// `text`, `tool-use` …
        kind: String,
        /// A few words without contents.
        summary: String,
        /// When, realtime microseconds.
        at: u64,
    },
    /// A message was taken up by an agent.
    InputConsumed {
        /// Whose.
        unit: UnitName,
    },
    /// A unit's MCP socket is there (the hub's).
    ListenerNew(UnitName),
    /// A unit's MCP socket is gone (the hub's).
    ListenerRemoved(UnitName),
    /// The reader was too slow; so many signals are missing here. Ask again for what matters.
    Missed(u64),
}

/// A stream of signals; made by [`Client::subscribe`](crate::bus::client::Client::subscribe).
#[derive(Debug)]
pub struct Signals(pub(super) broadcast::Receiver<ClientSignal>);

impl Signals {
    /// The next signal; `None` when the connection has ended. Safe to drop half-way.
    pub async fn next(&mut self) -> Option<ClientSignal> {
        match self.0.recv().await {
            Ok(signal) => Some(signal),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(ClientSignal::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl ClientSignal {
    /// What a message says; `None` for what is no signal of the contract.
    pub(in crate::bus) fn read(message: &Message) -> Option<Self> {
        if message.message_type() != Type::Signal {
            return None;
        }
        let header = message.header();
        let body = message.body();
        let of_unit = || match Object::parse(header.path()?.as_str())? {
            Object::Unit(unit) => Some(unit),
            _ => None,
        };
        Some(
            match (header.interface()?.as_str(), header.member()?.as_str()) {
                ("org.aether1.Manager", member @ ("UnitNew" | "UnitRemoved")) => {
                    let (name, _): (String, OwnedObjectPath) = body.deserialize().ok()?;
                    let name = name.parse().ok()?;
                    if member == "UnitNew" {
                        Self::UnitNew(name)
                    } else {
                        Self::UnitRemoved(name)
                    }
                }
                ("org.aether1.Manager", "UnitFilesChanged") => Self::UnitFilesChanged,
                ("org.aether1.Manager", "JobNew") => {
                    let (id, _, unit): (u32, OwnedObjectPath, String) = body.deserialize().ok()?;
                    Self::JobNew {
                        id: JobId(id),
                        unit: unit.parse().ok()?,
                    }
                }
                ("org.aether1.Manager", "JobRemoved") => {
                    let (id, _, unit, result): (u32, OwnedObjectPath, String, String) =
                        body.deserialize().ok()?;
                    Self::JobRemoved {
                        id: JobId(id),
                        unit: unit.parse().ok()?,
                        // A word of a newer daemon is no success.
                        result: serde_json::from_value(result.into()).unwrap_or(JobResult::Failed),
                    }
                }
                ("org.freedesktop.DBus.Properties", "PropertiesChanged") => {
                    let (_, changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) =
                        body.deserialize().ok()?;
                    Self::Changed {
                        unit: of_unit()?,
                        properties: Properties(changed),
                    }
                }
                ("org.aether1.Agent", "Activity") => {
                    let (kind, summary, at) = body.deserialize().ok()?;
                    Self::Activity {
                        unit: of_unit()?,
                        kind,
                        summary,
                        at,
                    }
                }
                ("org.aether1.Agent", "InputConsumed") => Self::InputConsumed { unit: of_unit()? },
                ("org.aether1.Hub", member @ ("ListenerNew" | "ListenerRemoved")) => {
                    let (name,): (String,) = body.deserialize().ok()?;
                    let name = name.parse().ok()?;
                    if member == "ListenerNew" {
                        Self::ListenerNew(name)
                    } else {
                        Self::ListenerRemoved(name)
                    }
                }
                _ => return None,
            },
        )
    }
}
