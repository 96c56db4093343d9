//! From one wish to the jobs that it takes: all of them, or a refusal and none.
//!
//! Nothing is changed here; a transaction is only read off the graph and the states. `schedule`
//! installs what comes of it. Read `job` for which two jobs go together.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Engine;
use crate::engine::event::{JobMode, JobType, Refusal};
use crate::engine::graph::Graph;
use crate::engine::job::{Entry, merge, redundant};
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
        // 1. Pull in what the wish needs, wants, excludes or takes along.
        if mode == JobMode::IgnoreDependencies {
            add(&mut entries, anchor, kind, true);
        } else {
            match kind {
                JobType::Stop => self.pull_stop(&mut entries, anchor, force)?,
                JobType::Start | JobType::Restart | JobType::Pause | JobType::Resume => {
                    self.pull_start(&mut entries, anchor, kind)?;
                }
            }
            // 2. Break ordering cycles at something that is only wanted, or refuse.
            self.break_cycles(&mut entries)?;
        }
        // 3. Leave out what has nothing to do; never the wish itself.
        entries.retain(|name, entry| name == anchor || !self.is_redundant(entry));
        // 4. See whether jobs in the way forbid it.
        if mode == JobMode::Fail {
            for entry in entries.values() {
                if let Some(job) = self.records.get(&entry.unit).and_then(|r| r.core.job)
                    && !job.absorbs(entry.kind)
                    && merge(job.kind, entry.kind).is_none()
                {
                    return Err(Refusal::Conflicting {
                        unit: entry.unit.clone(),
                        job: job.id,
                    });
                }
            }
        }
        // 5. The wish first: its job is the answer.
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
        while let Some((root, needed)) = roots.pop() {
            let all = match self.needs(&root) {
                Ok(all) => all,
                Err(refusal) if needed => return Err(refusal),
                // Only wanted: it is left out, and with it all that it needs.
                Err(_) => continue,
            };
            for name in std::iter::once(root).chain(all) {
                for wanted in self.graph.wants(&name) {
                    if self.records.contains_key(wanted) && !entries.contains_key(wanted) {
                        roots.push((wanted.clone(), false));
                    }
                }
                add(entries, &name, JobType::Start, needed);
            }
        }
        if kind == JobType::Restart {
            add(entries, anchor, JobType::Restart, true);
            for name in self.followers(anchor) {
                add(entries, &name, JobType::Restart, true);
            }
        }
        self.pull_conflicts(entries)
    }

    /// `Requires=` all the way down.
    fn needs(&self, root: &UnitName) -> Result<Vec<UnitName>, Refusal> {
        let all = Graph::closure(root, |name| self.graph.requires(name).to_vec());
        match all.iter().find(|name| !self.records.contains_key(name)) {
            None => Ok(all),
            Some(missing) => Err(Refusal::MissingRequirement {
                unit: root.clone(),
                missing: missing.clone(),
            }),
        }
    }

    fn pull_conflicts(&self, entries: &mut Entries) -> Result<(), Refusal> {
        let mut starts: Vec<(bool, UnitName)> = entries
            .values()
            .map(|entry| (!entry.needed, entry.unit.clone()))
            .collect();
        // The needed ones choose first.
        starts.sort();
        for (_, name) in starts {
            for other in self.graph.conflicts(&name) {
                let Some(needed) = entries.get(&name).map(|entry| entry.needed) else {
                    break;
                };
                if !self.is_up(&other) && !entries.contains_key(&other) {
                    continue;
                }
                let victims: Vec<UnitName> = std::iter::once(other.clone())
                    .chain(self.followers(&other))
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
        for name in self.followers(anchor) {
            add(entries, &name, JobType::Stop, true);
        }
        Ok(())
    }

    /// Who goes down with a unit: what requires it and what is part of it, as far as it is up.
    fn followers(&self, anchor: &UnitName) -> Vec<UnitName> {
        Graph::closure(anchor, |name| {
            let parts = self.graph.parts(name);
            self.graph.required_by(name).chain(parts).cloned().collect()
        })
        .into_iter()
        .filter(|name| self.is_up(name))
        .collect()
    }

    /// Whether it runs or is about to, and nobody is stopping it for good.
    fn is_up(&self, name: &UnitName) -> bool {
        self.records
            .get(name)
            .is_some_and(|record| match record.core.job {
                Some(job) => job.kind != JobType::Stop,
                None => !record.core.state.is_dead(),
            })
    }

    fn break_cycles(&self, entries: &mut Entries) -> Result<(), Refusal> {
        loop {
            let mut among: BTreeSet<UnitName> = entries.keys().cloned().collect();
            among.extend(self.busy.iter().cloned());
            let Some(cycle) = self.graph.cycle(&among) else {
                return Ok(());
            };
            let ours: Vec<&UnitName> = cycle
                .iter()
                .filter(|name| entries.contains_key(*name))
                .collect();
            if ours.is_empty() {
                return Ok(());
            }
            let wanted = ours
                .into_iter()
                .find(|name| entries.get(*name).is_some_and(|entry| !entry.needed))
                .cloned();
            match wanted {
                Some(name) => self.leave_out(entries, &name),
                None => return Err(Refusal::Cycle { units: cycle }),
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
