//! The way down: `ExecStop=` → interrupt → signal → kill → `ExecStopPost=` → kill → dead, or a
//! restart by policy.
//!
//! Every path ends in `kill` and waits until nothing is left. Who decides what, when two wishes
//! conflict, is written above [`State`].
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use crate::engine::event::{Effect, ExitStatus, Role, Whom};
use crate::engine::restart::{self, SIGCONT, SIGKILL};
use crate::engine::state::{Deadline, Next, Process, State};
use crate::engine::step::Step;
use crate::engine::view::Outcome;
use crate::unit::{KillMode, OomPolicy, Service};

impl Step<'_> {
    /// Somebody, or a job, wants it down. A pause gives way at once.
    pub(super) fn stop(&mut self) {
        self.core.run.stop_asked = true;
        self.unfreeze();
        match self.core.state {
            State::Dead { .. } => {}
            State::AutoRestart { .. } => {
                self.disarm();
                self.dead(false);
            }
            State::Exited if self.unit.service.is_none() => self.dead(false),
            State::StartPre { .. }
            | State::Launching { .. }
            | State::StartPost { .. }
            | State::Running { .. }
            | State::Exited => self.wind_down(),
            State::StopExec { .. }
            | State::Interrupting { .. }
            | State::Terminating { .. }
            | State::Killing { .. }
            | State::StopPost { .. } => self.rearm(),
        }
    }

    /// Begins the way down from wherever it is up.
    fn wind_down(&mut self) {
        self.core.run.stopping = true;
        match self.core.state {
            State::StartPre { control, .. } => self.signal(None, Some(control)),
            State::Launching { main, .. } => self.signal(Some(main), None),
            State::StartPost { main, control, .. } => {
                self.signal(main.map(Process::Alive), Some(control));
            }
            State::Running { main, .. } => self.stop_exec(Some(main), 0),
            State::Exited => self.stop_exec(None, 0),
            State::Dead { .. }
            | State::StopExec { .. }
            | State::Interrupting { .. }
            | State::Terminating { .. }
            | State::Killing { .. }
            | State::StopPost { .. }
            | State::AutoRestart { .. } => {}
        }
    }

    /// The next `ExecStop=`, or what follows the last.
    pub(super) fn stop_exec(&mut self, main: Option<super::state::Alive>, index: u16) {
        let Some(service) = &self.unit.service else {
            return;
        };
        self.disarm();
        if usize::from(index) < service.exec_stop.len() {
            let deadline = self.arm(service.timeout_stop);
            let control = self.spawn(Role::Stop(index));
            self.core.state = State::StopExec {
                main,
                control,
                index,
                deadline,
            };
            return;
        }
        self.signal(main.map(Process::Alive), None);
    }

    /// Asks what is alive to end.
    pub(super) fn signal(&mut self, main: Option<Process>, control: Option<Process>) {
        let asked = |process: Option<Process>| process.is_some_and(|p| p.alive().is_none());
        if (main.is_none() && control.is_none()) || asked(main) || asked(control) {
            // A process that is still being made cannot be asked; the kill finds it.
            self.kill(main, control);
            return;
        }
        self.disarm();
        if self.is_headless()
            && control.is_none()
            && let Some(main) = main.and_then(Process::alive)
        {
            let limit = self.timeout_stop().map(|limit| limit / 4);
            self.out.push(Effect::Interrupt {
                unit: self.unit.name.clone(),
            });
            self.close_input();
            let deadline = self.arm(limit);
            self.core.state = State::Interrupting { main, deadline };
            return;
        }
        let limit = self.timeout_stop();
        self.terminate(main, control, limit);
    }

    fn timeout_stop(&self) -> Option<Duration> {
        self.unit.service.as_ref().and_then(|s| s.timeout_stop)
    }

    fn terminate(
        &mut self,
        main: Option<Process>,
        control: Option<Process>,
        limit: Option<Duration>,
    ) {
        let Some(service) = &self.unit.service else {
            return;
        };
        let whom = match service.kill_mode {
            KillMode::Mixed | KillMode::Process if main.is_some() && control.is_none() => {
                Whom::Main
            }
            KillMode::ControlGroup | KillMode::Mixed | KillMode::Process | KillMode::None => {
                Whom::All
            }
        };
        self.disarm();
        self.ask_to_end(service, whom);
        let deadline = self.arm(limit);
        self.core.state = State::Terminating {
            main: main.and_then(Process::alive),
            control: control.and_then(Process::alive),
            deadline,
        };
    }

    /// `KillSignal=`, and after it SIGCONT as in systemd.kill(5): a process that somebody stopped
    /// takes no signal until it goes on.
    pub(super) fn ask_to_end(&mut self, service: &Service, whom: Whom) {
        for signal in [service.kill_signal, SIGCONT] {
            self.out.push(Effect::Signal {
                unit: self.unit.name.clone(),
                whom,
                signal,
            });
        }
    }

    pub(super) fn kill_all(&mut self) {
        self.out.push(Effect::KillAll {
            unit: self.unit.name.clone(),
        });
    }

    /// Ends everything that is left, known or not.
    pub(super) fn kill(&mut self, main: Option<Process>, control: Option<Process>) {
        self.disarm();
        self.kill_all();
        self.core.state = State::Killing {
            main,
            control,
            emptied: false,
            last: false,
        };
    }

    /// [`Event::Emptied`](crate::engine::event::Event::Emptied).
    pub(super) fn emptied(&mut self) {
        if let State::Killing { emptied, .. } = &mut self.core.state {
            *emptied = true;
            self.finish();
        }
    }

    /// Goes on when nothing is left.
    pub(super) fn finish(&mut self) {
        if let State::Killing {
            main: None,
            control: None,
            emptied: true,
            last,
        } = self.core.state
        {
            if last {
                self.conclude();
            } else {
                self.stop_post(0);
            }
        }
    }

    /// The next `ExecStopPost=`; after the last its own leftovers are killed.
    pub(super) fn stop_post(&mut self, index: u16) {
        let Some(service) = &self.unit.service else {
            return;
        };
        self.disarm();
        if usize::from(index) < service.exec_stop_post.len() {
            let deadline = self.arm_always(service.timeout_stop);
            let control = self.spawn(Role::StopPost(index));
            self.core.state = State::StopPost {
                control,
                index,
                deadline,
            };
        } else if index == 0 {
            self.conclude();
        } else {
            self.kill_last(None);
        }
    }

    fn kill_last(&mut self, control: Option<Process>) {
        self.disarm();
        self.kill_all();
        self.core.state = State::Killing {
            main: None,
            control,
            emptied: false,
            last: true,
        };
    }

    /// Nothing is left; what now?
    fn conclude(&mut self) {
        let Some(service) = &self.unit.service else {
            return;
        };
        let outcome = self.core.run.outcome;
        let failed = !matches!(outcome, Outcome::Success | Outcome::Completed);
        if self.core.run.stop_asked || self.is_start_wanted() || self.core.undefined {
            self.dead(failed);
            return;
        }
        match self.core.run.next {
            Next::Final => self.dead(failed),
            Next::Fresh => {
                self.core.fresh_tried = true;
                self.core.fresh_next = true;
                self.auto_restart(Duration::ZERO);
            }
            // It said it is done, but somebody had spoken to it meanwhile: it goes on instead.
            Next::Policy if outcome == Outcome::Completed && !self.core.inputs.is_empty() => {
                self.auto_restart(Duration::ZERO);
            }
            Next::Policy if restart::wanted(service.restart, outcome) => {
                self.auto_restart(restart::delay(service, self.core.history.restarts));
            }
            Next::Lost if restart::wanted(service.restart, outcome) => {
                self.auto_restart(service.restart_sec);
            }
            Next::Policy | Next::Lost => self.dead(failed),
        }
    }

    fn auto_restart(&mut self, delay: Duration) {
        let deadline = if delay.is_zero() && !self.core.freezer.is_paused() {
            Deadline::Never
        } else {
            self.arm(Some(delay))
        };
        self.core.state = State::AutoRestart { deadline };
    }

    /// Down for good, until somebody starts it.
    pub(super) fn dead(&mut self, failed: bool) {
        self.end_freezer();
        self.core.state = State::Dead { failed };
        if !self.is_start_wanted() {
            let dropped = self.core.inputs.clear();
            if dropped > 0 {
                self.log(format!(
                    "ended with {dropped} messages not delivered; they are dropped"
                ));
            }
        }
        if self.unit.service.is_some() {
            self.out.push(Effect::Release {
                unit: self.unit.name.clone(),
            });
        }
    }

    /// The unit's timer is due.
    pub(super) fn timer_fired(&mut self) {
        if let Some(deadline) = self.core.state.deadline_mut() {
            *deadline = Deadline::Never;
        }
        match self.core.state {
            State::StartPre { .. } | State::Launching { .. } | State::StartPost { .. } => {
                self.fail(
                    Outcome::Timeout,
                    "its start took longer than TimeoutStartSec=",
                );
                self.wind_down();
            }
            State::Running { .. } => {
                self.fail(Outcome::Timeout, "it ran for longer than RuntimeMaxSec=");
                self.wind_down();
            }
            State::StopExec { main, control, .. } => {
                self.fail(
                    Outcome::Timeout,
                    "ExecStop= took longer than TimeoutStopSec=",
                );
                self.signal(main.map(Process::Alive), Some(control));
            }
            State::Interrupting { main, .. } => {
                let limit = self.timeout_stop().map(|limit| limit - limit / 4);
                self.terminate(Some(Process::Alive(main)), None, limit);
            }
            State::Terminating { main, control, .. } => {
                self.fail(Outcome::Timeout, "it did not end within TimeoutStopSec=");
                self.kill(main.map(Process::Alive), control.map(Process::Alive));
            }
            State::StopPost { control, .. } => {
                self.fail(
                    Outcome::Timeout,
                    "ExecStopPost= took longer than TimeoutStopSec=",
                );
                self.kill_last(Some(control));
            }
            // `schedule` makes the start job: it may have to wait for others.
            State::AutoRestart { .. }
            | State::Dead { .. }
            | State::Exited
            | State::Killing { .. } => {}
        }
    }

    /// [`Event::OutOfMemory`](crate::engine::event::Event::OutOfMemory). It comes before or after
    /// the end of the process that was killed.
    pub(super) fn out_of_memory(&mut self) {
        let Some(service) = &self.unit.service else {
            return;
        };
        self.log("the kernel killed a process of it for memory");
        let first = !self.core.run.out_of_memory;
        match self.core.state {
            State::Launching { .. } | State::StartPost { .. } | State::Running { .. } => {
                self.core.run.out_of_memory = true;
                if self.core.freezer.is_paused() {
                    self.core.run.memory_due = true;
                } else {
                    self.obey_oom_policy(service);
                }
            }
            State::Killing { .. }
            | State::StopPost { .. }
            | State::AutoRestart { .. }
            | State::Dead { .. } => {
                let run = &mut self.core.run;
                let victim = run.exit == Some(ExitStatus::Killed(SIGKILL));
                if first
                    && victim
                    && !run.stopping
                    && matches!(run.outcome, Outcome::Signal | Outcome::Agent)
                {
                    run.out_of_memory = true;
                    run.outcome = Outcome::OomKill;
                    "killed for memory".clone_into(&mut run.why);
                }
            }
            State::StartPre { .. }
            | State::Exited
            | State::StopExec { .. }
            | State::Interrupting { .. }
            | State::Terminating { .. } => self.core.run.out_of_memory = true,
        }
    }

    /// `OOMPolicy=`, at once or on resume.
    pub(super) fn obey_oom_policy(&mut self, service: &Service) {
        self.core.run.memory_due = false;
        let policy = service.oom_policy;
        if policy != OomPolicy::Continue {
            self.fail(
                Outcome::OomKill,
                "one of its processes was killed for memory",
            );
        }
        match policy {
            OomPolicy::Continue => {}
            OomPolicy::Stop => {
                self.core.run.stopping = true;
                let (main, control) = (self.core.state.main(), self.core.state.control());
                self.signal(main, control);
            }
            OomPolicy::Kill => {
                self.core.run.stopping = true;
                let (main, control) = (self.core.state.main(), self.core.state.control());
                self.kill(main, control);
            }
        }
    }
}
