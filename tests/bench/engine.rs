//! How fast the engine is, and how it grows: unit files parsed, transactions, events, memory, and
//! many units started at once through the real programs.
//!
//! `cargo bench --bench engine [NAME…]`, the last part as root with a cgroup2 mount. The many starts
//! stand beside the bare limit of the same run: the same programs spawned by posix_spawn. Nothing is
//! asserted. `AETHER_BENCH_MANY` (1000) is how many.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reads clocks, starts processes, prints, and ends where a step fails"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::Instant;

use aether::engine::Engine;
use aether::engine::event::{Effect, Event, JobMode, Now, Request, RequestId};
use aether::plan::Enforcement;
use aether::unit::{Source, SpecifierFacts, Unit, load};

#[expect(
    dead_code,
    reason = "the live tests' fixture; a part of it is used here"
)]
#[path = "../it/live.rs"]
mod live;

/// The measurements by name, for the command line.
const ALL: [(&str, fn()); 4] = [
    ("parse", parse),
    ("transaction", transaction),
    ("handle", handle),
    ("many", many),
];

const SIZES: [usize; 3] = [100, 1_000, 10_000];

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    for (name, measure) in ALL {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            measure();
        }
    }
}

fn text(index: usize) -> String {
    format!(
        "[Unit]\nDescription=Worker number {index}\nAfter=network.target\nWants=network.target\n\
         StartLimitIntervalSec=1min\n[Service]\nType=simple\n\
         ExecStart=/bin/sh -c 'exec sleep infinity' %n ${{HOME}}\nEnvironment=A=1 B=\"two words\"\n\
         Restart=on-failure\nRestartSec=2s\nMemoryMax=1G\nTasksMax=100\nKillMode=mixed\n\
         [Install]\nWantedBy=many.target\n"
    )
}

fn parse() {
    for size in SIZES {
        let texts: Vec<String> = (0..size).map(text).collect();
        let facts = SpecifierFacts {
            home: "/root".to_owned(),
            ..SpecifierFacts::default()
        };
        let begin = Instant::now();
        for (index, text) in texts.into_iter().enumerate() {
            let name = format!("w{index}.service").parse().unwrap();
            let source = Source {
                path: format!("/etc/w{index}.service").into(),
                text,
            };
            let loaded = load(&name, &[source], &facts);
            assert!(black_box(loaded).unit.is_some());
        }
        report("unit files parsed", size, begin);
    }
}

/// What took how long, and for each.
fn report(what: &str, count: usize, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    let count_f = f64::from(u32::try_from(count).unwrap());
    println!(
        "{what:<44} {count:>7}  {:>10.3} ms  {:>9.3} us each  {:>11.0} /s",
        seconds * 1e3,
        seconds * 1e6 / count_f,
        count_f / seconds
    );
}

fn now(at: u64) -> Now {
    Now {
        monotonic: at,
        realtime: at,
    }
}

/// A target that wants so many services, each ordered after the one ten before it.
fn engine(size: usize) -> Engine {
    let mut engine = Engine::new();
    let name = |index: usize| format!("w{index}.service").parse().unwrap();
    let mut target = Unit::unwritten("many.target".parse().unwrap());
    for index in 0..size {
        let mut unit = Unit::unwritten(name(index));
        if let Some(service) = &mut unit.service {
            service.exec_start = vec![aether::unit::Command {
                program: "/bin/sleep".to_owned(),
                argv: vec!["sleep".to_owned(), "infinity".to_owned()],
                ..Default::default()
            }];
        }
        if index >= 10 {
            unit.relations.after = vec![name(index - 10)];
        }
        target.relations.wants.push(name(index));
        target.relations.after.push(name(index));
        let _ = engine.handle(now(1), Event::Defined(Box::new(unit)));
    }
    let _ = engine.handle(now(1), Event::Defined(Box::new(target)));
    engine
}

fn start(engine: &mut Engine) -> Vec<Effect> {
    let request = Request::Start {
        unit: "many.target".parse().unwrap(),
        mode: JobMode::Replace,
    };
    let id = RequestId(1);
    engine.handle(now(2), Event::Requested { id, request })
}

fn transaction() {
    for size in SIZES {
        let before = resident();
        let mut engine = engine(size);
        let each = resident().saturating_sub(before) * 1024 / size;
        println!(
            "{:<44} {size:>7}  {each:>10} bytes each",
            "units defined, memory"
        );
        let begin = Instant::now();
        let effects = start(&mut engine);
        report("units in one transaction", size, begin);
        assert!(effects.len() > size);
    }
}

fn handle() {
    for size in SIZES {
        let mut engine = engine(size);
        let mut queue: VecDeque<Event> = VecDeque::new();
        let mut events = 0;
        let mut effects = start(&mut engine);
        let begin = Instant::now();
        loop {
            for effect in effects {
                if let Effect::Spawn { unit, spawn, .. } = effect {
                    let pid = u32::try_from(spawn.0).unwrap();
                    queue.push_back(Event::Spawned {
                        unit: unit.clone(),
                        spawn,
                        pid,
                    });
                    queue.push_back(Event::Executed {
                        unit,
                        spawn,
                        enforcement: Enforcement::default(),
                    });
                }
            }
            let Some(event) = queue.pop_front() else {
                break;
            };
            events += 1;
            effects = engine.handle(now(3), event);
        }
        report(
            &format!("events handled, {size} units started"),
            events,
            begin,
        );
    }
}

/// Resident memory of this process in KiB.
fn resident() -> usize {
    resident_of(std::process::id())
}

fn resident_of(pid: u32) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

fn many() {
    let count: usize = std::env::var("AETHER_BENCH_MANY")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000);
    let begin = Instant::now();
    let mut children: Vec<_> = (0..count)
        .map(|_| {
            Command::new("/bin/sleep")
                .arg("infinity")
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    report("bare: posix_spawn of sleep", count, begin);
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for policy in ["none", "service"] {
        let aether = live::Aether::start();
        let mut wants = String::new();
        for index in 0..count {
            let name = format!("w{index}.service");
            aether.unit(
                &name,
                &format!(
                    "[Service]\nType=simple\nExecStart=/bin/sleep infinity\n\
                     [Sandbox]\nPolicy={policy}\n"
                ),
            );
            wants.push_str(&format!("Wants={name}\n"));
        }
        aether.unit("many.target", &format!("[Unit]\n{wants}"));
        let pid = aether.daemon_pid();
        let before = resident_of(pid);
        let begin = Instant::now();
        aether.ctl(&["start", "many.target"]);
        report(&format!("units started, policy {policy}"), count, begin);
        let each = resident_of(pid).saturating_sub(before) * 1024 / count;
        println!(
            "{:<44} {count:>7}  {each:>10} bytes of aetherd each ({} KiB in all)",
            "their memory",
            resident_of(pid)
        );
        let begin = Instant::now();
        aether.ctl(&["down"]);
        report("units stopped, with Aether", count, begin);
    }
}
