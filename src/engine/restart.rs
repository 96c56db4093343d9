//! Restart policy: what an end means, whether to start again, when, and how often.
//!
//! Pure functions over the tables of systemd.service(5), and the count of starts by policy. It
//! starts nothing; `stop` asks it at the end of the way down.
#![deny(clippy::wildcard_enum_match_arm)]

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::event::ExitStatus;
use crate::engine::view::Outcome;
use crate::unit::{ExitSet, Restart, Service, StartLimit, StartType};

/// The terminal is gone.
pub(super) const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGPIPE: i32 = 13;
const SIGTERM: i32 = 15;
/// Lets a stopped process go on.
pub(super) const SIGCONT: i32 = 18;
/// No way to refuse it; the kernel's own choice when memory runs out.
pub(super) const SIGKILL: i32 = 9;

/// Starts, for the limit and for the delay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    /// When, in microseconds; never longer than the burst.
    starts: VecDeque<u64>,
    /// How many by policy since the last start by hand.
    pub(super) restarts: u32,
}

impl History {
    /// Counts a start, whoever asked for it; `false` when the limit forbids it.
    pub(super) fn charge(&mut self, now: u64, limit: StartLimit) -> bool {
        if !limit.interval.is_zero() && limit.burst > 0 {
            let interval = micros(limit.interval);
            self.starts.retain(|at| now.saturating_sub(*at) < interval);
            if self.starts.len() >= limit.burst as usize {
                return false;
            }
            self.starts.push_back(now);
        }
        true
    }

    /// A person forgives it: everything is forgotten.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A duration in microseconds, cut at the largest.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// `Restart=` against the way it ended.
pub(super) const fn wanted(policy: Restart, outcome: Outcome) -> bool {
    match outcome {
        Outcome::StartLimitHit
        | Outcome::Dependency
        | Outcome::ExecCondition
        | Outcome::TriggerLimitHit
        | Outcome::ServiceStartLimitHit
        | Outcome::UnitStartLimitHit => false,
        Outcome::Watchdog => matches!(
            policy,
            Restart::Always | Restart::OnFailure | Restart::OnAbnormal | Restart::OnWatchdog
        ),
        Outcome::Success | Outcome::Completed => {
            matches!(policy, Restart::Always | Restart::OnSuccess)
        }
        Outcome::ExitCode | Outcome::Agent => {
            matches!(policy, Restart::Always | Restart::OnFailure)
        }
        Outcome::Signal | Outcome::CoreDump => matches!(
            policy,
            Restart::Always | Restart::OnFailure | Restart::OnAbnormal | Restart::OnAbort
        ),
        Outcome::Resources | Outcome::Timeout | Outcome::OomKill | Outcome::Protocol => matches!(
            policy,
            Restart::Always | Restart::OnFailure | Restart::OnAbnormal
        ),
    }
}

/// The delay before the next restart, after `restarts` of them.
///
/// Geometric from `RestartSec=` to `RestartMaxDelaySec=` in `RestartSteps=` steps, as in systemd:
/// the first restart waits the first, restart number steps + 1 and all later ones the largest.
pub(super) fn delay(service: &Service, restarts: u32) -> Duration {
    let first = service.restart_sec;
    let Some(largest) = service.restart_max_delay else {
        return first;
    };
    let steps = service.restart_steps;
    if steps == 0 || largest <= first || restarts == 0 {
        return first;
    }
    if restarts >= steps {
        return largest;
    }
    // From nothing no ratio leads anywhere; systemd takes a microsecond too.
    let base = first.max(Duration::from_micros(1)).as_secs_f64();
    let ratio = largest.as_secs_f64() / base;
    let value = base * ratio.powf(f64::from(restarts) / f64::from(steps));
    Duration::try_from_secs_f64(value).map_or(largest, |value| value.min(largest))
}

fn contains(set: &ExitSet, status: ExitStatus) -> bool {
    match status {
        ExitStatus::Exited(code) => set.codes.contains(&code),
        ExitStatus::Killed(signal) | ExitStatus::Dumped(signal) => set.signals.contains(&signal),
        ExitStatus::Unknown | ExitStatus::Unseen => false,
    }
}

/// `RestartPreventExitStatus=`.
pub(super) fn prevented(service: &Service, status: ExitStatus) -> bool {
    contains(&service.restart_prevent_exit, status)
}

/// `RestartForceExitStatus=`.
pub(super) fn forced(service: &Service, status: ExitStatus) -> bool {
    contains(&service.restart_force_exit, status)
}

/// What an exit status means by itself: `Success`, or how it failed.
///
/// The four polite signals are a clean end for what runs until it is told to stop, not for what
/// has something to finish.
pub(super) fn judge(service: &Service, status: ExitStatus) -> Outcome {
    if contains(&service.success_exit, status) {
        return Outcome::Success;
    }
    match status {
        // As in systemd: an end that only its own parent saw is no failure.
        ExitStatus::Exited(0) | ExitStatus::Unseen => Outcome::Success,
        ExitStatus::Exited(_) => Outcome::ExitCode,
        ExitStatus::Killed(SIGHUP | SIGINT | SIGPIPE | SIGTERM)
            if service.start != StartType::Oneshot =>
        {
            Outcome::Success
        }
        ExitStatus::Killed(_) | ExitStatus::Unknown => Outcome::Signal,
        ExitStatus::Dumped(_) => Outcome::CoreDump,
    }
}

/// One sentence about an exit status.
pub(super) fn describe(status: ExitStatus) -> String {
    match status {
        ExitStatus::Exited(code) => format!("exited with code {code}"),
        ExitStatus::Killed(signal) => format!("killed by signal {signal}"),
        ExitStatus::Dumped(signal) => format!("killed by signal {signal}, core dumped"),
        ExitStatus::Unknown | ExitStatus::Unseen => "ended while nobody could see how".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::service;

    #[test]
    fn delays_are_geometric_from_the_first_to_the_largest() {
        // 1 s to 16 s in 4 steps doubles; then it stays.
        let mut unit = service("a.service");
        let own = unit.service.as_mut().unwrap();
        own.restart_sec = Duration::from_secs(1);
        own.restart_steps = 4;
        own.restart_max_delay = Some(Duration::from_secs(16));
        let seconds: Vec<u128> = (0..7)
            .map(|n| (delay(own, n).as_millis() + 500) / 1000)
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 16, 16]);
    }

    #[test]
    fn the_table_of_restart() {
        // Rows of systemd.service(5): clean, unclean code, signal, timeout.
        let row = |policy| {
            [
                Outcome::Success,
                Outcome::ExitCode,
                Outcome::Signal,
                Outcome::Timeout,
            ]
            .map(|outcome| wanted(policy, outcome))
        };
        assert_eq!(row(Restart::No), [false; 4]);
        assert_eq!(row(Restart::Always), [true; 4]);
        assert_eq!(row(Restart::OnSuccess), [true, false, false, false]);
        assert_eq!(row(Restart::OnFailure), [false, true, true, true]);
        assert_eq!(row(Restart::OnAbnormal), [false, false, true, true]);
        assert_eq!(row(Restart::OnAbort), [false, false, true, false]);
    }
}
