//! Control groups on the machine's real hierarchies, each test in a tree of its own. Needs root
//! and a writable cgroup2 mount; limits also need the controllers, in v1 or v2.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aether::name::UnitName;
use aether::sys::cgroup::{Group, Kind, Part, Tree};
use aether::sys::peer::Peer;
use aether::sys::watch::{Shortage, Watch, WatchId};
use aether::unit::Resources;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;

/// A tree with one unit's group and its watch; everything in it dies with the test.
struct Ground {
    tree: Tree,
    group: Group,
    watch: Watch,
    id: WatchId,
    children: Vec<Child>,
}

impl Ground {
    fn new(resources: &Resources) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("aether-test-{}-{number}", std::process::id());
        let tree = Tree::find(&name).unwrap();
        assert_ne!(tree.kind(), Kind::None, "{:?}", tree.missing());
        let unit: UnitName = "coder.agent".parse().unwrap();
        let group = tree.group(&unit, None);
        let missing = group.create(resources).unwrap();
        assert_eq!(missing, [] as [String; 0]);
        let mut watch = Watch::new().unwrap();
        let id = watch.add(&group, Shortage::of(&group)).unwrap();
        Self {
            tree,
            group,
            watch,
            id,
            children: vec![],
        }
    }

    /// Runs a shell script inside `agent/`.
    fn shell(&mut self, script: &str) -> &mut Child {
        let joins: String = self
            .group
            .join_files(Part::Agent, false)
            .iter()
            .map(|path| format!("echo $$ > {}\n", path.display()))
            .collect();
        let child = Command::new("/bin/sh")
            .args(["-ec", &format!("{joins}\n{script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.children.push(child);
        self.children.last_mut().unwrap()
    }

    /// Waits, by the watch alone, until something holds.
    fn wait(&mut self, what: &str, holds: impl Fn(&Group) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !holds(&self.group) {
            let mut fds = [PollFd::new(self.watch.fd(), PollFlags::POLLIN)];
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            let ready = poll(&mut fds, u16::try_from(left).unwrap()).unwrap();
            assert_eq!(ready, 1, "no event came before: {what}");
            assert_eq!(self.watch.drain().unwrap(), [self.id]);
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = self.group.kill();
        for child in &mut self.children {
            let _ = child.wait();
        }
        if !std::thread::panicking() {
            self.wait("empty", |group| !group.populated().unwrap());
        }
        let _ = self.group.remove();
        let _ = self.tree.remove();
    }
}

fn line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    line
}

#[test]
fn slices_hold_units_limit_them_together_and_go_with_the_last() {
    let mut ground = Ground::new(&Resources::default());
    let name = |text: &str| text.parse::<UnitName>().unwrap();
    let (outer, inner) = (name("x.slice"), name("x-y.slice"));
    let limits = Resources {
        tasks_max: Some(12),
        ..Resources::default()
    };
    let slices = [(outer, Resources::default()), (inner.clone(), limits)];
    let missing = ground.tree.make_slices(&slices).unwrap();
    assert_eq!(missing, [] as [String; 0]);
    let below = ground.tree.group(&name("w.service"), Some(&inner));
    assert!(below.path().ends_with("/x.slice/x-y.slice/w.service"));
    below.create(&Resources::default()).unwrap();
    let units = ground.tree.units();
    assert!(units.contains(&(name("w.service"), Some(inner.clone()))));
    // The limit is the slice's, whoever is in it.
    let own = std::mem::replace(&mut ground.group, below.clone());
    ground.shell("n=0; while [ $n -lt 30 ]; do sleep 100 & n=$((n+1)); done; echo all");
    let mut said = String::new();
    let shell = ground.children.last_mut().unwrap();
    // The others hold the pipe open, so its end is not waited for.
    BufReader::new(shell.stderr.as_mut().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert!(said.contains("fork"), "{said}");
    assert_eq!(
        ground.tree.unit_of_cgroup(below.path()),
        Some(name("w.service"))
    );
    below.kill().unwrap();
    let _ = ground.children.last_mut().unwrap().wait();
    let end = Instant::now() + Duration::from_secs(30);
    while below.populated().unwrap() && Instant::now() < end {
        std::thread::yield_now();
    }
    ground.group = own;
    below.remove().unwrap();
    ground.tree.remove_slices(&inner);
    assert_eq!(ground.tree.units(), [(name("coder.agent"), None)]);
}

#[test]
fn a_group_is_made_found_again_and_removed_without_a_trace() {
    let mut ground = Ground::new(&Resources::default());
    let group = ground.group.clone();
    assert_eq!(ground.tree.units(), [(group.unit().clone(), None)]);
    assert!(!group.populated().unwrap());
    let files = group.join_files(Part::Agent, false);
    assert!(files.iter().all(|file| file.exists()), "{files:?}");
    assert_eq!(group.join_files(Part::Agent, true).len(), files.len() - 1);
    assert!(group.open(Part::Agent).is_ok() && group.open(Part::Desktop).is_err());
    group.add(Part::Desktop).unwrap();

    let child = ground.shell("echo up; exec sleep 1000");
    line(child);
    let pid = child.id();
    let seen = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let expected = group.expect(Part::Agent).unwrap();
    assert!(seen.lines().any(|line| line == expected), "{seen}");
    assert_eq!(group.procs(false), [pid]);
    let tree = &ground.tree;
    assert_eq!(tree.unit_of_pid(pid).unwrap().as_ref(), Some(group.unit()));
    assert_eq!(tree.unit_of_pid(std::process::id()).unwrap(), None);
    assert!(group.remove().is_err(), "removed with a process in it");
    assert_eq!(group.signal_all(Signal::SIGTERM as i32).unwrap(), 1);
    ground.wait("empty", |group| !group.populated().unwrap());
    group.remove().unwrap();
    group.remove().unwrap();
    ground.tree.remove().unwrap();
    let left = |file: &PathBuf| file.parent().unwrap().exists();
    assert!(!files.iter().any(left));
    assert!(!group.populated().unwrap());
    group.kill().unwrap();
}

#[test]
fn kill_reaches_sessions_daemons_and_those_who_ignore_signals() {
    let mut ground = Ground::new(&Resources::default());
    let child = ground.shell(
        "trap '' TERM HUP INT
         setsid sh -c 'trap \"\" TERM; while :; do :; done' >/dev/null 2>&1 &
         (setsid sleep 1000 >/dev/null 2>&1 &)
         echo up
         while :; do sleep 1000; done",
    );
    line(child);
    assert!(ground.group.procs(true).len() >= 3);
    ground.group.signal_all(Signal::SIGTERM as i32).unwrap();
    assert!(ground.group.populated().unwrap());
    ground.group.kill().unwrap();
    ground.wait("empty", |group| !group.populated().unwrap());
    assert_eq!(ground.group.procs(true), [] as [u32; 0]);
}

#[test]
fn a_frozen_unit_stands_still_and_can_be_killed() {
    let mut ground = Ground::new(&Resources::default());
    let child = ground.shell(
        "setsid sh -c 'while :; do :; done' >/dev/null 2>&1 &
         echo up
         while :; do :; done",
    );
    line(child);
    let used = |group: &Group| group.usage().cpu_nsec.unwrap();
    let begin = Instant::now();
    ground.group.freeze().unwrap();
    ground.wait("frozen", |group| group.is_frozen().unwrap());
    println!("frozen after {:?}", begin.elapsed());
    let before = used(&ground.group);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(50) {
        std::hint::spin_loop();
    }
    assert_eq!(used(&ground.group), before, "it ran while frozen");
    ground.group.thaw().unwrap();
    ground.wait("thawed", |group| !group.is_frozen().unwrap());
    let end = Instant::now() + Duration::from_secs(30);
    while used(&ground.group) == before {
        assert!(Instant::now() < end, "it does not run again");
        std::thread::yield_now();
    }
    ground.group.freeze().unwrap();
    ground.wait("frozen", |group| group.is_frozen().unwrap());
    let begin = Instant::now();
    ground.group.kill().unwrap();
    ground.wait("empty", |group| !group.populated().unwrap());
    println!("empty after {:?}", begin.elapsed());
}

#[test]
fn control_runs_while_the_agent_is_frozen() {
    let mut ground = Ground::new(&Resources::default());
    ground.group.freeze().unwrap();
    ground.wait("frozen", |group| group.is_frozen().unwrap());
    let control = ground.group.join_files(Part::Control, false).remove(0);
    let script = format!("echo $$ > {}; echo up", control.display());
    let out = Command::new("/bin/sh").args(["-c", &script]).output();
    assert_eq!(out.unwrap().stdout, b"up\n");
}

#[test]
fn a_memory_hog_is_killed_and_counted() {
    let limits = Resources {
        memory_max: Some(32 << 20),
        memory_swap_max: Some(0),
        ..Resources::default()
    };
    let mut ground = Ground::new(&limits);
    assert_eq!(ground.group.oom_kills(), Some(0));
    let child = ground.shell("exec tail /dev/zero");
    let mut rest = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    let status = child.wait().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(Signal::SIGKILL as i32), "{status} {rest}");
    ground.wait("an OOM kill", |group| group.oom_kills() == Some(1));
}

#[test]
fn out_of_memory_alone_wakes_the_watch() {
    let limits = Resources {
        memory_max: Some(32 << 20),
        ..Resources::default()
    };
    let mut ground = Ground::new(&limits);
    // Only a part of the unit dies, so neither emptiness nor freezing changes.
    let child = ground.shell("echo up; sleep 1000 & tail /dev/zero || :; wait");
    line(child);
    ground.wait("an OOM kill", |group| group.oom_kills() == Some(1));
    assert!(ground.group.populated().unwrap());
}

#[test]
fn a_fork_bomb_stops_at_the_limit() {
    let limits = Resources {
        tasks_max: Some(16),
        ..Resources::default()
    };
    let mut ground = Ground::new(&limits);
    let child = ground.shell("while :; do sleep 1000 >/dev/null 2>&1 & done");
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert!(said.contains("fork"), "{said:?}");
    child.wait().unwrap();
    assert_eq!(ground.group.usage().tasks, Some(15));
    assert_eq!(ground.group.procs(true).len(), 15);
}

#[test]
fn a_limit_that_comes_later_holds_what_runs_already() {
    let mut ground = Ground::new(&Resources::default());
    let child = ground.shell(
        "sleep 1000 >/dev/null 2>&1 & sleep 1000 >/dev/null 2>&1 & echo up; read line; \
         while :; do sleep 1000 >/dev/null 2>&1 & done",
    );
    assert_eq!(line(child), "up\n");
    assert_eq!(ground.group.usage().tasks, Some(3));
    let limits = Resources {
        tasks_max: Some(12),
        ..Resources::default()
    };
    assert_eq!(ground.group.set(&limits), [] as [String; 0]);
    // What is moved is counted, and what it starts.
    assert_eq!(ground.group.usage().tasks, Some(3));
    let child = &mut ground.children[0];
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child.wait().unwrap();
    assert_eq!(ground.group.usage().tasks, Some(11));
}

#[test]
fn limits_are_set_changed_and_lifted() {
    let limits = Resources {
        memory_max: Some(64 << 20),
        cpu_quota: Some(1500),
        cpu_weight: Some(200),
        tasks_max: Some(10),
        ..Resources::default()
    };
    let ground = Ground::new(&limits);
    let read = |unified: &str, v1: &str| -> String {
        let directories = ground.group.join_files(Part::Agent, true);
        let mut files = directories.iter().map(|f| f.with_file_name(v1));
        let unified = ground.group.directory().unwrap().join(unified);
        let file = files.find(|f| f.exists()).unwrap_or(unified);
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    };
    let hybrid = ground.tree.kind() == Kind::Hybrid;
    let quota = || read("cpu.max", "cpu.cfs_quota_us");
    let memory = || read("memory.max", "memory.limit_in_bytes");
    assert_eq!(memory(), (64 << 20).to_string());
    assert_eq!(quota(), if hybrid { "150000" } else { "150000 100000" });
    assert_eq!(
        read("cpu.weight", "cpu.shares"),
        if hybrid { "2048" } else { "200" }
    );
    assert_eq!(read("pids.max", "pids.max"), "10");
    let other = Resources {
        memory_max: Some(128 << 20),
        cpu_quota: Some(5),
        ..Resources::default()
    };
    assert_eq!(ground.group.set(&other), [] as [String; 0]);
    assert_eq!(memory(), (128 << 20).to_string());
    assert_eq!(quota(), if hybrid { "5000" } else { "5000 1000000" });
    assert_eq!(read("pids.max", "pids.max"), "max");
    assert_eq!(ground.group.set(&Resources::default()), [] as [String; 0]);
    assert_eq!(quota(), if hybrid { "-1" } else { "max 100000" });
}

/// The other side of the next test: not a test unless started by it.
#[test]
fn child_peer() {
    let Some(socket) = std::env::var_os("AETHER_TEST_PEER") else {
        return;
    };
    for file in std::env::var("AETHER_TEST_JOIN").unwrap().split(':') {
        let mut file = File::options().write(true).open(file).unwrap();
        write!(file, "{}", std::process::id()).unwrap();
    }
    let mut stream = UnixStream::connect(socket).unwrap();
    let _ = stream.read(&mut [0]);
}

#[test]
fn a_peer_is_known_by_its_cgroup_while_it_lives() {
    let mut ground = Ground::new(&Resources::default());
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let joins: Vec<String> = ground
        .group
        .join_files(Part::Agent, false)
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cgroup::child_peer", "--nocapture"])
        .env("AETHER_TEST_PEER", &socket)
        .env("AETHER_TEST_JOIN", joins.join(":"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    ground.children.push(child);
    let (stream, _) = listener.accept().unwrap();
    let peer = Peer::of(&stream).unwrap();
    assert_eq!(peer.pid, pid);
    let unit = peer.unit(&ground.tree).unwrap();
    assert_eq!(unit.as_ref(), Some(ground.group.unit()));
    ground.group.kill().unwrap();
    ground.wait("empty", |group| !group.populated().unwrap());
    // A zombie has a pid and a cgroup still, and yet nothing is certain about it.
    assert!(peer.unit(&ground.tree).is_err());
    ground.children[0].wait().unwrap();
    assert!(peer.unit(&ground.tree).is_err());
    // Known to the socket after death: refused or gone, never somebody.
    if let Ok(late) = Peer::of(&stream) {
        assert!(late.unit(&ground.tree).is_err());
    }
}
