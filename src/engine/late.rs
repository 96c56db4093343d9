//! Times that are over: of a start, of a run, of a step on the way down; and the watchdog's.
//!
//! `TimeoutStartFailureMode=` and `TimeoutStopFailureMode=` say how whatever is too late is ended; in
//! the end by force in any case.
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use crate::engine::event::{Effect, TimerId, Whom};
use crate::engine::restart::{SIGCONT, micros};
use crate::engine::state::{Alive, Deadline, Process, State};
use crate::engine::step::Step;
use crate::engine::trigger::hash;
use crate::engine::view::Outcome;
use crate::unit::{FailureMode, KillMode, Service};

impl Step<'_> {
    /// A timer of the unit is due.
    pub(super) fn timer_fired(&mut self, timer: TimerId) {
        let is = |deadline: Deadline| matches!(deadline, Deadline::At { timer: own, .. } if own == timer);
        let Some(service) = &self.unit.service else {
            return;
        };
        if is(self.core.clocks.runtime) {
            self.core.clocks.runtime = Deadline::Never;
            self.fail(Outcome::Timeout, "it ran for longer than RuntimeMaxSec=");
            self.wind_down();
        } else if is(self.core.clocks.watchdog) {
            self.core.clocks.watchdog = Deadline::Never;
            self.watchdog_expired(service, "its time is over");
        } else if is(self.core.state.deadline()) {
            if let Some(deadline) = self.core.state.deadline_mut() {
                *deadline = Deadline::Never;
            }
            self.state_timed_out(service);
        }
    }

    /// `RuntimeMaxSec=`, and something of `RuntimeRandomizedExtraSec=`: for the same run always the
    /// same.
    pub(super) fn longest_run(&self, service: &Service) -> Option<Duration> {
        let extra = match micros(service.runtime_extra) {
            0 => 0,
            most => {
                let run = self.core.invocation.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                hash(self.counters.seed ^ run, self.unit.name.as_str()) % most
            }
        };
        service
            .runtime_max
            .map(|most| most.saturating_add(Duration::from_micros(extra)))
    }

    fn state_timed_out(&mut self, service: &Service) {
        match self.core.state {
            State::Condition { .. }
            | State::StartPre { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
            | State::StartPost { .. } => self.start_late(service),
            State::Idling { .. } => self.end_idling(),
            State::Reloading { main, control, .. } => self.reload_late(main, control),
            State::StopExec { main, control, .. } => {
                self.fail(
                    Outcome::Timeout,
                    "ExecStop= took longer than TimeoutStopSec=",
                );
                let main = main.map(Process::Alive);
                match service.stop_failure_mode {
                    FailureMode::Terminate => self.signal(main, Some(control)),
                    FailureMode::Abort => self.abort(service, main, Some(control), false),
                    FailureMode::Kill => self.kill(main, Some(control)),
                }
            }
            State::Interrupting { main, .. } => {
                let limit = self.timeout_stop().map(|limit| limit - limit / 4);
                self.terminate(Some(Process::Alive(main)), None, limit);
            }
            State::Terminating {
                main,
                control,
                aborting,
                last,
                ..
            } => {
                let (main, control) = (main.map(Process::Alive), control.map(Process::Alive));
                if !aborting {
                    self.fail(Outcome::Timeout, "it did not end within TimeoutStopSec=");
                }
                if !aborting && service.stop_failure_mode == FailureMode::Abort {
                    self.abort(service, main, control, last);
                } else {
                    self.end_by_force(main, control, last);
                }
            }
            // What survived FinalKillSignal= does not survive this.
            State::Killing { .. } => self.kill_all(),
            State::StopPost { control, .. } => {
                self.fail(
                    Outcome::Timeout,
                    "ExecStopPost= took longer than TimeoutStopSec=",
                );
                match service.stop_failure_mode {
                    FailureMode::Terminate => self.end_stop_post(service, control),
                    FailureMode::Abort => self.abort(service, None, Some(control), true),
                    FailureMode::Kill => self.end_by_force(None, Some(control), true),
                }
            }
            State::Sweeping { aborting, .. } => {
                self.fail(
                    Outcome::Timeout,
                    "what it left behind did not end within TimeoutStopSec=",
                );
                if !aborting && service.stop_failure_mode == FailureMode::Abort {
                    self.abort_what_is_left(service);
                } else {
                    self.end_by_force(None, None, true);
                }
            }
            // `schedule` makes the start job: it may have to wait for others.
            State::AutoRestart { .. }
            | State::Dead { .. }
            | State::Checking
            | State::Running { .. }
            | State::Exited
            | State::Opening
            | State::Waiting { .. }
            | State::Triggered
            | State::Elapsed => {}
        }
    }

    /// The start took too long.
    fn start_late(&mut self, service: &Service) {
        self.fail(
            Outcome::Timeout,
            "its start took longer than TimeoutStartSec=",
        );
        let (main, control) = (self.core.state.main(), self.core.state.control());
        if service.start_failure_mode == FailureMode::Terminate {
            return self.wind_down();
        }
        self.core.run.stopping = true;
        self.leave_running();
        if service.start_failure_mode == FailureMode::Abort {
            self.abort(service, main, control, false);
        } else {
            self.kill(main, control);
        }
    }

    /// `WatchdogSignal=`, with the time of `TimeoutAbortSec=`.
    pub(super) fn abort(
        &mut self,
        service: &Service,
        main: Option<Process>,
        control: Option<Process>,
        last: bool,
    ) {
        let asked = |process: Option<Process>| process.is_some_and(|p| p.alive().is_none());
        if asked(main) || asked(control) {
            // A process that is still being made gets no signal; the kill finds it.
            return self.end_by_force(main, control, last);
        }
        self.disarm();
        let signals = vec![service.watchdog_signal, SIGCONT];
        self.send_to(service, main.is_some(), control.is_some(), &signals);
        let deadline = self.arm(service.timeout_abort);
        self.core.state = State::Terminating {
            main: main.and_then(Process::alive),
            control: control.and_then(Process::alive),
            aborting: true,
            last,
            deadline,
        };
    }

    /// `ExecStopPost=` is asked to end, as the rest of the unit was before.
    fn end_stop_post(&mut self, service: &Service, control: Process) {
        let Some(control) = control
            .alive()
            .filter(|_| service.kill_mode != KillMode::None)
        else {
            return self.end_by_force(None, Some(control), true);
        };
        self.disarm();
        self.ask_to_end(service, false, true);
        let deadline = self.arm_always(service.timeout_stop);
        self.core.state = State::Terminating {
            main: None,
            control: Some(control),
            aborting: false,
            last: true,
            deadline,
        };
    }

    fn abort_what_is_left(&mut self, service: &Service) {
        self.out.push(Effect::Sweep {
            unit: self.unit.name.clone(),
            signals: vec![service.watchdog_signal, SIGCONT],
        });
        let deadline = self.arm_always(service.timeout_abort);
        self.core.state = State::Sweeping {
            aborting: true,
            deadline,
        };
    }

    /// Sends signals to the known processes that there are, or to all where `KillMode=` says so.
    /// Where none is known, what is left gets them, and the empty cgroup is the answer.
    pub(super) fn send_to(
        &mut self,
        service: &Service,
        main: bool,
        control: bool,
        signals: &[i32],
    ) {
        let unit = || self.unit.name.clone();
        if !main && !control {
            self.out.push(Effect::Sweep {
                unit: unit(),
                signals: signals.to_vec(),
            });
            return;
        }
        let whom = if service.kill_mode == KillMode::ControlGroup {
            vec![Whom::All]
        } else {
            let known = [(main, Whom::Main), (control, Whom::Control)];
            known
                .into_iter()
                .filter_map(|(there, whom)| there.then_some(whom))
                .collect()
        };
        for whom in whom {
            for signal in signals {
                self.out.push(Effect::Signal {
                    unit: unit(),
                    whom,
                    signal: *signal,
                });
            }
        }
    }

    /// The watchdog bites what is up.
    pub(super) fn bite(
        &mut self,
        service: &Service,
        main: Option<Alive>,
        control: Option<Process>,
    ) {
        self.core.run.stopping = true;
        self.leave_running();
        self.abort(service, main.map(Process::Alive), control, false);
    }
}
