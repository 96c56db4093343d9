//! `[Sandbox]`: how a unit is confined. Every row is a guard: a unit never starts weaker than it
//! is written.

use super::{Directive, Given, Section, paths};
use crate::unit::value::{Escapes, ValueError, integer};

const fn row(
    key: &'static str,
    syntax: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Sandbox, key, syntax, example, doc, apply).guard()
}

pub(super) const ROWS: &[Directive] = &[
    row(
        "Policy",
        "NAME",
        "research",
        "The policy: the name of a file in the policy directories without .policy, or none for no \
         confinement.",
        |draft, given| {
            draft.sandbox.policy = paths::plain(&given.expanded()?, "the name of a policy")?;
            Ok(())
        },
    )
    .default("none")
    .agents("coding"),
    row(
        "ReadOnlyPaths",
        "PATH…",
        "/srv/reference",
        "What may be read, beside what the policy says.",
        |draft, given| {
            let list = &mut draft.sandbox.read_only_paths;
            given.each(list, Escapes::Interpret, paths::absolute)
        },
    )
    .list(),
    row(
        "ReadWritePaths",
        "PATH…",
        "/srv/webshop",
        "What may be read and written, beside what the policy says.",
        |draft, given| {
            let list = &mut draft.sandbox.read_write_paths;
            given.each(list, Escapes::Interpret, paths::absolute)
        },
    )
    .list(),
    row(
        "ExecPaths",
        "PATH…",
        "/opt/toolchain",
        "What may be read and executed, beside what the policy says.",
        |draft, given| {
            let list = &mut draft.sandbox.exec_paths;
            given.each(list, Escapes::Interpret, paths::absolute)
        },
    )
    .list(),
    row(
        "ConnectTCP",
        "PORT…|policy",
        "443 8080",
        "The TCP ports that may be connected to; an empty value means none, policy means that the \
         policy says.",
        |draft, given| ports(given, &mut draft.sandbox.connect_tcp),
    )
    .default("policy")
    .list(),
    row(
        "BindTCP",
        "PORT…|policy",
        "3000",
        "The TCP ports that may be listened on; an empty value means none, policy means that the \
         policy says.",
        |draft, given| ports(given, &mut draft.sandbox.bind_tcp),
    )
    .default("policy")
    .list(),
    row(
        "Require",
        "FEATURE…",
        "landlock:4 cgroup",
        "What this machine must be able to enforce, or the unit is not started: landlock:N (at \
         least that version), cgroup.",
        |draft, given| given.each(&mut draft.sandbox.require, Escapes::Keep, feature),
    )
    .list(),
];

fn ports(given: &mut Given<'_>, ports: &mut Option<Vec<u16>>) -> Result<(), ValueError> {
    if given.value == "policy" {
        *ports = None;
        return Ok(());
    }
    let mut list = ports.take().unwrap_or_default();
    let result = given.each(&mut list, Escapes::Keep, |text| integer(text, 1, u16::MAX));
    *ports = Some(list);
    result
}

fn feature(text: &str) -> Result<String, ValueError> {
    let (name, version) = text
        .split_once(':')
        .map_or((text, None), |(name, version)| (name, Some(version)));
    match (name, version) {
        ("landlock", Some(version)) => integer(version, 1_u32, 1000).map(|_| ())?,
        ("landlock" | "cgroup", None) => {}
        _ => {
            return Err(
                ValueError::unreadable(text, "something this program can check")
                    .help("write landlock, landlock:4 or cgroup"),
            );
        }
    }
    Ok(text.to_owned())
}
