//! Socket activation.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::live::{Aether, PATIENCE, signal, until};
use crate::notify::{heard, main_pid, service};

fn connect(aether: &Aether) -> UnixStream {
    let stream = UnixStream::connect(aether.root.path().join("s.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that comes until the other side hangs up.
fn read(mut stream: UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn socket(aether: &Aether, settings: &str) {
    let place = aether.root.path().display();
    let text = format!("[Socket]\nListenStream={place}/s.sock\n{settings}\n");
    aether.unit("s.socket", &text);
}

/// Answers every connection with what it was given and what it heard.
const SERVER: &str = "
names = passed()
say('got', *names)
door = socket.socket(fileno=3)
while True:
    line, _ = door.accept()
    with line:
        line.sendall(f'{names} {line.recv(99).decode()}'.encode())
";

#[test]
fn a_connection_that_is_made_while_nobody_supervises_is_served() {
    let aether = Aether::start();
    socket(&aether, "FileDescriptorName=door");
    service(&aether, "s", "", SERVER);
    aether.ctl(&["start", "s.socket"]);
    aether.wait_state("s.socket", "active", "listening");
    // First one that lies there while the daemon cannot look, then dies.
    let daemon = aether.daemon_pid();
    signal(daemon, "STOP");
    let mut line = connect(&aether);
    line.write_all(b"hello").unwrap();
    signal(daemon, "KILL");
    aether.answering();
    assert_eq!(read(line), "['door'] hello");
    aether.wait_state("s.socket", "active", "running");
    // Then the service goes, and the next connection starts it again.
    let pid = main_pid(&aether, "s.service");
    aether.ctl(&["stop", "s.service"]);
    aether.wait_state("s.socket", "active", "listening");
    let mut line = connect(&aether);
    line.write_all(b"again").unwrap();
    assert_eq!(read(line), "['door'] again");
    assert_ne!(main_pid(&aether, "s.service"), pid);
}

#[test]
fn sockets_outlive_a_restart_of_the_service_and_go_with_their_unit() {
    let aether = Aether::start();
    socket(&aether, "RemoveOnStop=yes");
    service(&aether, "s", "Restart=on-failure\nRestartSec=0", SERVER);
    aether.ctl(&["start", "s.socket"]);
    aether.ctl(&["start", "s.service"]);
    heard(&aether, "s.service", "got", 1);
    // Nobody accepts now, so this line waits in the socket: it must be the same one afterwards.
    let pid = main_pid(&aether, "s.service");
    signal(pid, "STOP");
    until("it is stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") T ")
    });
    let mut line = connect(&aether);
    line.write_all(b"over").unwrap();
    aether.ctl(&["restart", "s.service"]);
    assert_eq!(read(line), "['s.socket'] over");
    aether.kill_daemon();
    signal(main_pid(&aether, "s.service"), "KILL");
    assert_eq!(heard(&aether, "s.service", "got", 3), "s.socket");
    let mut line = connect(&aether);
    line.write_all(b"and over").unwrap();
    assert_eq!(read(line), "['s.socket'] and over");
    aether.ctl(&["stop", "s.socket", "s.service"]);
    aether.wait_state("s.socket", "inactive", "");
    assert!(!aether.root.path().join("s.sock").exists());
}

#[test]
fn connections_beyond_max_connections_are_closed_and_it_is_said() {
    for limit in ["MaxConnections=", "MaxConnectionsPerSource="] {
        one_connection_at_a_time(limit);
    }
}

fn one_connection_at_a_time(limit: &str) {
    let aether = Aether::start();
    socket(&aether, &format!("Accept=yes\n{limit}1"));
    service(
        &aether,
        "s@",
        "",
        "
line = socket.socket(fileno=3)
line.sendall(' '.join(passed()).encode() + b'\\n')
line.recv(1)
line.sendall(b'bye')
",
    );
    aether.ctl(&["start", "s.socket"]);
    let serve = || {
        let mut line = connect(&aether);
        let mut greeting = [0; 11];
        line.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"connection\n");
        line
    };
    let mut first = serve();
    assert_eq!(read(connect(&aether)), "");
    aether.wait_line("s.socket", |line| line.contains(limit));
    first.write_all(b".").unwrap();
    assert_eq!(read(first), "bye");
    // Its place is free once its unit is down.
    let list = || aether.ctl(&["list-units"]);
    until("the instance is down", || {
        !list().contains("running") || !list().contains("s@")
    });
    let mut second = serve();
    second.write_all(b".").unwrap();
    assert_eq!(read(second), "bye");
}

#[test]
fn nothing_is_left_of_connections_that_were_served_or_could_not_be() {
    let aether = Aether::start();
    let place = aether.root.path().display();
    let serve = |name: &str, settings: &str| {
        let text = format!("[Socket]\nListenStream={place}/{name}.sock\nAccept=yes\n");
        aether.unit(&format!("{name}.socket"), &text);
        aether.unit(&format!("{name}@.service"), settings);
        aether.ctl(&["start", &format!("{name}.socket")]);
    };
    let echo = "StandardInput=socket\n";
    serve("good", &format!("[Service]\nExecStart=/bin/cat\n{echo}"));
    serve("bad", &format!("[Service]\nExecStart=/bin/false\n{echo}"));
    serve(
        "ugly",
        &format!("[Unit]\nRequires=no.service\n[Service]\nExecStart=/bin/cat\n{echo}"),
    );
    let kept = || aether.kept().len();
    // What is known after some connections to each is all that is known after many: of those that
    // failed the last sixteen.
    let connect = || {
        for name in ["good", "bad", "ugly"] {
            let path = aether.root.path().join(format!("{name}.sock"));
            let mut line = UnixStream::connect(path).unwrap();
            line.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = line.write_all(b"hello");
            let _ = line.shutdown(std::net::Shutdown::Write);
            let mut text = String::new();
            let _ = line.read_to_string(&mut text);
            assert_eq!(text, if name == "good" { "hello" } else { "" }, "{name}");
        }
        until("all instances are gone but a few that failed", || {
            let listed = aether.ctl(&["list-units", "--all"]);
            let bad = listed.lines().filter(|line| line.contains("bad@")).count();
            !listed.contains("good@") && !listed.contains("ugly@") && bad <= 16
        });
    };
    for _ in 0..17 {
        connect();
    }
    let before = kept();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", aether.daemon_pid())).unwrap();
    let descriptors = open().count();
    for _ in 0..30 {
        connect();
    }
    assert_eq!(kept(), before);
    // A few of the last connection may be closed only now.
    until("no descriptors are left", || {
        open().count() <= descriptors + 5
    });
    let instances = |directory: &str| {
        let entries = std::fs::read_dir(aether.root.path().join(directory)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_str().unwrap().contains('@'))
            .count()
    };
    until("no other directories are left", || {
        instances("state/unit") <= 16
    });
    assert!((1..=70).contains(&instances("log")), "{}", instances("log"));
}

#[test]
fn who_follows_a_failed_connection_is_told_of_it() {
    let aether = Aether::start();
    socket(&aether, "Accept=yes");
    aether.unit(
        "s@.service",
        "[Unit]\nOnFailure=f.service\n[Service]\nExecStart=/bin/sh -c 'exit 7'\n",
    );
    let text = "say('after', os.environ['MONITOR_UNIT'], os.environ['MONITOR_EXIT_STATUS'])\n";
    service(&aether, "f", "", text);
    aether.ctl(&["start", "s.socket"]);
    assert_eq!(read(connect(&aether)), "");
    let told = heard(&aether, "f.service", "after", 1);
    assert!(
        told.starts_with("s@1-") && told.ends_with(".service 7"),
        "{told}"
    );
}
