//! From one wish to the jobs that it takes: all of them, or a refusal and none.
//!
//! Nothing is changed here; a transaction is only read off the graph and the states. `schedule`
//! installs what comes of it. Read `job` for which two jobs go together. The steps are those of
//! systemd's transaction, in its order.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Engine;
use crate::engine::event::{JobMode, JobType, Refusal};
use crate::engine::graph::Graph;
use crate::engine::job::{Entry, merge, redundant};
use crate::engine::reload;
use crate::name::UnitName;

type Entries = BTreeMap<UnitName, Entry>;

impl Engine {
    /// The jobs for a wish, the wish itself first.
    pub(super) fn plan(
        &self,
        anchor: &UnitName,
        kind: JobType,
        mode: JobMode,
        force: bool,
    ) -> Result<Vec<Entry>, Refusal> {
        let mut entries = Entries::new();
        if matches!(kind, JobType::Start | JobType::Restart) && !self.is_startable(anchor) {
            return Err(Refusal::NoSuchUnit(anchor.clone()));
        }
        // 1. Pull in what the wish needs, wants, excludes or takes along.
        if matches!(
            mode,
            JobMode::IgnoreDependencies | JobMode::IgnoreRequirements
        ) {
            add(&mut entries, anchor, kind, true);
        } else {
            match kind {
                JobType::Stop => self.pull_stop(&mut entries, anchor, force)?,
                JobType::Reload => self.pull_reload(&mut entries, anchor),
                JobType::Start
                | JobType::Restart
                | JobType::VerifyActive
                | JobType::Pause
                | JobType::Resume => self.pull_start(&mut entries, anchor, kind)?,
            }
        }
        // 2. Isolate: whatever is not part of it goes down.
        if mode == JobMode::Isolate {
            self.pull_rest_down(&mut entries);
        }
        // 3. Under `fail`, stop nothing that need not be stopped.
        if mode == JobMode::Fail {
            entries.retain(|_, entry| entry.needed || !self.is_reversal(entry));
        }
        // 4. Leave out what has nothing to do; never the wish itself.
        entries.retain(|name, entry| name == anchor || !self.is_redundant(entry));
        // 5. Break ordering cycles at something that is only wanted, or refuse.
        if mode != JobMode::IgnoreDependencies {
            self.break_cycles(&mut entries)?;
        }
        // 6. See whether jobs in the way forbid it.
        for entry in entries.values() {
            if let Some(job) = self.records.get(&entry.unit).and_then(|r| r.core.job)
                && (mode == JobMode::Fail || job.irreversible)
                && !job.absorbs(entry.kind)
                && merge(job.kind, entry.kind).is_none()
            {
                return Err(Refusal::Conflicting {
                    unit: entry.unit.clone(),
                    job: job.id,
                });
            }
        }
        // 7. The wish first: its job is the answer.
        let wish = entries.remove(anchor);
        Ok(wish.into_iter().chain(entries.into_values()).collect())
    }

    fn pull_start(
        &self,
        entries: &mut Entries,
        anchor: &UnitName,
        kind: JobType,
    ) -> Result<(), Refusal> {
        let mut roots = vec![(anchor.clone(), true)];
        let mut seen = BTreeSet::from([anchor.clone()]);
        while let Some((root, needed)) = roots.pop() {
            let all = match self.needs(&root) {
                Ok(all) => all,
                Err(refusal) if needed => return Err(refusal),
                // Only wanted: it is left out, and with it all that it needs.
                Err(_) => continue,
            };
            for name in std::iter::once(root).chain(all) {
                for wanted in self.graph.wants(&name) {
                    if self.is_startable(wanted) && seen.insert(wanted.clone()) {
                        roots.push((wanted.clone(), false));
                    }
                }
                for verified in self.graph.requisite(&name) {
                    if !entries.contains_key(verified) {
                        add(entries, verified, JobType::VerifyActive, needed);
                    }
                }
                add(entries, &name, JobType::Start, needed);
            }
        }
        if kind == JobType::Restart {
            add(entries, anchor, JobType::Restart, true);
            for name in self.followers(anchor, JobType::Restart) {
                add(entries, &name, JobType::Restart, true);
            }
        }
        self.pull_conflicts(entries)
    }

    /// `Requires=` and `BindsTo=` all the way down.
    fn needs(&self, root: &UnitName) -> Result<Vec<UnitName>, Refusal> {
        let all = Graph::closure(root, |name| self.graph.requires(name).cloned().collect());
        let verified = all
            .iter()
            .chain(std::iter::once(root))
            .flat_map(|name| self.graph.requisite(name));
        let missing = all
            .iter()
            .chain(verified)
            .find(|name| !self.is_startable(name));
        match missing.cloned() {
            None => Ok(all),
            Some(missing) => Err(Refusal::MissingRequirement {
                unit: root.clone(),
                missing,
            }),
        }
    }

    fn pull_conflicts(&self, entries: &mut Entries) -> Result<(), Refusal> {
        let mut starts: Vec<(bool, UnitName)> = entries
            .values()
            .filter(|entry| matches!(entry.kind, JobType::Start | JobType::Restart))
            .map(|entry| (!entry.needed, entry.unit.clone()))
            .collect();
        // The needed ones choose first.
        starts.sort();
        for (_, name) in starts {
            let mut excluded = self.graph.conflicts(&name);
            excluded.extend(self.graph.conflicted_by(&name));
            for other in excluded {
                let Some(needed) = entries.get(&name).map(|entry| entry.needed) else {
                    break;
                };
                if !self.is_up(&other) && !entries.contains_key(&other) {
                    continue;
                }
                let victims: Vec<UnitName> = std::iter::once(other.clone())
                    .chain(self.followers(&other, JobType::Stop))
                    .collect();
                let kept = victims.iter().find(|victim| {
                    entries
                        .get(*victim)
                        .is_some_and(|entry| entry.needed && entry.kind != JobType::Stop)
                });
                if let Some(kept) = kept {
                    if needed {
                        return Err(Refusal::NotApplicable {
                            unit: name.clone(),
                            verb: "started".to_owned(),
                            reason: format!("it conflicts with {kept}, which is needed as well"),
                        });
                    }
                    self.leave_out(entries, &name);
                    break;
                }
                for victim in victims {
                    self.leave_out(entries, &victim);
                    if self.is_up(&victim) {
                        add(entries, &victim, JobType::Stop, needed);
                    }
                }
            }
        }
        Ok(())
    }

    fn pull_stop(
        &self,
        entries: &mut Entries,
        anchor: &UnitName,
        force: bool,
    ) -> Result<(), Refusal> {
        let dependents: Vec<UnitName> = Graph::closure(anchor, |name| {
            self.graph.required_by(name).cloned().collect()
        })
        .into_iter()
        .filter(|name| self.is_up(name))
        .collect();
        if !force && !dependents.is_empty() && self.is_up(anchor) {
            return Err(Refusal::NeededBy {
                unit: anchor.clone(),
                dependents,
            });
        }
        add(entries, anchor, JobType::Stop, true);
        for name in self.followers(anchor, JobType::Stop) {
            add(entries, &name, JobType::Stop, true);
        }
        Ok(())
    }

    fn pull_reload(&self, entries: &mut Entries, anchor: &UnitName) {
        add(entries, anchor, JobType::Reload, true);
        let others = Graph::closure(anchor, |name| self.graph.reloads(name).cloned().collect());
        for name in others {
            let can = self.records.get(&name).is_some_and(|record| {
                record
                    .unit
                    .service
                    .as_ref()
                    .is_some_and(reload::is_possible)
            });
            if can && self.is_up(&name) {
                add(entries, &name, JobType::Reload, false);
            }
        }
    }

    fn pull_rest_down(&self, entries: &mut Entries) {
        let mut down = vec![];
        for (name, record) in &self.records {
            let triggered = self
                .graph
                .triggered_by(name)
                .iter()
                .any(|trigger| entries.contains_key(trigger));
            if !entries.contains_key(name)
                && !record.unit.settings.ignore_on_isolate
                && !triggered
                && self.is_up(name)
            {
                down.push(name.clone());
            }
        }
        for name in down {
            add(entries, &name, JobType::Stop, true);
        }
    }

    /// Who goes down (or is restarted) with a unit: what requires it and what is part of it, as
    /// far as it is up.
    fn followers(&self, anchor: &UnitName, kind: JobType) -> Vec<UnitName> {
        Graph::closure(anchor, |name| {
            let mut all: Vec<UnitName> = self
                .graph
                .required_by(name)
                .chain(self.graph.parts(name))
                .cloned()
                .collect();
            if kind == JobType::Stop {
                all.extend(self.graph.stops(name).cloned());
            }
            all
        })
        .into_iter()
        .filter(|name| self.is_up(name))
        .collect()
    }

    /// Whether it runs or is about to, and nobody is stopping it for good.
    pub(super) fn is_up(&self, name: &UnitName) -> bool {
        self.records
            .get(name)
            .is_some_and(|record| match record.core.job {
                Some(job) if job.kind == JobType::VerifyActive => !record.core.state.is_dead(),
                Some(job) => job.kind != JobType::Stop,
                None => !record.core.state.is_dead(),
            })
    }

    fn break_cycles(&self, entries: &mut Entries) -> Result<(), Refusal> {
        loop {
            // A cycle that is new goes through something of ours.
            let roots: BTreeSet<UnitName> = entries.keys().cloned().collect();
            let among = |name: &UnitName| entries.contains_key(name) || self.busy.contains(name);
            let Some(cycle) = self.graph.cycle(among, &roots) else {
                return Ok(());
            };
            let wanted = cycle
                .iter()
                .find(|name| entries.get(*name).is_some_and(|entry| !entry.needed))
                .cloned();
            match wanted {
                Some(name) => self.leave_out(entries, &name),
                None if cycle.iter().any(|name| entries.contains_key(name)) => {
                    return Err(Refusal::Cycle { units: cycle });
                }
                None => return Ok(()),
            }
        }
    }

    /// Takes a start out, and the starts of what cannot be without it.
    fn leave_out(&self, entries: &mut Entries, name: &UnitName) {
        entries.remove(name);
        for other in Graph::closure(name, |name| self.graph.required_by(name).cloned().collect()) {
            if entries
                .get(&other)
                .is_some_and(|entry| !entry.needed && entry.kind == JobType::Start)
            {
                entries.remove(&other);
            }
        }
    }

    fn is_redundant(&self, entry: &Entry) -> bool {
        self.records.get(&entry.unit).is_none_or(|record| {
            record.core.job.is_none() && redundant(entry.kind, record.core.state.active())
        })
    }

    /// Whether an entry would stop what runs, or turn a job round that is under way.
    fn is_reversal(&self, entry: &Entry) -> bool {
        self.records.get(&entry.unit).is_some_and(|record| {
            let stops = entry.kind == JobType::Stop && !record.core.state.is_dead();
            let turns = record
                .core
                .job
                .is_some_and(|job| merge(job.kind, entry.kind).is_none());
            stops || turns
        })
    }
}

fn add(entries: &mut Entries, name: &UnitName, kind: JobType, needed: bool) {
    let entry = entries.entry(name.clone()).or_insert_with(|| Entry {
        unit: name.clone(),
        kind,
        needed,
    });
    entry.needed |= needed;
    entry.kind = merge(entry.kind, kind).unwrap_or(kind);
}
