//! The keeper with a real daemon-like child: this test binary, started again by aether-init.
//!
//! The child (`child_daemon`) connects to the test's socket, says who it is and what it got, and
//! does what it is told line by line; so nothing here waits by time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use aether::keeper::{LENGTH, Message, Obituary, RESTART_CODE};
use aether::sys::fdstore::{Store, inherited};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(30);

/// A keeper with its directory; ends with the test.
struct Keeper {
    directory: tempfile::TempDir,
    listener: UnixListener,
    process: Child,
}

/// The child that runs now.
struct Daemon {
    lines: BufReader<UnixStream>,
    pid: i32,
    names: Vec<String>,
}

impl Keeper {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("test.sock")).unwrap();
        std::os::unix::fs::symlink(
            std::env::current_exe().unwrap(),
            directory.path().join("aetherd"),
        )
        .unwrap();
        let process = Self::command(&directory).spawn().unwrap();
        Self {
            directory,
            listener,
            process,
        }
    }

    fn command(directory: &tempfile::TempDir) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aether-init"));
        command
            .args(["--", "--exact", "keeper::child_daemon", "--nocapture"])
            .env("AETHER_DAEMON", directory.path().join("aetherd"))
            .env("AETHER_RUNTIME_DIR", directory.path().join("run"))
            .env("AETHER_TEST_CHILD", directory.path().join("test.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn daemon(&self) -> Daemon {
        let mut fds = [nix::poll::PollFd::new(
            self.listener.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        let ready = nix::poll::poll(&mut fds, 30_000_u16).unwrap();
        assert_eq!(ready, 1, "no daemon came");
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut daemon = Daemon {
            lines: BufReader::new(stream),
            pid: 0,
            names: vec![],
        };
        let hello = daemon.line();
        let mut words = hello.split(' ');
        daemon.pid = words.next().unwrap().parse().unwrap();
        daemon.names = words.map(str::to_owned).collect();
        daemon.names.sort();
        daemon
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("aetherd")
    }

    /// Waits for the keeper's own end.
    fn end(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The daemons exit when the test's socket closes; the keeper must go first.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Daemon {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the daemon is gone; it said {line:?}");
        line.trim_end().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.lines.get_mut(), "{line}").unwrap();
        self.line()
    }

    /// Says something that ends it.
    fn tell(mut self, line: &str) {
        writeln!(self.lines.get_mut(), "{line}").unwrap();
    }

    fn kill(self) {
        kill(Pid::from_raw(self.pid), Signal::SIGKILL).unwrap();
    }
}

/// The other side: not a test unless the keeper started it.
#[test]
#[expect(
    clippy::exit,
    reason = "the child's exit code is what the keeper acts on"
)]
fn child_daemon() {
    let Some(path) = std::env::var_os("AETHER_TEST_CHILD") else {
        return;
    };
    let mut fds: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
    for (name, fd) in inherited() {
        fds.entry(name).or_default().push(fd);
    }
    let store = Store::from_env().unwrap().unwrap();
    let mut stream = UnixStream::connect(path).unwrap();
    let names: Vec<String> = fds
        .iter()
        .flat_map(|(name, fds)| std::iter::repeat_n(name.clone(), fds.len()))
        .collect();
    writeln!(stream, "{} {}", std::process::id(), names.join(" ")).unwrap();
    let keeper = fds.remove("keeper").unwrap().pop().unwrap();
    let lines = BufReader::new(stream.try_clone().unwrap());
    for line in lines.lines() {
        let line = line.unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["keep", name, text] => {
                let (read, mut write) = std::io::pipe().unwrap();
                write.write_all(text.as_bytes()).unwrap();
                store.keep(name, &[read.as_fd()]).unwrap();
                store.barrier(LIMIT).unwrap();
                "kept".to_owned()
            }
            ["keep-and-die", name] => {
                // No barrier: the message may still be in the queue when we die.
                let file = File::open("/dev/null").unwrap();
                store.keep(name, &[file.as_fd()]).unwrap();
                kill(Pid::this(), Signal::SIGKILL).unwrap();
                String::new()
            }
            ["read", name] => {
                let fd = fds.get_mut(name).unwrap().pop().unwrap();
                let mut text = String::new();
                File::from(fd).read_to_string(&mut text).unwrap();
                text
            }
            ["discard", name] => {
                store.discard(name).unwrap();
                store.barrier(LIMIT).unwrap();
                "gone".to_owned()
            }
            ["garbage"] => {
                let address = std::env::var("NOTIFY_SOCKET").unwrap();
                let socket = UnixDatagram::unbound().unwrap();
                let long = vec![b'x'; 20_000];
                for bytes in [&b""[..], b"\xff\0=\n\n", b"FDSTORE=1\nFDNAME=:", &long] {
                    socket.send_to(bytes, &address).unwrap();
                }
                for length in [1, LENGTH - 1, LENGTH, LENGTH + 1, 4000] {
                    send(keeper.as_raw_fd(), &vec![7; length], MsgFlags::empty()).unwrap();
                }
                store.barrier(LIMIT).unwrap();
                "sent".to_owned()
            }
            ["orphan", fifo, code] => {
                let script = format!("(read x < {fifo}; exit {code}) >/dev/null & echo $!");
                let mut shell = Command::new("/bin/sh")
                    .args(["-c", &script])
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let mut pid = String::new();
                BufReader::new(shell.stdout.take().unwrap())
                    .read_line(&mut pid)
                    .unwrap();
                shell.wait().unwrap();
                pid.trim().to_owned()
            }
            ["obituaries"] => {
                let said = obituaries(&keeper).into_iter();
                said.map(|o| format!("{}:{}:{}:{}", o.sequence, o.pid, o.start, o.status))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            ["acknowledge", sequence] => {
                let message = Message::Acknowledge(sequence.parse().unwrap());
                send(keeper.as_raw_fd(), &message.encode(), MsgFlags::empty()).unwrap();
                // The answer to a sync comes after what was sent before it.
                assert!(obituaries(&keeper).is_empty());
                "acknowledged".to_owned()
            }
            ["await-term"] => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    use tokio::signal::unix::{SignalKind, signal};
                    let mut term = signal(SignalKind::terminate()).unwrap();
                    store.ready().unwrap();
                    store.barrier(LIMIT).unwrap();
                    writeln!(stream, "ready").unwrap();
                    term.recv().await;
                });
                writeln!(stream, "term").unwrap();
                std::process::exit(0);
            }
            ["exit", code] => std::process::exit(code.parse().unwrap()),
            _ => break,
        };
        writeln!(stream, "{answer}").unwrap();
    }
    std::process::exit(0);
}

/// Asks for a sync and reads up to it.
fn obituaries(keeper: &OwnedFd) -> Vec<Obituary> {
    let send_sync = Message::Sync(42).encode();
    send(keeper.as_raw_fd(), &send_sync, MsgFlags::empty()).unwrap();
    let mut found = vec![];
    loop {
        let mut fds = [nix::poll::PollFd::new(
            keeper.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        assert_eq!(nix::poll::poll(&mut fds, 30_000_u16).unwrap(), 1);
        let mut bytes = [0; LENGTH];
        let length = recv(keeper.as_raw_fd(), &mut bytes, MsgFlags::empty()).unwrap();
        match Message::decode(&bytes[..length]) {
            Some(Message::Obituary(obituary)) => found.push(obituary),
            Some(Message::Synced(42)) => return found,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn descriptors_survive_a_killed_daemon_and_come_back_by_name() {
    let keeper = Keeper::start();
    let mut daemon = keeper.daemon();
    assert_eq!(daemon.names, ["keeper"]);
    assert_eq!(daemon.ask("keep tty/a hello"), "kept");
    assert_eq!(daemon.ask("keep tty/b world"), "kept");
    assert_eq!(daemon.ask("keep tty/c again"), "kept");
    assert_eq!(daemon.ask("discard tty/c"), "gone");
    let first = daemon.pid;
    daemon.kill();
    let mut daemon = keeper.daemon();
    assert_ne!(daemon.pid, first);
    assert_eq!(daemon.names, ["keeper", "tty/a", "tty/b"]);
    assert_eq!(daemon.ask("read tty/b"), "world");
    assert_eq!(daemon.ask("read tty/a"), "hello");
}

#[test]
fn what_was_sent_just_before_death_is_kept() {
    let keeper = Keeper::start();
    keeper.daemon().tell("keep-and-die late");
    assert_eq!(keeper.daemon().names, ["keeper", "late"]);
}

#[test]
fn an_orphan_that_dies_without_a_daemon_is_reported_until_acknowledged() {
    let keeper = Keeper::start();
    let mut daemon = keeper.daemon();
    let fifo = keeper.directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let orphan: u32 = daemon
        .ask(&format!("orphan {} 7", fifo.display()))
        .parse()
        .unwrap();
    let start = aether::sys::cgroup::Stat::read(orphan).unwrap().start;
    // Without a program no daemon can come back, so the orphan surely dies alone.
    let program = keeper.program();
    let away = program.with_extension("away");
    std::fs::rename(&program, &away).unwrap();
    daemon.kill();
    let pidfd = aether::sys::process::open_pidfd(orphan).unwrap();
    File::options().write(true).open(&fifo).unwrap();
    let mut fds = [nix::poll::PollFd::new(
        pidfd.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    assert_eq!(nix::poll::poll(&mut fds, 30_000_u16).unwrap(), 1);
    std::fs::rename(&away, &program).unwrap();

    let mut daemon = keeper.daemon();
    let told = daemon.ask("obituaries");
    let (sequence, rest) = told.split_once(':').unwrap();
    assert_eq!(rest, format!("{orphan}:{start}:{}", 7 << 8));
    assert_eq!(
        daemon.ask("obituaries"),
        "",
        "told twice to the same daemon"
    );
    daemon.kill();
    let mut daemon = keeper.daemon();
    assert_eq!(daemon.ask("obituaries"), told, "forgotten unacknowledged");
    assert_eq!(
        daemon.ask(&format!("acknowledge {sequence}")),
        "acknowledged"
    );
    daemon.kill();
    assert_eq!(keeper.daemon().ask("obituaries"), "");
}

#[test]
fn strangers_and_nonsense_do_not_reach_the_store() {
    let keeper = Keeper::start();
    let mut daemon = keeper.daemon();
    assert_eq!(daemon.ask("garbage"), "sent");
    let socket = keeper.directory.path().join("run/keeper/notify");
    let mode = std::os::unix::fs::PermissionsExt::mode(&socket.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let stranger = UnixDatagram::unbound().unwrap();
    stranger
        .send_to(b"FDSTOREREMOVE=1\nFDNAME=mine", &socket)
        .unwrap();
    assert_eq!(daemon.ask("keep mine text"), "kept");
    stranger
        .send_to(b"FDSTOREREMOVE=1\nFDNAME=mine", &socket)
        .unwrap();
    // One queue: when this is dealt with, so is the stranger's message.
    assert_eq!(daemon.ask("keep other text"), "kept");
    daemon.kill();
    assert_eq!(keeper.daemon().names, ["keeper", "mine", "other"]);
}

#[test]
fn the_daemons_exit_code_decides() {
    let mut keeper = Keeper::start();
    keeper.daemon().tell("exit 1");
    keeper.daemon().tell(&format!("exit {RESTART_CODE}"));
    keeper.daemon().tell("exit 0");
    assert_eq!(keeper.end().code(), Some(0));
}

#[test]
fn a_stop_reaches_the_daemon_and_ends_both() {
    let mut keeper = Keeper::start();
    let mut daemon = keeper.daemon();
    assert_eq!(daemon.ask("await-term"), "ready");
    kill(keeper.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(daemon.line(), "term");
    assert_eq!(keeper.end().code(), Some(0));
}

#[test]
fn a_daemon_that_cannot_stop_in_order_is_not_tried_for_ever() {
    let mut keeper = Keeper::start();
    let daemon = keeper.daemon();
    kill(keeper.pid(), Signal::SIGTERM).unwrap();
    daemon.tell("exit 3");
    keeper.daemon().tell("exit 3");
    keeper.daemon().tell("exit 3");
    assert_eq!(keeper.end().code(), Some(1));
}

#[test]
fn there_is_one_keeper_for_one_directory() {
    let keeper = Keeper::start();
    let daemon = keeper.daemon();
    let second = Keeper::command(&keeper.directory).status().unwrap();
    assert_eq!(second.code(), Some(1));
    drop(daemon);
}
