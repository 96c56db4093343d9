//! The daemon: one loop, and everything it does.
//!
//! The loop is whole in these words: *wait for one occurrence; turn it into events; for each,
//! `effects = engine.handle(now, event)`; perform each effect; what comes of an effect is the next
//! event.* One task owns all state ([`Daemon`]); nothing is shared or locked. What may block is
//! done by two threads (`hands` makes processes and files, `output` and `journal` write) and what
//! waits is a small task that sends one [`Occurrence`].
//!
//! Way through the room: `begin` (start, adoption) → here (the loop) → `perform` (effects) →
//! `hands`/`prepare` (a start in steps) · `output`/`record` (logs) · `agent` (what an agent said)
//! · `door` (what is asked over the bus) · `load` and `install` (unit files, links between them) ·
//! `facts` (what is answered) · `snapshot` (what a new daemon must know).

#![expect(
    clippy::disallowed_methods,
    reason = "it performs what the engine decides: files, logs, clocks"
)]

use std::collections::{HashMap, VecDeque};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::bus::ask::{Asked, Denial, Signal, Told};
use crate::bus::publish::Publisher;
use crate::daemon::agent::Agent;
use crate::daemon::hands::{Done, Hands};
use crate::daemon::journal::{Journal, Share};
use crate::daemon::load::Library;
use crate::daemon::output::{Heard, LogFiles, Output};
use crate::daemon::processes::Processes;
use crate::daemon::record::Stream;
use crate::daemon::timers::Timers;
use crate::engine::Engine;
use crate::engine::event::{Effect, Event, ExitStatus, InputId, Now, RequestId, Role, SpawnId};
use crate::engine::recording::Line;
use crate::keeper::Obituary;
use crate::name::UnitName;
use crate::place::Places;
use crate::plan::Host;
use crate::sys::cgroup::{Group, Tree};
use crate::sys::clock::{self, Alarm};
use crate::sys::fdstore::Store;
use crate::sys::process::ReportReader;
use crate::sys::watch::{Watch, WatchId};

mod action;
mod adopt;
mod agent;
mod attend;
mod begin;
mod collect;
mod door;
mod facts;
mod hands;
pub(crate) mod install;
mod journal;
mod ledger;
mod lifeline;
mod listen;
mod load;
pub mod notify;
mod open;
mod output;
mod passed;
mod perform;
mod prepare;
mod processes;
mod record;
mod recorder;
mod snapshot;
mod sweep;
mod timers;
mod users;
mod who;

pub use begin::main;

/// Something the loop waits for.
#[derive(Debug)]
enum Occurrence {
    /// A question came over the bus.
    Asked(Asked),
    /// A process has ended (its pidfd says so).
    Died(SpawnId),
    /// The stage of a process said something, or its socket is closed.
    Reported(SpawnId),
    /// A message was written to an agent's standard input, or could not be.
    Written {
        unit: UnitName,
        input: Option<InputId>,
        result: Result<(), String>,
    },
    /// Something changed in some cgroup.
    Groups,
    /// Something may have changed in this unit's.
    Group(UnitName),
    /// The keeper has obituaries.
    Keeper,
    /// A unit sent a notification.
    Notified,
    /// The ledger was written anew, or could not be.
    Rewritten(std::io::Result<ledger::Rewritten>),
    /// The alarm rang.
    Alarm,
    /// A watched socket or path of this unit has something.
    Trigger(UnitName),
    /// Something happened around this unit's PID file.
    PidFile(UnitName),
    /// A name on the bus has an owner, or none; or it cannot be watched.
    BusName {
        unit: UnitName,
        owned: Result<bool, String>,
    },
    /// The clock of the day jumped.
    ClockJumped,
    /// Something happened around the local time zone.
    ZoneChanged,
    /// This unit's status text may be taken now.
    Status(UnitName),
    /// SIGTERM: stop everything and end.
    Terminate,
    /// SIGHUP: read the unit files again.
    Reload,
}

/// One process of a unit.
#[derive(Debug)]
struct Process {
    unit: UnitName,
    role: Role,
    pid: u32,
    start_time: u64,
    pidfd: Arc<OwnedFd>,
    /// The stage's report, until the program runs.
    report: Option<Report>,
    /// The stage failed; its exit is not the program's.
    failed: bool,
    /// Not a child of ours: only the keeper knows how it ends.
    adopted: bool,
    /// Born to a process of the unit, which may be the only one to learn how it ends.
    foreign: bool,
    /// It has ended; its output is still being read.
    ended: Option<ExitStatus>,
}

/// The report of a stage that has not become the program yet.
#[derive(Debug)]
struct Report {
    socket: Arc<OwnedFd>,
    reader: ReportReader,
    confined: Option<crate::plan::Enforcement>,
}

/// What is held for one unit that is not inactive.
#[derive(Debug, Default)]
struct Held {
    invocation_id: String,
    /// The slice that this run stands in.
    slice: Option<UnitName>,
    group: Option<Group>,
    watch: Option<WatchId>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    stdin: Option<Arc<OwnedFd>>,
    listener: Option<OwnedFd>,
    uid: Option<u32>,
    /// Limits that could not be set, and what else falls short here.
    missing: Vec<String>,
    /// OOM kills counted so far.
    oom_kills: u64,
    /// Asked to be frozen or thawed, not confirmed.
    freezing: Option<bool>,
    /// Kill was asked; the empty group has not been told to the engine.
    emptying: bool,
    /// As soon as the group is empty, the engine is to be told; but nobody is killed for it.
    sweeping: bool,
    /// The group was emptied by force since it was made: nobody can be born into it any more on
    /// some kernels (see [`crate::sys::process::start`]).
    killed: bool,
    /// The newest status text that the engine has not been told, and when the last one was.
    status: Option<String>,
    status_at: u64,
    /// Starts that were ordered and not answered.
    starting: u32,
    runtime_directories: Vec<std::path::PathBuf>,
}

/// When a group is to be looked at again, and how often it has been.
#[derive(Debug)]
struct Look {
    at: u64,
    round: usize,
}

/// The supervisor's whole state.
#[derive(Debug)]
struct Daemon {
    places: Places,
    host: Host,
    tree: Arc<Tree>,
    engine: Engine,
    library: Library,
    /// Definitions as the engine has them, for facts and starts.
    held: HashMap<UnitName, Box<Held>>,
    agents: HashMap<UnitName, Agent>,
    attending: attend::Attending,
    /// Descriptors that units left with us (`FDSTORE=1`), by name.
    stored: HashMap<UnitName, Vec<(String, OwnedFd)>>,
    processes: Processes,
    timers: Timers,
    /// Groups that are to be looked at again.
    looks: HashMap<UnitName, Look>,
    alarm: Arc<Alarm>,
    /// When it rings.
    armed: Option<u64>,
    watch: Watch,
    watched: HashMap<WatchId, UnitName>,
    output: Output,
    hands: Hands,
    journal: Journal,
    publisher: Publisher,
    /// Signals of the event being handled.
    signals: Vec<Signal>,
    /// The descriptor store of whoever started us.
    store: Option<Store>,
    keeper: Option<Arc<OwnedFd>>,
    /// Obituaries read during adoption, for processes whose snapshot is read later.
    obituaries: Vec<Obituary>,
    adopting: bool,
    /// Highest sequence heard from the keeper, and acknowledged to it.
    heard: u64,
    acknowledged: u64,
    notify: Arc<OwnedFd>,
    occurrences: mpsc::Sender<Occurrence>,
    /// Events to be handled, in order; effects add to it.
    queue: VecDeque<Event>,
    /// Questions whose answer the engine gives.
    waiting: HashMap<RequestId, oneshot::Sender<Result<Told, Denial>>>,
    next_request: u64,
    /// A hash of each unit's state as the event log has it.
    recorded: HashMap<UnitName, u64>,
    /// How much more each unit may have written into the event log now.
    shares: HashMap<UnitName, Share>,
    /// 16 random bytes of this daemon state; invocation ids are made from it.
    seed: [u8; 16],
    started: Now,
    generation: u32,
    /// Everything is being stopped; the loop ends when nothing runs.
    stopping: bool,
    /// How the keeper is to end after us.
    ending: Option<crate::keeper::End>,
    /// The loop ends though something may still run.
    forced: bool,
    /// Leave now, with everything running.
    leaving: bool,
    saved: snapshot::Saved,
    /// Every event is written down (`aetherctl record start`).
    recorder: Option<recorder::Recorder>,
}

impl Daemon {
    /// The loop.
    async fn run(
        &mut self,
        mut occurrences: mpsc::Receiver<Occurrence>,
        mut done: mpsc::Receiver<Done>,
        mut heard: mpsc::Receiver<Heard>,
    ) {
        self.settle();
        while !(self.leaving || self.forced || self.stopping && self.all_stopped()) {
            tokio::select! {
                biased;
                Some(done) = done.recv() => self.take_done(done),
                Some(heard) = heard.recv() => {
                    self.take_heard(heard);
                    self.settle();
                    // However much one unit says, deaths and questions have their turn, and so
                    // have the tasks that bring them.
                    if let Ok(occurrence) = occurrences.try_recv() {
                        self.take(occurrence);
                    }
                    tokio::task::yield_now().await;
                }
                Some(occurrence) = occurrences.recv() => self.take(occurrence),
                else => return,
            }
            self.settle();
        }
    }

    /// Handles every event there is, then arms the alarm.
    fn settle(&mut self) {
        while let Some(event) = self.queue.pop_front() {
            let now = clock::now();
            let effects = match self.recorder.take() {
                None => self.engine.handle(now, event),
                Some(recorder) => self.handle_recorded(now, event, recorder),
            };
            for effect in effects {
                self.perform(effect);
            }
            // Whoever asked gets the answer before the signals that it caused.
            for signal in std::mem::take(&mut self.signals) {
                self.publisher.publish(&signal);
            }
        }
        self.save_counters();
        self.write_saved();
        self.output.wake();
        self.journal.hand_over();
        let looks = self.looks.values().map(|look| look.at);
        let next = looks.chain(self.timers.next()).min();
        if next != self.armed {
            match self.alarm.set(next) {
                Ok(()) => self.armed = next,
                Err(error) => tracing::error!("cannot set the alarm: {error}"),
            }
        }
    }

    /// Handles an event and writes it down with what came of it.
    fn handle_recorded(
        &mut self,
        now: Now,
        event: Event,
        recorder: recorder::Recorder,
    ) -> Vec<Effect> {
        let effects = self.engine.handle(now, event.clone());
        let line = Line {
            now,
            event,
            effects: effects.clone(),
        };
        if recorder.take(line) {
            self.recorder = Some(recorder);
        } else {
            tracing::error!(
                "the recording of events ends here: it is full, or the disk is too slow"
            );
        }
        effects
    }

    fn feed(&mut self, event: Event) {
        self.queue.push_back(event);
    }

    fn take(&mut self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::Asked(asked) => self.answer(asked),
            Occurrence::Died(spawn) => self.bury(spawn),
            Occurrence::Reported(spawn) => self.read_report(spawn),
            Occurrence::Written {
                unit,
                input,
                result,
            } => self.note_written(unit, input, result),
            Occurrence::Groups => self.look_at_groups(),
            Occurrence::Group(unit) => {
                self.look_at_group(&unit);
                self.hunt(&unit);
            }
            Occurrence::Keeper => self.read_obituaries(),
            Occurrence::Notified => self.read_notifications(),
            Occurrence::Trigger(unit) => self.trigger(&unit),
            Occurrence::PidFile(unit) => self.look_at_pid_file(&unit),
            Occurrence::BusName { unit, owned } => self.take_bus_name(unit, owned),
            Occurrence::ClockJumped => self.clock_jumped(),
            Occurrence::ZoneChanged => self.zone_changed(),
            Occurrence::Status(unit) => self.take_status(&unit),
            Occurrence::Rewritten(ledger) => self.take_rewritten(ledger),
            Occurrence::Alarm => self.ring(),
            Occurrence::Terminate => self.stop_everything(),
            Occurrence::Reload => drop(self.reload()),
        }
    }

    fn ring(&mut self) {
        self.alarm.clear();
        self.armed = None;
        let now = clock::now().monotonic;
        while let Some(timer) = self.timers.take(now) {
            self.feed(Event::TimerFired { timer });
        }
        self.look_when_due(now);
    }

    /// Whether nothing of any unit is left.
    fn all_stopped(&self) -> bool {
        self.queue.is_empty() && self.processes.is_empty() && self.held.is_empty()
    }

    /// A sentence of ours: into the unit's log, the event log and our own.
    fn say(&mut self, unit: &UnitName, text: &str) {
        tracing::info!("{unit}: {text}");
        self.output.say(
            unit.clone(),
            Stream::Aether,
            text.to_owned(),
            self.log_files(unit),
        );
        self.record(unit, "log", serde_json::json!({ "text": text }));
    }

    fn log_files(&self, unit: &UnitName) -> LogFiles {
        let exec = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.service.as_ref())
            .map(|service| &service.exec);
        LogFiles {
            directory: self.places.unit_log(unit),
            max_bytes: exec.map_or(16 << 20, |exec| exec.log_max_bytes),
            max_files: exec.map_or(4, |exec| exec.log_max_files),
        }
    }

    fn publish(&mut self, signal: Signal) {
        self.signals.push(signal);
    }

    /// Hands a descriptor to whoever started us, under a name, for the daemon that comes after.
    fn store(&self, name: &str, fd: BorrowedFd<'_>) {
        if let Some(store) = &self.store
            && let Err(error) = store.keep(name, &[fd])
        {
            tracing::error!("{name} cannot be kept over a restart: {error}");
        }
    }

    fn unstore(&self, stream: &str, unit: &UnitName) {
        self.unstore_name(&format!("{stream}.{unit}"));
    }

    fn unstore_name(&self, name: &str) {
        if let Some(store) = &self.store
            && let Err(error) = store.discard(name)
        {
            tracing::warn!("{name} stays in the store: {error}");
        }
    }
}
