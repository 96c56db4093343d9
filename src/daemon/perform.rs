//! Effects: each is done here, or ordered from the hands. A failed effect is the next event.

use std::os::fd::AsFd;
use std::sync::Arc;

use serde_json::json;

use crate::bus::ask::{Signal, Told};
use crate::daemon::hands::{Done, Order, Start};
use crate::daemon::output::Heard;
use crate::daemon::{Daemon, Held, Occurrence};
use crate::engine::event::{Effect, Event, InputId, Role, SpawnId, Whom};
use crate::name::{Invocation, UnitName};
use crate::plan::Failure;
use crate::runtime::stream::{encode_input, encode_interrupt};
use crate::sys::{clock, pipe, process, random, ready};
use crate::unit::Resources;

impl Daemon {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn {
                unit,
                spawn,
                role,
                invocation,
                resume,
            } => {
                self.spawn(&unit, spawn, role, invocation, resume);
            }
            Effect::Check { unit } => self.check(&unit),
            Effect::Find {
                unit,
                spawn,
                source,
            } => self.find(&unit, spawn, &source),
            Effect::WatchName { unit } => self.watch_name(&unit),
            Effect::Open { unit } => self.open(&unit),
            Effect::Await { unit } => self.await_trigger(&unit),
            Effect::Ignore { unit } => self.ignore_trigger(&unit),
            Effect::Stamp { unit, at } => self.stamp(&unit, at),
            Effect::Sweep { unit, signals } => self.sweep_out(&unit, &signals),
            Effect::Signal { unit, whom, signal } => self.signal(&unit, whom, signal),
            Effect::Interrupt { unit } => self.interrupt(&unit),
            Effect::CloseInput { unit } => self.close_input(&unit),
            Effect::KillAll { unit } => self.kill_all(&unit),
            Effect::Freeze { unit } => self.freeze(&unit, true),
            Effect::Thaw { unit } => self.freeze(&unit, false),
            Effect::Deliver { unit, input, text } => {
                let line = encode_input(&text);
                self.write_input(&unit, Some(input), line);
            }
            Effect::SetTimer { timer, at } => {
                self.timers.set(timer, at);
            }
            Effect::DropTimer { timer } => self.timers.unset(timer),
            Effect::Release { unit } => self.release(&unit),
            Effect::Collect { unit } => self.collect(unit),
            Effect::Forget { unit } => {
                self.forget(&unit);
                self.publish(Signal::UnitRemoved(unit));
            }
            Effect::Answer { id, answer } => {
                if let Some(reply) = self.waiting.remove(&id) {
                    // A caller that hung up has no use for the answer.
                    let _ = reply.send(answer.map(Told::Answer).map_err(Into::into));
                }
            }
            Effect::JobNew { job, unit, kind } => {
                self.record(
                    &unit,
                    "job",
                    json!({"id": job, "type": kind, "state": "new"}),
                );
                self.publish(Signal::JobNew { id: job, unit });
            }
            Effect::JobEnded {
                job,
                unit,
                kind,
                result,
            } => {
                self.record(
                    &unit,
                    "job",
                    json!({"id": job, "type": kind, "result": result}),
                );
                self.forget_stored(&unit, false);
                self.publish(Signal::JobRemoved {
                    id: job,
                    unit,
                    result,
                });
            }
            Effect::Act {
                unit,
                action,
                status,
                why,
            } => self.act(&unit, action, status, &why),
            Effect::Changed { unit } => self.changed(&unit),
            Effect::Log { unit, text } => self.say(&unit, &text),
        }
    }

    /// Writes into the event log what happens to a unit, as far as its share goes: whatever a unit
    /// says or does over and over, it must not push out what happened to others.
    pub(super) fn record(&mut self, unit: &UnitName, kind: &str, data: serde_json::Value) {
        let now = clock::now();
        let share = self.shares.entry(unit.clone()).or_default();
        let Some(left_out) = share.take(now.monotonic) else {
            return;
        };
        if left_out > 0 {
            let text = format!("{left_out} entries were left out: too much happened to it at once");
            let data = json!({ "text": text });
            self.journal.append(now.realtime, Some(unit), "log", data);
        }
        self.journal.append(now.realtime, Some(unit), kind, data);
    }

    fn changed(&mut self, unit: &UnitName) {
        self.save(unit);
        if let Some(view) = self.engine.view(unit) {
            let data = json!({
                "active": view.active, "sub": view.sub, "outcome": view.outcome,
                "pid": view.main_pid, "freezer": view.freezer,
            });
            // What did not change is not written: a unit that talks must not turn the log over.
            let hash = self.saved.hash(data.to_string().as_bytes());
            if self.recorded.insert(unit.clone(), hash) != Some(hash) {
                self.record(unit, "state", data);
            }
        }
        // Nobody is told of usage by a signal (`EmitsChangedSignal` false).
        let facts = self.own_facts(unit);
        self.publish(Signal::Changed(Box::new(facts)));
    }

    /// The 128-bit id of an invocation: the same after a restart of the daemon.
    pub(super) fn invocation_id(&self, invocation: Invocation) -> String {
        random::hex(&random::derive(self.seed, invocation.0))
    }

    fn spawn(
        &mut self,
        unit: &UnitName,
        spawn: SpawnId,
        role: Role,
        invocation: Invocation,
        resume: bool,
    ) {
        let Some(definition) = self.engine.definition(unit).cloned() else {
            return;
        };
        let id = self.invocation_id(invocation);
        if self
            .held
            .get(unit)
            .is_some_and(|held| held.invocation_id != id)
        {
            // Restarted by policy: nothing was released in between.
            self.forget_stored(unit, true);
        }
        let held = self.held.entry(unit.clone()).or_default();
        held.starting += 1;
        let fresh = held.invocation_id != id;
        if fresh {
            held.invocation_id.clone_from(&id);
            held.slice.clone_from(&definition.slice);
            held.runtime_directories = definition
                .service
                .as_ref()
                .map(|service| service.exec.runtime_directories.clone())
                .unwrap_or_default();
            let files = self.log_files(unit);
            let text = format!("Starting {unit}, invocation {id}");
            self.output
                .say(unit.clone(), super::Stream::Aether, text, files);
        }
        let structured = self.is_structured(unit);
        let Some(held) = self.held.get(unit) else {
            return;
        };
        let output = match (&held.stdout, &held.stderr) {
            (Some(out), Some(err)) => match (out.try_clone(), err.try_clone()) {
                (Ok(out), Ok(err)) => Some((out, err)),
                _ => None,
            },
            _ => None,
        };
        let main = matches!(role, Role::Main(_));
        let passed = if main { self.passed(unit) } else { Ok(vec![]) };
        let passed = match passed {
            Ok(passed) => passed,
            Err(error) => {
                let failure = super::prepare::broke("pipe", "cannot copy a descriptor")(error);
                return self.fail_spawn(unit.clone(), spawn, failure);
            }
        };
        let told = self.told(unit, role);
        let slices = self.slices_around(unit);
        let Some(held) = self.held.get(unit) else {
            return;
        };
        // A start is a new session; a restart continues the old one. The commands before and after
        // the main process have none, and leave that of the main process alone.
        if structured && main {
            let agent = self.agents.entry(unit.clone()).or_default();
            if !(resume && agent.begun) || agent.session.is_none() {
                agent.begun = false;
                match random::id() {
                    Ok(bytes) => agent.session = Some(random::uuid(bytes)),
                    Err(error) => tracing::error!("no random numbers: {error}"),
                }
            }
        }
        let agent = self.agents.get(unit);
        let start = Start {
            unit: definition,
            spawn,
            role,
            invocation_id: id,
            resume,
            session: agent
                .and_then(|agent| agent.session.clone())
                .unwrap_or_default(),
            begun: agent.is_some_and(|agent| agent.begun),
            told,
            passed,
            output,
            listening: held.listener.is_some(),
            slices,
            grouped: held.group.is_some(),
            killed: held.killed,
        };
        // What is about to be done must be known to a daemon that comes after a sudden death: it
        // would take an agent that no snapshot names for a stranger.
        if let Err(error) = self.save_for_start(unit) {
            let failure = Failure {
                step: "snapshot".to_owned(),
                errno: error.raw_os_error().unwrap_or(0),
                detail: format!(
                    "cannot write it to {}: {error}",
                    self.places.snapshots().display()
                ),
                help: Some("free some room there, and start it again".to_owned()),
            };
            if let Some(held) = self.held.get_mut(unit) {
                held.starting = held.starting.saturating_sub(1);
            }
            return self.fail_spawn(unit.clone(), spawn, failure);
        }
        self.hands.order(Order::Start(Box::new(start)));
    }

    /// The slices that a unit's run stands in, outermost first, with what each limits.
    fn slices_around(&self, unit: &UnitName) -> Vec<(UnitName, Resources)> {
        let slice = self.held.get(unit).and_then(|held| held.slice.as_ref());
        let names = slice.map(UnitName::slices).unwrap_or_default();
        names
            .iter()
            .filter_map(|name| name.parse::<UnitName>().ok())
            .map(|name| {
                let limits = self
                    .engine
                    .definition(&name)
                    .and_then(|unit| unit.slice_limits.as_ref())
                    .map(|limits| limits.resources.clone())
                    .unwrap_or_default();
                (name, limits)
            })
            .collect()
    }

    pub(super) fn take_done(&mut self, done: Done) {
        match done {
            Done::Started {
                unit,
                spawn,
                role,
                result: Ok(born),
            } => {
                self.take_born(unit, spawn, role, *born);
            }
            Done::Started {
                unit,
                spawn,
                result: Err(failure),
                ..
            } => {
                if let Some(held) = self.held.get_mut(&unit) {
                    held.starting = held.starting.saturating_sub(1);
                }
                self.look_at_group(&unit);
                self.fail_spawn(unit, spawn, *failure);
            }
            Done::Checked { unit, unmet } => self.take_checked(unit, unmet),
            Done::Opened { unit, result } => self.take_opened(unit, *result),
            Done::Released { unit, problems } => {
                for problem in problems {
                    self.say(&unit, &problem);
                }
            }
        }
    }

    fn signal(&mut self, unit: &UnitName, whom: Whom, signal: i32) {
        let result = match (
            whom,
            self.held.get(unit).and_then(|held| held.group.as_ref()),
        ) {
            (Whom::All, Some(group)) => group
                .signal_all(signal)
                .map(drop)
                .map_err(|error| error.to_string()),
            (Whom::All, None) | (Whom::Main | Whom::Control, _) => self
                .processes
                .of(unit)
                .map(|(_, process)| process)
                .filter(|process| process.ended.is_none())
                .filter(|process| {
                    let main = matches!(process.role, Role::Main(_));
                    match whom {
                        Whom::All => true,
                        Whom::Main => main,
                        Whom::Control => !main,
                    }
                })
                .try_for_each(|process| process::signal(process.pidfd.as_fd(), signal))
                .map_err(|error| error.to_string()),
        };
        if let Err(error) = result {
            self.say(unit, &format!("cannot send signal {signal}: {error}"));
        }
    }

    fn interrupt(&mut self, unit: &UnitName) {
        let Some(agent) = self.agents.get_mut(unit) else {
            return;
        };
        agent.control += 1;
        let line = encode_interrupt(&format!("aether-{}", agent.control));
        self.write_input(unit, None, line);
    }

    fn close_input(&mut self, unit: &UnitName) {
        if let Some(held) = self.held.get_mut(unit) {
            held.stdin = None;
        }
        self.unstore("in", unit);
    }

    fn kill_all(&mut self, unit: &UnitName) {
        let Some(held) = self.held.get_mut(unit) else {
            self.feed(Event::Emptied { unit: unit.clone() });
            return;
        };
        held.emptying = true;
        // Usually the last process has just gone. A group that was never killed is as good as new,
        // and nothing is born into it but by the hands, whose answer is awaited.
        let empty = held
            .group
            .as_ref()
            .is_some_and(|group| matches!(group.populated(), Ok(false)));
        if !empty {
            self.kill_group(unit);
        }
        self.look_at_group(unit);
        self.look_again(unit);
        self.hunt(unit);
    }

    /// Asks whatever is left of a unit to end, and tells when nothing is.
    fn sweep_out(&mut self, unit: &UnitName, signals: &[i32]) {
        let Some(held) = self.held.get_mut(unit) else {
            self.feed(Event::Emptied { unit: unit.clone() });
            return;
        };
        held.sweeping = true;
        // Where nothing tells when it is empty, what is left cannot be waited for.
        let deaf = held.group.as_ref().is_some_and(|group| !group.tells());
        if deaf && !signals.is_empty() {
            return self.kill_all(unit);
        }
        let empty = held
            .group
            .as_ref()
            .is_some_and(|group| matches!(group.populated(), Ok(false)));
        if !empty {
            for signal in signals {
                self.signal(unit, Whom::All, *signal);
            }
        }
        self.look_at_group(unit);
        self.look_again(unit);
    }

    fn freeze(&mut self, unit: &UnitName, on: bool) {
        let result = match self.held.get_mut(unit).map(Box::as_mut) {
            Some(Held {
                group: Some(group),
                freezing,
                ..
            }) => {
                *freezing = Some(on);
                if on { group.freeze() } else { group.thaw() }.map_err(|error| error.to_string())
            }
            _ => Err("the unit has no cgroup".to_owned()),
        };
        match result {
            Ok(()) => {
                self.look_at_group(unit);
                self.look_again(unit);
            }
            Err(detail) => {
                // Nothing may stay half frozen behind a failure.
                if let Some(held) = self.held.get_mut(unit) {
                    held.freezing = None;
                    if let Some(group) = &held.group {
                        let _ = group.thaw();
                    }
                }
                let failure = Failure {
                    step: "freezer".to_owned(),
                    errno: 0,
                    detail,
                    help: None,
                };
                self.feed(Event::FreezeFailed {
                    unit: unit.clone(),
                    failure,
                });
            }
        }
    }

    /// Writes a line to an agent; what does not fit at once is written by a task of its own.
    pub(super) fn write_input(&mut self, unit: &UnitName, input: Option<InputId>, line: Vec<u8>) {
        let Some(stdin) = self.held.get(unit).and_then(|held| held.stdin.clone()) else {
            let result = Err("its standard input is closed".to_owned());
            self.note_written(unit.clone(), input, result);
            return;
        };
        match pipe::write_some(stdin.as_fd(), &line) {
            Ok(count) if count == line.len() => self.note_written(unit.clone(), input, Ok(())),
            Ok(count) => {
                let (unit, sender) = (unit.clone(), self.occurrences.clone());
                tokio::spawn(async move {
                    let result = write_rest(stdin, &line[count..]).await;
                    let result = result.map_err(|error| error.to_string());
                    let _ = sender
                        .send(Occurrence::Written {
                            unit,
                            input,
                            result,
                        })
                        .await;
                });
            }
            Err(error) => self.note_written(unit.clone(), input, Err(error.to_string())),
        }
    }

    pub(super) fn note_written(
        &mut self,
        unit: UnitName,
        input: Option<InputId>,
        result: Result<(), String>,
    ) {
        match (input, result) {
            (Some(input), Ok(())) => self.feed(Event::InputDelivered { unit, input }),
            (Some(input), Err(reason)) => self.feed(Event::InputFailed {
                unit,
                input,
                reason,
            }),
            (None, _) => {}
        }
    }

    fn release(&mut self, unit: &UnitName) {
        self.close(unit);
        self.forget_stored(unit, true);
        let Some(held) = self.held.remove(unit) else {
            return;
        };
        self.looks.remove(unit);
        if let Some(watch) = held.watch {
            self.watched.remove(&watch);
            self.watch.remove(watch);
        }
        if held.listener.is_some() {
            self.publish(Signal::ListenerRemoved(unit.clone()));
        }
        for stream in ["out", "err", "in", "pty", "mcp"] {
            self.unstore(stream, unit);
        }
        self.output.close(unit.clone());
        let order = Order::Release {
            unit: unit.clone(),
            slice: held.slice,
            runtime_directories: held.runtime_directories,
        };
        self.hands.order(order);
    }

    pub(super) fn take_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Lines {
                unit,
                stream,
                lines,
            } => self.parse(&unit, stream, lines),
            Heard::Drained { unit, token } => self.conclude(&unit, token),
            Heard::Stuck { unit, error } => {
                let text = format!(
                    "its log cannot be written ({error}); its output waits, and it may block"
                );
                tracing::error!("{unit}: {text}");
                if let Some(held) = self.held.get_mut(&unit) {
                    held.missing.push(text);
                }
            }
            Heard::Unstuck { unit } => {
                if let Some(held) = self.held.get_mut(&unit) {
                    held.missing
                        .retain(|text| !text.starts_with("its log cannot be written"));
                }
                self.say(&unit, "its log can be written again");
            }
        }
    }
}

async fn write_rest(fd: Arc<std::os::fd::OwnedFd>, mut rest: &[u8]) -> std::io::Result<()> {
    // The descriptor is shared with the loop, so the reactor gets a copy of its own.
    let ready = ready::watch(fd.try_clone()?, tokio::io::Interest::WRITABLE)?;
    while !rest.is_empty() {
        let mut guard = ready.writable().await?;
        match pipe::write_some(fd.as_fd(), rest)? {
            0 => guard.clear_ready(),
            count => rest = &rest[count..],
        }
    }
    Ok(())
}
