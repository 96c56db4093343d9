//! What somebody asks for: checked, answered, and turned into jobs.
//!
//! Every refusal is decided here or in `transaction`, before anything is changed.

use crate::engine::Engine;
use crate::engine::event::{
    Answer, Effect, InputId, JobMode, JobResult, JobType, Now, Refusal, Request, RequestId, Whom,
};
use crate::engine::state::{Freezer, Process, State};
use crate::engine::view::Outcome;
use crate::engine::{input, reload};
use crate::name::{JobId, UnitName};
use crate::unit::RuntimeKind;

impl Engine {
    pub(super) fn request(&mut self, now: Now, id: RequestId, request: Request) {
        let answer = match request {
            Request::Start { unit, mode } => self.job(now, &unit, JobType::Start, mode, false),
            Request::Stop { unit, mode, force } => self.job(now, &unit, JobType::Stop, mode, force),
            Request::Restart { unit, mode } => self.job(now, &unit, JobType::Restart, mode, false),
            Request::TryRestart { unit, mode } => self.try_restart(now, &unit, mode),
            Request::Reload { unit, mode } => self.reload(now, &unit, mode),
            Request::ReloadOrRestart {
                unit,
                mode,
                only_running,
            } => self.reload_or_restart(now, &unit, mode, only_running),
            Request::Pause { unit, reason } => self.pause(now, &unit, reason),
            Request::Resume { unit } => self.unpause(now, &unit),
            Request::Send { unit, text } => self.send(now, &unit, text),
            Request::Kill { unit, whom, signal } => self.signal(&unit, whom, signal),
            Request::ResetFailed { unit } => self.reset_failed(now, unit),
            Request::Cancel { job } => self.cancel(now, job),
        };
        self.out.push(Effect::Answer { id, answer });
    }

    fn known(&self, unit: &UnitName) -> Result<&super::Record, Refusal> {
        self.records
            .get(unit)
            .ok_or_else(|| Refusal::NoSuchUnit(unit.clone()))
    }

    fn job(
        &mut self,
        now: Now,
        unit: &UnitName,
        kind: JobType,
        mode: JobMode,
        force: bool,
    ) -> Result<Answer, Refusal> {
        let settings = &self.known(unit)?.unit.settings;
        if unit.is_template() {
            return Err(Refusal::BadUnit {
                unit: unit.clone(),
                reason: "it is a template; start an instance of it".to_owned(),
            });
        }
        let starts = matches!(kind, JobType::Start | JobType::Restart);
        let stops = matches!(kind, JobType::Stop | JobType::Restart);
        let refused = if mode == JobMode::Isolate && !settings.allow_isolate {
            Some(("isolated", "AllowIsolate=no"))
        } else if starts && settings.refuse_manual_start {
            Some(("started", "RefuseManualStart=yes"))
        } else if stops && settings.refuse_manual_stop {
            Some(("stopped", "RefuseManualStop=yes"))
        } else {
            None
        };
        if let Some((verb, directive)) = refused {
            return Err(Refusal::ByOthersOnly {
                unit: unit.clone(),
                verb: verb.to_owned(),
                directive: directive.to_owned(),
            });
        }
        if starts {
            // Also where it is refused: what was only made for this is not needed any more.
            self.with(now, unit, |step| step.core.asked = true);
        }
        let entries = self.plan(unit, kind, mode, force)?;
        self.install(now, entries, false, mode)
            .map(Answer::Job)
            .ok_or_else(|| Refusal::NoSuchUnit(unit.clone()))
    }

    fn try_restart(&mut self, now: Now, unit: &UnitName, mode: JobMode) -> Result<Answer, Refusal> {
        self.known(unit)?;
        if self.is_up(unit) {
            self.job(now, unit, JobType::Restart, mode, false)
        } else {
            Ok(Answer::Done)
        }
    }

    fn reload(&mut self, now: Now, unit: &UnitName, mode: JobMode) -> Result<Answer, Refusal> {
        let record = self.known(unit)?;
        let refuse = |reason: &str| {
            Err(Refusal::NotApplicable {
                unit: unit.clone(),
                verb: "reloaded".to_owned(),
                reason: reason.to_owned(),
            })
        };
        if !record
            .unit
            .service
            .as_ref()
            .is_some_and(reload::is_possible)
        {
            return refuse("it has neither ExecReload= nor Type=notify-reload");
        }
        if !self.is_up(unit) {
            return Err(Refusal::Inactive(unit.clone()));
        }
        if record.core.freezer.is_paused() {
            return refuse("it is paused");
        }
        self.job(now, unit, JobType::Reload, mode, false)
    }

    fn reload_or_restart(
        &mut self,
        now: Now,
        unit: &UnitName,
        mode: JobMode,
        only_running: bool,
    ) -> Result<Answer, Refusal> {
        let record = self.known(unit)?;
        let can = record
            .unit
            .service
            .as_ref()
            .is_some_and(reload::is_possible);
        match (self.is_up(unit), can) {
            (true, true) => self.reload(now, unit, mode),
            (false, _) if only_running => Ok(Answer::Done),
            (_, _) => self.job(now, unit, JobType::Restart, mode, false),
        }
    }

    fn pause(&mut self, now: Now, unit: &UnitName, reason: String) -> Result<Answer, Refusal> {
        let record = self.known(unit)?;
        let refuse = |reason: &str| {
            Err(Refusal::NotApplicable {
                unit: unit.clone(),
                verb: "paused".to_owned(),
                reason: reason.to_owned(),
            })
        };
        match &record.core.freezer {
            Freezer::Freezing { job: Some(job), .. } => return Ok(Answer::Job(*job)),
            Freezer::Freezing { .. } | Freezer::Frozen { .. } => {
                return Err(Refusal::AlreadyPaused(unit.clone()));
            }
            Freezer::Running | Freezer::Thawing { .. } => {}
        }
        match record.core.state {
            State::Dead { .. } | State::AutoRestart { .. } => {
                return Err(Refusal::Inactive(unit.clone()));
            }
            State::Launching {
                main: Process::Alive(_),
                ..
            }
            | State::StartPost { main: Some(_), .. }
            | State::Running { .. } => {}
            State::Checking
            | State::Condition { .. }
            | State::StartPre { .. }
            | State::Idling { .. }
            | State::Launching { .. }
            | State::Seeking { .. }
            | State::StartPost { .. } => {
                return refuse("its main process does not run yet");
            }
            State::Reloading { .. } => return refuse("it is being reloaded"),
            State::Exited
            | State::Opening
            | State::Waiting { .. }
            | State::Triggered
            | State::Elapsed => return refuse("it has no process"),
            State::StopExec { .. }
            | State::Interrupting { .. }
            | State::Terminating { .. }
            | State::Killing { .. }
            | State::StopPost { .. }
            | State::Sweeping { .. } => return refuse("it is being stopped"),
        }
        let job = self.freezer_job(unit, JobType::Pause);
        self.with(now, unit, |step| step.freeze(job, reason));
        Ok(Answer::Job(job))
    }

    fn unpause(&mut self, now: Now, unit: &UnitName) -> Result<Answer, Refusal> {
        let core = &self.known(unit)?.core;
        match &core.freezer {
            Freezer::Thawing { job: None } if !core.state.is_stopping() => {}
            Freezer::Running | Freezer::Thawing { job: None } => {
                return Err(Refusal::NotPaused(unit.clone()));
            }
            Freezer::Thawing { job: Some(job) } => return Ok(Answer::Job(*job)),
            Freezer::Freezing { .. } | Freezer::Frozen { .. } => {}
        }
        let job = self.freezer_job(unit, JobType::Resume);
        self.with(now, unit, |step| step.thaw(job));
        Ok(Answer::Job(job))
    }

    fn freezer_job(&mut self, unit: &UnitName, kind: JobType) -> JobId {
        self.counters.job += 1;
        let job = JobId(self.counters.job);
        self.out.push(Effect::JobNew {
            job,
            unit: unit.clone(),
            kind,
        });
        job
    }

    fn send(&mut self, now: Now, unit: &UnitName, text: String) -> Result<Answer, Refusal> {
        let record = self.known(unit)?;
        let reads = record
            .unit
            .agent
            .as_ref()
            .is_some_and(|agent| agent.runtime == RuntimeKind::ClaudeCode || agent.terminal);
        if !reads {
            return Err(Refusal::NotApplicable {
                unit: unit.clone(),
                verb: "sent a message".to_owned(),
                reason: "nothing in it reads messages".to_owned(),
            });
        }
        let comes = record.core.job.is_some_and(|job| job.kind != JobType::Stop);
        let ends = record.core.state.is_dead()
            || record.core.state.is_stopping() && record.core.run.stop_asked;
        if ends && !comes {
            return Err(Refusal::Inactive(unit.clone()));
        }
        if record.core.inputs.is_full() {
            return Err(Refusal::InputQueueFull {
                unit: unit.clone(),
                limit: input::LIMIT,
            });
        }
        self.counters.input += 1;
        let input = InputId(self.counters.input);
        self.with(now, unit, |step| {
            step.core.inputs.push(input, text);
            step.deliver();
        });
        Ok(Answer::Input(input))
    }

    fn signal(&mut self, unit: &UnitName, whom: Whom, signal: i32) -> Result<Answer, Refusal> {
        let state = &self.known(unit)?.core.state;
        let alive = |process: Option<Process>| process.and_then(Process::alive).is_some();
        let main = alive(state.main());
        let reachable = match whom {
            Whom::Main => main,
            Whom::Control => alive(state.control()),
            // What was left behind by the main process can be reached too.
            Whom::All => {
                main || alive(state.control())
                    || matches!(
                        state,
                        State::Exited | State::Running { .. } | State::Seeking { .. }
                    )
            }
        };
        if !reachable {
            // As in systemd: everybody may be nobody, but the one that is meant must be there.
            return match whom {
                Whom::All => Ok(Answer::Done),
                Whom::Main | Whom::Control => Err(Refusal::Inactive(unit.clone())),
            };
        }
        if !(1..=64).contains(&signal) {
            return Err(Refusal::NotApplicable {
                unit: unit.clone(),
                verb: "sent a signal".to_owned(),
                reason: format!("there is no signal {signal}"),
            });
        }
        self.out.push(Effect::Signal {
            unit: unit.clone(),
            whom,
            signal,
        });
        Ok(Answer::Done)
    }

    fn reset_failed(&mut self, now: Now, unit: Option<UnitName>) -> Result<Answer, Refusal> {
        let units = match unit {
            Some(unit) => {
                self.known(&unit)?;
                vec![unit]
            }
            None => self.records.keys().cloned().collect(),
        };
        for unit in units {
            self.with(now, &unit, |step| {
                step.core.history.clear();
                if let State::Dead { failed } = &mut step.core.state {
                    *failed = false;
                    step.core.run.limit_hit = false;
                    if step.core.run.outcome.is_failure() {
                        step.core.run.outcome = Outcome::Success;
                        step.core.run.why.clear();
                        step.core.run.failure = None;
                    }
                }
            });
        }
        Ok(Answer::Done)
    }

    fn cancel(&mut self, now: Now, job: JobId) -> Result<Answer, Refusal> {
        let owner = self.records.iter().find_map(|(name, record)| {
            let main = record.core.job.is_some_and(|own| own.id == job);
            (main || record.core.freezer.job() == Some(job)).then(|| (name.clone(), main))
        });
        let Some((unit, main)) = owner else {
            return Err(Refusal::NoSuchJob(job));
        };
        if main {
            self.end_job(now, &unit, JobResult::Canceled, true);
        } else {
            self.with(now, &unit, |step| {
                step.cancel_freezer_job(job);
            });
        }
        Ok(Answer::Done)
    }
}
