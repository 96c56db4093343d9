//! Signals: made once, handed to every subscribed connection, never waiting for any of them.
//!
//! A connection whose queue is full is closed: it can ask again, the others must not wait. Which
//! properties changed is found here, by comparing with what was last told. Read next: `serve`.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use zbus::Variant;
use zbus::message::Message;

use crate::bus::aether1;
use crate::bus::ask::{Signal, UnitFacts};
use crate::bus::contract::{self, Emits};
use crate::bus::path;
use crate::engine::event::JobResult;
use crate::name::UnitName;

/// Units whose last told properties are remembered; others are told whole.
const REMEMBERED: usize = 8192;
/// Activity of one agent is told at most this often, in microseconds.
const ACTIVITY_EVERY: u64 = 500_000;

/// Where the daemon puts signals. Cheap to clone; never waits.
#[derive(Debug, Clone, Default)]
pub struct Publisher {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    peers: HashMap<u64, Peer>,
    next: u64,
    /// A hash of each property as it was last told, in the order in which they are made: the
    /// properties themselves would be most of a unit's memory.
    told: HashMap<UnitName, Box<[u64]>>,
    hasher: RandomState,
    activity: HashMap<UnitName, u64>,
}

#[derive(Debug)]
struct Peer {
    queue: mpsc::Sender<Message>,
    /// Dropped when the queue has overflowed.
    _open: oneshot::Sender<()>,
    hub: bool,
}

/// One connection's part; dropping it unsubscribes.
#[derive(Debug)]
pub(crate) struct Subscription {
    publisher: Publisher,
    id: u64,
    /// Signals for this connection.
    pub(crate) queue: mpsc::Receiver<Message>,
    /// Resolves when this connection was too slow.
    pub(crate) overflow: oneshot::Receiver<()>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.publisher.lock().peers.remove(&self.id);
    }
}

impl Publisher {
    /// One without subscribers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections are subscribed.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.lock().peers.len()
    }

    pub(crate) fn subscribe(&self, hub: bool, capacity: usize) -> Subscription {
        let (sender, queue) = mpsc::channel(capacity);
        let (open, overflow) = oneshot::channel();
        let mut shared = self.lock();
        shared.next += 1;
        let id = shared.next;
        shared.peers.insert(
            id,
            Peer {
                queue: sender,
                _open: open,
                hub,
            },
        );
        drop(shared);
        Subscription {
            publisher: self.clone(),
            id,
            queue,
            overflow,
        }
    }

    /// Tells every subscriber. Call it after the reply to the call that caused it.
    pub fn publish(&self, signal: &Signal) {
        let mut shared = self.lock();
        if shared.peers.is_empty() {
            // Whoever comes next is told whole.
            shared.told.clear();
            shared.activity.clear();
            return;
        }
        let for_hub = matches!(signal, Signal::ListenerNew(_) | Signal::ListenerRemoved(_));
        // What cannot be encoded (a text beyond every limit) is not told.
        let messages = shared.encode(signal).unwrap_or_default();
        shared.peers.retain(|_, peer| {
            (for_hub && !peer.hub)
                || messages
                    .iter()
                    .all(|message| peer.queue.try_send(message.clone()).is_ok())
        });
    }
}

impl Shared {
    fn encode(&mut self, signal: &Signal) -> zbus::Result<Vec<Message>> {
        let manager = |member| Message::signal(path::MANAGER, "org.aether1.Manager", member);
        let message = match signal {
            Signal::UnitNew(unit) => {
                manager("UnitNew").build(&(unit.as_str(), aether1::unit_path(unit)))?
            }
            Signal::UnitRemoved(unit) => {
                self.told.remove(unit);
                self.activity.remove(unit);
                manager("UnitRemoved").build(&(unit.as_str(), aether1::unit_path(unit)))?
            }
            Signal::JobNew { id, unit } => {
                manager("JobNew").build(&(id.0, aether1::job_path(Some(*id)), unit.as_str()))?
            }
            Signal::JobRemoved { id, unit, result } => manager("JobRemoved").build(&(
                id.0,
                aether1::job_path(Some(*id)),
                unit.as_str(),
                result_word(*result),
            ))?,
            Signal::UnitFilesChanged => manager("UnitFilesChanged").build(&())?,
            Signal::Changed(facts) => return self.changed(facts),
            Signal::Activity { unit, event, at } => {
                let (kind, summary) = aether1::activity(event);
                let rare = matches!(kind, "session" | "turn-ended" | "permission-asked");
                let last = self.activity.get(unit).copied().unwrap_or(0);
                if !rare && at.saturating_sub(last) < ACTIVITY_EVERY {
                    return Ok(Vec::new());
                }
                if self.activity.len() < REMEMBERED || self.activity.contains_key(unit) {
                    self.activity.insert(unit.clone(), *at);
                }
                Message::signal(aether1::unit_path(unit), "org.aether1.Agent", "Activity")
                    .build(&(kind, summary, *at))?
            }
            Signal::InputConsumed { unit } => {
                let details: HashMap<&str, Variant<'_>> = HashMap::new();
                Message::signal(
                    aether1::unit_path(unit),
                    "org.aether1.Agent",
                    "InputConsumed",
                )
                .build(&(details,))?
            }
            Signal::ListenerNew(unit) => {
                Message::signal(path::HUB, "org.aether1.Hub", "ListenerNew")
                    .build(&(unit.as_str(),))?
            }
            Signal::ListenerRemoved(unit) => {
                Message::signal(path::HUB, "org.aether1.Hub", "ListenerRemoved")
                    .build(&(unit.as_str(),))?
            }
        };
        Ok(vec![message])
    }

    /// One PropertiesChanged for each interface in which a told property changed.
    fn changed(&mut self, facts: &UnitFacts) -> zbus::Result<Vec<Message>> {
        let mut now = aether1::changing_of_unit(facts);
        for (name, values) in &mut now {
            let interface = contract::interface(name);
            values.retain(|(property, _)| {
                interface
                    .and_then(|interface| interface.property(property))
                    .is_some_and(|property| property.emits == Emits::True)
            });
        }
        let before = self.told.get(&facts.name);
        let mut hashes = Vec::new();
        let mut messages = Vec::new();
        for (name, values) in &now {
            let mut changed: HashMap<&str, &Variant<'_>> = HashMap::new();
            for (property, value) in values {
                let hash = self.hasher.hash_one(value);
                // The same function makes them in the same order each time.
                let known = before.and_then(|all| all.get(hashes.len()));
                if known != Some(&hash) {
                    changed.insert(property, value);
                }
                hashes.push(hash);
            }
            if changed.is_empty() {
                continue;
            }
            let invalidated: [&str; 0] = [];
            messages.push(
                Message::signal(
                    aether1::unit_path(&facts.name),
                    "org.freedesktop.DBus.Properties",
                    "PropertiesChanged",
                )
                .build(&(name, changed, invalidated.as_slice()))?,
            );
        }
        if self.told.len() < REMEMBERED || self.told.contains_key(&facts.name) {
            self.told.insert(facts.name.clone(), hashes.into());
        }
        Ok(messages)
    }
}

const fn result_word(result: JobResult) -> &'static str {
    match result {
        JobResult::Done => "done",
        JobResult::Canceled => "canceled",
        JobResult::Timeout => "timeout",
        JobResult::Failed => "failed",
        JobResult::Dependency => "dependency",
        JobResult::Skipped => "skipped",
        JobResult::Assert => "assert",
        JobResult::Invalid => "invalid",
    }
}
