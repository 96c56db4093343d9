//! What systemd's unit files ask for that is not, or no longer, written as we would.

use std::time::Duration;

use pretty_assertions::assert_eq;

use super::tests::{loaded, source};
use super::*;
use crate::unit::StartType;

fn said(name: &str, text: &str) -> Vec<String> {
    let found = loaded(name, text).diagnostics;
    found.iter().map(|found| found.message.clone()).collect()
}

#[test]
fn an_old_spelling_is_read_as_the_new_one_and_said_once() {
    let text = "[Unit]\nOnFailureIsolate=yes\nBindTo=b.service\n[Service]\nExecStart=/bin/a\n\
                StartLimitInterval=20s\nStartLimitBurst=7\nStartLimitBurst=8\nCPUShares=2048\n\
                MemoryLimit=1G\n";
    let unit = loaded("a.service", text).unit.unwrap();
    let said = said("a.service", text);
    assert_eq!(said.len(), 6, "{said:#?}");
    assert_eq!(
        said[0],
        "OnFailureIsolate= is the old name of OnFailureJobMode="
    );
    assert_eq!(said[3], "StartLimitBurst= has moved to [Unit]");
    assert_eq!(unit.start_limit.interval, Duration::from_secs(20));
    assert_eq!(unit.start_limit.burst, 8);
    assert_eq!(
        unit.settings.on_failure_job_mode,
        crate::unit::JobMode::Isolate
    );
    assert_eq!(unit.relations.binds_to.len(), 1);
    let resources = unit.service.unwrap().resources;
    assert_eq!(
        (resources.cpu_weight, resources.memory_max),
        (Some(200), Some(1 << 30))
    );
    // The guard of the new name holds for the old one.
    let text = "[Service]\nExecStart=/bin/a\nMemoryLimit=lots\n";
    assert_eq!(loaded("a.service", text).unit, None);
}

#[test]
fn every_old_spelling_has_its_row() {
    for old in registry::LEGACY {
        assert!(old.modern().is_some(), "{old:?}");
        assert_eq!(old.translate("").as_deref(), Some(""), "{old:?}");
    }
}

#[test]
fn units_of_other_types_are_one_warning() {
    let text = "[Unit]\nAfter=a.mount b.service c.swap\nWants=d.device a.mount\n\
                Requires=e.mount f.mount g.mount\n[Service]\nExecStart=/bin/a\n";
    assert_eq!(
        said("a.service", text),
        [
            "units of type .device, .mount, .swap are not implemented, ignoring a.mount, c.swap, d.device, e.mount, \
          f.mount and 1 more"
        ]
    );
}

#[test]
fn what_holds_anyway_needs_no_warning() {
    let text = "[Service]\nExecStart=/bin/a\nPrivateTmp=no\nStandardOutput=journal\n\
                StandardError=inherit\nProtectSystem=false\nReadWritePaths=\n";
    assert_eq!(said("a.service", text), [""; 0]);
    let text = "[Service]\nExecStart=/bin/a\nPrivateTmp=yes\nReadWritePaths=/srv\n\
                StandardOutput=tty\n";
    assert_eq!(said("a.service", text).len(), 3);
    // In an agent they are a line of [Sandbox] in the wrong place.
    let agent = loaded(
        "a.agent",
        "[Agent]\nExecStart=/bin/a\nReadWritePaths=/srv\n",
    );
    assert_eq!(agent.unit, None);
}

#[test]
fn a_template_as_a_dependency_is_an_instance() {
    let after = |name: &str| {
        let source = source(
            name,
            "[Unit]\nAfter=b@.service\n[Service]\nExecStart=/bin/a\n",
        );
        let loaded = load(
            &name.parse().unwrap(),
            &[source],
            &SpecifierFacts::default(),
        );
        assert_eq!(loaded.diagnostics, []);
        let after = loaded.unit.unwrap().relations.after;
        after.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(after("a.service"), ["b@a.service"]);
    assert_eq!(after("a@x.service"), ["b@x.service"]);
    assert_eq!(after("a@.service"), [""; 0]);
}

#[test]
fn a_template_is_not_judged_by_what_its_instance_completes() {
    let text = "[Service]\nUser=%i\nExecStart=/bin/a\nSlice=%i\n";
    let template = loaded("a@.service", text);
    assert_eq!(template.diagnostics, []);
    assert!(template.unit.is_some());
    assert_eq!(loaded("a@-.service", text).unit, None);
}

#[test]
fn a_service_for_its_success_action_runs_nothing() {
    let text = "[Unit]\nSuccessAction=reboot-force\n";
    let loaded = loaded("a.service", text);
    assert_eq!(loaded.diagnostics, []);
    assert_eq!(
        loaded.unit.unwrap().service.unwrap().start,
        StartType::Oneshot
    );
}

#[test]
fn shares_are_shares_of_the_machine() {
    let load_with = |memory, tasks| {
        let text = "[Service]\nExecStart=/bin/a\nMemoryMax=50%\nTasksMax=10%\n";
        let facts = SpecifierFacts {
            memory,
            tasks,
            ..SpecifierFacts::default()
        };
        load(
            &"a.service".parse().unwrap(),
            &[source("a.service", text)],
            &facts,
        )
    };
    let resources = load_with(4096, 1000)
        .unit
        .unwrap()
        .service
        .unwrap()
        .resources;
    assert_eq!(
        (resources.memory_max, resources.tasks_max),
        (Some(2048), Some(100))
    );
    // What is not known cannot be shared out.
    assert_eq!(load_with(0, 0).unit, None);
}
