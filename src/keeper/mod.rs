//! The keeper: the process above the daemon, which must not die.
//!
//! It spawns aetherd and respawns it, reaps every orphan, keeps descriptors (the sd_notify
//! protocol, [`crate::sys::fdstore`]) and obituaries. It is single-threaded (only what
//! units stored is closed elsewhere, see [`crate::sys::closing`]), waits in one poll, and
//! wakes for nothing but events. It knows no units: what an obituary or a descriptor means is the
//! daemon's business.
//!
//! # The keeper's socket
//! Every aetherd gets, among the descriptors of sd_listen_fds(3), one named [`SOCKET_NAME`]: a
//! `SOCK_SEQPACKET` socket, one end of a pair made for this daemon alone. Messages are little-endian,
//! [`LENGTH`] bytes each, and begin with a kind:
//!
//! | bytes | obituary (1) | acknowledge (2) | sync (3), synced (4) |
//! |---|---|---|---|
//! | 0–3 | kind | kind | kind |
//! | 4–7 | pid | 0 | 0 |
//! | 8–15 | sequence | sequence | token |
//! | 16–23 | start time, clock ticks after boot | 0 | 0 |
//! | 24–27 | raw wait status | 0 | 0 |
//! | 28–31 | 0 | 0 | 0 |
//!
//! The keeper sends obituaries in order of sequence, again from the oldest to each new daemon, until
//! one acknowledges: that covers the sequence and all before it, so the daemon does it when it has
//! written down what it learnt. A daemon that asks for a sync gets its token back behind everything
//! that had died before the question: who is gone then, and has no obituary, was reaped by somebody
//! else.
//!
//! # How the daemon's end is read
//! Exit code 0: it has stopped what it ran; the keeper exits too. [`RESTART_CODE`]: respawned at
//! once (upgrade). Anything else: respawned after a delay, see `backoff`. Read next: `run`, the
//! loop; `store` and `obituaries`, what is kept.

#![expect(
    clippy::disallowed_methods,
    reason = "it starts the daemon and waits for it by the clock"
)]

mod backoff;
mod end;
mod obituaries;
mod run;
mod store;

pub use end::{End, MachineEnd, Pace};
pub use run::{Command, KeeperError, run};

/// Name of the descriptor of this socket.
pub const SOCKET_NAME: &str = "keeper";
/// Exit code by which aetherd asks to be started again at once (systemd's "restart forced").
pub const RESTART_CODE: i32 = 133;
/// Length of every message.
pub const LENGTH: usize = 32;

/// A process that died and was not the daemon itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obituary {
    /// Counted from 1 by one keeper; gaps mean that old ones had to be dropped.
    pub sequence: u64,
    /// The process.
    pub pid: u32,
    /// When it had started, in clock ticks after boot (proc_pid_stat(5), field 22): with the pid,
    /// its identity. 0 when that could not be read.
    pub start: u64,
    /// Its status as wait(2) gives it.
    pub status: i32,
}

/// What keeper and daemon say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Keeper → daemon: somebody died.
    Obituary(Obituary),
    /// Daemon → keeper: everything up to this sequence need not be kept.
    Acknowledge(u64),
    /// Daemon → keeper: say this token when you have told me everything.
    Sync(u64),
    /// Keeper → daemon: that was everything before the question.
    Synced(u64),
    /// Daemon → keeper: when I have ended in order, end like this.
    End(End),
}

impl Message {
    /// As it goes over the socket.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH] {
        let (kind, pid, number, start, status) = match *self {
            Self::Obituary(o) => (1_u32, o.pid, o.sequence, o.start, o.status),
            Self::Acknowledge(sequence) => (2, 0, sequence, 0, 0),
            Self::Sync(token) => (3, 0, token, 0, 0),
            Self::Synced(token) => (4, 0, token, 0, 0),
            Self::End(end) => (5, end.code(), 0, 0, 0),
        };
        let mut bytes = [0; LENGTH];
        bytes[0..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&pid.to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        bytes[16..24].copy_from_slice(&start.to_le_bytes());
        bytes[24..28].copy_from_slice(&status.to_le_bytes());
        bytes
    }

    /// Reads one message; `None` when it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
        let word = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        let long = |at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
        };
        let number = long(8)?;
        Some(match word(0)? {
            1 => Self::Obituary(Obituary {
                sequence: number,
                pid: word(4)?,
                start: long(16)?,
                status: word(24)?.cast_signed(),
            }),
            2 => Self::Acknowledge(number),
            3 => Self::Sync(number),
            4 => Self::Synced(number),
            5 => Self::End(End::from_code(word(4)?)?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::end::{MachineEnd, Pace};
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let all = [
            Message::Obituary(Obituary {
                sequence: u64::MAX,
                pid: 4_194_304,
                start: 1 << 40,
                status: -1,
            }),
            Message::Acknowledge(7),
            Message::Sync(8),
            Message::Synced(9),
            Message::End(End::Exit(7)),
            Message::End(End::Machine(MachineEnd::Kexec, Pace::Immediate)),
        ];
        for message in all {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn nonsense_is_no_message() {
        assert_eq!(Message::decode(b""), None);
        assert_eq!(Message::decode(&[0; LENGTH]), None);
        assert_eq!(Message::decode(&[1; LENGTH]), None);
        assert_eq!(Message::decode(&Message::Sync(1).encode()[1..]), None);
        assert_eq!(Message::decode(&[1; LENGTH + 1]), None);
    }
}
