//! The hands: a thread that makes directories, files, cgroups and processes.
//!
//! Starting a process waits for the kernel (vfork holds the caller until the exec) and for the
//! disk, so it happens here and the loop goes on. Orders are carried out one after the other, in
//! the order in which the loop gave them; each is answered by one [`Done`].

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;

use tokio::sync::mpsc;

use crate::daemon::sweep::Sweeper;
use crate::daemon::users::Users;
use crate::daemon::{open, prepare};
use crate::engine::event::{Role, SpawnId};
use crate::name::UnitName;
use crate::place::Places;
use crate::plan::{Failure, Host};
use crate::sys::cgroup::Tree;
use crate::sys::condition;
use crate::sys::paths::PathWatch;
use crate::sys::process::{Child, StageImage};
use crate::sys::watch::Shortage;
use crate::unit::condition::first_unmet;
use crate::unit::{Condition, Resources, Unit};

/// What the hands need for every start.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) places: Places,
    pub(crate) tree: Arc<Tree>,
    pub(crate) host: Host,
    pub(crate) stage: StageImage,
    /// The daemon's own environment, for `PassEnvironment=`.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) notify_socket: PathBuf,
    pub(crate) sweeper: Sweeper,
    /// What conditions are held against.
    pub(crate) conditions: condition::Facts,
    /// What units get for `oom_score_adj`, where ours is lower.
    pub(crate) oom_score_adjust: Option<i32>,
}

/// An order.
#[derive(Debug)]
pub(crate) enum Order {
    /// Start a process.
    Start(Box<Start>),
    /// Look at the unit's conditions.
    Check(Arc<Unit>),
    /// Open what a socket unit listens on, watch what a path unit watches, read a timer's stamp.
    Open(Arc<Unit>),
    /// Remove the sockets of a socket unit from the file system.
    Close(Arc<Unit>),
    /// Keep the time of a persistent timer's elapse, in microseconds since 1970.
    Stamp { unit: UnitName, at: u64 },
    /// The unit has ended: remove what was made for it.
    Release {
        unit: UnitName,
        slice: Option<UnitName>,
        runtime_directories: Vec<PathBuf>,
    },
    /// The unit is forgotten: remove its directories where they are empty.
    Forget(UnitName),
    /// Nobody needs to read the unit's logs any more.
    ForgetLogs(UnitName),
}

/// Everything about one start.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) unit: Arc<Unit>,
    pub(crate) spawn: SpawnId,
    pub(crate) role: Role,
    pub(crate) invocation_id: String,
    /// Restarted by policy, so that a session is resumed.
    pub(crate) resume: bool,
    /// The session to resume, or the one to begin with.
    pub(crate) session: String,
    /// That session exists at the runtime.
    pub(crate) begun: bool,
    /// What the supervisor tells the process in its environment.
    pub(crate) told: Vec<(String, String)>,
    /// Descriptors for it, with their names.
    pub(crate) passed: Vec<(String, OwnedFd)>,
    /// Write ends of the invocation's output pipes; `None`: make them.
    pub(crate) output: Option<(OwnedFd, OwnedFd)>,
    /// The MCP socket is there already.
    pub(crate) listening: bool,
    /// The slices around its cgroup, outermost first, with what each limits.
    pub(crate) slices: Vec<(UnitName, Resources)>,
    /// The cgroup is there already.
    pub(crate) grouped: bool,
    /// It was killed before, so that nothing can be born into its present leaves.
    pub(crate) killed: bool,
}

/// What was made for an invocation; handed to the loop, which keeps it.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// Standard output: read end, write end.
    pub(crate) stdout: Option<(OwnedFd, OwnedFd)>,
    /// Standard error: read end, write end.
    pub(crate) stderr: Option<(OwnedFd, OwnedFd)>,
    /// Standard input: write end.
    pub(crate) stdin: Option<OwnedFd>,
    /// The terminal: master.
    pub(crate) terminal: Option<OwnedFd>,
    /// The MCP socket, listening.
    pub(crate) listener: Option<OwnedFd>,
    /// What could not be enforced or limited, as sentences.
    pub(crate) missing: Vec<String>,
    /// The user.
    pub(crate) uid: u32,
    /// Standard output is structured.
    pub(crate) structured: bool,
    /// Tells when the unit's new cgroup runs out of memory.
    pub(crate) shortage: Option<Shortage>,
    /// The watched leaf of the cgroup is another one now.
    pub(crate) rewatch: bool,
    /// What to say to the agent first.
    pub(crate) first_input: Option<String>,
    /// The session this start begins or resumes.
    pub(crate) session: Option<String>,
}

/// A process that exists.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) child: Child,
    pub(crate) start_time: u64,
    /// The stage's report.
    pub(crate) report: OwnedFd,
    pub(crate) made: Made,
}

/// An order carried out.
#[derive(Debug)]
pub(crate) enum Done {
    /// Of [`Order::Start`].
    Started {
        unit: UnitName,
        spawn: SpawnId,
        role: Role,
        result: Result<Box<Born>, Box<Failure>>,
    },
    /// Of [`Order::Check`].
    Checked {
        unit: UnitName,
        unmet: Option<Condition>,
    },
    /// Of [`Order::Open`].
    Opened {
        unit: UnitName,
        result: Box<Result<Opened, Failure>>,
    },
    /// Of [`Order::Release`], with what could not be removed.
    Released {
        unit: UnitName,
        problems: Vec<String>,
    },
}

/// What is open for a socket, path or timer unit.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) watch: Option<PathWatch>,
    /// When a persistent timer last elapsed, in microseconds since 1970.
    pub(crate) stamp: Option<u64>,
}

/// The loop's end.
#[derive(Debug)]
pub(crate) struct Hands(std_mpsc::Sender<Order>);

impl Hands {
    /// Starts the thread.
    pub(crate) fn start(workshop: Workshop, done: mpsc::Sender<Done>) -> io::Result<Self> {
        let users = Users::open(workshop.places.state.join("users"))?;
        let (orders, incoming) = std_mpsc::channel();
        std::thread::Builder::new()
            .name("hands".to_owned())
            .stack_size(512 * 1024)
            .spawn(move || work(&workshop, users, &incoming, &done))?;
        Ok(Self(orders))
    }

    /// Gives an order.
    pub(crate) fn order(&self, order: Order) {
        // The thread ends only with the process.
        let _ = self.0.send(order);
    }
}

fn work(
    workshop: &Workshop,
    mut users: Users,
    incoming: &std_mpsc::Receiver<Order>,
    done: &mpsc::Sender<Done>,
) {
    while let Ok(order) = incoming.recv() {
        let answer = match order {
            Order::Start(start) => {
                let (unit, spawn, role) = (start.unit.name.clone(), start.spawn, start.role);
                let result = prepare::start(workshop, &mut users, *start)
                    .map(Box::new)
                    .map_err(Box::new);
                Done::Started {
                    unit,
                    spawn,
                    role,
                    result,
                }
            }
            Order::Check(unit) => {
                let unmet = first_unmet(&unit.conditions, |condition| {
                    // What cannot be found out does not hold, with and without its "!".
                    condition::look(condition, &workshop.conditions).unwrap_or(condition.negate)
                });
                Done::Checked {
                    unmet: unmet.cloned(),
                    unit: unit.name.clone(),
                }
            }
            Order::Open(unit) => Done::Opened {
                result: Box::new(open::open(workshop, &unit)),
                unit: unit.name.clone(),
            },
            Order::Close(unit) => Done::Released {
                problems: open::close(&unit),
                unit: unit.name.clone(),
            },
            Order::Stamp { unit, at } => Done::Released {
                problems: open::stamp(&workshop.places.state, &unit, at),
                unit,
            },
            Order::Release {
                unit,
                slice,
                runtime_directories,
            } => {
                let problems =
                    prepare::release(workshop, &unit, slice.as_ref(), &runtime_directories);
                Done::Released { unit, problems }
            }
            Order::Forget(unit) => {
                prepare::forget(workshop, &unit);
                continue;
            }
            Order::ForgetLogs(unit) => {
                // Only we write there; at worst something stays.
                let _ = std::fs::remove_dir_all(workshop.places.unit_log(&unit));
                continue;
            }
        };
        if done.blocking_send(answer).is_err() {
            return;
        }
    }
}
