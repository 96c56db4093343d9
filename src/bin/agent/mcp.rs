//! An MCP client in one page: the bridge as a child, one JSON-RPC line out, lines in until the
//! answer comes. Enough for an agent that makes one call at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// One session with the unit's MCP server.
pub(crate) struct Session {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    last: u64,
}

impl Session {
    /// Starts the bridge and shakes hands; also returns the server's name and version.
    pub(crate) fn open(bridge: &str, socket: &str) -> Result<(Self, String), String> {
        let mut child = Command::new(bridge)
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("failed to start {bridge}: {error}"))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the bridge has no pipes".to_owned());
        };
        let mut session = Self {
            child,
            to: Some(to),
            from: BufReader::new(from),
            last: 0,
        };
        let hello = session.request(
            "initialize",
            &json!({"protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": {"name": "aether-agent", "version": env!("CARGO_PKG_VERSION")}}),
        )?;
        session.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        let text = |key: &str| hello["serverInfo"][key].as_str().unwrap_or("?").to_owned();
        let name = format!("{} {}", text("name"), text("version"));
        Ok((session, name))
    }

    fn send(&mut self, message: &Value) -> Result<(), String> {
        let gone = |error: std::io::Error| format!("the bridge is gone: {error}");
        let to = self.to.as_mut().ok_or("the session is closed")?;
        to.write_all(format!("{message}\n").as_bytes())
            .map_err(gone)
    }

    /// One request and its result.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        self.last += 1;
        let id = self.last;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        let mut line = String::new();
        loop {
            line.clear();
            match self.from.read_line(&mut line) {
                Ok(0) => return Err("the bridge ended".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("the bridge cannot be read: {error}")),
            }
            let Ok(mut message) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if message["id"] != json!(id) {
                continue;
            }
            if let Some(text) = message["error"]["message"].as_str() {
                return Err(text.to_owned());
            }
            return Ok(message["result"].take());
        }
    }

    /// One tool call: the JSON in its text, or the text of the error.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value, String> {
        let result = self.request("tools/call", &json!({"name": tool, "arguments": arguments}))?;
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        if result["isError"] == json!(true) {
            return Err(text.to_owned());
        }
        serde_json::from_str(text).map_err(|error| format!("{tool} answered no JSON: {error}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The end of its input is the bridge's sign to leave.
        self.to = None;
        let _ = self.child.wait();
    }
}
