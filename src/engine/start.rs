//! The way up, and the ends of processes that decide what comes next.
//!
//! `ExecStartPre=` → main → `ExecStartPost=` → running. It decides nothing about order among
//! units (`schedule`) nor about what an end leads to (`stop`).
#![deny(clippy::wildcard_enum_match_arm)]

use crate::engine::event::{ExitStatus, Role, SpawnId};
use crate::engine::restart::{self, SIGKILL};
use crate::engine::state::{Alive, Deadline, Freezer, Next, Process, Run, State};
use crate::engine::step::Step;
use crate::engine::view::Outcome;
use crate::name::Invocation;
use crate::plan::{Enforcement, Failure};
use crate::runtime::Verdict;
use crate::unit::{Command, Service, StartType};

/// The step by which the daemon tells that a process was lost between two of its lives.
pub const LOST: &str = "lost";

impl Step<'_> {
    /// A start job runs.
    pub(super) fn begin_start(&mut self, resume: bool) {
        self.disarm();
        if self.core.freezer != Freezer::Running {
            // It died while paused, and a person starts it: what comes now must not be frozen.
            self.unfreeze();
            self.end_freezer();
        }
        let Some(service) = &self.unit.service else {
            self.core.run = Run::default();
            self.core.state = State::Exited;
            return;
        };
        self.counters.invocation += 1;
        self.core.invocation = Invocation(self.counters.invocation);
        self.core.run = Run {
            resume,
            ..Run::default()
        };
        let deadline = self.arm_always(service.timeout_start);
        self.start_pre(service, 0, deadline);
    }

    fn start_pre(&mut self, service: &Service, index: u16, deadline: Deadline) {
        if usize::from(index) < service.exec_start_pre.len() {
            let control = self.spawn(Role::StartPre(index));
            self.core.state = State::StartPre {
                control,
                index,
                deadline,
            };
        } else {
            self.launch(service, 0, deadline);
        }
    }

    fn launch(&mut self, service: &Service, index: u16, deadline: Deadline) {
        let nothing = self.unit.agent.is_none() && service.exec_start.is_empty();
        if service.start == StartType::Oneshot && nothing {
            self.start_post(service, None, 0, deadline);
            return;
        }
        let main = self.spawn(Role::Main(index));
        self.core.state = State::Launching {
            main,
            index,
            deadline,
        };
    }

    fn start_post(
        &mut self,
        service: &Service,
        main: Option<Alive>,
        index: u16,
        deadline: Deadline,
    ) {
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
        // The state may have moved on without its deadline; drop that of the start by hand.
        if let Deadline::At { timer, .. } = deadline {
            self.out
                .push(crate::engine::event::Effect::DropTimer { timer });
        }
        match main {
            Some(main) => {
                let runtime = self.arm(service.runtime_max);
                self.core.state = State::Running { main, runtime };
                self.deliver();
                self.close_when_idle();
            }
            None if service.remain_after_exit => self.core.state = State::Exited,
            None => {
                self.core.state = State::Exited;
                self.stop_exec(None, 0);
            }
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
            State::StartPre { control, .. }
            | State::StartPost { control, .. }
            | State::StopExec { control, .. }
            | State::StopPost { control, .. } => {
                confirm(control);
            }
            State::Launching { main, deadline, .. } => {
                if confirm(main) && service.start == StartType::Simple {
                    let (main, deadline) = (main.alive(), *deadline);
                    self.start_post(service, main, 0, deadline);
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
            | State::Running { .. }
            | State::Exited
            | State::Interrupting { .. }
            | State::Terminating { .. }
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
                && service.start == StartType::Exec
            {
                self.start_post(service, Some(main), 0, deadline);
            }
        }
    }

    /// [`Event::Ready`](crate::engine::event::Event::Ready).
    pub(super) fn ready(&mut self) {
        let Some(service) = &self.unit.service else {
            return;
        };
        if let State::Launching {
            main: Process::Alive(main),
            deadline,
            ..
        } = self.core.state
            && service.start == StartType::Notify
        {
            self.start_post(service, Some(main), 0, deadline);
        }
    }

    /// [`Event::SpawnFailed`](crate::engine::event::Event::SpawnFailed).
    pub(super) fn spawn_failed(&mut self, spawn: SpawnId, failure: Failure) {
        let main = self.core.state.main().map(Process::spawn) == Some(spawn);
        let control = self.core.state.control().map(Process::spawn) == Some(spawn);
        if !main && !control {
            return;
        }
        let lost = failure.step == LOST;
        let why = format!(
            "failed to start at step {}: {}",
            failure.step, failure.detail
        );
        if control {
            let forgiven = !lost && self.command().is_some_and(|command| command.ignore_failure);
            if !forgiven {
                self.core.run.failure = Some(failure);
            }
            self.control_ended(forgiven, Outcome::Resources, why);
        } else {
            if !self.core.run.stopping {
                self.fail(Outcome::Resources, why);
            }
            self.core.run.failure = Some(failure);
            self.main_gone();
        }
        if lost && !self.core.state.is_dead() {
            self.core.run.next = Next::Lost;
        }
    }

    /// The command line of the control process now running.
    fn command(&self) -> Option<&Command> {
        let service = self.unit.service.as_ref()?;
        match self.core.state {
            State::StartPre { index, .. } => service.exec_start_pre.get(usize::from(index)),
            State::StartPost { index, .. } => service.exec_start_post.get(usize::from(index)),
            State::StopExec { index, .. } => service.exec_stop.get(usize::from(index)),
            State::StopPost { index, .. } => service.exec_stop_post.get(usize::from(index)),
            State::Dead { .. }
            | State::Launching { .. }
            | State::Running { .. }
            | State::Exited
            | State::Interrupting { .. }
            | State::Terminating { .. }
            | State::Killing { .. }
            | State::AutoRestart { .. } => None,
        }
    }

    /// [`Event::Exited`](crate::engine::event::Event::Exited).
    pub(super) fn exited(&mut self, spawn: SpawnId, status: ExitStatus, verdict: Option<Verdict>) {
        let Some(service) = &self.unit.service else {
            return;
        };
        if self.core.state.main().map(Process::spawn) == Some(spawn) {
            self.core.run.exit = Some(status);
            if let State::Launching {
                index, deadline, ..
            } = self.core.state
            {
                let forgiven = service
                    .exec_start
                    .get(usize::from(index))
                    .is_some_and(|command| command.ignore_failure);
                let good = forgiven || restart::judge(service, status) == Outcome::Success;
                if service.start == StartType::Oneshot && good && verdict.is_none() {
                    if usize::from(index) + 1 < service.exec_start.len() {
                        self.launch(service, index + 1, deadline);
                    } else {
                        if self.unit.agent.is_some() {
                            self.core.run.outcome = Outcome::Completed;
                        }
                        self.start_post(service, None, 0, deadline);
                    }
                    return;
                }
                if service.start == StartType::Notify && good {
                    self.fail(Outcome::ExitCode, "it ended before it said READY=1");
                }
            }
            self.judge(service, status, verdict);
            self.main_gone();
        } else if self.core.state.control().map(Process::spawn) == Some(spawn) {
            let forgiven = self.command().is_some_and(|command| command.ignore_failure);
            let (good, outcome) = match status {
                ExitStatus::Exited(0) => (true, Outcome::Success),
                ExitStatus::Exited(_) => (forgiven, Outcome::ExitCode),
                ExitStatus::Dumped(_) => (forgiven, Outcome::CoreDump),
                ExitStatus::Killed(_) | ExitStatus::Unknown => (forgiven, Outcome::Signal),
            };
            let name = self
                .command()
                .map_or_else(String::new, |c| c.program.clone());
            let why = format!("{name} {}", restart::describe(status));
            self.control_ended(good, outcome, why);
        }
    }

    /// What the end of the main process means.
    fn judge(&mut self, service: &Service, status: ExitStatus, verdict: Option<Verdict>) {
        let killing = matches!(self.core.state, State::Killing { .. });
        let for_memory = self.core.run.out_of_memory && status == ExitStatus::Killed(SIGKILL);
        let why = restart::describe(status);
        if for_memory && !killing {
            self.fail(Outcome::OomKill, "killed for memory");
            return;
        }
        if self.core.run.stopping {
            // An agent that was told to stop owes us nothing; a service its own clean end.
            let polite = status == ExitStatus::Killed(service.kill_signal);
            if self.unit.agent.is_none() && !killing && !polite {
                let outcome = restart::judge(service, status);
                if outcome != Outcome::Success {
                    self.fail(outcome, why);
                }
            }
            return;
        }
        if restart::prevented(service, status) {
            self.core.run.next = Next::Final;
        }
        match verdict {
            Some(Verdict::Completed) => self.fail(Outcome::Completed, String::new()),
            Some(Verdict::Failed { reason }) => self.fail(Outcome::Agent, reason),
            Some(Verdict::Final { reason }) => {
                self.fail(Outcome::Agent, reason);
                self.core.run.next = Next::Final;
            }
            Some(Verdict::SessionLost) if self.core.fresh_tried => {
                self.fail(
                    Outcome::Agent,
                    "its session is lost, and a fresh one did not help",
                );
                // What is lost cannot be resumed the next time either.
                self.core.fresh_next = true;
            }
            Some(Verdict::SessionLost) => {
                self.fail(Outcome::Agent, "its session is lost; a fresh one is begun");
                self.core.run.next = Next::Fresh;
            }
            None => {
                let outcome = restart::judge(service, status);
                let by_itself = matches!(status, ExitStatus::Exited(_));
                if outcome == Outcome::Success {
                    if self.unit.agent.is_some() && by_itself {
                        self.fail(Outcome::Completed, String::new());
                    }
                } else {
                    self.fail(outcome, why);
                }
            }
        }
    }

    /// A control process has ended, or never came to be.
    fn control_ended(&mut self, good: bool, outcome: Outcome, why: String) {
        let Some(service) = &self.unit.service else {
            return;
        };
        match self.core.state {
            State::StartPre {
                index, deadline, ..
            } => {
                if good {
                    self.start_pre(service, index + 1, deadline);
                } else {
                    self.fail(outcome, why);
                    self.kill(None, None);
                }
            }
            State::StartPost {
                main,
                index,
                deadline,
                ..
            } => {
                if good {
                    self.start_post(service, main, index + 1, deadline);
                } else {
                    self.fail(outcome, why);
                    self.core.run.stopping = true;
                    self.signal(main.map(Process::Alive), None);
                }
            }
            State::StopExec { main, index, .. } => {
                if !good {
                    self.fail(outcome, why);
                }
                self.stop_exec(main, index + 1);
            }
            State::StopPost { index, .. } => {
                if !good {
                    self.fail(outcome, why);
                }
                self.stop_post(index + 1);
            }
            State::Terminating {
                main,
                ref mut control,
                ..
            } => {
                *control = None;
                if main.is_none() {
                    self.kill(None, None);
                }
            }
            State::Killing {
                ref mut control, ..
            } => {
                *control = None;
                self.finish();
            }
            State::Dead { .. }
            | State::Launching { .. }
            | State::Running { .. }
            | State::Exited
            | State::Interrupting { .. }
            | State::AutoRestart { .. } => {}
        }
    }

    /// The main process has ended (and was judged), or never came to be.
    fn main_gone(&mut self) {
        let Some(service) = &self.unit.service else {
            return;
        };
        self.pause_ends_with_process();
        match self.core.state {
            State::Launching { .. } => self.kill(None, None),
            State::StartPost { control, .. } => self.kill(None, Some(control)),
            State::Running { .. } => {
                let good = matches!(self.core.run.outcome, Outcome::Success | Outcome::Completed);
                if good && service.remain_after_exit {
                    self.disarm();
                    self.core.state = State::Exited;
                } else if good {
                    self.stop_exec(None, 0);
                } else {
                    self.kill(None, None);
                }
            }
            State::StopExec { ref mut main, .. } => *main = None,
            State::Interrupting { .. } => self.kill(None, None),
            State::Terminating {
                ref mut main,
                control,
                ..
            } => {
                *main = None;
                if control.is_none() {
                    self.kill(None, None);
                }
            }
            State::Killing { ref mut main, .. } => {
                *main = None;
                self.finish();
            }
            State::Dead { .. }
            | State::StartPre { .. }
            | State::Exited
            | State::StopPost { .. }
            | State::AutoRestart { .. } => {}
        }
    }
}
