//! A scripted Messages API on loopback: what a model would say, turn by turn.
//!
//! Each [`Turn`] is one answer and what must be true of the request that asks for it. A broken
//! expectation is recorded, told to the program as text so that it ends soon, and fails
//! [`Model::verify`]. Requests without tools (titles, probes) are answered "ok" and use up no turn.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take before a test fails rather than hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Largest request, in bytes; the first of a session has about 80 kB.
const MAX_BODY: usize = 16 << 20;

/// One answer, with what must be true of the request.
#[derive(Debug)]
pub(crate) struct Turn {
    answer: Answer,
    expect: Vec<Expect>,
}

#[derive(Debug)]
enum Answer {
    Text(String),
    Tool {
        name: String,
        input: Value,
    },
    Slow {
        text: String,
        pieces: usize,
        over: Duration,
    },
    Gated {
        text: String,
        gate: Gate,
    },
    Error {
        status: u16,
        kind: String,
    },
}

#[derive(Debug)]
enum Expect {
    User(String),
    Told(String),
    Result { part: String, is_error: bool },
    Offers(String),
    Lacks(String),
}

impl Turn {
    fn new(answer: Answer) -> Self {
        Self {
            answer,
            expect: vec![],
        }
    }

    /// The model says this.
    pub(crate) fn text(text: &str) -> Self {
        Self::new(Answer::Text(text.into()))
    }

    /// The model calls the first offered tool whose name ends so.
    pub(crate) fn tool(name: &str, input: Value) -> Self {
        let name = name.into();
        Self::new(Answer::Tool { name, input })
    }

    /// The model says this in so many pieces over so long a time.
    pub(crate) fn slow(text: &str, pieces: usize, over: Duration) -> Self {
        let text = text.into();
        Self::new(Answer::Slow { text, pieces, over })
    }

    /// The model says the first half, and the rest once the gate is opened.
    pub(crate) fn gated(text: &str, gate: &Gate) -> Self {
        let (text, gate) = (text.into(), gate.clone());
        Self::new(Answer::Gated { text, gate })
    }

    /// The service answers with this status and kind of error.
    pub(crate) fn error(status: u16, kind: &str) -> Self {
        let kind = kind.into();
        Self::new(Answer::Error { status, kind })
    }

    /// The text said since the model's last words holds this.
    pub(crate) fn expect_user(self, part: &str) -> Self {
        self.and(Expect::User(part.into()))
    }

    /// Somewhere in all that the model reads stands this: instructions, reminders, conversation.
    pub(crate) fn expect_told(self, part: &str) -> Self {
        self.and(Expect::Told(part.into()))
    }

    /// A tool result since the model's last words holds this, as a success or as an error.
    pub(crate) fn expect_result(self, part: &str, is_error: bool) -> Self {
        let part = part.into();
        self.and(Expect::Result { part, is_error })
    }

    /// A tool whose name ends so is offered.
    pub(crate) fn expect_offered(self, suffix: &str) -> Self {
        self.and(Expect::Offers(suffix.into()))
    }

    /// No tool whose name ends so is offered.
    pub(crate) fn expect_lacking(self, suffix: &str) -> Self {
        self.and(Expect::Lacks(suffix.into()))
    }

    fn and(mut self, expect: Expect) -> Self {
        self.expect.push(expect);
        self
    }
}

/// Holds a stream in its middle until the test opens it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    reached: bool,
    open: bool,
}

impl Gate {
    /// Waits until a stream stands before it.
    pub(crate) fn reached(&self) {
        let waited = self.wait(|state| state.reached);
        assert!(waited, "no stream came to the gate");
    }

    /// Lets the stream go on.
    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().open = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        self.0.0.lock().unwrap().reached = true;
        self.0.1.notify_all();
        self.wait(|state| state.open);
    }

    fn wait(&self, done: impl Fn(&GateState) -> bool) -> bool {
        let state = self.0.0.lock().unwrap();
        let (state, _) = self
            .0
            .1
            .wait_timeout_while(state, PATIENCE, |s| !done(s))
            .unwrap();
        done(&state)
    }
}

/// One request that asked for a turn.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// What was said since the model's last words, reminders of the program left out.
    pub(crate) user: String,
    /// Tool results since then: text, and whether it is an error.
    pub(crate) results: Vec<(String, bool)>,
    /// Names of the tools offered.
    pub(crate) tools: Vec<String>,
    /// The session the program names in a header.
    pub(crate) session: Option<String>,
    /// All of it.
    pub(crate) body: Value,
}

/// The running service; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Model {
    shared: Arc<Shared>,
    address: SocketAddr,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    turns: VecDeque<Turn>,
    gates: Vec<Gate>,
    requests: Vec<Request>,
    failures: Vec<String>,
    streams: Vec<TcpStream>,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|broken| broken.into_inner())
    }
}

impl Model {
    /// Listens on a free port of loopback and plays these turns.
    pub(crate) fn start(turns: Vec<Turn>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gates = turns.iter().filter_map(|turn| match &turn.answer {
            Answer::Gated { gate, .. } => Some(gate.clone()),
            _ => None,
        });
        let state = State {
            gates: gates.collect(),
            turns: turns.into(),
            ..State::default()
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let listener = thread::spawn(move || accept(&listener, &own));
        Self {
            shared,
            address,
            listener: Some(listener),
        }
    }

    /// What `ANTHROPIC_BASE_URL` is to be.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far that asked for a turn.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Waits for so many of them.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Request> {
        let state = self.shared.lock();
        let few = |state: &mut State| state.requests.len() < count;
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, few);
        let requests = waited.unwrap().0.requests.clone();
        assert!(
            requests.len() >= count,
            "{} requests of {count}",
            requests.len()
        );
        requests
    }

    /// Every turn was asked for, no more than those, and each as expected.
    pub(crate) fn verify(&self) {
        let state = self.shared.lock();
        assert!(state.failures.is_empty(), "{:#?}", state.failures);
        assert!(
            state.turns.is_empty(),
            "turns nobody asked for: {:#?}",
            state.turns
        );
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.ended = true;
            for gate in &state.gates {
                gate.open();
            }
            for stream in &state.streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections = vec![];
    for stream in listener.incoming().flatten() {
        {
            let mut state = shared.lock();
            if state.ended {
                break;
            }
            state.streams.push(stream.try_clone().unwrap());
        }
        let shared = Arc::clone(shared);
        // A client that goes away in the middle is no failure of the script.
        connections.push(thread::spawn(move || drop(serve(&stream, &shared))));
    }
    for connection in connections {
        let _ = connection.join();
    }
}

/// Serves one connection until the client closes it.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let path = words.next().unwrap_or_default().to_owned();
        let path = path.split('?').next().unwrap_or_default();
        let (mut length, mut session) = (0, None);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "x-claude-code-session-id" => session = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        assert!(length <= MAX_BODY, "a request of {length} bytes");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (method.as_str(), path) {
            ("POST", "/v1/messages/count_tokens") => {
                reply(&mut writer, 200, &json!({"input_tokens": 10}))?;
            }
            ("POST", "/v1/messages") => message(&mut writer, shared, body, session)?,
            // The preflight; it may get any status, and as HEAD no body.
            ("HEAD", _) => write!(
                writer,
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
            )?,
            _ => reply(&mut writer, 404, &error_body("not_found_error", path))?,
        }
    }
}

fn message(
    writer: &mut impl Write,
    shared: &Shared,
    body: Value,
    session: Option<String>,
) -> io::Result<()> {
    let request = read(body, session);
    let streamed = request.body["stream"] == true;
    let model = request.body["model"].clone();
    if request.tools.is_empty() {
        return say(writer, streamed, &model, &["ok"], |_| {});
    }
    let answer = take(shared, request);
    match answer {
        Answer::Text(text) => say(writer, streamed, &model, &[&text], |_| {}),
        Answer::Slow { text, pieces, over } => {
            let size = text.chars().count().div_ceil(pieces.max(1)).max(1);
            let chars: Vec<char> = text.chars().collect();
            let parts: Vec<String> = chars
                .chunks(size)
                .map(|part| part.iter().collect())
                .collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let pause = over / u32::try_from(parts.len().max(1)).unwrap_or(1);
            say(writer, streamed, &model, &parts, |_| thread::sleep(pause))
        }
        Answer::Gated { text, gate } => {
            let middle = text.char_indices().nth(text.chars().count() / 2);
            let (first, rest) = text.split_at(middle.map_or(0, |(at, _)| at));
            say(writer, streamed, &model, &[first, rest], |piece| {
                if piece == 1 {
                    gate.pass();
                }
            })
        }
        Answer::Error { status, kind } => reply(writer, status, &error_body(&kind, "scripted")),
        Answer::Tool { name, input } => {
            let id = format!("toolu_{:08}", shared.lock().requests.len());
            let start = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
            let delta = json!({"type": "input_json_delta", "partial_json": input.to_string()});
            let mut whole = start.clone();
            whole["input"] = input;
            send(
                writer,
                streamed,
                &model,
                "tool_use",
                &start,
                &[delta],
                &whole,
                |_| {},
            )
        }
    }
}

/// What matters of a request.
fn read(body: Value, session: Option<String>) -> Request {
    let none = vec![];
    let messages = body["messages"].as_array().unwrap_or(&none);
    let last = messages
        .iter()
        .rposition(|message| message["role"] == "assistant");
    let since = &messages[last.map_or(0, |at| at + 1)..];
    let (mut user, mut results) = (vec![], vec![]);
    for message in since {
        // A message sent while the model was at work comes in the role "system".
        if let Some(text) = message["content"].as_str() {
            user.push(text.to_owned());
        }
        for block in message["content"].as_array().unwrap_or(&none) {
            match block["type"].as_str() {
                Some("text") => user.push(block["text"].as_str().unwrap_or_default().to_owned()),
                Some("tool_result") => {
                    results.push((plain(&block["content"]), block["is_error"] == true));
                }
                _ => {}
            }
        }
    }
    user.retain(|text| !text.starts_with("<system-reminder>"));
    let tools = body["tools"].as_array().unwrap_or(&none);
    let tools = tools
        .iter()
        .filter_map(|tool| tool["name"].as_str().map(str::to_owned));
    Request {
        user: user.join("\n"),
        results,
        tools: tools.collect(),
        session,
        body,
    }
}

fn plain(content: &Value) -> String {
    match content.as_array() {
        Some(blocks) => {
            let texts: Vec<&str> = blocks.iter().filter_map(|b| b["text"].as_str()).collect();
            texts.join("\n")
        }
        None => content.as_str().unwrap_or_default().to_owned(),
    }
}

/// The next turn's answer, with tool names made whole and expectations checked.
fn take(shared: &Shared, request: Request) -> Answer {
    let mut state = shared.lock();
    let number = state.requests.len();
    let mut failures = vec![];
    let mut answer = match state.turns.pop_front() {
        Some(turn) => {
            failures.extend(
                turn.expect
                    .iter()
                    .filter_map(|expect| broken(expect, &request)),
            );
            turn.answer
        }
        None => {
            failures.push(format!("the script has ended; said was {:?}", request.user));
            Answer::Text(String::new())
        }
    };
    if let Answer::Tool { name, .. } = &mut answer {
        match request
            .tools
            .iter()
            .find(|tool| tool.ends_with(name.as_str()))
        {
            Some(tool) => tool.clone_into(name),
            None => failures.push(format!("no tool {name:?} among {:?}", request.tools)),
        }
    }
    if !failures.is_empty() {
        let text = format!("request {number}: {}", failures.join("; "));
        answer = Answer::Text(format!("EXPECTATION BROKEN: {text}"));
        state.failures.push(text);
    }
    state.requests.push(request);
    shared.changed.notify_all();
    answer
}

fn broken(expect: &Expect, request: &Request) -> Option<String> {
    let offered = |suffix: &String| request.tools.iter().any(|tool| tool.ends_with(suffix));
    let kept = match expect {
        Expect::User(part) => request.user.contains(part),
        Expect::Told(part) => {
            holds(&request.body["system"], part) || holds(&request.body["messages"], part)
        }
        Expect::Result { part, is_error } => {
            let mut results = request.results.iter();
            results.any(|(text, error)| text.contains(part) && error == is_error)
        }
        Expect::Offers(suffix) => offered(suffix),
        Expect::Lacks(suffix) => !offered(suffix),
    };
    let Request {
        user,
        results,
        tools,
        ..
    } = request;
    (!kept).then(|| format!("{expect:?} is not so: {user:?}, {results:?}, {tools:?}"))
}

/// Whether a text anywhere in the value holds this.
fn holds(value: &Value, part: &str) -> bool {
    match value {
        Value::String(text) => text.contains(part),
        Value::Array(values) => values.iter().any(|value| holds(value, part)),
        Value::Object(fields) => fields.values().any(|value| holds(value, part)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn say(
    writer: &mut impl Write,
    streamed: bool,
    model: &Value,
    parts: &[&str],
    before: impl Fn(usize),
) -> io::Result<()> {
    let start = json!({"type": "text", "text": ""});
    let deltas: Vec<Value> = parts
        .iter()
        .map(|part| json!({"type": "text_delta", "text": part}))
        .collect();
    let whole = json!({"type": "text", "text": parts.concat()});
    send(
        writer, streamed, model, "end_turn", &start, &deltas, &whole, before,
    )
}

/// One content block as an answer, streamed or at once. Every answer costs 1000 + 200 tokens.
#[expect(
    clippy::too_many_arguments,
    reason = "one place for both forms of an answer"
)]
fn send(
    writer: &mut impl Write,
    streamed: bool,
    model: &Value,
    stop: &str,
    start: &Value,
    deltas: &[Value],
    whole: &Value,
    before: impl Fn(usize),
) -> io::Result<()> {
    let mut message = json!({
        "id": "msg_scripted", "type": "message", "role": "assistant", "model": model,
        "content": [whole], "stop_reason": stop, "stop_sequence": null,
        "usage": {"input_tokens": 1000, "output_tokens": 200},
    });
    if !streamed {
        (0..deltas.len()).for_each(before);
        return reply(writer, 200, &message);
    }
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    write!(
        writer,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )?;
    event(
        writer,
        &json!({"type": "message_start", "message": message}),
    )?;
    event(
        writer,
        &json!({"type": "content_block_start", "index": 0, "content_block": start}),
    )?;
    for (number, delta) in deltas.iter().enumerate() {
        before(number);
        event(
            writer,
            &json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        )?;
    }
    event(writer, &json!({"type": "content_block_stop", "index": 0}))?;
    let delta = json!({"stop_reason": stop, "stop_sequence": null});
    let usage = json!({"output_tokens": 200});
    event(
        writer,
        &json!({"type": "message_delta", "delta": delta, "usage": usage}),
    )?;
    event(writer, &json!({"type": "message_stop"}))?;
    write!(writer, "0\r\n\r\n")
}

fn event(writer: &mut impl Write, data: &Value) -> io::Result<()> {
    let kind = data["type"].as_str().unwrap_or_default();
    let text = format!("event: {kind}\ndata: {data}\n\n");
    write!(writer, "{:x}\r\n{text}\r\n", text.len())?;
    writer.flush()
}

fn reply(writer: &mut impl Write, status: u16, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    write!(
        writer,
        "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

fn error_body(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

/// Waits for a condition of the test's own, by a deadline; for what has no event to wait for.
pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}
