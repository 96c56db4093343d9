//! What units wait for beside their own processes: conditions, processes that we did not start,
//! names on the bus, sockets, paths, stamps, the clock of the day.
//!
//! What touches the file system is done by the hands; what is waited for is a small task that
//! sends one occurrence and is aborted when nobody waits any more.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::task::AbortHandle;

use crate::daemon::hands::{Opened, Order};
use crate::daemon::{Daemon, Occurrence, Process};
use crate::engine::event::{Event, Role, Source, SpawnId};
use crate::name::{UnitName, UnitType};
use crate::plan::Failure;
use crate::sys::paths::PathWatch;
use crate::sys::{clock, closing, listen, process, ready, zone};
use crate::unit::{Condition, PathCondition};

/// How many instances for connections keep their logs after they are gone.
const SERVED: usize = 64;

/// What is open and waited for, by unit.
#[derive(Debug, Default)]
pub(super) struct Attending {
    sockets: HashMap<UnitName, Vec<OwnedFd>>,
    paths: HashMap<UnitName, PathWatch>,
    pid_files: HashMap<UnitName, (SpawnId, PathWatch)>,
    /// Connections accepted for instances that have not been started yet.
    connections: HashMap<UnitName, OwnedFd>,
    /// Whom an instance serves, for `MaxConnectionsPerSource=`: its socket unit, and where from.
    sources: HashMap<UnitName, (UnitName, listen::Source)>,
    /// Instances for connections that have logs, oldest first.
    served: VecDeque<UnitName>,
    tasks: HashMap<(UnitName, Task), Vec<AbortHandle>>,
    accepted: u64,
    clock: Option<Arc<clock::Jumps>>,
    zone: Option<PathWatch>,
}

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Task {
    Trigger,
    PidFile,
    BusName,
}

impl Daemon {
    /// [`Effect::Check`](crate::engine::event::Effect::Check).
    pub(super) fn check(&mut self, unit: &UnitName) {
        if let Some(unit) = self.engine.definition(unit) {
            self.hands.order(Order::Check(Arc::clone(unit)));
        }
    }

    pub(super) fn take_checked(&mut self, unit: UnitName, unmet: Option<Condition>) {
        self.feed(Event::Checked { unit, unmet });
    }

    /// [`Effect::Find`](crate::engine::event::Effect::Find).
    pub(super) fn find(&mut self, unit: &UnitName, spawn: SpawnId, source: &Source) {
        let found = match source {
            Source::Told(pid) => self.take_main(unit, spawn, *pid),
            Source::Guess => self.guess(unit, spawn),
            Source::PidFile => match self.watch_pid_file(unit, spawn) {
                Ok(()) => return self.look_at_pid_file(unit),
                Err(error) => Err(error.to_string()),
            },
        };
        if let Err(reason) = found {
            let unit = unit.clone();
            self.feed(Event::NotFound {
                unit,
                spawn,
                reason,
            });
        }
    }

    /// The only process in the unit's cgroup, when there is one alone.
    fn guess(&mut self, unit: &UnitName, spawn: SpawnId) -> Result<(), String> {
        let group = self.held.get(unit).and_then(|held| held.group.as_ref());
        let inside = group.map(|group| group.procs(true)).unwrap_or_default();
        match inside.as_slice() {
            [pid] => self.take_main(unit, spawn, *pid),
            [] => Err("nothing of it runs".to_owned()),
            many => Err(format!("{} processes of it run", many.len())),
        }
    }

    /// Takes a process that we did not start as the unit's main one: it must be in its cgroup.
    fn take_main(&mut self, unit: &UnitName, spawn: SpawnId, pid: u32) -> Result<(), String> {
        let pidfd = process::open_pidfd(pid).map_err(|error| format!("process {pid}: {error}"))?;
        let start_time =
            process::start_time(pid).map_err(|error| format!("process {pid}: {error}"))?;
        match self.tree.unit_of_pid(pid) {
            Ok(Some(owner)) if owner == *unit => {}
            Ok(_) => return Err(format!("process {pid} is not one of this unit")),
            Err(error) => return Err(format!("process {pid}: {error}")),
        }
        // In this order: the number is its own now, so it was when its cgroup was read.
        if process::signal(pidfd.as_fd(), 0).is_err() {
            return Err(format!("process {pid} has ended"));
        }
        if self.processes.iter().any(|(_, known)| known.pid == pid) {
            return Err(format!("process {pid} is known already"));
        }
        let pidfd = Arc::new(pidfd);
        self.track(unit, pid, start_time);
        self.processes.insert(
            spawn,
            Process {
                unit: unit.clone(),
                role: Role::Main(0),
                pid,
                start_time,
                pidfd: Arc::clone(&pidfd),
                report: None,
                failed: false,
                // Not our child: the keeper knows how it ends, or the unit's own process alone.
                adopted: true,
                foreign: true,
                ended: None,
            },
        );
        self.feed(Event::Found {
            unit: unit.clone(),
            spawn,
            pid,
        });
        self.watch_process(spawn, pidfd);
        Ok(())
    }

    fn watch_pid_file(&mut self, unit: &UnitName, spawn: SpawnId) -> io::Result<()> {
        let path = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.service.as_ref()?.pid_file.clone())
            .ok_or(io::ErrorKind::NotFound)?;
        let watch = PathWatch::new(&[(PathCondition::Modified, path)])?;
        let fd = watch.fd().try_clone_to_owned()?;
        self.attending
            .pid_files
            .insert(unit.clone(), (spawn, watch));
        let name = unit.clone();
        self.await_fd(unit, Task::PidFile, fd, move || {
            Occurrence::PidFile(name.clone())
        });
        Ok(())
    }

    /// Something has happened around the PID file.
    pub(super) fn look_at_pid_file(&mut self, unit: &UnitName) {
        let Some((spawn, watch)) = self.attending.pid_files.get_mut(unit) else {
            return;
        };
        let spawn = *spawn;
        if let Err(error) = watch.drain() {
            tracing::warn!("{unit}: PIDFile= cannot be watched: {error}");
        }
        let seeks = self.engine.awaits_main(unit) == Some(spawn);
        let Some(path) = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.service.as_ref()?.pid_file.clone())
            .filter(|_| seeks)
        else {
            return self.stop_pid_file(unit);
        };
        let uid = self.held.get(unit).and_then(|held| held.uid).unwrap_or(0);
        let reason = match crate::sys::paths::pid_file(&path, uid) {
            Ok(Some(pid)) => match self.take_main(unit, spawn, pid) {
                Ok(()) => return self.stop_pid_file(unit),
                Err(reason) => reason,
            },
            // It will be written.
            Ok(None) => return,
            Err(error) => format!("{}: {error}", path.display()),
        };
        let unit = unit.clone();
        self.feed(Event::NotFound {
            unit,
            spawn,
            reason,
        });
    }

    fn stop_pid_file(&mut self, unit: &UnitName) {
        self.attending.pid_files.remove(unit);
        self.stop_task(unit, Task::PidFile);
    }

    /// [`Effect::Open`](crate::engine::event::Effect::Open).
    pub(super) fn open(&mut self, unit: &UnitName) {
        if self.attending.sockets.contains_key(unit) {
            // After a death of ours they came back from the store.
            let unit = unit.clone();
            return self.feed(Event::Opened { unit, stamp: None });
        }
        if let Some(unit) = self.engine.definition(unit) {
            self.hands.order(Order::Open(Arc::clone(unit)));
        }
    }

    pub(super) fn take_opened(&mut self, unit: UnitName, result: Result<Opened, Failure>) {
        let opened = match result {
            Ok(opened) => opened,
            Err(failure) => return self.feed(Event::OpenFailed { unit, failure }),
        };
        if unit.kind() == UnitType::Socket {
            for (index, socket) in opened.sockets.iter().enumerate() {
                self.store(&format!("listen-{index}.{unit}"), socket.as_fd());
            }
            self.attending.sockets.insert(unit.clone(), opened.sockets);
        }
        if let Some(watch) = opened.watch {
            self.attending.paths.insert(unit.clone(), watch);
        }
        self.feed(Event::Opened {
            unit,
            stamp: opened.stamp,
        });
    }

    /// Sockets that an earlier daemon had open.
    pub(super) fn adopt_sockets(&mut self, unit: &UnitName, sockets: Vec<OwnedFd>) {
        self.attending.sockets.insert(unit.clone(), sockets);
    }

    /// [`Effect::Await`](crate::engine::event::Effect::Await).
    pub(super) fn await_trigger(&mut self, unit: &UnitName) {
        if unit.kind() == UnitType::Path {
            return self.await_path(unit);
        }
        let flush = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.socket.as_ref())
            .is_some_and(|socket| socket.flush_pending && !socket.accept);
        let Some(sockets) = self.attending.sockets.get(unit) else {
            // They are gone with a daemon that had no store to leave them in.
            return self.open(unit);
        };
        let mut copies = vec![];
        for socket in sockets {
            if flush && let Err(error) = listen::flush(socket) {
                tracing::warn!("{unit}: what waits in its socket stays there: {error}");
            }
            copies.extend(socket.try_clone().ok());
        }
        self.stop_task(unit, Task::Trigger);
        for copy in copies {
            let (name, sender) = (unit.clone(), self.occurrences.clone());
            let task = tokio::spawn(async move {
                if let Ok(ready) = ready::watch(copy, Interest::READABLE)
                    && ready.readable().await.is_ok()
                {
                    let _ = sender.send(Occurrence::Trigger(name)).await;
                }
            });
            self.keep_task(unit, Task::Trigger, task.abort_handle());
        }
    }

    fn await_path(&mut self, unit: &UnitName) {
        let Some(watch) = self.attending.paths.get_mut(unit) else {
            // Watches do not outlive a daemon.
            return self.rewatch(unit);
        };
        if let Err(error) = watch.drain() {
            return self.fail_open(unit, "watch", &error);
        }
        if watch.holds() {
            let unit = unit.clone();
            return self.feed(Event::Triggered { unit });
        }
        match watch.fd().try_clone_to_owned() {
            Ok(fd) => {
                let name = unit.clone();
                self.await_fd(unit, Task::Trigger, fd, move || {
                    Occurrence::Trigger(name.clone())
                });
            }
            Err(error) => self.fail_open(unit, "watch", &error),
        }
    }

    fn rewatch(&mut self, unit: &UnitName) {
        let watches = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.path.as_ref())
            .map(|path| path.watches.clone())
            .unwrap_or_default();
        match PathWatch::new(&watches) {
            Ok(watch) => {
                self.attending.paths.insert(unit.clone(), watch);
                self.await_path(unit);
            }
            Err(error) => self.fail_open(unit, "watch", &error),
        }
    }

    fn fail_open(&mut self, unit: &UnitName, step: &str, error: &io::Error) {
        let failure = Failure {
            step: step.to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
            detail: error.to_string(),
            help: None,
        };
        let unit = unit.clone();
        self.feed(Event::OpenFailed { unit, failure });
    }

    /// A watched socket or path has something.
    pub(super) fn trigger(&mut self, unit: &UnitName) {
        if unit.kind() == UnitType::Path {
            let Some(watch) = self.attending.paths.get_mut(unit) else {
                return;
            };
            match watch.drain() {
                Ok(fired) if fired || watch.holds() => {
                    self.stop_task(unit, Task::Trigger);
                    let unit = unit.clone();
                    self.feed(Event::Triggered { unit });
                }
                Ok(_) => {}
                Err(error) => self.fail_open(unit, "watch", &error),
            }
            return;
        }
        self.stop_task(unit, Task::Trigger);
        let accepts = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.socket.as_ref())
            .is_some_and(|socket| socket.accept);
        if accepts {
            self.accept(unit);
        } else {
            let unit = unit.clone();
            self.feed(Event::Triggered { unit });
        }
    }

    /// `Accept=yes`: takes one connection for an instance of its own.
    fn accept(&mut self, unit: &UnitName) {
        self.attending.accepted += 1;
        let number = self.attending.accepted;
        let taken = self
            .attending
            .sockets
            .get(unit)
            .into_iter()
            .flatten()
            .find_map(|socket| listen::accept(socket, number).transpose());
        let (connection, peer) = match taken {
            Some(Ok(taken)) => taken,
            Some(Err(error)) => return self.fail_open(unit, "accept", &error),
            // Somebody else was faster, or it hung up.
            None => return self.await_trigger(unit),
        };
        let instance = self.instance_for(unit, &peer);
        match instance {
            Ok(instance) => {
                self.attending
                    .connections
                    .insert(instance.clone(), connection);
                if let Some(source) = peer.source {
                    let served = (unit.clone(), source);
                    self.attending.sources.insert(instance.clone(), served);
                }
                self.attending.served.push_back(instance.clone());
                self.forget_logs();
                self.feed(Event::Accepted {
                    unit: unit.clone(),
                    instance,
                });
            }
            Err(reason) => {
                closing::close([connection]);
                self.say(unit, &format!("a connection is refused: {reason}"));
                self.await_trigger(unit);
            }
        }
    }

    /// The instance for a connection, defined; or why there is none.
    fn instance_for(&mut self, unit: &UnitName, peer: &listen::Peer) -> Result<UnitName, String> {
        let socket = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.socket.clone())
            .ok_or("the socket unit is gone")?;
        let running = self.instances(&socket.service);
        if running >= socket.max_connections as usize {
            return Err(format!("{running} of MaxConnections= are served already"));
        }
        let most = socket.max_connections_per_source as usize;
        if let Some(source) = peer.source.filter(|_| most > 0) {
            let served = (unit.clone(), source);
            let sources = self.attending.sources.values();
            let own = sources.filter(|other| **other == served).count();
            if own >= most {
                return Err(format!(
                    "{own} of MaxConnectionsPerSource= are served already for {source}"
                ));
            }
        }
        let instance: UnitName = socket
            .service
            .replacen('@', &format!("@{}", peer.instance), 1)
            .parse()
            .map_err(|error: crate::name::NameError| error.to_string())?;
        self.load(&instance).map_err(|denial| denial.to_string())?;
        Ok(instance)
    }

    /// Of the many instances that served connections the last few are enough to read about.
    fn forget_logs(&mut self) {
        while self.attending.served.len() > SERVED
            && let Some(oldest) = self.attending.served.pop_front()
        {
            if self.engine.definition(&oldest).is_some() {
                self.attending.served.push_back(oldest);
                return;
            }
            self.hands.order(Order::ForgetLogs(oldest));
        }
    }

    /// How many instances of a template are up.
    fn instances(&self, template: &str) -> usize {
        self.engine
            .views()
            .filter(|view| view.name.template().as_deref() == Some(template))
            .filter(|view| view.active.is_up())
            .count()
    }

    /// [`Effect::Ignore`](crate::engine::event::Effect::Ignore).
    pub(super) fn ignore_trigger(&mut self, unit: &UnitName) {
        self.stop_task(unit, Task::Trigger);
    }

    /// [`Effect::Stamp`](crate::engine::event::Effect::Stamp).
    pub(super) fn stamp(&mut self, unit: &UnitName, at: u64) {
        self.hands.order(Order::Stamp {
            unit: unit.clone(),
            at,
        });
    }

    /// What is passed to a main process: names and descriptors, in order.
    pub(super) fn passed(&self, unit: &UnitName) -> io::Result<Vec<(String, OwnedFd)>> {
        let mut all = vec![];
        let wanted = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.service.as_ref())
            .map(|service| service.sockets.clone())
            .unwrap_or_default();
        let mut names: Vec<&UnitName> = self.attending.sockets.keys().collect();
        names.sort();
        for name in names {
            let Some(definition) = self.engine.definition(name) else {
                continue;
            };
            let Some(socket) = &definition.socket else {
                continue;
            };
            let triggers = definition.relations.triggers.contains(unit);
            if !socket.accept && (triggers || wanted.contains(name)) {
                for fd in self.attending.sockets.get(name).into_iter().flatten() {
                    all.push((socket.fd_name.clone(), fd.try_clone()?));
                }
            }
        }
        if let Some(connection) = self.attending.connections.get(unit) {
            all.push(("connection".to_owned(), connection.try_clone()?));
        }
        for (name, fd) in self.stored.get(unit).into_iter().flatten() {
            all.push((name.clone(), fd.try_clone()?));
        }
        Ok(all)
    }

    /// The unit is down: nothing of it is open or waited for any more.
    pub(super) fn close(&mut self, unit: &UnitName) {
        for task in [Task::Trigger, Task::PidFile, Task::BusName] {
            self.stop_task(unit, task);
        }
        self.attending.pid_files.remove(unit);
        self.attending.paths.remove(unit);
        closing::close(self.attending.connections.remove(unit));
        self.attending.sources.remove(unit);
        if let Some(sockets) = self.attending.sockets.remove(unit) {
            for index in 0..sockets.len() {
                self.unstore_name(&format!("listen-{index}.{unit}"));
            }
            closing::close(sockets);
            if let Some(definition) = self.engine.definition(unit)
                && definition
                    .socket
                    .as_ref()
                    .is_some_and(|socket| socket.remove_on_stop)
            {
                self.hands.order(Order::Close(Arc::clone(definition)));
            }
        }
    }

    /// [`Effect::WatchName`](crate::engine::event::Effect::WatchName).
    pub(super) fn watch_name(&mut self, unit: &UnitName) {
        let Some(name) = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.service.as_ref()?.bus_name.clone())
        else {
            return;
        };
        let system = self.host.root;
        let (unit_name, sender) = (unit.clone(), self.occurrences.clone());
        let task = tokio::spawn(async move {
            let occurrence = |owned: Result<bool, String>| Occurrence::BusName {
                unit: unit_name.clone(),
                owned,
            };
            if let Err(error) = watch_owner(&name, system, &sender, &occurrence).await {
                let text = format!("BusName={name} cannot be watched: {error}");
                let _ = sender.send(occurrence(Err(text))).await;
            }
        });
        self.stop_task(unit, Task::BusName);
        self.keep_task(unit, Task::BusName, task.abort_handle());
    }

    pub(super) fn take_bus_name(&mut self, unit: UnitName, owned: Result<bool, String>) {
        match owned {
            Ok(owned) => self.feed(Event::BusName { unit, owned }),
            Err(text) => self.say(&unit, &text),
        }
    }

    /// Begins to watch the clock of the day and its zone.
    pub(super) fn watch_clock(&mut self) {
        let text = zone::local();
        self.feed(Event::ClockChanged { zone: Some(text) });
        match clock::Jumps::new() {
            Ok(jumps) => {
                let jumps = Arc::new(jumps);
                if let Ok(copy) = jumps.as_fd().try_clone_to_owned() {
                    forward(copy, || Occurrence::ClockJumped, self.occurrences.clone());
                }
                self.attending.clock = Some(jumps);
            }
            Err(error) => tracing::warn!("jumps of the clock are not noticed: {error}"),
        }
        match PathWatch::new(&[(PathCondition::Changed, zone::PATH.into())]) {
            Ok(watch) => {
                if let Ok(copy) = watch.fd().try_clone_to_owned() {
                    forward(copy, || Occurrence::ZoneChanged, self.occurrences.clone());
                }
                self.attending.zone = Some(watch);
            }
            Err(error) => tracing::warn!("a change of the time zone is not noticed: {error}"),
        }
    }

    pub(super) fn clock_jumped(&mut self) {
        if let Some(jumps) = &self.attending.clock
            && jumps.take()
        {
            self.feed(Event::ClockChanged { zone: None });
        }
    }

    pub(super) fn zone_changed(&mut self) {
        let changed = self
            .attending
            .zone
            .as_mut()
            .is_some_and(|watch| watch.drain().unwrap_or(false));
        if changed {
            let zone = Some(zone::local());
            self.feed(Event::ClockChanged { zone });
        }
    }

    /// Sends the occurrence every time the descriptor is readable, until it is stopped.
    fn await_fd(
        &mut self,
        unit: &UnitName,
        task: Task,
        fd: OwnedFd,
        occurrence: impl Fn() -> Occurrence + Send + 'static,
    ) {
        let handle = forward(fd, occurrence, self.occurrences.clone());
        self.stop_task(unit, task);
        self.keep_task(unit, task, handle);
    }

    fn keep_task(&mut self, unit: &UnitName, task: Task, handle: AbortHandle) {
        let tasks = self.attending.tasks.entry((unit.clone(), task));
        tasks.or_default().push(handle);
    }

    fn stop_task(&mut self, unit: &UnitName, task: Task) {
        for handle in self
            .attending
            .tasks
            .remove(&(unit.clone(), task))
            .unwrap_or_default()
        {
            handle.abort();
        }
    }
}

fn forward(
    fd: OwnedFd,
    occurrence: impl Fn() -> Occurrence + Send + 'static,
    sender: tokio::sync::mpsc::Sender<Occurrence>,
) -> AbortHandle {
    tokio::spawn(async move {
        let Ok(ready) = ready::watch(fd, Interest::READABLE) else {
            return;
        };
        while let Ok(mut guard) = ready.readable().await {
            guard.clear_ready();
            if sender.send(occurrence()).await.is_err() {
                return;
            }
        }
    })
    .abort_handle()
}

/// Tells whether a name has an owner, now and at every change.
async fn watch_owner(
    name: &str,
    system: bool,
    sender: &tokio::sync::mpsc::Sender<Occurrence>,
    occurrence: &impl Fn(Result<bool, String>) -> Occurrence,
) -> zbus::Result<()> {
    use futures_util::StreamExt;
    const BUS: &str = "org.freedesktop.DBus";
    let connection = if system {
        zbus::Connection::system().await?
    } else {
        zbus::Connection::session().await?
    };
    let rule = format!(
        "type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{name}'"
    );
    let rule = zbus::MatchRule::try_from(rule.as_str())?.to_owned();
    let mut changes = zbus::MessageStream::for_match_rule(rule, &connection, None).await?;
    let reply = connection
        .call_method(
            Some(BUS),
            "/org/freedesktop/DBus",
            Some(BUS),
            "NameHasOwner",
            &(name,),
        )
        .await?;
    let mut owned: bool = reply.body().deserialize()?;
    loop {
        if sender.send(occurrence(Ok(owned))).await.is_err() {
            return Ok(());
        }
        let Some(change) = changes.next().await else {
            return Ok(());
        };
        let (_, _, owner): (String, String, String) = change?.body().deserialize()?;
        owned = !owner.is_empty();
    }
}

/// Where the time of a persistent timer's last elapse is kept.
pub(super) fn stamp_file(state: &Path, unit: &UnitName) -> std::path::PathBuf {
    state.join("timers").join(format!("stamp-{unit}"))
}
