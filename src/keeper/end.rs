//! How everything ends: with an exit status, or, where the keeper is the first process, with the
//! machine.

pub use crate::sys::reboot::Machine as MachineEnd;

/// How the keeper ends after the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By exit(2).
    Exit(u8),
    /// With the machine.
    Machine(MachineEnd, Pace),
}

/// What is done before the machine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Every process is killed, and the disks have what was written.
    Orderly,
    /// Nothing.
    Immediate,
}

impl Default for End {
    fn default() -> Self {
        Self::Exit(0)
    }
}

const MACHINE: [MachineEnd; 4] = [
    MachineEnd::Reboot,
    MachineEnd::Poweroff,
    MachineEnd::Halt,
    MachineEnd::Kexec,
];

impl End {
    /// As a number, for the daemon's message.
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Exit(status) => u32::from(status),
            Self::Machine(end, pace) => {
                let place = MACHINE.iter().position(|other| *other == end);
                let place = u32::try_from(place.unwrap_or(0)).unwrap_or(0);
                256 + 2 * place + u32::from(pace == Pace::Immediate)
            }
        }
    }

    /// Back again.
    pub(super) fn from_code(code: u32) -> Option<Self> {
        if let Ok(status) = u8::try_from(code) {
            return Some(Self::Exit(status));
        }
        let code = usize::try_from(code.checked_sub(256)?).ok()?;
        let pace = if code % 2 == 1 {
            Pace::Immediate
        } else {
            Pace::Orderly
        };
        Some(Self::Machine(*MACHINE.get(code / 2)?, pace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_comes_back_as_it_was() {
        for code in 0..264 {
            assert_eq!(End::from_code(code).map(End::code), Some(code));
        }
        assert_eq!(End::from_code(264), None);
    }
}
