//! Who relates to whom: the relations of every known unit, read from both ends.
//!
//! It answers questions and finds cycles; it makes no jobs. Requirement and order are separate
//! relations and are never mixed here. Read next: `transaction`.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::UnitName;
use crate::unit::Relations;

type Edges = BTreeMap<UnitName, BTreeSet<UnitName>>;

/// The relations, and each of them reversed.
#[derive(Debug, Default)]
pub(super) struct Graph {
    forward: BTreeMap<UnitName, Relations>,
    required_by: Edges,
    parts: Edges,
    conflicted_by: Edges,
    /// Who names a unit in its `Before=`.
    named_before: Edges,
    /// Who names a unit in its `After=`.
    named_after: Edges,
}

impl Graph {
    /// Puts the relations of a unit in place of those it had.
    pub(super) fn define(&mut self, name: &UnitName, relations: &Relations) {
        self.forget(name);
        self.each_edge(relations, |edges, to| {
            edges.entry(to.clone()).or_default().insert(name.clone());
        });
        self.forward.insert(name.clone(), relations.clone());
    }

    /// Takes the relations of a unit out; what others say of it stays.
    pub(super) fn forget(&mut self, name: &UnitName) {
        if let Some(old) = self.forward.remove(name) {
            self.each_edge(&old, |edges, to| {
                if let Some(set) = edges.get_mut(to) {
                    set.remove(name);
                    if set.is_empty() {
                        edges.remove(to);
                    }
                }
            });
        }
    }

    fn each_edge(&mut self, relations: &Relations, mut act: impl FnMut(&mut Edges, &UnitName)) {
        for (edges, names) in [
            (&mut self.required_by, &relations.requires),
            (&mut self.parts, &relations.part_of),
            (&mut self.conflicted_by, &relations.conflicts),
            (&mut self.named_before, &relations.before),
            (&mut self.named_after, &relations.after),
        ] {
            for to in names {
                act(edges, to);
            }
        }
    }

    /// `Requires=` of the unit.
    pub(super) fn requires(&self, name: &UnitName) -> &[UnitName] {
        self.forward.get(name).map_or(&[], |r| &r.requires)
    }

    /// `Wants=` of the unit.
    pub(super) fn wants(&self, name: &UnitName) -> &[UnitName] {
        self.forward.get(name).map_or(&[], |r| &r.wants)
    }

    /// Units that require this one.
    pub(super) fn required_by(&self, name: &UnitName) -> impl Iterator<Item = &UnitName> {
        self.required_by.get(name).into_iter().flatten()
    }

    /// Units that are part of this one.
    pub(super) fn parts(&self, name: &UnitName) -> impl Iterator<Item = &UnitName> {
        self.parts.get(name).into_iter().flatten()
    }

    /// Units that cannot run together with this one, whoever of the two says so.
    pub(super) fn conflicts(&self, name: &UnitName) -> BTreeSet<UnitName> {
        let mut all: BTreeSet<UnitName> = self
            .forward
            .get(name)
            .into_iter()
            .flat_map(|r| r.conflicts.iter().cloned())
            .collect();
        all.extend(self.conflicted_by.get(name).into_iter().flatten().cloned());
        all.remove(name);
        all
    }

    /// Units that this one is ordered after.
    pub(super) fn earlier(&self, name: &UnitName) -> BTreeSet<UnitName> {
        let mut all: BTreeSet<UnitName> = self
            .forward
            .get(name)
            .into_iter()
            .flat_map(|r| r.after.iter().cloned())
            .collect();
        all.extend(self.named_before.get(name).into_iter().flatten().cloned());
        all.remove(name);
        all
    }

    /// Units that are ordered after this one.
    pub(super) fn later(&self, name: &UnitName) -> BTreeSet<UnitName> {
        let mut all: BTreeSet<UnitName> = self
            .forward
            .get(name)
            .into_iter()
            .flat_map(|r| r.before.iter().cloned())
            .collect();
        all.extend(self.named_after.get(name).into_iter().flatten().cloned());
        all.remove(name);
        all
    }

    /// Every unit reached from `from` through `next`, without `from`; each once, nearest first.
    pub(super) fn closure(
        from: &UnitName,
        next: impl Fn(&UnitName) -> Vec<UnitName>,
    ) -> Vec<UnitName> {
        let mut seen = BTreeSet::from([from.clone()]);
        let mut all = vec![from.clone()];
        let mut done = 0;
        while let Some(name) = all.get(done).cloned() {
            done += 1;
            for other in next(&name) {
                if seen.insert(other.clone()) {
                    all.push(other);
                }
            }
        }
        all.remove(0);
        all
    }

    /// A cycle in the order among these units: each is ordered after the next one, and the last
    /// after the first. Without recursion: a unit file must not choose our stack's depth.
    pub(super) fn cycle(&self, among: &BTreeSet<UnitName>) -> Option<Vec<UnitName>> {
        let mut done: BTreeSet<UnitName> = BTreeSet::new();
        for root in among {
            if done.contains(root) {
                continue;
            }
            let mut path: Vec<(UnitName, Vec<UnitName>)> = Vec::new();
            let edges = |name: &UnitName| -> Vec<UnitName> {
                self.earlier(name)
                    .into_iter()
                    .filter(|other| among.contains(other))
                    .collect()
            };
            path.push((root.clone(), edges(root)));
            while let Some((name, rest)) = path.last_mut() {
                let Some(other) = rest.pop() else {
                    done.insert(name.clone());
                    path.pop();
                    continue;
                };
                if let Some(start) = path.iter().position(|(on, _)| *on == other) {
                    return Some(path.drain(start..).map(|(on, _)| on).collect());
                }
                if !done.contains(&other) {
                    let next = edges(&other);
                    path.push((other, next));
                }
            }
        }
        None
    }
}
