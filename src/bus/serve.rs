//! The listening socket: accepts, limits, greets, and carries calls and signals of each connection.
//!
//! One task per connection; a slow, silent or hostile client costs its own connection and nothing
//! else. Who is calling is what the given function says, never the client. Read next: `dispatch`.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use zbus::message::{Message, Type};
use zbus::{Connection, Guid, MessageStream};

use crate::bus::ask::{Asked, Caller, Denial, Told};
use crate::bus::authorise::HUB_UNIT;
use crate::bus::dispatch::{Call, Step};
use crate::bus::encode::{self, Answer};
use crate::bus::failure::Failure;
use crate::bus::frame::Metered;
use crate::bus::publish::{Publisher, Subscription};
use crate::name::UnitName;
use crate::sys::socket;

/// How much clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Of these, kept for root and the manager's own user outside of units.
    pub reserved: usize,
    /// Connections of one uid outside of units.
    pub per_uid: usize,
    /// Connections from one unit.
    pub per_unit: usize,
    /// Calls of one connection that wait for their answer; further ones are not read.
    pub calls: usize,
    /// Signals that wait for one connection; one more closes it.
    pub signals: usize,
    /// Time to authenticate.
    pub greeting: Duration,
    /// Time for one message to be taken by the client.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            reserved: 32,
            per_uid: 64,
            per_unit: 8,
            calls: 16,
            signals: 8192,
            greeting: Duration::from_secs(10),
            write: Duration::from_secs(30),
        }
    }
}

/// Serves `listeners` until the daemon no longer takes questions; their connections share the
/// limits.
///
/// `manager_uid` is the user this manager runs as, who may do everything (with root).
pub async fn serve(
    listeners: Vec<UnixListener>,
    manager_uid: u32,
    identify: impl Fn(&UnixStream) -> io::Result<Caller>,
    asks: mpsc::Sender<Asked>,
    signals: Publisher,
    limits: Limits,
) {
    let door = Arc::new(Door {
        guid: Guid::generate().to_string(),
        manager_uid,
        asks,
        signals,
        limits,
        count: Mutex::new(Count::default()),
    });
    let all = listeners.iter().map(|one| accept(one, &identify, &door));
    futures_util::future::join_all(all).await;
}

async fn accept(
    listener: &UnixListener,
    identify: &impl Fn(&UnixStream) -> io::Result<Caller>,
    door: &Arc<Door>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.asks.closed() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors or memory: connections must end before the next can begin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let caller = identify(&stream).ok();
        match caller.and_then(|caller| Some((Place::take(door, &caller)?, caller))) {
            Some((place, caller)) => drop(tokio::spawn(converse(stream, caller, place))),
            None => socket::hang_up(stream.as_fd()),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
struct Door {
    guid: String,
    manager_uid: u32,
    asks: mpsc::Sender<Asked>,
    signals: Publisher,
    limits: Limits,
    count: Mutex<Count>,
}

#[derive(Debug, Default)]
struct Count {
    all: usize,
    by_owner: HashMap<Owner, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Owner {
    Uid(u32),
    Unit(UnitName),
}

/// One connection's place among the limits; given back when dropped.
#[derive(Debug)]
struct Place {
    door: Arc<Door>,
    owner: Owner,
}

impl Place {
    fn take(door: &Arc<Door>, caller: &Caller) -> Option<Self> {
        let limits = &door.limits;
        let trusted = caller.unit.is_none() && (caller.uid == 0 || caller.uid == door.manager_uid);
        let (owner, most) = match &caller.unit {
            Some(unit) => (Owner::Unit(unit.clone()), limits.per_unit),
            None => (Owner::Uid(caller.uid), limits.per_uid),
        };
        let all = if trusted {
            limits.connections
        } else {
            limits.connections.saturating_sub(limits.reserved)
        };
        let mut count = door.count.lock().unwrap_or_else(PoisonError::into_inner);
        let own = count.by_owner.get(&owner).copied().unwrap_or(0);
        if count.all >= all || own >= most {
            return None;
        }
        count.all += 1;
        count.by_owner.insert(owner.clone(), own + 1);
        drop(count);
        Some(Self {
            door: Arc::clone(door),
            owner,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = self
            .door
            .count
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        count.all = count.all.saturating_sub(1);
        let left = count.by_owner.get(&self.owner).map_or(0, |own| own - 1);
        if left == 0 {
            count.by_owner.remove(&self.owner);
        } else {
            count.by_owner.insert(self.owner.clone(), left);
        }
    }
}

async fn converse(stream: UnixStream, caller: Caller, place: Place) {
    let door = Arc::clone(&place.door);
    let hub = caller
        .unit
        .as_ref()
        .is_some_and(|unit| unit.as_str() == HUB_UNIT);
    let greeting = greet(stream, &caller, hub, &door.guid);
    let Ok(Ok(messages)) = tokio::time::timeout(door.limits.greeting, greeting).await else {
        return;
    };
    let peer = Peer {
        connection: Connection::from(&messages),
        messages,
        caller,
        hub,
        door,
        pending: Vec::new(),
        subscription: None,
    };
    // How it ended is the client's affair.
    let _ = peer.run().await;
    drop(place);
}

async fn greet(
    stream: UnixStream,
    caller: &Caller,
    hub: bool,
    guid: &str,
) -> zbus::Result<MessageStream> {
    // The hub is handed sockets; what it may send is limited as for everyone.
    let socket = Metered {
        stream,
        uid: caller.uid,
        sends_fds: hub,
    };
    zbus::connection::Builder::socket(socket)
        .server(guid)
        .p2p()
        .max_queued(NonZeroUsize::MIN.saturating_add(7))
        .build_message_stream()
        .await
}

/// A call that waits for the daemon.
#[derive(Debug)]
struct Pending {
    call: Message,
    answer: Answer,
    told: oneshot::Receiver<Result<Told, Denial>>,
}

/// One connection.
struct Peer {
    connection: Connection,
    messages: MessageStream,
    caller: Caller,
    hub: bool,
    door: Arc<Door>,
    pending: Vec<Pending>,
    subscription: Option<Subscription>,
}

/// The connection is to be closed.
struct Close;

impl From<zbus::Error> for Close {
    fn from(_: zbus::Error) -> Self {
        Self
    }
}

impl Peer {
    async fn run(mut self) -> Result<(), Close> {
        loop {
            let may_read = self.pending.len() < self.door.limits.calls;
            let (queue, overflow) = match &mut self.subscription {
                Some(subscription) => (
                    Some(&mut subscription.queue),
                    Some(&mut subscription.overflow),
                ),
                None => (None, None),
            };
            let pending = &mut self.pending;
            tokio::select! {
                biased;
                () = overflowed(overflow) => return Err(Close),
                (at, told) = answered(pending) => self.finish(at, told).await?,
                signal = received(queue) => self.forward(signal.ok_or(Close)?).await?,
                call = self.messages.next(), if may_read => match call {
                    Some(Ok(call)) => self.take(call).await?,
                    _ => return Err(Close),
                },
            }
        }
    }

    /// One message from the client.
    async fn take(&mut self, call: Message) -> Result<(), Close> {
        if call.message_type() != Type::MethodCall {
            return Ok(());
        }
        let step = Call {
            message: &call,
            caller: &self.caller,
            manager_uid: self.door.manager_uid,
        }
        .step();
        let answer = match step {
            Err(failure) => return self.fail(&call, &failure).await,
            Ok(Step::Ask(ask, answer)) => {
                let (reply, told) = oneshot::channel();
                let asked = Asked {
                    caller: self.caller.clone(),
                    ask: *ask,
                    reply,
                };
                self.door.asks.send(asked).await.map_err(|_| Close)?;
                self.pending.push(Pending { call, answer, told });
                return Ok(());
            }
            Ok(Step::Tell(answer)) => answer,
            Ok(Step::Subscribe) => {
                if self.subscription.is_none() {
                    let limit = self.door.limits.signals;
                    self.subscription = Some(self.door.signals.subscribe(self.hub, limit));
                }
                Answer::Nothing
            }
            Ok(Step::Unsubscribe) => {
                self.subscription = None;
                Answer::Nothing
            }
        };
        self.reply(&call, &answer, None).await
    }

    /// The daemon has answered the pending call at this place.
    async fn finish(&mut self, at: usize, told: Option<Result<Told, Denial>>) -> Result<(), Close> {
        let Pending { call, answer, .. } = self.pending.remove(at);
        match told {
            Some(told) => self.reply(&call, &answer, Some(told)).await,
            None => {
                let failure = Failure::new(
                    "org.aether1.Error.ShuttingDown",
                    "the daemon is shutting down".to_owned(),
                );
                self.fail(&call, &failure).await
            }
        }
    }

    /// A signal, with those that wait behind it. A reply the daemon gave before goes out before:
    /// whoever started a job learns its path before its end.
    async fn forward(&mut self, first: Message) -> Result<(), Close> {
        let mut batch = vec![first];
        if let Some(subscription) = &mut self.subscription {
            while batch.len() < 64
                && let Ok(signal) = subscription.queue.try_recv()
            {
                batch.push(signal);
            }
        }
        let mut at = 0;
        while let Some(pending) = self.pending.get_mut(at) {
            match pending.told.try_recv() {
                Ok(told) => self.finish(at, Some(told)).await?,
                Err(TryRecvError::Closed) => self.finish(at, None).await?,
                Err(TryRecvError::Empty) => at += 1,
            }
        }
        self.send(&batch).await
    }

    async fn reply(
        &mut self,
        call: &Message,
        answer: &Answer,
        told: Option<Result<Told, Denial>>,
    ) -> Result<(), Close> {
        if !encode::wants_reply(call) {
            return Ok(());
        }
        let message = encode::reply(call, answer, told).or_else(|error| {
            let failure = Failure::new("org.freedesktop.DBus.Error.Failed", error.to_string());
            encode::error(call, &failure)
        })?;
        self.send(&[message]).await
    }

    async fn fail(&mut self, call: &Message, failure: &Failure) -> Result<(), Close> {
        if !encode::wants_reply(call) {
            return Ok(());
        }
        let message = encode::error(call, failure)?;
        self.send(&[message]).await
    }

    async fn send(&mut self, messages: &[Message]) -> Result<(), Close> {
        let overflow = self.subscription.as_mut().map(|it| &mut it.overflow);
        tokio::select! {
            biased;
            sent = self.connection.send_all(messages) => Ok(sent?),
            () = overflowed(overflow) => Err(Close),
            () = tokio::time::sleep(self.door.limits.write) => Err(Close),
        }
    }
}

/// Resolves when the publisher has given this connection up.
async fn overflowed(overflow: Option<&mut oneshot::Receiver<()>>) {
    match overflow {
        Some(overflow) => {
            let _ = overflow.await;
        }
        None => std::future::pending().await,
    }
}

/// The next signal; `None` when the publisher has given this connection up.
async fn received(queue: Option<&mut mpsc::Receiver<Message>>) -> Option<Message> {
    match queue {
        Some(queue) => queue.recv().await,
        None => std::future::pending().await,
    }
}

/// The first pending call that the daemon has answered; `None` when it dropped the question.
async fn answered(pending: &mut [Pending]) -> (usize, Option<Result<Told, Denial>>) {
    poll_fn(|context| {
        for (at, call) in pending.iter_mut().enumerate() {
            if let Poll::Ready(told) = Pin::new(&mut call.told).poll(context) {
                return Poll::Ready((at, told.ok()));
            }
        }
        Poll::Pending
    })
    .await
}
