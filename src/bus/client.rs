//! The client: how aetherctl and the hub talk to the daemon, typed.
//!
//! One peer-to-peer connection; every method of the contract is one function here. A background
//! task reads the connection, remembers the results of ended jobs and hands signals on. It never
//! prints and never retries. Read next: [`rows`], [`crate::bus::contract`].

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{OnceCell, broadcast, watch};
use zbus::message::Message;
use zbus::{Connection, MessageStream, Variant};

use crate::bus::path;
use crate::engine::event::JobResult;
use crate::name::UnitName;
use crate::place::Places;

mod error;
mod files;
pub mod properties;
pub mod rows;
mod signals;
mod verbs;

pub use error::{ClientError, ErrorClass};
pub use files::ChangeRow;
pub use properties::Properties;
pub use rows::{AgentRow, JobPath, JobRow, ProcessRow, UnitPath, UnitRow};
pub use signals::{ClientSignal, Signals};

/// How long the daemon may take to greet, and to answer one call.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many results of ended jobs are kept for [`Client::wait_for_job`].
const RESULTS_KEPT: usize = 1024;
/// How many signals a slow reader of [`Signals`] may lag behind.
const SIGNALS_KEPT: usize = 1024;

/// What the reading task and the callers share.
#[derive(Debug, Default)]
struct Results {
    by_path: HashMap<String, JobResult>,
    order: VecDeque<String>,
}

impl Results {
    fn keep(&mut self, path: String, result: JobResult) {
        if self.by_path.insert(path.clone(), result).is_none() {
            self.order.push_back(path);
        }
        while self.order.len() > RESULTS_KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.by_path.remove(&oldest);
            }
        }
    }
}

async fn wait_in_line(path: &Path) -> io::Result<tokio::net::UnixStream> {
    let path = path.to_owned();
    let connect = move || std::os::unix::net::UnixStream::connect(path);
    let waited = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(connect)).await;
    let stream = waited
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

/// A connection to the daemon.
#[derive(Debug, Clone)]
pub struct Client {
    connection: Connection,
    results: Arc<Mutex<Results>>,
    /// Counts ended jobs; closed when the connection is.
    ended: watch::Receiver<u64>,
    signals: broadcast::WeakSender<ClientSignal>,
    subscribed: Arc<OnceCell<()>>,
    _reading: Arc<Reading>,
}

/// The reading task; it ends, and with it the connection, when the last client is dropped.
#[derive(Debug)]
struct Reading(tokio::task::JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Connects to the daemon's socket ([`crate::place::Places::bus_socket`]).
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when nobody listens there, [`ClientError::Connect`] otherwise.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let refused = |reason: String| ClientError::Connect {
            path: path.to_owned(),
            reason,
        };
        let connected = match tokio::net::UnixStream::connect(path).await {
            // So many are waiting to be let in that there is no room to wait (connect(2)); a
            // blocking connect waits for it.
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => wait_in_line(path).await,
            other => other,
        };
        let stream = match connected {
            Ok(stream) => stream,
            Err(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Err(ClientError::NotRunning {
                    path: path.to_owned(),
                    source,
                });
            }
            Err(source) => return Err(refused(source.to_string())),
        };
        let stream = stream.into_std().map_err(|e| refused(e.to_string()))?;
        let building = zbus::connection::Builder::unix_stream(stream)
            .p2p()
            .method_timeout(PATIENCE)
            .build_message_stream();
        let stream = tokio::time::timeout(PATIENCE, building)
            .await
            .map_err(|_| refused("the daemon does not answer".to_owned()))?
            .map_err(|e| refused(format!("the daemon closed the connection ({e})")))?;
        Ok(Self::over(stream))
    }

    /// [`Client::connect`] to the manager of these places, by the first socket that lets us in: the
    /// owner's, then everyone's.
    ///
    /// # Errors
    /// Of the last one.
    pub async fn connect_to(places: &Places) -> Result<Self, ClientError> {
        match Self::connect(&places.owner_socket()).await {
            Ok(client) => Ok(client),
            Err(_) => Self::connect(&places.bus_socket()).await,
        }
    }

    fn over(stream: MessageStream) -> Self {
        let connection = Connection::from(&stream);
        let results = Arc::new(Mutex::new(Results::default()));
        let (ended_sender, ended) = watch::channel(0);
        let (sender, _) = broadcast::channel(SIGNALS_KEPT);
        let signals = sender.downgrade();
        let reading = read(stream, Arc::clone(&results), ended_sender, sender);
        let reading = Arc::new(Reading(tokio::spawn(reading)));
        Self {
            connection,
            results,
            ended,
            signals,
            _reading: reading,
            subscribed: Arc::new(OnceCell::new()),
        }
    }

    async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        body: &B,
    ) -> Result<Message, ClientError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.connection
            .call_method(None::<&str>, path, Some(interface), member, body)
            .await
            .map_err(|error| ClientError::of(&error))
    }

    async fn manager<B>(&self, member: &str, body: &B) -> Result<Message, ClientError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.call(path::MANAGER, "org.aether1.Manager", member, body)
            .await
    }

    async fn agent<B>(
        &self,
        unit: &UnitName,
        member: &str,
        body: &B,
    ) -> Result<Message, ClientError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.call(&path::unit(unit), "org.aether1.Agent", member, body)
            .await
    }

    /// `GetUnit`: the path of a unit that exists.
    ///
    /// # Errors
    /// `NoSuchUnit` and the connection's.
    pub async fn get_unit(&self, name: &UnitName) -> Result<UnitPath, ClientError> {
        read_path(&self.manager("GetUnit", &(name.as_str(),)).await?).map(UnitPath)
    }

    /// `LoadUnit`: the path of a unit, whose file is read if it was not yet.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn load_unit(&self, name: &UnitName) -> Result<UnitPath, ClientError> {
        read_path(&self.manager("LoadUnit", &(name.as_str(),)).await?).map(UnitPath)
    }

    /// `GetUnitByPID`: the unit a process belongs to; 0 is the caller itself.
    ///
    /// # Errors
    /// `NoSuchUnit` when it belongs to none.
    pub async fn get_unit_by_pid(&self, pid: u32) -> Result<UnitName, ClientError> {
        let reply = self.manager("GetUnitByPID", &(pid,)).await?;
        let (_, name, _): (zbus::OwnedObjectPath, String, Vec<u8>) = body(&reply)?;
        parse_name(&name)
    }

    /// `ListUnits`: those in one of `states` and matching one of `patterns`; empty means all.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn list_units(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> Result<Vec<UnitRow>, ClientError> {
        let reply = self
            .manager("ListUnits", &(states, patterns, none()))
            .await?;
        let (rows,): (Vec<rows::UnitWire>,) = body(&reply)?;
        rows.into_iter().map(UnitRow::read).collect()
    }

    /// `ListAgents`.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn list_agents(&self) -> Result<Vec<AgentRow>, ClientError> {
        let reply = self.manager("ListAgents", &(none(),)).await?;
        let (rows,): (Vec<rows::AgentWire>,) = body(&reply)?;
        rows.into_iter().map(AgentRow::read).collect()
    }

    /// `ListJobs`.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn list_jobs(&self) -> Result<Vec<JobRow>, ClientError> {
        let reply = self.manager("ListJobs", &()).await?;
        let (rows,): (Vec<rows::JobWire>,) = body(&reply)?;
        rows.into_iter().map(JobRow::read).collect()
    }

    /// `GetUnitProcesses`.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn get_unit_processes(
        &self,
        name: &UnitName,
    ) -> Result<Vec<ProcessRow>, ClientError> {
        let reply = self.manager("GetUnitProcesses", &(name.as_str(),)).await?;
        let (rows,): (Vec<(String, u32, String)>,) = body(&reply)?;
        Ok(rows.into_iter().map(ProcessRow::read).collect())
    }

    /// Waits until the daemon has closed the connection.
    pub async fn closed(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Every property of a unit, of all its interfaces.
    ///
    /// # Errors
    /// `NoSuchUnit` and the connection's.
    pub async fn unit_properties(&self, name: &UnitName) -> Result<Properties, ClientError> {
        self.properties(&path::unit(name)).await
    }

    /// Every property of the manager.
    ///
    /// # Errors
    /// The connection's.
    pub async fn manager_properties(&self) -> Result<Properties, ClientError> {
        self.properties(path::MANAGER).await
    }

    async fn properties(&self, path: &str) -> Result<Properties, ClientError> {
        let reply = self
            .call(path, "org.freedesktop.DBus.Properties", "GetAll", &("",))
            .await?;
        let (map,) = body(&reply)?;
        Ok(Properties(map))
    }

    async fn ensure_subscribed(&self) -> Result<(), ClientError> {
        self.subscribed
            .get_or_try_init(|| async { self.manager("Subscribe", &(none(),)).await.map(drop) })
            .await
            .map(drop)
    }

    /// Subscribes; every signal from now on comes out of the stream.
    ///
    /// # Errors
    /// The connection's.
    pub async fn subscribe(&self) -> Result<Signals, ClientError> {
        let lost = ClientError::Lost("subscribing");
        let receiver = self.signals.upgrade().ok_or(lost)?.subscribe();
        self.ensure_subscribed().await?;
        Ok(Signals(receiver))
    }

    /// Waits for the end of a job that this client made.
    ///
    /// # Errors
    /// [`ClientError::Lost`] when the daemon goes away first.
    pub async fn wait_for_job(&self, job: &JobPath) -> Result<JobResult, ClientError> {
        if job.0 == "/" {
            // There was nothing to do.
            return Ok(JobResult::Done);
        }
        let mut ended = self.ended.clone();
        loop {
            ended.borrow_and_update();
            let found = self
                .results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .by_path
                .get(&job.0)
                .copied();
            if let Some(result) = found {
                return Ok(result);
            }
            if ended.changed().await.is_err() {
                return Err(ClientError::Lost("waiting for a job"));
            }
        }
    }

    /// The hub's: units whose MCP socket is listening.
    ///
    /// # Errors
    /// `AccessDenied` for everyone but the hub.
    pub async fn listeners(&self) -> Result<Vec<UnitName>, ClientError> {
        let reply = self
            .call(path::HUB, "org.aether1.Hub", "Listeners", &())
            .await?;
        let (names,): (Vec<String>,) = body(&reply)?;
        names.iter().map(|name| parse_name(name)).collect()
    }

    /// The hub's: the listening MCP socket of a unit and the tool groups to serve on it.
    ///
    /// # Errors
    /// `AccessDenied` for everyone but the hub.
    pub async fn get_listener(
        &self,
        unit: &UnitName,
    ) -> Result<(OwnedFd, Vec<String>), ClientError> {
        let reply = self
            .call(
                path::HUB,
                "org.aether1.Hub",
                "GetListener",
                &(unit.as_str(),),
            )
            .await?;
        let (socket, tools): (zbus::OwnedFd, Vec<String>) = body(&reply)?;
        Ok((socket.into(), tools))
    }
}

async fn read(
    mut stream: MessageStream,
    results: Arc<Mutex<Results>>,
    ended: watch::Sender<u64>,
    signals: broadcast::Sender<ClientSignal>,
) {
    while let Some(Ok(message)) = stream.next().await {
        let Some(signal) = ClientSignal::read(&message) else {
            continue;
        };
        if let ClientSignal::JobRemoved { id, result, .. } = &signal {
            results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .keep(path::job(Some(*id)), *result);
            ended.send_modify(|count| *count += 1);
        }
        // Nobody may be listening; that is no failure.
        let _ = signals.send(signal);
    }
}

fn none() -> HashMap<&'static str, Variant<'static>> {
    HashMap::new()
}

fn body<T>(reply: &Message) -> Result<T, ClientError>
where
    T: for<'a> zbus::wire::DynamicDeserialize<'a>,
{
    reply
        .body()
        .deserialize()
        .map_err(|error| ClientError::Protocol(error.to_string()))
}

fn read_path(reply: &Message) -> Result<String, ClientError> {
    let (path,): (zbus::OwnedObjectPath,) = body(reply)?;
    Ok(path.to_string())
}

pub(crate) fn parse_name(text: &str) -> Result<UnitName, ClientError> {
    text.parse()
        .map_err(|error| ClientError::Protocol(format!("{error}")))
}
