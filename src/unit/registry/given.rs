//! A value on its way into a unit: what rows ask of it, and what they say about it.

use std::ops::Range;
use std::path::PathBuf;

use crate::diagnostic::Severity;
use crate::name::{UnitName, UnitType};
use crate::unit::specifier::{self, SpecifierFacts};
use crate::unit::value::{self, Escapes, ValueError, Word, command};
use crate::unit::{Command, nearest};

/// Something said about a part of a value while the rest of it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) severity: Severity,
    pub(crate) error: ValueError,
}

/// The value of one assignment.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) key: &'static str,
    pub(crate) value: &'a str,
    pub(crate) name: &'a UnitName,
    pub(crate) facts: &'a SpecifierFacts,
    pub(crate) notes: Vec<Note>,
    /// Units of types that this program does not run, and where they stand.
    pub(crate) foreign: Vec<(String, Range<usize>)>,
}

/// Most entries of one list, over all its assignments.
pub(crate) const MAX_LIST: usize = 4096;
/// Most notes about one value; a value with so many mistakes is not one for people.
const MAX_NOTES: usize = 16;

/// `[Install]` names templates too: links to them are made, nothing is started.
const MAY_BE_TEMPLATES: [&str; 5] = ["Also", "Alias", "WantedBy", "RequiredBy", "UpheldBy"];

/// Unit types of systemd that this program does not run.
const FOREIGN_TYPES: [&str; 5] = ["automount", "device", "mount", "scope", "swap"];

/// What names units that this one depends on in some way.
const DEPENDENT: [&str; 16] = [
    "After",
    "Before",
    "BindsTo",
    "Conflicts",
    "OnFailure",
    "OnSuccess",
    "PartOf",
    "PropagatesReloadTo",
    "PropagatesStopTo",
    "ReloadPropagatedFrom",
    "Requires",
    "Requisite",
    "Sockets",
    "StopPropagatedFrom",
    "Upholds",
    "Wants",
];

impl<'a> Given<'a> {
    pub(crate) const fn new(
        key: &'static str,
        value: &'a str,
        name: &'a UnitName,
        facts: &'a SpecifierFacts,
    ) -> Self {
        Self {
            key,
            value,
            name,
            facts,
            notes: vec![],
            foreign: vec![],
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.value.is_empty()
    }

    pub(crate) fn error(&mut self, error: ValueError) {
        self.note(Severity::Error, error);
    }

    pub(crate) fn warn(&mut self, error: ValueError) {
        self.note(Severity::Warning, error);
    }

    fn note(&mut self, severity: Severity, error: ValueError) {
        match self.notes.len() {
            MAX_NOTES => {
                let error = ValueError::new("there are more mistakes in this value");
                self.notes.push(Note { severity, error });
            }
            count if count < MAX_NOTES => self.notes.push(Note { severity, error }),
            // An error counts even where its text is left out.
            _ => {
                if let Some(last) = self.notes.last_mut() {
                    last.severity = last.severity.max(severity);
                }
            }
        }
    }

    /// The value with its specifiers expanded.
    pub(crate) fn expanded(&self) -> Result<String, ValueError> {
        specifier::expand(self.value, self.name, self.facts)
    }

    /// Free text: taken as it stands, or unquoted when all of it is one quoted text.
    pub(crate) fn text(&self) -> Result<String, ValueError> {
        match value::words::unquote(self.value) {
            Some(text) => {
                specifier::expand(&text, self.name, self.facts).map_err(|error| ValueError {
                    range: None,
                    ..error
                })
            }
            None => self.expanded(),
        }
    }

    /// The words of a list with their specifiers expanded, each on its own; the bad ones are
    /// noted and left out.
    pub(crate) fn words(&mut self, escapes: Escapes) -> Result<Vec<Word>, ValueError> {
        let split = value::split(self.value, escapes)?;
        self.unknown_escapes(&split.unknown);
        let mut words = vec![];
        for word in split.words {
            match self.expand_word(&word) {
                Ok(text) => words.push(Word { text, ..word }),
                Err(error) => self.error(error),
            }
        }
        Ok(words)
    }

    /// Adds what `read` makes of each word to a list; an empty value empties the list.
    pub(crate) fn each<T: PartialEq>(
        &mut self,
        list: &mut Vec<T>,
        escapes: Escapes,
        read: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Result<(), ValueError> {
        if self.is_empty() {
            list.clear();
            return Ok(());
        }
        for word in self.words(escapes)? {
            match read(&word.text) {
                Ok(item) if list.contains(&item) => {}
                Ok(_) if list.len() >= MAX_LIST => return Err(too_many()),
                Ok(item) => list.push(item),
                Err(error) => self.error(error.at(word.range)),
            }
        }
        Ok(())
    }

    /// Adds unit names to a list of dependencies. As in systemd they can be added to and not taken
    /// back (systemd.unit(5)): an empty value does nothing.
    pub(crate) fn dependencies(&mut self, list: &mut Vec<UnitName>) -> Result<(), ValueError> {
        if self.is_empty() {
            return Ok(());
        }
        self.units(list)
    }

    /// Adds unit names to a list; an empty value empties it.
    pub(crate) fn units(&mut self, list: &mut Vec<UnitName>) -> Result<(), ValueError> {
        if self.is_empty() {
            list.clear();
            return Ok(());
        }
        for mut word in self.words(Escapes::Keep)? {
            if DEPENDENT.contains(&self.key) {
                match self.instance_of(&word.text) {
                    Some(instance) => word.text = instance,
                    // A template needs instances of templates: which, is not known yet.
                    None => continue,
                }
            }
            let suffix = word.text.rsplit_once('.').map_or("", |(_, suffix)| suffix);
            match word.text.parse::<UnitName>() {
                // systemd's own ctrl-alt-del.target does so; nothing comes of it.
                Ok(unit) if unit == *self.name && self.key == "Alias" => {}
                Ok(unit) if unit == *self.name => {
                    let say = |message| ValueError::new(message).at(word.range);
                    if DEPENDENT.contains(&self.key) {
                        self.warn(say(format!("{unit} names itself, ignoring")));
                    } else {
                        self.error(say(format!("{unit} names itself")));
                    }
                }
                Ok(unit) if unit.is_template() && !MAY_BE_TEMPLATES.contains(&self.key) => {
                    let message = format!("{unit} is a template");
                    let help = "name an instance of it, with a word behind the @";
                    self.error(ValueError::new(message).help(help).at(word.range));
                }
                Ok(unit) if list.contains(&unit) => {}
                Ok(_) if list.len() >= MAX_LIST => return Err(too_many()),
                Ok(unit) => list.push(unit),
                Err(_) if FOREIGN_TYPES.contains(&suffix) => {
                    self.foreign.push((word.text, word.range));
                }
                Err(error) => {
                    let mut said = ValueError::new(error.to_string()).at(word.range);
                    if suffix.is_empty()
                        && format!("{}.agent", word.text).parse::<UnitName>().is_ok()
                    {
                        said = said.help(format!("write {0}.agent or {0}.service", word.text));
                    } else if let Some(kind) =
                        nearest::nearest(suffix, UnitType::ALL.into_iter().map(UnitType::suffix))
                    {
                        said = said.help(format!("did you mean .{kind}?"));
                    }
                    self.error(said);
                }
            }
        }
        Ok(())
    }

    /// A template that is named as a dependency means, as in systemd, the instance that is called
    /// as this unit's, or as this unit. `None`: in a template.
    fn instance_of(&self, text: &str) -> Option<String> {
        let Some((prefix, suffix)) = text.split_once("@.").filter(|(stem, suffix)| {
            !stem.is_empty() && !stem.contains('@') && !suffix.contains('.')
        }) else {
            return Some(text.to_owned());
        };
        let instance = match self.name.instance() {
            Some("") => return None,
            Some(instance) => instance,
            None => self.name.prefix(),
        };
        Some(format!("{prefix}@{instance}.{suffix}"))
    }

    /// Adds command lines; an empty value empties the list.
    pub(crate) fn commands(&mut self, list: &mut Vec<Command>) -> Result<(), ValueError> {
        if self.is_empty() {
            list.clear();
            return Ok(());
        }
        let (found, words) = command::commands(self.value, |word| self.expand_word(word))?;
        self.unknown_escapes(&words.unknown);
        list.extend(found);
        if list.len() > MAX_LIST {
            return Err(too_many());
        }
        Ok(())
    }

    /// One absolute path.
    pub(crate) fn path(&self) -> Result<PathBuf, ValueError> {
        super::paths::absolute(&self.text()?)
    }

    fn expand_word(&self, word: &Word) -> Result<String, ValueError> {
        specifier::expand(&word.text, self.name, self.facts).map_err(|error| {
            let inner = error.range.clone().filter(|_| !word.quoted);
            let range = inner.map_or_else(
                || word.range.clone(),
                |inner| word.range.start + inner.start..word.range.start + inner.end,
            );
            error.at(range)
        })
    }

    fn unknown_escapes(&mut self, unknown: &[Range<usize>]) {
        for range in unknown {
            let text = self.value.get(range.clone()).unwrap_or_default().to_owned();
            self.warn(
                ValueError::new(format!("unknown escape {text}, left as it stands"))
                    .help("write \\\\ for a backslash")
                    .at(range.clone()),
            );
        }
    }
}

fn too_many() -> ValueError {
    ValueError::new(format!("more than {MAX_LIST} entries"))
}
