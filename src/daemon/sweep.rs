//! The sweeper: a thread that removes what agents leave behind.
//!
//! A unit may leave a million files, and removing them takes as long as it takes. So the directory
//! is moved out of the way at once, which costs one rename, and emptied here, where nobody waits.
//! What a dead daemon left in the trash is removed by the next one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use crate::sys::file::{Owner, directory_beneath, move_beneath, remove_beneath};

/// Name of the trash below each root; a root is one file system, so that moving is a rename.
const TRASH: &str = ".trash";

/// The end that discards.
#[derive(Debug)]
pub(crate) struct Sweeper {
    orders: mpsc::Sender<(PathBuf, PathBuf)>,
    number: AtomicU64,
}

impl Sweeper {
    /// Starts the thread; it begins with what is in the trash of `roots`.
    pub(crate) fn start(roots: &[&Path]) -> io::Result<Self> {
        let (orders, incoming) = mpsc::channel::<(PathBuf, PathBuf)>();
        for root in roots {
            directory_beneath(root, Path::new(TRASH), Owner::ourselves(), 0o700)?;
            let trash = root.join(TRASH);
            for entry in std::fs::read_dir(&trash)? {
                let name = PathBuf::from(entry?.file_name());
                // The thread is not there yet; the channel keeps it.
                let _ = orders.send((trash.clone(), name));
            }
        }
        std::thread::Builder::new()
            .name("sweeper".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || {
                while let Ok((trash, name)) = incoming.recv() {
                    if let Err(error) = remove_beneath(&trash, &name) {
                        let path = trash.join(name);
                        tracing::warn!("cannot remove {}: {error}", path.display());
                    }
                }
            })?;
        Ok(Self {
            orders,
            number: AtomicU64::new(0),
        })
    }

    /// Puts `name` of the directory `parent` below `root` into the trash; nothing there is no
    /// error. Nobody but us may be able to write to `parent`.
    pub(crate) fn discard(&self, root: &Path, parent: &Path, name: &Path) -> io::Result<()> {
        let trash = root.join(TRASH);
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let to = PathBuf::from(format!("{}-{number}", std::process::id()));
        match move_beneath(parent, name, &trash, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(()) => {
                let _ = self.orders.send((trash, to));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_discarded_is_gone_at_once_and_removed_by_and_by() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("unit");
        std::fs::create_dir_all(place.join("tmp/a/b")).unwrap();
        std::fs::write(place.join("tmp/a/b/c"), "x").unwrap();
        // What an earlier daemon left.
        std::fs::create_dir_all(root.path().join(".trash/1-1/x")).unwrap();
        let sweeper = Sweeper::start(&[root.path()]).unwrap();
        sweeper
            .discard(root.path(), &place, Path::new("tmp"))
            .unwrap();
        assert!(!place.join("tmp").exists());
        sweeper
            .discard(root.path(), &place, Path::new("tmp"))
            .unwrap();
        let trash = root.path().join(".trash");
        while std::fs::read_dir(&trash).unwrap().count() > 0 {
            std::thread::yield_now();
        }
    }
}
