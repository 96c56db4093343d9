//! What the hands do for sockets, paths and timers: open, close, keep a stamp.

use std::fs::{File, FileTimes};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::daemon::attend::stamp_file;
use crate::daemon::hands::{Opened, Workshop};
use crate::daemon::prepare::{broke, ours};
use crate::name::UnitName;
use crate::plan::Failure;
use crate::sys::listen;
use crate::sys::paths::{self, PathWatch};
use crate::unit::Unit;

/// Opens what the unit listens on or watches, and reads its stamp.
pub(super) fn open(workshop: &Workshop, unit: &Unit) -> Result<Opened, Failure> {
    let mut opened = Opened::default();
    if let Some(socket) = &unit.socket {
        let owner = listen::owner(socket)
            .map_err(broke("user", "SocketUser= or SocketGroup= is not known"))?;
        opened.sockets = listen::open(socket, owner)
            .map_err(|(line, error)| broke("listen", format!("cannot listen on {line}"))(error))?;
    }
    if let Some(path) = &unit.path {
        if path.make_directory {
            for (place, error) in paths::make_directories(&path.watches, path.directory_mode) {
                tracing::warn!("{}: cannot make {}: {error}", unit.name, place.display());
            }
        }
        let watch = PathWatch::new(&path.watches)
            .map_err(broke("watch", "cannot watch the unit's paths"))?;
        opened.watch = Some(watch);
    }
    if unit.timer.as_ref().is_some_and(|timer| timer.persistent) {
        opened.stamp = read_stamp(&workshop.places.state, &unit.name);
    }
    Ok(opened)
}

/// Removes a socket unit's sockets from the file system; what could not be.
pub(super) fn close(unit: &Unit) -> Vec<String> {
    let removed = unit.socket.as_deref().map_or(Ok(()), listen::remove);
    removed
        .err()
        .map(|error| format!("its sockets stay in the file system: {error}"))
        .into_iter()
        .collect()
}

/// When a persistent timer last elapsed; the first time, now.
fn read_stamp(state: &Path, unit: &UnitName) -> Option<u64> {
    let path = stamp_file(state, unit);
    let modified = std::fs::metadata(&path).and_then(|meta| meta.modified());
    match modified {
        Ok(time) => {
            let since = time.duration_since(UNIX_EPOCH).ok()?;
            u64::try_from(since.as_micros()).ok()
        }
        Err(_) => {
            let now = crate::sys::clock::now().realtime;
            for problem in stamp(state, unit, now) {
                tracing::warn!("{unit}: {problem}");
            }
            None
        }
    }
}

/// Keeps a time; what stood in the way.
pub(super) fn stamp(state: &Path, unit: &UnitName, at: u64) -> Vec<String> {
    let path = stamp_file(state, unit);
    let keep = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            ours(parent).map_err(|failure| std::io::Error::other(failure.detail))?;
        }
        let file = File::create(&path)?;
        let time = UNIX_EPOCH + Duration::from_micros(at);
        file.set_times(FileTimes::new().set_modified(time).set_accessed(time))
    };
    keep()
        .err()
        .map(|error| {
            format!(
                "when it elapsed cannot be kept in {}: {error}; it may elapse once more after a \
                 restart",
                path.display()
            )
        })
        .into_iter()
        .collect()
}
