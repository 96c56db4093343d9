//! What is fuzzed, one function a target: each takes any bytes, and panics where a promise breaks.
//!
//! The fuzzer (`tests/fuzz/fuzzer.rs`) and the replay of their corpora (`tests/it/fuzz.rs`) call the
//! same functions.

use std::path::Path;

use aether::engine::event::ExitStatus;
use aether::name::{UnitName, UnitType};
use aether::plan::policy;
use aether::runtime::stream::Parser;
use aether::unit::calendar::{Calendar, Zone};
use aether::unit::value::duration;
use aether::unit::{Source, SpecifierFacts, load, syntax, transient};

/// A target: its name, which is also its corpus's, and what it does.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const ALL: [Target; 5] = [
    ("unit", unit),
    ("policy", policy),
    ("transient", transient),
    ("stream", stream),
    ("calendar", calendar),
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
