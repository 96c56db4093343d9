//! A plan as a person reads it (`aetherctl plan`): the steps in order, each with its reason.
//!
//! Values of the environment are shown as they are: a plan carries no secrets, those travel as
//! descriptors. Control characters are not shown as they are.

use std::fmt::Write;

use super::{Access, ExecPlan, Ruleset, Step};

impl Access {
    /// The word in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::ReadExecute => "ReadExecute",
            Self::ReadWrite => "ReadWrite",
            Self::ReadWriteExecute => "ReadWriteExecute",
        }
    }
}

/// The whole plan as text.
#[must_use]
pub fn render(plan: &ExecPlan) -> String {
    let mut text = String::new();
    line(&mut text, 0, &plan.unit);
    line(&mut text, 2, &format!("program {}", plan.program.display()));
    line(&mut text, 2, &format!("argv {}", words(&plan.argv)));
    line(&mut text, 2, "environment");
    for (name, value) in &plan.environment {
        line(&mut text, 4, &format!("{name}={value}"));
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let name = step.name();
        let head = format!("{}. {}: {}", index + 1, name.as_str(), name.description());
        line(&mut text, 2, &head);
        details(&mut text, step);
    }
    text
}

/// One line without a character that a terminal would obey.
fn line(text: &mut String, indent: usize, content: &str) {
    let visible: String = content
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{:indent$}{visible}", "");
}

fn words(words: &[String]) -> String {
    words
        .iter()
        .map(|word| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

fn details(text: &mut String, step: &Step) {
    let mut say = |content: String| line(text, 6, &content);
    match step {
        Step::Descriptors | Step::NoNewPrivileges | Step::Landlock | Step::Exec => {}
        Step::Cgroup { join, expect } => {
            for path in join {
                say(format!("join {}", path.display()));
            }
            if let Some(expect) = expect {
                say(format!("expect {expect}"));
            }
        }
        Step::Limits {
            limits,
            nice,
            oom_score_adjust,
        } => {
            for (name, soft, hard) in limits {
                say(format!("{name} {}:{}", amount(*soft), amount(*hard)));
            }
            if let Some(nice) = nice {
                say(format!("nice {nice}"));
            }
            if let Some(score) = oom_score_adjust {
                say(format!("OOM score adjustment {score}"));
            }
        }
        Step::Stdio(stdio) if stdio.terminal => say("a terminal for all three".to_owned()),
        Step::Stdio(stdio) => {
            let kept = |kept| if kept { "supervisor" } else { "/dev/null" };
            let (input, output, error) = (stdio.input, stdio.output, stdio.error);
            say(format!(
                "input {}, output {}, error {}",
                kept(input),
                kept(output),
                kept(error)
            ));
        }
        Step::Directory { path, umask } => {
            say(format!("{}, umask {umask:04o}", path.display()));
        }
        Step::Ruleset(ruleset) => rules(text, ruleset),
        Step::Ids { uid, gid, groups } => {
            let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
            say(format!("uid {uid}, gid {gid}, groups {}", list(&groups)));
        }
        Step::Capabilities { bounding, ambient } => {
            say(format!("bounding {}", list(bounding)));
            say(format!("ambient {}", list(ambient)));
        }
    }
}

fn amount(value: u64) -> String {
    if value == u64::MAX {
        "infinity".to_owned()
    } else {
        value.to_string()
    }
}

fn rules(text: &mut String, ruleset: &Ruleset) {
    for rule in &ruleset.paths {
        let content = format!(
            "{:<16} {}{}  # {}",
            rule.access.as_str(),
            if rule.optional { "-" } else { "" },
            rule.path.display(),
            rule.reason
        );
        line(text, 6, &content);
    }
    for (name, ports) in [
        ("ConnectTCP", &ruleset.connect_tcp),
        ("BindTCP", &ruleset.bind_tcp),
    ] {
        let ports = match ports {
            None => "any".to_owned(),
            Some(ports) => list(&ports.iter().map(u16::to_string).collect::<Vec<_>>()),
        };
        line(text, 6, &format!("{name:<16} {ports}"));
    }
    let scoped = if ruleset.scoped { "yes" } else { "no" };
    line(text, 6, &format!("{:<16} {scoped}", "Scoped"));
}
