//! The `aether-hub` program: its arguments, its runtime, and how it says that it is ready.
//!
//! `--listen UNIT=PATH` serves without a supervisor, for trying and testing: identity is then the
//! peer's user, which must be the hub's own. Otherwise sockets come from aetherd (see
//! [`super::serve::Change`]). Read next: [`super::serve`].

use std::collections::HashMap;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::link::{Alone, Supervisor};
use super::serve::{Change, Identify, run};
use super::store::Store;
use super::tools::Hub;
use crate::name::{NameError, UnitName};
use crate::sys::peer::Peer;

/// What `--help` prints.
pub const HELP: &str = "\
aether-hub: the agents' MCP servers and their memory; started by aetherd as aether-hub.service

  --database FILE     the memory database; default: memory.db in $STATE_DIRECTORY
  --listen UNIT=PATH  serve UNIT on a socket at PATH without a supervisor, to this user only
                      (repeat for more units)
  --tools GROUPS      tool groups for --listen, comma-separated; default: memory,agents
  --help, --version
";

/// Why the program cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An argument is wrong; exit code 2.
    #[error("{0}\n\n{HELP}")]
    Usage(String),
    /// A `--listen` names no unit.
    #[error("failed to listen: {0}")]
    Name(#[from] NameError),
    /// Something of the system.
    #[error("failed to {step}: {source}")]
    System {
        /// What was being done.
        step: String,
        /// Why not.
        source: io::Error,
    },
}

impl Failure {
    fn system(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::System { step, source }
    }
}

/// The command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `--database`, or from `$STATE_DIRECTORY`.
    pub database: PathBuf,
    /// `--listen`.
    pub listen: Vec<(UnitName, PathBuf)>,
    /// `--tools`.
    pub tools: Vec<String>,
}

impl Arguments {
    /// Reads them; `state` is `$STATE_DIRECTORY`.
    ///
    /// # Errors
    /// What is wrong, with the help text.
    pub fn parse(
        arguments: impl IntoIterator<Item = String>,
        state: Option<String>,
    ) -> Result<Self, Failure> {
        let usage = |text: String| Failure::Usage(text);
        let mut parsed = Self {
            tools: vec!["memory".to_owned(), "agents".to_owned()],
            ..Self::default()
        };
        let mut database = None;
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                rest.next()
                    .ok_or_else(|| usage(format!("{argument} needs a value")))
            };
            match argument.as_str() {
                "--database" => database = Some(PathBuf::from(value()?)),
                "--tools" => parsed.tools = value()?.split(',').map(ToOwned::to_owned).collect(),
                "--listen" => {
                    let text = value()?;
                    let (unit, path) = text
                        .split_once('=')
                        .ok_or_else(|| usage(format!("--listen {text:?} is not UNIT=PATH")))?;
                    parsed
                        .listen
                        .push((UnitName::from_user(unit)?, PathBuf::from(path)));
                }
                _ => return Err(usage(format!("there is no option {argument:?}"))),
            }
        }
        // With several state directories, systemd separates them with colons; ours is the first.
        let state = state.and_then(|list| list.split(':').next().map(PathBuf::from));
        parsed.database = database
            .or_else(|| state.map(|directory| directory.join("memory.db")))
            .ok_or_else(|| usage("no --database, and STATE_DIRECTORY is not set".to_owned()))?;
        Ok(parsed)
    }
}

/// Serves `--listen` sockets until it is killed.
///
/// # Errors
/// What kept it from beginning.
pub async fn standalone(arguments: Arguments) -> Result<(), Failure> {
    let own = own_uid().map_err(Failure::system("find out the own user"))?;
    let (changes, told) = mpsc::channel(16);
    let mut units = HashMap::new();
    let mut sockets = Vec::new();
    for (unit, path) in arguments.listen {
        let socket =
            bind(&path).map_err(Failure::system(format!("listen at {}", path.display())))?;
        units.insert(path, unit.clone());
        sockets.push(Change::Listen {
            unit,
            socket,
            tools: arguments.tools.clone(),
        });
    }
    let identify: Identify = Arc::new(move |stream: &UnixStream| {
        let uid = stream.peer_cred()?.uid();
        let address = stream.local_addr()?;
        Ok(address
            .as_pathname()
            .filter(|_| uid == own)
            .and_then(|path| units.get(path))
            .cloned())
    });
    let hub = start(arguments.database, Arc::new(Alone))?;
    tracing::warn!(
        "no supervisor: every process of uid {own} is taken for the unit it connects to"
    );
    let serving = tokio::spawn(run(hub, identify, told));
    for socket in sockets {
        // Serving lasts as long as the sender; a failed send shows in the join below.
        let _ = changes.send(socket).await;
    }
    tell_ready().map_err(Failure::system("tell the supervisor that we are ready"))?;
    let _ = serving.await;
    drop(changes);
    Ok(())
}

/// Where the supervisor is, as its environment says it.
#[derive(Debug, Clone)]
pub struct Post {
    /// The control socket.
    pub bus: PathBuf,
    /// The supervisor's cgroup, as `/proc/PID/cgroup` shows it.
    pub control_group: String,
}

/// Serves the sockets that aetherd hands over, until it is told to end.
///
/// # Errors
/// What kept it from beginning.
pub async fn supervised(arguments: Arguments, post: Post) -> Result<(), Failure> {
    let (changes, told) = mpsc::channel(64);
    let (sender, link) = super::supervised::link();
    let hub = start(arguments.database, link)?;
    let group = post.control_group;
    let identify: Identify =
        Arc::new(move |stream: &UnixStream| Peer::of(stream)?.unit_below(&group));
    let serving = tokio::spawn(run(hub, identify, told));
    let ready = || {
        if let Err(error) = tell_ready() {
            tracing::error!("cannot tell the supervisor that we are ready: {error}");
        }
    };
    super::supervised::follow(post.bus, sender, changes, ready).await;
    let _ = serving.await;
    Ok(())
}

/// The database's thread and what all connections share.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(database: PathBuf, supervisor: Arc<dyn Supervisor>) -> Result<Hub, Failure> {
    let store = Store::start(database).map_err(Failure::system("start the database's thread"))?;
    Ok(Hub { store, supervisor })
}

/// Sends `READY=1` to `$NOTIFY_SOCKET`, when there is one.
///
/// # Errors
/// When the socket cannot be reached.
pub fn tell_ready() -> io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let bytes = name.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(&name))?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1\n", &address)?;
    Ok(())
}

fn own_uid() -> io::Result<u32> {
    Ok(std::fs::metadata("/proc/self")?.uid())
}

/// Listens at `path`, in place of a socket that nobody serves any more.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Ok(there) = std::fs::symlink_metadata(path)
        && there.file_type().is_socket()
        && StdStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, state: Option<&str>) -> Result<Arguments, Failure> {
        Arguments::parse(
            line.split_whitespace().map(ToOwned::to_owned),
            state.map(ToOwned::to_owned),
        )
    }

    #[test]
    fn arguments_and_their_mistakes() {
        let parsed = parse(
            "--listen a=/x --listen b.agent=/y --tools memory",
            Some("/var/lib/hub:/z"),
        )
        .unwrap();
        assert_eq!(parsed.database, Path::new("/var/lib/hub/memory.db"));
        assert_eq!(parsed.listen[0].0.as_str(), "a.agent");
        assert_eq!(parsed.tools, ["memory"]);
        assert_eq!(
            parse("--database /d", None).unwrap().database,
            Path::new("/d")
        );
        for (line, word) in [
            ("", "STATE_DIRECTORY"),
            ("--database", "needs a value"),
            ("--database /d --listen x", "UNIT=PATH"),
            ("--database /d --listen a/b=/x", "a/b"),
            ("--nope", "--nope"),
        ] {
            let error = parse(line, None).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(bind(&path).unwrap());
        let live = bind(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(live);
        let file = dir.path().join("f");
        std::fs::write(&file, "keep").unwrap();
        assert!(bind(&file).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"keep");
    }
}
