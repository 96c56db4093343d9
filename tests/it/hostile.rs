//! What a hostile agent or a stranger tries against the supervisor itself. Needs root.

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::live::{Aether, signal, until};

/// Connects to a socket until there is no room to wait, then holds on until its input ends. Where
/// its descriptors do not suffice, a child goes on.
const CROWD: &str = "
import os, socket, sys
held = []
while True:
    try:
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        one.connect(sys.argv[1])
        held.append(one)
    except BlockingIOError:
        print('full', flush=True)
        sys.stdin.read()
        break
    except OSError:
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        for one in held:
            one.close()
        held = []
";

/// Nobody's user, who may connect to the control socket like everyone.
const STRANGER: u32 = 61_235;

/// Lets a stranger's program run, until its input ends; and what it says first.
fn stranger(program: &str, argument: &Path) -> (Child, String) {
    let mut stranger = Command::new("/usr/bin/python3")
        .args(["-c", program])
        .arg(argument)
        .uid(STRANGER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let out = stranger.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
    (stranger, said)
}

#[test]
fn a_crowd_at_the_control_socket_does_not_keep_its_owner_out() {
    let aether = Aether::start();
    let daemon = aether.daemon_pid();
    signal(daemon, "STOP");
    // While nobody lets it in, a stranger fills the line until there is no room in it.
    let (mut stranger, said) = stranger(CROWD, &aether.root.path().join("run/private"));
    assert_eq!(said, "full\n");
    let place = UnixStream::connect(aether.root.path().join("run/owner"));
    signal(daemon, "CONT");
    place.expect("the owner has a line of its own");
    aether.ctl(&["list-units", "--all"]);
    drop(stranger.stdin.take());
    assert!(stranger.wait().unwrap().success());
}

#[test]
fn looking_at_units_leaves_nothing_behind() {
    let aether = Aether::start();
    aether.unit(
        "many@.agent",
        "[Unit]\nDescription=Number %i\n[Agent]\nRuntime=command\nExecStart=/bin/true\n[MCP]\nTools=\n",
    );
    let kept = || aether.kept().len();
    // Units with files are known to whoever lists them, and no more of them are there than files.
    aether.ctl(&["list-units", "--all"]);
    let before = kept();
    for number in 0..20 {
        let now = aether.properties(&format!("many@{number}.agent"));
        assert_eq!(now.text("Description"), format!("Number {number}"));
        assert_eq!(now.text("LoadState"), "loaded");
        let (code, error) = aether.refused(&["status", &format!("none{number}.agent")]);
        assert!(code != 0 && error.contains("none"), "{error}");
    }
    assert_eq!(kept(), before);
    let listed = aether.ctl(&["list-units", "--all"]);
    assert!(!listed.contains("many@"), "{listed}");
    // What was only looked at can be started like anything else.
    aether.ctl(&["start", "many@7.agent"]);
    aether.wait_state("many@7.agent", "inactive", "completed");
}

#[test]
fn what_could_not_be_adopted_is_not_started() {
    let aether = Aether::start();
    aether.unit(
        "s.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/sleep infinity\nRestart=no\n[MCP]\nTools=\n",
    );
    // The disk is full, as far as the supervisor can see.
    let limit = |size: &str| {
        let daemon = aether.daemon_pid().to_string();
        let size = format!("--fsize={size}:");
        let status = Command::new("prlimit")
            .args(["--pid", &daemon, &size])
            .status();
        assert!(status.unwrap().success());
    };
    limit("1");
    let (_, error) = aether.refused(&["start", "s"]);
    assert!(error.contains("snapshot"), "{error}");
    assert_eq!(
        aether.wait_state("s", "failed", "").text("FailureStep"),
        "snapshot"
    );
    limit("unlimited");
    aether.ctl(&["start", "s"]);
    let before = aether.properties("s").number("MainPID");
    aether.kill_daemon();
    assert_eq!(aether.properties("s").number("MainPID"), before);
}

#[test]
fn temporary_files_are_not_where_the_snapshots_are_and_go_with_the_unit() {
    use std::os::unix::fs::MetadataExt;
    let aether = Aether::start();
    aether.unit(
        "t.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'mkdir $TMPDIR/x; touch $TMPDIR/x/y; \
         echo $TMPDIR; exec sleep infinity'\n[MCP]\nTools=\n",
    );
    // A name of the supervisor's own is just a name among the units' directories.
    aether.unit(
        "r.service",
        "[Service]\nExecStart=/bin/sh -c 'touch $RUNTIME_DIRECTORY/mine; echo $RUNTIME_DIRECTORY; \
         exec sleep infinity'\nDynamicUser=yes\nRuntimeDirectory=snapshot\n",
    );
    aether.ctl(&["start", "t", "r.service"]);
    let run = aether.root.path().join("run");
    let state = aether.root.path().join("state");
    let line = aether.wait_line("t", |line| line.contains(" stdout F "));
    assert!(line.contains(state.to_str().unwrap()), "{line}");
    let line = aether.wait_line("r.service", |line| line.contains(" stdout F "));
    assert!(line.contains("/run/directory/snapshot"), "{line}");
    let owner = std::fs::metadata(run.join("snapshot")).unwrap().uid();
    assert_eq!(owner, 0);
    aether.ctl(&["stop", "t", "r.service"]);
    aether.wait_state("t", "inactive", "");
    aether.wait_state("r.service", "inactive", "");
    let gone = |path: &Path| until(&format!("{} is gone", path.display()), || !path.exists());
    gone(&state.join("unit/t.agent/tmp"));
    gone(&run.join("directory/snapshot"));
    gone(&run.join("unit/t.agent"));
    assert!(run.join("snapshot").is_dir());
    assert!(state.join("unit/t.agent/home").is_dir());
}

/// Sends a descriptor whose last close takes as long as its sender said, to the socket for
/// notifications and to the control socket, and has no copy of it any more.
const SLOW: &str = "
import socket, struct, sys

def slow():
    door = socket.create_server(('127.0.0.1', 0))
    one = socket.create_connection(door.getsockname())
    peer, _ = door.accept()
    one.setblocking(False)
    try:
        while True:
            one.send(bytes(65536))
    except BlockingIOError:
        pass
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 40))
    return one, peer

peers = []
def send(line, text):
    one, peer = slow()
    peers.append(peer)
    socket.send_fds(line, [text], [one.fileno()])
    one.close()

notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(sys.argv[1] + '/notify')
send(notify, b'BARRIER=1')
bus = socket.socket(socket.AF_UNIX)
bus.connect(sys.argv[1] + '/private')
send(bus, b'\\0')
bus.sendall(b'no greeting\\r\\n')
send(bus, b'x')
bus.close()
print('sent', flush=True)
sys.stdin.read()
";

#[test]
fn descriptors_that_are_slow_to_close_hold_nobody_up() {
    let aether = Aether::start();
    // So that the last close is never the sender's own.
    let daemon = aether.daemon_pid();
    signal(daemon, "STOP");
    let (mut stranger, said) = stranger(SLOW, &aether.root.path().join("run"));
    assert_eq!(said, "sent\n");
    signal(daemon, "CONT");
    let began = std::time::Instant::now();
    for _ in 0..3 {
        aether.ctl(&["list-units", "--all"]);
    }
    let took = began.elapsed();
    drop(stranger.stdin.take());
    assert!(stranger.wait().unwrap().success());
    assert!(took < std::time::Duration::from_secs(20), "{took:?}");
}

/// What every process of an agent may send as often as it likes.
const TALKER: &str = "
import os, socket, time
line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
line.connect(os.environ['NOTIFY_SOCKET'])
for _ in range(5000):
    socket.send_fds(line, [b'FDSTORE=1'], [0])
reader, writer = os.pipe()
socket.send_fds(line, [b'BARRIER=1'], [writer])
os.close(writer)
os.read(reader, 1)
print('said', flush=True)
time.sleep(9999)
";

#[test]
fn an_agent_does_not_push_others_out_of_the_event_log() {
    let aether = Aether::start();
    let script = aether.root.path().join("talker.py");
    std::fs::write(&script, TALKER).unwrap();
    let script = script.display();
    aether.unit(
        "t.agent",
        &format!(
            "[Agent]\nRuntime=command\nExecStart=/usr/bin/python3 {script}\n[Sandbox]\n\
             ReadOnlyPaths={script}\n[MCP]\nTools=\n"
        ),
    );
    aether.ctl(&["start", "t"]);
    aether.wait_line("t", |line| line.contains(" stdout F said"));
    aether.ctl(&["stop", "t"]);
    let events = aether.root.path().join("state/events/events.jsonl");
    let count = |of: &str| {
        let text = std::fs::read_to_string(&events).unwrap();
        text.lines().filter(|line| line.contains(of)).count()
    };
    until("both requests are written", || {
        count("\"kind\":\"request\"") >= 2
    });
    let entries = count("t.agent");
    assert!((900..2000).contains(&entries), "{entries}");
}
