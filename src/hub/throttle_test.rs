use super::*;
use crate::hub::serve::converse;
use rmcp::ServerHandler;
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// More than a socket holds, so that a reply nobody reads is never written.
const REPLY: usize = 1024 * 1024;

/// A service whose calls say that they have begun, and end when they may.
#[derive(Clone)]
struct Slow {
    begun: mpsc::UnboundedSender<()>,
    go: Arc<Semaphore>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Slow {
    fn new() -> (Self, mpsc::UnboundedReceiver<()>) {
        let (begun, begins) = mpsc::unbounded_channel();
        let slow = Self {
            begun,
            go: Arc::new(Semaphore::new(0)),
            now: Arc::default(),
            most: Arc::default(),
        };
        (slow, begins)
    }
}

impl ServerHandler for Slow {
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, McpError> {
        assert!(request.name != "broken", "a broken handler");
        if request.name != "slow" {
            return Err(McpError::invalid_params(
                request.name.clone(),
                Some(json!(request.name)),
            ));
        }
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.begun.send(()).unwrap();
        self.go.acquire().await.unwrap().forget();
        self.now.fetch_sub(1, Ordering::SeqCst);
        let text = ContentBlock::text("x".repeat(REPLY));
        Ok(CallToolResult::success(vec![text]).into())
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    async fn hello(service: Slow) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(converse(service, "a.agent".parse().unwrap(), theirs));
        let mut client = Self(BufReader::new(ours));
        let hello = json!({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params":
            {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
        client.send(&[hello]).await;
        assert_eq!(client.line().await.unwrap()["id"], "hello");
        client
    }

    async fn send(&mut self, messages: &[Value]) {
        let text: String = messages.iter().map(|one| format!("{one}\n")).collect();
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
        }
    }

    /// There and back so often that everything else that could run has run.
    async fn settle(&mut self) {
        for number in 0..50 {
            let ping = json!({"jsonrpc": "2.0", "id": number, "method": "ping"});
            self.send(&[ping]).await;
            assert_eq!(self.line().await.unwrap()["id"], number);
        }
    }
}

fn call(id: impl Into<Value>, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": {"name": tool}})
}

#[tokio::test]
async fn a_cancelled_request_counts_until_its_reply_is_written() {
    const CALLS: usize = 100;
    let (slow, mut begins) = Slow::new();
    let mut client = Client::hello(slow.clone()).await;
    let mut other = Client::hello(slow.clone()).await;
    let messages: Vec<Value> = (0..CALLS)
        .flat_map(|id| {
            let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
            [call(id, "slow"), cancelled]
        })
        .collect();
    client.send(&messages).await;
    for _ in 0..MAX_IN_FLIGHT {
        begins.recv().await.unwrap();
    }
    other.settle().await;
    assert!(begins.try_recv().is_err(), "more began before any ended");
    slow.go.add_permits(CALLS);
    other.settle().await;
    assert_eq!(slow.now.load(Ordering::SeqCst), 0);
    assert!(begins.try_recv().is_err(), "more began before any was read");
    // Who reads gets everything.
    for _ in 0..CALLS {
        let reply = client.line().await.unwrap();
        assert!(reply["result"].is_object(), "{reply}");
    }
    assert!(slow.most.load(Ordering::SeqCst) <= MAX_IN_FLIGHT);
}

#[tokio::test]
async fn two_requests_with_one_id_end_the_connection() {
    let (slow, mut begins) = Slow::new();
    let mut client = Client::hello(slow.clone()).await;
    let mut other = Client::hello(slow.clone()).await;
    client.send(&vec![call(7, "slow"); 100]).await;
    begins.recv().await.unwrap();
    other.settle().await;
    assert!(begins.try_recv().is_err(), "the second one began as well");
    slow.go.add_permits(100);
    assert_eq!(client.line().await.unwrap()["id"], 7);
    assert_eq!(client.line().await, None);
    assert!(begins.try_recv().is_err());
    // One after the other is how some clients count.
    for _ in 0..2 {
        other.send(&[call(7, "slow")]).await;
        assert_eq!(other.line().await.unwrap()["id"], 7);
    }
}

#[tokio::test]
async fn what_was_never_answered_gives_its_place_back() {
    let (slow, _begins) = Slow::new();
    let mut client = Client::hello(slow.clone()).await;
    let broken: Vec<Value> = (0..3 * MAX_IN_FLIGHT)
        .map(|id| call(id, "broken"))
        .collect();
    client.send(&broken).await;
    client.settle().await;
}

#[tokio::test]
async fn what_a_client_says_is_not_kept_or_repeated_at_length() {
    let (slow, _begins) = Slow::new();
    let mut client = Client::hello(slow.clone()).await;
    client.send(&[call(1, &"é".repeat(100_000))]).await;
    let complaint = client.line().await.unwrap();
    assert_eq!(complaint["error"]["code"], -32602);
    assert!(complaint.to_string().len() < 2 * MAX_COMPLAINT);
    client.send(&[call("i".repeat(MAX_ID), "unknown")]).await;
    assert_eq!(
        client.line().await.unwrap()["error"]["data"],
        json!("unknown")
    );
    client
        .send(&[call("i".repeat(MAX_ID + 1), "unknown")])
        .await;
    assert_eq!(client.line().await, None);
    let said: InitializeRequestParams = serde_json::from_value(json!({
        "_meta": {"x": "y".repeat(9999)}, "protocolVersion": "2025-11-25",
        "capabilities": {"experimental": {"x": {"y": [1, 2, 3]}}},
        "clientInfo": {"name": "n".repeat(9999), "version": "v", "title": "t".repeat(9999)},
    }))
    .unwrap();
    let kept = serde_json::to_string(&essence(&said)).unwrap();
    assert!(kept.len() < 300 && kept.contains("2025-11-25"), "{kept}");
}
