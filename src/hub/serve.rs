//! One listening socket per unit: accept, check who it is, serve, and close when the unit goes.
//!
//! The kernel says which unit a peer belongs to (`identify`); a peer of any other unit, or of none,
//! is closed unheard, with a line that names both. Connections per unit and requests per connection
//! are limited ([`super::throttle`]). What is served: [`super::tools`].

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use rmcp::service::Service;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{RoleServer, ServiceExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::throttle::throttled;
use super::tools::{Hub, Server, is_group};
use crate::name::UnitName;

/// Longest line (one JSON-RPC message) that is read; longer ones are dropped by the transport.
pub const MAX_LINE: usize = 1024 * 1024;
/// Connections of one unit at a time.
pub const MAX_CONNECTIONS: usize = 64;
/// How long to wait when no descriptor is free.
const BREATHER: Duration = Duration::from_millis(200);

/// Says which of our units the peer's process is in; `None`: in none.
pub type Identify = Arc<dyn Fn(&UnixStream) -> io::Result<Option<UnitName>> + Send + Sync>;

/// What the supervisor tells about sockets.
#[derive(Debug)]
pub enum Change {
    /// Serve this unit (anew, when it is served already).
    Listen {
        /// Whose.
        unit: UnitName,
        /// Bound and listening.
        socket: StdListener,
        /// `Tools=`.
        tools: Vec<String>,
    },
    /// Close the unit's socket and all its connections.
    Unlisten {
        /// Whose.
        unit: UnitName,
    },
}

/// Serves until the channel closes.
pub async fn run(hub: Hub, identify: Identify, mut changes: mpsc::Receiver<Change>) {
    let mut served: HashMap<UnitName, JoinHandle<()>> = HashMap::new();
    while let Some(change) = changes.recv().await {
        match change {
            Change::Listen {
                unit,
                socket,
                tools,
            } => {
                for unknown in tools.iter().filter(|group| !is_group(group)) {
                    tracing::warn!(
                        "{unit}: Tools= names {unknown:?}, which this hub does not have, ignoring"
                    );
                }
                let listener = socket
                    .set_nonblocking(true)
                    .and_then(|()| UnixListener::from_std(socket));
                match listener {
                    Ok(listener) => {
                        let task =
                            accept(hub.clone(), identify.clone(), unit.clone(), listener, tools);
                        if let Some(before) = served.insert(unit, tokio::spawn(task)) {
                            before.abort();
                        }
                    }
                    Err(error) => tracing::error!("{unit}: failed to listen: {error}"),
                }
            }
            Change::Unlisten { unit } => {
                if let Some(task) = served.remove(&unit) {
                    task.abort();
                }
            }
        }
    }
    served.values().for_each(JoinHandle::abort);
}

/// Accepts for one unit. Aborting it drops the set, and with it every connection.
async fn accept(
    hub: Hub,
    identify: Identify,
    unit: UnitName,
    listener: UnixListener,
    tools: Vec<String>,
) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("{unit}: failed to accept: {error}");
                    tokio::time::sleep(BREATHER).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        match identify(&stream) {
            Ok(Some(peer)) if peer == unit => {}
            Ok(Some(peer)) => {
                tracing::warn!("{unit}: closed a connection from a process of {peer}");
                continue;
            }
            Ok(None) => {
                tracing::warn!("{unit}: closed a connection from a process of no unit");
                continue;
            }
            Err(error) => {
                tracing::warn!(
                    "{unit}: closed a connection whose peer cannot be identified: {error}"
                );
                continue;
            }
        }
        if connections.len() >= MAX_CONNECTIONS {
            tracing::warn!("{unit}: closed a connection: {MAX_CONNECTIONS} are open");
            continue;
        }
        connections.spawn(converse(
            Server::new(hub.clone(), unit.clone(), &tools),
            unit.clone(),
            stream,
        ));
    }
}

/// One connection, to its end.
pub(super) async fn converse(server: impl Service<RoleServer>, unit: UnitName, stream: UnixStream) {
    let (read, write) = stream.into_split();
    let transport = AsyncRwTransport::new(read, write).with_max_line_length(MAX_LINE);
    let (server, transport) = throttled(server, transport, &unit);
    match server.serve(transport).await {
        Ok(running) => {
            if let Err(error) = running.waiting().await {
                tracing::warn!("{unit}: a connection ended in a fault: {error}");
            }
        }
        Err(error) => tracing::debug!("{unit}: a connection ended before it began: {error}"),
    }
}
