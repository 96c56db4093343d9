//! What a hostile agent or a stranger tries against the supervisor itself. Needs root.

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::live::{Aether, signal};

/// Nobody's user, who may connect to the control socket like everyone.
const STRANGER: u32 = 61_235;

#[test]
fn a_crowd_at_the_control_socket_does_not_keep_its_owner_out() {
    let aether = Aether::start();
    let daemon = aether.daemon_pid();
    signal(daemon, "STOP");
    // While nobody lets it in, a stranger fills the line until there is no room in it.
    let crowd = "import socket,sys\nall=[]\ntry:\n  while True:\n    s=socket.socket(socket.AF_UNIX)\n    \
                 s.setblocking(False)\n    s.connect(sys.argv[1])\n    all.append(s)\nexcept BlockingIOError:\n  \
                 print('full',flush=True)\nsys.stdin.read()";
    let mut stranger = Command::new("/usr/bin/python3")
        .args(["-c", crowd])
        .arg(aether.root.path().join("run/private"))
        .uid(STRANGER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let out = stranger.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
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
    let kept = || {
        let place = std::fs::read_dir(aether.root.path().join("run/snapshot"));
        place.unwrap().count()
    };
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
