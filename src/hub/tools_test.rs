use super::*;
use crate::hub::link::{Status, Unanswered};
use crate::hub::serve::{Change, MAX_CONNECTIONS, MAX_LINE, converse, run};
use crate::hub::throttle::MAX_IN_FLIGHT;
use serde_json::json;
use std::os::unix::net::UnixListener;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// A supervisor with two agents; it knows nothing of `gone.agent`.
#[derive(Debug)]
struct Two;

impl Supervisor for Two {
    fn agents<'a>(&'a self, asker: &'a UnitName) -> Asking<'a, Vec<Agent>> {
        Box::pin(async move {
            let agent = |name: &str| Agent {
                name: name.into(),
                state: "active".into(),
                ..Agent::default()
            };
            Ok(vec![agent(asker.as_str()), agent("other.agent")])
        })
    }

    fn status<'a>(&'a self, _: &'a UnitName, unit: &'a UnitName) -> Asking<'a, Status> {
        Box::pin(async move {
            if unit.as_str() == "gone.agent" {
                return Err(Unanswered::Refused("there is no unit gone.agent".into()));
            }
            Ok(Status {
                name: unit.to_string(),
                memory_max: Some(1 << 28),
                ..Status::default()
            })
        })
    }
}

struct Client {
    stream: BufReader<UnixStream>,
    last: u64,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
            last: 0,
        }
    }

    async fn hello(stream: UnixStream) -> (Self, Value) {
        let mut client = Self::new(stream);
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let answer = client.request("initialize", params).await;
        client
            .send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string())
            .await;
        (client, answer)
    }

    async fn send(&mut self, line: &str) {
        self.stream
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
    }

    async fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
        }
    }

    async fn request(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.send(
            &json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string(),
        )
        .await;
        let answer = self.line().await.unwrap();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// The text of a tool's answer; `Err` when it is an error for the model.
    async fn call(&mut self, tool: &str, arguments: Value) -> Result<Value, String> {
        let answer = self
            .request("tools/call", json!({"name": tool, "arguments": arguments}))
            .await;
        let result = &answer["result"];
        assert_eq!(
            result["content"].as_array().map(Vec::len),
            Some(1),
            "{answer}"
        );
        assert!(result.get("structuredContent").is_none());
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        if result["isError"] == true {
            Err(text)
        } else {
            Ok(serde_json::from_str(&text).unwrap())
        }
    }
}

fn hub(dir: &tempfile::TempDir) -> Hub {
    Hub {
        store: Store::start(dir.path().join("m.db")).unwrap(),
        supervisor: Arc::new(Two),
    }
}

fn unit(name: &str) -> UnitName {
    name.parse().unwrap()
}

fn connect(hub: &Hub, name: &str, groups: &[&str]) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    tokio::spawn(converse(
        Server::new(hub.clone(), unit(name), &groups),
        unit(name),
        theirs,
    ));
    ours
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn every_tool_answers_and_lists_itself_well() {
    let dir = tempfile::tempdir().unwrap();
    block(async {
        let (mut client, hello) =
            Client::hello(connect(&hub(&dir), "a.agent", &["memory", "agents"])).await;
        assert!(hello["result"]["instructions"].as_str().unwrap().len() < 2048);
        assert_eq!(hello["result"]["serverInfo"]["name"], "aether");
        let list = client.request("tools/list", json!({})).await;
        let tools = list["result"]["tools"].as_array().unwrap();
        let names: Vec<_> = tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["forget", "get_status", "list_agents", "recall", "remember"]
        );
        assert!(!list.to_string().contains("\"format\""), "{list}");
        for tool in tools {
            let reads = !matches!(tool["name"].as_str().unwrap(), "remember" | "forget");
            assert_eq!(tool["annotations"]["readOnlyHint"], reads, "{tool}");
            assert!(tool["description"].as_str().unwrap().len() < 2048);
            assert_eq!(tool["inputSchema"]["type"], "object");
            assert!(tool.get("outputSchema").is_none());
        }
        let text = "Zoë 🚀 deploys 東京 \"quoted\"\nline";
        let written = client
            .call(
                "remember",
                json!({"text": text, "tags": ["ops"], "importance": 7}),
            )
            .await
            .unwrap();
        let found = client
            .call("recall", json!({"query": "zoe deploys"}))
            .await
            .unwrap();
        assert_eq!(found["memories"][0]["id"], written["id"]);
        assert_eq!(found["memories"][0]["text"], text);
        let gone = client
            .call("forget", json!({"id": written["id"]}))
            .await
            .unwrap();
        assert_eq!(gone["forgotten"], written["id"]);
        let agents = client.call("list_agents", json!({})).await.unwrap();
        assert_eq!(
            (&agents["you"], &agents["agents"][1]["name"]),
            (&json!("a.agent"), &json!("other.agent"))
        );
        let own = client.call("get_status", json!({})).await.unwrap();
        assert_eq!(
            (&own["name"], &own["memory_max"]),
            (&json!("a.agent"), &json!(1 << 28))
        );
        let other = client
            .call("get_status", json!({"unit": "other"}))
            .await
            .unwrap();
        assert_eq!(other["name"], "other.agent");
    });
}

#[test]
fn what_a_model_can_mend_is_told_as_text() {
    let dir = tempfile::tempdir().unwrap();
    block(async {
        let (mut client, _) =
            Client::hello(connect(&hub(&dir), "a.agent", &["memory", "agents"])).await;
        for (tool, arguments, word) in [
            ("remember", json!({}), "text"),
            ("remember", json!({"text": ""}), "empty"),
            (
                "remember",
                json!({"text": "x".repeat(16 * 1024 + 1)}),
                "16384",
            ),
            (
                "remember",
                json!({"text": "x", "tags": vec!["t"; 17]}),
                "17 tags",
            ),
            (
                "remember",
                json!({"text": "x", "importance": 11}),
                "importance",
            ),
            (
                "remember",
                json!({"text": "x", "layer": "dreams"}),
                "dreams",
            ),
            (
                "remember",
                json!({"text": "x", "unit": "b.agent"}),
                "unknown field",
            ),
            (
                "remember",
                json!({"text": "x", "supersedes": "nope"}),
                "nope",
            ),
            ("recall", json!({"query": "x", "limit": 51}), "limit"),
            ("recall", json!({"query": "x".repeat(5000)}), "query"),
            (
                "forget",
                json!({"id": "01ARYZ6S410000000000000000"}),
                "no memory",
            ),
            (
                "forget",
                json!({"id": "x", "reason": "y".repeat(600)}),
                "reason",
            ),
            ("get_status", json!({"unit": "a/b"}), "a/b"),
            ("get_status", json!({"unit": "gone.agent"}), "gone.agent"),
        ] {
            let error = client.call(tool, arguments.clone()).await.unwrap_err();
            assert!(error.contains(word), "{tool} {arguments}: {error}");
        }
    });
}

#[test]
fn only_the_groups_of_the_unit_are_offered() {
    let dir = tempfile::tempdir().unwrap();
    block(async {
        for (groups, count) in [
            (&["status"][..], 1),
            (&["memory"], 3),
            (&["skills"], 0),
            (&["status", "agents"], 2),
        ] {
            let (mut client, _) = Client::hello(connect(&hub(&dir), "a.agent", groups)).await;
            let list = client.request("tools/list", json!({})).await;
            assert_eq!(
                list["result"]["tools"].as_array().unwrap().len(),
                count,
                "{groups:?}"
            );
            if count == 1 {
                let answer = client
                    .request(
                        "tools/call",
                        json!({"name": "recall", "arguments": {"query": "x"}}),
                    )
                    .await;
                assert_eq!(answer["error"]["code"], -32602, "{answer}");
            }
        }
    });
}

#[test]
fn a_missing_database_is_an_answer() {
    block(async {
        let store = Store::start("/nonexistent/m.db".into()).unwrap();
        let hub = Hub {
            store,
            supervisor: Arc::new(Two),
        };
        let (mut client, _) = Client::hello(connect(&hub, "a.agent", &["memory", "agents"])).await;
        let error = client
            .call("recall", json!({"query": "x"}))
            .await
            .unwrap_err();
        assert!(
            error.contains("/nonexistent/m.db") && error.contains("No such file"),
            "{error}"
        );
        assert!(client.call("list_agents", json!({})).await.is_ok());
    });
}

#[test]
fn a_long_result_is_cut_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    block(async {
        let (mut client, _) = Client::hello(connect(&hub(&dir), "a.agent", &["memory"])).await;
        for number in 0..6 {
            let text = format!("{number} {}", "word ".repeat(3000));
            client
                .call("remember", json!({"text": text}))
                .await
                .unwrap();
        }
        let found = client
            .call("recall", json!({"query": "word", "limit": 6}))
            .await
            .unwrap();
        assert_eq!(found["memories"].as_array().unwrap().len(), 3);
        assert!(found["left_out"].as_str().unwrap().starts_with("3 more"));
    });
}

#[test]
fn an_overlong_line_and_garbage_do_not_end_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    block(async {
        let (mut client, _) = Client::hello(connect(&hub(&dir), "a.agent", &["memory"])).await;
        let long = json!({"jsonrpc": "2.0", "id": 99, "method": "ping", "params": {"x": "y".repeat(MAX_LINE)}});
        client.send(&long.to_string()).await;
        client.send("not json at all").await;
        client.send("").await;
        assert!(client.call("recall", json!({"query": "x"})).await.is_ok());
    });
}

#[test]
fn a_peer_that_never_reads_is_not_read_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    block(async {
        let hub = hub(&dir);
        let (mut writer, _) = Client::hello(connect(&hub, "a.agent", &["memory"])).await;
        for number in 0..4 {
            let text = format!("{number} {}", "long ".repeat(3000));
            writer
                .call("remember", json!({"text": text}))
                .await
                .unwrap();
        }
        let (mut client, _) = Client::hello(connect(&hub, "a.agent", &["memory"])).await;
        // Each answer has 45 KiB; whatever is taken beyond the limit would be kept in memory.
        let ask = json!({"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": {"name": "recall",
            "arguments": {"query": format!("long {}", "x".repeat(3000))}}});
        let mut sent = 0;
        loop {
            sent += 1;
            let mut ask = ask.clone();
            ask["id"] = json!(format!("n{sent}"));
            let line = ask.to_string();
            let sending = client.send(&line);
            if tokio::time::timeout(Duration::from_secs(1), sending)
                .await
                .is_err()
            {
                break;
            }
            assert!(sent < 40 * MAX_IN_FLIGHT, "everything was read");
        }
        // Others are served meanwhile.
        assert!(
            writer
                .call("recall", json!({"query": "long", "limit": 1}))
                .await
                .is_ok()
        );
    });
}

#[test]
fn peers_of_other_units_are_closed_and_connections_counted() {
    let dir = tempfile::tempdir().unwrap();
    block(async {
        let path = |name: &str| dir.path().join(name);
        let (send, changes) = mpsc::channel(4);
        // Every peer is of a.agent, except on the socket of nobody.agent.
        let nobody = path("nobody.agent");
        let identify = Arc::new(move |stream: &UnixStream| {
            let address = stream.local_addr()?;
            Ok((address.as_pathname() != Some(&nobody)).then(|| unit("a.agent")))
        });
        tokio::spawn(run(hub(&dir), identify, changes));
        for name in ["a.agent", "b.agent", "nobody.agent"] {
            let socket = UnixListener::bind(path(name)).unwrap();
            send.send(Change::Listen {
                unit: unit(name),
                socket,
                tools: vec!["memory".into()],
            })
            .await
            .unwrap();
        }
        for name in ["b.agent", "nobody.agent"] {
            let mut client = Client::new(UnixStream::connect(path(name)).await.unwrap());
            assert_eq!(client.line().await, None, "{name} was served");
        }
        let mut clients = vec![];
        for _ in 0..MAX_CONNECTIONS {
            clients.push(
                Client::hello(UnixStream::connect(path("a.agent")).await.unwrap())
                    .await
                    .0,
            );
        }
        let mut one_more = Client::new(UnixStream::connect(path("a.agent")).await.unwrap());
        assert_eq!(one_more.line().await, None);
        assert!(
            clients[0]
                .call("recall", json!({"query": "x"}))
                .await
                .is_ok()
        );
        send.send(Change::Unlisten {
            unit: unit("a.agent"),
        })
        .await
        .unwrap();
        assert_eq!(clients[0].line().await, None);
        assert!(UnixStream::connect(path("a.agent")).await.is_err());
    });
}
