//! Jobs in their slots: installed, waiting for each other, running, ended.
//!
//! A job is run when nothing that it is ordered against stands before it; its end is read off the
//! unit's state. Which jobs there are is `transaction`'s word. Only units of which something has
//! changed are looked at, and those that may have waited for it.
#![deny(clippy::wildcard_enum_match_arm)]

use crate::engine::Engine;
use crate::engine::event::{Effect, JobMode, JobResult, JobType, Now};
use crate::engine::job::{Entry, Job, Phase, waits};
use crate::engine::restart::micros;
use crate::engine::state::{Deadline, Next, Run, State};
use crate::engine::view::{ActiveState, Outcome};
use crate::name::{JobId, UnitName, UnitType};

impl Engine {
    /// Puts the jobs of a transaction into their slots; answers with the job of the first.
    pub(super) fn install(
        &mut self,
        now: Now,
        entries: Vec<Entry>,
        by_policy: bool,
        mode: JobMode,
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
                    job.alone = mode == JobMode::IgnoreDependencies;
                    job.irreversible = mode == JobMode::ReplaceIrreversibly;
                    self.with(now, &name, |step| {
                        step.core.job = Some(job);
                        step.core.asked |= job.kind != JobType::Stop;
                        step.core.clocks.job = step.arm_always(step.unit.settings.job_timeout);
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
                let clock = std::mem::replace(&mut step.core.clocks.job, Deadline::Never);
                step.drop_timer(clock);
                if let Some(job) = ended {
                    if result == JobResult::Dependency && step.core.state.is_startable() {
                        // As in systemd the unit has not failed: it has not been tried.
                        step.disarm();
                        "something it requires could not be started"
                            .clone_into(&mut step.core.run.why);
                        step.log("not started: something it requires could not be started");
                        if !step.core.state.is_dead() {
                            step.core.run.outcome = Outcome::Dependency;
                            step.dead(false);
                        }
                    }
                    step.end_job(job.id, job.kind, result);
                }
            });
            let Some(job) = ended else { continue };
            self.wake_neighbours(&name);
            self.wake_waiting(&name);
            if matches!(result, JobResult::Dependency | JobResult::Timeout) {
                self.follow_failed_job(now, &name);
            }
            if !spread {
                continue;
            }
            for other in self.fails_with(&name, &job, result) {
                ends.push((other, JobResult::Dependency));
            }
        }
    }

    /// Whose jobs cannot succeed after this one has ended so.
    fn fails_with(&self, name: &UnitName, job: &Job, result: JobResult) -> Vec<UnitName> {
        let down = self
            .records
            .get(name)
            .is_some_and(|record| record.core.state.is_dead());
        let others: Vec<&UnitName> = match (job.kind, result) {
            // Somebody needs it to be active, and it has come and gone.
            (JobType::Start | JobType::Restart, JobResult::Done) if down => {
                self.graph.requisite_of(name).collect()
            }
            (_, JobResult::Done) => vec![],
            (JobType::Start | JobType::Restart | JobType::VerifyActive, _) => {
                self.graph.required_by(name).collect()
            }
            (JobType::Stop, _) => {
                return self
                    .graph
                    .conflicted_by(name)
                    .into_iter()
                    .filter(|other| self.has_start(other))
                    .collect();
            }
            (JobType::Reload | JobType::Pause | JobType::Resume, _) => vec![],
        };
        others
            .into_iter()
            .filter(|other| self.has_start(other))
            .cloned()
            .collect()
    }

    fn has_start(&self, name: &UnitName) -> bool {
        let job = self.records.get(name).and_then(|record| record.core.job);
        job.is_some_and(|job| {
            !job.alone
                && !job.stops()
                && matches!(
                    job.kind,
                    JobType::Start | JobType::Restart | JobType::VerifyActive
                )
        })
    }

    /// Those that may have waited for a job of this unit are to be looked at.
    fn wake_neighbours(&mut self, name: &UnitName) {
        let excluded = self.graph.conflicts(name);
        let excluding = self.graph.conflicted_by(name);
        let near = self.graph.earlier(name).chain(self.graph.later(name));
        let woken: Vec<UnitName> = near
            .chain(&excluded)
            .chain(&excluding)
            .filter(|other| self.busy.contains(*other))
            .cloned()
            .collect();
        self.dirty.extend(woken);
        self.dirty.extend(self.idling.iter().cloned());
    }

    /// Runs what can run and ends what has ended, until nothing moves.
    pub(super) fn run_jobs(&mut self, now: Now) {
        while let Some(name) = self.dirty.pop_first() {
            if self.run_job(now, &name) {
                self.wake_neighbours(&name);
                self.dirty.insert(name);
            }
        }
    }

    fn run_job(&mut self, now: Now, name: &UnitName) -> bool {
        let Some(record) = self.records.get(name) else {
            self.busy.remove(name);
            return false;
        };
        let Some(job) = record.core.job else {
            return self.restart_when_due(now, name);
        };
        match job.phase {
            Phase::StopWaiting => {
                if self.waits(name, &job) {
                    return false;
                }
                self.with(now, name, |step| {
                    step.run_phase(job, Phase::StopRunning);
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
            Phase::StartWaiting => match job.kind {
                JobType::VerifyActive => self.run_verify(now, name, &job),
                JobType::Reload => self.run_reload(now, name, job),
                JobType::Start
                | JobType::Stop
                | JobType::Restart
                | JobType::Pause
                | JobType::Resume => self.run_start(now, name, job),
            },
            Phase::StartRunning => {
                if matches!(record.core.state, State::Idling { .. }) {
                    return self.run_idle(now, name);
                }
                let result = if job.kind == JobType::Reload {
                    reloaded(&record.core.state, &record.core.run)
                } else {
                    let direct = record
                        .unit
                        .service
                        .as_ref()
                        .is_some_and(|service| service.restart_direct);
                    if direct && record.core.is_restart_due() {
                        // The job goes on over the restart, which is charged as any is.
                        self.with(now, name, |step| {
                            step.core.job = Some(Job {
                                phase: Phase::StartWaiting,
                                by_policy: true,
                                ..job
                            });
                        });
                        return true;
                    }
                    started(&record.core.state, &record.core.run, direct)
                };
                match result {
                    None => false,
                    Some(result) => {
                        self.end_job(now, name, result, true);
                        true
                    }
                }
            }
        }
    }

    fn run_verify(&mut self, now: Now, name: &UnitName, job: &Job) -> bool {
        let Some(record) = self.records.get(name) else {
            return false;
        };
        let result = match record.core.state.active() {
            ActiveState::Active | ActiveState::Reloading => JobResult::Done,
            // Its restart needs the slot that this job is in.
            ActiveState::Activating if !matches!(record.core.state, State::AutoRestart { .. }) => {
                return false;
            }
            ActiveState::Activating
            | ActiveState::Deactivating
            | ActiveState::Inactive
            | ActiveState::Failed => JobResult::Skipped,
        };
        if self.waits(name, job) {
            return false;
        }
        self.end_job(now, name, result, true);
        true
    }

    fn run_reload(&mut self, now: Now, name: &UnitName, job: Job) -> bool {
        let Some(record) = self.records.get(name) else {
            return false;
        };
        match record.core.state.active() {
            ActiveState::Active => {
                if self.waits(name, &job) {
                    return false;
                }
                self.with(now, name, |step| {
                    step.run_phase(job, Phase::StartRunning);
                    step.begin_reload();
                });
                true
            }
            ActiveState::Reloading => false,
            // Its restart needs the slot that this job is in.
            ActiveState::Activating if !matches!(record.core.state, State::AutoRestart { .. }) => {
                false
            }
            ActiveState::Activating
            | ActiveState::Deactivating
            | ActiveState::Inactive
            | ActiveState::Failed => {
                self.end_job(now, name, JobResult::Invalid, true);
                true
            }
        }
    }

    /// `Type=idle`: nothing but idle units may be under way.
    fn run_idle(&mut self, now: Now, name: &UnitName) -> bool {
        let others = self.busy.iter().any(|other| {
            self.records.get(other).is_some_and(|record| {
                record.core.job.is_some() && !matches!(record.core.state, State::Idling { .. })
            })
        });
        if others {
            return false;
        }
        self.with(now, name, |step| step.end_idling());
        true
    }

    fn run_start(&mut self, now: Now, name: &UnitName, job: Job) -> bool {
        let Some(record) = self.records.get(name) else {
            return false;
        };
        if matches!(
            record.core.state.active(),
            ActiveState::Active | ActiveState::Reloading
        ) {
            self.end_job(now, name, JobResult::Done, true);
            return true;
        }
        if !record.core.state.is_startable()
            || self.waits(name, &job)
            || !self.has_place(name, &job)
        {
            return false;
        }
        if let Some(why) = self.stands_against(name) {
            self.with(now, name, |step| {
                step.log(format!("not started: {why}"));
                step.core.run.why = why;
            });
            let bound = name.kind() == UnitType::Service || name.kind() == UnitType::Agent;
            let result = if bound {
                JobResult::Dependency
            } else {
                JobResult::Failed
            };
            self.end_job(now, name, result, true);
            return true;
        }
        let mut limited = false;
        self.with(now, name, |step| {
            let free = matches!(step.core.run.next, Next::Fresh | Next::Lost)
                && !step.core.state.is_dead();
            let limit = step.unit.start_limit;
            if step.unit.service.is_some() {
                limited = !free && !step.core.history.charge(step.now.monotonic, limit);
            }
            if job.by_policy {
                let restarts = &mut step.core.history.restarts;
                *restarts = restarts.saturating_add(u32::from(!free));
            } else if !limited {
                step.core.history.restarts = 0;
                step.core.fresh_tried = false;
            }
            if limited {
                step.refuse_beyond_limit(job);
                return;
            }
            // A start is a new beginning; a restart, whoever made it, goes on with the session.
            let again = matches!(step.core.state, State::AutoRestart { .. })
                || job.kind == JobType::Restart;
            let resume = again && !std::mem::take(&mut step.core.fresh_next);
            step.run_phase(job, Phase::StartRunning);
            step.begin_start(resume);
        });
        true
    }

    /// What makes a start impossible before anything is done for it.
    fn stands_against(&self, name: &UnitName) -> Option<String> {
        let relations = &self.records.get(name)?.unit.relations;
        let active = |other: &UnitName| {
            self.records.get(other).is_some_and(|record| {
                matches!(
                    record.core.state.active(),
                    ActiveState::Active | ActiveState::Reloading
                )
            })
        };
        let gone = relations.binds_to.iter().find(|other| {
            self.graph.earlier(name).any(|earlier| earlier == *other) && !active(other)
        });
        if let Some(gone) = gone {
            return Some(format!("{gone}, which it is bound to, is not active"));
        }
        let target = relations.triggers.first()?;
        match self.records.get(target) {
            None => Some(format!("{target}, which it starts, is not known")),
            Some(record) if name.kind() == UnitType::Socket && !record.core.state.is_dead() => {
                Some(format!("{target} runs already, without these sockets"))
            }
            Some(_) => None,
        }
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
                self.install(now, entries, true, JobMode::Replace);
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
    pub(super) fn is_blocked(&self, name: &UnitName, job: &Job) -> bool {
        self.find_blocker(name, job, |_, _| true)
    }

    /// As [`Self::is_blocked`]. A target that comes after thousands asks whenever one of them moves:
    /// one that stands before it is remembered, and as long as that one's job is the same nobody
    /// else is asked. It is chosen as by lot, so that in whatever order they end, few are chosen.
    fn waits(&mut self, name: &UnitName, job: &Job) -> bool {
        if let Some((own, other, theirs)) = self.blockers.get(name) {
            let now = self.records.get(other).and_then(|record| record.core.job);
            if own == job && now.as_ref() == Some(theirs) {
                return true;
            }
        }
        let mut chosen: Option<(UnitName, Job)> = None;
        let lot = |job: &Job| job.id.0.wrapping_mul(0x9e37_79b1);
        self.find_blocker(name, job, |other, theirs| {
            if chosen
                .as_ref()
                .is_none_or(|(_, best)| lot(theirs) > lot(best))
            {
                chosen = Some((other.clone(), *theirs));
            }
            false
        });
        match chosen {
            Some((other, theirs)) => {
                self.blockers.insert(name.clone(), (*job, other, theirs));
                true
            }
            None => {
                self.blockers.remove(name);
                false
            }
        }
    }

    /// Tells of jobs that stand before this one, until `found` has enough.
    fn find_blocker(
        &self,
        name: &UnitName,
        job: &Job,
        mut found: impl FnMut(&UnitName, &Job) -> bool,
    ) -> bool {
        if job.alone {
            return false;
        }
        let mut stands = |other: &UnitName, before: &dyn Fn(&Job) -> bool| {
            self.records
                .get(other)
                .and_then(|record| record.core.job)
                .filter(|theirs| !theirs.alone && before(theirs))
                .is_some_and(|theirs| found(other, &theirs))
        };
        let excluded = self.graph.conflicts(name);
        let excluding = self.graph.conflicted_by(name);
        self.graph
            .earlier(name)
            .any(|other| stands(other, &|theirs| waits(job, theirs, true)))
            || self
                .graph
                .later(name)
                .any(|other| stands(other, &|theirs| waits(job, theirs, false)))
            || !job.stops()
                && excluded
                    .iter()
                    .chain(&excluding)
                    .any(|other| stands(other, &Job::stops))
            // Whether something is up is looked at before anything is started for its sake.
            || job.kind != JobType::VerifyActive
                && !job.stops()
                && self.graph.requisite(name).any(|other| {
                    stands(other, &|theirs| theirs.kind == JobType::VerifyActive)
                })
    }
}

impl super::step::Step<'_> {
    /// A job goes on to its next half.
    fn run_phase(&mut self, job: Job, phase: Phase) {
        self.core.job = Some(Job { phase, ..job });
        let Some(limit) = self.unit.settings.job_running_timeout else {
            return;
        };
        // Only what makes it earlier: JobTimeoutSec= counts from the beginning.
        let at = self.now.monotonic.saturating_add(micros(limit));
        if !matches!(self.core.clocks.job, Deadline::At { at: old, .. } if old <= at) {
            let old = std::mem::replace(&mut self.core.clocks.job, Deadline::Never);
            self.drop_timer(old);
            self.core.clocks.job = self.arm_always(Some(limit));
        }
    }

    fn refuse_beyond_limit(&mut self, job: Job) {
        self.disarm();
        self.log("start limit hit, giving up");
        self.act_on_start_limit();
        // What went wrong the last time is what there is to know.
        if !self.core.run.outcome.is_failure() {
            self.core.run.outcome = Outcome::StartLimitHit;
        }
        self.core.run.limit_hit = true;
        let last = std::mem::take(&mut self.core.run.why);
        self.core.run.why = match last.as_str() {
            "" => "it was started too often".to_owned(),
            last if last.starts_with("it was started too often") => last.to_owned(),
            last => format!("it was started too often; the last time: {last}"),
        };
        self.core.job = Some(Job {
            phase: Phase::StartRunning,
            ..job
        });
        self.core.run.unmet = None;
        self.dead(true);
    }
}

/// How a running start has ended, when it has.
fn started(state: &State, run: &Run, direct: bool) -> Option<JobResult> {
    match state.active() {
        ActiveState::Active | ActiveState::Reloading => Some(JobResult::Done),
        ActiveState::Inactive | ActiveState::Failed => Some(ended(run)),
        ActiveState::Activating if matches!(state, State::AutoRestart { .. }) && !direct => {
            Some(ended(run))
        }
        ActiveState::Activating | ActiveState::Deactivating => None,
    }
}

fn ended(run: &Run) -> JobResult {
    if run.unmet.as_ref().is_some_and(|condition| condition.assert) {
        JobResult::Assert
    } else if run.outcome == Outcome::Dependency {
        JobResult::Dependency
    } else if run.outcome.is_failure() {
        JobResult::Failed
    } else {
        JobResult::Done
    }
}

/// How a running reload has ended, when it has.
fn reloaded(state: &State, run: &Run) -> Option<JobResult> {
    match state.active() {
        ActiveState::Reloading => None,
        ActiveState::Active if run.reload_failed.is_none() => Some(JobResult::Done),
        ActiveState::Active
        | ActiveState::Activating
        | ActiveState::Deactivating
        | ActiveState::Inactive
        | ActiveState::Failed => Some(JobResult::Failed),
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
