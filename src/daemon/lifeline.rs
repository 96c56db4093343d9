//! From birth to burial: a process appears, its stage reports, it speaks, it ends.
//!
//! The order matters at the end: a death is told to the engine only after the stage's report and
//! everything the process wrote have been read, because the verdict depends on the last line.

use std::os::fd::AsFd;
use std::sync::Arc;

use serde_json::json;

use crate::bus::ask::Signal;
use crate::daemon::hands::{Born, Made};
use crate::daemon::output::Source;
use crate::daemon::record::Stream;
use crate::daemon::{Daemon, Occurrence, Process, Report};
use crate::engine::event::{Event, ExitStatus, Role, SpawnId};
use crate::name::{UnitName, UnitType};
use crate::plan::{Enforcement, Failure, Report as Told};
use crate::runtime::AgentEvent;
use crate::runtime::stream::{encode_input, encode_permission_denied};
use crate::sys::process::{self, ReportReader, signal_name};
use crate::sys::{clock, ready, socket};

/// How much of an event's text goes over the bus and into the event log.
const SUMMARY: usize = 200;

impl Daemon {
    pub(super) fn take_born(&mut self, unit: UnitName, spawn: SpawnId, role: Role, born: Born) {
        let Born {
            child,
            start_time,
            report,
            made,
        } = born;
        let pidfd = Arc::new(child.pidfd);
        let socket = Arc::new(report);
        self.keep_made(&unit, role, made);
        self.track(&unit, child.pid, start_time);
        let report = Report {
            socket: Arc::clone(&socket),
            reader: ReportReader::default(),
            confined: None,
        };
        let process = Process {
            unit: unit.clone(),
            role,
            pid: child.pid,
            start_time,
            pidfd: Arc::clone(&pidfd),
            report: Some(report),
            failed: false,
            adopted: false,
            foreign: false,
            ended: None,
        };
        self.processes.insert(spawn, process);
        self.feed(Event::Spawned {
            unit: unit.clone(),
            spawn,
            pid: child.pid,
        });
        self.watch_process(spawn, pidfd);
        let sender = self.occurrences.clone();
        tokio::spawn(async move {
            let Ok(copy) = socket.try_clone() else { return };
            let Ok(ready) = ready::watch(copy, tokio::io::Interest::READABLE) else {
                return;
            };
            // One report in the ordinary case, then the end: the loop reads, we only watch.
            while let Ok(mut guard) = ready.readable().await {
                guard.clear_ready();
                if sender.send(Occurrence::Reported(spawn)).await.is_err() {
                    return;
                }
                if Arc::strong_count(&socket) == 1 {
                    return;
                }
            }
        });
        let emptying = self.held.get_mut(&unit).is_some_and(|held| {
            held.starting = held.starting.saturating_sub(1);
            held.emptying
        });
        if emptying {
            // It was born into a group that is being emptied.
            self.kill_group(&unit);
            self.look_again(&unit);
        }
    }

    /// Tells the loop when a process has ended.
    pub(super) fn watch_process(&self, spawn: SpawnId, pidfd: Arc<std::os::fd::OwnedFd>) {
        let sender = self.occurrences.clone();
        tokio::spawn(async move {
            let Ok(copy) = pidfd.try_clone() else { return };
            if let Ok(ready) = ready::watch(copy, tokio::io::Interest::READABLE) {
                let _ = ready.readable().await;
                let _ = sender.send(Occurrence::Died(spawn)).await;
            }
        });
    }

    /// Keeps what a start made, in our hands and in the store.
    fn keep_made(&mut self, unit: &UnitName, role: Role, made: Made) {
        let files = self.log_files(unit);
        let mut open = vec![];
        let main = matches!(role, Role::Main(_));
        if let Some(held) = self.held.get_mut(unit) {
            held.uid = Some(made.uid);
            for text in made.missing {
                if !held.missing.contains(&text) {
                    held.missing.push(text);
                }
            }
        }
        if held_group_missing(self.held.get(unit).map(Box::as_ref)) {
            self.watch_group(unit, made.shortage);
        } else if made.rewatch {
            self.watch_group_again(unit);
        }
        let structured = made.structured;
        for (name, stream, pair) in [
            ("out", Stream::Stdout, made.stdout),
            ("err", Stream::Stderr, made.stderr),
        ] {
            let Some((reader, writer)) = pair else {
                continue;
            };
            self.store(&format!("{name}.{unit}"), reader.as_fd());
            let lines = self.is_structured(unit);
            open.push(Source {
                pipe: reader,
                terminal: false,
                stream,
                lines,
                partial: vec![],
            });
            if let Some(held) = self.held.get_mut(unit) {
                match stream {
                    Stream::Stdout => held.stdout = Some(writer),
                    _ => held.stderr = Some(writer),
                }
            }
        }
        if let Some(master) = made.terminal {
            self.store(&format!("pty.{unit}"), master.as_fd());
            if let Some(held) = self.held.get_mut(unit) {
                held.stdin = master.try_clone().ok().map(Arc::new);
            }
            open.push(Source {
                pipe: master,
                terminal: true,
                stream: Stream::Stdout,
                lines: false,
                partial: vec![],
            });
        }
        for source in open {
            self.output.open(unit.clone(), source, files.clone());
        }
        if let Some(listener) = made.listener {
            self.store(&format!("mcp.{unit}"), listener.as_fd());
            if let Some(held) = self.held.get_mut(unit) {
                held.listener = Some(listener);
            }
            self.publish(Signal::ListenerNew(unit.clone()));
        }
        if main && unit.kind() == UnitType::Agent {
            let agent = self.agents.entry(unit.clone()).or_default();
            agent.begin(structured);
            if made.session.is_some() {
                agent.session = made.session;
            }
        }
        if let Some(stdin) = made.stdin {
            self.store(&format!("in.{unit}"), stdin.as_fd());
            if let Some(held) = self.held.get_mut(unit) {
                held.stdin = Some(Arc::new(stdin));
            }
        }
        if let Some(text) = made.first_input {
            let line = encode_input(&text);
            self.write_input(unit, None, line);
        }
    }

    /// Whether the unit's runtime writes structured output.
    pub(super) fn is_structured(&self, unit: &UnitName) -> bool {
        self.engine.definition(unit).is_some_and(|unit| {
            unit.agent.as_ref().is_some_and(|agent| {
                agent.runtime == crate::unit::RuntimeKind::ClaudeCode && !agent.terminal
            })
        })
    }

    pub(super) fn read_report(&mut self, spawn: SpawnId) {
        let Some(process) = self.processes.get_mut(spawn) else {
            return;
        };
        let unit = process.unit.clone();
        let Some(report) = process.report.as_mut() else {
            return;
        };
        let mut failure: Option<Failure> = None;
        let mut executed: Option<Enforcement> = None;
        let mut bytes = [0; 4096];
        loop {
            // The stage sends no descriptors; should it ever, they are closed here.
            match socket::receive(report.socket.as_fd(), &mut bytes, &mut vec![]) {
                Ok(0) => {
                    executed = report.confined.take();
                    process.report = None;
                    break;
                }
                Ok(count) => {
                    for said in report.reader.push(&bytes[..count]) {
                        match said {
                            Told::Confined(enforcement) => report.confined = Some(enforcement),
                            Told::Failed(found) => failure = Some(found),
                        }
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    failure.get_or_insert_with(|| Failure {
                        step: "spawn".to_owned(),
                        errno: error.raw_os_error().unwrap_or(0),
                        detail: format!("the stage's report cannot be read: {error}"),
                        help: None,
                    });
                    process.report = None;
                    break;
                }
            }
        }
        if let Some(failure) = failure {
            process.failed = true;
            self.fail_spawn(unit, spawn, failure);
        } else if let Some(enforcement) = executed {
            self.feed(Event::Executed {
                unit,
                spawn,
                enforcement,
            });
        }
    }

    /// A start has failed: into the log with everything known, and to the engine.
    pub(super) fn fail_spawn(&mut self, unit: UnitName, spawn: SpawnId, failure: Failure) {
        let mut text = format!("Failed at step {}: {}", failure.step, failure.detail);
        if let Some(help) = &failure.help {
            text.push_str(&format!(" (help: {help})"));
        }
        self.say(&unit, &text);
        self.feed(Event::SpawnFailed {
            unit,
            spawn,
            failure,
        });
    }

    /// A pidfd became readable: the process is dead.
    pub(super) fn bury(&mut self, spawn: SpawnId) {
        // What it said last is heard first: once it is reaped nobody can say who it was.
        self.read_notifications();
        self.read_report(spawn);
        let Some(process) = self.processes.get(spawn) else {
            return;
        };
        if process.ended.is_some() {
            return;
        }
        let status = if process.adopted {
            // Not our child. The keeper's obituary ends it, or its word that there is none; without
            // a keeper nobody can say how it ended.
            if self.ask_keeper(spawn) {
                return;
            }
            ExitStatus::Unknown
        } else {
            match process::wait(process.pidfd.as_fd()) {
                Ok(Some(status)) => status,
                Ok(None) => return self.watch_process(spawn, Arc::clone(&process.pidfd)),
                Err(error) => {
                    tracing::warn!("{}: cannot wait for {}: {error}", process.unit, process.pid);
                    ExitStatus::Unknown
                }
            }
        };
        self.end_process(spawn, status);
    }

    /// A process has ended like this: read the rest of its output before the engine hears of it.
    pub(super) fn end_process(&mut self, spawn: SpawnId, status: ExitStatus) {
        let Some(process) = self.processes.get_mut(spawn) else {
            return;
        };
        process.ended = Some(status);
        let unit = process.unit.clone();
        self.save(&unit);
        self.count_oom(&unit);
        self.output.drain(unit, spawn.0);
    }

    /// All output of a dead process has been handled: now its end is told.
    pub(super) fn conclude(&mut self, unit: &UnitName, token: u64) {
        let spawn = SpawnId(token);
        let Some(process) = self.processes.get(spawn) else {
            return;
        };
        let Some(status) = process.ended else { return };
        let (failed, role, pid) = (process.failed, process.role, process.pid);
        self.processes.remove(spawn);
        if !failed {
            let text = format!("{} {pid} {}", role_word(role), status_words(status));
            let files = self.log_files(unit);
            self.output.say(unit.clone(), Stream::Aether, text, files);
            let verdict = matches!(role, Role::Main(_))
                .then(|| self.agents.get(unit)?.verdict(status))
                .flatten();
            self.record(
                unit,
                "exit",
                json!({ "pid": pid, "status": status, "verdict": verdict }),
            );
            if matches!(role, Role::Main(_))
                && let Some(held) = self.held.get_mut(unit)
            {
                held.stdin = None;
                self.unstore("in", unit);
            }
            self.feed(Event::Exited {
                unit: unit.clone(),
                spawn,
                status,
                verdict,
            });
        }
        self.look_at_group(unit);
    }

    /// Lines of structured output: into events, for the log, the engine and the bus.
    pub(super) fn parse(&mut self, unit: &UnitName, stream: Stream, lines: Vec<Vec<u8>>) {
        if stream != Stream::Stdout {
            // Two failures of a session show nowhere but on standard error.
            if let Some(parser) = self
                .agents
                .get_mut(unit)
                .and_then(|agent| agent.parser.as_mut())
            {
                lines.iter().for_each(|line| parser.error_line(line));
            }
            return self.save(unit);
        }
        let now = clock::now();
        let files = self.log_files(unit);
        for line in lines {
            let Some(agent) = self.agents.get_mut(unit) else {
                return;
            };
            agent.parsed += 1;
            let Some(parser) = agent.parser.as_mut() else {
                continue;
            };
            let events = parser.line(&line);
            for event in events {
                let Some(agent) = self.agents.get_mut(unit) else {
                    return;
                };
                agent.note(&event, now.realtime);
                if let Ok(text) = serde_json::to_string(&event) {
                    self.output
                        .say(unit.clone(), Stream::Event, text, files.clone());
                }
                let mut answer = None;
                match &event {
                    AgentEvent::TurnEnded(result) => {
                        let result = result.clone();
                        self.queue.push_back(Event::TurnEnded {
                            unit: unit.clone(),
                            result,
                        });
                    }
                    AgentEvent::InputConsumed { .. } => {
                        agent.unanswered = agent.unanswered.saturating_sub(1);
                        self.queue
                            .push_back(Event::InputConsumed { unit: unit.clone() });
                        self.publisher
                            .publish(&Signal::InputConsumed { unit: unit.clone() });
                    }
                    AgentEvent::PermissionAsked { id, tool, .. } => {
                        answer = Some(encode_permission_denied(id, &refusal(tool)));
                        if let Some(parser) = agent.parser.as_mut() {
                            parser.answered(id);
                        }
                    }
                    _ => {}
                }
                let data = json!({ "event": summary(&event) });
                self.journal.append(now.realtime, Some(unit), "agent", data);
                let event = Arc::new(event);
                self.publisher.publish(&Signal::Activity {
                    unit: unit.clone(),
                    event,
                    at: now.realtime,
                });
                if let Some(line) = answer
                    && let Some(stdin) = self.held.get(unit).and_then(|held| held.stdin.clone())
                {
                    // Small and rare: it fits, or the agent is not reading and will be stopped.
                    let _ = crate::sys::pipe::write_some(stdin.as_fd(), &line);
                }
            }
        }
        self.save(unit);
    }
}

fn held_group_missing(held: Option<&super::Held>) -> bool {
    held.is_some_and(|held| held.group.is_none())
}

/// The event with its texts cut: the log has them whole.
fn summary(event: &AgentEvent) -> String {
    let mut text = crate::runtime::render(event);
    if let Some((end, _)) = text.char_indices().nth(SUMMARY) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// What the agent is told when it asks for a permission and nobody can be asked yet.
fn refusal(tool: &str) -> String {
    format!(
        "{tool} is not allowed for this agent, and no person can be asked. Go on without it, or say \
         that it is needed (AllowedTools={tool} in the unit file allows it)."
    )
}

const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Condition(_) => "ExecCondition= process",
        Role::StartPre(_) => "ExecStartPre= process",
        Role::Main(_) => "Main process",
        Role::StartPost(_) => "ExecStartPost= process",
        Role::Reload(_) => "ExecReload= process",
        Role::Stop(_) => "ExecStop= process",
        Role::StopPost(_) => "ExecStopPost= process",
    }
}

fn status_words(status: ExitStatus) -> String {
    match status {
        ExitStatus::Exited(code) => format!("exited with status {code}"),
        ExitStatus::Killed(signal) => format!("was killed by {}", signal_name(signal)),
        ExitStatus::Dumped(signal) => {
            format!("dumped core after {}", signal_name(signal))
        }
        ExitStatus::Unknown | ExitStatus::Unseen => "ended, and nobody can say how".to_owned(),
    }
}
