//! The clocks, and a timer that fires at a time on one of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{
    ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags,
};
use nix::time::{ClockId, clock_gettime};

use crate::engine::event::Now;

/// Reads both clocks.
#[must_use]
pub fn now() -> Now {
    Now {
        monotonic: microseconds(ClockId::CLOCK_BOOTTIME),
        realtime: microseconds(ClockId::CLOCK_REALTIME),
    }
}

/// Nanoseconds since 1970.
#[must_use]
pub fn realtime_nanos() -> u128 {
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |time| Duration::from(time).as_nanos())
}

fn microseconds(clock: ClockId) -> u64 {
    // Neither clock can fail on a kernel that has cgroups.
    clock_gettime(clock).map_or(0, |time| {
        u64::try_from(Duration::from(time).as_micros()).unwrap_or(u64::MAX)
    })
}

/// How far `CLOCK_BOOTTIME` is ahead of `CLOCK_MONOTONIC`, in microseconds: what the machine has
/// been suspended for. Others tell times on the latter.
#[must_use]
pub fn suspended() -> u64 {
    let boot = microseconds(ClockId::CLOCK_BOOTTIME);
    boot.saturating_sub(microseconds(ClockId::CLOCK_MONOTONIC))
}

/// Tells when the clock of the day is set (timerfd_create(2), `TFD_TIMER_CANCEL_ON_SET`); it never
/// rings.
#[derive(Debug)]
pub struct Jumps(TimerFd);

impl Jumps {
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let jumps = Self(TimerFd::new(TimerClock::CLOCK_REALTIME, flags)?);
        jumps.arm()?;
        Ok(jumps)
    }

    fn arm(&self) -> io::Result<()> {
        // As far away as the kernel takes it.
        let never = TimeSpec::from_duration(Duration::from_secs(i64::MAX as u64 / 4_000_000_000));
        let flags =
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        Ok(self.0.set(Expiration::OneShot(never), flags)?)
    }

    /// Whether there was a jump since the last time it was asked.
    #[must_use]
    pub fn take(&self) -> bool {
        let mut count = [0; 8];
        let jumped = nix::unistd::read(&self.0, &mut count) == Err(nix::errno::Errno::ECANCELED);
        let _ = self.arm();
        jumped
    }
}

impl AsFd for Jumps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One timer on `CLOCK_BOOTTIME`, the clock of every duration here; it counts suspended time.
#[derive(Debug)]
pub struct Alarm(TimerFd);

impl Alarm {
    /// # Errors
    /// EMFILE, ENFILE.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self(TimerFd::new(TimerClock::CLOCK_BOOTTIME, flags)?))
    }

    /// Fires at `at` microseconds (at once when that is past), or never.
    ///
    /// # Errors
    /// Those of timerfd_settime(2).
    pub fn set(&self, at: Option<u64>) -> io::Result<()> {
        match at {
            // A zero value would disarm.
            Some(at) => self.0.set(
                Expiration::OneShot(TimeSpec::from_duration(Duration::from_micros(at.max(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?,
            None => self.0.unset()?,
        }
        Ok(())
    }

    /// Takes the expiry away, so that the descriptor is no longer readable.
    pub fn clear(&self) {
        let mut count = [0; 8];
        let _ = nix::unistd::read(&self.0, &mut count);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
