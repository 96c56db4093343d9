//! The processes of a unit as a tree of cgroups, for `status`. Pure.

use super::screen::clean_line;
use crate::bus::client::ProcessRow;

/// The processes by their cgroups.
#[derive(Debug, Default)]
pub(super) struct Tree<'a> {
    groups: std::collections::BTreeMap<&'a str, Tree<'a>>,
    processes: Vec<&'a ProcessRow>,
}

impl<'a> Tree<'a> {
    /// Sorts processes into the groups below `root`.
    pub(super) fn grow(root: &str, rows: &'a [ProcessRow]) -> Self {
        let mut tree = Self::default();
        for row in rows {
            let inside = row.cgroup.strip_prefix(root).unwrap_or(&row.cgroup);
            let mut place = &mut tree;
            for part in inside.split('/').filter(|part| !part.is_empty()) {
                place = place.groups.entry(part).or_default();
            }
            place.processes.push(row);
        }
        tree
    }

    /// One line for each group and process, with its twig.
    pub(super) fn render(&self, indent: &str, lines: &mut Vec<String>) {
        let count = self.groups.len() + self.processes.len();
        let branch = |place: usize| {
            if place + 1 == count {
                ("└─", "  ")
            } else {
                ("├─", "│ ")
            }
        };
        for (place, process) in self.processes.iter().enumerate() {
            let (twig, _) = branch(place);
            lines.push(format!(
                "{indent}{twig}{} {}",
                process.pid,
                clean_line(&process.command)
            ));
        }
        for (place, (name, group)) in self.groups.iter().enumerate() {
            let (twig, more) = branch(self.processes.len() + place);
            lines.push(format!("{indent}{twig}{name}"));
            group.render(&format!("{indent}{more}"), lines);
        }
    }
}
