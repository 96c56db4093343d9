//! What one call does to the unit directories: first looked at, then done, and taken back when a
//! step fails.

use std::io;
use std::path::{Path, PathBuf};

use crate::bus::ask::{ChangedFiles, Denial, FileChange};
use crate::sys::file::remove_beneath;
use crate::sys::linkfile::{self, There};

/// One step; the first path is the directory, the second what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a link.
    Link {
        root: PathBuf,
        path: PathBuf,
        target: PathBuf,
        /// In place of another link.
        force: bool,
    },
    /// Remove a link.
    Unlink(PathBuf, PathBuf),
    /// Remove a file, or a directory with all that is in it. Cannot be taken back, so it comes last.
    Remove(PathBuf, PathBuf),
}

/// A call's steps, in order.
#[derive(Debug, Default)]
pub(super) struct Steps {
    steps: Vec<Step>,
    notes: Vec<FileChange>,
    /// Whether any unit has something in `[Install]`.
    pub(super) carries: bool,
}

/// A link as it was before a step.
struct Before {
    root: PathBuf,
    path: PathBuf,
    was: There,
}

impl Steps {
    pub(super) fn push(&mut self, step: Step) {
        if !self.steps.contains(&step) {
            self.steps.push(step);
        }
    }

    pub(super) fn link(&mut self, root: &Path, path: PathBuf, target: PathBuf, force: bool) {
        self.push(Step::Link {
            root: root.to_owned(),
            path,
            target,
            force,
        });
    }

    pub(super) fn note(&mut self, kind: &'static str, path: PathBuf, source: &str) {
        let note = FileChange {
            kind,
            path,
            source: source.to_owned(),
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Where we are, for [`Self::back_to`].
    pub(super) const fn mark(&self) -> (usize, usize) {
        (self.steps.len(), self.notes.len())
    }

    pub(super) fn back_to(&mut self, (steps, notes): (usize, usize)) {
        self.steps.truncate(steps);
        self.notes.truncate(notes);
    }

    /// Does all of it, or nothing.
    pub(super) fn carry_out(self) -> Result<ChangedFiles, Denial> {
        self.check()?;
        let mut changes = vec![];
        let mut done: Vec<Before> = vec![];
        let (last, first): (Vec<_>, Vec<_>) = self
            .steps
            .into_iter()
            .partition(|step| matches!(step, Step::Remove(..)));
        for step in first.into_iter().chain(last) {
            if let Err(error) = step.take(&mut done, &mut changes) {
                let denial = step.failed(&error);
                return Err(match take_back(done) {
                    Ok(()) => denial,
                    Err(more) => Denial::Failed(format!(
                        "{denial}; and what was done before it could not be taken back: {more}"
                    )),
                });
            }
        }
        changes.extend(self.notes);
        Ok(ChangedFiles {
            carries_install_info: self.carries,
            changes,
        })
    }

    /// Refuses what would take the place of something else.
    fn check(&self) -> Result<(), Denial> {
        for (at, step) in self.steps.iter().enumerate() {
            let Step::Link {
                root,
                path,
                target,
                force,
            } = step
            else {
                continue;
            };
            let full = root.join(path);
            let removed = self.steps[..at].contains(&Step::Unlink(root.clone(), path.clone()));
            match linkfile::look(root, path).map_err(|error| step.failed(&error))? {
                There::Nothing => {}
                There::Link(_) if removed => {}
                There::Link(to) if *force || leads(&full, &to, target) => {}
                There::Link(to) => {
                    return Err(Denial::Failed(format!(
                        "{} exists already and is a link to {}; --force replaces it",
                        full.display(),
                        to.display()
                    )));
                }
                There::Other => {
                    return Err(Denial::Failed(format!(
                        "{} exists already and is no link; move it away first",
                        full.display()
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Whether a link says what is wanted already, perhaps in other words.
fn leads(link: &Path, to: &Path, target: &Path) -> bool {
    to == target
        || link
            .canonicalize()
            .and_then(|link| Ok(link == target.canonicalize()?))
            .unwrap_or(false)
}

impl Step {
    fn take(&self, done: &mut Vec<Before>, changes: &mut Vec<FileChange>) -> io::Result<()> {
        let mut changed = |kind, path, source: String| {
            changes.push(FileChange { kind, path, source });
        };
        match self {
            Self::Link {
                root, path, target, ..
            } => {
                let full = root.join(path);
                let was = linkfile::look(root, path)?;
                match &was {
                    There::Link(to) if leads(&full, to, target) => return Ok(()),
                    There::Link(_) => changed("unlink", full.clone(), String::new()),
                    There::Nothing | There::Other => {}
                }
                linkfile::make(root, path, target)?;
                changed("symlink", full, target.display().to_string());
                done.push(Before {
                    root: root.clone(),
                    path: path.clone(),
                    was,
                });
            }
            Self::Unlink(root, path) => {
                let was = linkfile::look(root, path)?;
                linkfile::remove(root, path)?;
                changed("unlink", root.join(path), String::new());
                done.push(Before {
                    root: root.clone(),
                    path: path.clone(),
                    was,
                });
            }
            Self::Remove(root, path) => {
                remove_beneath(root, path)?;
                changed("unlink", root.join(path), String::new());
            }
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Denial {
        let (doing, root, path) = match self {
            Self::Link { root, path, .. } => ("make the link", root, path),
            Self::Unlink(root, path) | Self::Remove(root, path) => ("remove", root, path),
        };
        Denial::Failed(format!(
            "cannot {doing} {}: {error}",
            root.join(path).display()
        ))
    }
}

/// Makes everything as it was, the last change first.
fn take_back(done: Vec<Before>) -> io::Result<()> {
    for Before { root, path, was } in done.into_iter().rev() {
        match was {
            There::Nothing => linkfile::remove(&root, &path)?,
            There::Link(to) => linkfile::make(&root, &path, &to)?,
            There::Other => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_whole_is_not_done() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        std::os::unix::fs::symlink("/old", root.join("a.agent")).unwrap();
        std::fs::write(root.join("file.agent"), "x").unwrap();
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(root)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        let before = names();
        let mut steps = Steps::default();
        steps.link(root, "new.agent".into(), "/x".into(), false);
        steps.link(root, "file.agent".into(), "/x".into(), true);
        let said = steps.carry_out().unwrap_err().to_string();
        assert!(said.contains("is no link"), "{said}");
        assert_eq!(names(), before);

        // The check cannot know that this will fail.
        let mut steps = Steps::default();
        steps.link(root, "a.agent".into(), "/x".into(), true);
        steps.push(Step::Unlink(root.to_owned(), "file.agent".into()));
        assert!(steps.carry_out().is_err());
        let link = std::fs::read_link(root.join("a.agent")).unwrap();
        assert_eq!(link, Path::new("/old"));

        let mut steps = Steps::default();
        steps.link(root, "a.agent".into(), "/x".into(), false);
        let said = steps.carry_out().unwrap_err().to_string();
        assert!(said.contains("--force"), "{said}");
    }

    #[test]
    fn a_link_that_is_there_is_no_change() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        for expected in [1, 0] {
            let mut steps = Steps::default();
            steps.link(root, "t.target.wants/a.agent".into(), "/x".into(), true);
            assert_eq!(steps.carry_out().unwrap().changes.len(), expected);
        }
    }
}
