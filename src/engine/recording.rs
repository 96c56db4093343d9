//! What a daemon writes down so that what it did can be done again: the engine as it was, then
//! every event with the effects that came of it.
//!
//! JSON lines: a [`Beginning`], then one [`Line`] per event. The same events through the same
//! engine yield the same effects, so a recording is a test case: [`replay`] says where they differ.

use serde::{Deserialize, Serialize};

use crate::engine::event::{Effect, Event, Now};
use crate::engine::{Counters, Engine, Snapshot};
use crate::unit::Unit;
use crate::unit::calendar::Zone;

/// Version of the form.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Beginning {
    /// [`VERSION`].
    pub version: u32,
    /// The program's version, for people.
    pub program: String,
    /// The numbers given out last.
    pub counters: Counters,
    /// The local time zone: its name and its rules as in tzfile(5).
    pub zone: (String, Vec<u8>),
    /// Every unit with what the engine keeps of it.
    pub units: Vec<(Unit, Snapshot)>,
}

/// Every further line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When it was handled.
    pub now: Now,
    /// What happened.
    pub event: Event,
    /// What was to be done.
    pub effects: Vec<Effect>,
}

/// Where a replay went another way.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Which line, counted from 2 as an editor does.
    pub line: usize,
    /// What happened.
    pub event: Event,
    /// What was to be done then.
    pub recorded: Vec<Effect>,
    /// What is to be done now.
    pub replayed: Vec<Effect>,
}

impl Engine {
    /// The first line of a recording that begins now.
    #[must_use]
    pub fn beginning(&self, program: &str, zone: (String, Vec<u8>)) -> Beginning {
        Beginning {
            version: VERSION,
            program: program.to_owned(),
            counters: self.counters,
            zone,
            units: self
                .records
                .values()
                .map(|record| ((*record.unit).clone(), record.core.clone()))
                .collect(),
        }
    }

    /// The engine with which a recording begins.
    #[must_use]
    pub fn of(beginning: &Beginning) -> Self {
        let mut engine = Self::restore(beginning.counters, beginning.units.clone());
        let (name, rules) = &beginning.zone;
        engine.zone = Zone::from_tzif(name, rules).unwrap_or_default();
        // Nothing waited to be looked at when the recording began.
        engine.dirty.clear();
        engine
    }
}

/// Hands every line to the engine; where the effects are others than recorded, that is told, and
/// the replay goes on with the engine's own.
pub fn replay(
    engine: &mut Engine,
    lines: impl IntoIterator<Item = Line>,
    mut tell: impl FnMut(Difference),
) -> usize {
    let mut count = 0;
    for line in lines {
        count += 1;
        let replayed = engine.handle(line.now, line.event.clone());
        if replayed != line.effects {
            tell(Difference {
                line: count + 1,
                event: line.event,
                recorded: line.effects,
                replayed,
            });
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::{JobMode, Request, RequestId};
    use crate::engine::tests::service;

    #[test]
    fn a_recording_begun_in_the_middle_is_replayed_exactly() {
        let now = |at| Now {
            monotonic: at,
            realtime: at,
        };
        let unit = service("a.service");
        let name = unit.name.clone();
        let mut engine = Engine::new();
        let _ = engine.handle(now(1), Event::Defined(Box::new(unit)));
        let ask = |request| Event::Requested {
            id: RequestId(1),
            request,
        };
        let mode = JobMode::Replace;
        let start = ask(Request::Start {
            unit: name.clone(),
            mode,
        });
        let _ = engine.handle(now(2), start);
        let beginning = engine.beginning("test", ("UTC".to_owned(), vec![]));
        let text = serde_json::to_string(&beginning).unwrap();
        let stop = ask(Request::Stop {
            unit: name,
            mode,
            force: false,
        });
        let effects = engine.handle(now(3), stop.clone());
        let mut line = Line {
            now: now(3),
            event: stop,
            effects,
        };
        let differences = |line: &Line| -> Vec<usize> {
            let mut engine = Engine::of(&serde_json::from_str(&text).unwrap());
            let mut found = vec![];
            assert_eq!(
                replay(&mut engine, [line.clone()], |d| found.push(d.line)),
                1
            );
            found
        };
        assert!(differences(&line).is_empty());
        line.effects.clear();
        assert_eq!(differences(&line), [2]);
    }
}
