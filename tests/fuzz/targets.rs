//! What is fuzzed, one function a target: each takes any bytes, and panics where a promise breaks.
//!
//! The fuzzer (`tests/fuzz/fuzzer.rs`) and the replay of their corpora (`tests/it/fuzz.rs`) call the
//! same functions.

use std::path::Path;

use aether::engine::event::ExitStatus;
use aether::name::{UnitName, UnitType};
use aether::plan::policy;
use aether::runtime::stream::Parser;
use aether::unit::{Source, SpecifierFacts, load, syntax, transient};

/// A target: its name, which is also its corpus's, and what it does.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const ALL: [Target; 4] = [
    ("unit", unit),
    ("policy", policy),
    ("transient", transient),
    ("stream", stream),
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
