//! What is fuzzed, one function a target: each takes any bytes, and panics where a promise breaks.
//!
//! The fuzzer (`tests/fuzz/fuzzer.rs`) and the replay of their corpora (`tests/it/fuzz.rs`) call the
//! same functions.

use std::path::Path;

use aether::daemon::notify::{Kept, Said};
use aether::engine::event::ExitStatus;
#[cfg(feature = "simulate")]
use aether::engine::sim::{Action, World};
use aether::name::{UnitName, UnitType};
use aether::plan::policy;
use aether::runtime::stream::Parser;
use aether::unit::calendar::{Calendar, Zone};
use aether::unit::value::duration;
use aether::unit::{Source, SpecifierFacts, load, syntax, transient};

/// A target: its name, which is also its corpus's, and what it does.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const ALL: &[Target] = &[
    ("unit", unit),
    ("policy", policy),
    ("transient", transient),
    ("stream", stream),
    ("calendar", calendar),
    ("notify", notify),
    #[cfg(feature = "simulate")]
    ("engine", engine),
];

/// A unit file and its drop-in: syntax without loss, every finding on a line that is there.
fn unit(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let path = Path::new("/etc/aether/units/a.agent");
    let (document, _) = syntax::parse(path, &text);
    assert_eq!(document.text(), text, "syntax loses text");
    // The first line says which type it is; the rest is the file, its second half a drop-in.
    let (first, rest) = text.split_once('\n').unwrap_or(("", &text));
    let name = match first.len() % 3 {
        0 => "a.agent",
        1 => "a@b.service",
        _ => "a.target",
    };
    let (fragment, drop_in) = rest.split_once("\n---\n").unwrap_or((rest, ""));
    let sources = [
        (path, fragment),
        (Path::new("/run/a.agent.d/x.conf"), drop_in),
    ]
    .map(|(path, text)| Source {
        path: path.to_owned(),
        text: text.to_owned(),
    });
    let name: UnitName = name.parse().expect("a name");
    let facts = SpecifierFacts::default();
    let loaded = load(&name, &sources, &facts);
    for found in &loaded.diagnostics {
        let source = sources.iter().find(|source| source.path == found.path);
        let lines = source.map_or(0, |source| source.text.split('\n').count());
        assert!(
            found.line as usize <= lines,
            "a finding on no line: {found}"
        );
        assert!(!found.to_string().is_empty());
    }
    // The same text is the same unit, also after it was kept as a snapshot is.
    if let Some(unit) = loaded.unit {
        let kept = serde_json::to_string(&unit).expect("a unit can be kept");
        assert_eq!(unit, serde_json::from_str(&kept).expect("and read"));
    }
}

/// A sandbox policy.
fn policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (_, found) = policy::parse(Path::new("/etc/aether/policies/p.policy"), &text);
    for finding in found {
        assert!(!finding.to_string().is_empty());
    }
}

/// `aetherctl run -p KEY=VALUE …`: whatever is asked for, the file that is written has these
/// directives and no others.
fn transient(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let properties: Vec<(String, Vec<String>)> = text
        .split('\u{1}')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), vec![value.to_owned()]))
        .collect();
    let (written, _) = transient::write(UnitType::Agent, &properties);
    let (document, _) = syntax::parse(Path::new("/run/aether/transient/a.agent"), &written);
    let assignments = document
        .items()
        .iter()
        .filter(|item| item.kind == syntax::ItemKind::Assignment)
        .count();
    assert!(
        assignments <= properties.len(),
        "a directive was smuggled in"
    );
}

/// Lines of a runtime's structured output, and its end.
fn stream(bytes: &[u8]) {
    let mut parser = Parser::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        for event in parser.line(line) {
            serde_json::to_string(&event).expect("an event can be logged");
        }
        parser.error_line(line);
    }
    let kept = serde_json::to_string(&parser).expect("a parser can be kept");
    let again: Parser = serde_json::from_str(&kept).expect("and read");
    let status = ExitStatus::Exited(0);
    assert_eq!(parser.verdict(status, false), again.verdict(status, false));
}

/// A calendar event, a time span, and the bytes of a time zone, a line each (the last to the end).
fn calendar(bytes: &[u8]) {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (event, span, zone) = (line(), line(), line());
    let span = String::from_utf8_lossy(span);
    if let Ok(Some(span)) = duration(&span) {
        let micros = format!("{}us", span.as_micros());
        let again = duration(&micros);
        assert!(again == Ok(Some(span)) || span.as_micros() > i64::MAX as u128);
    }
    let Ok(event) = String::from_utf8_lossy(event).parse::<Calendar>() else {
        return;
    };
    let kept = serde_json::to_string(&event).expect("a calendar can be kept");
    assert_eq!(event, serde_json::from_str(&kept).expect("and read"));
    let normalised = event.to_string();
    let again: Calendar = normalised.parse().expect("the normalised form is one");
    assert_eq!(again.to_string(), normalised);
    let zone = Zone::from_tzif("localtime", zone).unwrap_or_default();
    // A time that the bytes choose, and those after it.
    let mut at = bytes
        .iter()
        .rev()
        .take(7)
        .fold(0, |at: u64, byte| at << 8 | u64::from(*byte));
    for _ in 0..3 {
        let Some(next) = event.next(at, &zone) else {
            break;
        };
        assert!(next > at, "{normalised} goes back");
        at = next;
    }
}

/// Notifications of one unit, read in one go: the messages, with NUL between them; each brings one
/// descriptor along.
fn notify(bytes: &[u8]) {
    let (one, _) = std::os::unix::net::UnixDatagram::pair().expect("a descriptor");
    let mut said = Said::default();
    let (mut messages, mut least) = (0, 0);
    for message in bytes.split(|byte| *byte == 0).take(64) {
        let copy = one.try_clone().expect("a copy of it");
        said.hear(message, vec![copy.into()]);
        messages += 1;
        // What has been understood is not taken back by what comes after.
        assert!(said.notices.len() >= least);
        least = said.notices.len();
    }
    // However much is said, little is told.
    assert!(said.notices.len() <= 16, "{:?}", said.notices);
    assert!(said.notices.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(said.kept.len() <= messages);
    for kept in &said.kept {
        let (Kept::Store(name, _) | Kept::Discard(name)) = kept;
        assert!((1..=255).contains(&name.len()) && name.is_ascii());
        assert!(!name.contains(':') && !name.contains(char::is_control));
    }
}

/// A history of the engine in its simulated world: a byte to begin with, then three for each action.
#[cfg(feature = "simulate")]
fn engine(bytes: &[u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let mut world = World::new(u64::from(*first));
    for &[kind, a, b] in rest.as_chunks().0.iter().take(300) {
        world.act(&action(kind, a, b));
        assert!(world.broken().is_empty(), "{:#?}", world.broken());
    }
    world.settle();
    assert!(world.broken().is_empty(), "{:#?}", world.broken());
}

#[cfg(feature = "simulate")]
fn action(kind: u8, a: u8, b: u8) -> Action {
    let odd = b & 1 == 1;
    match kind % 24 {
        0 => Action::Start(a, b),
        1 => Action::Stop(a, odd),
        2 => Action::Restart(a, odd),
        3 => Action::Reload(a, odd),
        4 => Action::Pause(a),
        5 => Action::Resume(a),
        6 => Action::Send(a),
        7 => Action::Exit(a, b),
        8 => Action::ChildExits(a),
        9 => Action::Memory(a),
        10 => Action::Turn(a),
        11 => Action::Approval(a, odd),
        12 => Action::Budget(a),
        13 => Action::Notify(a, b),
        14 => Action::Trigger(a),
        15 => Action::Forgive(a),
        16 => Action::Tick(u16::from_le_bytes([a, b])),
        17 => Action::Jump(i16::from_le_bytes([a, b])),
        18 => Action::Crash,
        // Answers are what moves it on.
        _ => Action::Answer(a),
    }
}
