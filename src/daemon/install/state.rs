//! Whether units are enabled: what `is-enabled` and `list-unit-files` answer.

use std::path::PathBuf;

use super::Installer;
use crate::bus::ask::Denial;
use crate::name::UnitName;
use crate::sys::unitfile::{list, read};
use crate::unit::install::{self, FileState, Role};
use crate::unit::preset::Preset;
use crate::unit::search::{self, Found};

impl Installer {
    /// Whether a unit is enabled.
    pub(crate) fn state(&self, name: &UnitName) -> Result<FileState, Denial> {
        let unit = self.names.resolve(name);
        Ok(match search::find(&unit, &self.names, list, read) {
            Found::Missing => return Err(self.missing(name)),
            Found::Masked(path) if self.is_in(&path, Role::Runtime) => FileState::MaskedRuntime,
            Found::Masked(_) => FileState::Masked,
            Found::Unreadable(_) => FileState::Bad,
            Found::Files(_) if unit != *name && unit.instance().is_none_or(str::is_empty) => {
                FileState::Alias
            }
            Found::Files(files) => {
                let (fragment, install) = self.installed(&files);
                install::state(&unit, &fragment, &install, &self.trees)
            }
        })
    }

    /// What the presets say about a unit that can be enabled.
    pub(crate) fn preset_word(&self, name: &UnitName, state: FileState) -> &'static str {
        match state {
            FileState::Static | FileState::Alias | FileState::Transient | FileState::Generated => {
                ""
            }
            _ => match self.presets.of(name) {
                Preset::Enable(_) => "enabled",
                Preset::Disable => "disabled",
                Preset::Ignore => "ignored",
            },
        }
    }

    /// Every unit file with its state.
    pub(crate) fn states(&self) -> Vec<(PathBuf, FileState)> {
        let path = |name: &UnitName| {
            let paths = self.directories.iter().map(|path| path.join(name.as_str()));
            paths
                .into_iter()
                .find(|path| path.symlink_metadata().is_ok())
        };
        self.names
            .all()
            .filter_map(|name| Some((path(name)?, self.state(name).unwrap_or(FileState::Bad))))
            .collect()
    }
}
