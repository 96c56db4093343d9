//! The ends of processes: what each means, and which step follows.
#![deny(clippy::wildcard_enum_match_arm)]

use crate::engine::event::{ExitStatus, SpawnId};
use crate::engine::restart::{self, SIGKILL};
use crate::engine::state::{Next, Process, State};
use crate::engine::step::Step;
use crate::engine::view::Outcome;
use crate::plan::{Failure, StepName};
use crate::runtime::Verdict;
use crate::unit::{Command, Service, StartType};

/// The step by which the daemon tells that a process was lost between two of its lives.
pub const LOST: &str = "lost";

impl Step<'_> {
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
            // The stage ends with systemd's code for the step, as if it were the program's.
            let code = StepName::ALL
                .into_iter()
                .find(|step| step.as_str() == failure.step)
                .map(StepName::exit_code);
            self.core.run.exit = code.map(ExitStatus::Exited).or(self.core.run.exit);
            if !self.core.run.stopping {
                let outcome = code.map_or(Outcome::Resources, |_| Outcome::ExitCode);
                self.fail(outcome, why);
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
        let (list, index) = match self.core.state {
            State::Condition { index, .. } => (&service.exec_condition, index),
            State::StartPre { index, .. } => (&service.exec_start_pre, index),
            State::StartPost { index, .. } => (&service.exec_start_post, index),
            State::Reloading { index, .. } => (&service.exec_reload, index),
            State::StopExec { index, .. } => (&service.exec_stop, index),
            State::StopPost { index, .. } => (&service.exec_stop_post, index),
            State::Dead { .. }
            | State::Checking
            | State::Idling { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
            | State::Running { .. }
            | State::Exited
            | State::Opening
            | State::Waiting { .. }
            | State::Triggered
            | State::Elapsed
            | State::Interrupting { .. }
            | State::Terminating { .. }
            | State::Killing { .. }
            | State::Sweeping { .. }
            | State::AutoRestart { .. } => return None,
        };
        list.get(usize::from(index))
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
                match service.start {
                    StartType::Forking if good => return self.seek(service, deadline),
                    StartType::Notify | StartType::NotifyReload if good => {
                        self.fail(Outcome::Protocol, "it ended before it said READY=1");
                    }
                    StartType::Dbus if good => {
                        self.fail(
                            Outcome::Protocol,
                            "it ended before it had its name on the bus",
                        );
                    }
                    StartType::Simple
                    | StartType::Exec
                    | StartType::Oneshot
                    | StartType::Notify
                    | StartType::NotifyReload
                    | StartType::Forking
                    | StartType::Dbus
                    | StartType::Idle => {}
                }
            }
            self.judge(service, status, verdict);
            self.main_gone();
        } else if self.core.state.control().map(Process::spawn) == Some(spawn) {
            let forgiven = self.command().is_some_and(|command| command.ignore_failure);
            let name = self
                .command()
                .map_or_else(String::new, |c| c.program.clone());
            let why = format!("{name} {}", restart::describe(status));
            if let (State::Condition { .. }, ExitStatus::Exited(code @ 1..=254)) =
                (&self.core.state, status)
                && !forgiven
            {
                self.fail(
                    Outcome::ExecCondition,
                    format!("{name} of ExecCondition= said no with code {code}"),
                );
                return self.signal(None, None);
            }
            let (good, outcome) = match status {
                ExitStatus::Exited(0) => (true, Outcome::Success),
                ExitStatus::Exited(_) => (forgiven, Outcome::ExitCode),
                ExitStatus::Dumped(_) => (forgiven, Outcome::CoreDump),
                ExitStatus::Killed(_) | ExitStatus::Unknown | ExitStatus::Unseen => {
                    (forgiven, Outcome::Signal)
                }
            };
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
            if self.unit.agent.is_none() && !killing {
                let outcome = restart::judge(service, status);
                if outcome != Outcome::Success {
                    self.fail(outcome, why);
                }
            }
            return;
        }
        if restart::prevented(service, status) {
            self.core.run.next = Next::Final;
        } else if restart::forced(service, status) {
            self.core.run.next = Next::Forced;
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
            State::Condition {
                index, deadline, ..
            } => {
                if good {
                    self.condition(service, index + 1, deadline);
                } else {
                    self.fail(outcome, why);
                    self.signal(None, None);
                }
            }
            State::StartPre {
                index, deadline, ..
            } => {
                if good {
                    self.start_pre(service, index + 1, deadline);
                } else {
                    self.fail(outcome, why);
                    self.signal(None, None);
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
                    self.leave_running();
                    self.signal(main.map(Process::Alive), None);
                }
            }
            State::Reloading { main, index, .. } => {
                if good {
                    self.reload_command(service, main, index + 1);
                } else {
                    self.core.run.reload_failed = Some(why);
                    self.end_reload(service, main);
                }
            }
            State::StopExec { main, index, .. } => {
                if good {
                    self.stop_exec(main, index + 1);
                } else {
                    self.fail(outcome, why);
                    self.signal(main.map(Process::Alive), None);
                }
            }
            State::StopPost { index, .. } => {
                if good {
                    self.stop_post(index + 1);
                } else {
                    self.fail(outcome, why);
                    self.sweep();
                }
            }
            State::Terminating {
                main,
                ref mut control,
                last,
                ..
            } => {
                *control = None;
                if last {
                    self.sweep();
                } else if main.is_none() {
                    self.stop_post(0);
                }
            }
            State::Killing {
                ref mut control, ..
            } => {
                *control = None;
                self.finish();
            }
            State::Dead { .. }
            | State::Checking
            | State::Idling { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
            | State::Running { .. }
            | State::Exited
            | State::Opening
            | State::Waiting { .. }
            | State::Triggered
            | State::Elapsed
            | State::Interrupting { .. }
            | State::Sweeping { .. }
            | State::AutoRestart { .. } => {}
        }
    }

    /// With `ExitType=cgroup` whatever else runs goes on, however the main process ended.
    fn main_of_running_gone(&mut self, service: &Service) {
        if service.exit_cgroup {
            self.enter_running(service, None);
        } else {
            self.end_of_running(service);
        }
    }

    /// The main process has ended (and was judged), or never came to be.
    fn main_gone(&mut self) {
        let Some(service) = &self.unit.service else {
            return;
        };
        self.pause_ends_with_process();
        if std::mem::take(&mut self.core.run.approval) && !self.core.freezer.is_paused() {
            self.rearm();
        }
        match self.core.state {
            State::Launching { .. } => self.signal(None, None),
            // The command in between is waited for; what follows it sees that nobody is left.
            State::StartPost { ref mut main, .. } | State::StopExec { ref mut main, .. } => {
                *main = None;
            }
            State::Running { .. } => self.main_of_running_gone(service),
            // As in systemd: the command has its say, then everything goes down.
            State::Reloading {
                control: Some(_),
                ref mut main,
                ..
            } => *main = None,
            State::Reloading { control: None, .. } => {
                self.core.run.reload_failed = Some("it ended while it reloaded".to_owned());
                self.disarm();
                self.main_of_running_gone(service);
            }
            State::Interrupting { .. } => self.stop_post(0),
            State::Terminating {
                ref mut main,
                control,
                ..
            } => {
                *main = None;
                if control.is_none() {
                    self.stop_post(0);
                }
            }
            State::Killing { ref mut main, .. } => {
                *main = None;
                self.finish();
            }
            State::Dead { .. }
            | State::Checking
            | State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Seeking { .. }
            | State::Exited
            | State::Opening
            | State::Waiting { .. }
            | State::Triggered
            | State::Elapsed
            | State::StopPost { .. }
            | State::Sweeping { .. }
            | State::AutoRestart { .. } => {}
        }
    }
}
