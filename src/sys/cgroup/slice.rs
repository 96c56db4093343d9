//! Slices: inner groups of our tree, which hold units and limit them together (systemd.slice(5)).
//!
//! A slice's group is made when the first unit below it starts and removed with the last one; no
//! process is ever in it directly.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CgroupError, Group, Tree, WANTED, file, inherit_limits};
use crate::name::{UnitName, UnitType};
use crate::unit::Resources;

impl Tree {
    /// Where a unit's group stands below every one of our trees.
    pub(super) fn place_of(unit: &UnitName, slice: Option<&UnitName>) -> PathBuf {
        let mut place = PathBuf::new();
        for slice in slice.map(UnitName::slices).unwrap_or_default() {
            place.push(slice);
        }
        place.push(unit.as_str());
        place
    }

    /// Makes the groups of slices, outermost first, and sets their limits. Returns what could not
    /// be set, as sentences.
    ///
    /// # Errors
    /// When a v2 group cannot be made or is not ours alone.
    pub fn make_slices(
        &self,
        slices: &[(UnitName, Resources)],
    ) -> Result<Vec<String>, CgroupError> {
        let mut missing = vec![];
        let Some(unified) = &self.unified else {
            if slices
                .iter()
                .any(|(_, limits)| *limits != Resources::default())
            {
                missing.push("this host has no cgroups: a slice limits nothing".to_owned());
            }
            return Ok(missing);
        };
        for (name, limits) in slices {
            let place = Self::place_of(name, name.parent_slice().as_ref());
            let directory = unified.directory.join(&place);
            file::make(&directory)?;
            for (controller, tree) in &self.v1 {
                let directory = tree.join(&place);
                match file::make(&directory) {
                    Ok(_) => inherit_limits(&directory),
                    Err(error) => missing.push(format!(
                        "the v1 controller {controller} does not hold {name}: failed to {error}"
                    )),
                }
            }
            // What a group does not give to its children they cannot be limited by.
            for controller in WANTED {
                if !self.v1.iter().any(|(v1, _)| *v1 == controller) {
                    let text = format!("+{controller}");
                    // That it is not there at all was said when the tree was made.
                    let _ = file::write(&directory.join("cgroup.subtree_control"), &text);
                }
            }
            let group: Group = self.group(name, name.parent_slice().as_ref());
            missing.extend(group.set(limits));
        }
        Ok(missing)
    }

    /// Removes the groups of a slice and of those above it, as far as they are empty.
    pub fn remove_slices(&self, slice: &UnitName) {
        let mut next = Some(slice.clone());
        while let Some(slice) = next {
            next = slice.parent_slice();
            let place = Self::place_of(&slice, next.as_ref());
            for directory in self.directories() {
                // Another unit may be in it: then it stays.
                let _ = fs::remove_dir(directory.join(&place));
            }
        }
    }

    /// Units that have a group, with or without processes, and the slice that each is in: what a
    /// new daemon adopts or clears.
    #[must_use]
    pub fn units(&self) -> Vec<(UnitName, Option<UnitName>)> {
        let mut units = vec![];
        let mut todo: Vec<(PathBuf, Option<UnitName>)> = self
            .directories()
            .map(|directory| (directory.to_owned(), None))
            .collect();
        while let Some((directory, slice)) = todo.pop() {
            for child in file::children(&directory) {
                let name = child
                    .file_name()
                    .and_then(|name| name.to_str()?.parse::<UnitName>().ok());
                match name {
                    Some(name) if name.kind() == UnitType::Slice => {
                        todo.push((child, Some(name)));
                    }
                    Some(name) => units.push((name, slice.clone())),
                    None => {}
                }
            }
        }
        units.sort();
        units.dedup();
        units
    }

    fn directories(&self) -> impl Iterator<Item = &Path> {
        let v1 = self.v1.iter().map(|(_, directory)| directory.as_path());
        let unified = self.unified.iter().map(|place| place.directory.as_path());
        unified.chain(v1)
    }
}
