//! `preset` and `preset-all`: units are enabled and disabled as the preset files say.

use std::collections::{BTreeMap, BTreeSet};

use super::steps::Steps;
use super::{Installer, Known};
use crate::bus::ask::{Denial, PresetMode};
use crate::name::UnitName;
use crate::place::Places;
use crate::sys::unitfile::{self, list, read};
use crate::unit::install::Tree;
use crate::unit::preset::{Preset, Presets};
use crate::unit::search::Content;

impl Installer {
    /// Enables and disables units as the presets say; `asked`: each of them was named.
    pub(super) fn preset(
        &self,
        names: &[UnitName],
        mode: PresetMode,
        tree: &Tree,
        force: bool,
        asked: bool,
        steps: &mut Steps,
    ) -> Result<(), Denial> {
        let (mut plus, mut minus) = (BTreeSet::new(), BTreeSet::new());
        for name in names {
            let unit = self.names.resolve(name);
            if unit != *name {
                continue;
            }
            match self.known(&unit) {
                Ok(Known::File(..)) => {}
                _ if !asked => continue,
                Ok(Known::Missing) => return Err(self.missing(&unit)),
                Ok(Known::Masked(path)) => {
                    return Err(Denial::Failed(format!(
                        "{unit} is masked by {}; unmask it first: aetherctl unmask {unit}",
                        path.display()
                    )));
                }
                Err(denial) => return Err(denial),
            }
            match self.presets.of(&unit) {
                Preset::Enable(instances) if instances.is_empty() => {
                    plus.insert(unit);
                }
                Preset::Enable(instances) => plus.extend(instances),
                Preset::Disable => {
                    minus.insert(unit);
                }
                Preset::Ignore => {}
            }
        }
        if mode != PresetMode::EnableOnly {
            let minus: Vec<UnitName> = minus.into_iter().collect();
            self.mark_and_remove(&minus, tree, steps)?;
        }
        if mode != PresetMode::DisableOnly {
            for unit in plus {
                let before = steps.mark();
                match self.enable(&[unit.to_string()], tree, force, steps) {
                    // A template without an instance is not what anybody decided about.
                    Err(_) if !asked || unit.is_template() => steps.back_to(before),
                    other => other?,
                }
            }
        }
        Ok(())
    }
}

/// Every rule of the preset files; of two files with the same name the one of higher priority
/// counts.
pub(super) fn read_all(places: &Places) -> Presets {
    let mut files = BTreeMap::new();
    for directory in places.presets() {
        for name in list(&directory) {
            if name.ends_with(".preset") && !name.starts_with('.') {
                let path = directory.join(&name);
                files.entry(name).or_insert(path);
            }
        }
    }
    let mut presets = Presets::default();
    for path in files.into_values() {
        match read(&path) {
            Content::Text(text) => {
                for line in presets.add(&text) {
                    tracing::warn!("{}:{line}: no preset, ignoring", path.display());
                }
            }
            Content::Masked | Content::Absent => {}
            Content::Unreadable => tracing::warn!(
                "{} cannot be read, ignoring: {}",
                path.display(),
                unitfile::why_unreadable(&path)
            ),
        }
    }
    presets
}
