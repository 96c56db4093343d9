//! What is enabled, masked and linked, and what another name means, with a live daemon.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Output;

use crate::live::Aether;

const AGENT: &str = "[Agent]\nRuntime=command\nExecStart=/bin/sleep 1000\n\
                     [Sandbox]\nPolicy=none\n[Install]\nWantedBy=agents.target\n";

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn units(aether: &Aether) -> PathBuf {
    aether.root.path().join("units")
}

#[test]
fn what_is_enabled_is_started_with_aether_and_not_after_a_crash() {
    let mut aether = Aether::start();
    aether.unit("a.agent", AGENT);
    let said = aether.ctl(&["enable", "a"]);
    let link = units(&aether).join("agents.target.wants/a.agent");
    let file = units(&aether).join("a.agent");
    assert_eq!(
        said,
        format!("Created symlink {} → {}.\n", link.display(), file.display())
    );
    assert_eq!(aether.ctl(&["is-enabled", "a"]), "enabled\n");
    let target = aether.properties("agents.target");
    assert!(target.texts("Wants").contains(&"a.agent"));
    assert!(target.texts("After").contains(&"a.agent"));
    let unit = aether.properties("a");
    assert_eq!(unit.text("UnitFileState"), "enabled");
    assert_eq!(unit.text("UnitFilePreset"), "enabled");
    assert_eq!(unit.text("ActiveState"), "inactive");

    aether.ctl(&["down"]);
    aether.down();
    aether.up();
    aether.wait_state("a", "active", "running");
    aether.wait_state("agents.target", "active", "");

    // Who stops it does not want it back because the supervisor dies.
    aether.ctl(&["stop", "a"]);
    aether.kill_daemon();
    aether.wait_state("agents.target", "active", "");
    aether.wait_state("a", "inactive", "");

    aether.ctl(&["disable", "a"]);
    assert!(!link.parent().unwrap().exists());
    let target = aether.properties("agents.target");
    assert!(!target.texts("Wants").contains(&"a.agent"));
}

#[test]
fn what_systemds_targets_want_is_started_with_aether() {
    let mut aether = Aether::start();
    let service = "[Service]\nExecStart=/bin/sleep 1000\n[Sandbox]\nPolicy=none\n";
    aether.unit(
        "web.service",
        &format!("{service}[Install]\nWantedBy=multi-user.target\n"),
    );
    aether.unit(
        "night.timer",
        "[Timer]\nOnCalendar=daily\nUnit=web.service\n[Install]\nWantedBy=timers.target\n",
    );
    let socket = aether.root.path().join("socket");
    aether.unit(
        "door.socket",
        &format!(
            "[Socket]\nListenStream={}\nService=web.service\n\
             [Install]\nWantedBy=sockets.target\n",
            socket.display()
        ),
    );
    aether.unit(
        "mail.path",
        "[Path]\nPathExists=/nowhere\nUnit=web.service\n[Install]\nWantedBy=paths.target\n",
    );
    aether.ctl(&[
        "enable",
        "web.service",
        "night.timer",
        "door.socket",
        "mail.path",
    ]);
    aether.ctl(&["down"]);
    aether.down();
    aether.up();
    aether.wait_state("door.socket", "active", "");
    aether.wait_state("web.service", "active", "running");
    aether.wait_state("night.timer", "active", "waiting");
    aether.wait_state("mail.path", "active", "waiting");
    aether.wait_state("agents.target", "active", "");
}

#[test]
fn now_starts_and_stops_too() {
    let aether = Aether::start();
    aether.unit("a.agent", AGENT);
    let said = aether.ctl(&["enable", "--now", "a"]);
    assert!(said.contains("Started a.agent."), "{said}");
    aether.wait_state("a", "active", "running");
    let said = aether.ctl(&["disable", "--now", "a"]);
    assert!(said.contains("Stopped a.agent."), "{said}");
    aether.wait_state("a", "inactive", "");
}

#[test]
fn default_target_is_started_instead_where_there_is_one() {
    let mut aether = Aether::prepare();
    aether.unit("a.agent", AGENT);
    aether.unit("b.agent", AGENT);
    aether.unit("mine.target", "[Unit]\nWants=b.agent\n");
    symlink("mine.target", units(&aether).join("default.target")).unwrap();
    assert_eq!(aether.ctl(&["is-enabled", "default.target"]), "alias\n");
    aether.ctl(&["enable", "a"]);
    aether.up();
    aether.wait_state("b", "active", "running");
    let target = aether.wait_state("mine.target", "active", "");
    assert_eq!(target.texts("Names"), ["mine.target", "default.target"]);
    aether.wait_state("a", "inactive", "");
}

#[test]
fn an_alias_is_the_unit_itself() {
    let aether = Aether::start();
    aether.unit("a.agent", AGENT);
    symlink("a.agent", units(&aether).join("b.agent")).unwrap();
    fs::create_dir(units(&aether).join("b.agent.d")).unwrap();
    aether.unit(
        "b.agent.d/x.conf",
        "[Unit]\nDescription=By its other name\n",
    );
    aether.unit(
        "c.service",
        "[Unit]\nRequires=b.agent\nAfter=b.agent\n[Service]\nExecStart=/bin/sleep 1000\n",
    );
    aether.ctl(&["start", "c.service"]);
    let unit = aether.wait_state("a", "active", "running");
    assert_eq!(unit.texts("Names"), ["a.agent", "b.agent"]);
    assert_eq!(unit.text("Description"), "By its other name");
    let by_alias = aether.properties("b");
    assert_eq!(by_alias.text("Id"), "a.agent");
    assert_eq!(by_alias.number("MainPID"), unit.number("MainPID"));
    let other = aether.properties("c.service");
    assert_eq!(other.texts("Requires"), ["a.agent"]);
    let list = aether.ctl(&["list-units", "--all"]);
    assert!(!list.contains("b.agent"), "{list}");
    let shown = aether.ctl(&["cat", "b"]);
    assert!(shown.contains("units/a.agent\n"), "{shown}");
    assert!(shown.contains("units/b.agent.d/x.conf\n"), "{shown}");
    aether.ctl(&["stop", "--force", "b"]);
    aether.wait_state("a", "inactive", "");
}

#[test]
fn template_aliases_and_wants_directories() {
    let aether = Aether::start();
    aether.unit("real@.agent", &AGENT.replace("1000", "100%i"));
    symlink("real@.agent", units(&aether).join("other@.agent")).unwrap();
    aether.unit("all.target", "[Unit]\nDescription=All\n");
    let wants = units(&aether).join("all.target.wants");
    fs::create_dir(&wants).unwrap();
    symlink("../other@.agent", wants.join("other@1.agent")).unwrap();
    symlink("../real@.agent", wants.join("real@2.agent")).unwrap();
    aether.ctl(&["start", "all.target"]);
    for unit in ["real@1", "real@2"] {
        aether.wait_state(unit, "active", "running");
    }
    let target = aether.properties("all.target");
    assert_eq!(target.texts("Wants"), ["real@1.agent", "real@2.agent"]);
    assert_eq!(
        aether.properties("other@1").texts("Names"),
        ["real@1.agent", "other@1.agent"]
    );
}

#[test]
fn a_masked_unit_is_pulled_in_by_nobody() {
    let aether = Aether::start();
    aether.unit("a.agent", AGENT);
    aether.unit("t.target", "[Unit]\nWants=hello.agent\n");
    aether.ctl(&["list-units", "--all"]);
    assert_eq!(aether.properties("hello").text("LoadState"), "loaded");
    aether.ctl(&["mask", "--runtime", "hello"]);
    assert_eq!(aether.run(&["is-enabled", "hello"]).status.code(), Some(1));
    let masked = aether.properties("hello");
    assert_eq!(masked.text("LoadState"), "masked");
    assert_eq!(masked.text("UnitFileState"), "masked-runtime");
    aether.ctl(&["start", "t.target"]);
    aether.wait_state("t.target", "active", "");
    assert!(!aether.ctl(&["list-units", "hello"]).contains(" active "));
    let (code, said) = aether.refused(&["start", "hello"]);
    assert_eq!(code, 1);
    assert!(said.contains("hello.agent is masked by"), "{said}");
    assert!(said.contains("unmask --runtime hello.agent"), "{said}");
    aether.ctl(&["unmask", "--runtime", "hello"]);
    aether.ctl(&["mask", "--now", "hello"]);
    let (_, said) = aether.refused(&["start", "hello"]);
    assert!(said.contains("unmask hello.agent"), "{said}");
    // A mask that would mask nothing.
    let (_, said) = aether.refused(&["mask", "--runtime", "a"]);
    assert!(said.contains("units/a.agent goes before"), "{said}");
    aether.ctl(&["unmask", "hello"]);
    let output = aether.run(&["is-enabled", "hello"]);
    assert_eq!(output.stdout, b"disabled\n");
}

#[test]
fn agents_and_strangers_may_not() {
    let aether = Aether::start();
    let ctl = aether.root.path().join("bin/aetherctl");
    aether.unit(
        "a.agent",
        &AGENT
            .replace(
                "/bin/sleep 1000",
                &format!("/bin/sh -c '{} mask a; echo code $?'", ctl.display()),
            )
            .replace(
                "[Sandbox]",
                &format!(
                    "Environment=AETHER_RUNTIME_DIR={}\n[Sandbox]",
                    aether.root.path().join("run").display()
                ),
            ),
    );
    aether.ctl(&["start", "a"]);
    let line = aether.wait_line("a", |line| line.contains("code "));
    assert!(line.ends_with("code 4"), "{line}");
    assert!(!units(&aether).join("a.agent").is_symlink());
}

#[test]
fn a_foreign_file_is_not_overwritten_and_nothing_is_half_done() {
    let aether = Aether::start();
    aether.unit(
        "a.agent",
        &format!("{AGENT}Alias=b.agent\n").replace("agents.target", "one.target two.target"),
    );
    aether.unit("b.agent", AGENT);
    let (code, said) = aether.refused(&["enable", "--force", "a"]);
    assert_eq!(code, 1);
    assert!(said.contains("units/b.agent exists already"), "{said}");
    assert!(!units(&aether).join("one.target.wants").exists());

    // A directory that is a link leads nowhere.
    fs::remove_file(units(&aether).join("b.agent")).unwrap();
    let elsewhere = aether.root.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, units(&aether).join("two.target.wants")).unwrap();
    let (_, said) = aether.refused(&["enable", "a"]);
    assert!(said.contains("two.target.wants/a.agent"), "{said}");
    assert!(!units(&aether).join("one.target.wants").exists());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_reload_says_what_changed() {
    let aether = Aether::start();
    aether.unit("a.agent", AGENT);
    aether.unit("b.agent", AGENT);
    aether.ctl(&["start", "a"]);
    aether.ctl(&["status", "b"]);
    aether.ctl(&["list-units", "--all"]);
    aether.ctl(&["daemon-reload"]);
    let said = aether.ctl(&["daemon-reload"]);
    assert_eq!(said, "Unit files were read again; nothing has changed.\n");
    let pid = aether.properties("a").number("MainPID");
    aether.unit("a.agent", &AGENT.replace("1000", "2000"));
    aether.unit("c.agent", AGENT);
    fs::remove_file(units(&aether).join("b.agent")).unwrap();
    aether.unit("d.agent", "[Agent]\nRuntime=command\nExecStrat=/bin/true\n");
    let output = aether.run(&["daemon-reload"]);
    let said = String::from_utf8_lossy(&output.stdout);
    for line in [
        "  a.agent: changed; what runs goes on as it was started",
        "  b.agent: gone\n",
        "  c.agent: new\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let errors = err(&output);
    assert!(errors.contains("units/d.agent:3"), "{errors}");
    assert_eq!(aether.properties("a").number("MainPID"), pid);
}

#[test]
fn lists_and_presets() {
    let aether = Aether::start();
    aether.unit("a.agent", AGENT);
    aether.unit("b.agent", AGENT);
    aether.unit(
        "plain.agent",
        &AGENT.replace("[Install]\nWantedBy=agents.target\n", ""),
    );
    let presets = aether.root.path().join("units-preset");
    fs::create_dir(&presets).unwrap();
    fs::write(presets.join("50-x.preset"), "enable a.*\ndisable *\n").unwrap();
    let said = aether.ctl(&["list-unit-files", "[abp]*.agent"]);
    assert_eq!(
        said,
        "UNIT FILE   STATE    PRESET\n\
         a.agent     disabled enabled\n\
         b.agent     disabled disabled\n\
         plain.agent static   -\n\n3 unit files listed.\n"
    );
    aether.ctl(&["enable", "b"]);
    aether.ctl(&["preset", "a", "b"]);
    let said = aether.ctl(&[
        "list-unit-files",
        "--state=enabled",
        "--type=agent",
        "?.agent",
    ]);
    assert!(
        said.contains("a.agent   enabled enabled\n\n1 unit file"),
        "{said}"
    );
    let json = aether.ctl(&["list-unit-files", "--json", "a"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["state"], "enabled");
    let output = aether.run(&["enable", "plain"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        err(&output).contains("no installation config"),
        "{}",
        err(&output)
    );
    assert_eq!(
        aether.run(&["is-enabled", "nothing"]).status.code(),
        Some(4)
    );
    let (_, said) = aether.refused(&["list-unit-files", "--state=nonsense"]);
    assert!(said.contains("enabled-runtime"), "{said}");
}
