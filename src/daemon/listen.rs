//! What the kernel and the keeper tell: cgroup events, obituaries.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::daemon::users::{FIRST, LAST};
use crate::daemon::{Daemon, Look, Occurrence};
use crate::engine::event::{Event, ExitStatus, SpawnId};
use crate::keeper::{LENGTH, Message, Obituary};
use crate::name::UnitName;
use crate::sys::cgroup::Group;
use crate::sys::process::status_of;
use crate::sys::user::own_uid;
use crate::sys::watch::Shortage;
use crate::sys::{clock, socket};

/// Without cgroups: between two looks for what is left of a unit that is being killed.
const HUNT: Duration = Duration::from_millis(20);
/// How long the keeper may take to answer, in milliseconds.
const SYNC_MAX: u16 = 2_000;
/// Pauses between looks at a group of which something is awaited, in microseconds: longer than the
/// kernel's silence when taken together.
const LOOKS: [u64; 8] = [60, 100, 200, 400, 800, 1_600, 3_200, 6_400];
/// Obituaries kept for processes that no snapshot names (yet).
const OBITUARIES_MAX: usize = 1_024;

impl Daemon {
    /// Begins to watch the unit's cgroup.
    pub(super) fn watch_group(&mut self, unit: &UnitName, shortage: Option<Shortage>) {
        let slice = self.held.get(unit).and_then(|held| held.slice.as_ref());
        let group = self.tree.group(unit, slice);
        let watch = match self.watch.add(&group, shortage) {
            Ok(watch) => {
                self.watched.insert(watch, unit.clone());
                Some(watch)
            }
            // The manager's status says what follows from that.
            Err(_) if !group.tells() => None,
            Err(error) => {
                self.say(unit, &format!("its cgroup cannot be watched: {error}"));
                None
            }
        };
        if let Some(held) = self.held.get_mut(unit) {
            if let Some(before) = std::mem::replace(&mut held.watch, watch) {
                self.watched.remove(&before);
                self.watch.remove(before);
            }
            held.oom_kills = group.oom_kills().unwrap_or(0);
            held.group = Some(group);
        }
    }

    /// The unit's `agent/` was made anew.
    pub(super) fn watch_group_again(&mut self, unit: &UnitName) {
        let Some(held) = self.held.get(unit) else {
            return;
        };
        if let (Some(watch), Some(group)) = (held.watch, &held.group)
            && let Err(error) = self.watch.renew(watch, group)
        {
            self.say(unit, &format!("its cgroup cannot be watched: {error}"));
        }
    }

    pub(super) fn look_at_groups(&mut self) {
        let changed = match self.watch.drain() {
            Ok(changed) => changed,
            Err(error) => {
                tracing::error!("cgroups cannot be watched: {error}");
                return;
            }
        };
        for id in changed {
            if let Some(unit) = self.watched.get(&id).cloned() {
                self.look_at_group(&unit);
            }
        }
    }

    /// Reads the unit's cgroup.events and tells the engine what it waits for.
    pub(super) fn look_at_group(&mut self, unit: &UnitName) {
        self.count_oom(unit);
        let busy = self.processes.of(unit).next().is_some();
        let Some(held) = self.held.get_mut(unit) else {
            return;
        };
        let Some(group) = held.group.as_ref() else {
            if (held.emptying || held.sweeping) && !busy && held.starting == 0 {
                held.emptying = false;
                held.sweeping = false;
                self.feed(Event::Emptied { unit: unit.clone() });
            }
            return;
        };
        let mut events = vec![];
        if let Some(wanted) = held.freezing
            && let Ok(frozen) = group.is_frozen()
            && frozen == wanted
        {
            held.freezing = None;
            events.push(if frozen {
                Event::Frozen { unit: unit.clone() }
            } else {
                Event::Thawed { unit: unit.clone() }
            });
        }
        if (held.emptying || held.sweeping)
            && !busy
            && held.starting == 0
            && matches!(group.populated(), Ok(false))
        {
            held.emptying = false;
            held.sweeping = false;
            events.push(Event::Emptied { unit: unit.clone() });
        }
        self.queue.extend(events);
    }

    /// Without cgroups: what was started between two looks is killed too, until nothing is left.
    pub(super) fn hunt(&mut self, unit: &UnitName) {
        let Some(held) = self.held.get(unit) else {
            return;
        };
        if held.emptying && held.group.as_ref().is_some_and(|group| !group.tells()) {
            self.kill_group(unit);
            let (unit, sender) = (unit.clone(), self.occurrences.clone());
            tokio::spawn(async move {
                tokio::time::sleep(HUNT).await;
                let _ = sender.send(Occurrence::Group(unit)).await;
            });
        }
    }

    /// Where there are no cgroups: a process that is the unit's.
    pub(super) fn track(&mut self, unit: &UnitName, pid: u32, start_time: u64) {
        if let Some(held) = self.held.get_mut(unit)
            && let Some(group) = held.group.as_mut()
        {
            // A dynamic user runs nothing but its unit; but our own user, whatever its number,
            // runs us.
            let dynamic = |uid: &u32| (FIRST..=LAST).contains(uid) && *uid != own_uid();
            let own = held.uid.filter(dynamic);
            group.mark(own, &held.invocation_id);
            group.track(pid, start_time);
        }
    }

    /// Looks at the unit's group a few times more, as long as something is awaited from it: the
    /// kernel tells of at most one change in 10 ms, and freezing and dying take much less.
    pub(super) fn look_again(&mut self, unit: &UnitName) {
        if self.awaits_group(unit) {
            let at = clock::now().monotonic + LOOKS[0];
            self.looks.insert(unit.clone(), Look { at, round: 0 });
        } else {
            self.looks.remove(unit);
        }
    }

    /// Looks where it is time to.
    pub(super) fn look_when_due(&mut self, now: u64) {
        let due: Vec<(UnitName, usize)> = self
            .looks
            .iter()
            .filter(|(_, look)| look.at <= now)
            .map(|(unit, look)| (unit.clone(), look.round + 1))
            .collect();
        for (unit, round) in due {
            self.looks.remove(&unit);
            self.look_at_group(&unit);
            // After the last of them the kernel's word is awaited.
            if self.awaits_group(&unit)
                && let Some(pause) = LOOKS.get(round)
            {
                let at = now + pause;
                self.looks.insert(unit, Look { at, round });
            }
        }
    }

    fn awaits_group(&self, unit: &UnitName) -> bool {
        self.held
            .get(unit)
            .is_some_and(|held| held.freezing.is_some() || held.emptying || held.sweeping)
    }

    pub(super) fn kill_group(&mut self, unit: &UnitName) {
        let killed = self.held.get_mut(unit).and_then(|held| {
            held.killed = true;
            held.group.as_ref().map(Group::kill)
        });
        if let Some(Err(error)) = killed {
            self.say(unit, &format!("cannot kill the unit's processes: {error}"));
        }
    }

    pub(super) fn count_oom(&mut self, unit: &UnitName) {
        let Some(held) = self.held.get_mut(unit) else {
            return;
        };
        let Some(kills) = held.group.as_ref().and_then(|group| group.oom_kills()) else {
            return;
        };
        if kills > held.oom_kills {
            held.oom_kills = kills;
            self.feed(Event::OutOfMemory { unit: unit.clone() });
        }
    }

    /// Takes every obituary there is, and acknowledges them once the snapshots know.
    pub(super) fn read_obituaries(&mut self) {
        while let Some(message) = self.hear_keeper() {
            match message {
                Message::Obituary(obituary) => self.take_obituary(obituary),
                Message::Synced(token) => self.give_up(SpawnId(token)),
                _ => {}
            }
        }
        self.acknowledge();
    }

    /// Has the keeper say when it has told of everybody who is dead by now; `false`: there is none.
    pub(super) fn ask_keeper(&self, spawn: SpawnId) -> bool {
        let question = Message::Sync(spawn.0).encode();
        self.keeper.as_ref().is_some_and(|link| {
            socket::send(link.as_fd(), &question, &[])
                .inspect_err(|error| tracing::error!("the keeper cannot be asked: {error}"))
                .is_ok()
        })
    }

    /// There is no obituary of a process that has ended: its own parent has seen it, not we.
    fn give_up(&mut self, spawn: SpawnId) {
        let status = match self.processes.get(spawn) {
            Some(process) if process.ended.is_some() => return,
            Some(process) if process.foreign => ExitStatus::Unseen,
            Some(_) => ExitStatus::Unknown,
            None => return,
        };
        self.end_process(spawn, status);
    }

    /// Reads obituaries until the keeper says that there are no more: who is gone then and has
    /// none will never have one.
    pub(super) fn await_obituaries(&mut self) {
        let Some(link) = self.keeper.clone() else {
            return;
        };
        let token = u64::from(self.generation);
        if let Err(error) = socket::send(link.as_fd(), &Message::Sync(token).encode(), &[]) {
            tracing::error!("the keeper cannot be asked: {error}");
            return;
        }
        loop {
            match self.hear_keeper() {
                Some(Message::Obituary(obituary)) => self.take_obituary(obituary),
                Some(Message::Synced(answer)) if answer == token => return,
                Some(_) => {}
                None => {
                    // It answers in microseconds; supervision begins without it all the same.
                    if self.keeper.is_none()
                        || !socket::wait_readable(link.as_fd(), SYNC_MAX).unwrap_or(false)
                    {
                        tracing::error!("the keeper does not answer");
                        return;
                    }
                }
            }
        }
    }

    fn hear_keeper(&mut self) -> Option<Message> {
        let link = self.keeper.clone()?;
        let mut bytes = [0; LENGTH];
        match socket::receive(link.as_fd(), &mut bytes, &mut vec![]) {
            Ok(0) => {}
            Ok(count) => return Message::decode(&bytes[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
            Err(error) => tracing::error!("the keeper cannot be heard: {error}"),
        }
        tracing::error!("the keeper is gone");
        self.keeper = None;
        None
    }

    fn take_obituary(&mut self, obituary: Obituary) {
        self.heard = self.heard.max(obituary.sequence);
        let found = self
            .processes
            .iter()
            .find(|(_, process)| {
                process.adopted && is_of(&obituary, process.pid, process.start_time)
            })
            .map(|(spawn, _)| spawn);
        if let Some(spawn) = found {
            self.end_process(spawn, status_of(obituary.status));
        } else if self.adopting {
            // It may be of a process whose snapshot is read next.
            if self.obituaries.len() >= OBITUARIES_MAX {
                self.obituaries.remove(0);
            }
            self.obituaries.push(obituary);
        }
    }

    /// Tells the keeper what it need not keep any more. The deaths that matter are in snapshots,
    /// or will be found again: a dead process of a snapshot without an obituary has ended too.
    pub(super) fn acknowledge(&mut self) {
        if self.heard == self.acknowledged {
            return;
        }
        let Some(link) = &self.keeper else { return };
        match socket::send(
            link.as_fd(),
            &Message::Acknowledge(self.heard).encode(),
            &[],
        ) {
            Ok(_) => self.acknowledged = self.heard,
            Err(error) => tracing::warn!("cannot acknowledge to the keeper: {error}"),
        }
    }

    /// The status of a process that died while no daemon was there.
    pub(super) fn obituary_of(&mut self, pid: u32, start_time: u64) -> ExitStatus {
        let position = self
            .obituaries
            .iter()
            .position(|obituary| is_of(obituary, pid, start_time));
        position.map_or(ExitStatus::Unknown, |position| {
            status_of(self.obituaries.swap_remove(position).status)
        })
    }
}

fn is_of(obituary: &Obituary, pid: u32, start_time: u64) -> bool {
    obituary.pid == pid && obituary.start == start_time
}
