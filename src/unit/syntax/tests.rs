//! The syntax: what is read, where it stands, what is refused, and that no byte is lost.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> (Document, Vec<Diagnostic>) {
    parse(Path::new("test.agent"), text)
}

fn values(document: &Document) -> Vec<(String, String, String)> {
    document
        .sections()
        .iter()
        .flat_map(|section| {
            section
                .assignments
                .iter()
                .map(|a| (section.name.clone(), a.key.clone(), a.value.clone()))
        })
        .collect()
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let (document, diagnostics) = read(text);
    assert_eq!(diagnostics, [], "{text:?}");
    values(&document)
        .into_iter()
        .map(|(_, key, value)| (key, value))
        .collect()
}

#[test]
fn sections_and_assignments() {
    let (document, diagnostics) =
        read("# top\n[Unit]\nDescription = a = b \n\n[Agent]\n; no\n  Goal=x\n[Unit]\nAfter=\n");
    assert_eq!(diagnostics, []);
    let expected = [
        ("Unit", "Description", "a = b"),
        ("Agent", "Goal", "x"),
        ("Unit", "After", ""),
    ]
    .map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(values(&document), expected);
    assert_eq!(document.sections().len(), 3);
    let kinds: Vec<ItemKind> = document.items().iter().map(|item| item.kind).collect();
    use ItemKind::{Assignment, Blank, Comment, Section};
    let expected = [
        Comment, Section, Assignment, Blank, Section, Comment, Assignment, Section, Assignment,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn continuation_as_systemd_joins_it() {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    // The backslash becomes a space; indentation stays.
    assert_eq!(pairs("[S]\nA=1\\\n2\\\n  3\n"), [pair("A", "1 2   3")]);
    // Comment lines between are skipped, even when they end in a backslash.
    assert_eq!(
        pairs("[S]\nA=1 \\\n# no \\\n;no\n2\nB=3\n"),
        [pair("A", "1  2"), pair("B", "3")]
    );
    // An empty line ends the continuation; an escaped backslash begins none.
    assert_eq!(
        pairs("[S]\nA=1\\\n\nB=2\n"),
        [pair("A", "1"), pair("B", "2")]
    );
    assert_eq!(
        pairs("[S]\nA=1\\\\\nB=2\n"),
        [pair("A", "1\\\\"), pair("B", "2")]
    );
    // A blank behind the backslash makes it an ordinary one, and a file may end anywhere.
    assert_eq!(
        pairs("[S]\nA=1\\ \nB=2\\"),
        [pair("A", "1\\"), pair("B", "2")]
    );
    // A comment is not continued.
    assert_eq!(pairs("[S]\n# x \\\nB=2"), [pair("B", "2")]);
}

#[test]
fn line_ends_and_byte_order_mark() {
    let (document, diagnostics) = read("\u{feff}[S]\r\nA=1\\\r\n2\r\n");
    assert_eq!(diagnostics, []);
    assert_eq!(values(&document)[0].2, "1 2");
    assert_eq!(
        document.sections()[0].span,
        Span {
            line: 1,
            column: 1,
            width: 3
        }
    );
}

#[test]
fn places_are_lines_and_characters() {
    let (document, _) = read("[S]\n Ä = ö \"x\" \\\n# c\n  yy zz\n");
    let assignment = &document.sections()[0].assignments[0];
    assert_eq!(
        assignment.span,
        Span {
            line: 2,
            column: 2,
            width: 1
        }
    );
    assert_eq!(
        assignment.value_span(),
        Span {
            line: 2,
            column: 6,
            width: 5
        }
    );
    let at = assignment.value.find("zz").unwrap();
    assert_eq!(
        assignment.locate(at..at + 2),
        Span {
            line: 4,
            column: 6,
            width: 2
        }
    );
    let at = assignment.value.find("\"x").unwrap();
    assert_eq!(
        assignment.locate(at..at + 3),
        Span {
            line: 2,
            column: 8,
            width: 3
        }
    );
}

#[test]
fn what_cannot_be_read_is_said_and_kept() {
    for (text, message, line, damaged) in [
        ("A=1\n[S]\n", "assignment before the first section", 1, true),
        ("[S]\nnonsense\n", "line has no =", 2, false),
        ("[S]\n=1\n", "nothing before the =", 2, false),
        ("[S\nA=1\n", "section header cannot be read", 1, true),
        (
            "[S]\nA=1\n[]\nB=2\n",
            "section header cannot be read",
            3,
            true,
        ),
        (
            "[S]\nA=1\rB=2\n",
            "line contains a NUL or a lone carriage return",
            2,
            false,
        ),
        (
            "[S]\nA=\0\n",
            "line contains a NUL or a lone carriage return",
            2,
            false,
        ),
    ] {
        let (document, diagnostics) = read(text);
        assert_eq!(diagnostics.len(), 1, "{text:?}: {diagnostics:?}");
        assert_eq!(
            (diagnostics[0].message.as_str(), diagnostics[0].line),
            (message, line)
        );
        assert_eq!(document.damaged(), damaged, "{text:?}");
        assert_eq!(diagnostics[0].excerpt.lines().count(), 1);
        assert!(
            !diagnostics[0].excerpt.contains("B=2") || text.contains('\r'),
            "{text:?}"
        );
        assert_eq!(document.text(), text);
        if !damaged {
            assert!(document.sections()[0].broken, "{text:?}");
        }
    }
}

#[test]
fn a_broken_header_does_not_lend_its_lines_to_the_section_before() {
    let (document, _) = read("[Unit]\nA=1\n[Sandbox\nB=2\n[Unit]\nC=3\n");
    assert!(document.damaged());
    let unit: Vec<_> = values(&document)
        .into_iter()
        .filter(|(section, ..)| section == "Unit")
        .map(|(_, key, _)| key)
        .collect();
    assert_eq!(unit, ["A", "C"]);
}

#[test]
fn sizes_have_limits() {
    let long = format!("[S]\nA={}\nB=1\n", "x".repeat(MAX_LINE));
    let (document, diagnostics) = read(&long);
    assert_eq!(diagnostics[0].message, "line is longer than 1 MiB");
    assert!(diagnostics[0].excerpt.chars().count() <= MAX_EXCERPT + 1);
    assert_eq!(values(&document).len(), 1);
    let continued = format!(
        "[S]\nA={}\nB=1\n",
        "xxxxxxxx\\\n".repeat(MAX_LINES - 10) + &"y".repeat(MAX_LINE / 2)
    );
    let (document, diagnostics) = read(&continued);
    assert_eq!(diagnostics[0].message, "line is longer than 1 MiB");
    assert_eq!(values(&document).len(), 1);
    let large = "#".repeat(MAX_FILE + 1);
    let (document, diagnostics) = read(&large);
    assert_eq!(diagnostics[0].message, "file is larger than 4 MiB");
    assert!(document.damaged());
    assert_eq!(document.text().len(), large.len());
    let (document, diagnostics) = read(&"\n".repeat(MAX_LINES + 1));
    assert_eq!(diagnostics.len(), 1);
    assert!(document.damaged());
    let (_, diagnostics) = read(&format!("[S]\n{}", "x\n".repeat(1000)));
    assert_eq!(diagnostics.len(), MAX_DIAGNOSTICS + 1);
    assert_eq!(
        diagnostics[MAX_DIAGNOSTICS].message,
        "900 more problems are not shown"
    );
}

#[test]
fn an_excerpt_does_not_reach_the_terminal_as_commands() {
    let (_, diagnostics) = read("[S]\nx\u{1b}]0;title\u{7}\n");
    assert!(!diagnostics[0].to_string().contains('\u{1b}'));
}

/// Text that looks like a unit file often enough.
fn unit_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[Unit]".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\\\n".to_owned()),
        Just("Key=".to_owned()),
        Just("#".to_owned()),
        Just(" ; ".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("\\".to_owned()),
        Just("=".to_owned()),
        "[a-zA-Zäöü \t\"'%\\[\\]]{0,12}",
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_byte_is_lost_and_every_place_exists(text in unit_like()) {
        let (document, diagnostics) = read(&text);
        let mut next = 0;
        let mut tiled = String::new();
        for item in document.items() {
            prop_assert_eq!(item.range.start, next);
            next = item.range.end;
            tiled.push_str(&document.text()[item.range.clone()]);
        }
        prop_assert_eq!(&tiled, &text);
        let broken = document.items().iter().filter(|i| i.kind == ItemKind::Broken).count();
        prop_assert_eq!(broken, diagnostics.len());
        for section in document.sections() {
            for assignment in &section.assignments {
                for (at, c) in assignment.value.char_indices() {
                    let span = assignment.locate(at..at + c.len_utf8());
                    let line = document.line(span.line);
                    let found = line.chars().nth(span.column as usize - 1);
                    // A space may stand for the backslash at the line's end.
                    prop_assert!(found == Some(c) || (c == ' ' && found == Some('\\')),
                        "{c:?} is not at {span:?} of {text:?}");
                }
            }
        }
    }

    #[test]
    fn any_text_at_all_is_read(text in any::<String>()) {
        let (document, _) = read(&text);
        prop_assert_eq!(document.text(), text);
    }
}
