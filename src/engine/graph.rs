//! Who relates to whom: the relations of every known unit, read from both ends.
//!
//! It answers questions and finds cycles; it makes no jobs. Requirement and order are separate
//! relations and are never mixed here. Read next: `transaction`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::name::UnitName;
use crate::unit::{Relations, Unit};

type Names = BTreeSet<UnitName>;

/// The relations, and each of them reversed.
#[derive(Debug, Default)]
pub(super) struct Graph {
    forward: BTreeMap<UnitName, Arc<Unit>>,
    reverse: BTreeMap<UnitName, Reverse>,
}

/// Who names a unit, and in which directive.
#[derive(Debug, Default)]
struct Reverse {
    required_by: Names,
    requisite_of: Names,
    wanted_by: Names,
    bound_by: Names,
    parts: Names,
    upheld_by: Names,
    conflicted_by: Names,
    before: Names,
    after: Names,
    reloads: Names,
    reloaded_from: Names,
    stops: Names,
    stopped_from: Names,
    triggered_by: Names,
    member_of: Names,
    failure_of: Names,
    success_of: Names,
}

impl Reverse {
    fn all(&self) -> [&Names; 17] {
        let Self {
            required_by,
            requisite_of,
            wanted_by,
            bound_by,
            parts,
            upheld_by,
            conflicted_by,
            before,
            after,
            reloads,
            reloaded_from,
            stops,
            stopped_from,
            triggered_by,
            member_of,
            failure_of,
            success_of,
        } = self;
        [
            required_by,
            requisite_of,
            wanted_by,
            bound_by,
            parts,
            upheld_by,
            conflicted_by,
            before,
            after,
            reloads,
            reloaded_from,
            stops,
            stopped_from,
            triggered_by,
            member_of,
            failure_of,
            success_of,
        ]
    }

    fn is_empty(&self) -> bool {
        self.all().into_iter().all(BTreeSet::is_empty)
    }
}

type Named = fn(&Relations) -> &Vec<UnitName>;
type NamedBy = fn(&mut Reverse) -> &mut Names;

/// Every directive, and where the unit that it names keeps who named it.
const EDGES: [(Named, NamedBy); 17] = [
    (|r| &r.requires, |r| &mut r.required_by),
    (|r| &r.requisite, |r| &mut r.requisite_of),
    (|r| &r.wants, |r| &mut r.wanted_by),
    (|r| &r.binds_to, |r| &mut r.bound_by),
    (|r| &r.part_of, |r| &mut r.parts),
    (|r| &r.upholds, |r| &mut r.upheld_by),
    (|r| &r.conflicts, |r| &mut r.conflicted_by),
    (|r| &r.before, |r| &mut r.before),
    (|r| &r.after, |r| &mut r.after),
    (|r| &r.propagates_reload_to, |r| &mut r.reloaded_from),
    (|r| &r.reload_propagated_from, |r| &mut r.reloads),
    (|r| &r.propagates_stop_to, |r| &mut r.stopped_from),
    (|r| &r.stop_propagated_from, |r| &mut r.stops),
    (|r| &r.triggers, |r| &mut r.triggered_by),
    (|r| &r.members, |r| &mut r.member_of),
    (|r| &r.on_failure, |r| &mut r.failure_of),
    (|r| &r.on_success, |r| &mut r.success_of),
];

impl Graph {
    /// Puts the relations of a unit in place of those it had.
    pub(super) fn define(&mut self, name: &UnitName, unit: &Arc<Unit>) {
        self.forget(name);
        let relations = &unit.relations;
        for (named, named_by) in EDGES {
            for to in named(relations) {
                named_by(self.reverse.entry(to.clone()).or_default()).insert(name.clone());
            }
        }
        self.forward.insert(name.clone(), Arc::clone(unit));
    }

    /// Takes the relations of a unit out; what others say of it stays.
    pub(super) fn forget(&mut self, name: &UnitName) {
        let Some(old) = self.forward.remove(name) else {
            return;
        };
        for (named, named_by) in EDGES {
            for to in named(&old.relations) {
                if let Some(reverse) = self.reverse.get_mut(to) {
                    named_by(reverse).remove(name);
                    if reverse.is_empty() {
                        self.reverse.remove(to);
                    }
                }
            }
        }
    }

    fn own<'a>(
        &'a self,
        name: &UnitName,
        list: fn(&Relations) -> &Vec<UnitName>,
    ) -> impl Iterator<Item = &'a UnitName> {
        let unit = self.forward.get(name).into_iter();
        unit.flat_map(move |unit| list(&unit.relations))
    }

    fn others<'a>(
        &'a self,
        name: &UnitName,
        list: fn(&Reverse) -> &Names,
    ) -> impl Iterator<Item = &'a UnitName> {
        self.reverse.get(name).into_iter().flat_map(list)
    }

    /// Units that are started with this one, and without which it is not.
    pub(super) fn requires<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        let bound = self.own(name, |r| &r.binds_to);
        self.own(name, |r| &r.requires).chain(bound)
    }

    /// Units that must be active already.
    pub(super) fn requisite<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        self.own(name, |r| &r.requisite)
    }

    /// Units that are started with this one, however that ends.
    pub(super) fn wants<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        let upheld = self.own(name, |r| &r.upholds);
        self.own(name, |r| &r.wants).chain(upheld)
    }

    /// `Upholds=` of the unit.
    pub(super) fn upholds(&self, name: &UnitName) -> Vec<UnitName> {
        self.own(name, |r| &r.upholds).cloned().collect()
    }

    /// Units that uphold this one.
    pub(super) fn upheld_by(&self, name: &UnitName) -> Vec<UnitName> {
        self.others(name, |r| &r.upheld_by).cloned().collect()
    }

    /// Units that cannot start without this one (`Requires=`, `Requisite=`, `BindsTo=`).
    pub(super) fn required_by<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        self.others(name, |r| &r.required_by)
            .chain(self.others(name, |r| &r.requisite_of))
            .chain(self.others(name, |r| &r.bound_by))
    }

    /// Units that must have this one active before they start (`Requisite=`).
    pub(super) fn requisite_of<'a>(
        &'a self,
        name: &UnitName,
    ) -> impl Iterator<Item = &'a UnitName> {
        self.others(name, |r| &r.requisite_of)
    }

    /// Units that are part of this one.
    pub(super) fn parts<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        self.others(name, |r| &r.parts)
    }

    /// Units that this one's stop is told to (`PropagatesStopTo=`, from either end).
    pub(super) fn stops<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        self.own(name, |r| &r.propagates_stop_to)
            .chain(self.others(name, |r| &r.stops))
    }

    /// Units that this one's reload is told to (`PropagatesReloadTo=`, from either end).
    pub(super) fn reloads<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        self.own(name, |r| &r.propagates_reload_to)
            .chain(self.others(name, |r| &r.reloads))
    }

    /// Units that go down when this one does, though nobody stopped it.
    pub(super) fn stopped_with(&self, name: &UnitName) -> Names {
        self.others(name, |r| &r.bound_by)
            .chain(self.stops(name))
            .cloned()
            .collect()
    }

    /// Who keeps a unit from being unneeded.
    pub(super) fn needed_by<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        self.required_by(name)
            .chain(self.others(name, |r| &r.wanted_by))
            .chain(self.others(name, |r| &r.upheld_by))
    }

    /// What a unit keeps from being unneeded.
    pub(super) fn needs_of(&self, name: &UnitName) -> Names {
        self.requires(name)
            .chain(self.requisite(name))
            .chain(self.wants(name))
            .cloned()
            .collect()
    }

    /// Timers, sockets and paths that start this unit.
    pub(super) fn triggered_by(&self, name: &UnitName) -> Vec<UnitName> {
        self.others(name, |r| &r.triggered_by).cloned().collect()
    }

    /// Every unit that names this one in whatever way.
    pub(super) fn named_by<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        self.reverse
            .get(name)
            .into_iter()
            .flat_map(Reverse::all)
            .flatten()
    }

    /// Every unit that this one names in whatever way; some more than once.
    pub(super) fn names<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        self.forward
            .get(name)
            .into_iter()
            .flat_map(|unit| EDGES.iter().flat_map(|(named, _)| named(&unit.relations)))
    }

    /// Units that this one says it cannot run together with.
    pub(super) fn conflicts(&self, name: &UnitName) -> Names {
        let own = self.own(name, |r| &r.conflicts);
        own.filter(|other| *other != name).cloned().collect()
    }

    /// Units that say they cannot run together with this one.
    pub(super) fn conflicted_by(&self, name: &UnitName) -> Names {
        let others = self.others(name, |r| &r.conflicted_by);
        others.filter(|other| *other != name).cloned().collect()
    }

    /// Units that this one is ordered after.
    pub(super) fn earlier<'a>(&'a self, name: &'a UnitName) -> impl Iterator<Item = &'a UnitName> {
        let members = self.own(name, |r| &r.members);
        self.own(name, |r| &r.after)
            .chain(self.others(name, |r| &r.before))
            .chain(members.filter(move |member| self.waits_for_member(name, member)))
            .filter(move |other| *other != name)
    }

    /// Units that are ordered after this one.
    pub(super) fn later<'a>(&'a self, name: &'a UnitName) -> impl Iterator<Item = &'a UnitName> {
        let targets = self.others(name, |r| &r.member_of);
        self.own(name, |r| &r.before)
            .chain(self.others(name, |r| &r.after))
            .chain(targets.filter(move |target| self.waits_for_member(target, name)))
            .filter(move |other| *other != name)
    }

    /// Whether a target comes after one of its members without anybody's having written it: not
    /// where the member comes after the target, or has no default dependencies
    /// (systemd.target(5)).
    fn waits_for_member(&self, target: &UnitName, member: &UnitName) -> bool {
        self.forward.get(member).is_none_or(|unit| {
            unit.settings.default_dependencies && !unit.relations.after.contains(target)
        })
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
    pub(super) fn cycle(
        &self,
        among: impl Fn(&UnitName) -> bool,
        roots: &Names,
    ) -> Option<Vec<UnitName>> {
        let mut done: BTreeSet<&UnitName> = BTreeSet::new();
        let mut on_path: BTreeSet<&UnitName> = BTreeSet::new();
        for root in roots {
            if done.contains(root) {
                continue;
            }
            let mut path: Vec<(&UnitName, Vec<&UnitName>)> = Vec::new();
            let edges = |name| -> Vec<&UnitName> {
                self.earlier(name).filter(|other| among(other)).collect()
            };
            path.push((root, edges(root)));
            on_path.insert(root);
            while let Some((name, rest)) = path.last_mut() {
                let Some(other) = rest.pop() else {
                    done.insert(name);
                    on_path.remove(*name);
                    path.pop();
                    continue;
                };
                if on_path.contains(other) {
                    let start = path.iter().position(|(on, _)| *on == other)?;
                    return Some(path.drain(start..).map(|(on, _)| on.clone()).collect());
                }
                if !done.contains(other) {
                    on_path.insert(other);
                    path.push((other, edges(other)));
                }
            }
        }
        None
    }
}
