//! What goes from one run of a unit to the next, and from the supervisor to a process: stored
//! descriptors (`FDSTORE=1`), and what a command is told about the main process.

use std::os::fd::{AsFd, OwnedFd};

use crate::daemon::Daemon;
use crate::engine::event::{ExitStatus, Role};
use crate::engine::view::{ActiveState, Outcome};
use crate::name::{UnitName, UnitType};
use crate::sys::closing;
use crate::sys::process::signal_name;
use crate::unit::Preserve;

/// How the store names what a unit left: by unit first, because a unit's own name may have dots.
const PREFIX: &str = "fds/";
/// How long the names of all that a unit stores may be together, in bytes: whoever keeps ours has
/// room for so much, and for all units.
const NAMES: usize = 16 << 10;

impl Daemon {
    /// Keeps descriptors for a unit, as many as it may have.
    pub(super) fn store_for(&mut self, unit: &UnitName, name: &str, descriptors: Vec<OwnedFd>) {
        let most = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.service.as_ref())
            .map_or(0, |service| service.fd_store_max as usize);
        let stored = self.stored.entry(unit.clone()).or_default();
        let before = stored.len();
        let long: usize = stored.iter().map(|(name, _)| name.len()).sum();
        let room = NAMES.saturating_sub(long) / name.len().max(1);
        let mut descriptors = descriptors.into_iter();
        let taken = descriptors
            .by_ref()
            .take(most.saturating_sub(before).min(room));
        stored.extend(taken.map(|descriptor| (name.to_owned(), descriptor)));
        if descriptors.len() > 0 {
            closing::close(descriptors);
            let text = format!(
                "left a descriptor named {name}, which is closed: FileDescriptorStoreMax={most}, and \
                 {NAMES} bytes for all names"
            );
            self.say(unit, &text);
        }
        self.keep_stored(unit, before);
    }

    /// Descriptors of that name are not needed any more.
    pub(super) fn discard_for(&mut self, unit: &UnitName, name: &str) {
        let found = self.stored.get(unit).and_then(|stored| {
            let first = stored.iter().position(|(other, _)| other == name)?;
            Some((first, stored))
        });
        let Some((first, stored)) = found else {
            return;
        };
        for (index, (name, _)) in stored.iter().enumerate().skip(first) {
            self.unstore_name(&format!("{PREFIX}{unit}/{index}/{name}"));
        }
        let old = self.stored.remove(unit).unwrap_or_default();
        let (gone, rest): (Vec<_>, Vec<_>) = old.into_iter().partition(|(other, _)| other == name);
        closing::close(gone.into_iter().map(|(_, descriptor)| descriptor));
        self.stored.insert(unit.clone(), rest);
        self.keep_stored(unit, first);
    }

    /// Leaves what a unit has stored, from this one on, with whoever keeps ours, under numbered
    /// names.
    fn keep_stored(&self, unit: &UnitName, from: usize) {
        let stored = self.stored.get(unit).map_or(&[][..], Vec::as_slice);
        for (index, (name, fd)) in stored.iter().enumerate().skip(from) {
            let text = format!("{PREFIX}{unit}/{index}/{name}");
            self.unstore_name(&text);
            self.store(&text, fd.as_fd());
        }
    }

    /// A run of the unit has ended, or a job that might have been its next one.
    pub(super) fn forget_stored(&mut self, unit: &UnitName, ended: bool) {
        let preserve = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.service.as_ref())
            .map(|service| service.fd_store_preserve);
        let comes_back = self.engine.view(unit).is_some_and(|view| {
            let down = matches!(view.active, ActiveState::Inactive | ActiveState::Failed);
            !down || view.job.is_some()
        });
        let keeps = match preserve {
            Some(Preserve::Yes) => true,
            Some(Preserve::Restart) => comes_back,
            Some(Preserve::No) => comes_back && !ended,
            None => false,
        };
        if !keeps {
            self.drop_stored(unit);
        }
    }

    /// Closes all that a unit has stored.
    pub(super) fn drop_stored(&mut self, unit: &UnitName) {
        let stored = self.stored.remove(unit).unwrap_or_default();
        for (index, (name, _)) in stored.iter().enumerate() {
            self.unstore_name(&format!("{PREFIX}{unit}/{index}/{name}"));
        }
        closing::close(stored.into_iter().map(|(_, descriptor)| descriptor));
    }

    /// Takes back what units stored with an earlier daemon; the others are left in `inherited`.
    pub(super) fn adopt_stored(&mut self, inherited: &mut super::adopt::Inherited) {
        let mut names: Vec<String> = inherited
            .keys()
            .filter(|name| name.starts_with(PREFIX))
            .cloned()
            .collect();
        // In the order in which they were left: the tenth is not before the second.
        names.sort_by_cached_key(|name| {
            let index = name.split('/').nth(2).and_then(|index| index.parse().ok());
            (index.unwrap_or(u64::MAX), name.clone())
        });
        for name in names {
            let parts: Vec<&str> = name.trim_start_matches(PREFIX).splitn(3, '/').collect();
            if let [unit, _, own] = parts.as_slice()
                && let Ok(unit) = unit.parse::<UnitName>()
                && self.engine.definition(&unit).is_some()
                && let Some(fd) = inherited.remove(&name)
            {
                let stored = self.stored.entry(unit).or_default();
                stored.push(((*own).to_owned(), fd));
            } else {
                inherited.remove(&name);
                self.unstore_name(&name);
            }
        }
    }

    /// What a process is told in its environment (systemd.exec(5), ENVIRONMENT VARIABLES SET OR
    /// PROPAGATED BY THE SERVICE MANAGER).
    pub(super) fn told(&self, unit: &UnitName, role: Role) -> Vec<(String, String)> {
        let mut told = vec![];
        let mut tell = |name: &str, value: String| told.push((name.to_owned(), value));
        let Some(view) = self.engine.view(unit) else {
            return told;
        };
        let service = self
            .engine
            .definition(unit)
            .and_then(|unit| unit.service.as_ref());
        if let Some(other) = view
            .triggered_by
            .as_ref()
            .filter(|_| matches!(role, Role::Main(_)))
            .and_then(|other| self.engine.last_view(other))
        {
            if matches!(
                other.name.kind(),
                UnitType::Timer | UnitType::Socket | UnitType::Path
            ) {
                tell("TRIGGER_UNIT", other.name.to_string());
            } else {
                tell("MONITOR_UNIT", other.name.to_string());
                tell(
                    "MONITOR_INVOCATION_ID",
                    self.invocation_id(other.invocation),
                );
                tell("MONITOR_SERVICE_RESULT", result_word(other.outcome));
                if let Some((code, status)) = exit_words(other.exit) {
                    tell("MONITOR_EXIT_CODE", code.to_owned());
                    tell("MONITOR_EXIT_STATUS", status);
                }
            }
        }
        match role {
            Role::Main(_) => {
                if let Some(period) = service.and_then(|service| service.watchdog) {
                    tell("WATCHDOG_USEC", period.as_micros().to_string());
                }
            }
            Role::Condition(_) | Role::StartPre(_) => {}
            Role::StartPost(_) | Role::Reload(_) | Role::Stop(_) => {
                if let Some(pid) = view.main_pid {
                    tell("MAINPID", pid.to_string());
                }
            }
            Role::StopPost(_) => {}
        }
        if matches!(role, Role::Stop(_) | Role::StopPost(_)) {
            tell("SERVICE_RESULT", result_word(view.outcome));
            if let Some((code, status)) = exit_words(view.exit) {
                tell("EXIT_CODE", code.to_owned());
                tell("EXIT_STATUS", status);
            }
        }
        told
    }
}

/// systemd has no word for a goal that was reached.
fn result_word(outcome: Outcome) -> String {
    let known = match outcome {
        Outcome::Completed => Outcome::Success,
        other => other,
    };
    known.as_str().to_owned()
}

fn exit_words(exit: Option<ExitStatus>) -> Option<(&'static str, String)> {
    match exit? {
        ExitStatus::Exited(code) => Some(("exited", code.to_string())),
        ExitStatus::Killed(signal) => Some(("killed", short(signal))),
        ExitStatus::Dumped(signal) => Some(("dumped", short(signal))),
        ExitStatus::Unknown | ExitStatus::Unseen => None,
    }
}

/// A signal's name without `SIG`.
fn short(signal: i32) -> String {
    let name = signal_name(signal);
    name.strip_prefix("SIG").unwrap_or(&name).to_owned()
}
