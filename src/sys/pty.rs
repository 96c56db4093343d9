//! Pseudo-terminals.
//!
//! Makes a pair; the slave becomes a process's controlling terminal in the stage, the master is
//! read and written by the daemon alone. No buffering and no emulation here.

#![expect(
    unsafe_code,
    reason = "window size and controlling terminal are ioctls"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

impl Default for Size {
    /// What terminals have always had.
    fn default() -> Self {
        Self {
            columns: 80,
            rows: 24,
        }
    }
}

/// A pseudo-terminal, both ends close-on-exec.
#[derive(Debug)]
pub struct Pty {
    /// Ours; nonblocking.
    pub master: OwnedFd,
    /// The program's.
    pub slave: OwnedFd,
}

/// Opens a new pseudo-terminal.
///
/// # Errors
/// When `/dev/ptmx` cannot be opened or all are in use.
pub fn open(size: Size) -> io::Result<Pty> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = nix::pty::posix_openpt(flags)?;
    nix::pty::grantpt(&master)?;
    nix::pty::unlockpt(&master)?;
    resize(master.as_fd(), size)?;
    // By the master's own descriptor: the path could lie in another mount namespace.
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes a flag word, gives a new descriptor or -1.
    let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if slave < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the ioctl has just made it; nobody else has it.
    let slave = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(slave) };
    Ok(Pty {
        master: OwnedFd::from(master),
        slave,
    })
}

/// Changes the size; the foreground processes get `SIGWINCH`.
///
/// # Errors
/// As ioctl_tty(2).
pub fn resize(terminal: BorrowedFd<'_>, size: Size) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel reads a structure of the right size.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The size.
///
/// # Errors
/// As ioctl_tty(2).
pub fn size(terminal: BorrowedFd<'_>) -> io::Result<Size> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel fills a structure of the right size.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } {
        0 => Ok(Size {
            columns: size.ws_col,
            rows: size.ws_row,
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the terminal the controlling one of our (new) session.
///
/// # Errors
/// As ioctl_tty(2); never taken away from another session.
pub fn control(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes a number only.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives the terminal's device node to the user who will open it as `/dev/tty` or by name.
///
/// # Errors
/// As fchown(2).
pub fn give(slave: BorrowedFd<'_>, uid: u32) -> io::Result<()> {
    std::os::unix::fs::fchown(slave, Some(uid), None)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn what_is_written_to_the_slave_is_read_from_the_master() {
        let size_asked = Size {
            columns: 120,
            rows: 40,
        };
        let pty = open(size_asked).unwrap();
        assert_eq!(size(pty.slave.as_fd()).unwrap(), size_asked);
        let mut slave = std::fs::File::from(pty.slave);
        slave.write_all(b"hello\n").unwrap();
        let mut bytes = [0; 32];
        let count = std::fs::File::from(pty.master).read(&mut bytes).unwrap();
        assert_eq!(&bytes[..count], b"hello\r\n");
    }
}
