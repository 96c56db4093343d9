//! After a death of the daemon: everything that lives is taken up again, nothing is started twice.
//!
//! Snapshots say what was; the cgroup tree, the processes themselves and the keeper's obituaries
//! say what is; the descriptor store has the pipes and sockets.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::bus::ask::Signal;
use crate::daemon::output::{Source, split};
use crate::daemon::record::{self, Stream};
use crate::daemon::snapshot::{Kept, KeptProcess};
use crate::daemon::{Daemon, Held, Process};
use crate::engine::LOST;
use crate::engine::event::Event;
use crate::name::UnitName;
use crate::sys::watch::Shortage;
use crate::sys::{clock, pipe, process};

/// Descriptors that came back, by name.
pub(super) type Inherited = HashMap<String, OwnedFd>;

impl Daemon {
    /// Takes up what an earlier daemon left. The engine has been restored already.
    pub(super) fn adopt(&mut self, units: Vec<(UnitName, Kept)>, inherited: &mut Inherited) {
        self.adopting = true;
        self.await_obituaries();
        self.adopt_stored(inherited);
        for (unit, kept) in units {
            self.adopt_listening(&unit, inherited);
            self.adopt_unit(&unit, kept, inherited);
        }
        self.adopting = false;
        self.obituaries.clear();
        self.acknowledge();
        // What no snapshot names is nobody's any more; the store must not grow for ever.
        for (name, _) in inherited.drain() {
            if let Some((_, unit)) = name.split_once('.')
                && name != "keeper"
                && !self.held.keys().any(|known| known.as_str() == unit)
            {
                self.unstore_name(&name);
            }
        }
        self.kill_strangers();
        self.drop_stray_transients();
        let effects = self.engine.resume(clock::now());
        for effect in effects {
            self.perform(effect);
        }
    }

    /// The sockets that a socket unit had open, in their order.
    fn adopt_listening(&mut self, unit: &UnitName, inherited: &mut Inherited) {
        let sockets: Vec<OwnedFd> = (0..)
            .map_while(|index| inherited.remove(&format!("listen-{index}.{unit}")))
            .collect();
        if !sockets.is_empty() {
            self.adopt_sockets(unit, sockets);
        }
    }

    fn adopt_unit(&mut self, unit: &UnitName, kept: Kept, inherited: &mut Inherited) {
        let structured = self.is_structured(unit);
        if let Some(agent) = kept.agent {
            self.agents.insert(unit.clone(), agent);
        }
        let Some(held) = kept.held else { return };
        let invocation_id = held.invocation_id.clone();
        self.held.insert(
            unit.clone(),
            Box::new(Held {
                invocation_id: held.invocation_id,
                slice: held.slice,
                uid: held.uid,
                missing: held.missing,
                freezing: held.freezing,
                emptying: held.emptying,
                // Nobody knows any more.
                killed: true,
                runtime_directories: held.runtime_directories,
                ..Held::default()
            }),
        );
        let slice = self.held.get(unit).and_then(|held| held.slice.as_ref());
        let shortage = Shortage::of(&self.tree.group(unit, slice));
        self.watch_group(unit, shortage);
        if let Some(mine) = self.held.get_mut(unit) {
            mine.oom_kills = held.oom_kills;
        }
        // What was read and not yet handled is in the log.
        let partial = if structured {
            self.catch_up(unit, &invocation_id)
        } else {
            vec![]
        };
        self.take_back(unit, structured, partial, inherited);
        for process in kept.processes {
            self.adopt_process(unit, &process);
        }
        let awaited = self.engine.awaited(unit);
        if !awaited.is_empty() {
            // The daemon died between ordering a start and hearing of it. Whatever was born is
            // killed, and the attempt counts as lost.
            self.kill_group(unit);
            for spawn in awaited {
                let failure = crate::plan::Failure {
                    step: LOST.to_owned(),
                    errno: 0,
                    detail: "the supervisor was restarted in the middle of the start".to_owned(),
                    help: None,
                };
                self.feed(Event::SpawnFailed {
                    unit: unit.clone(),
                    spawn,
                    failure,
                });
            }
        }
        self.look_at_group(unit);
    }

    fn take_back(
        &mut self,
        unit: &UnitName,
        structured: bool,
        partial: Vec<u8>,
        inherited: &mut Inherited,
    ) {
        let files = self.log_files(unit);
        let mut get = |stream: &str| inherited.remove(&format!("{stream}.{unit}"));
        let (out, err, input, master, listener) =
            (get("out"), get("err"), get("in"), get("pty"), get("mcp"));
        let listening = listener.is_some();
        if let Some(held) = self.held.get_mut(unit) {
            held.stdout = out
                .as_ref()
                .and_then(|out| pipe::reopen_writer(out.as_fd()).ok());
            held.stderr = err
                .as_ref()
                .and_then(|err| pipe::reopen_writer(err.as_fd()).ok());
            held.stdin = input.map(Arc::new);
            held.listener = listener;
            if held.stdin.is_none() {
                held.stdin = master
                    .as_ref()
                    .and_then(|fd| fd.try_clone().ok())
                    .map(Arc::new);
            }
        }
        let open = |pipe: OwnedFd, terminal, stream, lines, partial| {
            let source = Source {
                pipe,
                terminal,
                stream,
                lines,
                partial,
            };
            self.output.open(unit.clone(), source, files.clone());
        };
        if let Some(out) = out {
            open(out, false, Stream::Stdout, structured, partial);
        }
        if let Some(err) = err {
            open(err, false, Stream::Stderr, structured, vec![]);
        }
        if let Some(master) = master {
            open(master, true, Stream::Stdout, false, vec![]);
        }
        if listening {
            self.publish(Signal::ListenerNew(unit.clone()));
        }
    }

    fn adopt_process(&mut self, unit: &UnitName, kept: &KeptProcess) {
        let living = process::open_pidfd(kept.pid)
            .ok()
            .filter(|_| kept.ended.is_none())
            .filter(|_| {
                // The number may have been given to another process since; its start time differs.
                process::start_time(kept.pid).is_ok_and(|time| time == kept.start_time)
            });
        let spawn = kept.spawn;
        self.track(unit, kept.pid, kept.start_time);
        let mut adopted = Process {
            unit: unit.clone(),
            role: kept.role,
            pid: kept.pid,
            start_time: kept.start_time,
            pidfd: Arc::clone(&self.notify),
            report: None,
            failed: kept.failed,
            adopted: true,
            foreign: false,
            ended: None,
        };
        match living {
            Some(pidfd) => {
                adopted.pidfd = Arc::new(pidfd);
                let pidfd = Arc::clone(&adopted.pidfd);
                self.processes.insert(spawn, adopted);
                self.feed(Event::Adopted {
                    unit: unit.clone(),
                    spawn,
                });
                self.watch_process(spawn, pidfd);
            }
            None => {
                self.processes.insert(spawn, adopted);
                let status = kept
                    .ended
                    .unwrap_or_else(|| self.obituary_of(kept.pid, kept.start_time));
                self.end_process(spawn, status);
            }
        }
    }

    /// Handles the structured lines of this invocation that are in the log and were not handled;
    /// returns the beginning of a line that is not whole yet.
    fn catch_up(&mut self, unit: &UnitName, invocation_id: &str) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = vec![];
        let mut partial = vec![];
        for file in record::files(&self.places.unit_log(unit)) {
            let Ok(bytes) = std::fs::read(&file) else {
                continue;
            };
            for entry in bytes.split(|byte| *byte == b'\n') {
                let Some((stream, whole, text)) = record::parse(entry) else {
                    continue;
                };
                if stream == Stream::Aether.as_str() && begins(text, invocation_id) {
                    lines.clear();
                    partial.clear();
                } else if stream == Stream::Stdout.as_str() {
                    let mut part = text.to_vec();
                    if whole {
                        part.push(b'\n');
                    }
                    lines.extend(split(&mut partial, &part));
                }
            }
        }
        let handled = self.agents.get(unit).map_or(0, |agent| agent.parsed);
        let rest = lines.split_off(
            usize::try_from(handled)
                .unwrap_or(usize::MAX)
                .min(lines.len()),
        );
        if !rest.is_empty() {
            self.parse(unit, Stream::Stdout, rest);
        }
        partial
    }

    /// Processes in our cgroups that no snapshot knows: unsupervised agents are not left running.
    fn kill_strangers(&mut self) {
        for (unit, slice) in self.tree.units() {
            if self.held.contains_key(&unit) {
                continue;
            }
            let group = self.tree.group(&unit, slice.as_ref());
            if matches!(group.populated(), Ok(true)) {
                tracing::warn!("{unit}: processes without a known unit are killed");
                if let Err(error) = group.kill() {
                    tracing::error!("{unit}: cannot kill them: {error}");
                }
            }
            let _ = group.remove();
            if let Some(slice) = &slice {
                self.tree.remove_slices(slice);
            }
        }
    }
}

/// Whether this is the sentence with which the log of an invocation begins.
fn begins(text: &[u8], invocation_id: &str) -> bool {
    text.starts_with(b"Starting ") && text.ends_with(invocation_id.as_bytes())
}
