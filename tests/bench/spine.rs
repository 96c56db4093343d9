//! How fast the spine is: start, replacement, freeze, recall, idleness, through the real programs.
//!
//! `cargo bench --bench spine [NAME…]`, as root, with a cgroup2 mount and a C compiler. Every
//! figure stands beside the bare limit that was measured in the same run (the same program spawned
//! by posix_spawn, the same group frozen by hand, an echo over a Unix socket), because only their
//! ratio means something on another machine. Nothing is asserted. `AETHER_BENCH_RUNS` (200) and
//! `AETHER_BENCH_IDLE` (60, seconds) make it shorter.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reads clocks, starts processes, prints, and ends where a step fails"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use aether::bus::client::Client;
use aether::engine::event::JobMode;
use aether::name::UnitName;
use serde_json::json;

#[expect(
    dead_code,
    reason = "the live tests' fixture; a part of it is used here"
)]
#[path = "../it/live.rs"]
mod live;
#[expect(dead_code, reason = "the benchmarks' own; a part of it is used here")]
mod process;
#[expect(dead_code, reason = "the benchmarks' own; a part of it is used here")]
mod stamp;

use process::{field, parent};
use stamp::{Stamp, now, setting};

type Measure = fn(&mut Table);

/// The measurements by name, for the command line.
const ALL: [(&str, Measure); 7] = [
    ("start", start),
    ("replace", replace),
    ("freeze", freeze),
    ("recall", recall),
    ("bridge", bridge),
    ("ctl", ctl),
    ("idle", idle),
];

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut table = Table;
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>9} {:>7}  goal",
        "", "p50", "p99", "min", "bare p50", "ratio"
    );
    for (name, measure) in ALL {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            measure(&mut table);
        }
    }
}

fn runs() -> u64 {
    setting("AETHER_BENCH_RUNS", 200)
}

/// Prints one line per figure.
struct Table;

impl Table {
    fn times(&mut self, what: &str, measured: Vec<u64>, bare: Vec<u64>, goal: &str) {
        let (measured, bare) = (sorted(measured), sorted(bare));
        let (half, limit) = (at(&measured, 50), at(&bare, 50));
        println!(
            "{what:<44} {:>9} {:>9} {:>9} {:>9} {:>6.1}x  {goal}",
            milliseconds(half),
            milliseconds(at(&measured, 99)),
            milliseconds(measured[0]),
            milliseconds(limit),
            half / limit
        );
    }

    fn fact(&mut self, what: &str, value: &str, goal: &str) {
        println!("{what:<44} {value:>47}  {goal}");
    }
}

fn sorted(mut nanos: Vec<u64>) -> Vec<f64> {
    nanos.sort_unstable();
    nanos
        .into_iter()
        .map(|nanos| Duration::from_nanos(nanos).as_secs_f64())
        .collect()
}

fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1000.0)
}

fn since(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_nanos()).unwrap()
}

impl Stamp {
    /// The bare limit of a start: std's posix_spawn of the same program.
    fn bare(&mut self) -> Vec<u64> {
        (0..runs())
            .map(|_| {
                let begin = now();
                let mut child = Command::new(&self.program).arg(&self.fifo).spawn().unwrap();
                let (first, _) = self.next();
                child.kill().unwrap();
                child.wait().unwrap();
                first.saturating_sub(begin)
            })
            .collect()
    }

    /// A confined agent that is this program.
    fn unit(&self, extra: &str, children: u32) -> String {
        format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Agent]\nRuntime=command\n\
             ExecStart={} {} {children}\n{extra}\n[Sandbox]\nPolicy=coding\n\
             ReadWritePaths={}\nExecPaths={}\n[MCP]\nTools=\n",
            self.program.display(),
            self.fifo.display(),
            self.fifo.display(),
            self.program.display(),
        )
    }
}

/// A live Aether with a client.
struct Spine {
    aether: live::Aether,
    runtime: tokio::runtime::Runtime,
    client: Client,
    stamp: Stamp,
}

impl Spine {
    fn new() -> Self {
        let aether = live::Aether::start();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(Client::connect(&aether.socket())).unwrap();
        let stamp = Stamp::new(aether.root.path());
        Self {
            aether,
            runtime,
            client,
            stamp,
        }
    }

    fn start(&self, name: &UnitName) {
        self.runtime
            .block_on(self.client.start_unit(name, JobMode::Replace))
            .unwrap();
    }

    fn stop(&self, name: &UnitName) {
        self.runtime.block_on(async {
            let job = self
                .client
                .stop_unit(name, JobMode::Replace, false)
                .await
                .unwrap();
            self.client.wait_for_job(&job).await.unwrap();
        });
    }
}

fn start(table: &mut Table) {
    let mut spine = Spine::new();
    let name: UnitName = "first.agent".parse().unwrap();
    let text = spine.stamp.unit("", 0);
    spine.aether.unit("first.agent", &text);
    let mut times = vec![];
    let mut answers = vec![];
    for _ in 0..runs() {
        let begin = now();
        spine.start(&name);
        answers.push(now() - begin);
        let (first, _) = spine.stamp.next();
        times.push(first.saturating_sub(begin));
        spine.stop(&name);
    }
    let bare = spine.stamp.bare();
    table.times(
        "start: StartUnit to first instruction",
        times,
        bare,
        "<= 3 ms",
    );
    table.times(
        "start: the answer alone, to a socket echo",
        answers,
        echo(100),
        "",
    );
}

fn replace(table: &mut Table) {
    let mut spine = Spine::new();
    let name: UnitName = "again.agent".parse().unwrap();
    let text = spine.stamp.unit("Restart=always\nRestartSec=0", 0);
    spine.aether.unit("again.agent", &text);
    spine.start(&name);
    let (_, mut pid) = spine.stamp.next();
    let mut times = vec![];
    for _ in 0..runs() {
        // The last process must be known to run, or its death is a failed start.
        spine.aether.wait_state("again", "active", "running");
        let begin = now();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        let (first, next) = spine.stamp.next();
        times.push(first.saturating_sub(begin));
        pid = next;
    }
    spine.stop(&name);
    let bare = spine.stamp.bare();
    table.times(
        "replacement: SIGKILL to first instruction",
        times,
        bare,
        "<= 2 ms",
    );
}

fn freeze(table: &mut Table) {
    let mut spine = Spine::new();
    for count in [1, 200] {
        let name: UnitName = format!("cold{count}.agent").parse().unwrap();
        let text = spine.stamp.unit("TasksMax=1000", count - 1);
        spine.aether.unit(name.as_str(), &text);
        spine.start(&name);
        spine.stamp.next();
        spine.aether.wait_state(name.as_str(), "active", "running");
        let group = spine.aether.group(name.as_str()).join("agent");
        let mut times = vec![];
        for _ in 0..runs() {
            let client = &spine.client;
            let time = spine.runtime.block_on(async {
                let begin = Instant::now();
                let job = client.pause(&name, "").await.unwrap();
                client.wait_for_job(&job).await.unwrap();
                let time = since(begin);
                let job = client.resume(&name).await.unwrap();
                client.wait_for_job(&job).await.unwrap();
                time
            });
            times.push(time);
        }
        let bare = (0..runs())
            .map(|_| {
                let begin = Instant::now();
                set_frozen(&group, true);
                let time = since(begin);
                set_frozen(&group, false);
                time
            })
            .collect();
        table.times(
            &format!("freeze: pause to confirmed, {count} processes"),
            times,
            bare,
            "<= 1 ms",
        );
        spine.stop(&name);
    }
}

/// By hand, looking until the kernel says that it is so.
fn set_frozen(group: &Path, on: bool) {
    std::fs::write(group.join("cgroup.freeze"), if on { "1" } else { "0" }).unwrap();
    let wanted = if on { "frozen 1" } else { "frozen 0" };
    while !std::fs::read_to_string(group.join("cgroup.events"))
        .unwrap()
        .contains(wanted)
    {}
}

/// A message there and back over a Unix socket, the other end on a thread.
fn echo(length: usize) -> Vec<u64> {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let mut bytes = vec![0; length];
        while there.read_exact(&mut bytes).is_ok() {
            there.write_all(&bytes).unwrap();
        }
    });
    let mut bytes = vec![b'x'; length];
    let times = (0..runs().max(200))
        .map(|_| {
            let begin = Instant::now();
            here.write_all(&bytes).unwrap();
            here.read_exact(&mut bytes).unwrap();
            since(begin)
        })
        .collect();
    drop(here);
    thread.join().unwrap();
    times
}

/// A hub with a socket for one unit, without a supervisor.
struct Hub {
    directory: tempfile::TempDir,
    child: Child,
}

impl Hub {
    fn new(memories: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fill(&directory.path().join("memory.db"), memories);
        let notify = directory.path().join("notify");
        let ready = UnixDatagram::bind(&notify).unwrap();
        let socket = directory.path().join("a.sock");
        let child = Command::new(env!("CARGO_BIN_EXE_aether-hub"))
            .env("STATE_DIRECTORY", directory.path())
            .env("NOTIFY_SOCKET", &notify)
            .args(["--listen", &format!("a.agent={}", socket.display())])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = [0; 64];
        ready.recv(&mut said).unwrap();
        Self { directory, child }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("a.sock")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SUBJECTS: [&str; 10] = [
    "parser",
    "scheduler",
    "invoice",
    "deployment",
    "database",
    "login",
    "cache",
    "report",
    "migration",
    "backup",
];
const FINDINGS: [&str; 7] = [
    "fails when the clock jumps",
    "needs the environment of the builder",
    "was rewritten because of its locking",
    "must never run before the nightly export",
    "is owned by the platform team",
    "prints its version on standard error",
    "keeps its settings beside the binary",
];

fn fill(path: &Path, memories: u32) {
    let mut database = aether::hub::store::open(path).unwrap();
    let unit: UnitName = "a.agent".parse().unwrap();
    for number in 0..memories {
        let pick =
            |all: &[&'static str], by: u32| all[usize::try_from(number / by).unwrap() % all.len()];
        let draft = aether::hub::memory::Draft {
            text: format!(
                "Ticket {number}: the {} of module m{} {}.",
                pick(&SUBJECTS, 1),
                number % 97,
                pick(&FINDINGS, 10)
            ),
            importance: 5,
            ..Default::default()
        };
        database.remember(&unit, draft, "agent").unwrap();
    }
}

/// A client of one bridge.
struct Bridge {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Bridge {
    fn new(socket: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aether-mcp"))
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut bridge = Self {
            child,
            to,
            from: BufReader::new(from),
        };
        bridge.ask(
            "initialize",
            &json!({
                "protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": {"name": "spine", "version": "1"},
            }),
        );
        bridge
            .to
            .write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")
            .unwrap();
        bridge
    }

    fn ask(&mut self, method: &str, params: &serde_json::Value) -> String {
        let line =
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        self.to.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        answer
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn recall(table: &mut Table) {
    for memories in [1_000, 10_000] {
        let hub = Hub::new(memories);
        let mut bridge = Bridge::new(&hub.socket());
        let mut length = 0;
        for (kind, question) in [
            ("3 words", "{subject} module m{number} nightly export"),
            ("rare word", "m{number}"),
            ("common word", "{subject}"),
        ] {
            let mut times = vec![];
            for run in 0..runs() {
                let subject = SUBJECTS[usize::try_from(run).unwrap() % SUBJECTS.len()];
                let query = question
                    .replace("{subject}", subject)
                    .replace("{number}", &(run % 97).to_string());
                let params = json!({"name": "recall", "arguments": {"query": query, "limit": 5}});
                let begin = Instant::now();
                let answer = bridge.ask("tools/call", &params);
                times.push(since(begin));
                assert!(answer.contains("Ticket "), "{answer}");
                length = answer.len();
            }
            table.times(
                &format!("recall: {memories} memories, {kind}"),
                times,
                echo(length),
                if memories == 10_000 { "<= 0.5 ms" } else { "" },
            );
        }
        let times = (0..runs())
            .map(|_| {
                let begin = Instant::now();
                bridge.ask("ping", &json!({}));
                since(begin)
            })
            .collect();
        table.times("recall: ping, the way alone", times, echo(40), "");
    }
}

fn bridge(table: &mut Table) {
    let hub = Hub::new(10);
    let mut largest = 0;
    let times = (0..runs())
        .map(|_| {
            let begin = Instant::now();
            let bridge = Bridge::new(&hub.socket());
            let time = since(begin);
            largest = largest.max(resident(bridge.child.id()));
            time
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let bare = Stamp::new(directory.path()).bare();
    table.times("bridge: spawn to initialized", times, bare, "<= 3 ms");
    table.fact("bridge: RSS", &kibibytes(largest), "<= 2.5 MB");
    table.fact(
        "hub: RSS after these sessions",
        &kibibytes(resident(hub.child.id())),
        "",
    );
}

fn ctl(table: &mut Table) {
    let spine = Spine::new();
    let time = |mut command: Command| {
        (0..runs())
            .map(|_| {
                let begin = Instant::now();
                let output = command.output().unwrap();
                let time = since(begin);
                drop(output);
                time
            })
            .collect()
    };
    let mut asking = Command::new(spine.aether.root.path().join("bin/aetherctl"));
    asking
        .args(["is-active", "aether-hub.service"])
        .env("AETHER_RUNTIME_DIR", spine.aether.root.path().join("run"));
    let times = time(asking);
    let bare = time(Command::new("/bin/true"));
    table.times("aetherctl is-active, to /bin/true", times, bare, "");
}

fn idle(table: &mut Table) {
    let mut spine = Spine::new();
    let name: UnitName = "still.agent".parse().unwrap();
    let text = spine
        .stamp
        .unit("", 0)
        .replace("Tools=\n", "Tools=memory\n");
    spine.aether.unit("still.agent", &text);
    spine.start(&name);
    spine.stamp.next();
    spine.aether.wait_state("still", "active", "running");
    spine.aether.wait_state("aether-hub.service", "active", "");
    let hub = spine.aether.properties("aether-hub.service");
    let daemon = spine.aether.daemon_pid();
    let processes = [
        ("aetherd", daemon, "0, <= 8 MB"),
        ("keeper", parent(daemon), "0"),
        (
            "hub",
            u32::try_from(hub.number("MainPID").unwrap_or(0)).unwrap(),
            "0",
        ),
    ];
    let window = Duration::from_secs(setting("AETHER_BENCH_IDLE", 60));
    // What the questions above have caused is over after this.
    std::thread::sleep(Duration::from_secs(3));
    let before = processes.map(|(_, pid, _)| switches(pid));
    std::thread::sleep(window);
    for ((name, pid, goal), before) in processes.into_iter().zip(before) {
        let after = switches(pid);
        let woken: Vec<String> = after
            .iter()
            .map(|(thread, count)| {
                let begun = before.iter().find(|(known, _)| known == thread);
                (thread, count - begun.map_or(0, |(_, count)| *count))
            })
            .filter(|(_, count)| *count > 0)
            .map(|(thread, count)| format!("{thread} {count}"))
            .collect();
        table.fact(
            &format!("idle: {name}, wake-ups in {} s, RSS", window.as_secs()),
            &format!(
                "{} ({} threads), {}",
                if woken.is_empty() {
                    "0".to_owned()
                } else {
                    woken.join(", ")
                },
                after.len(),
                kibibytes(resident(pid))
            ),
            goal,
        );
    }
    spine.stop(&name);
}

/// Kibibytes.
fn resident(pid: u32) -> u64 {
    field(&PathBuf::from(format!("/proc/{pid}/status")), "VmRSS")
}

fn kibibytes(count: u64) -> String {
    format!("{count} KiB")
}

/// Context switches of every thread, by number and name.
fn switches(pid: u32) -> Vec<(String, u64)> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return vec![];
    };
    threads
        .filter_map(Result::ok)
        .map(|thread| {
            let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            let status = thread.path().join("status");
            (
                format!("{}/{}", name.trim(), thread.file_name().to_string_lossy()),
                field(&status, "voluntary_ctxt_switches")
                    + field(&status, "nonvoluntary_ctxt_switches"),
            )
        })
        .collect()
}
