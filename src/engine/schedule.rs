//! Jobs in their slots: installed, waiting for each other, running, ended.
//!
//! A job is run when nothing that it is ordered against stands before it; its end is read off the
//! unit's state. Which jobs there are is `transaction`'s word.
#![deny(clippy::wildcard_enum_match_arm)]

use crate::engine::Engine;
use crate::engine::event::{Effect, JobMode, JobResult, JobType, Now};
use crate::engine::job::{Entry, Job, Phase, waits};
use crate::engine::state::{Deadline, Next, State};
use crate::engine::view::Outcome;
use crate::name::{JobId, UnitName};

impl Engine {
    /// Puts the jobs of a transaction into their slots; answers with the job of the first.
    pub(super) fn install(
        &mut self,
        now: Now,
        entries: Vec<Entry>,
        by_policy: bool,
        alone: bool,
    ) -> Option<JobId> {
        let mut first = None;
        for entry in entries {
            let name = entry.unit;
            let old = self.records.get(&name).and_then(|record| record.core.job);
            let id = match old {
                Some(old) if old.absorbs(entry.kind) => old.id,
                old => {
                    if old.is_some() {
                        self.end_job(now, &name, JobResult::Canceled, entry.kind == JobType::Stop);
                    }
                    self.counters.job += 1;
                    let id = JobId(self.counters.job);
                    let mut job = Job::new(id, entry.kind);
                    job.by_policy = by_policy;
                    job.alone = alone;
                    self.with(now, &name, |step| {
                        step.core.job = Some(job);
                        step.out.push(Effect::JobNew {
                            job: id,
                            unit: step.unit.name.clone(),
                            kind: entry.kind,
                        });
                    });
                    id
                }
            };
            first = first.or(Some(id));
        }
        first
    }

    /// Ends the job of a unit, and with a failed start the starts that required it.
    pub(super) fn end_job(&mut self, now: Now, name: &UnitName, result: JobResult, spread: bool) {
        let mut ends = vec![(name.clone(), result)];
        while let Some((name, result)) = ends.pop() {
            let mut ended = None;
            self.with(now, &name, |step| {
                ended = step.core.job.take();
                if let Some(job) = ended {
                    if result == JobResult::Dependency && step.core.state.is_startable() {
                        step.disarm();
                        step.core.run.outcome = Outcome::Dependency;
                        "something it requires could not be started"
                            .clone_into(&mut step.core.run.why);
                        if step.core.state.is_dead() {
                            step.core.state = State::Dead { failed: true };
                        } else {
                            step.dead(true);
                        }
                    }
                    step.end_job(job.id, job.kind, result);
                }
            });
            let failed = ended.is_some_and(|job| job.kind != JobType::Stop)
                && result != JobResult::Done
                && spread;
            if failed {
                for other in self.graph.required_by(&name) {
                    let waiting = self.records.get(other).and_then(|record| record.core.job);
                    if waiting.is_some_and(|job| job.phase == Phase::StartWaiting && !job.alone) {
                        ends.push((other.clone(), JobResult::Dependency));
                    }
                }
            }
        }
    }

    /// Runs what can run and ends what has ended, until nothing moves.
    pub(super) fn run_jobs(&mut self, now: Now) {
        loop {
            let mut moved = false;
            for name in self.busy.clone() {
                moved |= self.run_job(now, &name);
            }
            if !moved {
                return;
            }
        }
    }

    fn run_job(&mut self, now: Now, name: &UnitName) -> bool {
        let Some(record) = self.records.get(name) else {
            return self.busy.remove(name);
        };
        let Some(job) = record.core.job else {
            return self.restart_when_due(now, name);
        };
        match job.phase {
            Phase::StopWaiting => {
                if self.is_blocked(name, &job) {
                    return false;
                }
                self.with(now, name, |step| {
                    step.core.job = Some(Job {
                        phase: Phase::StopRunning,
                        ..job
                    });
                    step.stop();
                });
                true
            }
            Phase::StopRunning => {
                if !record.core.state.is_dead() {
                    return false;
                }
                if job.kind == JobType::Restart {
                    self.with(now, name, |step| {
                        step.core.job = Some(Job {
                            phase: Phase::StartWaiting,
                            ..job
                        });
                    });
                } else {
                    self.end_job(now, name, JobResult::Done, true);
                }
                true
            }
            Phase::StartWaiting => self.run_start(now, name, job),
            Phase::StartRunning => match started(&record.core.state, record.core.run.outcome) {
                None => false,
                Some(result) => {
                    self.end_job(now, name, result, true);
                    true
                }
            },
        }
    }

    fn run_start(&mut self, now: Now, name: &UnitName, job: Job) -> bool {
        let Some(record) = self.records.get(name) else {
            return false;
        };
        if matches!(record.core.state, State::Running { .. } | State::Exited) {
            self.end_job(now, name, JobResult::Done, true);
            return true;
        }
        if !record.core.state.is_startable() || self.is_blocked(name, &job) {
            return false;
        }
        let mut limited = false;
        self.with(now, name, |step| {
            if job.by_policy {
                let free = matches!(step.core.run.next, Next::Fresh | Next::Lost)
                    && !step.core.state.is_dead();
                let limit = step.unit.start_limit;
                limited = !free && !step.core.history.charge(step.now.monotonic, limit);
            } else {
                step.core.history.clear();
                step.core.fresh_tried = false;
            }
            if limited {
                step.disarm();
                step.log("start limit hit, giving up");
                step.core.run.outcome = Outcome::StartLimitHit;
                let last = std::mem::take(&mut step.core.run.why);
                step.core.run.why = match last.as_str() {
                    "" => "it was restarted too often".to_owned(),
                    last => format!("it was restarted too often; the last time: {last}"),
                };
                step.core.job = Some(Job {
                    phase: Phase::StartRunning,
                    ..job
                });
                step.dead(true);
                return;
            }
            // A start is a new beginning; a restart, whoever made it, goes on with the session.
            let again = matches!(step.core.state, State::AutoRestart { .. })
                || job.kind == JobType::Restart;
            let resume = again && !std::mem::take(&mut step.core.fresh_next);
            step.core.job = Some(Job {
                phase: Phase::StartRunning,
                ..job
            });
            step.begin_start(resume);
        });
        true
    }

    /// A restart by policy whose delay is over becomes a start job like any other.
    fn restart_when_due(&mut self, now: Now, name: &UnitName) -> bool {
        let due = self
            .records
            .get(name)
            .is_some_and(|record| record.core.is_restart_due());
        if !due {
            return false;
        }
        match self.plan(name, JobType::Start, JobMode::Replace, false) {
            Ok(entries) => {
                self.install(now, entries, true, false);
            }
            Err(refusal) => self.with(now, name, |step| {
                step.log(format!("cannot be restarted: {refusal}"));
                step.core.run.outcome = Outcome::Dependency;
                step.core.run.why = refusal.to_string();
                step.dead(true);
            }),
        }
        true
    }

    /// Whether another job stands before this one.
    fn is_blocked(&self, name: &UnitName, job: &Job) -> bool {
        if job.alone {
            return false;
        }
        let other = |other: &UnitName| {
            self.records
                .get(other)
                .and_then(|record| record.core.job)
                .filter(|other| !other.alone)
        };
        self.graph
            .earlier(name)
            .iter()
            .filter_map(other)
            .any(|other| waits(job, &other, true))
            || self
                .graph
                .later(name)
                .iter()
                .filter_map(other)
                .any(|other| waits(job, &other, false))
            || !job.stops()
                && self
                    .graph
                    .conflicts(name)
                    .iter()
                    .filter_map(other)
                    .any(|other| other.stops())
    }
}

/// How a running start has ended, when it has.
fn started(state: &State, outcome: Outcome) -> Option<JobResult> {
    match state {
        State::Running { .. } | State::Exited => Some(JobResult::Done),
        State::Dead { .. } | State::AutoRestart { .. } => Some(match outcome {
            Outcome::Success | Outcome::Completed => JobResult::Done,
            Outcome::Timeout => JobResult::Timeout,
            Outcome::Dependency => JobResult::Dependency,
            Outcome::Resources
            | Outcome::ExitCode
            | Outcome::Signal
            | Outcome::CoreDump
            | Outcome::OomKill
            | Outcome::StartLimitHit
            | Outcome::Agent => JobResult::Failed,
        }),
        State::StartPre { .. }
        | State::Launching { .. }
        | State::StartPost { .. }
        | State::StopExec { .. }
        | State::Interrupting { .. }
        | State::Terminating { .. }
        | State::Killing { .. }
        | State::StopPost { .. } => None,
    }
}

impl super::state::Snapshot {
    /// The delay is over (or there was none) and nobody paused it.
    pub(super) fn is_restart_due(&self) -> bool {
        matches!(
            self.state,
            State::AutoRestart {
                deadline: Deadline::Never
            }
        ) && !self.freezer.is_paused()
    }
}
