//! `up` and `down`: starting the keeper in the background, and ending all of it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ask;
use super::control::{Change, change_units};
use super::exit::{Exit, Problem};
use super::logs::Watch;
use super::screen::{Screen, clean};
use crate::bus::client::{Client, ClientError};
use crate::place::Places;
use crate::sys::cgroup::Stat;
use crate::sys::process::{open_pidfd, signal};

/// How long Aether may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long `down` waits: units have their own time limits, which the daemon keeps.
const LONGEST_STOP: Duration = Duration::from_secs(300);
/// How long a keeper without a daemon may take to end: it tries a few more.
const LONGEST_END: Duration = Duration::from_secs(30);

/// `up`.
pub(super) async fn up(
    screen: Screen,
    places: &Places,
    units: &[String],
    block: super::cli::Block,
) -> anyhow::Result<Exit> {
    let units = ask::names(units)?;
    let socket = places.bus_socket();
    let client = match Client::connect_to(places).await {
        Ok(client) => {
            screen.say("Aether is running already.")?;
            client
        }
        Err(ClientError::NotRunning { .. }) => {
            let client = start(places).await?;
            screen.say(&format!(
                "Aether is running; it listens on {}.",
                socket.display()
            ))?;
            client
        }
        Err(error) => return Err(ask::problem(&error).into()),
    };
    change_units(screen, &client, &units, Change::Start, block).await
}

/// Becomes the keeper. `detached` leaves the terminal's session first.
pub(super) fn foreground(places: &Places, detached: bool) -> anyhow::Result<Exit> {
    if detached {
        nix::unistd::setsid()?;
    }
    let program = keeper(places)?;
    let error = Command::new(&program).exec();
    Err(Problem::new(format!("failed to execute {}: {error}", program.display())).into())
}

fn keeper(places: &Places) -> Result<PathBuf, Problem> {
    let program = places.libexec.join("aether-init");
    if program.is_file() {
        return Ok(program);
    }
    Err(Problem::new(format!("there is no {}", program.display()))
        .help("install Aether whole, or name the directory in AETHER_LIBEXEC_DIR".to_owned()))
}

async fn start(places: &Places) -> anyhow::Result<Client> {
    keeper(places)?;
    let mine = nix::unistd::geteuid().is_root();
    if places.system && !mine {
        return Err(
            Problem::new("only root can start the system's manager".to_owned())
                .exit(Exit::Refused)
                .help("sudo aetherctl up, or aetherctl --user up for your own".to_owned())
                .into(),
        );
    }
    for place in [&places.runtime, &places.log] {
        fs::create_dir_all(place).map_err(|error| {
            Problem::new(format!("failed to make {}: {error}", place.display()))
        })?;
    }
    let path = places.log.join("keeper.log");
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(&path)
        .map_err(|error| Problem::new(format!("failed to open {}: {error}", path.display())))?;
    let begin = log.metadata()?.len();
    // The watch first: the socket may be there before anyone looks.
    let mut watch = Watch::new(&places.runtime)?;
    // Setting a session needs a process of its own that then becomes the keeper.
    let mut child = Command::new("/proc/self/exe")
        .args(["up", "--foreground", "--detached"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|error| Problem::new(format!("failed to start aether-init: {error}")))?;
    let process = open_pidfd(child.id())?;
    let (ended, mut end) = oneshot::channel();
    // Only to notice an early death; the thread goes when the command does.
    std::thread::spawn(move || ended.send(child.wait()));
    let mut interrupt = super::Interrupt::new()?;
    let given_up = tokio::select! {
        client = answer(places, &mut watch) => match client {
            Ok(Some(client)) => return Ok(client),
            Ok(None) => not_started(&path, begin, None),
            Err(error) => {
                end_keeper(process).await?;
                return Err(error);
            }
        },
        status = &mut end => return Err(not_started(&path, begin, Some(status)).into()),
        exit = interrupt.come() => Problem::new("interrupted before Aether answered".to_owned()).exit(exit),
    };
    // What was just started in vain must not go on trying behind the person's back.
    if !end_keeper(process).await? {
        let help = "aether-init does not end; aetherctl down tries again".to_owned();
        return Err(given_up.help(help).into());
    }
    Err(given_up.into())
}

/// Asks a keeper to stop what it runs, and waits for its end; whether it came.
async fn end_keeper(process: OwnedFd) -> io::Result<bool> {
    match signal(process.as_fd(), Signal::SIGTERM as i32) {
        // It has ended already.
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => return Ok(true),
        other => other?,
    }
    match tokio::time::timeout(LONGEST_END, ended(process)).await {
        Ok(ended) => ended.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// Waits until Aether answers; `None` when it does not in time.
async fn answer(places: &Places, watch: &mut Watch) -> anyhow::Result<Option<Client>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect_to(places).await {
            Ok(client) => return Ok(Some(client)),
            Err(ClientError::NotRunning { source, .. }) => {
                // Between bind(2) and listen(2) nothing tells; that moment is waited out.
                let bound = source.kind() == io::ErrorKind::ConnectionRefused;
                tokio::select! {
                    changed = watch.changed() => changed?,
                    () = tokio::time::sleep(Duration::from_millis(20)), if bound => {}
                    () = tokio::time::sleep_until(deadline) => {}
                }
                if Instant::now() >= deadline {
                    return Ok(None);
                }
            }
            Err(error) => return Err(ask::problem(&error).into()),
        }
    }
}

/// Waits until a new daemon answers.
pub(super) async fn reconnect(places: &Places) -> anyhow::Result<Client> {
    let mut watch = Watch::new(&places.runtime)?;
    match answer(places, &mut watch).await? {
        Some(client) => Ok(client),
        None => {
            let text = format!("Aether does not answer after {} s", PATIENCE.as_secs());
            Err(Problem::new(text).exit(Exit::NoDaemon).into())
        }
    }
}

type Ended = Result<io::Result<ExitStatus>, oneshot::error::RecvError>;

fn not_started(log: &Path, begin: u64, ended: Option<Ended>) -> Problem {
    let how = match ended {
        Some(Ok(Ok(status))) => format!("aether-init ended at once ({status})"),
        Some(_) => "aether-init ended at once".to_owned(),
        None => format!("Aether does not answer after {} s", PATIENCE.as_secs()),
    };
    let said = said(log, begin).unwrap_or_default();
    let said = clean(&said, false);
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(20)..].join("\n  ");
    let text = if last.is_empty() {
        format!("{how} and said nothing")
    } else {
        format!("{how}; it said:\n  {last}")
    };
    Problem::new(text).help(format!(
        "all of it is in {}; to see it start: aetherctl up --foreground",
        log.display()
    ))
}

/// What was added to the log since, its last 16 KiB.
fn said(log: &Path, begin: u64) -> io::Result<String> {
    const MOST: u64 = 16 << 10;
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(begin.max(length.saturating_sub(MOST))))?;
    let mut bytes = vec![];
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `down`.
pub(super) async fn down(screen: Screen, places: &Places, block: bool) -> anyhow::Result<Exit> {
    let client = match ask::connect(places).await {
        Err(problem) if problem.code() == Exit::NoDaemon => {
            return down_without_daemon(screen, places, problem).await;
        }
        other => other?,
    };
    let properties = client
        .manager_properties()
        .await
        .map_err(|error| ask::problem(&error))?;
    let daemon = properties
        .number("DaemonPID")
        .and_then(|pid| u32::try_from(pid).ok());
    // The handle before the order: afterwards the number may be someone else's.
    let last = daemon.and_then(|daemon| open_pidfd(keeper_of(daemon).unwrap_or(daemon)).ok());
    client
        .shutdown()
        .await
        .map_err(|error| ask::refused("stop Aether", &error))?;
    if !block {
        return Ok(Exit::Done);
    }
    let gone = async {
        match last {
            Some(process) => ended(process).await?,
            None => client.closed().await,
        }
        io::Result::Ok(())
    };
    match tokio::time::timeout(LONGEST_STOP, gone).await {
        Ok(done) => done?,
        Err(_) => {
            return Err(Problem::new("Aether is still stopping units".to_owned())
                .help("which: aetherctl list-jobs".to_owned())
                .into());
        }
    }
    screen.say("Aether has stopped.")?;
    Ok(Exit::Done)
}

/// Ends a keeper whose daemon does not come up, where there is one.
async fn down_without_daemon(
    screen: Screen,
    places: &Places,
    problem: Problem,
) -> anyhow::Result<Exit> {
    match lonely_keeper(&places.keeper_lock()) {
        Ok(None) => {
            screen.say("Aether is not running.")?;
            Ok(Exit::Done)
        }
        Ok(Some(process)) => {
            if end_keeper(process).await? {
                screen.say("Aether has stopped; its keeper had no daemon that answered.")?;
                return Ok(Exit::Done);
            }
            let text = format!("aether-init does not end after {} s", LONGEST_END.as_secs());
            Err(Problem::new(text)
                .help(format!("its pid is in {}", places.keeper_lock().display()))
                .into())
        }
        // Somebody else's: whether there is a keeper is not ours to know.
        Err(_) => Err(problem.into()),
    }
}

/// The keeper that holds this lock.
fn lonely_keeper(lock: &Path) -> io::Result<Option<OwnedFd>> {
    let mut file = match File::open(lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let free = |file: &File| match file.try_lock_shared() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    };
    if free(&file)? {
        return Ok(None);
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let Ok(process) = text
        .trim()
        .parse()
        .map_err(io::Error::other)
        .and_then(open_pidfd)
    else {
        return Ok(None);
    };
    // It held the lock before the handle was made and does so after: the number is its own.
    Ok((!free(&file)?).then_some(process))
}

/// Waits until a process has ended: then its handle is readable.
async fn ended(process: OwnedFd) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe; the handle owns its descriptor"
    )]
    let process = AsyncFd::new(process)?;
    process.readable().await?.retain_ready();
    Ok(())
}

/// The daemon's parent, if it is the keeper (and not a service manager that started the daemon).
fn keeper_of(daemon: u32) -> Option<u32> {
    let parent = Stat::read(daemon)?.parent;
    let name = fs::read_to_string(format!("/proc/{parent}/comm")).ok()?;
    (name.trim_end() == "aether-init").then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_tells_that_a_process_is_gone() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let handle = open_pidfd(child.id()).unwrap();
        super::super::block_on(async { Ok(ended(handle).await?) }).unwrap();
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn a_failed_start_shows_what_was_said_now() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("keeper.log");
        fs::write(&path, "old trouble\nno cgroup\n").unwrap();
        let problem = not_started(&path, 12, None).to_string();
        assert!(problem.contains("it said:\n  no cgroup"), "{problem}");
        assert!(!problem.contains("old trouble"), "{problem}");
    }
}
