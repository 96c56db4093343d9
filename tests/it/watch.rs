//! `start --follow` and `--wait`: a unit is watched until it ends. Under a live Aether; needs root.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use crate::live::{Aether, signal};

/// An agent that goes on until it is stopped.
const LONG: &str =
    "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'echo ready; exec sleep 1000'\n[MCP]\nTools=\n";

/// Reads the child's standard output until this was said; the rest of it, and what was read.
fn read_until(child: &mut Child, word: &str) -> (BufReader<ChildStdout>, String) {
    let mut said = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    while !said.contains(word) {
        assert!(stdout.read_line(&mut said).unwrap() > 0, "{said}");
    }
    (stdout, said)
}

#[test]
fn a_followed_start_shows_everything_and_ends_with_the_unit() {
    let aether = Aether::start();
    aether.unit(
        "short.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'echo first; sleep 0.2; echo last'\n[MCP]\nTools=\n",
    );
    for _ in 0..2 {
        let output = aether.run(&["start", "--follow", "short"]);
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{shown}");
        // Once each, also in the second run: what was there before is not shown again.
        for line in ["first", "last", "exited with status 0"] {
            assert_eq!(shown.matches(line).count(), 1, "{line}: {shown}");
        }
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("Finished: short.agent"), "{said}");
    }
}

#[test]
fn a_watched_start_answers_how_the_unit_ended() {
    let aether = Aether::start();
    aether.unit(
        "bad.agent",
        "[Agent]\nRuntime=command\nExecStart=/bin/sh -c 'echo unseen; exit 7'\nRestart=no\n[MCP]\nTools=\n",
    );
    let output = aether.run(&["start", "--wait", "bad"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8(output.stdout).unwrap().contains("unseen"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("Failed: bad.agent") && said.contains('7'),
        "{said}"
    );
    let (code, error) = aether.refused(&["start", "--wait", "bad", "other"]);
    assert_eq!(code, 2, "{error}");
}

#[test]
fn who_stops_watching_is_told_apart_from_a_good_end() {
    let aether = Aether::start();
    aether.unit("long.agent", LONG);
    for (line, name, code) in [
        (&["start", "--follow", "long"][..], "INT", 130),
        (&["start", "--follow", "long"], "TERM", 143),
        (&["start", "--wait", "long"], "INT", 130),
    ] {
        let mut child = aether
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says so once it watches.
        let _stdout = read_until(&mut child, "Started long.agent.");
        signal(child.id(), name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{line:?} {name}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("goes on"), "{said}");
    }
    aether.wait_state("long", "active", "running");
}

#[test]
fn a_followed_start_ends_with_its_reader() {
    let aether = Aether::start();
    aether.unit("long.agent", LONG);
    let mut child = aether
        .command(&["start", "--follow", "long"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(read_until(&mut child, "ready"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    aether.wait_state("long", "active", "running");
}

#[test]
fn watching_outlives_the_daemon() {
    let aether = Aether::start();
    let go = aether.root.path().join("go");
    aether.unit(
        "once.agent",
        &format!(
            "[Agent]\nRuntime=command\nDynamicUser=no\nExecStart=/bin/sh -c 'echo ready; until [ -e {} ]; do sleep 0.1; done; echo last; exit 3'\nRestart=no\n[Sandbox]\nPolicy=none\n[MCP]\nTools=\n",
            go.display()
        ),
    );
    let mut child = aether
        .command(&["start", "--follow", "once"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut said) = read_until(&mut child, "ready");
    aether.kill_daemon();
    std::fs::write(go, "").unwrap();
    while stdout.read_line(&mut said).unwrap() > 0 {}
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}{error}");
    assert_eq!(said.matches("last").count(), 1, "{said}");
    assert!(error.contains("Failed: once.agent"), "{error}");
}

#[test]
fn an_end_in_order_starts_the_count_of_daemons_anew() {
    let mut aether = Aether::start();
    aether.kill_daemon();
    assert!(
        aether
            .ctl(&["status"])
            .contains("started by the keeper 2 times")
    );
    aether.down();
    aether.up();
    let status = aether.ctl(&["status"]);
    assert!(!status.contains("started by the keeper"), "{status}");
}

#[test]
fn the_exit_status_is_a_number_in_json() {
    let aether = Aether::start();
    let line = [
        "run",
        "--wait",
        "--json",
        "-p",
        "MCP.Tools=",
        "--",
        "sh",
        "-c",
        "exit 7",
    ];
    let output = aether.run(&line);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let json: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(json["exit_status"], 7, "{json}");
    assert!(json["exit_signal"].is_null(), "{json}");
}

#[test]
fn what_cannot_be_done_is_said_in_the_words_of_the_person() {
    use std::os::unix::process::CommandExt as _;
    let aether = Aether::start();
    aether.unit("long.agent", LONG);
    aether.unit("x.target", "[Unit]\nDescription=x\n");
    for line in [
        &["pause", "aether-hub.service"][..],
        &["resume", "x.target"],
        &["send", "x.target", "hello"],
    ] {
        let (code, said) = aether.refused(line);
        assert_eq!(code, 2, "{line:?}: {said}");
        assert!(said.contains("only agents can be"), "{line:?}: {said}");
        assert!(!said.contains("org.aether1"), "{line:?}: {said}");
    }
    let (_, said) = aether.refused(&["start", "lnog"]);
    assert!(said.contains("did you mean long.agent?"), "{said}");
    let (_, said) = aether.refused(&["logs", "lnog"]);
    assert!(said.contains("did you mean long.agent?"), "{said}");
    for (verb, wish) in [
        (&["stop", "long"][..], "stop long.agent"),
        (&["start", "--wait", "long"], "start long.agent"),
        (&["send", "long", "x"], "send to long.agent"),
        (&["down"], "stop Aether"),
        (&["run", "--", "true"], "run units"),
    ] {
        let output = aether
            .command(verb)
            .uid(65_534)
            .gid(65_534)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{verb:?}: {said}");
        assert!(
            said.contains(&format!("uid 65534 may not {wish}")),
            "{said}"
        );
        assert!(
            said.contains("try with sudo") && !said.contains("org."),
            "{said}"
        );
    }
}

#[test]
fn starting_a_paused_unit_says_that_it_is_paused() {
    let aether = Aether::start();
    aether.unit("long.agent", LONG);
    assert_eq!(aether.ctl(&["start", "long"]), "Started long.agent.\n");
    aether.ctl(&["pause", "long"]);
    let said = aether.ctl(&["start", "long"]);
    assert_eq!(
        said,
        "long.agent is paused; continue it with: aetherctl resume long.agent\n"
    );
    aether.ctl(&["resume", "long"]);
}

#[test]
fn what_was_run_is_forgotten_and_how_it_ended_is_known() {
    let aether = Aether::start();
    let transient = aether.root.path().join("run/transient");
    let files = || std::fs::read_dir(&transient).unwrap().count();
    for (code, state) in [("0", "inactive"), ("7", "failed")] {
        let name = format!("--name=once{code}");
        let script = format!("exit {code}");
        let output = aether.run(&["run", &name, "--wait", "--json", "--", "sh", "-c", &script]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(&format!("\"exit_status\":{code}")), "{said}");
        assert!(said.contains(&format!("\"state\":\"{state}\"")), "{said}");
    }
    // A failure is kept until somebody resets it.
    crate::live::until("the one that ended well is forgotten", || files() == 1);
    let listed = aether.ctl(&["list-units", "--all"]);
    assert!(
        !listed.contains("once0") && listed.contains("once7"),
        "{listed}"
    );
    let known = aether.properties("once0.agent");
    assert_eq!(known.text("Result"), "completed");
    assert!(aether.log("once0.agent").contains("exited with status 0"));
    // So it is by the next daemon.
    aether.kill_daemon();
    aether.answering();
    assert_eq!(aether.properties("once0.agent").text("Result"), "completed");
    aether.ctl(&["reset-failed", "once7.agent"]);
    crate::live::until("the failure is forgotten", || files() == 0);
    // The name is free again.
    aether.ctl(&["run", "--name=once0", "--", "true"]);
}
