//! Units that are forgotten: what is removed with them, and what is left for those who ask later.
//!
//! The log and the state directory stay. In the log's directory lies, of a unit made on the spot, how
//! its last run ended: `status` and `show` answer from it when nothing else knows the unit.

use std::io;
use std::path::PathBuf;

use crate::daemon::Daemon;
use crate::daemon::hands::Order;
use crate::engine::event::Event;
use crate::engine::view::View;
use crate::name::UnitName;
use crate::sys::file::write_whole;

/// The file in a unit's log directory.
const END: &str = "end.json";

impl Daemon {
    /// [`Effect::Collect`](crate::engine::event::Effect::Collect). Its end has been told.
    pub(super) fn collect(&mut self, unit: UnitName) {
        let transient = self
            .engine
            .definition(&unit)
            .is_some_and(|unit| unit.transient);
        if transient
            && let Some(view) = self.engine.view(&unit)
            && let Err(error) = self.keep_end(&unit, &view)
        {
            tracing::warn!("{unit}: how it ended cannot be kept: {error}");
        }
        self.feed(Event::Collect { unit });
    }

    fn keep_end(&self, unit: &UnitName, view: &View) -> io::Result<()> {
        let path = self.end_file(unit);
        match write_whole(&path, &serde_json::to_vec(view)?) {
            // It never came so far that anything was logged.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            written => written,
        }
    }

    fn end_file(&self, unit: &UnitName) -> PathBuf {
        self.places.unit_log(unit).join(END)
    }

    /// How the last run of a unit ended that has no file any more.
    pub(super) fn last_end(&self, unit: &UnitName) -> Option<View> {
        let text = std::fs::read(self.end_file(unit)).ok()?;
        let view: View = serde_json::from_slice(&text).ok()?;
        (view.name == *unit).then_some(view)
    }

    /// The unit is gone from the engine.
    pub(super) fn forget(&mut self, unit: &UnitName) {
        self.agents.remove(unit);
        self.close(unit);
        self.drop_stored(unit);
        self.recorded.remove(unit);
        self.shares.remove(unit);
        self.library.forget(unit);
        self.drop_snapshot(unit);
        self.drop_transient(unit);
        // What was said of it last has opened its log again.
        self.output.close(unit.clone());
        self.hands.order(Order::Forget(unit.clone()));
    }

    /// The file of a unit made on the spot goes with the unit.
    fn drop_transient(&mut self, unit: &UnitName) {
        let path = self.places.transient().join(unit.as_str());
        match std::fs::remove_file(&path) {
            Ok(()) => self.library.drop_name(unit),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("{} stays: {error}", path.display()),
        }
    }

    /// Files of units that an earlier daemon was about to forget, or never came to define.
    pub(super) fn drop_stray_transients(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.places.transient()) else {
            return;
        };
        let names: Vec<UnitName> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        for name in names {
            if self.engine.definition(&name).is_none() {
                self.drop_transient(&name);
            }
        }
    }
}
