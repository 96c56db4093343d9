//! The way down: `ExecStop=` → interrupt → signal → kill → `ExecStopPost=` → sweep → dead, or a
//! restart by policy.
//!
//! Every path ends with an empty cgroup. Who decides what, when two wishes conflict, is written
//! above [`State`].
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use crate::engine::event::{Effect, ExitStatus, Role};
use crate::engine::restart::{self, SIGCONT, SIGHUP, SIGKILL};
use crate::engine::state::{Alive, Deadline, Next, Process, State};
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
            State::Checking => self.dead(false),
            State::Opening | State::Waiting { .. } | State::Triggered | State::Elapsed => {
                self.disarm();
                self.dead(false);
            }
            State::Exited if self.unit.service.is_none() => self.dead(false),
            State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
            | State::StartPost { .. }
            | State::Running { .. }
            | State::Reloading { .. }
            | State::Exited => self.wind_down(),
            State::StopExec { .. }
            | State::Interrupting { .. }
            | State::Terminating { .. }
            | State::Killing { .. }
            | State::StopPost { .. }
            | State::Sweeping { .. } => self.rearm(),
        }
    }

    /// Begins the way down from wherever it is up.
    pub(super) fn wind_down(&mut self) {
        self.core.run.stopping = true;
        self.leave_running();
        match self.core.state {
            State::Condition { control, .. } | State::StartPre { control, .. } => {
                self.signal(None, Some(control));
            }
            State::Idling { .. } | State::Seeking { .. } => self.signal(None, None),
            State::Launching { main, .. } => self.signal(Some(main), None),
            State::StartPost { main, control, .. } => {
                self.signal(main.map(Process::Alive), Some(control));
            }
            State::Reloading { main, control, .. } => match control {
                Some(_) => self.signal(main.map(Process::Alive), control),
                None => self.stop_exec(main, 0),
            },
            State::Running { main } => self.stop_exec(main, 0),
            State::Exited => self.stop_exec(None, 0),
            State::Dead { .. }
            | State::Checking
            | State::Opening
            | State::Waiting { .. }
            | State::Triggered
            | State::Elapsed
            | State::StopExec { .. }
            | State::Interrupting { .. }
            | State::Terminating { .. }
            | State::Killing { .. }
            | State::StopPost { .. }
            | State::Sweeping { .. }
            | State::AutoRestart { .. } => {}
        }
    }

    /// The next `ExecStop=`, or what follows the last.
    pub(super) fn stop_exec(&mut self, main: Option<Alive>, index: u16) {
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
        if asked(main) || asked(control) {
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

    pub(super) fn timeout_stop(&self) -> Option<Duration> {
        self.unit.service.as_ref().and_then(|s| s.timeout_stop)
    }

    pub(super) fn terminate(
        &mut self,
        main: Option<Process>,
        control: Option<Process>,
        limit: Option<Duration>,
    ) {
        let Some(service) = &self.unit.service else {
            return;
        };
        if service.kill_mode == KillMode::None {
            // Nobody is asked, so nobody need be waited for.
            return self.kill(main, control);
        }
        self.disarm();
        let (main, control) = (
            main.and_then(Process::alive),
            control.and_then(Process::alive),
        );
        self.ask_to_end(service, main.is_some(), control.is_some());
        let deadline = self.arm(limit);
        self.core.state = State::Terminating {
            main,
            control,
            aborting: false,
            last: false,
            deadline,
        };
    }

    /// The signals that ask to end (systemd.kill(5)): `KillSignal=`, or `RestartKillSignal=` when
    /// it is to go on; SIGCONT, because a process that somebody stopped takes no signal until it
    /// goes on; SIGHUP where shells want it.
    fn polite_signals(&self, service: &Service) -> Vec<i32> {
        let restarts = self.is_start_wanted() && service.restart_kill_signal.is_some();
        let first = match service.restart_kill_signal {
            Some(signal) if restarts => signal,
            _ => service.kill_signal,
        };
        let mut signals = vec![first, SIGCONT];
        if service.send_sighup {
            signals.push(SIGHUP);
        }
        signals
    }

    /// Sends the polite signals to whom `KillMode=` says.
    pub(super) fn ask_to_end(&mut self, service: &Service, main: bool, control: bool) {
        let signals = match service.kill_mode {
            KillMode::None => vec![],
            // Nobody is known who could be asked.
            KillMode::Mixed | KillMode::Process if !main && !control => vec![SIGKILL],
            KillMode::ControlGroup | KillMode::Mixed | KillMode::Process => {
                self.polite_signals(service)
            }
        };
        self.send_to(service, main, control, &signals);
    }

    pub(super) fn kill_all(&mut self) {
        self.out.push(Effect::KillAll {
            unit: self.unit.name.clone(),
        });
    }

    /// Ends everything that is left, known or not.
    pub(super) fn kill(&mut self, main: Option<Process>, control: Option<Process>) {
        self.end_by_force(main, control, false);
    }

    pub(super) fn end_by_force(
        &mut self,
        main: Option<Process>,
        control: Option<Process>,
        last: bool,
    ) {
        self.disarm();
        let final_signal = self
            .unit
            .service
            .as_ref()
            .map_or(SIGKILL, |service| service.final_kill_signal);
        let asked = |process: Option<Process>| process.is_some_and(|p| p.alive().is_none());
        let gently = final_signal != SIGKILL && !asked(main) && !asked(control);
        let deadline = if gently {
            self.out.push(Effect::Sweep {
                unit: self.unit.name.clone(),
                signals: vec![final_signal, SIGCONT],
            });
            self.arm(self.timeout_stop())
        } else {
            self.kill_all();
            Deadline::Never
        };
        self.core.state = State::Killing {
            main,
            control,
            emptied: false,
            last,
            deadline,
        };
    }

    /// [`Event::Emptied`](crate::engine::event::Event::Emptied).
    pub(super) fn emptied(&mut self) {
        let Some(service) = &self.unit.service else {
            return;
        };
        match &mut self.core.state {
            State::Killing { emptied, .. } => {
                *emptied = true;
                self.finish();
            }
            State::Terminating {
                main: None,
                control: None,
                last,
                ..
            } => {
                if *last {
                    self.sweep();
                } else {
                    self.after_the_last(service);
                }
            }
            State::Sweeping { .. } => self.conclude(),
            State::Running { main: None } if self.core.run.finding.is_none() => {
                self.end_of_running(service);
            }
            State::Seeking { .. } => {
                self.fail(
                    Outcome::Protocol,
                    "its processes ended before PIDFile= was written",
                );
                self.signal(None, None);
            }
            State::Dead { .. }
            | State::Checking
            | State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Launching { .. }
            | State::StartPost { .. }
            | State::Running { .. }
            | State::Reloading { .. }
            | State::Exited
            | State::Opening
            | State::Waiting { .. }
            | State::Triggered
            | State::Elapsed
            | State::StopExec { .. }
            | State::Interrupting { .. }
            | State::Terminating { .. }
            | State::StopPost { .. }
            | State::AutoRestart { .. } => {}
        }
    }

    /// Goes on when nothing is left.
    pub(super) fn finish(&mut self) {
        if let State::Killing {
            main: None,
            control: None,
            emptied: true,
            last,
            ..
        } = self.core.state
        {
            self.disarm();
            match &self.unit.service {
                Some(service) if !last => self.after_the_last(service),
                _ => self.conclude(),
            }
        }
    }

    /// The cgroup is empty: only `ExecStopPost=` could fill it once more.
    fn after_the_last(&mut self, service: &Service) {
        if service.exec_stop_post.is_empty() {
            self.conclude();
        } else {
            self.stop_post(0);
        }
    }

    /// The next `ExecStopPost=`; after the last, whatever is left is swept out.
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
        } else {
            self.sweep();
        }
    }

    /// Whatever is left is asked to end, and what does not is killed.
    pub(super) fn sweep(&mut self) {
        let Some(service) = &self.unit.service else {
            return;
        };
        self.disarm();
        if service.kill_mode != KillMode::ControlGroup {
            return self.end_by_force(None, None, true);
        }
        let signals = self.polite_signals(service);
        self.out.push(Effect::Sweep {
            unit: self.unit.name.clone(),
            signals,
        });
        let deadline = self.arm_always(service.timeout_stop);
        self.core.state = State::Sweeping {
            aborting: false,
            deadline,
        };
    }

    /// The clocks of the running unit stop, and nobody need approve of anything any more.
    pub(super) fn leave_running(&mut self) {
        if std::mem::take(&mut self.core.run.approval) && !self.core.freezer.is_paused() {
            self.rearm();
        }
        for clock in [
            std::mem::replace(&mut self.core.clocks.runtime, Deadline::Never),
            std::mem::replace(&mut self.core.clocks.watchdog, Deadline::Never),
        ] {
            self.drop_timer(clock);
        }
    }

    /// Nothing is left; what now?
    fn conclude(&mut self) {
        let Some(service) = &self.unit.service else {
            return;
        };
        self.disarm();
        let outcome = self.core.run.outcome;
        let failed = outcome.is_failure();
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
            Next::Forced => {
                self.auto_restart(restart::delay(service, self.core.history.restarts));
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
        let direct = self
            .unit
            .service
            .as_ref()
            .is_some_and(|service| service.restart_direct);
        if !direct {
            // As in systemd, where it has failed (or not) before it is to be restarted.
            self.act_on_end(self.core.run.outcome.is_failure());
        }
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
        self.leave_running();
        self.core.holder = None;
        self.core.state = State::Dead { failed };
        self.drop_inputs();
        // Targets and slices have nothing that could be given back.
        if self.unit.service.is_some() || self.unit.socket.is_some() || self.unit.path.is_some() {
            self.out.push(Effect::Release {
                unit: self.unit.name.clone(),
            });
        }
    }

    /// Messages to something that will not run are dropped, and it is said.
    pub(super) fn drop_inputs(&mut self) {
        if !self.is_start_wanted() {
            let dropped = self.core.inputs.clear();
            if dropped > 0 {
                self.log(format!(
                    "ended with {dropped} messages not delivered; they are dropped"
                ));
            }
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
            State::Launching { .. }
            | State::Seeking { .. }
            | State::StartPost { .. }
            | State::Running { .. }
            | State::Reloading { .. } => {
                self.core.run.out_of_memory = true;
                if self.core.freezer.is_paused() {
                    self.core.run.memory_due = true;
                } else {
                    self.obey_oom_policy(service);
                }
            }
            State::Killing { .. }
            | State::StopPost { .. }
            | State::Sweeping { .. }
            | State::Terminating { main: None, .. }
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
            State::Checking
            | State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Opening
            | State::Waiting { .. }
            | State::Triggered
            | State::Elapsed
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
                self.leave_running();
                let (main, control) = (self.core.state.main(), self.core.state.control());
                self.signal(main, control);
            }
            OomPolicy::Kill => {
                self.core.run.stopping = true;
                self.leave_running();
                let (main, control) = (self.core.state.main(), self.core.state.control());
                self.kill(main, control);
            }
        }
    }
}
