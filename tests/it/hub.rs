//! The real hub behind the real bridge: every tool, restarts by kill -9, the official client, and
//! the first agent.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's own steps must work"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

const HUB: &str = env!("CARGO_BIN_EXE_aether-hub");
const BRIDGE: &str = env!("CARGO_BIN_EXE_aether-mcp");
const AGENT: &str = env!("CARGO_BIN_EXE_aether-agent");

/// A hub in a directory of its own; killed and waited for at the end.
struct Hub {
    dir: tempfile::TempDir,
    child: Child,
}

impl Hub {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Self::spawn(dir.path());
        Self { dir, child }
    }

    /// Returns once it has said that it is ready.
    fn spawn(dir: &Path) -> Child {
        let notify = dir.join("notify");
        let _ = std::fs::remove_file(&notify);
        let ready = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
        let timeout = Some(std::time::Duration::from_secs(30));
        ready.set_read_timeout(timeout).unwrap();
        let child = Command::new(HUB)
            .env("STATE_DIRECTORY", dir)
            .env("NOTIFY_SOCKET", &notify)
            .args([
                "--listen",
                &format!("a.agent={}", dir.join("a.sock").display()),
            ])
            .args([
                "--listen",
                &format!("b.agent={}", dir.join("b.sock").display()),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = [0; 64];
        let length = ready.recv(&mut said).unwrap();
        assert_eq!(&said[..length], b"READY=1\n");
        child
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.sock"))
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.kill();
        self.child = Self::spawn(self.dir.path());
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A raw client of one bridge.
struct Client {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    last: u64,
}

impl Client {
    fn start(socket: &Path) -> Self {
        let mut child = Command::new(BRIDGE)
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take(), child.stdout.take().unwrap());
        Self {
            child,
            to,
            from: BufReader::new(from),
            last: 0,
        }
    }

    fn hello(socket: &Path) -> Self {
        let mut client = Self::start(socket);
        let answer = client.request(
            "initialize",
            &json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
        );
        assert_eq!(answer["result"]["serverInfo"]["name"], "aether");
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        client
    }

    fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.to
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }

    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        let answer = self.line().expect("the bridge ended");
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value, String> {
        let answer = self.request("tools/call", &json!({"name": tool, "arguments": arguments}));
        let Some(text) = answer["result"]["content"][0]["text"].as_str() else {
            return Err(answer.to_string());
        };
        if answer["result"]["isError"] == true {
            return Err(text.to_owned());
        }
        Ok(serde_json::from_str(text).unwrap())
    }

    fn close(mut self) -> std::process::ExitStatus {
        self.to = None;
        self.child.wait().unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tools_work_through_the_bridge_and_units_are_apart() {
    let hub = Hub::start();
    let mut a = Client::hello(&hub.socket("a"));
    let mut b = Client::hello(&hub.socket("b"));
    let list = a.request("tools/list", &json!({}));
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 5);
    let text = "Zoë 🚀 東京 \"x\"\n\u{2028}end";
    let written = a.call("remember", &json!({"text": text})).unwrap();
    assert_eq!(
        a.call("recall", &json!({"query": "東京"})).unwrap()["memories"][0]["text"],
        text
    );
    let other = b.call("recall", &json!({"query": "東京 zoe"})).unwrap();
    assert_eq!(other["memories"], json!([]));
    assert!(
        b.call("forget", &json!({"id": written["id"]}))
            .unwrap_err()
            .contains("no memory")
    );
    assert!(a.call("forget", &json!({"id": written["id"]})).is_ok());
    for tool in ["list_agents", "get_status"] {
        assert!(a.call(tool, &json!({})).unwrap_err().contains("standalone"));
    }
    // What the hub would drop without an answer, the bridge answers itself.
    let long = a.request("ping", &json!({"x": "y".repeat(2 << 20)}));
    assert_eq!(long["error"]["code"], -32600, "{long}");
    assert!(a.call("recall", &json!({"query": "x"})).is_ok());
    assert!(a.close().success());
}

#[test]
fn the_bridge_outlives_the_hub() {
    let mut hub = Hub::start();
    let mut client = Client::hello(&hub.socket("a"));
    client
        .call("remember", &json!({"text": "kept across restarts"}))
        .unwrap();
    for _ in 0..3 {
        hub.restart();
        let found = client.call("recall", &json!({"query": "kept"})).unwrap();
        assert_eq!(found["memories"][0]["text"], "kept across restarts");
    }
    // Calls made while it is away wait for it.
    hub.kill();
    client.send(&json!({"jsonrpc": "2.0", "id": "while away", "method": "ping"}));
    hub.child = Hub::spawn(hub.dir.path());
    let answer = client.line().unwrap();
    assert_eq!(answer["id"], "while away");
    // Sent before or after the bridge noticed: either it waited, or it says so.
    assert!(
        answer["result"].is_object() || answer["error"]["code"] == -32000,
        "{answer}"
    );
    assert!(client.call("recall", &json!({"query": "kept"})).is_ok());
    assert!(client.close().success());
}

#[test]
fn what_was_in_flight_is_answered_when_the_hub_dies() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut client = Client::start(&path);
    let read = |stream: &mut BufReader<UnixStream>| {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let accept = || BufReader::new(listener.accept().unwrap().0);
    let mut hub = accept();
    client.send(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"mark": 1}}));
    assert_eq!(read(&mut hub)["params"]["mark"], 1);
    hub.get_mut()
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}\n")
        .unwrap();
    assert_eq!(client.line().unwrap()["id"], 0);
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    client.send(
        &json!({"method": "tools/call", "params": {"id": 8}, "jsonrpc": "2.0", "id": "seven"}),
    );
    assert_eq!(read(&mut hub)["method"], "notifications/initialized");
    assert_eq!(read(&mut hub)["id"], "seven");
    // Half an answer must not reach the client.
    hub.get_mut()
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":\"sev")
        .unwrap();
    drop(hub);
    let answer = client.line().unwrap();
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!("seven"), &json!(-32000))
    );
    let mut hub = accept();
    assert_eq!(read(&mut hub)["params"]["mark"], 1);
    hub.get_mut()
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"second\":true}}\n")
        .unwrap();
    assert_eq!(read(&mut hub)["method"], "notifications/initialized");
    client.send(&json!({"jsonrpc": "2.0", "id": 9, "method": "ping"}));
    assert_eq!(read(&mut hub)["id"], 9);
    hub.get_mut()
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n")
        .unwrap();
    assert_eq!(
        client.line().unwrap()["id"],
        9,
        "the second initialize answer was not swallowed"
    );
    // A client that leaves while its session is being repeated is not kept waiting.
    drop(hub);
    let hub = accept();
    assert!(client.close().success());
    drop(hub);
}

#[test]
fn without_a_hub_the_bridge_gives_up_with_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut client = Client::start(&dir.path().join("missing"));
    assert!(client.line().is_none());
    let mut said = String::new();
    let mut stderr = client.child.stderr.take().unwrap();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    assert!(
        said.contains("missing: No such file") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(client.child.wait().unwrap().code(), Some(1));
}

/// The directory that holds the pinned `node_modules`: `AETHER_TEST_NPM`, or what
/// `tests/npm/install.sh` has installed.
fn npm() -> Option<PathBuf> {
    if let Some(set) = std::env::var_os("AETHER_TEST_NPM") {
        return Some(set.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm/install.sh");
    let output = Command::new(script)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let tree = path
        .ancestors()
        .find(|dir| dir.join("node_modules").is_dir())?;
    Some(tree.to_owned())
}

#[test]
fn the_official_client_accepts_every_answer() {
    let npm = npm().expect("the npm tree: run tests/npm/install.sh, or set AETHER_TEST_NPM");
    let mut hub = Hub::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/client.mjs");
    let mut node = Command::new("node")
        .arg(script)
        .arg(BRIDGE)
        .arg(hub.socket("a"))
        .env("AETHER_TEST_NPM", npm)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = vec![];
    let mut to = node.stdin.take().unwrap();
    for line in BufReader::new(node.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "ready for restart" {
            hub.restart();
            to.write_all(b"go\n").unwrap();
        }
        lines.push(line);
    }
    assert!(node.wait().unwrap().success(), "{lines:#?}");
    let expected = [
        "server aether",
        "tools forget get_status list_agents recall remember",
        "recalled true",
        "bad true",
        "agents true",
        "status true",
        "ready for restart",
        "after restart true",
        "forgotten true",
        "end",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn hello_remembers_and_reports_what_is_not_refused() {
    let hub = Hub::start();
    let path = format!(
        "{}:{}",
        Path::new(BRIDGE).parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let run = || {
        let output = Command::new(AGENT)
            .arg("hello")
            .env("PATH", &path)
            .env("AETHER_MCP_SOCKET", hub.socket("a"))
            .output()
            .unwrap();
        (output.status, String::from_utf8(output.stdout).unwrap())
    };
    let (status, first) = run();
    assert!(first.contains("this is my first run"), "{first}");
    assert!(first.contains("NOT refused"), "{first}");
    assert_eq!(
        status.code(),
        Some(1),
        "an agent without confinement must say so"
    );
    let (_, second) = run();
    assert!(second.contains("I said hello in run 1"), "{second}");
    assert!(second.contains("\"I said hello in run 2\""), "{second}");
    assert!(!Path::new("/etc/aether-was-here").exists());
}

/// Writes for as long as the hub takes it and never reads; `b` is answered all the while. How many
/// bytes were taken, and by how much the hub grew, in KiB.
fn flood(hub: &Hub, b: &mut Client, request: impl Fn(u64) -> String) -> (usize, u64) {
    let mut stream = UnixStream::connect(hub.socket("a")).unwrap();
    let hello = json!({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params":
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    stream.write_all(format!("{hello}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).unwrap();
    stream.set_nonblocking(true).unwrap();
    let before = resident(hub.child.id());
    let (mut sent, mut number, mut idle) = (0, 0, 0);
    let mut rest: Vec<u8> = vec![];
    while idle < 50 && sent < 64 << 20 {
        if rest.is_empty() {
            rest = request(number).into_bytes();
            number += 1;
        }
        match stream.write(&rest) {
            Ok(taken) => {
                rest.drain(..taken);
                sent += taken;
                idle = 0;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                b.call("recall", &json!({"query": "others"})).unwrap();
                idle += 1;
            }
            // It has closed the connection.
            Err(_) => break,
        }
    }
    for _ in 0..50 {
        b.call("recall", &json!({"query": "others"})).unwrap();
    }
    (sent, resident(hub.child.id()).saturating_sub(before))
}

/// Resident memory, KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap()
}

#[test]
fn a_client_that_never_reads_costs_a_bounded_amount() {
    let hub = Hub::start();
    let mut a = Client::hello(&hub.socket("a"));
    for number in 0..4 {
        let text = format!("{number} {}", "long ".repeat(3000));
        a.call("remember", &json!({"text": text})).unwrap();
    }
    let mut b = Client::hello(&hub.socket("b"));
    b.call("remember", &json!({"text": "what others wrote"}))
        .unwrap();
    let recall = |id: u64| {
        format!(
            "{}\n",
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                "params": {"name": "recall", "arguments": {"query": "long"}}})
        )
    };
    let cancel = |id: u64| {
        format!(
            "{}\n",
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})
        )
    };
    let plain = flood(&hub, &mut b, recall);
    let cancelled = flood(&hub, &mut b, |id| recall(id) + &cancel(id));
    let one_id = flood(&hub, &mut b, |_| recall(0));
    for (sent, grown) in [plain, cancelled, one_id] {
        assert!(
            sent < 8 << 20 && grown < 16 << 10,
            "bytes taken and KiB grown: {plain:?}, cancelled {cancelled:?}, one id {one_id:?}"
        );
    }
    assert!(a.call("recall", &json!({"query": "long"})).is_ok());
}

#[test]
fn one_unit_with_many_connections_makes_no_other_busy() {
    use std::sync::atomic::{AtomicBool, Ordering};
    const BATCH: usize = 40;
    let hub = Hub::start();
    let mut b = Client::hello(&hub.socket("b"));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for at in 0..24 {
            let (socket, over) = (hub.socket("a"), &over);
            scope.spawn(move || {
                let mut stream = UnixStream::connect(socket).unwrap();
                let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
                let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params":
                    {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
                stream.write_all(format!("{hello}\n").as_bytes()).unwrap();
                answers.next().unwrap().unwrap();
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let batch: String = (1..=BATCH)
                        .map(|id| {
                            let text = format!("fact {id} of {at} in round {round}: {}", "words ".repeat(50));
                            let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
                                "params": {"name": "remember", "arguments": {"text": text}}});
                            format!("{call}\n")
                        })
                        .collect();
                    stream.write_all(batch.as_bytes()).unwrap();
                    // Whether it was done or refused is this unit's own affair.
                    answers.by_ref().take(BATCH).for_each(drop);
                }
            });
        }
        let said: Vec<_> = (0..25)
            .map(|number| {
                let text = format!("what {number} others want to keep");
                b.call("remember", &json!({"text": text}))
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        let refused: Vec<_> = said.into_iter().filter_map(Result::err).collect();
        assert!(refused.is_empty(), "{} of 25: {refused:?}", refused.len());
    });
}

/// Needs root, to become somebody else.
#[test]
fn another_user_is_not_served() {
    use std::os::unix::fs::PermissionsExt;
    let hub = Hub::start();
    let open = |path: &Path| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    };
    open(hub.dir.path());
    open(&hub.socket("a"));
    let bridge = hub.dir.path().join("bridge");
    std::fs::copy(BRIDGE, &bridge).unwrap();
    open(&bridge);
    let mut child = Command::new("setpriv")
        .args(["--reuid=61999", "--regid=61999", "--clear-groups"])
        .arg(&bridge)
        .arg(hub.socket("a"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    (&stdin)
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(1), "{said}{errors}");
    assert!(errors.contains("closes every connection"), "{errors}");
    // It may have been told that its call was lost, and nothing else.
    assert!(!said.contains("result"), "{said}");
}
