//! What units say of themselves (sd_notify(3)): who may, what it means, and what comes with it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::daemon::{Daemon, Occurrence};
use crate::engine::event::{Event, Notice, Role};
use crate::name::UnitName;
use crate::sys::{clock, closing, notify};
use crate::unit::NotifyAccess;

/// Notifications read before others have their turn.
const NOTIFICATIONS: usize = 64;
/// Longest `STATUS=` that is kept.
const STATUS_MAX: usize = 256;
/// Microseconds between two status texts of a unit.
const STATUS_PAUSE: u64 = 200_000;
/// Most notices of one unit that are told at once; who says more says it in vain.
const NOTICES: usize = 16;

impl Daemon {
    fn unit_of_sender(&self, sender: &notify::Sender) -> Option<UnitName> {
        let pid = sender.pid;
        let unit = match self.tree.unit_of_pid(pid) {
            Ok(unit) => unit,
            // Without cgroups only what we started ourselves is known for sure: until it is reaped
            // its number is nobody else's.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => self
                .processes
                .iter()
                .find(|(_, process)| process.pid == pid && process.ended.is_none())
                .map(|(_, process)| process.unit.clone()),
            Err(_) => None,
        };
        // In this order: the number is its own now, so it was when its cgroup was read.
        unit.filter(|unit| sender.is_there() && self.may_notify(unit, pid))
    }

    /// `NotifyAccess=`.
    fn may_notify(&self, unit: &UnitName, pid: u32) -> bool {
        let access = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.service.as_ref())
            .map_or(NotifyAccess::None, |service| service.notify_access);
        let is = |main_only: bool| {
            self.processes.of(unit).any(|(_, process)| {
                process.pid == pid && (!main_only || matches!(process.role, Role::Main(_)))
            })
        };
        match access {
            NotifyAccess::None => false,
            NotifyAccess::Main => is(true),
            NotifyAccess::Exec => is(false),
            NotifyAccess::All => true,
        }
    }

    /// Notifications of units; the sender is who the kernel says.
    pub(super) fn read_notifications(&mut self) {
        // However often a unit says it, it is told once: what is said a thousand times over must
        // not cost a thousand events.
        let mut said: BTreeMap<UnitName, Said> = BTreeMap::new();
        let mut more = true;
        for _ in 0..NOTIFICATIONS {
            match notify::receive(self.notify.as_fd()) {
                Ok(Some(told)) => {
                    let Some(unit) = self.unit_of_sender(&told.sender) else {
                        closing::close(told.descriptors);
                        continue;
                    };
                    said.entry(unit)
                        .or_default()
                        .hear(&told.text, told.descriptors);
                }
                Ok(None) => {
                    more = false;
                    break;
                }
                Err(error) => {
                    tracing::warn!("cannot read a notification: {error}");
                    more = false;
                    break;
                }
            }
        }
        for (unit, said) in said {
            if let Some(status) = said.status {
                self.note_status(&unit, &status);
            }
            for kept in said.kept {
                match kept {
                    Kept::Store(name, descriptors) => self.store_for(&unit, &name, descriptors),
                    Kept::Discard(name) => self.discard_for(&unit, &name),
                }
            }
            for notice in said.notices {
                let unit = unit.clone();
                self.feed(Event::Notified { unit, notice });
            }
            // What nobody takes is closed now, after all that was said before it: the peer of
            // BARRIER=1 waits for that.
            closing::close(said.rest);
        }
        if more {
            // Let others have their turn first.
            let _ = self.occurrences.try_send(Occurrence::Notified);
        }
    }
}

impl Daemon {
    /// Keeps the newest status text; the engine, and with it every subscriber, hears of a few in
    /// a second at most.
    fn note_status(&mut self, unit: &UnitName, status: &str) {
        let Some(held) = self.held.get_mut(unit) else {
            return;
        };
        let printable = status.chars().filter(|c| !c.is_control());
        if held
            .status
            .replace(printable.take(STATUS_MAX).collect())
            .is_some()
        {
            return;
        }
        let wait = held
            .status_at
            .saturating_add(STATUS_PAUSE)
            .saturating_sub(clock::now().monotonic);
        if wait == 0 {
            return self.take_status(unit);
        }
        let (unit, sender) = (unit.clone(), self.occurrences.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(wait)).await;
            let _ = sender.send(Occurrence::Status(unit)).await;
        });
    }

    pub(super) fn take_status(&mut self, unit: &UnitName) {
        let now = clock::now().monotonic;
        if let Some(held) = self.held.get_mut(unit)
            && let Some(text) = held.status.take()
        {
            held.status_at = now;
            let unit = unit.clone();
            self.feed(Event::StatusText { unit, text });
        }
    }
}

/// What a unit said in one reading.
#[derive(Debug, Default)]
pub struct Said {
    /// What is for the engine, in order.
    pub notices: Vec<Notice>,
    /// The last status text.
    pub status: Option<String>,
    /// What is for the store, in order.
    pub kept: Vec<Kept>,
    /// Descriptors that nobody takes.
    rest: Vec<OwnedFd>,
}

/// What a unit wants of its descriptor store.
#[derive(Debug)]
pub enum Kept {
    /// To be kept, under this name.
    Store(String, Vec<OwnedFd>),
    /// All of this name are not needed any more.
    Discard(String),
}

impl Said {
    /// Takes in one message, and what came with it.
    pub fn hear(&mut self, text: &[u8], descriptors: Vec<OwnedFd>) {
        let text = String::from_utf8_lossy(text);
        let lines = || text.lines().filter_map(|line| line.split_once('='));
        let value = |key: &str| lines().find(|(k, _)| *k == key).map(|(_, value)| value);
        let number = |key: &str| value(key).and_then(|value| value.parse::<u64>().ok());
        for (key, value) in lines() {
            match (key, value) {
                ("READY", "1") => self.note(Notice::Ready),
                ("RELOADING", "1") => {
                    // It is told on the clock that stands still while the machine is suspended.
                    let at =
                        number("MONOTONIC_USEC").map(|at| at.saturating_add(clock::suspended()));
                    self.note(Notice::Reloading(at.unwrap_or(0)));
                }
                ("STOPPING", "1") => self.note(Notice::Stopping),
                ("WATCHDOG", "1") => self.note(Notice::Watchdog),
                ("WATCHDOG", "trigger") => self.note(Notice::WatchdogTrigger),
                ("MAINPID", pid) => {
                    if let Ok(pid) = pid.parse() {
                        self.note(Notice::MainPid(pid));
                    }
                }
                ("WATCHDOG_USEC", _) => {
                    if let Some(period) = number("WATCHDOG_USEC") {
                        self.note(Notice::WatchdogPeriod(period));
                    }
                }
                ("EXTEND_TIMEOUT_USEC", _) => {
                    if let Some(by) = number("EXTEND_TIMEOUT_USEC") {
                        self.note(Notice::ExtendTimeout(by));
                    }
                }
                ("STATUS", status) => self.status = Some(status.to_owned()),
                _ => {}
            }
        }
        let name = value("FDNAME").filter(|name| is_fd_name(name));
        if value("FDSTORE") == Some("1") && !descriptors.is_empty() {
            let name = name.unwrap_or("stored").to_owned();
            self.kept.push(Kept::Store(name, descriptors));
            return;
        }
        if value("FDSTOREREMOVE") == Some("1")
            && let Some(name) = name
        {
            self.kept.push(Kept::Discard(name.to_owned()));
        }
        self.rest.extend(descriptors);
    }

    /// In the order in which it was said; but not what was said last already.
    fn note(&mut self, notice: Notice) {
        if self.notices.last() != Some(&notice) && self.notices.len() < NOTICES {
            self.notices.push(notice);
        }
    }
}

/// What sd_pid_notify_with_fds(3) takes as `FDNAME=`.
fn is_fd_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != ':' || c == ' ';
    !name.is_empty() && name.len() <= 255 && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_over_and_over_is_heard_once() {
        let mut said = Said::default();
        said.hear("READY=1\nSTATUS=a\n".repeat(500).as_bytes(), vec![]);
        said.hear(b"STATUS=b=c\nREADY=0\nX=1\nrubbish", vec![]);
        assert_eq!(said.notices, [Notice::Ready]);
        assert_eq!(said.status.as_deref(), Some("b=c"));
    }

    #[test]
    fn every_notice_is_understood_in_its_order() {
        let mut said = Said::default();
        said.hear(
            b"RELOADING=1\nMONOTONIC_USEC=77\nWATCHDOG=1\nWATCHDOG_USEC=5\nMAINPID=12",
            vec![],
        );
        said.hear(
            b"READY=1\nEXTEND_TIMEOUT_USEC=9\nSTOPPING=1\nMAINPID=x",
            vec![],
        );
        assert_eq!(
            said.notices,
            [
                Notice::Reloading(77 + clock::suspended()),
                Notice::Watchdog,
                Notice::WatchdogPeriod(5),
                Notice::MainPid(12),
                Notice::Ready,
                Notice::ExtendTimeout(9),
                Notice::Stopping,
            ]
        );
    }

    #[test]
    fn descriptors_are_kept_under_their_name_and_in_order() {
        let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut said = Said::default();
        said.hear(b"FDSTOREREMOVE=1\nFDNAME=old", vec![]);
        said.hear(b"FDSTORE=1\nFDNAME=shop", vec![file(), file()]);
        said.hear(b"FDSTORE=1\nFDNAME=a:b", vec![file()]);
        said.hear(b"FDSTOREREMOVE=1\nFDNAME=shop", vec![]);
        said.hear(b"BARRIER=1", vec![file()]);
        let wanted: Vec<(&str, usize)> = said
            .kept
            .iter()
            .map(|kept| match kept {
                Kept::Store(name, descriptors) => (name.as_str(), descriptors.len()),
                Kept::Discard(name) => (name.as_str(), 0),
            })
            .collect();
        assert_eq!(
            wanted,
            [("old", 0), ("shop", 2), ("stored", 1), ("shop", 0)]
        );
        assert_eq!(said.rest.len(), 1);
    }
}
