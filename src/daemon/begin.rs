//! From the program's start to the loop: places, host, descriptors, adoption, doors.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::io::Interest;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::bus::ask::Caller;
use crate::bus::publish::Publisher;
use crate::bus::serve::{Limits, serve};
use crate::daemon::adopt::Inherited;
use crate::daemon::hands::{Hands, Workshop};
use crate::daemon::journal::Journal;
use crate::daemon::ledger::Ledger;
use crate::daemon::load::Library;
use crate::daemon::output::Output;
use crate::daemon::processes::Processes;
use crate::daemon::sweep::Sweeper;
use crate::daemon::timers::Timers;
use crate::daemon::{Daemon, Occurrence, snapshot};
use crate::engine::Engine;
use crate::keeper;
use crate::place::Places;
use crate::plan::Host;
use crate::sys::cgroup::Tree;
use crate::sys::clock::{self, Alarm};
use crate::sys::fdstore::{self, Store};
use crate::sys::file::write_whole;
use crate::sys::peer::Peer;
use crate::sys::process::StageImage;
use crate::sys::watch::Watch;
use crate::sys::{host, identity, notify, pipe, random, ready, reaper, user};

/// Occurrences that may wait for the loop; senders wait when it is full.
const QUEUE: usize = 1_024;
/// Batches of output that may wait for the loop; each can be as large as the longest line.
const HEARD: usize = 32;

/// Runs the daemon until it is told to end; the exit code tells the keeper what to do then
/// ([`keeper::RESTART_CODE`]: start another one at once).
///
/// # Errors
/// A sentence for standard error; the keeper tries again.
pub fn main(places: Places) -> Result<ExitCode, String> {
    // Before any thread exists: the variables that come with the descriptors are only read now.
    let inherited: Inherited = fdstore::inherited().into_iter().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the loop: {error}"))?;
    runtime.block_on(live(places, inherited))
}

fn say<'a>(what: &'a str) -> impl Fn(io::Error) -> String + 'a {
    move |error| format!("cannot {what}: {error}")
}

async fn live(places: Places, mut inherited: Inherited) -> Result<ExitCode, String> {
    // What is made here has the modes that are written here, whatever we inherited.
    identity::set_umask(0o022);
    identity::survive_file_size_limit();
    make_places(&places)?;
    let oom_score_adjust = spare_ourselves();
    if let Err(error) = reaper::raise_descriptor_limit() {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    let tree = Arc::new(
        Tree::find(&places.cgroup).map_err(|error| format!("cannot use cgroups: {error}"))?,
    );
    let host = Host {
        cgroups: tree.kind().as_str().to_owned(),
        ..host::probe()
    };
    let (occurrences, incoming) = mpsc::channel(QUEUE);
    let (done, done_incoming) = mpsc::channel(QUEUE);
    let (heard, heard_incoming) = mpsc::channel(HEARD);

    let store = Store::from_env().map_err(say("use the descriptor store"))?;
    let bus_socket = places.bus_socket();
    let owner_socket = places.owner_socket();
    let mut listen = |name: &str, path: &Path, mode: u32| {
        listener(&mut inherited, name, path, mode, store.as_ref())
    };
    let listeners = [
        listen("owner", &owner_socket, 0o600)?,
        listen("bus", &bus_socket, 0o666)?,
    ];
    let notify_path = places.runtime.join("notify");
    let notify = notify_socket(&mut inherited, &notify_path, store.as_ref())?;
    let keeper_link = inherited.remove(keeper::SOCKET_NAME).map(Arc::new);
    if let Some(link) = &keeper_link {
        pipe::set_nonblocking(link.as_fd()).map_err(say("listen to the keeper"))?;
    }

    let (ledger, records, problems) =
        Ledger::open(&places.snapshots()).map_err(say("read the snapshots"))?;
    let left = snapshot::read(records, problems);
    for problem in &left.problems {
        tracing::error!("a snapshot cannot be read, its unit is not known any more: {problem}");
    }
    let mut states = vec![];
    let mut kept = vec![];
    for (definition, mut unit) in left.units {
        if let Some(state) = unit.state.take() {
            kept.push((definition.name.clone(), unit));
            states.push((definition, state));
        }
    }
    let seed = seed(&places.runtime)?;
    let mut counters = left.counters;
    if counters.startup == 0 {
        counters.startup = clock::now().monotonic;
        counters.seed = u64::from_ne_bytes(*seed.first_chunk().unwrap_or(&[0; 8]));
    }
    let engine = Engine::restore(counters, states);
    let generation = generation(&places.runtime);

    let output = Output::start(heard).map_err(say("start the output thread"))?;
    let journal = Journal::start(&places.event_log()).map_err(say("open the event log"))?;
    let workshop = Workshop {
        places: places.clone(),
        tree: Arc::clone(&tree),
        host: host.clone(),
        stage: StageImage::current().map_err(say("open our own program"))?,
        environment: std::env::vars().collect::<BTreeMap<_, _>>(),
        notify_socket: notify_path,
        sweeper: Sweeper::start(&[&places.runtime, &places.state])
            .map_err(say("empty the trash"))?,
        oom_score_adjust,
        conditions: crate::sys::condition::facts(std::env::vars_os()),
    };
    let hands = Hands::start(workshop, done).map_err(say("start the hands"))?;
    let publisher = Publisher::new();
    let mut daemon = Daemon {
        library: Library::new(&places, keeper_link.is_some()),
        places,
        host,
        tree: Arc::clone(&tree),
        engine,
        held: HashMap::new(),
        agents: HashMap::new(),
        attending: super::attend::Attending::default(),
        stored: HashMap::new(),
        processes: Processes::default(),
        timers: Timers::default(),
        looks: HashMap::new(),
        alarm: Arc::new(Alarm::new().map_err(say("make a timer"))?),
        armed: None,
        watch: Watch::new().map_err(say("watch cgroups"))?,
        watched: HashMap::new(),
        output,
        hands,
        journal,
        publisher: publisher.clone(),
        signals: vec![],
        store,
        keeper: keeper_link,
        obituaries: vec![],
        adopting: false,
        heard: 0,
        acknowledged: 0,
        notify: Arc::new(notify),
        occurrences: occurrences.clone(),
        queue: VecDeque::new(),
        waiting: HashMap::new(),
        recorded: HashMap::new(),
        shares: HashMap::new(),
        next_request: 0,
        seed,
        started: clock::now(),
        generation,
        stopping: false,
        ending: None,
        forced: false,
        leaving: false,
        saved: snapshot::Saved::new(ledger),
        recorder: None,
    };
    daemon.adopt(kept, &mut inherited);
    drop(inherited);
    daemon.watch_clock();
    tasks(&daemon, &occurrences)?;
    doors(listeners, &tree, publisher, &occurrences)?;
    if let Some(store) = &daemon.store
        && let Err(error) = store.ready()
    {
        tracing::warn!("cannot say that we are ready: {error}");
    }
    tracing::info!(
        "aetherd {} is up, generation {generation}, cgroups {}, Landlock ABI {}",
        env!("CARGO_PKG_VERSION"),
        daemon.host.cgroups,
        daemon.host.landlock_abi
    );
    // Who takes over from one that died finds everything as it was meant to be.
    if generation == 1 {
        daemon.start_default();
    }
    daemon.run(incoming, done_incoming, heard_incoming).await;
    // The answer to whoever asked for this goes out before we do.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    if daemon.leaving {
        return Ok(ExitCode::from(
            u8::try_from(keeper::RESTART_CODE).unwrap_or(1),
        ));
    }
    let _ = std::fs::remove_file(bus_socket);
    let _ = std::fs::remove_file(owner_socket);
    // Who begins after an end in order is the first again.
    let _ = std::fs::remove_file(daemon.places.runtime.join("generation"));
    if let Err(error) = tree.remove() {
        tracing::warn!("our cgroup stays behind: {error}");
    }
    tracing::info!("aetherd has stopped every unit and ends");
    Ok(ExitCode::from(daemon.tell_end()))
}

fn make_places(places: &Places) -> Result<(), String> {
    let make = |path: &Path, mode: u32| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .map_err(|error| format!("cannot make {}: {error}", path.display()))
    };
    make(&places.runtime, 0o755)?;
    make(&places.runtime.join("unit"), 0o755)?;
    make(&places.snapshots(), 0o700)?;
    make(&places.transient(), 0o755)?;
    make(&places.state, 0o755)?;
    make(&places.state.join("unit"), 0o755)?;
    make(&places.log, 0o755)
}

/// The supervisor is the last that memory pressure should kill. Returns what its units get: what
/// we had before.
fn spare_ourselves() -> Option<i32> {
    const PATH: &str = "/proc/self/oom_score_adj";
    const SPARED: i32 = -900;
    let before: i32 = std::fs::read_to_string(PATH).ok()?.trim().parse().ok()?;
    if before <= SPARED {
        return Some(0);
    }
    match std::fs::write(PATH, SPARED.to_string()) {
        Ok(()) => Some(before),
        Err(error) => {
            tracing::warn!("memory pressure may kill the supervisor before its units: {error}");
            None
        }
    }
}

/// A control socket. Everyone may connect to one of them: who calls is what the kernel says, and
/// what they may do is decided per call.
fn listener(
    inherited: &mut Inherited,
    name: &str,
    path: &Path,
    mode: u32,
    store: Option<&Store>,
) -> Result<UnixListener, String> {
    let cannot = |error: io::Error| format!("cannot listen on {}: {error}", path.display());
    let listener = match inherited.remove(name) {
        Some(fd) => UnixListener::from(fd),
        None => {
            // Two supervisors on the same places would each kill the other's units.
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(format!(
                    "another aetherd is listening on {}; stop it first (aetherctl down)",
                    path.display()
                ));
            }
            let _ = std::fs::remove_file(path);
            let listener = UnixListener::bind(path).map_err(cannot)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
                .map_err(cannot)?;
            if let Some(store) = store {
                let _ = store.keep(name, &[listener.as_fd()]);
            }
            listener
        }
    };
    listener.set_nonblocking(true).map_err(cannot)?;
    Ok(listener)
}

fn notify_socket(
    inherited: &mut Inherited,
    path: &Path,
    store: Option<&Store>,
) -> Result<OwnedFd, String> {
    if let Some(fd) = inherited.remove("notify") {
        return Ok(fd);
    }
    let fd =
        notify::listen(path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    if let Some(store) = store {
        let _ = store.keep("notify", &[fd.as_fd()]);
    }
    Ok(fd)
}

/// 16 random bytes that live as long as the runtime directory.
fn seed(runtime: &Path) -> Result<[u8; 16], String> {
    let path = runtime.join("seed");
    if let Ok(bytes) = std::fs::read(&path)
        && let Ok(seed) = <[u8; 16]>::try_from(bytes)
    {
        return Ok(seed);
    }
    let seed = random::id().map_err(say("get random numbers"))?;
    write_whole(&path, &seed).map_err(say("keep the seed"))?;
    Ok(seed)
}

/// How many daemons there were, this one included, since the last end in order.
fn generation(runtime: &Path) -> u32 {
    let path = runtime.join("generation");
    let before: u32 = std::fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    let now = before.saturating_add(1);
    if let Err(error) = write_whole(&path, now.to_string().as_bytes()) {
        tracing::warn!("cannot count the daemons: {error}");
    }
    now
}

/// Sends `occurrence` whenever `fd` is readable. The loop empties it.
fn forward(
    fd: OwnedFd,
    occurrence: fn() -> Occurrence,
    sender: mpsc::Sender<Occurrence>,
) -> Result<(), String> {
    let ready = ready::watch(fd, Interest::READABLE).map_err(say("wait for a descriptor"))?;
    tokio::spawn(async move {
        while let Ok(mut guard) = ready.readable().await {
            // Edge-triggered: what arrives from now on wakes us again.
            guard.clear_ready();
            if sender.send(occurrence()).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn tasks(daemon: &Daemon, sender: &mpsc::Sender<Occurrence>) -> Result<(), String> {
    let copy =
        |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map_err(say("copy a descriptor"));
    forward(
        copy(daemon.alarm.as_fd())?,
        || Occurrence::Alarm,
        sender.clone(),
    )?;
    forward(
        copy(daemon.watch.fd())?,
        || Occurrence::Groups,
        sender.clone(),
    )?;
    forward(
        copy(daemon.notify.as_fd())?,
        || Occurrence::Notified,
        sender.clone(),
    )?;
    if let Some(link) = &daemon.keeper {
        forward(copy(link.as_fd())?, || Occurrence::Keeper, sender.clone())?;
    }
    for (kind, occurrence) in [
        (
            SignalKind::terminate(),
            (|| Occurrence::Terminate) as fn() -> Occurrence,
        ),
        (SignalKind::interrupt(), || Occurrence::Terminate),
        (SignalKind::hangup(), || Occurrence::Reload),
    ] {
        let mut stream = signal(kind).map_err(say("wait for signals"))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(occurrence()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

fn doors(
    listeners: [UnixListener; 2],
    tree: &Arc<Tree>,
    publisher: Publisher,
    sender: &mpsc::Sender<Occurrence>,
) -> Result<(), String> {
    let listeners: Result<Vec<_>, _> = listeners
        .into_iter()
        .map(tokio::net::UnixListener::from_std)
        .collect();
    let listeners = listeners.map_err(say("listen for clients"))?;
    let (asks, mut asked) = mpsc::channel(QUEUE);
    let sender = sender.clone();
    tokio::spawn(async move {
        while let Some(asked) = asked.recv().await {
            if sender.send(Occurrence::Asked(asked)).await.is_err() {
                return;
            }
        }
    });
    let tree = Arc::clone(tree);
    let identify = move |stream: &tokio::net::UnixStream| -> io::Result<Caller> {
        let peer = Peer::of(stream.as_fd())?;
        let unit = peer.unit(&tree)?;
        Ok(Caller {
            uid: peer.uid,
            pid: peer.pid,
            unit,
        })
    };
    tokio::spawn(serve(
        listeners,
        user::own_uid(),
        identify,
        asks,
        publisher,
        Limits::default(),
    ));
    Ok(())
}
