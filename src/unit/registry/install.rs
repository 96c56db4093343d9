//! `[Install]`: what `enable` does with the unit.

use super::{Directive, Section};
use crate::unit::value::ValueError;

const fn row(
    key: &'static str,
    example: &'static str,
    doc: &'static str,
    apply: super::Apply,
) -> Directive {
    Directive::new(Section::Install, key, "UNIT…", example, doc, apply).list()
}

pub(super) const ROWS: &[Directive] = &[
    row(
        "WantedBy",
        "agents.target",
        "Units that want this one (Wants=) when it is enabled.",
        |draft, given| given.units(&mut draft.install.wanted_by),
    ),
    row(
        "RequiredBy",
        "agents.target",
        "Units that require this one (Requires=) when it is enabled.",
        |draft, given| given.units(&mut draft.install.required_by),
    ),
    row(
        "UpheldBy",
        "agents.target",
        "Units that uphold this one (Upholds=) when it is enabled.",
        |draft, given| given.units(&mut draft.install.upheld_by),
    ),
    row(
        "Alias",
        "maintainer.agent",
        "Further names for the unit when it is enabled; they must have the unit's own suffix.",
        |draft, given| {
            given.units(&mut draft.install.alias)?;
            let kind = given.name.kind();
            let alias = &mut draft.install.alias;
            let before = alias.len();
            alias.retain(|name| name.kind() == kind);
            if alias.len() < before {
                let suffix = kind.suffix();
                return Err(ValueError::new("an alias has another suffix than the unit")
                    .help(format!("write a name that ends in .{suffix}")));
            }
            Ok(())
        },
    ),
    row(
        "Also",
        "reviewer.agent",
        "Units that are enabled and disabled together with this one.",
        |draft, given| given.units(&mut draft.install.also),
    ),
    Directive::new(
        Section::Install,
        "DefaultInstance",
        "NAME",
        "main",
        "Of a template: the instance that is enabled when none is named.",
        |draft, given| {
            draft.install.default_instance =
                Some(given.expanded()?).filter(|instance| !instance.is_empty());
            Ok(())
        },
    ),
];
