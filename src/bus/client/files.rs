//! Calls about unit files.

use crate::bus::ask::{ChangeFiles, FileVerb, PresetMode};
use crate::bus::client::{Client, ClientError, body, none};
use crate::name::UnitName;

/// A change of a unit directory: what (`symlink`, `unlink` …), where, and where a link leads.
pub type ChangeRow = (String, String, String);

impl Client {
    /// `EnableUnitFiles` and the others: whether there was anything to install (`None` where the
    /// method does not say), and what changed.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn change_files(
        &self,
        ask: &ChangeFiles,
    ) -> Result<(Option<bool>, Vec<ChangeRow>), ClientError> {
        let (files, runtime, force) = (&ask.files, ask.runtime, ask.force);
        let all = (files, runtime, force);
        let reply = match ask.verb {
            FileVerb::Enable => self.manager("EnableUnitFiles", &all).await?,
            FileVerb::Disable => self.manager("DisableUnitFiles", &(files, runtime)).await?,
            FileVerb::Reenable => self.manager("ReenableUnitFiles", &all).await?,
            FileVerb::Preset(mode) => {
                let body = (files, word(mode), runtime, force);
                self.manager("PresetUnitFilesWithMode", &body).await?
            }
            FileVerb::PresetAll(mode) => {
                let body = (word(mode), runtime, force);
                self.manager("PresetAllUnitFiles", &body).await?
            }
            FileVerb::Mask => self.manager("MaskUnitFiles", &all).await?,
            FileVerb::Unmask => self.manager("UnmaskUnitFiles", &(files, runtime)).await?,
            FileVerb::Link => self.manager("LinkUnitFiles", &all).await?,
            FileVerb::Revert => self.manager("RevertUnitFiles", &(files,)).await?,
        };
        match ask.verb {
            FileVerb::Enable | FileVerb::Reenable | FileVerb::Preset(_) => {
                let (info, changes): (bool, Vec<ChangeRow>) = body(&reply)?;
                Ok((Some(info), changes))
            }
            _ => {
                let (changes,): (Vec<ChangeRow>,) = body(&reply)?;
                Ok((None, changes))
            }
        }
    }

    /// `GetUnitFileState`: systemd's word.
    ///
    /// # Errors
    /// `NoSuchUnit`, and as the daemon says.
    pub async fn unit_file_state(&self, unit: &UnitName) -> Result<String, ClientError> {
        let reply = self.manager("GetUnitFileState", &(unit.as_str(),)).await?;
        let (state,): (String,) = body(&reply)?;
        Ok(state)
    }

    /// `ListUnitFiles`: path and state of each.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn list_unit_files(&self) -> Result<Vec<(String, String)>, ClientError> {
        let reply = self.manager("ListUnitFiles", &()).await?;
        let (rows,): (Vec<(String, String)>,) = body(&reply)?;
        Ok(rows)
    }

    /// `ReloadUnits`: unit files are read again; unit, what changed (`new`, `gone`, `changed`,
    /// `changed-running`, `error`) and the text of errors.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn reload_units(&self) -> Result<Vec<ChangeRow>, ClientError> {
        let reply = self.manager("ReloadUnits", &(none(),)).await?;
        let (rows,): (Vec<ChangeRow>,) = body(&reply)?;
        Ok(rows)
    }
}

fn word(mode: PresetMode) -> &'static str {
    let known = PresetMode::WORDS.iter().find(|(_, it)| *it == mode);
    known.map_or("full", |(word, _)| word)
}
