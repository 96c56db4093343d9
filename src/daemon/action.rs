//! `FailureAction=` and its like: Aether ends, or the machine does, on a unit's account.

use std::os::fd::AsFd;

use crate::daemon::Daemon;
use crate::diagnostic::{Diagnostic, Severity};
use crate::keeper::{self, MachineEnd, Message, Pace};
use crate::name::UnitName;
use crate::sys::socket;
use crate::unit::{Action, End, Haste, Unit};

impl Daemon {
    /// [`Effect::Act`](crate::engine::event::Effect::Act).
    pub(super) fn act(&mut self, unit: &UnitName, action: Action, status: u8, why: &str) {
        if self.ending.is_some() {
            return self.say(unit, &format!("{why}: {action} is under way already"));
        }
        if action.ends_the_machine() && !is_first(self.keeper.is_some()) {
            let text = format!("{why}, and {action} is refused: {NOT_FIRST}");
            return self.say(unit, &text);
        }
        self.say(unit, &format!("{why}: {action}"));
        let pace = if action.haste == Haste::Immediate {
            Pace::Immediate
        } else {
            Pace::Orderly
        };
        let machine = |end| keeper::End::Machine(end, pace);
        let end = match action.end {
            End::Exit => keeper::End::Exit(status),
            End::Reboot => machine(MachineEnd::Reboot),
            End::Poweroff => machine(MachineEnd::Poweroff),
            End::Halt => machine(MachineEnd::Halt),
            End::Kexec => machine(MachineEnd::Kexec),
        };
        self.ending = Some(end);
        if action.haste == Haste::Orderly {
            self.stop_everything();
        } else {
            self.kill_everything();
            self.forced = true;
        }
    }

    /// Nothing is stopped in order: what runs is killed, and a daemon that comes later finds no
    /// trace of it.
    fn kill_everything(&mut self) {
        let units: Vec<UnitName> = self.held.keys().cloned().collect();
        for unit in units {
            self.kill_group(&unit);
        }
        let known: Vec<UnitName> = self.engine.views().map(|view| view.name).collect();
        for unit in known {
            self.drop_snapshot(&unit);
        }
    }

    /// Tells the keeper how to end; without one, that is our own exit status.
    pub(super) fn tell_end(&self) -> u8 {
        let Some(end) = self.ending else { return 0 };
        match (&self.keeper, end) {
            (Some(keeper), end) => {
                let message = Message::End(end).encode();
                if let Err(error) = socket::send(keeper.as_fd(), &message, &[]) {
                    tracing::error!("the keeper cannot be told how to end: {error}");
                }
                0
            }
            (None, keeper::End::Exit(status)) => status,
            // Refused before.
            (None, keeper::End::Machine(..)) => 1,
        }
    }
}

const NOT_FIRST: &str =
    "Aether is not the first process here (PID 1), and the machine is not its own to end";

/// Whether our keeper is the machine's first process.
fn is_first(kept: bool) -> bool {
    kept && std::os::unix::process::parent_id() == 1
}

/// What a unit asks for that would be refused here.
pub(super) fn refused(unit: &Unit, kept: bool) -> Option<Diagnostic> {
    if is_first(kept) {
        return None;
    }
    let written: Vec<String> = unit
        .settings
        .actions
        .written()
        .filter(|(_, action)| action.ends_the_machine())
        .map(|(key, action)| format!("{key}={action}"))
        .collect();
    if written.is_empty() {
        return None;
    }
    let path = unit
        .fragment
        .clone()
        .unwrap_or_else(|| unit.name.as_str().into());
    let message = format!("{} will be refused: {NOT_FIRST}", written.join(", "));
    let help = "write exit to end Aether itself".to_owned();
    Some(Diagnostic::of_file(
        Severity::Warning,
        path,
        message,
        Some(help),
    ))
}
