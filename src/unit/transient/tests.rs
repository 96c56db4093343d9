//! No value gets out of its line, and what was meant is what is read back.

use proptest::prelude::*;

use std::path::Path;

use super::*;
use crate::unit::syntax;
use crate::unit::{Loaded, Source, SpecifierFacts, load};

fn one(key: &str, value: &str) -> (String, Vec<Diagnostic>) {
    write(UnitType::Agent, &[(key.to_owned(), vec![value.to_owned()])])
}

fn loaded(text: &str) -> Loaded {
    let source = Source {
        path: "t.agent".into(),
        text: text.to_owned(),
    };
    load(
        &"t.agent".parse().unwrap(),
        &[source],
        &SpecifierFacts::default(),
    )
}

#[test]
fn properties_become_a_unit_file() {
    let property = |key: &str, values: &[&str]| {
        (
            key.to_owned(),
            values.iter().map(|v| (*v).to_owned()).collect(),
        )
    };
    let (text, diagnostics) = write(
        UnitType::Agent,
        &[
            property("Goal", &["Say hello"]),
            property("Sandbox.Policy", &["research"]),
            property("Environment", &["A=1", "B=2"]),
            property("Description", &["Two\nlines"]),
        ],
    );
    assert_eq!(diagnostics, []);
    assert_eq!(
        text,
        "[Unit]\nDescription=\"Two\\nlines\"\n\n[Agent]\nGoal=Say hello\nEnvironment=A=1\n\
         Environment=B=2\n\n[Sandbox]\nPolicy=research\n"
    );
}

#[test]
fn a_service_has_its_own_section() {
    let (text, _) = write(
        UnitType::Service,
        &[("ExecStart".to_owned(), vec!["/bin/a".to_owned()])],
    );
    assert_eq!(text, "[Service]\nExecStart=/bin/a\n");
}

#[test]
fn what_is_no_directive_is_not_written() {
    for (property, message) in [
        ("Gaol", "unknown directive Gaol="),
        ("X-Own", "unknown directive X-Own="),
        (
            "Goal=x\n[Sandbox]\nPolicy",
            "unknown directive Goal=x\\n[Sandbox]\\nPolicy=",
        ),
        ("Sandbox.Goal", "unknown directive Goal="),
        ("Service.User", "a .agent unit has no section [Service]"),
        ("ProtectSystem", "ProtectSystem= is not implemented"),
    ] {
        let (text, diagnostics) = one(property, "x");
        assert!(!text.contains('='), "{text}");
        assert_eq!(diagnostics[0].message, message);
    }
    assert_eq!(
        one("Gaol", "x").1[0].help.as_deref(),
        Some("did you mean Goal?")
    );
}

#[test]
fn a_value_stays_in_its_line() {
    for value in [
        "x\n[Sandbox]\nPolicy=none",
        "x\r[Sandbox]",
        "x\r\nUser=root",
        "x\n",
        "\nUser=root",
    ] {
        for key in [
            "Goal",
            "ExecStart",
            "User",
            "Environment",
            "MemoryMax",
            "Sandbox.ReadWritePaths",
        ] {
            let (text, _) = one(key, value);
            assert_eq!(text.lines().count(), 2, "{text:?}");
            assert!(!text.contains('\r'));
        }
    }
    for value in ["x\\", "x\\\\\\", "x\0"] {
        let (_, diagnostics) = one("User", value);
        assert_eq!(diagnostics.len(), 1, "{value:?}");
    }
    // A text has quotes to hide its backslash in.
    assert_eq!(
        one("Goal", "x\\"),
        ("[Agent]\nGoal=\"x\\\\\"\n".to_owned(), vec![])
    );
}

#[test]
fn values_have_limits() {
    assert_eq!(one("Goal", &"x".repeat(MAX_LINE)).1.len(), 1);
    let many = vec!["x".to_owned(); MAX_VALUES + 1];
    assert_eq!(
        write(UnitType::Agent, &[("Goal".to_owned(), many)]).1.len(),
        1
    );
}

proptest! {
    #[test]
    fn nothing_gets_out(value in any::<String>(), lines in "[\\[\\]a-zA-Z=\"'\\\\%\n\r\t ;#]{0,60}", index in 0_usize..6) {
        let key = ["Goal", "Description", "ExecStart", "User", "Tools", "AllowedTools"][index];
        for value in [&value, &lines] {
            let properties = [
                (key.to_owned(), vec![value.clone()]),
                ("TasksMax".to_owned(), vec!["7".to_owned()]),
            ];
            let (text, diagnostics) = write(UnitType::Agent, &properties);
            let (document, errors) = syntax::parse(Path::new("t"), &text);
            prop_assert_eq!(&errors, &[]);
            let keys: Vec<&str> = document.sections().iter()
                .flat_map(|s| &s.assignments).map(|a| a.key.as_str()).collect();
            let mut expected = vec!["TasksMax"];
            if diagnostics.is_empty() {
                expected.push(key);
            }
            expected.sort_unstable();
            let mut keys = keys;
            keys.sort_unstable();
            prop_assert_eq!(keys, expected);
        }
    }

    #[test]
    fn a_literal_goal_comes_back(goal in any::<String>(), hard in "[\"'\\\\% \t\nnx;#a]{0,20}") {
        for goal in [goal, hard] {
            prop_assume!(!goal.contains('\0') && !goal.is_empty());
            {
                let value = text_value(&goal);
                let (text, diagnostics) = write(UnitType::Agent, &[
                    ("Goal".to_owned(), vec![value]),
                    ("ExecStart".to_owned(), vec!["/bin/true".to_owned()]),
                ]);
                prop_assert_eq!(diagnostics, []);
                let loaded = loaded(&text);
                prop_assert_eq!(loaded.diagnostics, []);
                prop_assert_eq!(loaded.unit.unwrap().agent.unwrap().goal, goal.as_str());
            }
        }
    }

    #[test]
    fn literal_arguments_come_back(arguments in prop::collection::vec("[\"'\\\\% \t\nnx;#a${}é-]{0,10}", 0..6)) {
        let mut all = vec!["/bin/echo".to_owned()];
        all.extend(arguments);
        let (text, _) = write(UnitType::Agent, &[("ExecStart".to_owned(), vec![command_value(&all)])]);
        let loaded = loaded(&text);
        prop_assert_eq!(&loaded.diagnostics, &[]);
        let argv = loaded.unit.unwrap().service.unwrap().exec_start[0].argv.clone();
        let argv: Vec<String> = argv.iter().map(|a| a.replace("$$", "$")).collect();
        prop_assert_eq!(argv, all);
    }
}
