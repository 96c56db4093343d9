//! What services say and are given, under a live Aether: sd_notify(3), the descriptor store,
//! sockets, timers, names on the bus. Needs root, a cgroup2 mount and python3.
//!
//! The services are short scripts. What they have to say comes back as lines of their log; where
//! one has to wait, it reads from a pipe that the test writes to.

mod bus;
mod ready;
mod socket;
mod store;
mod timer;
mod watchdog;

use std::path::PathBuf;

use crate::live::{Aether, PATIENCE};

/// What every script begins with: sd_notify in a few lines, and what goes with it.
const TALK: &str = "\
import array, os, signal, socket, sys, time

def notify(text, *fds):
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    line.connect(os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1))
    socket.send_fds(line, [text.encode()], fds)

def barrier():
    reader, writer = os.pipe()
    notify('BARRIER=1', writer)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)

def say(*words):
    print(*words, flush=True)

def gate(name):
    with open(os.path.join(os.path.dirname(__file__), name)) as pipe:
        return pipe.read()

def passed():
    if os.environ.get('LISTEN_PID') != str(os.getpid()):
        return []
    return os.environ['LISTEN_FDNAMES'].split(':')

def wait():
    while True:
        signal.pause()

";

/// Writes a script; what `ExecStart=` says to run it.
fn script(aether: &Aether, name: &str, text: &str) -> String {
    let path = aether.root.path().join(format!("{name}.py"));
    std::fs::write(&path, format!("{TALK}{text}")).unwrap();
    format!("/usr/bin/python3 -B {}", path.display())
}

/// Writes a service whose main process is such a script.
fn service(aether: &Aether, name: &str, settings: &str, text: &str) {
    let command = script(aether, name, text);
    let unit = format!("[Service]\nExecStart={command}\n{settings}\n");
    aether.unit(&format!("{name}.service"), &unit);
}

/// Makes a pipe at which a script can wait.
fn make_gate(aether: &Aether, name: &str) -> PathBuf {
    let path = aether.root.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    path
}

/// Lets the script that waits there go on.
fn open_gate(aether: &Aether, name: &str) {
    std::fs::write(aether.root.path().join(name), "go\n").unwrap();
}

/// Waits for the line with this word that is the `count`th of the service's own; what follows the
/// word.
fn heard(aether: &Aether, unit: &str, word: &str, count: usize) -> String {
    let before = format!(" stdout F {word}");
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let log = aether.log(unit);
        let mut lines = log.lines().filter_map(|line| line.split_once(&before));
        if let Some((_, rest)) = lines.nth(count - 1) {
            return rest.trim().to_owned();
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{unit} did not say {word} for the {count}th time; it is {}; log:\n{log}",
            aether.properties(unit).json()
        );
        std::thread::yield_now();
    }
}

/// The main process.
fn main_pid(aether: &Aether, unit: &str) -> u32 {
    let pid = aether.properties(unit).number("MainPID").unwrap();
    u32::try_from(pid).unwrap()
}
