//! `revert`: what was changed about a vendor's unit goes away (systemctl(1)).

use super::steps::{Step, Steps};
use super::{Denial, Installer, Role};
use crate::name::UnitName;

impl Installer {
    /// Removes drop-ins, overrides and masks of a unit; a unit without a vendor's version keeps its
    /// file.
    pub(super) fn revert(&self, name: &UnitName, steps: &mut Steps) -> Result<(), Denial> {
        let mut vendor = false;
        let own = |role| matches!(role, Role::Transient | Role::Local | Role::Runtime);
        for tree in &self.trees {
            let is_file = |name: &str| {
                let found = tree.path.join(name).symlink_metadata();
                found.is_ok_and(|found| found.is_file())
            };
            vendor |= tree.role == Role::Vendor && is_file(name.as_str());
            let drop_ins = format!("{name}.d");
            let found = tree.path.join(&drop_ins).symlink_metadata();
            if own(tree.role) && found.is_ok_and(|found| found.is_dir()) {
                steps.push(Step::Remove(tree.path.clone(), drop_ins.into()));
            }
        }
        if vendor {
            let changed = self
                .trees
                .iter()
                .filter(|tree| matches!(tree.role, Role::Local | Role::Runtime));
            for tree in changed {
                let path = tree.path.join(name.as_str());
                if let Ok(found) = path.symlink_metadata() {
                    let (root, name) = (tree.path.clone(), name.as_str().into());
                    if found.is_symlink() {
                        steps.push(Step::Unlink(root, name));
                    } else if found.is_file() {
                        steps.push(Step::Remove(root, name));
                    }
                }
            }
        } else if steps.is_empty() && !self.names.has(name) {
            return Err(self.missing(name));
        }
        Ok(())
    }
}
