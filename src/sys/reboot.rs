//! The end of the machine. Only its first process may bring it about.

use std::convert::Infallible;
use std::io;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, sync};

/// What becomes of the machine (reboot(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// It starts again.
    Reboot,
    /// It is switched off.
    Poweroff,
    /// It stands still.
    Halt,
    /// The kernel that was loaded takes over.
    Kexec,
}

/// Ends the machine; in a container, the container. With `orderly`, every other process is killed
/// and the disks are brought up to date before.
///
/// # Errors
/// When this is not the first process, or the kernel refuses.
pub fn end(machine: Machine, orderly: bool) -> io::Result<Infallible> {
    if std::process::id() != 1 {
        return Err(io::Error::other("this is not the machine's first process"));
    }
    if orderly {
        // There may be nobody left.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        sync();
    }
    Ok(reboot(match machine {
        Machine::Reboot => RebootMode::RB_AUTOBOOT,
        Machine::Poweroff => RebootMode::RB_POWER_OFF,
        Machine::Halt => RebootMode::RB_HALT_SYSTEM,
        Machine::Kexec => RebootMode::RB_KEXEC,
    })?)
}
