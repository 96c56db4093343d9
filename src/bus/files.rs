//! The manager's methods about unit files, with systemd's names, arguments and results.

use crate::bus::arguments::{limit, unit_name};
use crate::bus::ask::{Ask, ChangeFiles, FileVerb, PresetMode};
use crate::bus::authorise::Action;
use crate::bus::dispatch::{Call, Step, unimplemented_method};
use crate::bus::encode::Answer;
use crate::bus::failure::Failure;

impl Call<'_> {
    /// What a call about unit files comes to.
    pub(super) fn unit_files(&self, method: &str) -> Result<Step, Failure> {
        match method {
            "GetUnitFileState" => {
                let (name,): (String,) = self.body()?;
                let unit = unit_name(&name)?;
                let action = Action::ReadUnit(unit.clone());
                return self.ask(&action, Ask::UnitFileState(unit), Answer::FileState);
            }
            "ListUnitFiles" => {
                return self.ask(&Action::Read, Ask::ListUnitFiles, Answer::FileStates);
            }
            _ => {}
        }
        let (ask, info) = self.change_files(method)?;
        limit(ask.files.len())?;
        let answer = Answer::ChangedFiles { info };
        self.ask(&Action::ManageUnitFiles, Ask::UnitFiles(ask), answer)
    }

    /// What is to change, and whether the answer says if there was anything to install.
    fn change_files(&self, method: &str) -> Result<(ChangeFiles, bool), Failure> {
        let ask = |verb, files, runtime, force| ChangeFiles {
            verb,
            files,
            runtime,
            force,
        };
        let verb = match method {
            "EnableUnitFiles" => FileVerb::Enable,
            "DisableUnitFiles" => FileVerb::Disable,
            "ReenableUnitFiles" => FileVerb::Reenable,
            "PresetUnitFiles" => FileVerb::Preset(PresetMode::Full),
            "MaskUnitFiles" => FileVerb::Mask,
            "UnmaskUnitFiles" => FileVerb::Unmask,
            "LinkUnitFiles" => FileVerb::Link,
            "PresetUnitFilesWithMode" => {
                let (files, mode, runtime, force): (Vec<String>, String, bool, bool) =
                    self.body()?;
                let verb = FileVerb::Preset(preset_mode(&mode)?);
                return Ok((ask(verb, files, runtime, force), true));
            }
            "PresetAllUnitFiles" => {
                let (mode, runtime, force): (String, bool, bool) = self.body()?;
                let verb = FileVerb::PresetAll(preset_mode(&mode)?);
                return Ok((ask(verb, vec![], runtime, force), false));
            }
            "RevertUnitFiles" => {
                let (files,): (Vec<String>,) = self.body()?;
                return Ok((ask(FileVerb::Revert, files, false, false), false));
            }
            other => return Err(unimplemented_method(other)),
        };
        Ok(match verb {
            FileVerb::Disable | FileVerb::Unmask => {
                let (files, runtime): (Vec<String>, bool) = self.body()?;
                (ask(verb, files, runtime, false), false)
            }
            _ => {
                let (files, runtime, force): (Vec<String>, bool, bool) = self.body()?;
                let info = !matches!(verb, FileVerb::Mask | FileVerb::Link);
                (ask(verb, files, runtime, force), info)
            }
        })
    }
}

fn preset_mode(text: &str) -> Result<PresetMode, Failure> {
    if text.is_empty() {
        return Ok(PresetMode::Full);
    }
    let known = PresetMode::WORDS.iter().find(|(word, _)| *word == text);
    known.map(|(_, mode)| *mode).ok_or_else(|| {
        let words: Vec<&str> = PresetMode::WORDS.iter().map(|(word, _)| *word).collect();
        Failure::invalid(format!("mode is one of {}, not {text:?}", words.join(", ")))
    })
}
