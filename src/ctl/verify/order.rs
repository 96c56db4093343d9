//! What units need of each other: whether it is there, and whether the order can be kept.
//!
//! Looked at are the files that were named and everything they start. Beside a named file its
//! neighbours count as installed: whoever checks a directory will install it whole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use super::place::{Place, Written};
use crate::ctl::find::nearest_unit;
use crate::diagnostic::{Diagnostic, Severity};
use crate::name::{UnitName, UnitType};
use crate::place::Places;
use crate::sys::unitfile::{directories, list, read, specifiers, unit_names};
use crate::unit::names::Names;
use crate::unit::search::{self, Files, Found};
use crate::unit::{Relations, Source, Unit};

/// Most units that are followed; nobody reads more.
const MAX_UNITS: usize = 4096;

/// The keys by which a unit names others, and the relations that they fill.
type Key = (&'static str, fn(&Relations) -> &Vec<UnitName>);
const KEYS: [Key; 8] = [
    ("Requires", |relations| &relations.requires),
    ("Requisite", |relations| &relations.requisite),
    ("BindsTo", |relations| &relations.binds_to),
    ("Wants", |relations| &relations.wants),
    ("Upholds", |relations| &relations.upholds),
    ("OnFailure", |relations| &relations.on_failure),
    ("OnSuccess", |relations| &relations.on_success),
    ("After", |relations| &relations.after),
];

/// Everything known of the units around those that are verified.
#[derive(Debug)]
pub(super) struct Neighbours<'a> {
    places: &'a Places,
    directories: Vec<PathBuf>,
    names: Names,
    /// Usable or not: the verified ones, then what they start.
    units: BTreeMap<UnitName, (Relations, Vec<Source>)>,
    verified: BTreeSet<UnitName>,
}

impl<'a> Neighbours<'a> {
    /// Nothing known yet.
    pub(super) fn new(places: &'a Places) -> Self {
        let directories = directories(places);
        Self {
            places,
            names: unit_names(&directories),
            directories,
            units: BTreeMap::new(),
            verified: BTreeSet::new(),
        }
    }

    /// Takes a verified unit in; one that cannot be used orders nothing.
    pub(super) fn add(&mut self, target: &Files, unit: Option<&Unit>) {
        let beside = target
            .sources
            .first()
            .and_then(|source| source.path.parent())
            .map(|path| {
                if path.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    path
                }
            });
        if let Some(beside) = beside
            && !self.directories.iter().any(|known| known == beside)
        {
            self.directories.push(beside.to_owned());
            self.names = unit_names(&self.directories);
        }
        let relations = unit.map(|unit| unit.relations.clone()).unwrap_or_default();
        let known = (relations, target.sources.clone());
        self.units.insert(target.name.clone(), known);
        self.verified.insert(target.name.clone());
    }

    /// Units that are named and not there, as warnings: they may be installed later.
    pub(super) fn missing(
        &self,
        name: &UnitName,
        written: &Written,
        unit: Option<&Unit>,
    ) -> Vec<Diagnostic> {
        let mut said: BTreeSet<UnitName> = BTreeSet::new();
        let mut found = vec![];
        for (key, of) in KEYS {
            let named: Vec<UnitName> = match unit {
                Some(unit) => of(&unit.relations).clone(),
                None => {
                    let words = written.words("Unit", key);
                    words.iter().filter_map(|word| word.parse().ok()).collect()
                }
            };
            for other in named {
                // What was not written comes with the unit's type, and from us.
                let Some(place) = written.word("Unit", key, other.as_str()) else {
                    continue;
                };
                // A template's instance is not known yet.
                let vague = name.is_template() && !place.literal;
                if !vague && !self.is_there(&other) && said.insert(other.clone()) {
                    found.push(self.not_there(written, &place, key, &other));
                }
            }
        }
        found
    }

    /// What a timer, socket or path unit would start, and is not there.
    pub(super) fn unstartable(
        &self,
        name: &UnitName,
        written: &Written,
        unit: Option<&Unit>,
    ) -> Vec<Diagnostic> {
        let Some(unit) = unit.filter(|_| !name.is_template()) else {
            return vec![];
        };
        let (section, key, each) = match name.kind() {
            UnitType::Timer => ("Timer", "Unit", false),
            UnitType::Path => ("Path", "Unit", false),
            UnitType::Socket => {
                let accept = unit.socket.as_ref().is_some_and(|socket| socket.accept);
                ("Socket", "Service", accept)
            }
            _ => return vec![],
        };
        let starts = match &unit.socket {
            // One instance for each connection: any will do.
            Some(socket) if each => socket.service.replacen('@', "@0", 1).parse().ok(),
            _ => unit.relations.triggers.first().cloned(),
        };
        let Some(starts) = starts.filter(|other: &UnitName| !self.is_there(other)) else {
            return vec![];
        };
        let place = written.last(section, key);
        let shown = match starts.template() {
            Some(template) if each => template,
            _ => starts.to_string(),
        };
        let message = match (&place, each) {
            (Some(_), _) => format!("{key}=: there is no unit file for {shown}"),
            (None, true) => {
                format!("there is no {shown}, an instance of which each connection starts")
            }
            (None, false) => format!(
                "there is no {shown}, which this {} starts",
                name.kind().suffix()
            ),
        };
        let agent = format!("{}.agent", name.stem()).parse::<UnitName>().ok();
        let plain = format!("{}.service", name.stem()).parse::<UnitName>().ok();
        let agent = agent.filter(|agent| place.is_none() && !each && self.is_there(agent));
        if agent.is_some() && name.kind() != UnitType::Socket {
            // Installed, it starts the agent.
            return vec![];
        }
        let plain = plain.filter(|plain| each && self.is_there(plain));
        let help = match (agent, plain) {
            (Some(agent), _) => format!("write {key}={agent}"),
            (_, Some(plain)) => format!("write Accept=no to have {plain} take all connections"),
            _ => match nearest_unit(&starts, self.names.all().chain(self.units.keys())) {
                Some(near) => format!("did you mean {key}={near}?"),
                None => format!("write {shown}, or name another unit with {key}="),
            },
        };
        vec![written.diagnose(Severity::Warning, place.as_ref(), message, Some(help))]
    }

    fn is_there(&self, name: &UnitName) -> bool {
        self.units.contains_key(name)
            || search::find(name, &self.names, list, read) != Found::Missing
    }

    fn not_there(
        &self,
        written: &Written,
        place: &Place,
        key: &str,
        other: &UnitName,
    ) -> Diagnostic {
        let help = nearest_unit(other, self.names.all().chain(self.units.keys()))
            .map(|near| format!("did you mean {near}?"));
        let message = format!("{key}=: there is no unit file for {other}");
        written.diagnose(Severity::Warning, Some(place), message, help)
    }

    /// Orders that nobody could keep, each as an error.
    pub(super) fn cycles(&mut self) -> Vec<Diagnostic> {
        self.follow();
        let names: BTreeSet<&UnitName> = self.units.keys().collect();
        let mut earlier: BTreeMap<&UnitName, BTreeSet<&UnitName>> = BTreeMap::new();
        for (name, (relations, _)) in &self.units {
            let members = relations.members.iter();
            let members = members.filter(|member| !self.is_given_up(name, member));
            for other in relations.after.iter().chain(members) {
                earlier.entry(name).or_default().insert(other);
            }
            for other in relations.before.iter().filter_map(|name| names.get(name)) {
                earlier.entry(*other).or_default().insert(name);
            }
        }
        find_cycles(&earlier)
            .into_iter()
            .filter_map(|cycle| self.tell(cycle))
            .collect()
    }

    /// Whether a target does without the order after one of its members, which comes after the
    /// target ("DEFAULT DEPENDENCIES" of systemd.target(5)).
    fn is_given_up(&self, target: &UnitName, member: &UnitName) -> bool {
        self.units
            .get(member)
            .is_some_and(|(relations, _)| relations.after.contains(target))
    }

    /// Loads what the verified units start, and what those start.
    fn follow(&mut self) {
        let facts = specifiers(self.places);
        let mut queue: VecDeque<UnitName> = self.verified.iter().cloned().collect();
        while let Some(name) = queue.pop_front() {
            let Some((relations, _)) = self.units.get(&name) else {
                continue;
            };
            let needed: Vec<UnitName> = relations
                .requires
                .iter()
                .chain(&relations.wants)
                .chain(&relations.binds_to)
                .chain(&relations.upholds)
                .filter(|other| !self.units.contains_key(*other))
                .cloned()
                .collect();
            for other in needed {
                if self.units.len() >= MAX_UNITS {
                    return;
                }
                let found = search::find(&other, &self.names, list, read);
                let Found::Files(files) = found else {
                    continue;
                };
                if let Some(unit) = files.load(&self.names, &facts).unit {
                    let known = (unit.relations, files.sources);
                    self.units.insert(other.clone(), known);
                    queue.push_back(other);
                }
            }
        }
    }

    /// A cycle, shown where one of its units asks to come after the next.
    fn tell(&self, mut cycle: Vec<&UnitName>) -> Option<Diagnostic> {
        let first = cycle.iter().position(|name| self.verified.contains(*name));
        cycle.rotate_left(first.unwrap_or(0));
        let (name, next) = (*cycle.first()?, *cycle.get(1).or(cycle.first())?);
        let written = |name: &UnitName| Some(Written::new(&self.units.get(name)?.1));
        let own = written(name)?;
        let mut path: Vec<&str> = cycle.iter().map(|name| name.as_str()).collect();
        path.push(name.as_str());
        let message = format!(
            "these wait for each other and could never be started together: {}",
            path.join(" -> ")
        );
        let help = Some("take one After= or Before= among them out".to_owned());
        let place = own.word("Unit", "After", next.as_str());
        if let Some(place) = place.filter(|place| place.literal) {
            return Some(own.diagnose(Severity::Error, Some(&place), message, help));
        }
        // The next one said it instead.
        let other = written(next)?;
        let place = other.word("Unit", "Before", name.as_str());
        Some(other.diagnose(Severity::Error, place.as_ref(), message, help))
    }
}

/// Cycles of a graph, none sharing a unit with another. Without recursion: a file must not choose
/// our stack's depth.
fn find_cycles<'a>(
    edges: &BTreeMap<&'a UnitName, BTreeSet<&'a UnitName>>,
) -> Vec<Vec<&'a UnitName>> {
    let next = |name: &UnitName| -> Vec<&'a UnitName> {
        let all = edges.get(name).into_iter().flatten().copied();
        all.collect()
    };
    let mut cycles: Vec<Vec<&'a UnitName>> = vec![];
    let mut done: BTreeSet<&'a UnitName> = BTreeSet::new();
    let mut told: BTreeSet<&'a UnitName> = BTreeSet::new();
    for root in edges.keys().copied() {
        if done.contains(root) {
            continue;
        }
        let mut path = vec![(root, next(root))];
        while let Some((name, rest)) = path.last_mut() {
            let name = *name;
            let Some(other) = rest.pop() else {
                done.insert(name);
                path.pop();
                continue;
            };
            if let Some(start) = path.iter().position(|(on, _)| *on == other) {
                let cycle: Vec<&UnitName> = path[start..].iter().map(|(on, _)| *on).collect();
                if cycle.iter().all(|name| !told.contains(name)) {
                    told.extend(cycle.iter().copied());
                    cycles.push(cycle);
                }
            } else if !done.contains(other) {
                path.push((other, next(other)));
            }
        }
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_knot_is_found_once() {
        let names: Vec<UnitName> = ["a", "b", "c", "d", "e", "f"]
            .iter()
            .map(|stem| format!("{stem}.agent").parse().unwrap())
            .collect();
        let found = |edges: &[(usize, usize)]| -> Vec<usize> {
            let mut graph: BTreeMap<&UnitName, BTreeSet<&UnitName>> = BTreeMap::new();
            for (from, to) in edges {
                graph.entry(&names[*from]).or_default().insert(&names[*to]);
            }
            find_cycles(&graph).iter().map(Vec::len).collect()
        };
        assert!(found(&[(0, 1), (1, 2), (0, 2), (3, 2)]).is_empty());
        assert_eq!(
            found(&[(0, 1), (1, 2), (2, 0), (3, 4), (4, 3), (5, 0)]),
            [3, 2]
        );
    }
}
