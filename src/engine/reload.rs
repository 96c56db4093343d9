//! Reload, and what else a unit tells about itself while it lives (sd_notify(3)).
//!
//! A reload never ends a unit: when it fails, the unit runs on as it was, and the job fails.
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use crate::engine::event::{Effect, Notice, Role, Source, Whom};
use crate::engine::state::{Alive, Deadline, Process, Reload, State};
use crate::engine::step::Step;
use crate::engine::view::Outcome;
use crate::unit::{Service, StartType};

/// Whether a service has a way to reload.
pub(super) fn is_possible(service: &Service) -> bool {
    !service.exec_reload.is_empty() || service.start == StartType::NotifyReload
}

impl Step<'_> {
    /// A reload job runs.
    pub(super) fn begin_reload(&mut self) {
        let Some(service) = &self.unit.service else {
            return;
        };
        let main = match self.core.state {
            State::Running { main } => main,
            State::Exited => None,
            State::Dead { .. }
            | State::Checking
            | State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
            | State::StartPost { .. }
            | State::Reloading { .. }
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
            | State::AutoRestart { .. } => return,
        };
        self.core.run.reload_failed = None;
        if service.start == StartType::NotifyReload {
            self.out.push(Effect::Signal {
                unit: self.unit.name.clone(),
                whom: Whom::Main,
                signal: service.reload_signal,
            });
        }
        self.reload_command(service, main, 0);
    }

    /// The next `ExecReload=`, or what follows the last.
    pub(super) fn reload_command(&mut self, service: &Service, main: Option<Alive>, index: u16) {
        // The time is for all of it.
        let deadline = match self.core.state {
            State::Reloading { deadline, .. } => deadline,
            State::Dead { .. }
            | State::Checking
            | State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
            | State::StartPost { .. }
            | State::Running { .. }
            | State::Exited
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
            | State::AutoRestart { .. } => self.arm(service.timeout_start),
        };
        let (control, phase) = if usize::from(index) < service.exec_reload.len() {
            let control = self.spawn(Role::Reload(index));
            (Some(control), Reload::Commands)
        } else if service.start == StartType::NotifyReload && main.is_some() {
            let since = self.now.monotonic;
            (None, Reload::Answer { since })
        } else {
            self.core.state = State::Reloading {
                main,
                control: None,
                index,
                phase: Reload::Commands,
                deadline,
            };
            return self.end_reload(service, main);
        };
        self.core.state = State::Reloading {
            main,
            control,
            index,
            phase,
            deadline,
        };
    }

    /// The reload is over, well or not.
    pub(super) fn end_reload(&mut self, service: &Service, main: Option<Alive>) {
        self.disarm();
        if let Some(why) = self.core.run.reload_failed.clone() {
            self.log(format!("reload failed: {why}"));
        }
        if main.is_none() && service.remain_after_exit && !self.core.run.outcome.is_failure() {
            self.core.state = State::Exited;
        } else {
            self.enter_running(service, main);
        }
    }

    /// The reload took too long.
    pub(super) fn reload_late(&mut self, main: Option<Alive>, control: Option<Process>) {
        let Some(service) = &self.unit.service else {
            return;
        };
        self.core.run.reload_failed = Some("it took longer than TimeoutStartSec=".to_owned());
        if control.is_some() {
            // What was sent for is not waited for; with the unit's end it is killed.
            self.out.push(Effect::Signal {
                unit: self.unit.name.clone(),
                whom: Whom::Control,
                signal: crate::engine::restart::SIGKILL,
            });
        }
        self.end_reload(service, main);
    }

    /// [`Event::Notified`](crate::engine::event::Event::Notified).
    pub(super) fn notified(&mut self, notice: Notice) {
        let Some(service) = &self.unit.service else {
            return;
        };
        match notice {
            Notice::Ready => self.ready(service),
            Notice::Reloading(at) => self.reloading(service, at),
            Notice::Stopping => self.stopping_by_itself(service),
            Notice::MainPid(pid) => {
                let known = self.core.state.main().and_then(Process::alive);
                let seeking = matches!(self.core.state, State::Seeking { .. });
                if (known.is_some() && known.map(|main| main.pid) != Some(pid))
                    || seeking
                    || matches!(self.core.state, State::Running { main: None })
                {
                    self.core.run.finding = Some(self.find(Source::Told(pid)));
                }
            }
            Notice::Watchdog => self.wind_watchdog(service),
            Notice::WatchdogTrigger => self.watchdog_expired(service, "it asked for it"),
            Notice::WatchdogPeriod(period) => {
                self.core.run.watchdog_period = Some(period);
                // Also where WatchdogSec= is not set; before it is ready, the time begins then.
                if matches!(
                    self.core.state,
                    State::StartPost { .. } | State::Running { .. } | State::Reloading { .. }
                ) {
                    self.start_watchdog(service);
                }
            }
            Notice::ExtendTimeout(by) => self.extend(by),
        }
    }

    fn ready(&mut self, service: &Service) {
        match self.core.state {
            State::Launching {
                main: Process::Alive(main),
                deadline,
                ..
            } if matches!(service.start, StartType::Notify | StartType::NotifyReload) => {
                self.start_post(service, Some(main), 0, deadline);
            }
            State::Reloading {
                main,
                phase: Reload::Ready | Reload::ByItself,
                ..
            } => self.end_reload(service, main),
            State::Dead { .. }
            | State::Checking
            | State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
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
            | State::Killing { .. }
            | State::StopPost { .. }
            | State::Sweeping { .. }
            | State::AutoRestart { .. } => {}
        }
    }

    fn reloading(&mut self, service: &Service, at: u64) {
        match &mut self.core.state {
            State::Reloading {
                phase: phase @ Reload::Answer { .. },
                ..
            } => {
                // An answer to something older is not ours.
                if let Reload::Answer { since } = *phase
                    && (at == 0 || at >= since)
                {
                    *phase = Reload::Ready;
                }
            }
            State::Running { main }
                if matches!(service.start, StartType::Notify | StartType::NotifyReload) =>
            {
                let main = *main;
                let deadline = self.arm(service.timeout_start);
                let phase = if service.start == StartType::Notify {
                    Reload::ByItself
                } else {
                    Reload::Ready
                };
                self.core.state = State::Reloading {
                    main,
                    control: None,
                    index: 0,
                    phase,
                    deadline,
                };
            }
            State::Dead { .. }
            | State::Checking
            | State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
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
            | State::Killing { .. }
            | State::StopPost { .. }
            | State::Sweeping { .. }
            | State::AutoRestart { .. } => {}
        }
    }

    /// `STOPPING=1`: it ends by itself, and has the time of a stop for it.
    fn stopping_by_itself(&mut self, service: &Service) {
        let main = match self.core.state {
            State::Running { main } => main,
            State::Reloading {
                main,
                control: None,
                ..
            } => main,
            State::Dead { .. }
            | State::Checking
            | State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
            | State::StartPost { .. }
            | State::Reloading { .. }
            | State::Exited
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
            | State::AutoRestart { .. } => return,
        };
        if main.is_none() {
            return;
        }
        self.disarm();
        self.leave_running();
        let deadline = self.arm(service.timeout_stop);
        self.core.state = State::Terminating {
            main,
            control: None,
            aborting: false,
            last: false,
            deadline,
        };
    }

    /// The watchdog's time begins.
    pub(super) fn start_watchdog(&mut self, service: &Service) {
        let period = match self.core.run.watchdog_period {
            Some(micros) => Some(Duration::from_micros(micros)).filter(|time| !time.is_zero()),
            None => service.watchdog,
        };
        let old = std::mem::replace(&mut self.core.clocks.watchdog, Deadline::Never);
        self.drop_timer(old);
        self.core.clocks.watchdog = self.arm(period);
    }

    /// `WATCHDOG=1`: its time begins again.
    fn wind_watchdog(&mut self, service: &Service) {
        if self.core.clocks.watchdog != Deadline::Never {
            self.start_watchdog(service);
        }
    }

    /// The watchdog's time is over.
    pub(super) fn watchdog_expired(&mut self, service: &Service, why: &str) {
        let (main, control) = match self.core.state {
            State::Running { main } => (main, None),
            State::StartPost { main, control, .. } => (main, Some(control)),
            State::Reloading { main, control, .. } => (main, control),
            State::Launching {
                main: Process::Alive(main),
                ..
            } => (Some(main), None),
            State::Dead { .. }
            | State::Checking
            | State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
            | State::Exited
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
            | State::AutoRestart { .. } => return,
        };
        self.fail(
            Outcome::Watchdog,
            format!("it gave no sign of life for WatchdogSec= ({why})"),
        );
        self.bite(service, main, control);
    }

    /// `EXTEND_TIMEOUT_USEC=`: no clock that ticks for the unit ends sooner than this. An agent does
    /// not decide how long it may run or take to stop.
    fn extend(&mut self, by: u64) {
        if self.unit.agent.is_some() {
            return;
        }
        let at = self.now.monotonic.saturating_add(by);
        let late = |deadline: Deadline| match deadline {
            Deadline::At { at: due, .. } => due < at,
            Deadline::Held { left } => left < by,
            Deadline::Never => false,
        };
        let own = self.core.state.deadline();
        if late(own) && !matches!(self.core.state, State::AutoRestart { .. }) {
            self.disarm();
            let longer = self.arm(Some(Duration::from_micros(by)));
            if let Some(deadline) = self.core.state.deadline_mut() {
                *deadline = longer;
            }
        }
        let runtime = self.core.clocks.runtime;
        if late(runtime) {
            self.drop_timer(runtime);
            self.core.clocks.runtime = self.arm(Some(Duration::from_micros(by)));
        }
    }
}
