//! The way up: conditions → `ExecCondition=` → `ExecStartPre=` → main → `ExecStartPost=` → running.
//!
//! It decides nothing about order among units (`schedule`), about what the end of a process means
//! (`end`), nor about what follows it (`stop`).
#![deny(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use crate::engine::event::{Effect, Role, Source, SpawnId};
use crate::engine::state::{Alive, Deadline, Freezer, Process, Run, State};
use crate::engine::step::Step;
use crate::name::{Invocation, UnitType};
use crate::plan::Enforcement;
use crate::unit::{Condition, Service, StartType};

/// How long `Type=idle` waits for other jobs (systemd.service(5)).
const IDLE: Duration = Duration::from_secs(5);

impl Step<'_> {
    /// A start job runs.
    pub(super) fn begin_start(&mut self, resume: bool) {
        self.disarm();
        if self.core.freezer != Freezer::Running {
            // It died while paused, and a person starts it: what comes now must not be frozen.
            self.unfreeze();
            self.end_freezer();
        }
        self.core.run = Run {
            resume,
            triggered_by: self.core.trigger_of_next.take(),
            ..Run::default()
        };
        if self.unit.conditions.is_empty() {
            self.begin_work();
        } else {
            self.core.state = State::Checking;
            self.out.push(Effect::Check {
                unit: self.unit.name.clone(),
            });
        }
    }

    /// [`Event::Checked`](crate::engine::event::Event::Checked).
    pub(super) fn checked(&mut self, unmet: Option<Condition>) {
        if self.core.state != State::Checking {
            return;
        }
        let Some(condition) = unmet else {
            return self.begin_work();
        };
        self.core.run.why = format!("{condition} does not hold");
        self.log(format!("not started: {condition} does not hold"));
        self.core.run.unmet = Some(condition);
        // Nothing was made, so there is nothing to release.
        self.core.state = State::Dead { failed: false };
        self.drop_inputs();
    }

    fn begin_work(&mut self) {
        let Some(service) = &self.unit.service else {
            match self.unit.name.kind() {
                UnitType::Timer | UnitType::Socket | UnitType::Path => {
                    self.core.state = State::Opening;
                    self.out.push(Effect::Open {
                        unit: self.unit.name.clone(),
                    });
                }
                UnitType::Agent | UnitType::Service | UnitType::Target | UnitType::Slice => {
                    self.core.state = State::Exited;
                }
            }
            return;
        };
        self.counters.invocation += 1;
        self.core.invocation = Invocation(self.counters.invocation);
        let deadline = self.arm_always(service.timeout_start);
        self.condition(service, 0, deadline);
    }

    /// The next `ExecCondition=`.
    pub(super) fn condition(&mut self, service: &Service, index: u16, deadline: Deadline) {
        if usize::from(index) < service.exec_condition.len() {
            let control = self.spawn(Role::Condition(index));
            self.core.state = State::Condition {
                control,
                index,
                deadline,
            };
        } else {
            self.start_pre(service, 0, deadline);
        }
    }

    pub(super) fn start_pre(&mut self, service: &Service, index: u16, deadline: Deadline) {
        if usize::from(index) < service.exec_start_pre.len() {
            let control = self.spawn(Role::StartPre(index));
            self.core.state = State::StartPre {
                control,
                index,
                deadline,
            };
        } else if service.start == StartType::Idle {
            self.drop_timer(deadline);
            let deadline = self.arm_always(Some(IDLE));
            self.core.state = State::Idling { deadline };
        } else {
            self.launch(service, 0, deadline);
        }
    }

    /// `Type=idle`: nothing else is under way, or it took too long.
    pub(super) fn end_idling(&mut self) {
        if let State::Idling { .. } = self.core.state
            && let Some(service) = &self.unit.service
        {
            self.disarm();
            let deadline = self.arm_always(service.timeout_start);
            self.launch(service, 0, deadline);
        }
    }

    pub(super) fn launch(&mut self, service: &Service, index: u16, deadline: Deadline) {
        let nothing = self.unit.agent.is_none() && service.exec_start.is_empty();
        if service.start == StartType::Oneshot && nothing {
            self.start_post(service, None, 0, deadline);
            return;
        }
        if service.start == StartType::Dbus {
            self.out.push(Effect::WatchName {
                unit: self.unit.name.clone(),
            });
        }
        let main = self.spawn(Role::Main(index));
        self.core.state = State::Launching {
            main,
            index,
            deadline,
        };
    }

    /// `Type=forking`: the first process has left; who is the main one now?
    pub(super) fn seek(&mut self, service: &Service, deadline: Deadline) {
        let source = match &service.pid_file {
            Some(_) => Source::PidFile,
            None if service.guess_main_pid => Source::Guess,
            None => return self.start_post(service, None, 0, deadline),
        };
        let spawn = self.find(source);
        self.core.state = State::Seeking { spawn, deadline };
        // When nobody is left nobody will write that file any more.
        self.out.push(Effect::Sweep {
            unit: self.unit.name.clone(),
            signals: vec![],
        });
    }

    /// Asks for a process that we did not start.
    pub(super) fn find(&mut self, source: Source) -> SpawnId {
        self.counters.spawn += 1;
        let spawn = SpawnId(self.counters.spawn);
        self.out.push(Effect::Find {
            unit: self.unit.name.clone(),
            spawn,
            source,
        });
        spawn
    }

    /// [`Event::Found`](crate::engine::event::Event::Found).
    pub(super) fn found(&mut self, spawn: SpawnId, pid: u32) {
        let Some(service) = &self.unit.service else {
            return;
        };
        let new = Alive { spawn, pid };
        match self.core.state {
            State::Seeking {
                spawn: sought,
                deadline,
            } if sought == spawn || self.core.run.finding == Some(spawn) => {
                self.core.run.finding = None;
                self.core.run.main_seen = true;
                self.start_post(service, Some(new), 0, deadline);
            }
            _ if self.core.run.finding == Some(spawn) => {
                self.core.run.finding = None;
                if self.core.state.replace_main(new) {
                    self.core.run.main_seen = true;
                }
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

    /// [`Event::NotFound`](crate::engine::event::Event::NotFound). A PID file may still come.
    pub(super) fn not_found(&mut self, spawn: SpawnId, reason: &str) {
        let Some(service) = &self.unit.service else {
            return;
        };
        if self.core.run.finding == Some(spawn) {
            self.core.run.finding = None;
            self.log(format!("its main process stays as it is: {reason}"));
        } else if let State::Seeking {
            spawn: sought,
            deadline,
        } = self.core.state
            && sought == spawn
        {
            if service.pid_file.is_none() {
                self.start_post(service, None, 0, deadline);
            } else {
                self.log(format!("its main process is not known yet: {reason}"));
            }
        }
    }

    /// [`Event::BusName`](crate::engine::event::Event::BusName).
    pub(super) fn bus_name(&mut self, owned: bool) {
        let Some(service) = &self.unit.service else {
            return;
        };
        if service.start != StartType::Dbus {
            return;
        }
        match self.core.state {
            State::Launching {
                main: Process::Alive(main),
                deadline,
                ..
            } if owned => self.start_post(service, Some(main), 0, deadline),
            State::Running { main } if !owned => {
                self.log("its name on the bus is lost");
                self.leave_running();
                self.stop_exec(main, 0);
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

    pub(super) fn start_post(
        &mut self,
        service: &Service,
        main: Option<Alive>,
        index: u16,
        deadline: Deadline,
    ) {
        if index == 0 {
            self.start_watchdog(service);
        }
        if usize::from(index) < service.exec_start_post.len() {
            let control = self.spawn(Role::StartPost(index));
            self.core.state = State::StartPost {
                main,
                control,
                index,
                deadline,
            };
            return;
        }
        // The state may have moved on without its deadline; then it is dropped by hand.
        if self.core.state.deadline() == deadline {
            self.disarm();
        } else {
            self.drop_timer(deadline);
        }
        self.core.clocks.runtime = self.arm(self.longest_run(service));
        self.enter_running(service, main);
    }

    /// What has started runs, or has ended already.
    pub(super) fn enter_running(&mut self, service: &Service, main: Option<Alive>) {
        let nobody = main.is_none() && self.core.run.finding.is_none();
        let unknown = nobody
            && (service.exit_cgroup
                || service.start == StartType::Forking && !self.core.run.main_seen);
        if unknown {
            // Nobody knows which process it is, or it does not matter: it lives as long as any does.
            self.core.state = State::Running { main: None };
            self.out.push(Effect::Sweep {
                unit: self.unit.name.clone(),
                signals: vec![],
            });
        } else if nobody {
            self.end_of_running(service);
        } else {
            self.core.state = State::Running { main };
            self.deliver();
            self.close_when_idle();
        }
    }

    /// Nothing that was known runs any more.
    pub(super) fn end_of_running(&mut self, service: &Service) {
        self.leave_running();
        if self.core.run.outcome.is_failure() {
            self.signal(None, None);
        } else if service.remain_after_exit {
            self.core.state = State::Exited;
        } else {
            self.core.state = State::Exited;
            self.stop_exec(None, 0);
        }
    }

    /// [`Event::Spawned`](crate::engine::event::Event::Spawned).
    pub(super) fn spawned(&mut self, spawn: SpawnId, pid: u32) {
        let Some(service) = &self.unit.service else {
            return;
        };
        let confirm = |process: &mut Process| {
            let hit = *process == Process::Asked { spawn };
            if hit {
                *process = Process::Alive(Alive { spawn, pid });
            }
            hit
        };
        match &mut self.core.state {
            State::Condition { control, .. }
            | State::StartPre { control, .. }
            | State::StartPost { control, .. }
            | State::Reloading {
                control: Some(control),
                ..
            }
            | State::StopExec { control, .. }
            | State::StopPost { control, .. } => {
                confirm(control);
            }
            State::Launching { main, deadline, .. } => {
                if confirm(main) {
                    self.core.run.main_seen = service.start != StartType::Forking;
                    if service.start == StartType::Simple {
                        let (main, deadline) = (main.alive(), *deadline);
                        self.start_post(service, main, 0, deadline);
                    }
                }
            }
            State::Killing {
                main,
                control,
                emptied,
                ..
            } => {
                // It came into being after the kill: once more.
                let late =
                    main.as_mut().is_some_and(confirm) || control.as_mut().is_some_and(confirm);
                if late {
                    *emptied = false;
                    self.kill_all();
                }
            }
            State::Dead { .. }
            | State::Checking
            | State::Idling { .. }
            | State::Seeking { .. }
            | State::Running { .. }
            | State::Reloading { control: None, .. }
            | State::Exited
            | State::Opening
            | State::Waiting { .. }
            | State::Triggered
            | State::Elapsed
            | State::Interrupting { .. }
            | State::Terminating { .. }
            | State::Sweeping { .. }
            | State::AutoRestart { .. } => {}
        }
    }

    /// [`Event::Executed`](crate::engine::event::Event::Executed).
    pub(super) fn executed(&mut self, spawn: SpawnId, enforcement: Enforcement) {
        let Some(service) = &self.unit.service else {
            return;
        };
        if self.core.state.main().map(Process::spawn) == Some(spawn) {
            self.core.run.enforcement = Some(enforcement);
            if let State::Launching {
                main: Process::Alive(main),
                deadline,
                ..
            } = self.core.state
                && matches!(service.start, StartType::Exec | StartType::Idle)
            {
                self.start_post(service, Some(main), 0, deadline);
            }
        }
    }
}
