//! Whole units: what `verify` says about them, what they become, when they are refused.

use std::time::Duration;

use pretty_assertions::assert_eq;
use proptest::prelude::*;

use super::*;
use crate::unit::{RuntimeKind, StartType};

pub(super) fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.into(),
        text: text.to_owned(),
    }
}

pub(super) fn loaded(name: &str, text: &str) -> Loaded {
    let facts = SpecifierFacts {
        home: "/root".to_owned(),
        ..SpecifierFacts::default()
    };
    load(&name.parse().unwrap(), &[source(name, text)], &facts)
}

macro_rules! cases {
    ($($name:literal)*) => {
        [$((
            $name,
            include_str!(concat!("../../../tests/cases/verify/", $name)),
            include_str!(concat!("../../../tests/cases/verify/", $name, ".out")),
        )),*]
    };
}

/// What each case says stands beside it; `AETHER_BLESS=1` writes it anew.
#[test]
fn cases_say_what_stands_beside_them() {
    let cases = cases![
        "clean.agent" "conflicts.service" "empty.service" "goalless.agent" "later.agent"
        "nothing.agent" "twelve.agent" "two.service" "weaker.agent" "wrong.target"
    ];
    for (name, text, expected) in cases {
        let loaded = loaded(name, text);
        let mut said: String = loaded
            .diagnostics
            .iter()
            .map(|diagnostic| format!("{diagnostic}\n"))
            .collect();
        let usable = loaded.unit.is_some();
        said += if usable {
            "=> usable\n"
        } else {
            "=> not usable\n"
        };
        if std::env::var_os("AETHER_BLESS").is_some() {
            let place = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/verify/");
            #[expect(
                clippy::disallowed_methods,
                reason = "blessing writes the expected answers"
            )]
            std::fs::write(format!("{place}{name}.out"), &said).unwrap();
        } else {
            assert_eq!(said, expected, "{name}");
        }
    }
}

#[test]
fn twelve_mistakes_give_twelve_diagnostics() {
    let text = include_str!("../../../tests/cases/verify/twelve.agent");
    let loaded = loaded("twelve.agent", text);
    assert_eq!(loaded.diagnostics.len(), 12);
    assert_eq!(loaded.unit, None);
    let mut messages = BTreeSet::new();
    for diagnostic in &loaded.diagnostics {
        assert!(diagnostic.line > 0 && diagnostic.column > 0, "{diagnostic}");
        let line = text.lines().nth(diagnostic.line as usize - 1).unwrap();
        assert_eq!(diagnostic.excerpt, line);
        assert!(messages.insert(&diagnostic.message), "{diagnostic}");
    }
    let helped = loaded
        .diagnostics
        .iter()
        .filter(|d| d.help.is_some())
        .count();
    assert!(helped >= 9, "{helped} of 12 have help");
}

#[test]
fn a_size_that_is_none_says_so() {
    let loaded = loaded("a.service", "[Service]\nExecStart=/bin/a\nMemoryMax=4Q\n");
    assert_eq!(
        loaded.diagnostics[0].to_string(),
        "a.service:3:11: error: MemoryMax=: cannot read \"4Q\" as a size\n \
         3 | MemoryMax=4Q\n   |           ^^\n   help: write for example 512M or 4G"
    );
}

#[test]
fn defaults_of_agents_and_services() {
    let agent = loaded("a.agent", "[Agent]\nRuntime=claude-code\nGoal=x\n")
        .unit
        .unwrap();
    let service = agent.service.unwrap();
    assert_eq!(agent.description, "a.agent");
    assert_eq!(agent.agent.unwrap().runtime, RuntimeKind::ClaudeCode);
    assert_eq!(
        (agent.sandbox.policy.as_str(), agent.mcp.tools),
        ("coding", vec!["memory".to_owned(), "agents".to_owned()])
    );
    assert!(service.exec.dynamic_user && service.exec.no_new_privileges);
    assert_eq!(service.exec.capability_bounding, Some(vec![]));
    assert_eq!(service.exec.umask, 0o077);
    assert_eq!(service.timeout_start, Some(Duration::from_secs(120)));

    let unit = loaded("a.service", "[Service]\nExecStart=/bin/a\n")
        .unit
        .unwrap();
    let service = unit.service.unwrap();
    assert_eq!(
        (unit.agent, unit.sandbox.policy.as_str(), unit.mcp.tools),
        (None, "none", vec![])
    );
    assert!(!service.exec.dynamic_user && !service.exec.no_new_privileges);
    assert_eq!(service.resources.tasks_max, None);
    assert_eq!(
        (service.exec.umask, service.start),
        (0o022, StartType::Exec)
    );
    assert_eq!(service.exec.capability_bounding, None);
    assert_eq!(
        (service.exec.log_max_bytes, service.exec.log_max_files),
        (16 << 20, 4)
    );

    let target = loaded("a.target", "[Unit]\nDescription=All\n")
        .unit
        .unwrap();
    assert_eq!((target.service, target.agent), (None, None));
}

#[test]
fn an_agents_tasks_are_limited_unless_its_unit_says_otherwise() {
    let limit = |line: &str| {
        let text = format!("[Agent]\nExecStart=/bin/a\n{line}\n");
        let unit = loaded("a.agent", &text).unit.unwrap();
        unit.service.unwrap().resources.tasks_max
    };
    assert_eq!(limit(""), Some(1024));
    assert_eq!(limit("TasksMax=7"), Some(7));
    assert_eq!(limit("TasksMax=7\nTasksMax="), Some(1024));
    assert_eq!(limit("TasksMax=infinity"), None);
}

#[test]
fn drop_ins_add_replace_and_reset() {
    let name: UnitName = "c@web.agent".parse().unwrap();
    let sources = [
        source(
            "c@.agent",
            "[Agent]\nExecStart=/bin/a %i\nEnvironment=A=1 B=1\nMemoryMax=1G\nTasksMax=5\n[MCP]\nTools=memory\n",
        ),
        source(
            "10.conf",
            "[Agent]\nEnvironment=B=2\nMemoryMax=2G\nTasksMax=\n[Unit]\nAfter=x.service\n",
        ),
        source(
            "20.conf",
            "[Agent]\nExecStart=\nExecStart=/bin/b %I\n[MCP]\nTools=agents\n[Unit]\nAfter=y.service x.service\n",
        ),
    ];
    let loaded = load(&name, &sources, &SpecifierFacts::default());
    assert_eq!(loaded.diagnostics, []);
    let unit = loaded.unit.unwrap();
    let service = unit.service.unwrap();
    assert_eq!(service.exec_start.len(), 1);
    assert_eq!(service.exec_start[0].argv, ["/bin/b", "web"]);
    assert_eq!(service.exec.environment["A"], "1");
    assert_eq!(service.exec.environment["B"], "2");
    assert_eq!(
        (service.resources.memory_max, service.resources.tasks_max),
        (Some(2 << 30), Some(1024))
    );
    assert_eq!(unit.mcp.tools, ["memory", "agents"]);
    assert_eq!(unit.relations.after.len(), 2);
    assert_eq!(unit.fragment.unwrap(), PathBuf::from("c@.agent"));
    assert_eq!(unit.drop_ins.len(), 2);
}

#[test]
fn a_specifiers_value_makes_no_words_and_no_way_out() {
    let name: UnitName = "c@a\\x20b-..-c.agent".parse().unwrap();
    let text = "[Agent]\nExecStart=/bin/echo %I\n";
    let unit = load(
        &name,
        &[source("c@.agent", text)],
        &SpecifierFacts::default(),
    )
    .unit
    .unwrap();
    assert_eq!(
        unit.service.unwrap().exec_start[0].argv,
        ["/bin/echo", "a b/../c"]
    );
    let text = "[Agent]\nExecStart=/bin/echo\n[Sandbox]\nReadWritePaths=/srv/%I\n";
    assert_eq!(
        load(
            &name,
            &[source("c@.agent", text)],
            &SpecifierFacts::default()
        )
        .unit,
        None
    );
}

#[test]
fn a_mistake_where_it_would_weaken_refuses_the_unit() {
    let fine = "[Agent]\nExecStart=/bin/true\n";
    for mistake in [
        "User=-x",
        "DynamicUser=perhaps",
        "Group=a b",
        "NoNewPrivileges=no",
        "MemoryMax=lots",
        "CPUQuota=1.5",
        "LimitNOFILE=x",
        "UMask=9",
        "CapabilityBoundingSet=~CAP_X",
        "ExecStartPre=\"",
        "Usr=x",
        "MemoryMx=1G",
        "[Sandbox]\nPolicy=a/b",
        "[Sandbox]\nWhat=x",
        "[Sandbox]\nx",
        "[Sandbox]\nReadWritePaths=x",
        "[Sandbox]\nConnectTCP=http",
        "[Sandbox]\nModelAccess=x",
        "[Sandbx]\nPolicy=none",
        "[Sandbox\nPolicy=x",
        "[Service]\nUser=x",
        "[Approval]\nRequire=x",
        "Policy=coding",
        "AllowedTools=Bash(",
    ] {
        let loaded = loaded("a.agent", &format!("{fine}{mistake}\n"));
        assert_eq!(loaded.unit, None, "{mistake}");
        assert!(
            loaded
                .diagnostics
                .iter()
                .any(|d| d.severity == Severity::Error),
            "{mistake}"
        );
    }
    // Elsewhere the assignment is ignored, said, and the rest holds.
    for mistake in [
        "Restart=perhaps",
        "RestartSec=x",
        "Colour=x",
        "nonsense",
        "Nice=99",
        "[Unit]\nAfter=x",
        "[MCP]\nTools=x",
    ] {
        let loaded = loaded("a.agent", &format!("{fine}{mistake}\n"));
        assert_eq!(
            loaded.diagnostics.len(),
            1,
            "{mistake}: {:#?}",
            loaded.diagnostics
        );
        assert!(loaded.unit.is_some(), "{mistake}");
    }
}

#[test]
fn lists_and_mistakes_in_one_value_have_limits() {
    let many = |word: &str, count: usize| {
        let words: Vec<String> = (0..count).map(|n| format!("{word}{n}.service")).collect();
        loaded(
            "a.service",
            &format!(
                "[Service]\nExecStart=/bin/a\n[Unit]\nAfter={}\n",
                words.join(" ")
            ),
        )
    };
    let fine = many("u", 4096);
    assert_eq!(fine.diagnostics, []);
    assert_eq!(fine.unit.unwrap().relations.after.len(), 4096);
    let over = many("u", 4097);
    assert_eq!(
        over.diagnostics[0].message,
        "After=: more than 4096 entries"
    );
    let words = many("u", 17_000);
    assert_eq!(
        words.diagnostics[0].message,
        "After=: more than 16384 words"
    );
    let wrong = many("?", 10_000);
    assert_eq!(wrong.diagnostics.len(), 17);
    assert!(
        wrong
            .diagnostics
            .iter()
            .any(|d| d.message.ends_with("more mistakes in this value"))
    );
}

#[test]
fn a_command_runtime_without_a_command_is_refused() {
    let loaded = loaded("a.agent", "[Agent]\nRuntime=command\n");
    assert_eq!(
        loaded.diagnostics[0].message,
        "Runtime=command needs ExecStart="
    );
    assert_eq!(loaded.unit, None);
}

#[test]
fn a_goal_that_cannot_be_read_is_said_once_and_never_run() {
    let loaded = loaded("a.agent", "[Agent]\nRuntime=claude-code\nGoal=%Q\n");
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(loaded.unit, None);
}

#[test]
fn diagnostics_have_a_limit() {
    let text = format!(
        "[Service]\nExecStart=/bin/a\n{}",
        "Colour=red\n".repeat(1000)
    );
    let loaded = loaded("a.service", &text);
    assert_eq!(loaded.diagnostics.len(), MAX_DIAGNOSTICS + 1);
    let last = loaded.diagnostics.last().unwrap();
    assert_eq!(last.message, "900 more problems are not shown");
}

#[test]
fn a_unit_survives_its_own_storage() {
    let text = include_str!("../../../tests/cases/verify/clean.agent");
    let unit = loaded("clean.agent", text).unit.unwrap();
    let json = serde_json::to_string(&unit).unwrap();
    assert_eq!(serde_json::from_str::<Unit>(&json).unwrap(), unit);
}

#[test]
fn no_source_is_no_unit() {
    let name = "a.agent".parse().unwrap();
    assert_eq!(load(&name, &[], &SpecifierFacts::default()).unit, None);
}

proptest! {
    /// Whatever a file says: an answer, and never a unit that disobeys its type.
    #[test]
    fn any_assignments_are_survived(lines in prop::collection::vec((0_usize..400, "[ -~äé]{0,24}"), 0..20)) {
        let rows: Vec<_> = registry::directives().collect();
        let mut text = String::new();
        for (index, value) in lines {
            let row = rows[index % rows.len()];
            let section = if row.section == Section::Service { Section::Agent } else { row.section };
            let value = if index % 3 == 0 { row.example } else { &value };
            text += &format!("[{}]\n{}={value}\n", section.name(), row.key);
        }
        let loaded = loaded("a.agent", &text);
        let errors = loaded.diagnostics.iter().any(|d| d.severity == Severity::Error);
        prop_assert!(loaded.unit.is_some() || errors, "{text}");
        if let Some(unit) = loaded.unit {
            let service = unit.service.unwrap();
            prop_assert!(service.exec.no_new_privileges);
            prop_assert!(unit.sandbox.read_write_paths.iter().all(|path| path.is_absolute()));
        }
    }
}
